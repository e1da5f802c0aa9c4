//! `/.tollgate/denials`: the list of a user's own denials, at the port of the proxy.

use serde_json::{Value, json};

use crate::support::client::Wire;
use crate::support::dns::Dns;
use crate::support::http2::{Client, request_of as http2_request, run};
use crate::support::message::Response;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, COLON, basic, request_of};

const LIST: &str = "/.tollgate/denials";

/// Nothing is admitted, not even the list.
const NOTHING: &str = "policy: { default: deny, rules: [
    { name: sites, action: deny, roles: [forward], status: 404, message: 'ask it' } ] }";

fn entries(answer: &Response) -> Vec<Value> {
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let whole: Value = serde_json::from_slice(&answer.body).unwrap();
    whole["denials"].as_array().unwrap().clone()
}

fn list_of(proxy: &Proxy, user: (&str, &str)) -> Vec<Value> {
    entries(&proxy.exchange(request_of(user, "GET", LIST)))
}

fn targets(list: &[Value]) -> Vec<&str> {
    list.iter()
        .map(|entry| entry["target"].as_str().unwrap())
        .collect()
}

fn websocket(target: &str, host: &str) -> String {
    request_of(ALICE, "GET", target)
        .replace("Host: gate", &format!("Host: {host}"))
        .trim_end()
        .to_owned()
        + "\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

#[test]
fn list_has_the_denials_of_every_role_newest_first() {
    let proxy = Proxy::start(NOTHING);
    let mut expected = Vec::new();
    for (request, role, method, target, status, rule, message) in [
        (
            request_of(ALICE, "CONNECT", "a.test:443"),
            "tunnel",
            "CONNECT",
            "a.test:443",
            403,
            "default",
            None,
        ),
        (
            request_of(ALICE, "PUT", "http://b.test/x?key=secret"),
            "forward",
            "PUT",
            "http://b.test/x",
            404,
            "sites",
            Some("ask it"),
        ),
        (
            request_of(ALICE, "GET", "/y?key=secret"),
            "gateway",
            "GET",
            "/y",
            403,
            "default",
            None,
        ),
        (
            websocket("http://c.test/ws?key=secret", "c.test"),
            "forward",
            "GET",
            "http://c.test/ws",
            404,
            "sites",
            Some("ask it"),
        ),
    ] {
        let answer = proxy.exchange(&request);
        assert_eq!(answer.status(), status, "{request}");
        let message = message.unwrap_or("The policy of this proxy denies this request.");
        let entry = json!({
            "id": answer.field("x-request-id").unwrap(), "role": role, "method": method, "target": target,
            "status": status, "error": "http_request_denied", "rule": rule, "message": message
        });
        expected.insert(0, entry);
    }
    let mut found = list_of(&proxy, ALICE);
    let records = proxy.wait_records(5);
    for (entry, record) in found.iter_mut().zip(records[..4].iter().rev()) {
        let entry = entry.as_object_mut().unwrap();
        assert_eq!(entry.remove("time").as_ref(), Some(&record["time"]));
    }
    assert_eq!(found, expected);

    // The same over HTTP/2, on a connection with a denial of its own.
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let url = format!("http://{}{LIST}", proxy.address);
        let denied = client
            .ask(http2_request(ALICE, "GET", "http://d.test/"))
            .await;
        assert_eq!(denied.status.as_u16(), 404);
        let answer = client.ask(http2_request(ALICE, "GET", &url)).await;
        assert_eq!(answer.status.as_u16(), 200);
        let list: Value = serde_json::from_slice(&answer.body).unwrap();
        let list = list["denials"].as_array().unwrap();
        assert_eq!(list[0]["id"], denied.field("x-request-id").unwrap());
        assert_eq!(
            targets(list),
            [
                "http://d.test/",
                "http://c.test/ws",
                "/y",
                "http://b.test/x",
                "a.test:443"
            ]
        );
    });
}

/// The address is evaluated when the request is with Pingora already.
#[test]
fn denied_address_is_in_the_list_without_the_address() {
    let dns = Dns::with(60, |_, _| Some(vec!["10.1.2.3".parse().unwrap()]));
    let proxy = Proxy::start(&dns.config());
    for request in [
        request_of(ALICE, "GET", "http://inside.test/"),
        request_of(ALICE, "CONNECT", "inside.test:443"),
    ] {
        assert_eq!(
            proxy.exchange(&request).head.start,
            "HTTP/1.1 403 denied by special_purpose"
        );
    }
    let list = list_of(&proxy, ALICE);
    assert_eq!(targets(&list), ["inside.test:443", "http://inside.test/"]);
    for entry in &list {
        assert_eq!(entry["rule"], "special_purpose");
        assert_eq!(entry["error"], "destination_ip_prohibited");
        assert!(!entry.to_string().contains("10.1.2.3"), "{entry}");
    }
}

#[test]
fn each_user_sees_only_its_own() {
    let proxy = Proxy::start(NOTHING);
    proxy.exchange(request_of(ALICE, "CONNECT", "of-alice.test:443"));
    for _ in 0..200 {
        proxy.exchange(request_of(BOB, "CONNECT", "of-bob.test:443"));
    }
    assert_eq!(targets(&list_of(&proxy, ALICE)), ["of-alice.test:443"]);
    assert_eq!(targets(&list_of(&proxy, BOB)), ["of-bob.test:443"; 32]);
    assert_eq!(list_of(&proxy, COLON), [] as [Value; 0]);
    // The name of another user in a field or in the query changes nothing.
    let claimed = request_of(COLON, "GET", &format!("{LIST}?user=alice"))
        .trim_end()
        .to_owned()
        + &format!(
            "\r\nX-User: alice\r\nAuthorization: {}\r\n\r\n",
            basic(ALICE.0, ALICE.1)
        );
    assert_eq!(entries(&proxy.exchange(claimed)), [] as [Value; 0]);
}

#[test]
fn list_needs_credentials_as_the_gateway_does() {
    let proxy = Proxy::start(NOTHING);
    let get = |fields: &str| format!("GET {LIST} HTTP/1.1\r\nHost: gate\r\n{fields}\r\n");
    let wrong = basic("alice", "wrong");
    for (fields, status, challenge) in [
        (String::new(), 401, "www-authenticate"),
        (
            format!("Authorization: {wrong}\r\n"),
            401,
            "www-authenticate",
        ),
        (
            format!("Proxy-Authorization: {wrong}\r\n"),
            407,
            "proxy-authenticate",
        ),
    ] {
        let answer = proxy.exchange(get(&fields));
        assert_eq!(answer.status(), status, "{fields}");
        assert!(answer.field(challenge).is_some(), "{fields}");
        assert!(!answer.text().contains("denials"), "{}", answer.text());
    }
    let right = format!("Authorization: {}\r\n", basic(ALICE.0, ALICE.1));
    assert_eq!(entries(&proxy.exchange(get(&right))), [] as [Value; 0]);
}

#[test]
fn user_of_a_trusted_network_has_a_list() {
    let proxy = Proxy::start(&format!(
        "{NOTHING}\nauth: {{ trusted_networks: [
            {{ networks: [127.0.0.2], user: ci }}, {{ networks: [127.0.0.3], user: office }} ] }}"
    ));
    let ask = |client: &str, request: &str| {
        Wire::connect_from(client, proxy.address)
            .unwrap()
            .exchange(request)
    };
    let tunnel = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n";
    let list = format!("GET {LIST} HTTP/1.1\r\nHost: gate\r\n\r\n");
    assert_eq!(ask("127.0.0.2", tunnel).status(), 403);
    assert_eq!(targets(&entries(&ask("127.0.0.2", &list))), ["a.test:443"]);
    assert_eq!(entries(&ask("127.0.0.3", &list)), [] as [Value; 0]);
    assert_eq!(ask("127.0.0.1", &list).status(), 401);
}

/// No method, spelling or protocol takes a reserved path to an upstream.
#[test]
fn reserved_paths_never_reach_an_upstream() {
    let upstream = Origin::ok("local");
    let proxy = Setup::new()
        .config(&format!(
            "gateway: {{ upstreams: [\"{}\"] }}",
            upstream.address
        ))
        .start();
    assert_eq!(
        proxy
            .exchange(request_of(ALICE, "GET", "/.tollgates"))
            .text(),
        "local"
    );
    let mut wire = proxy.connect();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"] {
        let answer = wire.exchange(request_of(ALICE, method, LIST));
        assert_eq!(answer.status(), 405, "{method}");
        assert_eq!(answer.field("allow"), Some("GET, HEAD"), "{method}");
    }
    let head = wire.exchange(request_of(ALICE, "HEAD", LIST));
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert_eq!(head.field("content-length"), Some("15"), "that of the list");
    for path in [
        "/.tollgate",
        "/.tollgate/",
        "/.tollgate/x",
        "/.tollgate/denials/",
        "/%2etollgate/denials",
        "/x/../.tollgate/denials",
        "//.tollgate/denials",
        "/.tollgate;x/denials",
        "/x%2f..%2f.tollgate/denials",
    ] {
        let answer = wire.exchange(request_of(ALICE, "GET", path));
        assert_eq!(answer.status(), 404, "{path}");
        assert!(
            answer.text().contains("\n/.tollgate/denials "),
            "{}",
            answer.text()
        );
    }
    let upgrade = wire.exchange(websocket(LIST, "gate"));
    assert_eq!(entries(&upgrade), [] as [Value; 0]);
    let body =
        request_of(ALICE, "GET", LIST).trim_end().to_owned() + "\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(proxy.exchange(body).status(), 200);
    run(async {
        let mut client = Client::connect(proxy.address).await;
        for (path, status) in [(LIST, 200), ("/.tollgate/x", 404)] {
            let url = format!("http://{}{path}", proxy.address);
            let answer = client.ask(http2_request(ALICE, "GET", &url)).await;
            assert_eq!(answer.status.as_u16(), status, "{path}");
        }
        let url = format!("http://{}{LIST}", proxy.address);
        let answer = client.ask(http2_request(ALICE, "POST", &url)).await;
        assert_eq!(answer.status.as_u16(), 405);
        let answer = client.ask(http2_request(ALICE, "HEAD", &url)).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    });
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn list_is_recorded_as_a_request_that_no_rule_decided() {
    let proxy = Proxy::start(NOTHING);
    let (_, record) = proxy.ask(request_of(ALICE, "GET", LIST));
    assert_eq!(record["role"], "gateway", "{record}");
    assert_eq!(
        (&record["status"], &record["target"]),
        (&200.into(), &LIST.into())
    );
    assert_eq!((record.get("rule"), record.get("error")), (None, None));
    assert_eq!(record["user"], "alice", "{record}");
    assert!(
        !proxy
            .admin("/metrics")
            .text()
            .contains("tollgate_denied_total{")
    );
}

/// A client that was answered finds its denial at once, on another connection too, whatever others do.
#[test]
fn denial_is_in_the_list_before_it_is_answered() {
    let proxy = Proxy::start(NOTHING);
    let address = proxy.address;
    let exchange = move |request: &str| Wire::connect(address).unwrap().exchange(request);
    std::thread::scope(|scope| {
        for user in [ALICE, BOB, COLON, ALICE] {
            scope.spawn(move || {
                for request in [
                    request_of(user, "GET", "http://a.test/"),
                    request_of(user, "CONNECT", "a.test:443"),
                ]
                .iter()
                .cycle()
                .take(60)
                {
                    let answer = exchange(request);
                    let id = answer.field("x-request-id").unwrap();
                    let list = entries(&exchange(&request_of(user, "GET", LIST)));
                    assert!(list.len() <= 32);
                    assert!(list.iter().any(|entry| entry["id"] == id), "{id}: {list:?}");
                }
            });
        }
    });
}
