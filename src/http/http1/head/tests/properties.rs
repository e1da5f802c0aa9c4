//! What holds of every head that is let through.

use proptest::prelude::*;

use super::*;
use crate::http::http1::fuzz::check_accepted;

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
