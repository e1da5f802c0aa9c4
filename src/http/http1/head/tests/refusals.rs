//! Every reason to refuse a head.

use super::*;
use crate::http::target::TargetError;

fn post(lines: &str) -> String {
    get(lines).replacen("GET", "POST", 1)
}

fn refuse(head: &str, expected: HeadError) {
    match parse(head.as_bytes()) {
        Err(error) => assert_eq!(error, expected, "{head:?}"),
        Ok(_) => panic!("accepted: {head:?}"),
    }
}

#[test]
fn request_lines() {
    use HeadError::*;
    let line = |line: &str| format!("{line}\r\nHost: h\r\n\r\n");
    for (bad, error) in [
        ("", NotHttp),
        ("GET", RequestLine),
        ("GET ", MissingVersion),
        ("GET /", MissingVersion),
        ("GET  / HTTP/1.1", RequestLine),
        ("GET /  HTTP/1.1", RequestLine),
        ("GET / HTTP/1.1 ", RequestLine),
        ("GET  HTTP/1.1", RequestLine),
        ("GET /a b HTTP/1.1", RequestLine),
        ("GET\t/ HTTP/1.1", Method),
        ("GET\t/\tHTTP/1.1", RequestLine),
        ("G(T / HTTP/1.1", Method),
        ("GET: / HTTP/1.1", Method),
        ("GET\r / HTTP/1.1", Method),
        ("GET\0 / HTTP/1.1", Method),
        ("GET /\t HTTP/1.1", TargetByte),
        ("GET /\0 HTTP/1.1", TargetByte),
        ("GET /\x7f HTTP/1.1", TargetByte),
        ("GET /\ra HTTP/1.1", TargetByte),
        ("GET / HTTP/1.1\r", Version),
        ("GET / http/1.1", Version),
        ("GET / HTTP/1.10", Version),
        ("GET / HTTP/11", Version),
        ("GET / HTTP/1", Version),
        ("GET / HTTP/+1.1", Version),
        ("GET / HTTPS/1.1", Version),
        ("GET / HTTP/1.1\0", Version),
        ("GET / HTTP/0.9", UnsupportedVersion),
        ("GET / HTTP/1.2", UnsupportedVersion),
        ("GET / HTTP/2.0", UnsupportedVersion),
        ("PRI * HTTP/2.0", UnsupportedVersion),
        ("GET /#a HTTP/1.1", Target(TargetError::Fragment)),
        ("GET http://u@h/ HTTP/1.1", Target(TargetError::Userinfo)),
        ("GET ftp://h/ HTTP/1.1", Target(TargetError::Scheme)),
        ("GET * HTTP/1.1", Target(TargetError::AsteriskForm)),
        ("CONNECT h HTTP/1.1", Target(TargetError::MissingPort)),
        ("CONNECT /x HTTP/1.1", Target(TargetError::ConnectForm)),
    ] {
        match bad {
            "" => refuse(": h\r\n\r\n", error),
            _ => refuse(&line(bad), error),
        }
    }
    assert_eq!(
        parse(b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n").unwrap_err(),
        TargetByte
    );
    accept(&line(&format!("{} / HTTP/1.1", "M".repeat(32))));
    refuse(
        &line(&format!("{} / HTTP/1.1", "M".repeat(33))),
        MethodTooLong,
    );
    accept(&line(&format!(
        "GET /{} HTTP/1.1",
        "a".repeat(16 * 1024 - 1)
    )));
    refuse(
        &line(&format!("GET /{} HTTP/1.1", "a".repeat(16 * 1024))),
        TargetTooLong,
    );
    assert_eq!(accept(&line("get / HTTP/1.1")).method.as_str(), "get");
}

#[test]
fn field_lines() {
    use HeadError::*;
    for (lines, error) in [
        ("A : b\r\n", FieldName),
        ("A\t: b\r\n", FieldName),
        ("Content-Length : 5\r\n", FieldName),
        (": b\r\n", FieldName),
        ("A b: c\r\n", FieldName),
        ("A\r\n", FieldName),
        ("A(: b\r\n", FieldName),
        ("A\0: b\r\n", FieldName),
        ("\u{e9}: b\r\n", FieldName),
        ("A: b\r\n c\r\n", FoldedField),
        ("A: b\r\n\tc: d\r\n", FoldedField),
        ("A: b\0c\r\n", FieldValue),
        ("A: \x1b[0m\r\n", FieldValue),
        ("A: b\x7f\r\n", FieldValue),
        ("A: b\x0b\r\n", FieldValue),
        ("A: b\nC: d\r\n", BareLf),
        ("A: b\n", BareLf),
        ("A:\nC: d\r\n", BareLf),
        ("A\n: d\r\n", BareLf),
        ("A: b\rC: d\r\n", BareCr),
        ("A: b\r\r\n", BareCr),
        ("A: \r \r\n", BareCr),
        ("A\r: b\r\n", BareCr),
        ("\rA: b\r\n", BareCr),
        ("A: b\r\n\r\nC: d\r\n", NotOneHead),
    ] {
        refuse(&get(lines), error);
    }
    // A fold right behind the request line.
    refuse("GET / HTTP/1.1\r\n Host: h\r\n\r\n", FoldedField);
    // Line ends of the request line and of the empty line.
    for (head, error) in [
        ("GET / HTTP/1.1\nHost: h\r\n\r\n", BareLf),
        ("GET / HTTP/1.1\r\nHost: h\r\n\n", BareLf),
        ("GET / HTTP/1.1\r\nHost: h\n\r\n", BareLf),
        ("GET / HTTP/1.0\r\n\n", BareLf),
        ("\nGET / HTTP/1.0\r\n\r\n", BareLf),
        ("\rGET / HTTP/1.0\r\n\r\n", BareCr),
        ("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.0\r\n\r\n", EmptyLines),
        ("", NotOneHead),
        ("\r\n", NotOneHead),
        ("GET / HTTP/1.0", NotOneHead),
        ("GET / HTTP/1.0\r\n", NotOneHead),
        ("GET / HTTP/1.1\r\nHost: h\r\n", NotOneHead),
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\nx", NotOneHead),
    ] {
        refuse(head, error);
    }
    accept(&get(&"A: b\r\n".repeat(127)));
    refuse(&get(&"A: b\r\n".repeat(128)), TooManyFields);
    refuse(&get(&"A: b\r\n".repeat(300)), TooManyFields);
    let limit = HeadLimits::default().max_head;
    for name in ["A".repeat(limit), format!("A: {}", "b".repeat(limit))] {
        refuse(&get(&format!("{name}: c\r\n")), HeadTooLarge);
        let fits = limit - get(": c\r\n").len();
        let head = get(&format!("{}: c\r\n", &name[..fits]));
        assert!(head.len() <= limit);
        accept(&head);
    }
}

#[test]
fn hosts() {
    let line = |host: &str| format!("GET / HTTP/1.1\r\n{host}\r\n");
    refuse(&line(""), HeadError::MissingHost);
    refuse("GET http://h/ HTTP/1.1\r\n\r\n", HeadError::MissingHost);
    refuse("CONNECT h:1 HTTP/1.1\r\n\r\n", HeadError::MissingHost);
    accept("GET / HTTP/1.0\r\n\r\n");
    for head in [
        "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: h\r\nhost: g\r\n\r\n",
        "GET http://h/ HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
    ] {
        refuse(head, HeadError::DuplicateHost);
    }
    for host in [
        "",
        "h",
        "H.example.",
        "h:0",
        "h:80",
        "h:65535",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:8080",
        "h:",
        "[::1]:",
        "[::ffff:127.0.0.1]",
        "a_b-c~d",
        "a%2Fb",
        "(x)",
    ] {
        accept(&line(&format!("Host: {host}\r\n")));
        accept(&format!("GET http://t/ HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
    for host in [
        "a b",
        "u@h",
        "h/x",
        "h?x",
        "h#x",
        "a\\b",
        "http://h",
        "h:x",
        "h:+80",
        "h:65536",
        "h:000080",
        "h:80:80",
        ":80",
        "::1",
        "[::1",
        "[]",
        "[h]",
        "[::1]x",
        ":",
        "h::",
        "[fe80::1%25a]",
        "a,b",
        "a%2",
        "a%zz",
        "\"h\"",
        "<h>",
        "\u{e9}",
        "a\tb",
    ] {
        refuse(&line(&format!("Host: {host}\r\n")), HeadError::Host);
        let absolute = format!("GET http://t/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
        refuse(&absolute, HeadError::Host);
    }
}

#[test]
fn lengths_and_codings() {
    use HeadError::*;
    for value in [
        "",
        "+6",
        "-6",
        "6,6",
        "6, 6",
        "6 6",
        "0x6",
        "6.0",
        "6;",
        "\"6\"",
        "a",
        "\u{664}",
        "9223372036854775808",
        "18446744073709551616",
        "00000000000000000006",
        "99999999999999999999999999999999999999",
    ] {
        refuse(
            &post(&format!("Content-Length: {value}\r\n")),
            ContentLength,
        );
    }
    refuse(
        &post("Content-Length: 6\r\nContent-Length: 7\r\n"),
        ConflictingContentLength,
    );
    refuse(
        &post("Content-Length: 6\r\ncontent-length: 06\r\n"),
        ConflictingContentLength,
    );
    refuse(
        &post("Content-Length: 6\r\nContent-Length:\r\n"),
        ConflictingContentLength,
    );
    for value in [
        "",
        "identity",
        "gzip",
        "xchunked",
        "chunkedx",
        "chunked, identity",
        "identity, chunked",
        "chunked,chunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked,",
        ",chunked",
        "chunk ed",
        "\u{212a}chunked",
        "\x0bchunked",
    ] {
        let head = post(&format!("Transfer-Encoding: {value}\r\n"));
        let error = parse(head.as_bytes()).unwrap_err();
        assert!(matches!(error, TransferEncoding | FieldValue), "{value:?}");
    }
    refuse(
        &post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        TransferEncoding,
    );
    refuse(
        &post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
        TransferEncoding,
    );
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
    ] {
        refuse(&post(lines), AmbiguousFraming);
    }
    refuse(
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        Http10TransferEncoding,
    );
    for line in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
        let head = format!("CONNECT h:1 HTTP/1.1\r\nHost: h\r\n{line}\r\n\r\n");
        refuse(&head, ConnectBody);
    }
}

#[test]
fn options_and_expectations() {
    use HeadError::*;
    for name in [
        "host",
        "Content-Length",
        "TRANSFER-ENCODING",
        "Via",
        "forwarded",
        "X-Forwarded-For",
        "x-forwarded-anything",
    ] {
        let line = format!("Connection: close, {name}\r\n");
        refuse(&get(&line), ProtectedConnectionOption);
    }
    for bad in [
        "a b",
        "\"x-forwarded-for\"",
        ":authority",
        "a;b",
        "a/b",
        "\u{e9}",
    ] {
        refuse(&get(&format!("Connection: {bad}\r\n")), ConnectionOption);
    }
    accept(&get(&format!("Connection: {}\r\n", "close,".repeat(32))));
    refuse(
        &get(&format!("Connection: {}\r\n", "close,".repeat(33))),
        TooManyConnectionOptions,
    );
    refuse(
        &get(&"Connection: a, b\r\n".repeat(17)),
        TooManyConnectionOptions,
    );
    accept(&get(
        "Connection: x-forwarded, viaduct, Proxy-Authorization\r\n",
    ));
    for value in [
        "",
        "200-ok",
        "100-continue, x",
        "100-continue, 100-continue",
    ] {
        refuse(&post(&format!("Expect: {value}\r\n")), Expectation);
    }
    refuse(&post("Expect: 100-continue\r\nExpect: x\r\n"), Expectation);
    refuse(
        &get("Proxy-Authorization: Basic eA==\r\nproxy-authorization: Basic eA==\r\n"),
        DuplicateProxyAuthorization,
    );
    let twice = "Authorization: Basic eA==\r\nauthorization: Basic eA==\r\n";
    refuse(&get(twice), DuplicateAuthorization);
    // It is the origin's there.
    accept(&get(&format!("Proxy-Authorization: Basic eA==\r\n{twice}")));
    accept(&format!("GET http://h/ HTTP/1.1\r\nHost: h\r\n{twice}\r\n"));
}
