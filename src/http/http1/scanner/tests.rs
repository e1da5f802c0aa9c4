use proptest::prelude::*;

use super::*;

const SMALL: HeadLimits = HeadLimits {
    max_head: 256,
    max_target: 32,
    max_fields: 3,
    keep_forwarding: false,
};

/// The outcome with all bytes at once, and the same with one byte at a time.
fn scan(bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
    let whole = HeadScanner::default().scan(bytes, limits);
    let mut scanner = HeadScanner::default();
    let mut outcome = Ok(None);
    for end in 0..=bytes.len() {
        outcome = scanner.scan(&bytes[..end], limits);
        if outcome != Ok(None) {
            break;
        }
    }
    assert_eq!(outcome, whole, "cut: {}", bytes.escape_ascii());
    whole.map(|scanned| scanned.map(|scanned| scanned.len))
}

#[test]
fn ends_behind_the_empty_line() {
    let limits = HeadLimits::default();
    for (head, rest) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", ""),
        ("GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"),
        ("POST / HTTP/1.0\r\nA: b\r\n\r\n", "\r\n\n\0body"),
        ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", "x"),
    ] {
        let bytes = [head, rest].concat();
        assert_eq!(scan(bytes.as_bytes(), &limits), Ok(Some(head.len())));
        for end in 0..head.len() {
            assert_eq!(scan(&head.as_bytes()[..end], &limits), Ok(None), "{head:?}");
        }
    }
}

#[test]
fn refuses_before_the_end_of_the_head() {
    for (bytes, expected) in [
        (&b"\x16\x03\x01\x02\x00"[..], HeadError::NotHttp),
        (b"\x05\x01\x00", HeadError::NotHttp),
        (b" GET", HeadError::NotHttp),
        (b"\0", HeadError::NotHttp),
        (b"\xef\xbb\xbfGET", HeadError::NotHttp),
        (b"\n", HeadError::BareLf),
        (b"\rG", HeadError::BareCr),
        (b"\r\n\r\n\r\n\r\n\r\n", HeadError::EmptyLines),
        (b"GET / HTTP/1.1\n", HeadError::BareLf),
        (b"GET / HTTP/1.1\r\nHost: h\n", HeadError::BareLf),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\n", HeadError::BareLf),
        (b"SSH-2.0-OpenSSH_9.9\r\n", HeadError::RequestLine),
        (b"GET /\r\n", HeadError::MissingVersion),
        (b"PRI * HTTP/2.0\r\n", HeadError::UnsupportedVersion),
    ] {
        assert_eq!(scan(bytes, &HeadLimits::default()), Err(expected));
    }
}

#[test]
fn limits_are_exact() {
    let target = |len: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(len - 1));
    assert!(matches!(scan(target(32).as_bytes(), &SMALL), Ok(Some(_))));
    assert_eq!(
        scan(target(33).as_bytes(), &SMALL),
        Err(HeadError::TargetTooLong)
    );
    // No line end: refused as soon as no method can be long enough to excuse it.
    let line = "a".repeat(SMALL.max_target + request_line::MAX_OVERHEAD + 1);
    assert_eq!(scan(line.as_bytes(), &SMALL), Ok(None));
    let line = line + "a";
    assert_eq!(scan(line.as_bytes(), &SMALL), Err(HeadError::TargetTooLong));

    let start = "GET / HTTP/1.1\r\nA: ";
    let head = |len: usize| format!("{start}{}\r\n\r\n", "a".repeat(len - start.len() - 4));
    assert_eq!(scan(head(256).as_bytes(), &SMALL), Ok(Some(256)));
    assert_eq!(
        scan(head(257).as_bytes(), &SMALL),
        Err(HeadError::HeadTooLarge)
    );
    assert_eq!(
        scan(&head(257).as_bytes()[..256], &SMALL),
        Err(HeadError::HeadTooLarge)
    );
    assert_eq!(scan(&head(257).as_bytes()[..255], &SMALL), Ok(None));

    let fields = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(n));
    assert!(matches!(scan(fields(3).as_bytes(), &SMALL), Ok(Some(_))));
    assert_eq!(
        scan(fields(4).as_bytes(), &SMALL),
        Err(HeadError::TooManyFields)
    );
    let generous = HeadLimits {
        max_fields: usize::MAX,
        ..HeadLimits::default()
    };
    assert!(matches!(
        scan(fields(253).as_bytes(), &generous),
        Ok(Some(_))
    ));
    assert_eq!(
        scan(fields(254).as_bytes(), &generous),
        Err(HeadError::TooManyFields)
    );
}

#[test]
fn looks_at_each_byte_once() {
    let head = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(5000));
    let mut scanner = HeadScanner::default();
    for end in 1..head.len() {
        let buf = &head.as_bytes()[..end];
        assert_eq!(scanner.scan(buf, &HeadLimits::default()), Ok(None));
        assert_eq!(scanner.scanned, end);
    }
}

proptest! {
    #[test]
    fn cuts_do_not_matter(
        pieces in prop::collection::vec(
            prop_oneof![
                Just("\r\n".to_owned()),
                Just("\r\n\r\n".to_owned()),
                Just("\n".to_owned()),
                Just("\r".to_owned()),
                Just("GET / HTTP/1.1\r\n".to_owned()),
                Just("A: b".to_owned()),
                "[ -~]{0,90}",
                "\\PC{0,3}",
            ],
            0..9,
        ),
    ) {
        let _ = scan(pieces.concat().as_bytes(), &SMALL);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = scan(&bytes, &SMALL);
    }
}
