//! Several pools behind one gateway: which one takes a request.

use std::net::SocketAddr;

use crate::support::client::Wire;
use crate::support::message::ok;
use crate::support::nginx::Nginx;
use crate::support::origin::Origin;
use crate::support::port::Port;
use crate::support::proxy::Proxy;
use crate::support::request::auth;

/// Answers with its name and the target that it got.
fn named(name: &'static str) -> Origin {
    Origin::http(move |request| ok(format!("{name} {}", request.head.target())))
}

/// What answers in place of an upstream.
fn ask(wire: &mut Wire, host: &str, path: &str) -> String {
    let answer = wire.exchange(format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\n{}\r\n",
        auth()
    ));
    match answer.status() {
        200 => answer.text(),
        status => status.to_string(),
    }
}

fn pools(default: &str, list: &[(&str, &str, SocketAddr)]) -> Proxy {
    let mut yaml = format!("gateway:\n  upstreams: [{default}]\n  pools:\n");
    for (name, conditions, address) in list {
        yaml.push_str(&format!(
            "    - {{ name: {name}, {conditions}, upstreams: [\"{address}\"] }}\n"
        ));
    }
    Proxy::start(&yaml)
}

#[test]
fn the_first_pool_whose_conditions_hold_takes_a_request() {
    let [both, host, path, rest] = ["both", "host", "path", "rest"].map(named);
    let proxy = pools(
        &format!("\"{}\"", rest.address),
        &[
            ("both", "hosts: [api.test], path: /v1", both.address),
            ("host", "hosts: [api.test, .apps.test]", host.address),
            ("path", "path: /api/", path.address),
        ],
    );
    let mut wire = proxy.connect();
    for (name, target, expected) in [
        ("api.test", "/v1", "both"),
        ("API.test:80", "/v1/x?y", "both"),
        ("api.test", "/v2", "host"),
        ("api.test", "/api/x", "host"),
        ("apps.test", "/", "host"),
        ("a.apps.test", "/v1", "host"),
        ("other.test", "/api", "path"),
        ("other.test", "/api/x", "path"),
        ("other.test", "/apix", "rest"),
        ("other.test", "/", "rest"),
        ("other.test", "/?/api/", "rest"),
    ] {
        let answer = ask(&mut wire, name, target);
        assert_eq!(answer, format!("{expected} {target}"), "{name}");
    }
    // Without `Host`, those of a path are left.
    let old = |path: &str| format!("GET {path} HTTP/1.0\r\n{}\r\n", auth());
    assert_eq!(proxy.exchange(old("/api/x")).text(), "path /api/x");
    assert_eq!(proxy.exchange(old("/v1")).text(), "rest /v1");
}

/// The pool is that of the resource that the origin will serve, and what it gets is as the client sent it.
#[test]
fn no_spelling_of_a_path_leads_to_another_pool() {
    let [api, rest] = ["api", "rest"].map(named);
    let proxy = pools(
        &format!("\"{}\"", rest.address),
        &[("api", "path: /api", api.address)],
    );
    for (target, expected) in [
        ("/%61pi/x", "api"),
        ("/x/../api/y", "api"),
        ("/x/%2e%2e/api", "api"),
        ("/api/../x", "rest"),
        ("/api/%2E./x", "rest"),
        ("/api//x", "api"),
        ("/x//api", "rest"),
        ("/x/y%2Fz", "rest"),
        ("/%2561pi", "rest"),
    ] {
        let answer = ask(&mut proxy.connect(), "gate", target);
        assert_eq!(answer, format!("{expected} {target}"));
    }
    let before = (api.requests().len(), rest.requests().len());
    for target in [
        "//api",
        "/api%2Fx",
        "/api%5Cx",
        "/api\\x",
        "/x/..%2fapi",
        "/x/..;/api",
        "/api/..;/x",
        "/api;v=1",
    ] {
        let (answer, record) = {
            let count = api.requests().len() + rest.requests().len();
            assert_eq!(count, before.0 + before.1);
            proxy.wait_records(9);
            proxy.ask(format!(
                "GET {target} HTTP/1.1\r\nHost: gate\r\n{}\r\n",
                auth()
            ))
        };
        assert_eq!(answer.status(), 400, "{target}");
        let detail = record["error_detail"].as_str().unwrap();
        assert!(detail.contains("more than one way"), "{detail}");
    }
    let after = (api.requests().len(), rest.requests().len());
    assert_eq!(before, after);
}

#[test]
fn without_a_default_pool_the_page_answers() {
    let api = named("api");
    let proxy = pools("", &[("api", "path: /api", api.address)]);
    let mut wire = proxy.connect();
    assert_eq!(ask(&mut wire, "gate", "/api"), "api /api");
    assert!(ask(&mut wire, "gate", "/").contains("Tollgate works"));
    assert_eq!(ask(&mut wire, "gate", "/other"), "404");
    assert_eq!(ask(&mut wire, "gate", "/x/..%2fapi"), "400");
}

/// Each pool has its own upstreams, and one server may be in several.
#[test]
fn a_pool_that_is_down_says_which_it_is() {
    let gone = Port::reserve();
    let nginx = Nginx::start("behind");
    let default = format!("\"{}\"", nginx.address());
    let proxy = pools(
        &default,
        &[
            ("api", "path: /api", gone.address),
            ("same", "path: /index.html", nginx.address()),
        ],
    );
    let mut wire = proxy.connect();
    for path in ["/", "/index.html"] {
        assert_eq!(ask(&mut wire, "gate", path), "behind");
    }
    assert_eq!(ask(&mut wire, "gate", "/api"), "502");
    let series = format!("tollgate_upstream_up{{upstream=\"{}\"}}", nginx.address());
    let metrics = proxy.admin("/metrics").text();
    assert_eq!(metrics.matches(&series).count(), 1, "{metrics}");
}

#[test]
fn websockets_go_to_their_pool() {
    let echo = Origin::raw(|mut wire, _| {
        wire.read_head()?;
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )?;
        let bytes = wire.read_bytes(4)?;
        wire.send(bytes)
    });
    let rest = named("rest");
    let proxy = pools(
        &format!("\"{}\"", rest.address),
        &[("chat", "hosts: [chat.test], path: /ws", echo.address)],
    );
    let request = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: chat.test\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            auth()
        )
    };
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(request("/ws")).status(), 101);
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
    assert_eq!(proxy.exchange(request("/x")).text(), "rest /x");
    assert_eq!(proxy.exchange(request("/x/..%2fws")).status(), 400);
}
