//! The files of the repository: quick start, reference and documentation load and agree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{ALICE, Setup, decision, empty_list, identity, with};
use crate::config::identity::Identity;
use crate::config::problem::Diagnostics;
use crate::config::sections::Sections;
use crate::config::{Config, reference, yaml};

/// The repository's own file of that name.
pub(in crate::config) fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn the_quick_start_loads_and_its_user_gets_in() {
    let config = Config::load(&own("conf/pingora.yaml")).unwrap();
    assert!(!config.is_exposed());
    let credentials =
        crate::access::auth::Credentials::parse(b"Basic dXNlcm5hbWU6cGFzc3dvcmQ=").unwrap();
    assert!(config.auth.users.verify(&credentials));
    for (target, expected) in [
        ("http://127.0.0.1/", "admit allow_networks:127.0.0.0/8"),
        ("http://[::1]/", "admit allow_networks:::1/128"),
        ("http://10.0.0.1/", "deny special_purpose:private_use"),
    ] {
        assert_eq!(decision(&config.policy, target), expected, "{target}");
    }
}

/// The example with certificates, whose files are the operator's, in a copy that has some.
fn workloads(path: &Path) -> Config {
    let setup = Setup::new();
    fs::create_dir(setup.directory.path().join("workloads")).unwrap();
    let identity = identity();
    for (name, content) in [
        ("proxy.pem", &identity.certificate),
        ("proxy.key", &identity.key),
        ("mesh.pem", &identity.authority),
        ("mesh.crl", &empty_list().pem().unwrap()),
    ] {
        setup.file(&format!("workloads/{name}"), content);
    }
    for name in ["groups.htgroup", "users.htpasswd"] {
        let content = fs::read(path.with_extension("").join(name)).unwrap();
        setup.file(&format!("workloads/{name}"), content);
    }
    let config = setup.load(&fs::read_to_string(path).unwrap());
    config.unwrap_or_else(|error| panic!("{error}"))
}

/// Loading runs the tests of the policy: what the examples say of themselves is so.
#[test]
fn the_examples_load_and_test_themselves() {
    let mut examples = 0;
    for entry in fs::read_dir(own("conf/examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let config = match path.file_stem() == Some("workloads".as_ref()) {
            true => workloads(&path),
            false => Config::load(&path).unwrap_or_else(|error| panic!("{error}")),
        };
        assert!(!config.is_exposed(), "{}", path.display());
        assert!(config.policy.rules().len() >= 3, "{}", path.display());
        let text = fs::read_to_string(&path).unwrap();
        let expecting = |verdict: &str| text.matches(&format!("expect: {verdict}")).count();
        let (admit, deny) = (expecting("admit"), expecting("deny"));
        assert!(
            admit >= 2 && deny >= 2 && admit + deny >= 6,
            "{}: {admit} admit, {deny} deny",
            path.display()
        );
        examples += 1;
    }
    assert!(examples >= 4, "{examples} examples");
}

/// The paths of all keys of a YAML text, without indexes.
fn keys_of(text: &str) -> BTreeSet<String> {
    let diagnostics = Diagnostics::new(Path::new("f"));
    let node = yaml::parse(text, &diagnostics).unwrap();
    let mut keys = BTreeSet::new();
    collect(&node, "", &mut keys);
    keys
}

fn collect(node: &yaml::Node, path: &str, keys: &mut BTreeSet<String>) {
    match &node.value {
        yaml::Value::Map(entries) => {
            for entry in entries {
                let path = yaml::join(path, &entry.key);
                collect(&entry.node, &path, keys);
                keys.insert(path);
            }
        }
        yaml::Value::List(items) => items.iter().for_each(|item| collect(item, path, keys)),
        _ => {}
    }
}

#[test]
fn the_reference_has_the_defaults() {
    let reference = Config::load(&own("conf/production.yaml")).unwrap();
    let setup = Setup::new();
    setup.file("users", fs::read(own("conf/users.htpasswd")).unwrap());
    let minimal = setup
        .load(&with("  admin: {address: \"127.0.0.1:9188\"}\n"))
        .unwrap();
    assert_eq!(reference.server, minimal.server);
    let shown = |mut config: Config| {
        config.file = PathBuf::new();
        config.auth.htpasswd = PathBuf::new();
        format!("{config:#?}")
    };
    assert_eq!(shown(reference), shown(minimal));
}

#[test]
fn the_reference_is_whole_and_every_key_can_be_uncommented() {
    let text = fs::read_to_string(own("conf/production.yaml")).unwrap();
    let uncommented: String = text
        .lines()
        .map(|line| {
            let bare = line.trim_start();
            match bare.strip_prefix("# ") {
                Some(code) if is_code(code) => {
                    let indentation = line.len() - bare.len();
                    format!("{:indentation$}{code}\n", "")
                }
                _ => format!("{line}\n"),
            }
        })
        .collect();

    let setup = Setup::new();
    let identity = identity();
    setup.file("cert.pem", &identity.certificate);
    setup.file("key.pem", &identity.key);
    setup.file("clients.pem", &identity.authority);
    setup.file("clients.crl", empty_list().pem().unwrap());
    setup.file("www.pem", &identity.certificate);
    setup.file("www.key", &identity.key);
    setup.file("ca.pem", &identity.authority);
    setup.file("users.htpasswd", ALICE);
    setup.file("admins.htpasswd", ALICE);
    setup.file("groups.htgroup", "ci: alice\n");
    setup.file("paste.txt", "paste.example.org\n");
    setup.file("github.secret", "hunter2\n");
    setup.file(
        "team.rhai",
        "fn request(r) { r.set_header(\"x-team\", settings.team); r.remove_header(\"cookie\"); }",
    );
    let local = uncommented
        .replace("/etc/ssl/certs/ca-certificates.crt", "ca.pem")
        .replace("/var/log/tollgate/", "")
        .replace("/run/tollgate/", "")
        .replace("/var/lib/tollgate/", "")
        .replace(
            "\nuser: tollgate",
            &format!("\nuser: {}", Identity::own().user()),
        )
        .replace(
            "\ngroup: tollgate",
            &format!("\ngroup: {}", Identity::own().group()),
        );
    let config = setup.load(&local).unwrap();
    assert_eq!(config.listeners.len(), 3);

    // Some maps are in several places, such as list files; one of them is enough.
    let named = uncommented.replace("github_readonly", "NAME");
    let named = named.replace("    corp:", "    NAME:");
    let mut keys = keys_of(&named);
    // A secret has one of the three keys, and these two need another environment.
    keys.extend(["env", "credential"].map(|key| format!("tollgate.secrets.NAME.{key}")));
    // A store is a file or a server.
    let of_server = ["redis", "user", "password", "ca_file"];
    keys.extend(of_server.map(|key| format!("tollgate.limits.store.{key}")));
    let missing: Vec<_> = reference::places()
        .into_iter()
        .filter(|places| places.iter().all(|path| !keys.contains(path)))
        .collect();
    assert!(
        missing.is_empty(),
        "missing in production.yaml: {missing:?}"
    );
}

/// Whether a comment is a key that is commented out, and not a sentence.
fn is_code(comment: &str) -> bool {
    let comment = comment.trim_start().trim_start_matches("- ");
    let key = comment.split(':').next().unwrap_or_default();
    comment.contains(':')
        && !key.contains(' ')
        && key
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// A key that stands at the top of the file by mistake is known to belong below `tollgate`.
#[test]
fn the_keys_of_tollgate_are_those_that_are_read() {
    let setup = Setup::new();
    let problems = setup.problems("version: 1\ntollgate:\n  zzzzzzzzzzzzzzzz: 1\n");
    let list = problems.split("known here: ").nth(1).unwrap();
    let mut read: Vec<_> = list.lines().next().unwrap().split(", ").collect();
    let mut known = Sections::NAMES.to_vec();
    read.sort_unstable();
    known.sort_unstable();
    assert_eq!(read, known);
}

/// Blocks marked `yaml` are whole files; those marked `yaml fragment` lack what is required.
#[test]
fn the_documentation_loads() {
    let text = fs::read_to_string(own("docs/configuration.md")).unwrap();
    let setup = Setup::new();
    let identity = identity();
    for (name, content) in [
        ("cert.pem", identity.certificate.as_str()),
        ("key.pem", &identity.key),
        ("clients.pem", &identity.authority),
        ("clients.crl", &empty_list().pem().unwrap()),
        ("users.htpasswd", ALICE),
        ("admins.htpasswd", ALICE),
        ("allowed.txt", "example.org\n"),
        ("github.secret", "hunter2\n"),
        ("denied.txt", ".example.net\n"),
    ] {
        setup.file(name, content);
    }
    let mut loaded = 0;
    for block in text.split("```yaml").skip(1) {
        let block = block.split("```").next().unwrap();
        let (mark, block) = block.split_once('\n').unwrap();
        let whole = match mark {
            " fragment" => format!(
                "version: 1\n{block}  listeners: [{{address: \"127.0.0.1:1\"}}]\n  \
                 auth: {{htpasswd: users.htpasswd}}\n"
            ),
            _ => block.to_owned(),
        };
        if let Err(error) = setup.load(&whole) {
            panic!(
                "{error}
{whole}"
            );
        }
        loaded += 1;
    }
    assert!(loaded >= 3, "{loaded} blocks");
}
