//! Guards: what the sources, the configurations and the documents promise about each other.

mod fuzz;
mod layers;

use std::collections::BTreeSet;

use crate::support::command::{Outcome, tollgate};
use crate::support::documents::{files, read, root, yaml_blocks};
use crate::support::proxy::{Proxy, Setup, merge};
use crate::support::request::{ALICE, BOB, sha_line};
use crate::support::tls::Authority;

#[test]
fn files_stay_short() {
    for folder in ["src", "tests"] {
        for path in files(&root().join(folder), "rs") {
            let lines = read(&path).lines().count();
            assert!(lines <= 500, "{}: {lines} lines", path.display());
        }
    }
}

/// Checks a configuration where its relative files are.
fn assert_loads(what: &str, setup: &Setup, yaml: &str) {
    let path = setup.path("checked.yaml");
    std::fs::write(&path, yaml).unwrap();
    let outcome = tollgate(["check".as_ref(), "-c".as_ref(), path.as_os_str()]);
    assert!(
        outcome.code() == Some(0) || problems(&outcome).count() == 0,
        "{what}: {}\n{yaml}",
        outcome.output()
    );
}

/// The problems that a check found, without those of the machine: that it has other addresses than a reader's,
/// or that another program listens on a port of an example.
fn problems(outcome: &Outcome) -> impl Iterator<Item = &str> {
    let lines = outcome.stderr.lines();
    let is_error = |line: &&str| line.contains(": tollgate.") && !line.contains(": warning: ");
    lines.filter(move |line| is_error(line) && !line.contains(": cannot listen on "))
}

#[test]
fn every_configuration_of_the_project_loads() {
    // Those of the benchmarks are templates, filled in when one runs.
    let all = files(&root().join("conf"), "yaml");
    assert!(
        all.iter().any(|path| path.ends_with("conf/pingora.yaml")),
        "{all:?}"
    );
    assert!(
        all.iter()
            .any(|path| path.ends_with("conf/production.yaml")),
        "{all:?}"
    );
    for path in all {
        let outcome = tollgate(["check".as_ref(), "-c".as_ref(), path.as_os_str()]);
        // A production file names files that the reader has and we have not.
        let only_missing = problems(&outcome).all(|line| {
            (path.ends_with("workloads.yaml")
                && line.contains(".tls.")
                && line.contains("does not exist"))
                || path.ends_with("production.yaml")
                    && (line.contains("htpasswd")
                        || line.contains("certificate")
                        || line.contains(".key"))
        });
        assert!(
            outcome.code() == Some(0) || only_missing,
            "{}: {}",
            path.display(),
            outcome.output()
        );
    }
}

#[test]
fn every_yaml_block_of_the_documents_loads() {
    let mut documents = files(&root().join("docs"), "md");
    documents.push(root().join("README.md"));
    let mut seen = 0;
    for document in documents {
        for (words, block) in yaml_blocks(&read(&document)) {
            let what = document.display().to_string();
            seen += 1;
            // The files that examples name.
            let setup = Setup::new();
            let authority = Authority::new();
            let certificate = authority.issue(&["proxy.test"]);
            let setup = setup
                .file("cert.pem", &certificate.certificate_pem)
                .file("key.pem", &certificate.key_pem)
                .file("clients.pem", authority.pem())
                .file("clients.crl", authority.list(&[]))
                .file("proxy.pem", &certificate.certificate_pem)
                .file("proxy.key", &certificate.key_pem)
                .file("gateway.pem", &certificate.certificate_pem)
                .file("gateway.key", &certificate.key_pem)
                .file("github.secret", "hunter2\n")
                .file("store.secret", "hunter2\n")
                .file("corp.secret", "hunter2\n")
                .file("next.secret", "hunter2\n")
                .file("squid.secret", "hunter2\n")
                .file(
                    "groups.htgroup",
                    "runners: ci-linux\ndeployers: ci-deploy\nagents: agent-7\nstaff: prof\ncrawlers: bot-1\nmirrors: sync\n",
                )
                .file("admins.htpasswd", sha_line(BOB))
                .file("users.htpasswd", sha_line(ALICE));
            for name in block.split(['"', '\'', ' ', ',', '[', ']']) {
                if let Some(list) = name.strip_prefix('@') {
                    std::fs::write(setup.path(list), "listed.test\n").unwrap();
                }
            }
            if words.contains("fragment") {
                let mut base: serde_yaml::Value =
                    serde_yaml::from_str(&read(&setup.write())).unwrap();
                let value = serde_yaml::from_str(&block)
                    .unwrap_or_else(|error| panic!("{what}: {error}\n{block}"));
                merge(&mut base, value);
                assert_loads(&what, &setup, &serde_yaml::to_string(&base).unwrap());
            } else {
                assert_loads(&what, &setup, &block);
            }
        }
    }
    assert!(seen > 0, "no document shows a configuration");
}

/// Every word of a text, comments included.
fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_metric_and_log_field_is_documented() {
    let document = read(&root().join("docs/observability.md"));
    let documented = words(&document);
    let proxy = Proxy::start("log: { tunnel_open: true }");
    let origin = crate::support::origin::Origin::ok("in");
    proxy.fetch(&format!("http://{}/", origin.address));
    proxy.fetch("http://10.0.0.1/");
    drop(proxy.tunnel(origin.address));
    let mut names = BTreeSet::new();
    for record in proxy.wait_records(4) {
        names.extend(record.as_object().unwrap().keys().cloned());
    }
    let stats: serde_json::Value = serde_json::from_slice(&proxy.admin("/stats").body).unwrap();
    names.extend(stats.as_object().unwrap().keys().cloned());
    let metrics = proxy.admin("/metrics").text();
    let types = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    names.extend(
        types
            .filter_map(|line| line.split(' ').next())
            .map(str::to_owned),
    );
    assert!(names.len() > 20, "{names:?}");
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !documented.contains(*name))
        .collect();
    assert!(
        missing.is_empty(),
        "not in docs/observability.md: {missing:?}"
    );
}

#[test]
fn repository_has_what_a_reader_looks_for() {
    for name in [
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "SECURITY.md",
        "Makefile",
        "Dockerfile",
        "docs/architecture.md",
        "docs/clients.md",
        "docs/configuration.md",
        "docs/glossary.md",
        "docs/limits.md",
        "docs/migrating.md",
        "docs/observability.md",
        "docs/operations.md",
        "docs/policy.md",
        "docs/protocol.md",
        "docs/authorizer.md",
        "docs/tokens.md",
    ] {
        assert!(root().join(name).is_file(), "{name}");
    }
}

/// The first screen of docs/programming.md shows code that other tests run.
#[test]
fn the_first_examples_of_programming_are_those_that_run() {
    let document = read(&root().join("docs/programming.md"));
    let block = |language: &str| {
        let start = format!("```{language}\n");
        let (_, rest) = document.split_once(&start).unwrap();
        rest.split_once("\n```").unwrap().0.to_owned()
    };
    for (language, place) in [
        ("rust", "examples/hook_denial.rs"),
        ("python", "docs/authorizer.md"),
        ("rhai forward", "docs/scripts.md"),
    ] {
        let code = block(language);
        assert!(
            code.lines().count() > 2 && read(&root().join(place)).contains(&code),
            "{code}"
        );
    }
}
