use http::{HeaderName, HeaderValue, Request};
use proptest::prelude::*;

use super::*;
use crate::http::http1::{Framing, HeadLimits, RequestHead};
use crate::http::target::Target;

const LIMITS: HeadLimits = HeadLimits {
    max_head: 64 * 1024,
    max_target: 16 * 1024,
    max_fields: 128,
    keep_forwarding: false,
};

fn own() -> LocalEndpoint {
    let address = "127.0.0.1:8443".parse().unwrap();
    LocalEndpoint::new(true, Some("Gate.Example"), Some(address))
}

fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn converted(parts: &Parts, has_body: bool) -> String {
    let head = to_http1(parts, has_body, &own()).unwrap();
    String::from_utf8(head.to_vec()).unwrap()
}

fn line(method: &str, uri: &str) -> String {
    let head = converted(&parts(method, uri, &[]), false);
    head.lines().next().unwrap().to_owned()
}

fn refusal(method: &str, uri: &str, fields: &[(&str, &str)]) -> HeadError {
    to_http1(&parts(method, uri, fields), false, &own()).unwrap_err()
}

#[test]
fn the_whole_head() {
    let fields = [
        ("accept", "*/*"),
        ("x", "a"),
        ("x", "b"),
        ("te", "trailers"),
    ];
    assert_eq!(
        converted(&parts("GET", "http://a.test/p?q", &fields), false),
        "GET http://a.test/p?q HTTP/1.1\r\nHost: a.test\r\naccept: */*\r\nx: a\r\nx: b\r\nte: trailers\r\n\r\n"
    );
}

#[test]
fn what_names_us_is_for_us_and_the_rest_is_forwarded() {
    for (uri, expected) in [
        ("https://gate.example/x", "GET /x HTTP/1.1"),
        ("https://GATE.example:8443/x", "GET /x HTTP/1.1"),
        ("HTTPS://gate.example/x", "GET /x HTTP/1.1"),
        ("https://gate.example:/x", "GET /x HTTP/1.1"),
        ("https://127.0.0.1:8443/", "GET / HTTP/1.1"),
        ("https://localhost:8443/", "GET / HTTP/1.1"),
        (
            "https://gate.example:9443/x",
            "GET https://gate.example:9443/x HTTP/1.1",
        ),
        (
            "https://127.0.0.2:8443/",
            "GET https://127.0.0.2:8443/ HTTP/1.1",
        ),
        (
            "http://gate.example/x",
            "GET http://gate.example/x HTTP/1.1",
        ),
        (
            "http://127.0.0.1:8443/",
            "GET http://127.0.0.1:8443/ HTTP/1.1",
        ),
        (
            "https://other.example/x",
            "GET https://other.example/x HTTP/1.1",
        ),
        ("ftp://gate.example/x", "GET ftp://gate.example/x HTTP/1.1"),
    ] {
        assert_eq!(line("GET", uri), expected);
    }
    assert_eq!(
        line("CONNECT", "gate.example:443"),
        "CONNECT gate.example:443 HTTP/1.1"
    );
    let plain = LocalEndpoint::new(false, None, Some("192.0.2.1:80".parse().unwrap()));
    let head = to_http1(&parts("GET", "http://192.0.2.1/x", &[]), false, &plain).unwrap();
    assert!(head.starts_with(b"GET /x HTTP/1.1\r\n"));
    // Where we are is not known: everything is to be forwarded.
    let nowhere = LocalEndpoint::new(false, None, None);
    let head = to_http1(&parts("GET", "http://192.0.2.1/x", &[]), false, &nowhere).unwrap();
    assert!(head.starts_with(b"GET http://192.0.2.1/x HTTP/1.1\r\n"));
}

#[test]
fn without_an_authority_host_says_whom() {
    let request = parts("GET", "/x", &[("host", "gate.example")]);
    let head = converted(&request, false);
    assert_eq!(head, "GET /x HTTP/1.1\r\nHost: gate.example\r\n\r\n");
    // What scheme the client meant is not known here.
    let other = [("host", "a.test")];
    assert_eq!(refusal("GET", "/x", &other), HeadError::MissingAuthority);
    assert_eq!(refusal("GET", "/x", &[]), HeadError::MissingHost);
}

#[test]
fn a_host_that_says_something_else_is_refused() {
    for (uri, host) in [
        ("http://a.test/", "A.TEST"),
        ("http://a.test/", "a.test:80"),
        ("http://a.test:80/", "a.test"),
        ("https://a.test/", "a.test:443"),
        ("https://a.test:/", "a.test"),
        ("https://a.test", "a.test:"),
        ("http://a.test:80/", "a.test:"),
        ("http://a.test:/", "a.test:"),
    ] {
        let request = parts("GET", uri, &[("host", host)]);
        assert!(to_http1(&request, false, &own()).is_ok(), "{uri} {host}");
    }
    for (uri, host) in [
        ("http://a.test/", "b.test"),
        ("http://a.test/", "a.test:443"),
        ("https://a.test/", "a.test:80"),
        ("http://a.test:8080/", "a.test:"),
        ("https://a.test:80/", "a.test:"),
        ("http://a.test/", ""),
        ("http://a.test/", "a.test, b.test"),
    ] {
        let error = refusal("GET", uri, &[("host", host)]);
        assert_eq!(error, HeadError::ConflictingHost, "{uri} {host}");
    }
    let twice = [("host", "a.test"), ("host", "a.test")];
    assert_eq!(
        refusal("GET", "http://a.test/", &twice),
        HeadError::DuplicateHost
    );
}

fn extended(protocol: &'static str, uri: &str, fields: &[(&str, &str)]) -> Parts {
    let mut parts = parts("CONNECT", uri, fields);
    parts.extensions.insert(Protocol::from_static(protocol));
    parts
}

#[test]
fn an_extended_connect_is_the_handshake_of_a_websocket() {
    let fields = [("sec-websocket-version", "13"), ("cookie", "a")];
    for (uri, line) in [
        ("https://gate.example/chat?x", "GET /chat?x"),
        ("https://a.test/chat", "GET https://a.test/chat"),
        ("http://a.test:8080/", "GET http://a.test:8080/"),
    ] {
        let authority = uri.parse::<Uri>().unwrap().authority().unwrap().to_string();
        // Content may follow, or the stream may be over already.
        for has_body in [true, false] {
            let head = converted(&extended("WebSocket", uri, &fields), has_body);
            let expected = format!(
                "{line} HTTP/1.1\r\nHost: {authority}\r\nsec-websocket-version: 13\r\ncookie: a\r\n\
                 connection: upgrade\r\nupgrade: websocket\r\n\r\n"
            );
            assert_eq!(head, expected);
            let head = RequestHead::parse(head.as_bytes().into(), &LIMITS).unwrap();
            assert!(head.is_websocket_handshake);
            assert_eq!(head.framing, Framing::None);
        }
    }
    for (protocol, fields, expected) in [
        ("connect-udp", &[][..], HeadError::ConnectProtocol),
        ("websocket ", &[], HeadError::ConnectProtocol),
        ("", &[], HeadError::ConnectProtocol),
        (
            "websocket",
            &[("content-length", "0")],
            HeadError::ConnectBody,
        ),
        (
            "websocket",
            &[("host", "b.test")],
            HeadError::ConflictingHost,
        ),
    ] {
        let parts = extended(protocol, "https://a.test/", fields);
        assert_eq!(to_http1(&parts, true, &own()).unwrap_err(), expected);
    }
    let options = extended("websocket", "*", &[("host", "gate.example")]);
    let refused = to_http1(&options, true, &own()).unwrap_err();
    assert_eq!(refused, HeadError::Target(TargetError::Form));
}

#[test]
fn a_path_is_no_part_of_the_authority() {
    let ours = converted(&parts("OPTIONS", "*", &[("host", "gate.example")]), false);
    assert_eq!(ours, "OPTIONS * HTTP/1.1\r\nHost: gate.example\r\n\r\n");
    let mut other = parts("OPTIONS", "http://a.test/", &[]);
    let mut uri = other.uri.into_parts();
    uri.path_and_query = "*".parse().ok();
    other.uri = Uri::from_parts(uri).unwrap();
    let other = converted(&other, false);
    assert_eq!(
        other,
        "OPTIONS http://a.test HTTP/1.1\r\nHost: a.test\r\n\r\n"
    );
    for (method, path) in [("GET", "*"), ("OPTIONS", "*.evil.test/")] {
        let mut request = parts(method, "http://a.test/", &[]);
        let mut uri = request.uri.into_parts();
        uri.path_and_query = path.parse().ok();
        // Where the crate takes such a path at all.
        let Ok(changed) = Uri::from_parts(uri) else {
            continue;
        };
        request.uri = changed;
        let error = to_http1(&request, false, &own()).unwrap_err();
        assert_eq!(
            error,
            HeadError::Target(TargetError::Form),
            "{method} {path}"
        );
    }
}

#[test]
fn whitespace_around_a_value_is_refused() {
    for name in ["x", "host", "cookie", "te", "content-length", "referer"] {
        for value in [" a", "\ta", "a ", "a\t", " ", "\t", " a "] {
            let error = refusal("GET", "https://gate.example/", &[(name, value)]);
            assert_eq!(error, HeadError::FieldWhitespace, "{name} {value:?}");
        }
    }
    let inside = [("x", "a \t b"), ("y", "")];
    let head = converted(&parts("GET", "http://a.test/", &inside), false);
    assert!(head.ends_with("x: a \t b\r\ny: \r\n\r\n"), "{head}");
}

#[test]
fn crumbs_of_cookies_are_one_field() {
    let fields = [("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2")];
    let head = converted(&parts("GET", "http://a.test/", &fields), false);
    assert!(
        head.ends_with("accept: */*\r\ncookie: a=1; b=2\r\n\r\n"),
        "{head}"
    );
}

#[test]
fn a_body_without_a_length_is_chunked() {
    for (fields, has_body, expected) in [
        (&[][..], true, Framing::Chunked),
        (&[("content-length", "5")], true, Framing::Length(5)),
        (&[("content-length", "0")], false, Framing::Length(0)),
    ] {
        let head = to_http1(&parts("POST", "http://a.test/", fields), has_body, &own());
        let head = RequestHead::parse(head.unwrap(), &LIMITS).unwrap();
        assert_eq!(head.framing, expected, "{fields:?}");
    }
    // What is behind a CONNECT is not a body.
    let head = to_http1(&parts("CONNECT", "a.test:443", &[]), true, &own());
    let head = RequestHead::parse(head.unwrap(), &LIMITS).unwrap();
    assert_eq!(head.framing, Framing::None);
}

#[test]
fn no_body_where_one_is_anticipated_has_a_length() {
    for (method, expected) in [
        ("POST", Framing::Length(0)),
        ("PUT", Framing::Length(0)),
        ("PATCH", Framing::Length(0)),
        ("GET", Framing::None),
        ("HEAD", Framing::None),
        ("DELETE", Framing::None),
        ("OPTIONS", Framing::None),
        ("post", Framing::None),
    ] {
        let head = to_http1(&parts(method, "http://a.test/", &[]), false, &own());
        let head = RequestHead::parse(head.unwrap(), &LIMITS).unwrap();
        assert_eq!(head.framing, expected, "{method}");
    }
    let fields = [("content-length", "0")];
    let head = converted(&parts("POST", "http://a.test/", &fields), false);
    assert_eq!(head.matches("content-length").count(), 1);
}

prop_compose! {
    fn field()(name in "[a-z!#$%&'*+.^_`|~-]{1,12}", value in prop::collection::vec(any::<u8>(), 0..40))
        -> Option<(HeaderName, HeaderValue)> {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(&value).ok()?))
    }
}

proptest! {
    /// Whatever a client can get through the crates for HTTP/2 is one head and the target
    /// that it names, or refused.
    #[test]
    fn what_comes_out_is_one_head(
        method in "GET|POST|OPTIONS|CONNECT|[A-Z!#$]{1,8}",
        scheme in "http|https|ftp",
        authority in "[a-z0-9.:@\\[\\]%-]{1,20}",
        path in "[ -~\u{80}-\u{fff}]{0,30}",
        fields in prop::collection::vec(field(), 0..10),
        has_body: bool,
    ) {
        let mut uri = http::uri::Parts::default();
        uri.authority = http::uri::Authority::try_from(authority.as_str()).ok();
        if method != "CONNECT" {
            uri.scheme = uri.authority.as_ref().and_then(|_| scheme.parse().ok());
            uri.path_and_query = http::uri::PathAndQuery::try_from(path.as_str()).ok();
        }
        let Ok(uri) = Uri::from_parts(uri) else { return Ok(()) };
        let mut request = parts(&method, "/", &[]);
        request.uri = uri.clone();
        let mut padded = false;
        for (name, value) in fields.into_iter().flatten() {
            padded |= value.as_bytes().trim_ascii() != value.as_bytes();
            request.headers.append(name, value);
        }
        let Ok(head) = to_http1(&request, has_body, &own()) else { return Ok(()) };
        prop_assert!(!padded);
        let end = memchr::memmem::find(&head, b"\r\n\r\n");
        prop_assert_eq!(end, Some(head.len() - 4));
        let Ok(head) = RequestHead::parse(head, &LIMITS) else { return Ok(()) };
        prop_assert_eq!(head.method.as_str(), method.as_str());
        if let Target::Absolute { authority, .. } = &head.target {
            let raw = uri.authority().map_or("", |authority| authority.as_str());
            let named = Authority::parse_with_default(raw.as_bytes(), Some(authority.port));
            prop_assert_eq!(Ok(authority), named.as_ref());
        }
    }
}
