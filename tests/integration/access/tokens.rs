//! Tokens as credentials: the forms in which they come, who they are, and what is not accepted.

use serde_json::{Value, json};

use crate::support::command::tollgate;
use crate::support::issuer::{
    Signer, claims, claims_with, config, hs256, key_set, seconds, unsigned,
};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, basic, credentials};

/// A proxy that accepts tokens of these keys.
fn setup(keys: Vec<Value>, more: &str) -> Setup {
    Setup::new()
        .file("keys.json", key_set(keys))
        .config(&config("keys.json", more))
}

fn get(origin: &Origin, field: &str) -> String {
    let address = origin.address;
    format!("GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{field}\r\n\r\n")
}

/// The request with this token by Bearer.
fn bearer(origin: &Origin, token: &str) -> String {
    get(origin, &format!("Proxy-Authorization: Bearer {token}"))
}

#[test]
fn a_token_comes_in_every_form() {
    let signer = Signer::ec();
    let proxy = setup(vec![signer.jwk("k")], "").start();
    let origin = Origin::ok("in");
    let token = signer.token("k", &claims());
    for field in [
        format!("Proxy-Authorization: Bearer {token}"),
        format!("Proxy-Authorization: bearer   {token}"),
        format!("Proxy-Authorization: {}", basic("x", &token)),
        format!("Proxy-Authorization: {}", basic("alice", &token)),
    ] {
        let (answer, record) = proxy.ask(get(&origin, &field));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(record["user"], "gh:org/repo");
        let authority = origin.address;
        let connect =
            format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{field}\r\n\r\n");
        let (answer, record) = proxy.ask(connect);
        assert_eq!(
            (answer.status(), &record["user"]),
            (200, &"gh:org/repo".into())
        );
        let at_gateway = field.replace("Proxy-", "");
        let (answer, record) =
            proxy.ask(format!("GET / HTTP/1.1\r\nHost: x\r\n{at_gateway}\r\n\r\n"));
        assert_eq!(
            (answer.status(), &record["user"]),
            (200, &"gh:org/repo".into())
        );
    }
    for request in origin.requests() {
        let head = String::from_utf8_lossy(&request.head.raw).into_owned();
        assert!(!head.contains(&token), "{head}");
    }
    // Passwords are what they were.
    let (answer, record) = proxy.ask(get(&origin, credentials(ALICE).trim_end()));
    assert_eq!((answer.status(), &record["user"]), (200, &"alice".into()));
    assert!(!proxy.errors().contains(&token[..40]), "{}", proxy.errors());
}

#[test]
fn the_challenge_names_bearer_where_tokens_are_accepted() {
    let signer = Signer::ec();
    let with = setup(vec![signer.jwk("k")], "").start();
    let without = Proxy::plain();
    let origin = Origin::ok("in");
    let basic = "Basic realm=\"tollgate\", charset=\"UTF-8\"";
    let bearer_too = [basic, "Bearer realm=\"tollgate\""];
    let authority = origin.address;
    let connect = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    for (proxy, expected) in [(&with, &bearer_too[..]), (&without, &[basic])] {
        for request in [&get(&origin, "X: y"), &connect] {
            let (answer, _) = proxy.ask(request);
            assert_eq!(answer.status(), 407);
            assert_eq!(answer.head.fields.all("proxy-authenticate"), expected);
        }
        let (answer, _) = proxy.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.head.fields.all("www-authenticate"), expected);
    }
    // Without tokens, one is what any other scheme is.
    let token = signer.token("k", &claims());
    let (answer, record) = without.ask(bearer(&origin, &token));
    assert_eq!(
        (answer.status(), &record["error"]),
        (407, &"credentials_malformed".into())
    );
    let password = format!(
        "Proxy-Authorization: {}",
        crate::support::request::basic("x", &token)
    );
    let (answer, record) = without.ask(get(&origin, &password));
    assert_eq!(
        (answer.status(), &record["error"]),
        (407, &"credentials_wrong".into())
    );
    origin.assert_untouched();
}

/// The classes of attacks on JWT libraries, and tokens that are for others.
#[test]
fn what_is_no_token_of_the_issuer_is_refused() {
    let (signer, stranger, rsa) = (Signer::ec(), Signer::ec(), Signer::rsa());
    let proxy = setup(vec![signer.jwk("k"), rsa.jwk("r")], "").start();
    let origin = Origin::ok("in");
    let good = claims().to_string();
    let with = |other: Value| signer.token("k", &claims_with(other));
    let modulus = rsa.jwk("r").to_string();
    let long = "x".repeat(20_000);
    let cases = [
        (unsigned(r#"{"alg":"none"}"#, &good), "malformed"),
        (
            unsigned(r#"{"alg":"none","kid":"k"}"#, &good) + "AA",
            "algorithm",
        ),
        (
            hs256(r#"{"alg":"HS256","kid":"r"}"#, &good, modulus.as_bytes()),
            "algorithm",
        ),
        (
            hs256(r#"{"alg":"RS256","kid":"r"}"#, &good, modulus.as_bytes()),
            "signature",
        ),
        (
            signer.token("../../../../../../etc/passwd", &claims()),
            "key",
        ),
        (signer.token("k' OR 1=1 --", &claims()), "key"),
        (stranger.token("k", &claims()), "signature"),
        (
            stranger.sign(
                &format!(r#"{{"alg":"ES256","kid":"k","jwk":{}}}"#, stranger.jwk("k")),
                &good,
            ),
            "signature",
        ),
        (
            signer.sign(r#"{"alg":"ES256","kid":"k","crit":["exp"]}"#, &good),
            "critical",
        ),
        (
            signer.sign(r#"{"alg":"ES256","kid":"k","typ":"logout+jwt"}"#, &good),
            "type",
        ),
        (
            signer.sign(r#"{"alg":"ES256","alg":"ES256","kid":"k"}"#, &good),
            "malformed",
        ),
        (
            signer.sign(
                r#"{"alg":"ES256","kid":"k"}"#,
                &good.replace('{', r#"{"sub":"root","#),
            ),
            "malformed",
        ),
        (
            with(json!({"iss": "https://issuer.test.evil.test"})),
            "issuer",
        ),
        (with(json!({"iss": null})), "claim"),
        (with(json!({"aud": "https://cloud.test"})), "audience"),
        (with(json!({"aud": null})), "audience"),
        (with(json!({"exp": null})), "claim"),
        (with(json!({"exp": "4102444800"})), "claim"),
        (with(json!({"nbf": seconds(60)})), "not_yet_valid"),
        (with(json!({"iat": seconds(60)})), "not_yet_valid"),
        (with(json!({"sub": "a\r\nX-Injected: 1"})), "user"),
        (with(json!({"sub": "u".repeat(300)})), "user"),
        (with(json!({"groups": {"admin": true}})), "claim"),
        ("eyJ9.e30.AA".to_owned(), "malformed"),
    ];
    for (token, reason) in &cases {
        for field in ["Bearer ".to_owned() + token, basic("x", token)] {
            let (answer, record) =
                proxy.ask(get(&origin, &format!("Proxy-Authorization: {field}")));
            assert_eq!(answer.status(), 407, "{token}");
            assert_eq!(record["error"], "token_invalid", "{record}");
            let detail = record["error_detail"].as_str().unwrap();
            assert!(
                detail.starts_with(&format!("{reason}: ")),
                "{token}: {detail}"
            );
            assert!(record.get("user").is_none(), "{record}");
            // The client learns no reason.
            let text = answer.text();
            assert!(text.contains("The token is not accepted."), "{text}");
            assert!(!text.contains(detail), "{text}");
        }
    }
    let (answer, record) = proxy.ask(bearer(&origin, &with(json!({"exp": seconds(-60)}))));
    assert_eq!(
        (answer.status(), &record["error"]),
        (407, &"token_expired".into())
    );
    let (answer, record) = proxy.ask(bearer(&origin, &with(json!({"pad": long}))));
    assert_eq!(
        (answer.status(), &record["error"]),
        (407, &"credentials_malformed".into())
    );
    let huge = format!(
        "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nProxy-Authorization: Bearer {}\r\n\r\n",
        "x".repeat(100_000)
    );
    assert_eq!(proxy.exchange(huge).status(), 431);

    origin.assert_untouched();
    let refused = |reason: &str| {
        proxy.metric(&format!(
            "tollgate_tokens_refused_total{{reason=\"{reason}\"}}"
        ))
    };
    assert_eq!((refused("signature"), refused("expired")), (6, 1));
    let invalid = proxy.metric("tollgate_auth_failures_total{reason=\"token_invalid\"}");
    assert_eq!(invalid, cases.len() as u64 * 2);
    // And one that is right.
    assert_eq!(
        proxy.exchange(bearer(&origin, &with(json!({})))).status(),
        200
    );
    assert_eq!(
        proxy
            .exchange(bearer(&origin, &rsa.token("r", &claims())))
            .status(),
        200
    );
}

#[test]
fn clocks_may_differ_by_the_leeway() {
    let signer = Signer::ec();
    let proxy = setup(vec![signer.jwk("k")], ", leeway: 2m").start();
    let origin = Origin::ok("in");
    for (other, expected) in [
        (json!({"exp": seconds(-110)}), 200),
        (json!({"exp": seconds(-121)}), 407),
        (json!({"nbf": seconds(110)}), 200),
        (json!({"nbf": seconds(130)}), 407),
        (json!({"iat": seconds(110)}), 200),
        (json!({"iat": seconds(130)}), 407),
    ] {
        let token = signer.token("k", &claims_with(other.clone()));
        assert_eq!(
            proxy.exchange(bearer(&origin, &token)).status(),
            expected,
            "{other}"
        );
    }
}

/// Rules know the user of a token by its name, by the group file and by its own groups.
#[test]
fn rules_are_for_users_of_tokens_too() {
    let signer = Signer::ec();
    let rules = "policy: { default: deny, rules: [ \
        { name: by-name, action: admit, users: [\"gh:org/named\"] }, \
        { name: by-file, action: admit, groups: [listed] }, \
        { name: by-token, action: admit, groups: [dev, nobody-has-it] }, \
        { name: by-expression, action: admit, when: '\"qa\" in user.groups' } ] }";
    let proxy = setup(vec![signer.jwk("k")], "")
        .file("groups.htgroup", "listed: \"gh:org/listed\"\n")
        .config("auth: { groups: groups.htgroup }")
        .config(rules)
        .start();
    let origin = Origin::ok("in");
    for (user, groups, expected) in [
        ("org/named", json!([]), "by-name"),
        ("org/listed", json!(["x"]), "by-file"),
        ("org/listed", json!(["dev"]), "by-file"),
        ("org/other", json!(["x", "dev"]), "by-token"),
        ("org/other", json!("dev"), "by-token"),
        ("org/other", json!(["qa"]), "by-expression"),
        ("org/other", json!(["Dev"]), "default"),
        ("org/other", json!(null), "default"),
    ] {
        let token = signer.token("k", &claims_with(json!({"sub": user, "groups": groups})));
        let (answer, record) = proxy.ask(bearer(&origin, &token));
        let status = if expected == "default" { 403 } else { 200 };
        assert_eq!(answer.status(), status, "{record}");
        assert_eq!(record["rule"], expected, "{user} {groups}");
    }

    let file = proxy.path("pingora.yaml");
    let explain = |user: &str, more: &[&str]| {
        let mut arguments = vec!["explain", "-c", file.to_str().unwrap(), "--user", user];
        arguments.extend(["--target", "127.0.0.1:443"]);
        arguments.extend(more);
        tollgate(arguments)
    };
    for (user, more, code, expected) in [
        ("gh:org/named", &[][..], 0, "by-name"),
        ("gh:org/other", &[], 1, "default"),
        (
            "gh:org/other",
            &["--group", "x", "--group", "dev"],
            0,
            "by-token",
        ),
        ("gh:org/listed", &[], 0, "by-file"),
    ] {
        let outcome = explain(user, more);
        assert_eq!(outcome.code(), Some(code), "{}", outcome.output());
        assert!(outcome.stdout.contains(expected), "{}", outcome.output());
        assert!(!outcome.output().contains("407"), "{}", outcome.output());
    }
    let outcome = explain("alice", &["--group", "dev"]);
    assert!(
        outcome
            .output()
            .contains("--group: no token makes this user"),
        "{}",
        outcome.output()
    );
}

/// A token whose claim names a user with a password does not become that user.
#[test]
fn a_token_is_not_a_user_of_the_password_file() {
    let signer = Signer::ec();
    let setup = setup(vec![signer.jwk("k")], "");
    let proxy = setup
        .config(&config("keys.json", "").replace("gh:", ""))
        .start();
    let origin = Origin::ok("in");
    let token = |sub: &str| signer.token("k", &claims_with(json!({"sub": sub})));
    assert_eq!(
        proxy.ask(bearer(&origin, &token("mallory"))).0.status(),
        200
    );
    let (answer, record) = proxy.ask(bearer(&origin, &token("alice")));
    assert_eq!(
        (answer.status(), &record["error"]),
        (407, &"token_invalid".into())
    );
    assert!(
        record["error_detail"]
            .as_str()
            .unwrap()
            .starts_with("user: "),
        "{record}"
    );
}
