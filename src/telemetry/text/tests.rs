use std::time::SystemTime;

use proptest::prelude::*;

use super::*;

fn made(push: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    push(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn writes_numbers() {
    for n in [0, 9, 10, 100, 65535, u64::MAX] {
        assert_eq!(made(|out| push_u64(out, n)), n.to_string());
    }
    for (duration, expected) in [
        (Duration::ZERO, "0.000000"),
        (Duration::from_nanos(1_999), "0.000001"),
        (Duration::from_millis(1_500), "1.500000"),
        (Duration::MAX, "18446744073709551615.999999"),
    ] {
        assert_eq!(made(|out| push_seconds(out, duration)), expected);
    }
}

#[test]
fn writes_addresses() {
    for (addr, expected) in [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("255.255.255.255:65535", "255.255.255.255:65535"),
        ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ("[::ffff:192.0.2.7]:443", "192.0.2.7:443"),
    ] {
        let addr = addr.parse().unwrap();
        assert_eq!(made(|out| push_addr(out, addr)), expected);
    }
    let ip = "2001:db8::1".parse().unwrap();
    assert_eq!(made(|out| push_ip(out, ip)), "2001:db8::1");
}

#[test]
fn escapes_json() {
    for (text, expected) in [
        (&b""[..], r#""""#),
        (b"plain /text?x=1", r#""plain /text?x=1""#),
        (b"a\"b\\c", r#""a\"b\\c""#),
        (b"a\r\nb\tc", r#""a\r\nb\tc""#),
        (b"\0\x1b[31m\x7f", r#""\u0000\u001b[31m\u007f""#),
        ("gr\u{fc}n \u{1f600}".as_bytes(), "\"gr\u{fc}n \u{1f600}\""),
        (b"bad \xff\xfe end", "\"bad \u{fffd}\u{fffd} end\""),
        (
            "\u{85}\u{2028}\u{202e}\u{feff}".as_bytes(),
            r#""\u0085\u2028\u202e\ufeff""#,
        ),
        (b"0123456789abcdefX", "\"0123456789abcdef\u{2026}\""),
    ] {
        assert_eq!(made(|out| push_json(out, text, 16)), expected);
    }
}

#[test]
fn escapes_as_apache_does() {
    for (text, expected) in [
        (&b"plain /text"[..], "plain /text"),
        (b"a\"b\\c", r#"a\"b\\c"#),
        (b"a\r\nb\tc", r"a\r\nb\tc"),
        (b"\0\x7f\xff", r"\x00\x7f\xff"),
        ("\u{fc}".as_bytes(), r"\xc3\xbc"),
        (b"0123456789abcdefX", "0123456789abcdef..."),
    ] {
        assert_eq!(made(|out| push_quoted(out, text, 16)), expected);
    }
    assert_eq!(made(|out| push_bare(out, b"a b", 16)), r"a\x20b");
}

#[test]
fn cuts_between_characters() {
    for (text, max, expected) in [
        ("abc", 3, "abc"),
        ("abcd", 3, "abc"),
        ("a\u{20ac}b", 4, "a\u{20ac}"),
        ("a\u{20ac}b", 3, "a"),
        ("a\u{20ac}b", 2, "a"),
        ("\u{1f600}", 3, ""),
        ("abc", 0, ""),
    ] {
        assert_eq!(cut(text.as_bytes(), max), expected.as_bytes());
    }
    // Continuation bytes alone are no character: the bound alone decides.
    assert_eq!(cut(&[0x80; 20], 10).len(), 10);
}

#[test]
fn masks_userinfo() {
    for (uri, expected) in [
        ("http://user:canary@host/path", "http://***@host/path"),
        ("http://canary@host", "http://***@host"),
        ("http://a@b@host/", "http://***@host/"),
        ("user:canary@host:443", "***@host:443"),
        // The password holds what ends an authority.
        ("http://user:cana/ry@host/", "http://***@host/"),
        ("http://user:cana?ry@host/", "http://***@host/"),
        ("user:cana#ry@host:443", "***@host:443"),
        ("user:/canary@host:443", "***@host:443"),
        ("user:://canary@host:443", "***@host:443"),
        ("http://user:]canary/@host/", "http://***@host/"),
        ("[canary]:1/@host:443", "***@host:443"),
        ("[::1]canary/@host:443", "***@host:443"),
        // No userinfo.
        ("http://host/a@b", "http://host/a@b"),
        ("http://host:80/?mail=a@b", "http://host:80/?mail=a@b"),
        ("http://[::1]/a@b", "http://[::1]/a@b"),
        ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
        ("/a:b@c", "/a:b@c"),
        ("host:443", "host:443"),
        ("*", "*"),
        ("", ""),
    ] {
        let json = made(|out| push_json_uri(out, uri.as_bytes(), 100));
        assert_eq!(json, format!("\"{expected}\""));
        let quoted = made(|out| push_quoted_uri(out, uri.as_bytes(), 100));
        assert_eq!(quoted, expected);
    }
}

#[test]
fn writes_times() {
    let mut clock = Clock::default();
    for (millis, rfc3339, combined) in [
        (0, "1970-01-01T00:00:00.000Z", "01/Jan/1970:00:00:00 +0000"),
        (7, "1970-01-01T00:00:00.007Z", "01/Jan/1970:00:00:00 +0000"),
        (
            1_709_164_799_999,
            "2024-02-28T23:59:59.999Z",
            "28/Feb/2024:23:59:59 +0000",
        ),
        (
            1_709_164_800_000,
            "2024-02-29T00:00:00.000Z",
            "29/Feb/2024:00:00:00 +0000",
        ),
        (0, "1970-01-01T00:00:00.000Z", "01/Jan/1970:00:00:00 +0000"),
        (
            253_402_300_799_000,
            "9999-12-31T23:59:59.000Z",
            "31/Dec/9999:23:59:59 +0000",
        ),
        (
            253_402_300_800_000,
            "9999-12-31T23:59:59.000Z",
            "31/Dec/9999:23:59:59 +0000",
        ),
    ] {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        assert_eq!(made(|out| clock.push_rfc3339(out, time)), rfc3339);
        assert_eq!(made(|out| clock.push_combined(out, time)), combined);
    }
    let before_epoch = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    let text = made(|out| clock.push_rfc3339(out, before_epoch));
    assert_eq!(text, "1970-01-01T00:00:00.000Z");
}

proptest! {
    #[test]
    fn cut_text_is_valid_and_bounded(text in ".*", max in 0_usize..40) {
        let kept = cut(text.as_bytes(), max);
        prop_assert!(kept.len() <= max);
        prop_assert!(kept.len() == text.len() || kept.len() + 4 > max);
        prop_assert!(std::str::from_utf8(kept).is_ok());
    }

    #[test]
    fn json_text_means_what_was_given(text in ".{0,60}") {
        let json = made(|out| push_json(out, text.as_bytes(), 1000));
        prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn userinfo_is_masked_wherever_it_stands(
        password in "[ -~]{0,20}",
        scheme in prop_oneof![Just(""), Just("http://")],
    ) {
        let uri = format!("{scheme}user:canary{password}@host:80");
        let json = made(|out| push_json_uri(out, uri.as_bytes(), 100));
        prop_assert!(!json.contains("canary"), "{}", json);
    }
}
