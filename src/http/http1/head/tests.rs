use super::*;
use crate::http::http1::HeadScanner;

mod properties;
mod refusals;

fn parse(head: &[u8]) -> Result<RequestHead, HeadError> {
    let limits = HeadLimits::default();
    let parsed = RequestHead::parse(BytesMut::from(head), &limits);
    // What was found while it arrived stands for reading it again.
    if let Ok(Some(scanned)) = HeadScanner::default().scan(head, &limits)
        && scanned.len == head.len()
    {
        let shown = |head: &RequestHead| format!("{head:?} {:?}", head.wire_head);
        let again = RequestHead::of(&mut BytesMut::from(head), scanned, &limits);
        assert_eq!(again.as_ref().map(shown), parsed.as_ref().map(shown));
    }
    parsed
}

fn accept(head: &str) -> RequestHead {
    parse(head.as_bytes()).unwrap_or_else(|error| panic!("{head:?}: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// `GET / HTTP/1.1` with `Host` and these lines.
fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
}

#[test]
fn unchanged_heads_are_not_copied() {
    for head in [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /a?b=c HTTP/1.0\r\n\r\n",
        "GET //a HTTP/1.1\r\nhOsT:h:80\r\nUser-Agent:  x \t\r\nEmpty:\r\nA: \r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET /\u{fc} HTTP/1.1\r\nHost: h\r\nA: \u{fc}\r\n\r\n",
    ] {
        let bytes = BytesMut::from(head);
        let place = bytes.as_ptr();
        let parsed = RequestHead::parse(bytes, &HeadLimits::default()).unwrap();
        assert_eq!(text(&parsed.wire_head), head);
        assert_eq!(parsed.wire_head.as_ptr(), place);
    }
    let parsed = accept("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(text(&parsed.wire_head), "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
}

#[test]
fn fields_are_added_at_the_end() {
    let mut parsed = accept(
        "GET http://h/a HTTP/1.1\r\nHost: h\r\nvia: 1.1 x\r\nAuthorization: NTLM TlRM\r\n\r\n",
    );
    assert!(parsed.has_via && parsed.authenticates_connection);
    parsed.push_lines(&[b"Via: 1.1 y\r\n", b"X-Forwarded-For: ::1\r\n"]);
    let tail = "NTLM TlRM\r\nVia: 1.1 y\r\nX-Forwarded-For: ::1\r\n\r\n";
    assert!(text(&parsed.wire_head).ends_with(tail));
    assert_eq!(parsed.field("x-forwarded-for"), Some(&b"::1"[..]));

    let parsed = accept("GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Basic eA==\r\n\r\n");
    assert!(!parsed.has_via && !parsed.authenticates_connection);
}

#[test]
fn wire_heads() {
    for (head, expected) in [
        (
            "GET http://Example.ORG:80/a?b HTTP/1.1\r\nA: 1\r\nhost: other\r\nb:2 \r\n\r\n",
            "GET /a?b HTTP/1.1\r\nHost: example.org\r\nA: 1\r\nb:2 \r\n\r\n",
        ),
        (
            "GET http://h:8080 HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h:8080\r\n\r\n",
        ),
        (
            "GET https://h:443?q HTTP/1.1\r\nHost: h:443\r\n\r\n",
            "GET /?q HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        (
            "GET http://H:/a HTTP/1.1\r\nHost: h:\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        (
            "GET http://[::1]:81//x HTTP/1.0\r\n\r\n",
            "GET //x HTTP/1.0\r\nHost: [::1]:81\r\n\r\n",
        ),
        (
            "OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        (
            "OPTIONS http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "OPTIONS / HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        (
            "OPTIONS http://h?x HTTP/1.1\r\nHost: h\r\n\r\n",
            "OPTIONS /?x HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        (
            "CONNECT H:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            "CONNECT H:443 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ),
        (
            "POST /a HTTP/1.1\r\nContent-Length: 5\r\nHost: h\r\ncontent-length:5\r\nZ: 1\r\n\r\n",
            "POST /a HTTP/1.1\r\nContent-Length: 5\r\nHost: h\r\nZ: 1\r\n\r\n",
        ),
        (
            "GET /a HTTP/1.1\r\nHost: h\r\nPROXY-connection: keep-alive\r\nA: 1\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nA: 1\r\n\r\n",
        ),
        (
            "PUT /a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            "PUT /a HTTP/1.0\r\nContent-Length: 1\r\n\r\n",
        ),
        (
            "GET /a HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        (
            "GET /a?q={\"a\":<`>} HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a?q={%22a%22:%3C%60%3E} HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        (
            "GET http://h/<a> HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /%3Ca%3E HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        (
            "GET /a HTTP/1.1\r\nx-forwarded-FOR: 1\r\nHost: h\r\nForwarded: for=x\r\nX-Real-Ip: 2\r\nForward: 3\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nForward: 3\r\n\r\n",
        ),
        (
            "GET http://h/a HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1\r\n\r\n",
        ),
    ] {
        let parsed = accept(head);
        assert_eq!(text(&parsed.wire_head), expected, "{head:?}");
        let target = expected.split(' ').nth(1).unwrap();
        assert_eq!(text(parsed.request_target()), target);
    }
}

#[test]
fn what_the_connection_loop_reads() {
    use Framing::*;
    let get = |lines: &str| get(lines);
    let http10 = |lines: &str| format!("GET / HTTP/1.0\r\n{lines}\r\n");
    // (head, framing, keep-alive, expects 100, WebSocket handshake)
    for (head, framing, keep_alive, expect, handshake) in [
        (get(""), None, true, false, false),
        (get("Connection: close\r\n"), None, false, false, false),
        (
            get("Connection: x\r\nConnection: CLOSE\r\n"),
            None,
            false,
            false,
            false,
        ),
        (
            get("Connection: keep-alive, close\r\n"),
            None,
            false,
            false,
            false,
        ),
        (
            get("Connection: , keep-alive ,\t\r\n"),
            None,
            true,
            false,
            false,
        ),
        (get("Connection:\r\n"), None, true, false, false),
        (http10(""), None, false, false, false),
        (
            http10("Connection: Keep-Alive\r\n"),
            None,
            true,
            false,
            false,
        ),
        (
            http10("Connection: keep-alive, close\r\n"),
            None,
            false,
            false,
            false,
        ),
        (
            http10("Proxy-Connection: keep-alive\r\n"),
            None,
            false,
            false,
            false,
        ),
        (get("Content-Length: 0\r\n"), Length(0), true, false, false),
        (
            get("Content-Length: 007\r\n"),
            Length(7),
            true,
            false,
            false,
        ),
        (
            get("Content-Length: 9223372036854775807\r\n"),
            Length(i64::MAX as u64),
            true,
            false,
            false,
        ),
        (
            http10("Content-Length: 3\r\n"),
            Length(3),
            false,
            false,
            false,
        ),
        (
            get("transfer-encoding:\tCHUNKED \r\n"),
            Chunked,
            true,
            false,
            false,
        ),
        (get("Expect: 100-continue\r\n"), None, true, false, false),
        (
            get("Expect: 100-continue\r\nContent-Length: 0\r\n"),
            Length(0),
            true,
            false,
            false,
        ),
        (
            get("Expect: 100-CONTINUE\r\nContent-Length: 1\r\n"),
            Length(1),
            true,
            true,
            false,
        ),
        (
            get("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"),
            Chunked,
            true,
            true,
            false,
        ),
        (
            http10("Expect: 100-continue\r\nContent-Length: 1\r\n"),
            Length(1),
            false,
            false,
            false,
        ),
        (
            get("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"),
            None,
            true,
            false,
            true,
        ),
        (get("Connection: upgrade\r\n"), None, true, false, false),
        (
            get("Connection: upgrade\r\nUpgrade:\r\n"),
            None,
            true,
            false,
            false,
        ),
        (
            http10("Connection: upgrade\r\nUpgrade: websocket\r\n"),
            None,
            false,
            false,
            false,
        ),
    ] {
        let parsed = accept(&head);
        assert_eq!(parsed.framing, framing, "{head:?}");
        assert_eq!(parsed.keep_alive, keep_alive, "{head:?}");
        assert_eq!(parsed.expect_continue, expect, "{head:?}");
        assert_eq!(parsed.is_websocket_handshake, handshake, "{head:?}");
    }
    let parsed = accept("CONNECT h:1 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((parsed.framing, parsed.keep_alive), (None, true));
}

/// `Upgrade` goes on for a WebSocket alone.
#[test]
fn upgrade_counts_only_in_a_websocket_handshake() {
    let option = "Connection: keep-alive, Upgrade\r\n";
    let request = |method: &str, version: &str, lines: &[&str]| {
        let lines = lines.concat();
        format!("{method} /a HTTP/{version}\r\nHost: h\r\n{lines}\r\n")
    };
    let cases: &[(&str, &str, &[&str], bool)] = &[
        ("GET", "1.1", &[option, "Upgrade: websocket\r\n"], true),
        ("GET", "1.1", &["uPGRADE:WebSocket \r\n", option], true),
        (
            "GET",
            "1.1",
            &[option, "Upgrade: x, \tWEBSOCKET ,y/1\r\n"],
            true,
        ),
        (
            "GET",
            "1.1",
            &[option, "Upgrade: x\r\n", "Upgrade: websocket\r\n"],
            true,
        ),
        (
            "GET",
            "1.1",
            &[option, "Content-Length: 0\r\n", "Upgrade: websocket\r\n"],
            true,
        ),
        ("GET", "1.1", &["Upgrade: websocket\r\n"], false),
        (
            "GET",
            "1.1",
            &["Connection: close\r\n", "Upgrade: websocket\r\n"],
            false,
        ),
        ("GET", "1.1", &[option, "Upgrade: h2c\r\n"], false),
        ("GET", "1.1", &[option, "Upgrade:\r\n"], false),
        ("GET", "1.1", &[option, "Upgrade: websocket/13\r\n"], false),
        ("GET", "1.1", &[option, "Upgrade: web socket\r\n"], false),
        ("GET", "1.1", &[option, "Upgrade: \"websocket\"\r\n"], false),
        ("GET", "1.1", &[option, "Upgrade: websocketx\r\n"], false),
        ("GET", "1.0", &[option, "Upgrade: websocket\r\n"], false),
        ("HEAD", "1.1", &[option, "Upgrade: websocket\r\n"], false),
        ("POST", "1.1", &[option, "Upgrade: websocket\r\n"], false),
        ("get", "1.1", &[option, "Upgrade: websocket\r\n"], false),
        (
            "GET",
            "1.1",
            &[option, "Content-Length: 1\r\n", "Upgrade: websocket\r\n"],
            false,
        ),
        (
            "GET",
            "1.1",
            &[
                option,
                "Upgrade: websocket\r\n",
                "Transfer-Encoding: chunked\r\n",
            ],
            false,
        ),
    ];
    for (method, version, lines, expected) in cases {
        let head = request(method, version, lines);
        let parsed = accept(&head);
        assert_eq!(parsed.is_websocket_handshake, *expected, "{head:?}");
        let kept: Vec<&str> = lines
            .iter()
            .copied()
            .filter(|line| *expected || !line.starts_with("Upgrade"))
            .collect();
        let wire = request(method, version, &kept);
        assert_eq!(text(&parsed.wire_head), wire, "{head:?}");
    }
}

#[test]
fn fields_are_read_in_place() {
    for target in ["/a", "http://h/a"] {
        let parsed = accept(&format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nVia:  1.1 a \r\nProxy-Connection: x\r\n\
             VIA: 1.0 b\r\nproxy-authorization: \t Basic dTpw  \r\nEmpty:\r\n\r\n"
        ));
        assert_eq!(credentials(&parsed), Some("Basic dTpw"));
        assert_eq!(parsed.field("via"), Some(&b"1.1 a"[..]));
        assert_eq!(parsed.field("EMPTY"), Some(&b""[..]));
        assert_eq!(parsed.field("proxy-connection"), None);
        let fields: Vec<_> = parsed
            .fields()
            .map(|(name, value)| (text(name), text(value)))
            .collect();
        let expected = [
            ("Host", "h"),
            ("Via", "1.1 a"),
            ("VIA", "1.0 b"),
            ("Empty", ""),
        ];
        assert_eq!(
            fields,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert!(!format!("{parsed:?}").contains("dTpw"));
    }
    let mut parsed = accept(&get(""));
    let _ = std::mem::take(&mut parsed.wire_head);
    assert_eq!(parsed.fields().count(), 0);
    assert_eq!(parsed.request_target(), b"");
}

fn credentials(head: &RequestHead) -> Option<&str> {
    let credentials = head.credentials.value()?;
    Some(std::str::from_utf8(credentials).unwrap())
}

#[test]
fn credentials_are_taken_out_wherever_they_stand() {
    for (line, expected) in [
        ("", None),
        ("Proxy-Authorization:\r\n", Some("")),
        ("Proxy-Authorization: Basic dTpw\r\n", Some("Basic dTpw")),
        (
            "proxy-AUTHORIZATION:\t Basic dTpw \t\r\n",
            Some("Basic dTpw"),
        ),
    ] {
        for (start, before, after) in [
            ("GET /a", "", "Host: h\r\n"),
            ("GET /a", "Host: h\r\n", ""),
            ("GET /a", "Host: h\r\nA: b\r\n", "C: d\r\n"),
            ("GET http://h/a", "Host: h\r\nA: b\r\n", "C: d\r\n"),
            ("CONNECT h:443", "Host: h\r\nA: b\r\n", "C: d\r\n"),
        ] {
            let head = format!("{start} HTTP/1.1\r\n{before}{line}{after}\r\n");
            let parsed = accept(&head);
            assert_eq!(credentials(&parsed), expected, "{head:?}");
            let start = start.replace("http://h", "");
            let without = format!("{start} HTTP/1.1\r\n{before}{after}\r\n");
            assert_eq!(text(&parsed.wire_head), without, "{head:?}");
            assert!(!format!("{parsed:?}").contains("dTpw"));
        }
    }
}
