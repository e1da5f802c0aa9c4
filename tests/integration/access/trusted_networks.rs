//! Clients that need no password, by the network that they are in.

use rustix::process::Signal;

use super::explain::{explain, explain_json};
use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::http2::{Client, bare, run};
use crate::support::message::Response;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, credentials};

/// All of 127.0.0.0/8 is one user, and an address in it another one, who has no line in the password file.
const TRUSTED: &str = "auth: { trusted_networks: [
    { networks: [127.0.0.0/25], user: office },
    { networks: [127.0.0.2], user: ci } ] }";

fn ask_from(proxy: &Proxy, client: &str, request: &str) -> Response {
    let mut wire = Wire::connect_from(client, proxy.address).unwrap();
    wire.exchange(request)
}

/// A request for the gateway with these field lines.
fn gate(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: gate\r\n{fields}\r\n")
}

#[test]
fn missing_credentials_are_those_of_the_network_in_every_role() {
    let proxy = Proxy::start(TRUSTED);
    let origin = Origin::ok("in");
    let echo = Origin::echo();
    let (web, tunnel) = (origin.address, echo.address);
    let requests = [
        gate(""),
        format!("GET http://{web}/ HTTP/1.1\r\nHost: {web}\r\n\r\n"),
        format!("CONNECT {tunnel} HTTP/1.1\r\nHost: {tunnel}\r\n\r\n"),
    ];
    for (client, user) in [("127.0.0.1", "office"), ("127.0.0.2", "ci")] {
        for request in &requests {
            let before = proxy.records().len();
            let answer = ask_from(&proxy, client, request);
            assert_eq!(answer.status(), 200, "{request}");
            let record = proxy.wait_records(before + 1).remove(before);
            assert_eq!(record["user"], user, "{record}");
        }
    }
    let before = proxy.records().len();
    // The origin does not speak WebSocket: what counts is that the handshake gets there.
    let upgrade = format!(
        "GET http://{web}/ HTTP/1.1\r\nHost: {web}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    assert_eq!(ask_from(&proxy, "127.0.0.2", &upgrade).status(), 200);
    let record = proxy.wait_records(before + 1).remove(before);
    assert_eq!(record["user"], "ci", "{record}");
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let request = bare("GET", &format!("http://{web}/"), &[]);
        assert_eq!(client.ask(request).await.status, 200);
    });
    let record = proxy.record("HTTP/2", |record| record["version"] == "HTTP/2.0");
    assert_eq!(record["user"], "office", "{record}");
    // Who is elsewhere has to say who it is.
    for (request, status) in requests.iter().zip([401, 407, 407]) {
        assert_eq!(ask_from(&proxy, "127.0.0.200", request).status(), status);
    }
}

#[test]
fn credentials_that_are_there_are_verified() {
    let proxy = Proxy::start(TRUSTED);
    let wrong = [
        credentials((ALICE.0, "wrong")),
        credentials(("ci", "")),
        credentials(("ci", "anything")),
        credentials(("nobody", "x")),
        "Proxy-Authorization: Basic !\r\n".to_owned(),
        "Proxy-Authorization: Basic\r\n".to_owned(),
        "Proxy-Authorization: Bearer abc\r\n".to_owned(),
        "Proxy-Authorization:\r\n".to_owned(),
    ];
    for fields in &wrong {
        for client in ["127.0.0.1", "127.0.0.2"] {
            let answer = ask_from(&proxy, client, &gate(fields));
            assert_eq!(answer.status(), 407, "{fields}");
        }
    }
    let twice = credentials(ALICE) + &credentials(ALICE);
    assert_eq!(ask_from(&proxy, "127.0.0.2", &gate(&twice)).status(), 400);
    let before = proxy.wait_records(17).len();
    let answer = ask_from(&proxy, "127.0.0.2", &gate(&credentials(ALICE)));
    assert_eq!(answer.status(), 200);
    let record = proxy.wait_records(before + 1).remove(before);
    assert_eq!(record["user"], ALICE.0, "{record}");
}

#[test]
fn rules_and_groups_hold_for_the_user() {
    let proxy = Setup::new()
        .file("groups", "robots: ci\n")
        .config(TRUSTED)
        .config("auth: { groups: groups }")
        .config(
            "policy: { rules: [{ name: no-robots, action: deny, groups: [robots], status: 404 }] }",
        )
        .start();
    assert_eq!(ask_from(&proxy, "127.0.0.1", &gate("")).status(), 200);
    assert_eq!(ask_from(&proxy, "127.0.0.2", &gate("")).status(), 404);
    let record = proxy.record("the refusal", |record| record["status"] == 404);
    assert_eq!(record["user"], "ci", "{record}");
    assert_eq!(record["rule"], "no-robots", "{record}");
}

// The address is that of the header, and never that of the load balancer.
#[test]
fn the_client_is_that_of_the_proxy_header() {
    let setup = Setup::new();
    let yaml = format!(
        "listeners: [{{ address: \"{}\", proxy_protocol: {{ from: [127.0.0.1] }} }}]
auth: {{ trusted_networks: [{{ networks: [10.1.0.0/16], user: ci }}] }}",
        setup.address()
    );
    let proxy = setup.config(&yaml).start();
    let ask = |from: &str, header: &str| {
        let mut wire = Wire::connect_from(from, proxy.address).unwrap();
        wire.send(format!("{header}\r\n{}", gate(""))).unwrap();
        wire.response("GET").unwrap().status()
    };
    assert_eq!(
        ask("127.0.0.1", "PROXY TCP4 10.1.2.3 192.0.2.1 5000 8888"),
        200
    );
    let mapped = "PROXY TCP6 ::ffff:10.1.2.3 ::ffff:192.0.2.1 5000 8888";
    assert_eq!(ask("127.0.0.1", mapped), 200);
    assert_eq!(
        ask("127.0.0.1", "PROXY TCP4 10.2.2.3 192.0.2.1 5000 8888"),
        401
    );
    assert_eq!(ask("127.0.0.1", "PROXY UNKNOWN"), 401);
    assert_eq!(
        ask("127.0.0.2", "PROXY TCP4 10.1.2.3 192.0.2.1 5000 8888"),
        403
    );
}

#[test]
fn reload_changes_them_with_the_users() {
    let proxy = Proxy::plain();
    let status = |client: &str| ask_from(&proxy, client, &gate("")).status();
    assert_eq!(status("127.0.0.2"), 401);
    let config = std::fs::read_to_string(proxy.path("pingora.yaml")).unwrap();
    let write = |trusted: &str| {
        let mut config: serde_yaml::Value = serde_yaml::from_str(&config).unwrap();
        config["tollgate"]["auth"]["trusted_networks"] = serde_yaml::from_str(trusted).unwrap();
        let text = serde_yaml::to_string(&config).unwrap();
        std::fs::write(proxy.path("pingora.yaml"), text).unwrap();
    };
    write("[{ networks: [127.0.0.2], user: ci }]");
    let answer = proxy.reload();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(
        answer.text().contains("tollgate.auth.trusted_networks"),
        "{}",
        answer.text()
    );
    assert_eq!((status("127.0.0.2"), status("127.0.0.1")), (200, 401));
    // What is wrong changes nothing.
    write("[{ networks: [127.0.0.2], user: ci }, { networks: [127.0.0.2], user: cd }]");
    assert_eq!(proxy.reload().status(), 422);
    assert_eq!(status("127.0.0.2"), 200);
    write("[]");
    proxy.signal(Signal::HUP);
    eventually("the reload", || (status("127.0.0.2") == 401).then_some(()));
}

#[test]
fn explain_knows_the_user_of_a_client() {
    let setup = Setup::new().config(TRUSTED);
    let target = "--target 192.0.2.1:443";
    let (told, json) = explain_json(&setup, &format!("{target} --client 127.0.0.2"));
    assert_eq!(json["user"], "ci", "{json}");
    assert!(!told.stderr.contains("gets 407"), "{}", told.output());
    let elsewhere = explain(&setup, &format!("{target} --client 192.0.2.9"));
    assert_eq!(elsewhere.code(), Some(64), "{}", elsewhere.output());
    let line = "--user: missing, and 192.0.2.9 is in none of tollgate.auth.trusted_networks";
    assert!(elsewhere.stderr.contains(line), "{}", elsewhere.output());
    // The user without a password, from where it would need one.
    let other = explain(&setup, &format!("{target} --client 192.0.2.9 --user ci"));
    assert!(other.stderr.contains("gets 407"), "{}", other.output());
}
