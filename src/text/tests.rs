use proptest::prelude::*;

use super::*;

#[test]
fn texts() {
    for (bytes, expected) in [
        (&b""[..], ""),
        (b"a", "a"),
        (b"a\n", "a\n"),
        (b"a\r\nb\r\n", "a\nb\n"),
        (b"a\nb\r\nc", "a\nb\nc"),
        (b"\xef\xbb\xbfa\n", "a\n"),
        (b"\xef\xbb\xbfa\r\nb", "a\nb"),
        (b"\xef\xbb\xbf", ""),
        (
            "j\u{fc}rgen\t\u{3042}\n".as_bytes(),
            "j\u{fc}rgen\t\u{3042}\n",
        ),
        (
            b"PK\x03\x04 is not compressed",
            "PK\x03\x04 is not compressed",
        ),
    ] {
        assert_eq!(decode(bytes.to_vec()).as_deref(), Ok(expected), "{bytes:?}");
    }
    // Rewritten text keeps its line ends.
    assert_eq!(check(b"\xef\xbb\xbfa\r\nb"), Ok("a\r\nb"));
}

#[test]
fn errors() {
    let utf16 =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let utf16_be =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_be_bytes).collect() };
    let whole = |encoding| (None, TextProblem::OtherUnicode(encoding));
    for (bytes, (line, problem)) in [
        (utf16("\u{feff}alice: bob\r\n"), whole(Encoding::Utf16)),
        (utf16_be("\u{feff}alice: bob\r\n"), whole(Encoding::Utf16)),
        (utf16("alice: bob\r\n"), whole(Encoding::Utf16Le)),
        (utf16_be("j\u{fc}rgen: bob\r\n"), whole(Encoding::Utf16Be)),
        (utf16("\u{feff}"), whole(Encoding::Utf16)),
        (b"\xff\xfe\0\0a\0\0\0".to_vec(), whole(Encoding::Utf32)),
        (
            b"\x1f\x8b\x08\0\0\0\xff\xff".to_vec(),
            (None, TextProblem::Compressed(Compression::Gzip)),
        ),
        (b"a\nb\0c\n".to_vec(), (Some(2), TextProblem::Nul)),
        (b"\0".to_vec(), (Some(1), TextProblem::Nul)),
        (b"a\nb\nc\0\xff".to_vec(), (Some(3), TextProblem::Nul)),
        (
            b"0\x82\x03\x01\x02\x01\x03".to_vec(),
            (None, TextProblem::Binary),
        ),
        (b"a\n\xff\n\0".to_vec(), (Some(2), TextProblem::NotUtf8)),
        (b"a\nb\n\xfc".to_vec(), (Some(3), TextProblem::NotUtf8)),
        (b"a\rb\rc".to_vec(), (None, TextProblem::OldMac)),
        (
            b"a\nb\rc\n".to_vec(),
            (Some(2), TextProblem::CarriageReturn),
        ),
        (
            b"a\r\nb\r\r\n".to_vec(),
            (Some(2), TextProblem::CarriageReturn),
        ),
        (b"a\r\nb\r".to_vec(), (Some(2), TextProblem::CarriageReturn)),
        (
            b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n".to_vec(),
            (Some(2), TextProblem::ByteOrderMark),
        ),
    ] {
        let expected = TextError { line, problem };
        assert_eq!(decode(bytes.clone()), Err(expected), "{bytes:?}");
        assert!(!problem.to_string().is_empty() && !problem.remedy().is_empty());
    }
}

#[test]
fn numbers_with_what_they_count() {
    let counted = [
        (0, "user"),
        (1, "user"),
        (2, "user"),
        (1, "entry"),
        (2, "entry"),
    ];
    let shown = counted.map(|(number, noun)| count(number, noun));
    assert_eq!(
        shown,
        ["0 users", "1 user", "2 users", "1 entry", "2 entries"]
    );
}

#[test]
fn typographic_characters() {
    for c in [
        '\u{201c}', '\u{2019}', '\u{2013}', '\u{2026}', '\u{ab}', '\u{3001}',
    ] {
        assert!(is_typographic(c), "{c:?}");
    }
    // The full stop of East Asia divides labels, and Catalan and Japanese have dots of their own.
    for c in [
        '-', '\'', '\u{3002}', '\u{b7}', '\u{30fb}', '\u{fc}', '\u{3042}', '\u{2764}',
    ] {
        assert!(!is_typographic(c), "{c:?}");
    }
}

#[test]
fn invisible_characters() {
    for c in [
        '\u{a0}', '\u{3000}', '\u{200b}', '\u{200e}', '\u{feff}', '\u{2028}', '\u{85}',
    ] {
        assert!(is_invisible(c), "{c:?}");
    }
    for c in [' ', '\t', 'a', '\u{fc}', '\u{3042}', '\u{1f600}'] {
        assert!(!is_invisible(c), "{c:?}");
    }
}

#[test]
fn system_messages() {
    let error = io::Error::from_raw_os_error(13);
    assert_eq!(system_message(&error), "permission denied");
    assert_eq!(system_message(&io::Error::other("Odd")), "Odd");
    for (chain, expected) in [
        (
            "a: No such file (os error 2); b (os error 13)",
            "a: No such file; b",
        ),
        ("(os error", "(os error"),
        ("a (os error x) (os error 1", "a (os error x) (os error 1"),
    ] {
        assert_eq!(without_numbers(chain), expected);
    }
}

proptest! {
    #[test]
    fn written_text_is_read_back(text in "[^\\r\\x00\\u{feff}]{0,200}", mark: bool) {
        prop_assume!(other_unicode(text.as_bytes()).is_none());
        let mark: &[u8] = if mark { BYTE_ORDER_MARK } else { b"" };
        let bytes = [mark, text.replace('\n', "\r\n").as_bytes()].concat();
        prop_assert_eq!(decode(bytes), Ok(text));
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(13), Just(10)], 0..64)) {
        let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
        if let Err(error) = decode(bytes) {
            prop_assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)));
        }
    }
}
