//! Who is let in: Basic credentials on every request of every kind.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;

use crate::support::client::Wire;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{
    ALICE, BOB, COLON, UNICODE, auth, basic, connect, credentials, fetch,
};

/// One request of each role, with those field lines as its credentials. At the gateway Tollgate is an origin, whose
/// clients may use other fields: `roles::gateway_authentication`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Absolute,
    Origin,
    Connect,
}

impl Kind {
    /// The status of a request without credentials.
    fn challenge(self) -> u16 {
        match self {
            Self::Origin => 401,
            Self::Absolute | Self::Connect => 407,
        }
    }

    fn request(self, origin: &Origin, fields: &str) -> String {
        let address = origin.address;
        match self {
            Self::Absolute => {
                format!("GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n")
            }
            Self::Origin => format!("GET / HTTP/1.1\r\nHost: gate\r\n{fields}\r\n"),
            Self::Connect => {
                format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n")
            }
        }
    }
}

/// Field lines and whether they let the request in.
fn truth_table() -> Vec<(&'static str, String, bool)> {
    let line = |value: &str| format!("Proxy-Authorization: {value}\r\n");
    let encoded = |bytes: &[u8]| line(&format!("Basic {}", STANDARD.encode(bytes)));
    let right = basic(ALICE.0, ALICE.1);
    let token = right.trim_start_matches("Basic ").to_owned();
    vec![
        ("none", String::new(), false),
        ("right", line(&right), true),
        ("lower-case scheme", line(&format!("basic {token}")), true),
        ("upper-case scheme", line(&format!("BASIC {token}")), true),
        (
            "lower-case name",
            format!("proxy-authorization: {right}\r\n"),
            true,
        ),
        ("two spaces", line(&format!("Basic  {token}")), true),
        ("password with colons", credentials(COLON), true),
        ("UTF-8", credentials(UNICODE), true),
        ("empty field", line(""), false),
        ("scheme alone", line("Basic"), false),
        ("scheme and a space", line("Basic "), false),
        ("other scheme", line(&format!("Bearer {token}")), false),
        ("no scheme", line(&token), false),
        ("not base64", line("Basic !!!!"), false),
        (
            "rubbish after base64",
            line(&format!("Basic {token} x")),
            false,
        ),
        ("no colon", encoded(b"alice"), false),
        ("colon alone", encoded(b":"), false),
        (
            "empty user",
            encoded(format!(":{}", ALICE.1).as_bytes()),
            false,
        ),
        ("empty password", encoded(b"alice:"), false),
        ("wrong password", credentials((ALICE.0, "wrong")), false),
        (
            "password's prefix",
            credentials((ALICE.0, &ALICE.1[..5])),
            false,
        ),
        ("password and more", encoded(b"alice:canary-4d1f9a "), false),
        (
            "other user's password",
            credentials((ALICE.0, BOB.1)),
            false,
        ),
        ("unknown user", credentials(("mallory", ALICE.1)), false),
        ("user in other case", credentials(("Alice", ALICE.1)), false),
        ("invalid UTF-8", encoded(b"al\xffice:\xfe"), false),
        ("NUL in the user", encoded(b"alice\0:canary-4d1f9a"), false),
        (
            "NUL after the password",
            encoded(b"alice:canary-4d1f9a\0"),
            false,
        ),
        ("line break", encoded(b"alice:canary-4d1f9a\r\nX: y"), false),
        ("40 KiB", encoded(&[b'a'; 40 * 1024]), false),
        (
            "40 KiB of password",
            encoded(&[b"alice:".as_slice(), &[b'p'; 40 * 1024]].concat()),
            false,
        ),
        (
            "two different",
            credentials(ALICE) + &credentials(BOB),
            false,
        ),
        (
            "Authorization instead",
            format!("Authorization: {right}\r\n"),
            false,
        ),
    ]
}

/// Two fields at once are malformed (400); a huge one may be too large (431). All else is a challenge.
fn is_refusal(kind: Kind, case: &str, status: u16) -> bool {
    let challenge = match case {
        "none" => kind.challenge(),
        _ => 407,
    };
    status == challenge
        || (case == "two different" && status == 400)
        || (case.starts_with("40 KiB") && matches!(status, 400 | 431))
}

fn check_table(kind: Kind, prepare: impl Fn(&Proxy, &Origin) -> Wire) {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let mut let_in = 0;
    for (case, fields, admitted) in truth_table() {
        let mut wire = prepare(&proxy, &origin);
        let answer = wire.exchange(kind.request(&origin, &fields));
        // There it is not instead, but the field of an origin.
        let admitted = admitted || (kind == Kind::Origin && case == "Authorization instead");
        if admitted {
            assert_eq!(answer.status(), 200, "{kind:?}: {case}");
            let_in += 1;
        } else {
            assert!(
                is_refusal(kind, case, answer.status()),
                "{kind:?}: {case}: {}",
                answer.head.start
            );
        }
    }
    match kind {
        Kind::Absolute => assert_eq!(origin.requests().len(), let_in),
        Kind::Origin => origin.assert_untouched(),
        Kind::Connect => {
            origin.wait_connections(let_in);
            assert_eq!(origin.connections(), let_in);
        }
    }
}

// Case 17: the truth table, for each kind of request.
#[test]
fn truth_table_for_absolute_form() {
    check_table(Kind::Absolute, |proxy, _| proxy.connect());
}

#[test]
fn truth_table_for_origin_form() {
    check_table(Kind::Origin, |proxy, _| proxy.connect());
}

#[test]
fn truth_table_for_connect() {
    check_table(Kind::Connect, |proxy, _| proxy.connect());
}

// Case 17 and 18: an admitted request says nothing about the next one on its connection.
#[test]
fn truth_table_for_the_second_request_on_a_connection() {
    for kind in [Kind::Absolute, Kind::Origin, Kind::Connect] {
        check_table(kind, |proxy, _| {
            let mut wire = proxy.connect();
            let request = format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth());
            assert_eq!(wire.exchange(request).status(), 200);
            wire
        });
    }
}

#[test]
fn challenge_is_basic_with_realm_and_charset() {
    let proxy = Proxy::start("auth: { realm: 'the gate' }");
    let origin = Origin::ok("in");
    for kind in [Kind::Absolute, Kind::Origin, Kind::Connect] {
        let answer = proxy.exchange(kind.request(&origin, ""));
        assert_eq!(answer.status(), kind.challenge(), "{kind:?}");
        let (own, other) = match kind {
            Kind::Origin => ("www-authenticate", "proxy-authenticate"),
            Kind::Absolute | Kind::Connect => ("proxy-authenticate", "www-authenticate"),
        };
        assert_eq!(
            answer.head.fields.all(own),
            ["Basic realm=\"the gate\", charset=\"UTF-8\""],
            "{kind:?}"
        );
        assert!(answer.field("proxy-status").is_some(), "{kind:?}");
        assert!(!answer.body.is_empty(), "{kind:?}: a text for a person");
        assert!(!answer.head.fields.has(other), "{kind:?}");
    }
}

#[test]
fn refusal_is_json_for_who_accepts_it() {
    let proxy = Proxy::plain();
    let answer = proxy.exchange("GET / HTTP/1.1\r\nHost: gate\r\nAccept: application/json\r\n\r\n");
    assert_eq!(answer.status(), 401);
    assert!(
        answer
            .field("content-type")
            .unwrap()
            .starts_with("application/json")
    );
    serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap();
}

#[test]
fn connection_stays_usable_after_a_challenge_for_each_kind() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    for kind in [Kind::Absolute, Kind::Origin, Kind::Connect] {
        let mut wire = proxy.connect();
        for _ in 0..3 {
            assert_eq!(
                wire.exchange(kind.request(&origin, "")).status(),
                kind.challenge(),
                "{kind:?}"
            );
        }
        let answer = wire.exchange(kind.request(&origin, &auth()));
        assert_eq!(answer.status(), 200, "{kind:?}");
    }
}

// Case 6: the body of a refused request is drained, never read as a request.
#[test]
fn connection_stays_usable_after_407_to_a_small_body() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let url = format!("http://{}/", origin.address);
    let inner = fetch(&url);
    let bodies = [
        format!("Content-Length: {}\r\n\r\n{inner}", inner.len()),
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n",
            inner.len()
        ),
    ];
    for body in bodies {
        let mut wire = proxy.connect();
        let request = format!("POST {url} HTTP/1.1\r\nHost: {}\r\n{body}", origin.address);
        assert_eq!(wire.exchange(request).status(), 407);
        origin.assert_untouched();
    }
    let mut wire = proxy.connect();
    let request = format!(
        "POST {url} HTTP/1.1\r\nHost: {}\r\nContent-Length: 5\r\n\r\nhello",
        origin.address
    );
    assert_eq!(wire.exchange(request).status(), 407);
    assert_eq!(wire.exchange(fetch(&url)).status(), 200);
    assert_eq!(origin.requests().len(), 1);
}

// Case 6: a body too large to drain is answered at once and ends the connection.
#[test]
fn large_body_is_refused_before_it_is_sent() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let address = origin.address;
    let mut wire = proxy.connect();
    let request = format!(
        "POST http://{address}/ HTTP/1.1\r\nHost: {address}\r\nContent-Length: 99999999\r\n\r\nx"
    );
    assert_eq!(wire.exchange(request).status(), 407);
    let _maybe_closed = wire.send(fetch(&format!("http://{address}/")));
    wire.assert_closed();
    origin.assert_untouched();
}

#[test]
fn expectation_is_refused_without_a_100() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let address = origin.address;
    let answer = proxy.exchange(format!(
        "PUT http://{address}/ HTTP/1.1\r\nHost: {address}\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    ));
    assert_eq!(answer.status(), 407);
    origin.assert_untouched();
}

// Case 18: the user belongs to the request.
#[test]
fn two_users_on_one_connection_are_two_users() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let mut wire = proxy.connect();
    for user in [ALICE, BOB, UNICODE, ALICE] {
        let request = Kind::Absolute.request(&origin, &credentials(user));
        assert_eq!(wire.exchange(request).status(), 200);
    }
    let request = Kind::Connect.request(&origin, &credentials(BOB));
    assert_eq!(wire.exchange(request).status(), 200);
    drop(wire);
    let records = proxy.wait_records(5);
    let users: Vec<_> = records
        .iter()
        .map(|record| record["user"].as_str())
        .collect();
    let expected = [ALICE.0, BOB.0, UNICODE.0, ALICE.0, BOB.0].map(Some);
    assert_eq!(users, expected);
}

#[test]
fn refused_user_is_not_logged_as_the_user() {
    let proxy = Proxy::plain();
    let answer = proxy.exchange(format!(
        "GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n",
        credentials((ALICE.0, "wrong"))
    ));
    assert_eq!(answer.status(), 407);
    let record = proxy.record("the refusal", |record| record["status"] == 407);
    assert_ne!(
        record["user"], ALICE.0,
        "not who they were shown to be: {record}"
    );
}

// Case 14: what lets a client in goes no further; what is meant for the origin does.
#[test]
fn proxy_credentials_stay_and_origin_credentials_pass() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let address = origin.address;
    let answer = proxy.exchange(format!(
        "GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{}Authorization: Basic b3JpZ2lu\r\n\r\n",
        auth()
    ));
    assert_eq!(answer.status(), 200);
    let fields = origin.request().head.fields;
    assert!(!fields.has("proxy-authorization"));
    assert_eq!(fields.value("authorization"), Some("Basic b3JpZ2lu"));
}

// Case 15: an origin cannot make the client send its proxy credentials.
#[test]
fn origin_challenge_for_proxy_credentials_is_not_passed() {
    let proxy = Proxy::plain();
    let origin = Origin::fixed(
        "HTTP/1.1 407 Give\r\nProxy-Authenticate: Basic realm=\"evil\"\r\nProxy-Authentication-Info: x\r\nContent-Length: 0\r\n\r\n",
    );
    let answer = proxy.fetch(&format!("http://{}/", origin.address));
    let shown = String::from_utf8_lossy(&answer.head.raw).into_owned();
    assert!(!shown.contains("evil"), "{shown}");
    assert!(
        !answer.head.fields.has("proxy-authentication-info"),
        "{shown}"
    );
    assert!(
        answer.status() == 502 || !answer.head.fields.has("proxy-authenticate"),
        "{shown}"
    );
}

// Case 16: a password and its encodings are in no output.
#[test]
fn credentials_are_in_no_output() {
    let mut proxy = Setup::new().config("log: { tunnel_open: true }").start();
    let origin = Origin::ok("in");
    let wrong = ("alice", "canary-wrong-guess");
    let mut answers = String::new();
    for user in [ALICE, COLON, UNICODE, wrong] {
        for kind in [Kind::Absolute, Kind::Origin, Kind::Connect] {
            let request = kind.request(&origin, &credentials(user));
            let answer = proxy.exchange(&request);
            answers += &String::from_utf8_lossy(&answer.head.raw);
            answers += &answer.text();
            // Refused for other reasons too: unreachable, denied, malformed.
            let line = credentials(user);
            for target in [
                "http://127.0.0.1:1/",
                "http://10.0.0.1/",
                "http://u:p@x/",
                "ftp://x/",
            ] {
                let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{line}\r\n");
                let mut wire = proxy.connect();
                wire.send(request).unwrap();
                if let Ok(answer) = wire.response("GET") {
                    answers += &String::from_utf8_lossy(&answer.head.raw);
                    answers += &answer.text();
                }
            }
        }
    }
    for path in ["/metrics", "/stats"] {
        answers += &proxy.admin(path).text();
    }
    proxy.signal(Signal::TERM);
    proxy.wait_exit(Duration::from_secs(20));
    let log = std::fs::read_to_string(proxy.path("access.log")).unwrap();
    let everything = [answers, log, proxy.errors(), proxy.output()].concat();
    for (user, password) in [ALICE, COLON, UNICODE, wrong] {
        let token = STANDARD.encode(format!("{user}:{password}"));
        for secret in [password, &token, &STANDARD.encode(password)] {
            assert!(!everything.contains(secret), "{secret} in\n{everything}");
        }
    }
    assert!(
        !everything.contains("canary"),
        "part of a secret in\n{everything}"
    );
}

// Case 13: the credentials check reads the field, whatever Connection says of it.
#[test]
fn nominated_credentials_still_count_and_still_stay() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let address = origin.address;
    let answer = proxy.exchange(format!(
        "GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\nConnection: Proxy-Authorization\r\n{}\r\n",
        auth()
    ));
    assert_eq!(answer.status(), 200);
    assert!(!origin.request().head.fields.has("proxy-authorization"));
}

#[test]
fn connect_after_get_is_judged_by_its_own_credentials() {
    let proxy = Proxy::plain();
    let origin = Origin::echo();
    let mut wire = proxy.connect();
    let request = format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth());
    assert_eq!(wire.exchange(request).status(), 200);
    assert_eq!(
        wire.exchange(Kind::Connect.request(&origin, "")).status(),
        407
    );
    assert_eq!(wire.exchange(connect(origin.address)).status(), 200);
    wire.send("through").unwrap();
    assert_eq!(wire.read_bytes(7).unwrap(), b"through");
}
