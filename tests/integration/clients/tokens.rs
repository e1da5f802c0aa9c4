//! Clients with a token: curl, git and pip, in the forms that docs/tokens.md gives.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::command::{Outcome, is_installed, run};
use crate::support::issuer::{Signer, claims, claims_with, config, key_set, seconds};
use crate::support::message::{Request, ok};
use crate::support::origin::Origin;
use crate::support::package_index::{Index, PIP};
use crate::support::programs::{Way, assert_output, command, curl};
use crate::support::proxy::{Proxy, Setup};
use crate::support::repository::Repository;
use crate::support::tls::Authority;

/// A proxy that accepts tokens, and an origin over http and over https.
struct Ground {
    proxy: Proxy,
    plain: Origin,
    secure: Origin,
    valid: String,
    expired: String,
}

impl Ground {
    fn new(answer: impl Fn(&Request) -> Vec<u8> + Clone + Send + Sync + 'static) -> Self {
        // As long as those of GitHub and Kubernetes.
        let signer = Signer::rsa();
        let authority = Authority::new();
        let identity = authority.issue(&["127.0.0.1"]);
        Self {
            proxy: Setup::new()
                .file("ca.pem", authority.pem())
                .file("keys.json", key_set([signer.jwk("k")]))
                .config(&config("keys.json", ""))
                .start(),
            plain: Origin::http(answer.clone()),
            secure: Origin::https(identity.server(), answer),
            valid: signer.token("k", &claims()),
            expired: signer.token("k", &claims_with(json!({"exp": seconds(-3600)}))),
        }
    }

    fn proxy_url(&self, token: &str) -> String {
        format!("http://x:{token}@{}", self.proxy.address)
    }

    fn origins(&self) -> [(&'static str, &Origin, String); 2] {
        let url = |scheme, origin: &Origin| format!("{scheme}://{}", origin.address);
        [
            ("http", &self.plain, url("http", &self.plain)),
            ("https", &self.secure, url("https", &self.secure)),
        ]
    }

    fn ca(&self) -> PathBuf {
        self.proxy.path("ca.pem")
    }

    /// Has a program fetch something under a name, with either token, from either origin and in each way.
    fn check(&self, fetch: impl Fn(Way<'_>, &str, &str) -> Outcome, assert_fetched: impl Fn(&str)) {
        let (valid, expired) = (self.proxy_url(&self.valid), self.proxy_url(&self.expired));
        for (scheme, origin, url) in self.origins() {
            let outcome = fetch(Way::Option(&expired), &url, scheme);
            assert!(!outcome.status.success(), "{scheme}");
            origin.assert_untouched();
            for (way, name) in [
                (Way::Option(&valid), format!("{scheme}-option")),
                (Way::Environment(&valid), format!("{scheme}-environment")),
            ] {
                let outcome = fetch(way, &url, &name);
                assert!(outcome.status.success(), "{name}: {}", outcome.output());
                assert_fetched(&name);
            }
        }
        self.assert_used();
    }

    /// The test fails unless the user of the token has fetched something in each role, the expired one was refused in
    /// each, and nothing else was. No origin sees a token, and no log has one.
    fn assert_used(&self) {
        for role in ["forward", "tunnel"] {
            self.proxy.record(role, |record| {
                record["role"] == role && record["user"] == "gh:org/repo" && record["status"] == 200
            });
            self.proxy.record(role, |record| {
                record["role"] == role && record["error"] == "token_expired"
            });
        }
        for record in self.proxy.records() {
            // Some clients ask without credentials first.
            let error = record["error"].as_str().unwrap_or("");
            assert!(
                record["status"] == 200
                    || ["token_expired", "credentials_missing"].contains(&error),
                "{record}"
            );
        }
        let log = std::fs::read_to_string(self.proxy.path("access.log")).unwrap();
        let mut seen = vec![log, self.proxy.errors()];
        for request in [&self.plain, &self.secure].map(Origin::requests).concat() {
            assert!(!request.head.fields.has("proxy-authorization"));
            seen.push(String::from_utf8_lossy(&request.head.raw).into_owned());
        }
        for token in [&self.valid, &self.expired] {
            let signature = token.rsplit('.').next().unwrap();
            assert!(!seen.iter().any(|text| text.contains(signature)));
        }
    }
}

#[test]
fn curl_sends_a_token() {
    if !is_installed(&["curl", "--version"]) {
        return;
    }
    let ground = Ground::new(|_| ok("page"));
    let ca = ground.ca().display().to_string();
    let bare = format!("http://{}", ground.proxy.address);
    let forms = |token: &str| {
        let user = format!("any:{token}");
        let bearer = format!("Proxy-Authorization: Bearer {token}");
        [
            vec!["-x".to_owned(), ground.proxy_url(token)],
            ["-x", &bare, "--proxy-user", &user]
                .map(str::to_owned)
                .into(),
            ["-x", &bare, "--proxy-anyauth", "--proxy-user", &user]
                .map(str::to_owned)
                .into(),
            ["-x", &bare, "--proxy-header", &bearer]
                .map(str::to_owned)
                .into(),
        ]
    };
    for (scheme, origin, url) in ground.origins() {
        let fetch = |form: &[String]| {
            let form: Vec<&str> = form.iter().map(String::as_str).collect();
            curl(&[&form, &["--fail", "--cacert", &ca, &url][..]].concat())
        };
        for form in forms(&ground.expired) {
            let outcome = fetch(&form);
            assert!(!outcome.status.success(), "{form:?}");
        }
        origin.assert_untouched();
        for form in forms(&ground.valid) {
            assert_output(&fetch(&form), "page");
        }
        let mut by_environment = command("curl");
        Way::Environment(&ground.proxy_url(&ground.valid)).apply(&mut by_environment, |_, _| {});
        by_environment.args(["-sS", "--max-time", "20", "--cacert", &ca, &url]);
        assert_output(&run(&mut by_environment, ""), "page");
        assert_eq!(origin.requests().len(), 5, "{scheme}");
    }
    ground.assert_used();
}

/// At the gateway the token is in `Authorization`.
#[test]
fn curl_sends_a_token_to_the_gateway() {
    if !is_installed(&["curl", "--version"]) {
        return;
    }
    let ground = Ground::new(|_| ok("page"));
    let url = format!("http://{}/", ground.proxy.address);
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    let fetch = |token: &str| curl(&["--fail", "-H", &bearer(token), &url]);
    assert!(!fetch(&ground.expired).status.success());
    // The page of a gateway without upstreams.
    let answer = fetch(&ground.valid);
    assert!(
        answer.stdout.contains("Tollgate works"),
        "{}",
        answer.output()
    );
    let wanted: [Value; 2] = [401.into(), 200.into()];
    let records = ground.proxy.wait_records(2);
    let statuses = records.iter().map(|record| &record["status"]);
    assert!(statuses.eq(&wanted), "{records:?}");
}

#[test]
fn git_clones_with_a_token() {
    if !is_installed(&["git", "--version"]) {
        return;
    }
    let repository = Repository::new();
    let ground = Ground::new(repository.answer());
    ground.check(
        |way, url, name| repository.clone_through(way, &ground.ca(), url, name),
        |name| repository.assert_cloned(name),
    );
}

#[test]
fn pip_downloads_with_a_token() {
    // A package of its own on most systems.
    if !is_installed(&PIP) {
        return;
    }
    let index = Index::new();
    let ground = Ground::new(index.answer());
    ground.check(
        |way, url, name| index.download(way, &ground.ca(), url, name),
        |name| index.assert_downloaded(name),
    );
}
