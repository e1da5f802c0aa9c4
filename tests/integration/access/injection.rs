//! Rules with `upgrade` and `inject`: what goes to the origin, what the client gets, and where the secret is not.

use std::sync::Arc;

use crate::support::client::Wire;
use crate::support::command::{check, tollgate};
use crate::support::dns::Dns;
use crate::support::message::{ok, response};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, auth, connect, request_of};
use crate::support::tls::Authority;
use crate::support::{http2, message};

const SECRET: &str = "s3cr3t-of-the-operator";

/// An origin with TLS, a proxy that injects for it, and the name server that both need.
struct Place {
    proxy: Proxy,
    origin: Origin,
    _dns: Dns,
}

fn setup(origin: &Origin, dns: &Dns, authority: &Authority) -> Setup {
    Setup::new()
        .file("api.secret", format!("{SECRET}\n"))
        .file("ca.pem", authority.pem())
        .server("ca_file: ca.pem")
        .config(&format!(
            "secrets: {{ api: {{ file: api.secret }} }}
policy:
  default: deny
  rules:
    - name: api
      action: admit
      users: [alice]
      domains: [api.test]
      ports: [{port}]
      paths: [/v1]
      upgrade: https
      inject: {{ bearer: api, fields: {{ x-key: api }} }}
    - {{ name: rest, action: admit, domains: [rest.test], ports: [{port}] }}
{}",
            dns.config(),
            port = origin.port(),
        ))
}

fn place(answer: impl Fn(&message::Request) -> Vec<u8> + Send + Sync + 'static) -> Place {
    let authority = Authority::new();
    let identity = authority.issue(&["api.test", "rest.test"]);
    let origin = Origin::https(identity.server(), answer);
    let dns = Dns::table(&[("api.test", &["127.0.0.1"]), ("rest.test", &["127.0.0.1"])]);
    let proxy = setup(&origin, &dns, &authority).start();
    Place {
        proxy,
        origin,
        _dns: dns,
    }
}

impl Place {
    fn url(&self, path: &str) -> String {
        format!("http://api.test:{}{path}", self.origin.port())
    }

    /// The secret is in nothing that the proxy makes.
    fn assert_kept(&self) {
        let shown = [
            self.proxy.output(),
            self.proxy.errors(),
            std::fs::read_to_string(self.proxy.path("access.log")).unwrap_or_default(),
            self.proxy.admin("/metrics").text(),
            self.proxy.admin("/stats").text(),
        ];
        for text in shown {
            assert!(!text.contains(SECRET), "{text}");
        }
    }
}

#[test]
fn a_request_over_http_goes_out_over_tls_with_the_secret() {
    let place = place(|request| ok(request.head.fields.all("authorization").join(",")));
    let port = place.origin.port();
    let answer = place.proxy.exchange(format!(
        "GET {} HTTP/1.1\r\nHost: api.test:{port}\r\n{}Authorization: Bearer own\r\nX-Key: own\r\nx-key: two\r\n\r\n",
        place.url("/v1/x?y"),
        auth()
    ));
    assert_eq!(answer.text(), format!("Bearer {SECRET}"));
    let head = place.origin.request().head;
    assert_eq!(head.start, "GET /v1/x?y HTTP/1.1");
    assert_eq!(head.fields.all("x-key"), [SECRET]);
    assert_eq!(head.fields.all("host"), [format!("api.test:{port}")]);
    let records = place.proxy.wait_records(1);
    assert_eq!(records[0]["rule"], "api");
    assert_eq!(
        records[0]["target"],
        format!("https://api.test:{port}/v1/x?y")
    );
    place.assert_kept();
}

#[test]
fn only_what_the_rule_admits_gets_the_secret() {
    let place = place(|request| ok(request.head.fields.all("x-key").join(",")));
    let port = place.origin.port();
    let ask = |user, method, url: &str| place.proxy.exchange(request_of(user, method, url));
    assert_eq!(ask(ALICE, "GET", &place.url("/v1/x")).status(), 200);
    for (user, method, url) in [
        (BOB, "GET", place.url("/v1/x")),
        (ALICE, "GET", place.url("/v2")),
        (ALICE, "GET", place.url("/v1/..%2fv2")),
        (ALICE, "TRACE", place.url("/v1/x")),
        (ALICE, "TRACE", format!("https://api.test:{port}/v1/x")),
        (ALICE, "GET", format!("http://api.test:{}/v1", port ^ 1)),
    ] {
        assert_eq!(ask(user, method, &url).status(), 403, "{method} {url}");
    }
    let tunnel = place.proxy.exchange(connect(format!("api.test:{port}")));
    assert_eq!(tunnel.status(), 403);
    // Another rule: over TLS as the client wants it, and without the secret.
    let rest = ask(ALICE, "GET", &format!("https://rest.test:{port}/v1"));
    assert_eq!((rest.status(), rest.text().as_str()), (200, ""));
    assert_eq!(place.origin.requests().len(), 2);
    place.assert_kept();
}

#[test]
fn an_origin_without_a_certificate_for_the_name_gets_nothing() {
    let authority = Authority::new();
    // A certificate for another name, and one of an authority that the proxy does not know.
    let unknown = Authority::new();
    for (signer, name) in [(&authority, "other.test"), (&unknown, "api.test")] {
        let seen = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = Arc::clone(&seen);
        let origin = Origin::https(signer.issue(&[name]).server(), move |_| {
            told.store(true, std::sync::atomic::Ordering::SeqCst);
            ok("never")
        });
        let dns = Dns::table(&[("api.test", &["127.0.0.1"])]);
        let proxy = setup(&origin, &dns, &authority).start();
        let url = format!("http://api.test:{}/v1", origin.port());
        assert_eq!(proxy.fetch(&url).status(), 502, "{name}");
        assert!(!seen.load(std::sync::atomic::Ordering::SeqCst));
    }
}

#[test]
fn an_origin_in_the_clear_gets_nothing() {
    let authority = Authority::new();
    let origin = Origin::raw(|mut wire, seen| {
        // A ClientHello, and no request.
        let first = wire.read_bytes(1)?;
        assert_eq!(first, [0x16]);
        seen.keep(message::Request {
            head: message::Head::parse(b"GET / HTTP/1.1\r\n\r\n"),
            body: Vec::new(),
        });
        wire.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    });
    let dns = Dns::table(&[("api.test", &["127.0.0.1"])]);
    let proxy = setup(&origin, &dns, &authority).start();
    let answer = proxy.fetch(&format!("http://api.test:{}/v1", origin.port()));
    assert_eq!(answer.status(), 502);
    assert!(!origin.requests().is_empty());
}

#[test]
fn http2_and_web_sockets_are_upgraded_too() {
    let place = place(|request| {
        let key = request.head.fields.all("x-key").join(",");
        match request.head.fields.has("upgrade") {
            true => format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Got: {key}\r\n\r\n").into(),
            false => ok(key),
        }
    });
    let url = place.url("/v1/x");
    http2::run(async {
        let mut client = http2::Client::connect(place.proxy.address).await;
        let answer = client.ask(http2::request("GET", &url)).await;
        assert_eq!(answer.text(), SECRET);
    });
    let mut wire = Wire::connect(place.proxy.address).unwrap();
    let answer = wire.exchange(format!(
        "GET {url} HTTP/1.1\r\nHost: api.test\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        auth()
    ));
    assert_eq!(
        (answer.status(), answer.field("x-got")),
        (101, Some(SECRET))
    );
    drop(wire);
    place.assert_kept();
}

/// A client that followed `https://` would go there itself, through a tunnel and without the secret.
#[test]
fn a_location_at_the_origin_is_one_that_the_client_can_use() {
    let place = place(|request| {
        let host = request.head.fields.value("host").unwrap();
        let location = request
            .head
            .fields
            .value("x-want")
            .unwrap()
            .replace("HOST", host);
        response("302 Found", &format!("Location: {location}\r\n"), "")
    });
    let port = place.origin.port();
    for (sent, expected) in [
        (
            "https://HOST/v1/next?a=b",
            format!("http://api.test:{port}/v1/next?a=b"),
        ),
        ("https://HOST", format!("http://api.test:{port}/")),
        ("/v1/next", "/v1/next".to_owned()),
        ("https://other.test/x", "https://other.test/x".to_owned()),
        ("https://api.test/x", "https://api.test/x".to_owned()),
        ("http://HOST/x", format!("http://api.test:{port}/x")),
    ] {
        let answer = place.proxy.exchange(format!(
            "GET {} HTTP/1.1\r\nHost: a\r\n{}X-Want: {sent}\r\n\r\n",
            place.url("/v1"),
            auth()
        ));
        assert_eq!(answer.field("location"), Some(&*expected), "{sent}");
    }
}

#[test]
fn explain_says_what_is_sent_and_not_the_secret() {
    let place = place(|_| ok(""));
    let path = place.proxy.setup.write();
    let url = place.url("/v1");
    let explained = tollgate([
        "explain",
        "-c",
        path.to_str().unwrap(),
        "--user",
        "alice",
        "--target",
        &url,
        "--resolve",
        "127.0.0.1",
    ]);
    let output = explained.output();
    let line = format!(
        "sent over TLS to api.test:{}, with authorization from the secret api, with x-key from the secret api",
        place.origin.port()
    );
    assert!(output.contains(&line), "{output}");
    assert!(!output.contains(SECRET), "{output}");
}

#[test]
fn a_new_secret_is_used_after_a_reload() {
    let place = place(|request| ok(request.head.fields.all("x-key").join(",")));
    let url = place.url("/v1");
    assert_eq!(place.proxy.fetch(&url).text(), SECRET);
    std::fs::write(place.proxy.path("api.secret"), "another").unwrap();
    assert_eq!(place.proxy.fetch(&url).text(), SECRET);
    assert_eq!(place.proxy.reload().status(), 200);
    assert_eq!(place.proxy.fetch(&url).text(), "another");
    place.assert_kept();
}

#[test]
fn mistakes_are_named_with_their_place_and_their_remedy() {
    for (rule, expected) in [
        (
            "domains: [a.test], inject: { bearer: api }",
            "rules[0].inject: secrets, which would be sent without TLS; add `upgrade: https` to the rule",
        ),
        (
            "upgrade: https, inject: { bearer: api }",
            "rules[0].upgrade: no `domains`: a client could name any host, which would get the secrets; name the hosts that the secrets are for",
        ),
        (
            "domains: [a.test], upgrade: http",
            "rules[0].upgrade: not https; write https, or remove the key",
        ),
        (
            "domains: [a.test], upgrade: https, roles: [forward, tunnel]",
            "rules[0].upgrade: only for the role forward: a tunnel is not read, and the gateway has upstreams of its own; remove `roles`, or write `roles: [forward]`",
        ),
        (
            "domains: [a.test], upgrade: https, networks: [10.0.0.0/8]",
            "rules[0].upgrade: not with `networks`: the address is known after the request is upgraded; remove `networks`; a private address of the host goes into `tollgate.egress.allow_networks`",
        ),
        (
            "domains: [a.test], upgrade: https, inject: { bearer: apo }",
            "rules[0].inject.bearer: no such secret; did you mean api?",
        ),
        (
            "domains: [a.test], upgrade: https, inject: {}",
            "rules[0].inject: nothing to inject; write `bearer: SECRET`, `basic: { user: NAME, password: SECRET }` or `fields: { NAME: SECRET }`",
        ),
        (
            "domains: [a.test], upgrade: https, inject: { basic: { user: \"a:b\", password: api } }",
            "rules[0].inject.basic.user: has a colon, which ends the name; write the name alone",
        ),
        (
            "domains: [a.test], upgrade: https, inject: { fields: { content-length: api } }",
            "rules[0].inject.fields.content-length: content-length: the field is written by the proxy alone; name another field",
        ),
        (
            "domains: [a.test], upgrade: https, inject: { bearer: api, basic: { user: a, password: api } }",
            "rules[0].inject: both bearer and basic; keep one of them",
        ),
    ] {
        let setup = Setup::new().file("api.secret", SECRET).config(&format!(
            "secrets: {{ api: {{ file: api.secret }} }}\npolicy: {{ rules: [{{ name: r, action: admit, {rule} }}] }}\n"
        ));
        let output = check(&setup).output();
        assert!(output.contains(expected), "{rule}: {output}");
        assert!(!output.contains(SECRET), "{output}");
    }
}
