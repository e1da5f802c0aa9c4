use super::*;
use proptest::prelude::*;

#[test]
fn durations() {
    let cases: &[(&str, Result<u64, UnitError>)] = &[
        ("500ms", Ok(500)),
        ("30s", Ok(30_000)),
        ("30 s", Ok(30_000)),
        ("5m", Ok(300_000)),
        ("1h", Ok(3_600_000)),
        ("1d", Ok(86_400_000)),
        ("0s", Ok(0)),
        ("30", Err(UnitError::MissingUnit)),
        ("", Err(UnitError::Malformed)),
        ("s", Err(UnitError::Malformed)),
        ("-1s", Err(UnitError::Malformed)),
        ("+1s", Err(UnitError::Malformed)),
        ("1.5s", Err(UnitError::Malformed)),
        ("1h30m", Err(UnitError::Malformed)),
        ("30S", Err(UnitError::Malformed)),
        ("30sec", Err(UnitError::Malformed)),
        ("30  s", Err(UnitError::Malformed)),
        ("٣s", Err(UnitError::Malformed)),
        ("18446744073709551615d", Err(UnitError::TooLarge)),
        ("99999999999999999999s", Err(UnitError::TooLarge)),
    ];
    for (text, expected) in cases {
        let read = parse_duration(text);
        assert_eq!(read, expected.map(Duration::from_millis), "{text:?}");
    }
}

#[test]
fn sizes() {
    let cases: &[(&str, Result<u64, UnitError>)] = &[
        ("64KiB", Ok(65_536)),
        ("64kib", Ok(65_536)),
        ("64 KiB", Ok(65_536)),
        ("64KB", Ok(64_000)),
        ("1MiB", Ok(1_048_576)),
        ("1MB", Ok(1_000_000)),
        ("2GiB", Ok(2_147_483_648)),
        ("3TB", Ok(3_000_000_000_000)),
        ("16384", Ok(16_384)),
        ("16384B", Ok(16_384)),
        ("0", Ok(0)),
        ("64K", Err(UnitError::Malformed)),
        ("KiB", Err(UnitError::Malformed)),
        ("1.5MiB", Err(UnitError::Malformed)),
        ("-1", Err(UnitError::Malformed)),
        ("0x10", Err(UnitError::Malformed)),
        ("18446744073709551615KiB", Err(UnitError::TooLarge)),
        ("99999999999999999999", Err(UnitError::TooLarge)),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_size(text), *expected, "{text:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_text_is_read_or_refused(text in "\\PC{0,40}") {
        let _ = parse_duration(&text);
        let _ = parse_size(&text);
    }

    #[test]
    fn what_is_shown_is_read_back(number in 0..u64::MAX / 2) {
        let duration = Duration::from_millis(number);
        prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        prop_assert_eq!(parse_size(&show_size(number)), Ok(number));
    }
}
