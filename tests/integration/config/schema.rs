//! conf/tollgate.schema.json, by a validator that is not ours: it takes every configuration of the project, and
//! refuses what the program refuses for its type, its word or its name.

use jsonschema::Validator;
use serde_yaml::Value;

use crate::support::command::tollgate;
use crate::support::documents::{files, read, root, yaml_blocks};
use crate::support::files::EX_CONFIG;
use crate::support::proxy::{Setup, merge};

/// What a fragment of a document lacks.
const REQUIRED: &str =
    "{ version: 1, tollgate: { listeners: [{ address: '127.0.0.1:1' }], auth: { htpasswd: f } } }";

fn schema() -> Validator {
    let text = read(&root().join("conf/tollgate.schema.json"));
    let schema = serde_json::from_str(&text).unwrap();
    jsonschema::draft202012::meta::validate(&schema).expect("a schema");
    jsonschema::draft202012::new(&schema).unwrap()
}

fn problems(schema: &Validator, document: &Value) -> Vec<String> {
    let document = serde_json::to_value(document).unwrap();
    let errors = schema.iter_errors(&document);
    errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

#[test]
fn every_configuration_of_the_project_fits() {
    let schema = schema();
    let mut seen = 0;
    let mut check = |what: &str, yaml: &str, is_fragment: bool| {
        let mut document: Value = serde_yaml::from_str(yaml).unwrap();
        document.apply_merge().unwrap();
        if is_fragment {
            let mut whole = serde_yaml::from_str(REQUIRED).unwrap();
            merge(&mut whole, document);
            document = whole;
        }
        let problems = problems(&schema, &document);
        assert!(problems.is_empty(), "{what}: {problems:#?}\n{yaml}");
        seen += 1;
    };
    for path in files(&root().join("conf"), "yaml") {
        check(&path.display().to_string(), &read(&path), false);
    }
    let mut documents = files(&root().join("docs"), "md");
    documents.push(root().join("README.md"));
    for document in documents {
        for (words, block) in yaml_blocks(&read(&document)) {
            let what = document.display().to_string();
            check(&what, &block, words.contains("fragment"));
        }
    }
    assert!(seen > 20, "{seen} configurations");
}

/// An editor finds the schema by a comment in the file.
#[test]
fn every_configuration_names_the_schema() {
    for path in files(&root().join("conf"), "yaml") {
        let text = read(&path);
        let name = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# yaml-language-server: $schema="));
        let named = name.map(|name| path.parent().unwrap().join(name));
        assert!(
            named.is_some_and(|named| named.is_file()),
            "{}",
            path.display()
        );
    }
}

#[test]
fn the_schema_and_the_program_refuse_the_same() {
    let schema = schema();
    for lines in [
        "timeouts: { conect: 5s }",
        "timeouts: { drain: 30 }",
        "timeouts: { drain: soon }",
        "timeouts: 5s",
        "limits: { request_head: 64K }",
        "limits: { max_connections: 0 }",
        "limits: { max_connections: many }",
        "limits: { request_body: unlimited }",
        "log: { format: xml }",
        "log: { tunnel_open: sometimes }",
        "log: { access: [stdout] }",
        "listeners: { address: \"127.0.0.1:1\" }",
        "listeners: []",
        "listeners: [{ address: \"127.0.0.1:1\", tls: { certificates: [{ certificate: cert.pem }] } }]",
        "listeners: [{ addres: \"127.0.0.1:1\" }]",
        "admin: \"127.0.0.1:1\"",
        "admin: { port: 9188 }",
        "auth: { htpasswd: [users.htpasswd] }",
        "egress: { connect_ports: 443 }",
        "egress: { connect_ports: [https] }",
        "egress: { allow_networks: 10.0.0.0/8 }",
        "egress: { allow_networks: [intranet] }",
        "egress: { deny_domains: [{ file: denied.txt }] }",
        "egress: { deny_domains: example.org }",
        "gateway: { upstreams: [\"localhost\"] }",
        "gateway: { health_check: 2s }",
        "dns: { servers: 192.0.2.53 }",
        "policy: { default: allow }",
        "policy: { rules: [{ name: r, action: allow }] }",
        "policy: { rules: [{ name: r }] }",
        "policy: { rules: [{ name: r, action: deny, status: 500 }] }",
        "policy: { rules: [{ name: r, action: deny, users: alice }] }",
        "policy: { rules: [{ name: r, action: deny, users: [] }] }",
        "policy: { rules: [{ name: r, action: deny, roles: [proxy] }] }",
        "policy: { rules: [{ name: r, action: deny, time: { days: [monday] } }] }",
        "policy: { rules: [{ name: r, action: deny, time: { from: 8am } }] }",
        "policy_tests: [{ user: alice, target: \"example.org:443\" }]",
        "policy_tests: [{ user: alice, target: \"example.org:443\", expect: allow }]",
        "policies: {}",
    ] {
        let setup = Setup::new().config(lines);
        let path = setup.write();
        let document: Value = serde_yaml::from_str(&read(&path)).unwrap();
        let outcome = tollgate(["check".as_ref(), "-c".as_ref(), path.as_os_str()]);
        assert_eq!(outcome.code(), EX_CONFIG, "{lines}: {}", outcome.output());
        assert!(
            !problems(&schema, &document).is_empty(),
            "the schema takes {lines}"
        );
    }
}
