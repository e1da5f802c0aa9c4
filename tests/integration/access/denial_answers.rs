//! What the answer to a denied request says, in the bytes that each kind of client reads: the reason phrase,
//! `Proxy-Status` and the body.

use serde_json::Value;

use crate::support::client::Wire;
use crate::support::command::run;
use crate::support::http2::{Client, bare, run as run_http2};
use crate::support::message::{Response, response};
use crate::support::origin::Origin;
use crate::support::programs::{assert_output, command, curl, proxy_url};
use crate::support::proxy::Proxy;
use crate::support::request::{ALICE, auth, basic, connect, fetch, request_of};

/// A rule for each role, and one with a message that no status line can carry as it is.
const RULES: &str = "policy: { rules: [
    { name: no-tunnels, action: deny, roles: [tunnel], ports: [443], message: 'ask it@corp.example' },
    { name: hostile, action: deny, domains: [hostile.test], status: 451,
      message: \"\u{202e}günstig – „日本“\u{2028}HTTP/1.1 200 OK\" },
    { name: long, action: deny, domains: [long.test], message: 'LONG' },
    { name: sites, action: deny, roles: [forward], domains: [sites.test] },
    { name: gate, action: deny, roles: [gateway], status: 404, message: \"it's  private\" } ] }";

fn rules() -> String {
    RULES.replace("LONG", &"ß".repeat(200))
}

/// A WebSocket handshake.
fn websocket(target: &str, host: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\n{}Connection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        auth()
    )
}

#[test]
fn status_line_of_each_role_names_the_rule_and_its_message() {
    let local = Origin::ok("local");
    let upstreams = format!(
        "{}\negress: {{ connect_ports: [443] }}\ngateway: {{ upstreams: [\"{}\"] }}",
        rules(),
        local.address
    );
    let proxy = Proxy::start(&upstreams);
    let tunnel = "HTTP/1.1 403 denied by no-tunnels: ask it@corp.example";
    let gate = "HTTP/1.1 404 denied by gate: it's private";
    let sites = "HTTP/1.1 403 denied by sites";
    for (request, line) in [
        (connect("any.test:443"), tunnel.to_owned()),
        (fetch("http://sites.test/"), sites.to_owned()),
        (
            websocket("http://sites.test/", "sites.test"),
            sites.to_owned(),
        ),
        (request_of(ALICE, "GET", "/"), gate.to_owned()),
        (websocket("/", "gate"), gate.to_owned()),
        (
            fetch("http://hostile.test/"),
            "HTTP/1.1 451 denied by hostile: ?gunstig - \"??\" HTTP/1.1 200 OK".to_owned(),
        ),
        (
            fetch("http://long.test/"),
            format!("HTTP/1.1 403 denied by long: {}...", "s".repeat(141)),
        ),
        // The address, the network and the port are not for the client.
        (
            connect("127.0.0.1:8443"),
            "HTTP/1.1 403 denied by connect_ports".to_owned(),
        ),
        (
            fetch("http://10.1.2.3/"),
            "HTTP/1.1 403 denied by special_purpose".to_owned(),
        ),
    ] {
        let answer = proxy.exchange(&request);
        assert_eq!(answer.head.start, line, "{request}");
        assert!(answer.head.start.len() <= "HTTP/1.1 403 ".len() + 160);
        assert!(!answer.text().contains("10.1.2.3"), "{}", answer.text());
    }
    assert!(local.requests().is_empty());
}

/// Every other answer keeps the phrase of its status, that of an origin which denies too.
#[test]
fn other_answers_keep_their_phrases() {
    let origin = Origin::http(|_| response("403 Not Mine", "", "from the origin"));
    let proxy = Proxy::plain();
    let anonymous = format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n",
        origin.address
    );
    for (request, line) in [
        (
            fetch(&format!("http://{}/", origin.address)),
            "HTTP/1.1 403 Not Mine",
        ),
        (anonymous, "HTTP/1.1 407 Proxy Authentication Required"),
        (
            request_of(ALICE, "POST", "/"),
            "HTTP/1.1 405 Method Not Allowed",
        ),
        (
            "GET / HTTP/1.1\r\n\r\n".to_owned(),
            "HTTP/1.1 400 Bad Request",
        ),
    ] {
        let answer = proxy.exchange(&request);
        assert_eq!(answer.head.start, line, "{request}");
        assert!(!answer.field("proxy-status").unwrap_or("").contains("rule"));
    }
}

/// HTTP/2 has no reason phrase: the rest is the same.
#[test]
fn http2_names_the_rule_in_field_and_body() {
    let proxy = Proxy::start(&rules());
    run_http2(async {
        let mut client = Client::connect(proxy.address).await;
        let credentials = basic(ALICE.0, ALICE.1);
        let gate = format!("http://{}/", proxy.address);
        for (method, uri, status, rule) in [
            ("CONNECT", "any.test:443", 403, "no-tunnels"),
            ("GET", "http://sites.test/", 403, "sites"),
            ("GET", "http://hostile.test/", 451, "hostile"),
            ("GET", &gate, 404, "gate"),
        ] {
            let fields = [
                ("proxy-authorization", &*credentials),
                ("accept", "application/json"),
            ];
            let answer = client.ask(bare(method, uri, &fields)).await;
            assert_eq!(answer.status.as_u16(), status, "{uri}");
            let expected = format!("tollgate; error=http_request_denied; details=\"rule {rule}\"");
            assert_eq!(answer.field("proxy-status"), Some(&*expected), "{uri}");
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(body["rule"], rule, "{body}");
        }
    });
}

fn assert_hidden(answer: &Response, line: &str) {
    assert_eq!(answer.head.start, line);
    let status = answer.field("proxy-status").unwrap();
    assert!(!status.contains("details"), "{status}");
    let whole = String::from_utf8_lossy(&answer.head.raw).into_owned() + &answer.text();
    for name in ["no-tunnels", "by gate", "special_purpose", "\"rule\""] {
        assert!(!whole.contains(name), "{whole}");
    }
}

/// The message stays, and so does the name in the log. A reload changes what the next answer shows.
#[test]
fn hidden_names_are_in_the_log_alone() {
    let hidden = rules().replace("policy: {", "policy: { show_rules: false,");
    let proxy = Proxy::start(&hidden);
    let mut requests = vec![
        (
            connect("any.test:443"),
            "HTTP/1.1 403 denied by policy: ask it@corp.example",
        ),
        (
            request_of(ALICE, "GET", "/"),
            "HTTP/1.1 404 denied by policy: it's private",
        ),
        (fetch("http://10.1.2.3/"), "HTTP/1.1 403 denied by policy"),
    ];
    for (request, line) in &mut requests {
        *request = request.trim_end().to_owned() + "\r\nAccept: application/json\r\n\r\n";
        assert_hidden(&proxy.exchange(&*request), line);
    }
    let logged = proxy.wait_records(3);
    let named: Vec<_> = logged
        .iter()
        .map(|record| record["rule"].as_str().unwrap())
        .collect();
    assert_eq!(named, ["no-tunnels", "gate", "special_purpose:private_use"]);

    let list = request_of(ALICE, "GET", "/.tollgate/denials");
    let list = proxy.exchange(list).text();
    assert!(list.contains("ask it@corp.example"), "{list}");
    for name in ["no-tunnels", "special_purpose", "\"rule\""] {
        assert!(!list.contains(name), "{list}");
    }

    proxy.rewrite(&rules().replace("policy: {", "policy: { show_rules: true,"));
    assert_eq!(proxy.reload().status(), 200);
    let answer = proxy.exchange(connect("any.test:443"));
    assert_eq!(
        answer.head.start,
        "HTTP/1.1 403 denied by no-tunnels: ask it@corp.example"
    );
}

/// The status line of a refused CONNECT is what clients show of it.
#[test]
fn curl_shows_the_phrase_of_a_refused_connect() {
    let proxy = Proxy::start(&rules());
    let outcome = curl(&["-v", "--proxy", &proxy_url(&proxy), "https://any.test/"]);
    assert_eq!(outcome.code(), Some(56), "{}", outcome.output());
    let line = "< HTTP/1.1 403 denied by no-tunnels: ask it@corp.example";
    let field = "< Proxy-Status: tollgate; error=http_request_denied; details=\"rule no-tunnels\"";
    for expected in [line, field] {
        assert!(outcome.output().contains(expected), "{}", outcome.output());
    }
}

/// Libraries of Python put the phrase into the exception.
#[test]
fn python_raises_with_the_phrase() {
    let proxy = Proxy::start(&rules());
    let script = format!(
        "import http.client, urllib.request
from base64 import b64encode
connection = http.client.HTTPSConnection('{host}', {port}, timeout=20)
token = b64encode(b'{user}:{password}').decode()
connection.set_tunnel('any.test', 443, headers={{'Proxy-Authorization': 'Basic ' + token}})
try:
    connection.request('GET', '/')
except OSError as error:
    print(error)
proxies = {{'http': {url:?}, 'https': {url:?}}}
opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
for target in 'https://any.test/', 'http://hostile.test/':
    try:
        opener.open(target, timeout=20)
    except OSError as error:
        print(error)
try:
    import requests
    session = requests.Session()
    session.trust_env = False
    session.get('https://any.test/', proxies=proxies, timeout=20)
except ImportError:
    print('none: ask it@corp.example')
except OSError as error:
    print(error)",
        host = proxy.address.ip(),
        port = proxy.port(),
        user = ALICE.0,
        password = ALICE.1,
        url = proxy_url(&proxy),
    );
    let outcome = run(command("python3").args(["-c", &script]), "");
    assert_output(&outcome, &outcome.stdout);
    let lines: Vec<_> = outcome.stdout.lines().collect();
    let phrase = "403 denied by no-tunnels: ask it@corp.example";
    assert!(lines[0].contains(phrase), "{}", outcome.output());
    assert!(lines[1].contains(phrase), "{}", outcome.output());
    let hostile = "denied by hostile: ?gunstig - \"??\" HTTP/1.1 200 OK";
    assert!(
        lines[2].contains("451") && lines[2].contains(hostile),
        "{}",
        outcome.output()
    );
    assert!(
        lines[3].contains("ask it@corp.example"),
        "{}",
        outcome.output()
    );
}

/// No message ends the status line or puts a byte into it that is not printable ASCII.
#[test]
fn a_phrase_ends_with_its_line() {
    let proxy = Proxy::start(&rules());
    let mut wire: Wire = proxy.connect();
    wire.send(fetch("http://hostile.test/")).unwrap();
    let head = wire.read_until(b"\r\n\r\n").unwrap();
    let line = head.split(|byte| *byte == b'\n').next().unwrap();
    assert!(
        line.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\r')),
        "{line:?}"
    );
}
