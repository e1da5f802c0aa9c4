//! What an external authoriser is asked about requests with tokens.

use serde_json::{Value, json};

use crate::support::authorizer::{admitting, config, questions};
use crate::support::issuer::{self, Signer, claims, claims_with, key_set, seconds};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::basic;

/// A proxy that accepts tokens of this key, and asks the service.
fn proxy(signer: &Signer, service: &Origin, keys: &str, rest: &str) -> Proxy {
    Setup::new()
        .file("keys.json", key_set(vec![signer.jwk("k")]))
        .config(&issuer::config("keys.json", ""))
        .config(&config(service, keys))
        .config(rest)
        .start()
}

fn connect(origin: &Origin, credentials: &str) -> String {
    let address = origin.address;
    format!(
        "CONNECT {address} HTTP/1.1\r\nHost: {address}\r\nProxy-Authorization: {credentials}\r\n\r\n"
    )
}

const BY_RULE: &str =
    "policy: { default: deny, rules: [{ name: dev, action: admit, ask: true, groups: [dev] }] }";

/// The user and the groups that the verified token says are in the question, however the token came; the token itself
/// only where the operator has passwords sent.
#[test]
fn user_and_groups_of_a_token_are_asked_and_the_token_is_a_password() {
    let signer = Signer::ec();
    let token = signer.token("k", &claims());
    let origin = Origin::ok("in");
    let forms = [format!("Bearer {token}"), basic("x", &token)];
    for (ask, rest, rule) in [
        ("always", "log: {}", Value::Null),
        ("rule", BY_RULE, json!("dev")),
    ] {
        for send in [false, true] {
            let service = admitting();
            let keys = format!("ask: {ask}, send_password: {send}, cache: 0s");
            let proxy = proxy(&signer, &service, &keys, rest);
            for credentials in &forms {
                let answer = proxy.exchange(connect(&origin, credentials));
                assert_eq!(answer.status(), 200, "{ask} {send} {}", answer.text());
            }
            let asked = questions(&service);
            assert_eq!(asked.len(), forms.len());
            for question in asked {
                assert_eq!(
                    (&question["user"], &question["groups"]),
                    (&json!("gh:org/repo"), &json!(["dev"]))
                );
                assert_eq!(question["rule"], rule);
                let password = if send { json!(token) } else { Value::Null };
                assert_eq!(question["password"], password, "{ask}");
            }
            let all = service.requests();
            let has = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(&token);
            assert_eq!(
                all.iter()
                    .any(|request| has(&request.head.raw) || has(&request.body)),
                send
            );
        }
    }
}

#[test]
fn by_status_the_field_is_as_the_client_sent_it() {
    let signer = Signer::ec();
    let token = signer.token("k", &claims());
    let origin = Origin::ok("in");
    let bearer = format!("Bearer {token}");
    for (send, expected) in [(true, Some(&*bearer)), (false, None)] {
        let service = Origin::ok("");
        let keys = format!("mode: status, ask: always, send_password: {send}");
        let proxy = proxy(&signer, &service, &keys, "log: {}");
        assert_eq!(proxy.exchange(connect(&origin, &bearer)).status(), 200);
        let fields = &service.request().head.fields;
        assert_eq!(fields.value("x-tollgate-user"), Some("gh:org/repo"));
        assert_eq!(fields.value("authorization"), expected);
    }
}

/// It decides about users whom tokens make, and makes none of a token: one that is not accepted is no question.
#[test]
fn a_token_that_is_not_accepted_is_no_question() {
    let (signer, stranger) = (Signer::ec(), Signer::ec());
    let expired = signer.token("k", &claims_with(json!({"exp": seconds(-3600)})));
    let foreign = stranger.token("k", &claims());
    let origin = Origin::ok("in");
    for (keys, rest) in [
        ("ask: always, send_password: true", "log: {}"),
        ("ask: rule, send_password: true", BY_RULE),
        ("ask: unknown_users, send_password: true", "log: {}"),
    ] {
        let service = admitting();
        let proxy = proxy(&signer, &service, keys, rest);
        for credentials in [
            format!("Bearer {expired}"),
            format!("Bearer {foreign}"),
            basic("ann", &expired),
            basic("ann", &foreign),
            "Bearer opaque".to_owned(),
        ] {
            let answer = proxy.exchange(connect(&origin, &credentials));
            assert_eq!(answer.status(), 407, "{keys} {credentials}");
        }
        service.assert_untouched();
    }
    // With `unknown_users` one that is accepted is none either, and Bearer without `auth.tokens` is refused.
    let service = admitting();
    let keys = "ask: unknown_users, send_password: true";
    let accepting = proxy(&signer, &service, keys, "log: {}");
    let valid = format!("Bearer {}", signer.token("k", &claims()));
    assert_eq!(accepting.exchange(connect(&origin, &valid)).status(), 200);
    let without = Setup::new().config(&config(&service, keys)).start();
    assert_eq!(without.exchange(connect(&origin, &valid)).status(), 407);
    service.assert_untouched();
}
