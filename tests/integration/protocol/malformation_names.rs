//! `error_detail` and a metric name what is wrong with a head or a chunked body, by the names of
//! docs/observability.md.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::frames;
use crate::support::http2::{Client, bare, run};
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::{ALICE, auth, basic};

/// Names of the document that no request over HTTP/1 can get.
const NOT_HERE: &[&str] = &[
    // What is read as a head is one, and its target has passed stricter checks.
    "not_one_head",
    "target_empty",
    "target_control_or_space",
    // HTTP/2 only; all but the first two have a test below.
    "missing_authority",
    "connect_protocol",
    "conflicting_host",
    "field_whitespace",
];

/// The names of one table of the document.
fn documented(table: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/observability.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, part) = text.split_once(&format!("<!-- {table}: ")).unwrap();
    let (part, _) = part.split_once("<!-- end").unwrap();
    let rows = part.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// A whole head of this request line.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: h\r\n\r\n")
}

/// A GET with these field lines.
fn fields(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n")
}

fn heads() -> Vec<(&'static str, String)> {
    let target = |target: &str| line(&format!("GET {target} HTTP/1.1"));
    vec![
        ("not_http", ": h\r\n\r\n".to_owned()),
        (
            "empty_lines",
            format!("{}{}", "\r\n".repeat(5), line("GET / HTTP/1.1")),
        ),
        ("bare_lf", fields("A: b\nC: d")),
        ("bare_cr", fields("A: b\rC: d")),
        ("request_line", line("GET  / HTTP/1.1")),
        ("method", line("G(T / HTTP/1.1")),
        (
            "method_too_long",
            line(&format!("{} / HTTP/1.1", "M".repeat(33))),
        ),
        ("missing_version", line("GET /")),
        ("version", line("GET / HTTP/1.10")),
        ("unsupported_version", line("GET / HTTP/1.2")),
        (
            "target_too_long",
            target(&format!("/{}", "a".repeat(20_000))),
        ),
        ("target_byte", target("/\x7f")),
        (
            "head_too_large",
            fields(&format!("A: {}", "b".repeat(100_000))),
        ),
        ("too_many_fields", fields(&"A: b\r\n".repeat(200))),
        ("field_name", fields("A : b")),
        ("folded_field", fields("A: b\r\n c")),
        ("field_value", fields("A: b\x01c")),
        ("missing_host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("duplicate_host", fields("Host: h")),
        ("host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned()),
        ("content_length", fields("Content-Length: +6")),
        (
            "conflicting_content_length",
            fields("Content-Length: 6\r\nContent-Length: 7"),
        ),
        ("transfer_encoding", fields("Transfer-Encoding: gzip")),
        (
            "http10_transfer_encoding",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        ),
        (
            "ambiguous_framing",
            fields("Content-Length: 6\r\nTransfer-Encoding: chunked"),
        ),
        (
            "connect_body",
            "CONNECT h:1 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n".to_owned(),
        ),
        ("connection_option", fields("Connection: a b")),
        ("protected_connection_option", fields("Connection: Via")),
        (
            "too_many_connection_options",
            fields(&format!("Connection: {}", "a,".repeat(33))),
        ),
        ("expectation", fields("Expect: magic")),
        (
            "duplicate_proxy_authorization",
            fields(format!("{0}{0}", auth()).trim_end()),
        ),
        (
            "duplicate_authorization",
            fields(format!("{0}{0}", auth().replace("Proxy-", "")).trim_end()),
        ),
        ("target_fragment", target("/#a")),
        ("target_form", target("example.org")),
        ("target_connect_form", line("CONNECT /x HTTP/1.1")),
        ("target_authority_form", target("example.org:80")),
        ("target_asterisk_form", target("*")),
        ("target_scheme", target("ftp://h/")),
        ("target_userinfo", target("http://u@h/")),
        ("target_backslash", target("http://a\\b/")),
        ("target_empty_host", target("http:///a")),
        ("target_missing_port", line("CONNECT h HTTP/1.1")),
        ("target_port", target("http://h:99999/")),
        ("target_unbracketed_ipv6", target("http://::1/")),
        ("target_brackets", target("http://[h]/")),
        ("target_percent_in_host", target("http://a%41/")),
        ("target_host_name", target("http://a<b/")),
        ("target_empty_label", target("http://a..b/")),
        (
            "target_host_length",
            target(&format!("http://{}/", "a".repeat(64))),
        ),
        ("target_ipv4_number", target("http://1.2.3.256/")),
    ]
}

#[test]
fn each_malformed_head_has_its_name_in_the_record_and_in_a_metric() {
    let proxy = Proxy::plain();
    let mut missing = documented("refused heads");
    for (index, (name, head)) in heads().into_iter().enumerate() {
        // Behind a request, so that no guess is made at another protocol.
        let mut wire = proxy.connect();
        assert_eq!(
            wire.exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n").status(),
            401
        );
        wire.send(head).unwrap();
        let status = wire.response("GET").unwrap().status();
        let records = proxy.wait_records(2 * index + 2);
        let record = records.last().unwrap();
        assert_eq!(record["status"], status, "{name}");
        let detail = record["error_detail"].as_str().unwrap();
        let (found, words) = detail.split_once(": ").unwrap();
        assert_eq!(found, name, "{detail}");
        assert!(!words.is_empty());
        let series = format!("tollgate_heads_rejected_total{{reason=\"{name}\"}}");
        assert_eq!(proxy.metric(&series), 1, "{name}");
        assert!(missing.remove(name), "{name} is not documented");
    }
    let not_here = NOT_HERE.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(missing, not_here);
}

#[test]
fn a_stream_of_http2_has_such_a_name_as_well() {
    let proxy = Proxy::plain();
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let request = bare("GET", "http://a.test/", &[("host", "b.test")]);
        assert_eq!(client.ask(request).await.status, 400);
    });
    let record = proxy.wait_records(1).remove(0);
    assert_eq!(
        record["error_detail"],
        "conflicting_host: host and :authority differ"
    );
    let series = "tollgate_heads_rejected_total{reason=\"conflicting_host\"}";
    assert_eq!(proxy.metric(series), 1);
}

/// RFC 9113 §8.2.1. HTTP/1.1 would read ` a` as `a`.
#[test]
fn whitespace_at_an_end_of_a_value_is_malformed_in_http2() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let authority = origin.address.to_string();
    let head = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", authority.as_str()),
        (":path", "/"),
    ];
    let credentials = basic(ALICE.0, ALICE.1);
    let padded = format!("{credentials} ");
    let mut wire = proxy.connect();
    wire.send(frames::opening(65_535)).unwrap();
    let mut streams = (1..).step_by(2);
    let mut answer = |fields: &[(&str, &str)]| {
        let stream = streams.next().unwrap();
        wire.send(frames::request(stream, fields)).unwrap();
        frames::read_until(&mut wire, |frame| {
            frame.stream == stream && frame.kind != frames::WINDOW_UPDATE
        })
    };
    // What stands for `:status 400` and `:status 200` (RFC 7541, appendix A).
    let (bad_request, ok) = (0x8c, 0x88);
    let cases = [
        ("x", " a"),
        ("x", "a "),
        ("x", "\ta"),
        ("x", "a\t"),
        ("x", " "),
        ("cookie", "a=1 "),
        ("host", " h"),
        ("proxy-authorization", padded.as_str()),
    ];
    for (index, (name, value)) in cases.into_iter().enumerate() {
        let mut fields = head.to_vec();
        fields.push((name, value));
        if name != "proxy-authorization" {
            fields.push(("proxy-authorization", &credentials));
        }
        let frame = answer(&fields);
        assert_eq!(frame.payload[0], bad_request, "{name}: {frame:?}");
        let series = "tollgate_heads_rejected_total{reason=\"field_whitespace\"}";
        let records = proxy.wait_records(index + 1);
        assert_eq!(
            records.last().unwrap()["error_detail"],
            "field_whitespace: space or tab at an end of a field value"
        );
        assert_eq!(proxy.metric(series), index as u64 + 1, "{name}");
    }
    origin.assert_untouched();
    let mut fields = head.to_vec();
    fields.extend([("x", "a \t b"), ("proxy-authorization", &credentials)]);
    assert_eq!(answer(&fields).payload[0], ok);
}

/// They reach nothing of this program: the h2 crate refuses each as no method, scheme, authority or path.
#[test]
fn whitespace_at_an_end_of_a_pseudo_field_is_refused_as_well() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let authority = origin.address.to_string();
    let credentials = basic(ALICE.0, ALICE.1);
    let head = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", authority.as_str()),
        (":path", "/"),
        ("proxy-authorization", &credentials),
    ];
    for index in 0..4 {
        let (name, value) = head[index];
        for value in [" {}", "{} ", "\t{}", "{}\t"].map(|form| form.replace("{}", value)) {
            let mut fields = head;
            fields[index].1 = &value;
            let mut wire = proxy.connect();
            wire.send(frames::opening(65_535)).unwrap();
            wire.send(frames::request(1, &fields)).unwrap();
            let answers = [frames::RST_STREAM, frames::GOAWAY, frames::HEADERS];
            let frame = frames::read_until(&mut wire, |frame| answers.contains(&frame.kind));
            // A method that is no token ends the connection.
            let expected = match name {
                ":method" => frames::GOAWAY,
                _ => frames::RST_STREAM,
            };
            assert_eq!(frame.kind, expected, "{name} {value:?} {frame:?}");
            let protocol_error = [0, 0, 0, 1];
            assert!(frame.payload.ends_with(&protocol_error), "{frame:?}");
        }
    }
    origin.assert_untouched();
}

#[test]
fn each_malformed_body_has_its_name_in_the_record() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let extension = format!("1;{}\r\n", "a".repeat(300));
    let trailers = format!("0\r\n{}", "a: b\r\n".repeat(2000));
    let bodies = [
        ("chunk_size", "x\r\n"),
        ("chunk_size_overflow", "fffffffffffffffff\r\n"),
        ("chunk_extension", "1;\x01\r\n"),
        ("chunk_extension_too_long", extension.as_str()),
        ("chunk_line_end", "1\nx\r\n"),
        ("chunk_end", "1\r\nxyz\r\n"),
        ("trailer", "0\r\na b\r\n\r\n"),
        ("trailers_too_long", trailers.as_str()),
    ];
    let mut missing = documented("refused bodies");
    for (index, (name, body)) in bodies.into_iter().enumerate() {
        let mut wire = proxy.connect();
        let address = origin.address;
        wire.send(format!(
            "POST http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{}Transfer-Encoding: chunked\r\n\r\n{body}",
            auth()
        ))
        .unwrap();
        wire.rest();
        let record = proxy.wait_records(index + 1).remove(index);
        let detail = record["error_detail"].as_str().unwrap_or_default();
        assert!(detail.contains(&format!("{name}: ")), "{name}: {record}");
        assert!(missing.remove(name), "{name} is not documented");
    }
    assert!(missing.is_empty(), "{missing:?}");
}
