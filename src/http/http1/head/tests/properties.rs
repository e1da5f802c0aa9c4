//! What holds of every head that is let through.

use proptest::prelude::*;

use super::*;

/// Heads that are nearly right: parts that matter, put together at random.
fn near_heads() -> impl Strategy<Value = Vec<u8>> {
    let pick = |choices: &'static [&'static str]| prop::sample::select(choices);
    let line = (
        pick(&["GET", "POST", "OPTIONS", "CONNECT", "get", "M-SEARCH", ""]),
        pick(&[
            "/",
            "*",
            "/a?b=c",
            "//x",
            "/\u{fc}",
            "/\"<>`{}|\\^",
            "/?\"<>`{}|\\^",
            "http://h",
            "HTTP://H:80/x",
            "https://h:443?q=http://g/",
            "http://[::1]:8080/",
            "h:443",
            "h:80",
            "http://u@h/",
            "ftp://h/",
            "/#f",
        ]),
        pick(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.1 "]),
    );
    let field = prop_oneof![
        3 => pick(&["Host: h", "Host: h:80", "host: other", "Host:", "Host: a b"]),
        3 => pick(&[
            "Content-Length: 5", "content-length:5", "Content-Length: 05", "Content-Length: 0",
            "Transfer-Encoding: chunked", "Transfer-Encoding: CHUNKED", "Transfer-Encoding: x",
        ]),
        3 => pick(&[
            "Connection: close", "Connection: keep-alive, Upgrade", "Upgrade: websocket", "Upgrade: h2c", "Upgrade: h2c,websocket",
            "Expect: 100-continue", "Proxy-Connection: keep-alive", "Connection: Host",
            "Proxy-Authorization: Basic dTpw", "Expect: x",
        ]),
        3 => pick(&["A: b", "a:  \tb c \t", "Empty:", "Cookie: \u{e9}", "A : b", " folded", "A: \r"]),
    ];
    let fields = prop::collection::vec(field, 0..6);
    let damage = prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>(), 0..3));
    (line, any::<bool>(), fields, damage).prop_map(|(line, host, fields, damage)| {
        let mut head = format!("{} {} {}\r\n", line.0, line.1, line.2);
        if host {
            head.push_str("Host: h\r\n");
        }
        for field in fields {
            head.push_str(field);
            head.push_str("\r\n");
        }
        let mut head = (head + "\r\n").into_bytes();
        if let Some((at, byte, what)) = damage {
            let at = at.index(head.len());
            match what {
                0 => head[at] = byte,
                1 => head.insert(at, byte),
                _ => {
                    head.remove(at);
                }
            }
        }
        head
    })
}

/// Everything that must hold of a head that was let through.
fn check_accepted(original: &[u8], parsed: &RequestHead) {
    let wire_head = &parsed.wire_head;
    let shown = format!(
        "{} -> {}",
        original.escape_ascii(),
        wire_head.escape_ascii()
    );

    // The same parser that Pingora uses reads the same request.
    let mut storage = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut storage);
    let status = request.parse(wire_head).unwrap();
    assert_eq!(
        status,
        httparse::Status::Complete(wire_head.len()),
        "{shown}"
    );
    assert_eq!(request.method, Some(parsed.method.as_str()), "{shown}");
    let minor = u8::from(parsed.version == Version::Http11);
    assert_eq!(request.version, Some(minor), "{shown}");
    let target = request.path.unwrap();
    assert_eq!(target.as_bytes(), parsed.request_target(), "{shown}");
    let fields: Vec<_> = request
        .headers
        .iter()
        .map(|header| (header.name.as_bytes(), header.value))
        .collect();
    assert_eq!(parsed.fields().collect::<Vec<_>>(), fields, "{shown}");
    let is_credentials =
        |(name, _): &(&[u8], &[u8])| name.eq_ignore_ascii_case(b"proxy-authorization");
    assert!(!fields.iter().any(is_credentials), "{shown}");

    // There is no LF but in CRLF, and no CR either.
    let crlf = wire_head.windows(2).filter(|pair| pair == b"\r\n").count();
    let count = |wanted| wire_head.iter().filter(|&&byte| byte == wanted).count();
    assert_eq!((count(b'\r'), count(b'\n')), (crlf, crlf), "{shown}");

    if parsed.method == Method::CONNECT {
        // Nobody parses it again, so nothing else had to change.
        if parsed.credentials.is_none() {
            assert!(original.ends_with(wire_head), "{shown}");
        }
        assert!(matches!(parsed.target, Target::Authority(_)), "{shown}");
        return;
    }
    // What Pingora does next: a URI from the target, and its rules for Host.
    http::uri::PathAndQuery::try_from(target).expect(&shown);
    let count = |name: &str| {
        let same = |found: &[u8]| found.eq_ignore_ascii_case(name.as_bytes());
        fields.iter().filter(|(found, _)| same(found)).count()
    };
    assert!(count("host") <= 1, "{shown}");
    assert!(
        count("content-length") + count("transfer-encoding") <= 1,
        "{shown}"
    );
    assert_eq!(count("proxy-connection"), 0, "{shown}");
    match &parsed.target {
        Target::Absolute {
            scheme, authority, ..
        } => {
            let host = authority.host_field(*scheme).to_string();
            assert_eq!(parsed.field("host"), Some(host.as_bytes()), "{shown}");
            assert!(target.starts_with('/') || target == "*", "{shown}");
        }
        Target::Authority(_) => panic!("{shown}"),
        Target::Origin => assert!(target.starts_with('/'), "{shown}"),
        Target::Asterisk => assert_eq!(target, "*", "{shown}"),
    }

    // Reading it again changes nothing.
    let again = parse(wire_head).expect(&shown);
    assert_eq!(again.wire_head, wire_head, "{shown}");
    assert_eq!(again.method, parsed.method, "{shown}");
    assert_eq!(again.version, parsed.version, "{shown}");
    assert_eq!(again.framing, parsed.framing, "{shown}");
    assert_eq!(again.keep_alive, parsed.keep_alive, "{shown}");
    assert_eq!(again.expect_continue, parsed.expect_continue, "{shown}");
    assert_eq!(
        again.is_websocket_handshake, parsed.is_websocket_handshake,
        "{shown}"
    );
    assert!(
        count("upgrade") == 0 || parsed.is_websocket_handshake,
        "{shown}"
    );
    match &parsed.target {
        Target::Absolute { .. } if target == "*" => assert_eq!(again.target, Target::Asterisk),
        Target::Absolute { .. } => assert_eq!(again.target, Target::Origin),
        same => assert_eq!(again.target, *same),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_passes_means_one_thing(head in near_heads()) {
        if let Ok(parsed) = parse(&head) {
            check_accepted(&head, &parsed);
            // The scanner sees the same head.
            let mut scanner = crate::http::http1::HeadScanner::default();
            let stream = [&head[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
            let end = scanner.scan(&stream, &HeadLimits::default());
            prop_assert_eq!(end.map(|scanned| scanned.map(|it| it.len)), Ok(Some(head.len())));
        }
    }

    #[test]
    fn single_bytes_in_a_good_head(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut head = b"POST http://h:81/a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\
            Connection: keep-alive\r\nProxy-Authorization: Basic dTpw\r\nA:  b \r\n\r\n".to_vec();
        let at = at.index(head.len());
        head[at] = byte;
        if let Ok(parsed) = parse(&head) {
            check_accepted(&head, &parsed);
        }
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let line = b"GET / HTTP/1.1\r\nHost: h\r\n";
        for head in [&bytes[..], &[&line[..], &bytes].concat(), &[&line[..], &bytes, b"\r\n\r\n"].concat()] {
            if let Ok(parsed) = parse(head) {
                check_accepted(head, &parsed);
            }
        }
    }
}
