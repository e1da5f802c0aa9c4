//! The commands of docs/operations.md for certificates, as they are written there, with OpenSSL and curl.

use std::process::Command;

use crate::support::command::{Outcome, run};
use crate::support::documents::{read, root};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::proxy::Setup;
use crate::support::request::{ALICE, sha_line};
use crate::support::tls::Authority;

/// The commands of the section, in order.
fn commands() -> Vec<String> {
    let text = read(&root().join("docs/operations.md"));
    let (_, section) = text.split_once("\n## TLS listeners\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks = section.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split_once("```").unwrap().0.to_owned())
        .collect()
}

fn shell(setup: &Setup, script: &str) -> Outcome {
    let mut command = Command::new("bash");
    command
        .args(["-e", "-o", "pipefail", "-c", script])
        .env("no_proxy", "")
        .current_dir(setup.directory.path());
    run(&mut command, "")
}

fn make(setup: &Setup, script: &str) {
    let outcome = shell(setup, script);
    assert!(outcome.status.success(), "{script}: {}", outcome.output());
}

#[test]
fn an_authority_is_made_a_client_gets_in_and_is_taken_back() {
    let commands = commands();
    let [authority, user, curl, revoke] = commands.as_slice() else {
        panic!("{commands:#?}");
    };
    let ours = Authority::new();
    let setup = Setup::new()
        .file("proxy-ca.pem", ours.pem())
        .file("users.htpasswd", sha_line(ALICE));
    make(&setup, authority);
    make(&setup, user);
    let setup = setup.secure_listener(
        &ours.issue(&["127.0.0.1"]),
        "tls: { certificate: cert.pem, key: key.pem, client_ca: clients.pem, client_crl: clients.crl, certificate_user: cn }",
    );
    let proxy = setup.start();
    let origin = Origin::ok("page");
    let curl = curl
        .replace(
            "proxy.example.com:8443",
            &proxy.secure_address().to_string(),
        )
        .replace(
            "http://example.org/",
            &format!("http://{}/", origin.address),
        );
    let outcome = shell(&proxy.setup, &curl);
    assert_eq!(outcome.stdout, "page", "{}", outcome.output());
    let record = proxy.wait_records(1).remove(0);
    assert_eq!(record["user"], "alice", "{record}");
    assert_eq!(record["auth"], "certificate", "{record}");
    // Without the certificate no request is served.
    let bare = curl.replace("--proxy-cert alice.pem --proxy-key alice.key ", "");
    assert!(bare.len() < curl.len());
    assert!(!shell(&proxy.setup, &bare).status.success());

    make(&proxy.setup, revoke);
    eventually("the refusal", || {
        (!shell(&proxy.setup, &curl).status.success()).then_some(())
    });
    let line = "the certificate of the client is on a list in client_crl";
    assert!(proxy.errors().contains(line), "{}", proxy.errors());
}

/// The example runs, with files of the test in the place of those that are the operator's.
#[test]
fn the_example_for_workloads_knows_each_by_its_certificate() {
    use rcgen::SanType;

    let (ours, mesh) = (Authority::new(), Authority::of_name("mesh"));
    let text = read(&root().join("conf/examples/workloads.yaml"));
    let example: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let tls = &example["tollgate"]["listeners"][0]["tls"];
    let mut rest = example["tollgate"].clone();
    let map = rest.as_mapping_mut().unwrap();
    for key in ["listeners", "admin"] {
        map.remove(key);
    }
    let own = ours.issue(&["127.0.0.1"]);
    let setup = Setup::new();
    std::fs::create_dir(setup.path("workloads")).unwrap();
    let groups = read(&root().join("conf/examples/workloads/groups.htgroup"));
    let of = |uri: &str| {
        let uri = rcgen::string::Ia5String::try_from(uri).unwrap();
        mesh.issue_with(&[], |params| {
            params.subject_alt_names = vec![SanType::URI(uri)]
        })
    };
    let build = of("spiffe://mesh.example.org/ns/ci/sa/build");
    let setup = setup
        .file("workloads/proxy.pem", &own.certificate_pem)
        .file("workloads/proxy.key", &own.key_pem)
        .file("workloads/mesh.pem", mesh.pem())
        .file("workloads/mesh.crl", mesh.list(&[]))
        .file("workloads/groups.htgroup", groups)
        .file("workloads/users.htpasswd", sha_line(ALICE))
        .file("ca.pem", ours.pem())
        .file("build.pem", build.certificate_pem.clone() + &build.key_pem)
        .secure(&serde_json::to_string(tls).unwrap())
        .config(&serde_yaml::to_string(&rest).unwrap());
    let proxy = setup.start();
    let curl = |target: &str| {
        let script = format!(
            "curl -sS -o /dev/null -w '%{{http_connect}}' --proxy-cacert ca.pem --proxy-cert build.pem \
             -x https://{} https://{target}/ || true",
            proxy.secure_address()
        );
        shell(&proxy.setup, &script).stdout
    };
    assert_eq!(curl("api.payments.example.com"), "403");
    let record = proxy.wait_records(1).remove(0);
    assert_eq!(
        record["user"], "spiffe://mesh.example.org/ns/ci/sa/build",
        "{record}"
    );
    assert_eq!(record["rule"], "not-listed", "{record}");
    // Admitted; there is no such origin for the test to reach.
    assert_ne!(curl("no-such-crate.crates.io"), "403");
}
