//! Who a client is at the gateway, where Tollgate is the origin (RFC 9110 §3.7): 401 and `Authorization`, and what an
//! upstream learns of the user.

use std::net::SocketAddr;

use crate::support::client::Wire;
use crate::support::command;
use crate::support::http2::{Client, bare, run};
use crate::support::message::{ok, response};
use crate::support::origin::Origin;
use crate::support::programs::{self, assert_output, curl};
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, UNICODE, auth, basic, credentials};

fn pool(address: SocketAddr) -> String {
    format!("gateway:\n  upstreams: [\"{address}\"]\n")
}

fn authorization((user, password): (&str, &str)) -> String {
    format!("Authorization: {}\r\n", basic(user, password))
}

fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: gate.example\r\n{fields}\r\n")
}

const CHALLENGE: [&str; 1] = ["Basic realm=\"tollgate\", charset=\"UTF-8\""];

/// Which challenge an answer has: 401 and 407 each have their own, and not the other's.
fn challenged(wire: &mut Wire, request: &str) -> u16 {
    let answer = wire.exchange(request);
    let (own, other) = match answer.status() {
        401 => ("www-authenticate", "proxy-authenticate"),
        407 => ("proxy-authenticate", "www-authenticate"),
        status => return status,
    };
    assert_eq!(answer.head.fields.all(own), CHALLENGE, "{request}");
    assert!(!answer.head.fields.has(other), "{request}");
    answer.status()
}

#[test]
fn authorization_counts_where_there_is_no_proxy_authorization() {
    let origin = Origin::ok("behind");
    let proxy = Proxy::start(&pool(origin.address));
    let wrong = (ALICE.0, "wrong");
    let mut wire = proxy.connect();
    for (fields, status) in [
        (String::new(), 401),
        (authorization(ALICE), 200),
        (authorization(UNICODE), 200),
        (authorization(wrong), 401),
        ("Authorization: Bearer abc\r\n".to_owned(), 401),
        ("Authorization: Basic !!!\r\n".to_owned(), 401),
        ("Authorization:\r\n".to_owned(), 401),
        (credentials(ALICE), 200),
        (credentials(wrong), 407),
        // The proxy's decide, whatever the origin's are.
        (credentials(wrong) + &authorization(ALICE), 407),
        (authorization(ALICE) + &credentials(wrong), 407),
        (credentials(ALICE) + &authorization(wrong), 200),
    ] {
        assert_eq!(challenged(&mut wire, &get(&fields)), status, "{fields}");
    }
    let twice = authorization(ALICE) + &authorization(BOB);
    assert_eq!(proxy.exchange(get(&twice)).status(), 400);
    assert_eq!(origin.requests().len(), 4);
}

#[test]
fn in_other_roles_authorization_is_the_origins() {
    let origin = Origin::ok("in");
    let proxy = Proxy::start(&pool(origin.address));
    let host = origin.address;
    let fields = authorization(ALICE);
    for request in [
        format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"),
        format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"),
    ] {
        assert_eq!(challenged(&mut proxy.connect(), &request), 407, "{request}");
    }
    assert!(origin.requests().is_empty());
    let both = auth() + &authorization(BOB);
    let request = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{both}\r\n");
    assert_eq!(proxy.exchange(request).status(), 200);
    let passed = origin.request().head.fields.all("authorization").join("");
    assert_eq!(passed, basic(BOB.0, BOB.1));
}

#[test]
fn what_opened_the_gate_goes_no_further() {
    let origin = Origin::http(|request| {
        let fields = &request.head.fields;
        let passed =
            ["authorization", "proxy-authorization"].map(|name| fields.all(name).join("|"));
        ok(passed.join(";"))
    });
    let proxy = Proxy::start(&pool(origin.address));
    let bearer = "Authorization: Bearer of-the-upstream\r\n";
    for (fields, passed) in [
        (authorization(ALICE), ";"),
        // A head that is written anew, not cut.
        (authorization(ALICE) + "X-Forwarded-For: 1.2.3.4\r\n", ";"),
        (auth() + bearer, "Bearer of-the-upstream;"),
        (bearer.to_owned() + &auth(), "Bearer of-the-upstream;"),
    ] {
        for fields in [
            fields.clone(),
            format!("{fields}A: b\r\n"),
            format!("A: b\r\n{fields}"),
        ] {
            assert_eq!(proxy.exchange(get(&fields)).text(), passed, "{fields}");
        }
    }
    let log = std::fs::read_to_string(proxy.path("access.log")).unwrap_or_default();
    assert!(!log.contains(&basic(ALICE.0, ALICE.1)));
}

#[test]
fn words_and_records_are_those_of_an_origin() {
    let proxy = Proxy::plain();
    let (answer, record) = proxy.ask(get(""));
    assert!(
        answer.text().contains("This server needs credentials"),
        "{}",
        answer.text()
    );
    assert_eq!(
        (&record["status"], &record["error"]),
        (&401.into(), &"credentials_missing".into())
    );
    let json = proxy.exchange(get(
        &(authorization((ALICE.0, "x")) + "Accept: application/json\r\n")
    ));
    let json: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!(
        (&json["status"], &json["error"]),
        (&401.into(), &"credentials_wrong".into())
    );
    let failed = "tollgate_auth_failures_total{reason=\"credentials_wrong\"}";
    assert_eq!(proxy.metric(failed), 1);
}

#[test]
fn over_http2() {
    let origin = Origin::ok("behind");
    let proxy = Proxy::start(&pool(origin.address));
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let url = format!("http://{}/", proxy.address);
        let answer = client.ask(bare("GET", &url, &[])).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.field("www-authenticate"), Some(CHALLENGE[0]));
        let right = basic(ALICE.0, ALICE.1);
        let answer = client
            .ask(bare("GET", &url, &[("authorization", &right)]))
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (200, "behind".to_owned())
        );
    });
    assert!(!origin.request().head.fields.has("authorization"));
}

/// A handshake that Tollgate passes on itself.
fn websocket(target: &str, host: impl std::fmt::Display, fields: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Declines, and says which fields of the user came.
fn tells_the_user() -> Origin {
    Origin::http(|request| {
        let spellings = ["x-webauth-user", "x_webauth_user"];
        let told = spellings.map(|name| request.head.fields.all(name).join("|"));
        ok(told.concat())
    })
}

#[test]
fn an_upstream_is_told_the_user_by_tollgate_alone() {
    let origin = tells_the_user();
    let field = "  user_field: X-WebAuth-User\n";
    let proxy = Proxy::start(&(pool(origin.address) + field));
    let host = origin.address;
    for forged in [
        "",
        "X-WebAuth-User: root\r\n",
        // An option that would take the field away (RFC 9110 §7.6.1).
        "Connection: X-WebAuth-User\r\n",
        "x-webauth-USER: a\r\nX_WebAuth_User: root\r\n",
    ] {
        for (fields, user) in [
            (authorization(ALICE), ALICE.0),
            (credentials(BOB), BOB.0),
            (credentials(UNICODE), UNICODE.0),
        ] {
            let fields = fields + forged;
            assert_eq!(proxy.exchange(get(&fields)).text(), user, "{fields}");
            let request = websocket("/", "gate.example", &fields);
            assert_eq!(proxy.exchange(request).text(), user, "{fields}");
        }
        // An origin that is forwarded to, which may be the same server, is told nobody.
        let fields = auth() + forged;
        let url = format!("http://{host}/");
        let request = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        assert_eq!(proxy.exchange(request).text(), "", "{fields}");
        assert_eq!(
            proxy.exchange(websocket(&url, host, &fields)).text(),
            "",
            "{fields}"
        );
    }
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let right = basic(ALICE.0, ALICE.1);
        let fields = [
            ("authorization", right.as_str()),
            ("x-webauth-user", "root"),
        ];
        let url = format!("http://{}/", proxy.address);
        assert_eq!(client.ask(bare("GET", &url, &fields)).await.text(), ALICE.0);
    });
}

#[test]
fn without_the_key_no_upstream_is_told() {
    let origin = tells_the_user();
    let proxy = Proxy::start(&pool(origin.address));
    assert_eq!(proxy.exchange(get(&auth())).text(), "");
    for name in [
        "Host",
        "X Forwarded User",
        "authorization",
        "X-Forwarded-For",
        "[]",
    ] {
        let key = format!("gateway: {{ user_field: {name} }}");
        let outcome = command::check(&Setup::new().config(&key));
        assert_eq!(outcome.code(), Some(78), "{name}: {}", outcome.output());
        assert!(
            outcome.output().contains("tollgate.gateway.user_field"),
            "{}",
            outcome.output()
        );
    }
}

#[test]
fn curl_logs_in_as_at_any_site() {
    let proxy = Proxy::plain();
    let url = format!("http://{}/", proxy.address);
    let user = format!("{}:{}", ALICE.0, ALICE.1);
    let code = ["-o", "/dev/null", "-w", "%{http_code}", &url];
    assert_output(&curl(&code), "401");
    for way in [
        ["--basic", "--http1.1"],
        ["--anyauth", "--http1.1"],
        ["--basic", "--http2-prior-knowledge"],
    ] {
        assert_output(&curl(&[&["-u", &user], &way[..], &code].concat()), "200");
    }
}

/// Without a window there is nobody to ask for a password: Chromium takes the one of its URL, or says that it has none.
#[test]
fn chromium_logs_in_as_at_any_site() {
    let origin = Origin::http(|_| {
        let page = "<title>gate</title><p>behind the gate</p>";
        response("200 OK", "Content-Type: text/html\r\n", page)
    });
    let setup = Setup::new().config(&pool(origin.address));
    let home = setup.path("chromium");
    std::fs::create_dir(&home).unwrap();
    let proxy = setup.start();
    let page = |user: &str| {
        let mut browser = programs::command("chromium");
        browser
            .env("HOME", &home)
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--no-proxy-server", "--dump-dom"])
            .arg(format!("--user-data-dir={}", home.display()))
            .arg(format!("http://{user}{}/", proxy.address));
        let outcome = command::run(&mut browser, "");
        outcome.output()
    };
    let refused = page("");
    assert!(
        refused.contains("ERR_INVALID_AUTH_CREDENTIALS"),
        "{refused}"
    );
    let admitted = page(&format!("{}:{}@", ALICE.0, ALICE.1));
    assert!(admitted.contains("<p>behind the gate</p>"), "{admitted}");
    assert!(!origin.request().head.fields.has("authorization"));
}
