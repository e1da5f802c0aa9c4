//! The examples with tokens, run with an issuer of the test in the place of the real one.

use serde_json::{Value, json};

use crate::support::dns::Dns;
use crate::support::documents::{read, root};
use crate::support::issuer::{Signer, key_set, seconds};
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::basic;

/// The example on this machine, with keys of the test.
fn start(name: &str, signer: &Signer) -> (Proxy, Dns) {
    let text = read(&root().join(format!("conf/examples/{name}.yaml")));
    let example: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let mut tollgate = example["tollgate"].clone();
    let map = tollgate.as_mapping_mut().unwrap();
    map.remove("listeners");
    map.remove("admin");
    let auth = map["auth"].as_mapping_mut().unwrap();
    auth.remove("htpasswd");
    auth["tokens"]["issuers"][0]["jwks"] = "keys.json".into();
    let mut setup = Setup::new().file("keys.json", key_set([signer.jwk("k")]));
    if auth.contains_key("groups") {
        auth["groups"] = "groups.htgroup".into();
        let groups = read(&root().join(format!("conf/examples/{name}/groups.htgroup")));
        setup = setup.file("groups.htgroup", groups);
    }
    let dns = Dns::with(60, |_, _| Some(vec!["127.0.0.1".parse().unwrap()]));
    let setup = setup.config(&serde_yaml::to_string(&tollgate).unwrap());
    (setup.config(&dns.config()).start(), dns)
}

/// Asks for tunnels, as curl and git do. Every name is that of this machine: an admitted request fails behind the
/// policy.
fn ask(proxy: &Proxy, token: &str, target: &str) -> (u16, Value) {
    let credentials = basic("x", token);
    let (answer, record) = proxy.ask(format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: {credentials}\r\n\r\n"
    ));
    (answer.status(), record)
}

fn check(proxy: &Proxy, token: &str, user: &str, cases: &[(&str, bool)]) {
    for (target, is_admitted) in cases {
        let (status, record) = ask(proxy, token, target);
        assert_eq!(record["user"], user, "{record}");
        assert_eq!(status != 403, *is_admitted, "{target}: {record}");
        assert_ne!(status, 407, "{record}");
    }
}

#[test]
fn github_actions() {
    let signer = Signer::rsa();
    let (proxy, _dns) = start("github-actions", &signer);
    // As GitHub's documentation shows one.
    let claims = |owner: &str, repository: &str| {
        json!({
            "jti": "example-id", "sub": format!("repo:{owner}/{repository}:environment:prod"),
            "environment": "prod", "aud": "https://proxy.example.com", "ref": "refs/heads/main",
            "sha": "example-sha", "repository": format!("{owner}/{repository}"), "repository_owner": owner,
            "actor_id": "12", "repository_visibility": "private", "repository_id": "74",
            "repository_owner_id": "65", "run_id": "example-run-id", "run_number": "10", "run_attempt": "2",
            "runner_environment": "github-hosted", "actor": "octocat", "workflow": "example-workflow",
            "head_ref": "", "base_ref": "", "event_name": "workflow_dispatch", "ref_type": "branch",
            "job_workflow_ref": "example-org/automation/.github/workflows/oidc.yml@refs/heads/main",
            "iss": "https://token.actions.githubusercontent.com",
            "nbf": seconds(-600), "exp": seconds(300), "iat": seconds(0),
        })
    };
    let token = |owner, repository| signer.token("k", &claims(owner, repository));
    check(
        &proxy,
        &token("example-org", "app"),
        "gh:example-org/app",
        &[
            ("index.crates.io:443", true),
            ("eu.deploy.example.com:443", false),
            ("upload.pypi.org:443", false),
        ],
    );
    check(
        &proxy,
        &token("example-org", "infra"),
        "gh:example-org/infra",
        &[("eu.deploy.example.com:443", true)],
    );
    check(
        &proxy,
        &token("other-org", "app"),
        "gh:other-org/app",
        &[("index.crates.io:443", false)],
    );
    let mut for_a_cloud = claims("example-org", "app");
    for_a_cloud["aud"] = "sts.amazonaws.com".into();
    assert_eq!(
        ask(
            &proxy,
            &signer.token("k", &for_a_cloud),
            "index.crates.io:443"
        )
        .0,
        407
    );
}

#[test]
fn kubernetes() {
    let signer = Signer::rsa();
    let (proxy, _dns) = start("kubernetes", &signer);
    let claims = |namespace: &str, account: &str| {
        json!({
            "aud": ["tollgate"], "exp": seconds(3600), "iat": seconds(0), "nbf": seconds(0),
            "iss": "https://kubernetes.default.svc.cluster.local", "jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a",
            "kubernetes.io": {
                "namespace": namespace,
                "node": {"name": "127.0.0.1", "uid": "58456cb0-dd00-45ed-b797-5578fdceaced"},
                "pod": {"name": "coder-69cbfb9798-jv9gn", "uid": "778a530c-b3f4-47c0-9cd5-ab018fb64f33"},
                "serviceaccount": {"name": account, "uid": "a087d5a0-e1dd-43ec-93ac-f13d89cd13af"},
                "warnafter": seconds(3000),
            },
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
        })
    };
    // The header of the API server has no typ.
    let token = |namespace, account| {
        signer.sign(
            r#"{"alg":"RS256","kid":"k"}"#,
            &claims(namespace, account).to_string(),
        )
    };
    check(
        &proxy,
        &token("agents", "coder"),
        "k8s:system:serviceaccount:agents:coder",
        &[
            ("pypi.org:443", true),
            ("api.bank.example:443", false),
            ("10.96.0.1:443", false),
        ],
    );
    check(
        &proxy,
        &token("ops", "backup"),
        "k8s:system:serviceaccount:ops:backup",
        &[
            ("eu.storage.example.net:443", true),
            ("pypi.org:443", false),
        ],
    );
}
