//! Fields of an origin's response that are not of this hop arrive as they were sent (RFC 9110 §6.6.1, §7.6).

use std::collections::BTreeMap;

use crate::support::http2::{Client, request as request2, run};
use crate::support::message::Response;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::{auth, fetch, request};

const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// Lines that origins send, in the case of their names.
const POOL: &[&str] = &[
    "Date: Sun, 06 Nov 1994 08:49:37 GMT",
    "Date: Mon, 07 Nov 1994 08:49:37 GMT",
    "Date: yesterday",
    "Date:",
    "Server: Apache/2.4 (Unix)",
    "Set-Cookie: a=1; Path=/",
    "Set-Cookie: b=2; Expires=Wed, 21 Oct 2015 07:28:00 GMT",
    "set-cookie: c=3",
    "Age: 12",
    "Warning: 110 - \"Response is Stale\"",
    "Warning: 112 - \"cut off\" \"Sun, 06 Nov 1994 08:49:37 GMT\"",
    "X-oDD-cASE: 1",
    "x-odd-case: 2",
    "X-Date: Date: x",
    "DATE-X: 1",
    "X-Empty:",
    "ETag: W/\"1\"",
    "Expires: 0",
    "Cache-Control: no-cache",
    "Cache-Control: private",
    "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT",
    "Via: 1.0 cache",
    "Vary: *",
    "Link: </a>; rel=next, </b>; rel=prev",
    "WWW-Authenticate: Basic realm=\"a\", Bearer",
    "Content-Language: de, en",
    "Content-Type: text/html; charset=\"utf-8\"",
    "Accept-Ranges: bytes",
    "Alt-Svc: h3=\":443\"",
    "Retry-After: 1",
    "X-Tabs: a\tb  c",
    "P3P: CP=\"x\"",
];

/// Fields that this hop may add.
const ADDED: &[&str] = &["via", "connection", "content-length", "transfer-encoding"];

/// The values of each name in order. The name of `Date` is written in one way, any other as it came.
fn by_name<'a>(lines: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, Vec<String>> {
    let mut names = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in lines {
        let lines = names.entry(name.to_ascii_lowercase()).or_default();
        lines.push(format!("{name}: {}", value.trim()));
    }
    names
}

fn split(line: &str) -> (&str, &str) {
    line.split_once(':').unwrap()
}

/// What arrived of an answer, this hop's own fields left out.
fn arrived(raw: &[u8]) -> BTreeMap<String, Vec<String>> {
    let head = String::from_utf8(raw.to_vec()).unwrap();
    let lines = head.split("\r\n").skip(1).filter(|line| !line.is_empty());
    let mut names = by_name(lines.map(split));
    names.retain(|name, _| name == "via" || !ADDED.contains(&name.as_str()));
    names
}

/// Heads of different fields, in no order: each line of the pool is in a third of them.
fn heads() -> Vec<Vec<&'static str>> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    (0..100)
        .map(|_| {
            let mut lines: Vec<_> = POOL.iter().map(|line| (next(), *line)).collect();
            lines.retain(|(number, _)| number % 3 == 0);
            lines.sort_unstable();
            lines.into_iter().map(|(_, line)| line).collect()
        })
        .collect()
}

/// An origin that answers `/N` with the N-th head.
fn origin_of(heads: &[Vec<&'static str>]) -> Origin {
    let heads = heads.to_vec();
    Origin::http(move |request| {
        let index: usize = request.head.target()[1..].parse().unwrap();
        let lines: String = heads[index]
            .iter()
            .map(|line| format!("{line}\r\n"))
            .collect();
        format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nin").into_bytes()
    })
}

#[test]
fn end_to_end_fields_arrive_as_they_were_sent() {
    let heads = heads();
    let origin = origin_of(&heads);
    let local = origin_of(&heads);
    let proxy = Proxy::start(&format!(
        "gateway: {{ upstreams: [\"{}\"] }}",
        local.address
    ));
    let mut wire = proxy.connect();
    for (index, lines) in heads.iter().enumerate() {
        let gateway = format!("GET /{index} HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth());
        let forward = fetch(&format!("http://{}/{index}", origin.address));
        for (request, via) in [(gateway, false), (forward, true)] {
            let answer = wire.exchange(request);
            assert_eq!(answer.text(), "in");
            let mut found = arrived(&answer.head.raw);
            if via {
                let line = found.get_mut("via").unwrap().pop().unwrap();
                assert!(line.starts_with("via: ") || line.starts_with("Via: "));
                found.retain(|_, lines| !lines.is_empty());
            }
            let expected = by_name(lines.iter().map(|line| split(line)));
            if !expected.contains_key("date") {
                assert_eq!(found.remove("date").unwrap().len(), 1, "{lines:#?}");
            }
            assert_eq!(found, expected, "{lines:#?}");
        }
    }
}

#[test]
fn end_to_end_fields_arrive_over_http2() {
    let heads = heads();
    let origin = origin_of(&heads);
    let proxy = Proxy::plain();
    run(async {
        let mut client = Client::connect(proxy.address).await;
        for (index, lines) in heads.iter().enumerate() {
            let uri = format!("http://{}/{index}", origin.address);
            let answer = client.ask(request2("GET", &uri)).await;
            for (name, lines) in by_name(lines.iter().map(|line| split(line))) {
                let values = lines.iter().map(|line| split(line).1.trim().to_owned());
                let found = answer.fields.get_all(&name).iter();
                let mut found: Vec<_> = found.map(|value| value.to_str().unwrap()).collect();
                if name == "via" {
                    found.pop();
                }
                assert_eq!(found, values.collect::<Vec<_>>(), "{name}");
            }
            assert!(answer.fields.contains_key("date"));
        }
    });
}

/// The answer of an origin to a request with this method.
fn answer_of(proxy: &Proxy, method: &str, answer: &str) -> Vec<Response> {
    let origin = Origin::fixed(answer);
    let mut wire = proxy.connect();
    wire.send(request(method, &origin, "", "")).unwrap();
    let mut answers = vec![wire.response(method).unwrap()];
    while answers.last().unwrap().status() < 200 {
        answers.push(wire.response(method).unwrap());
    }
    answers
}

#[test]
fn the_date_of_an_origin_is_kept_in_every_kind_of_answer() {
    let proxy = Proxy::plain();
    let long = "b".repeat(40_000);
    let long_head =
        format!("200 OK\r\nA: {long}\r\nDate: {THEN}\r\nB: {long}\r\nContent-Length: 0");
    for (method, answer) in [
        ("GET", "200 OK\r\nDate: THEN\r\nContent-Length: 0"),
        ("HEAD", "200 OK\r\nContent-Length: 9\r\nDate: THEN"),
        ("GET", "304 Not Modified\r\nDate: THEN\r\nETag: \"1\""),
        ("GET", "204 No Content\r\nDate: THEN"),
        ("GET", "404 Not Found\r\ndate: THEN\r\nContent-Length: 0"),
        (
            "GET",
            "200 OK\r\nDATE:THEN\r\nTransfer-Encoding: chunked\r\n\r\n0",
        ),
        ("GET", &long_head),
    ] {
        let answer = format!("HTTP/1.1 {}\r\n\r\n", answer.replace("THEN", THEN));
        let answers = answer_of(&proxy, method, &answer);
        let fields = &answers[0].head.fields;
        let start = &answer[..40.min(answer.len())];
        assert_eq!(fields.all("date"), [THEN], "{start}");
        let bytes = fields.all("a").concat() + &fields.all("b").concat();
        assert!(bytes.is_empty() || bytes.len() == 80_000, "{start}");
    }
}

#[test]
fn an_interim_answer_has_the_date_that_it_came_with() {
    let proxy = Proxy::plain();
    let last = format!("HTTP/1.1 200 OK\r\nDate: {THEN}\r\nContent-Length: 0\r\n\r\n");
    let hints = "HTTP/1.1 103 Early Hints\r\nDate: early\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n";
    let answers = answer_of(&proxy, "GET", &format!("{hints}{last}"));
    let dates: Vec<_> = answers
        .iter()
        .map(|answer| answer.head.fields.all("date"))
        .collect();
    assert_eq!(dates, [vec!["early"], vec![], vec![THEN]]);
}

#[test]
fn each_answer_of_a_connection_has_its_own_date() {
    let proxy = Proxy::plain();
    let dated = Origin::fixed(format!(
        "HTTP/1.1 200 OK\r\nDate: {THEN}\r\nContent-Length: 0\r\n\r\n"
    ));
    let plain = Origin::ok("in");
    let mut wire = proxy.connect();
    for _ in 0..3 {
        let answer = wire.exchange(fetch(&format!("http://{}/", dated.address)));
        assert_eq!(answer.head.fields.all("date"), [THEN]);
        let answer = wire.exchange(fetch(&format!("http://{}/", plain.address)));
        let dates = answer.head.fields.all("date");
        assert!(dates.len() == 1 && dates != [THEN], "{dates:?}");
        // An answer of the proxy's own.
        let answer = wire.exchange("GET / HTTP/1.1\r\nHost: gate\r\n\r\n");
        assert_eq!(answer.status(), 401);
        assert_ne!(answer.head.fields.all("date"), [THEN]);
    }
}
