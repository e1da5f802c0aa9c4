use proptest::prelude::*;

use super::*;

/// What becomes of a stream: bytes taken in all, data bytes, whether it ended,
/// and the error.
type Outcome = (usize, u64, bool, Option<FramingError>);

/// The same without the data bytes.
type Read = (usize, bool, Option<FramingError>);

fn feed<'a>(framing: Framing, cuts: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut scanner = BodyScanner::new(framing);
    let mut taken = 0;
    for cut in cuts {
        match scanner.scan(cut) {
            Ok(own) => {
                taken += own;
                assert!(own == cut.len() || scanner.is_done());
            }
            Err(error) => {
                assert!(!scanner.is_done());
                assert_eq!(scanner.scan(b"x"), Err(error.clone()));
                // How much came before the error depends on the cut.
                return (0, false, Some(error));
            }
        }
    }
    (taken, scanner.is_done(), None)
}

/// All at once and byte by byte, which have to agree.
fn scan(framing: Framing, bytes: &[u8]) -> Outcome {
    let whole = feed(framing, [bytes]);
    let single = feed(framing, bytes.chunks(1));
    assert_eq!(whole, single, "{}", bytes.escape_ascii());
    let (taken, is_done, error) = whole;
    let data = match error {
        None => data(framing, bytes),
        Some(_) => 0,
    };
    (taken, data, is_done, error)
}

/// Data bytes: those that the scanner announces.
fn data(framing: Framing, bytes: &[u8]) -> u64 {
    let mut scanner = BodyScanner::new(framing);
    let is_data = |byte: &&[u8]| {
        let is_data = scanner.data_ahead() > 0;
        scanner.scan(byte).unwrap();
        is_data
    };
    bytes.chunks(1).filter(is_data).count() as u64
}

fn check_chunked(bytes: &str, expected: Result<(&str, u64), FramingError>) {
    let outcome = scan(Framing::Chunked, bytes.as_bytes());
    match expected {
        Ok((rest, data)) => {
            let body = bytes.len() - rest.len();
            assert!(bytes.ends_with(rest));
            assert_eq!(outcome, (body, data, true, None), "{bytes:?}");
            for end in 0..body {
                let (taken, _, done, error) = scan(Framing::Chunked, &bytes.as_bytes()[..end]);
                assert_eq!((taken, done, error), (end, false, None), "{bytes:?}");
            }
        }
        Err(error) => assert_eq!(outcome.3, Some(error), "{bytes:?}"),
    }
}

#[test]
fn fixed_lengths() {
    for (framing, expected) in [
        (Framing::None, (0, 0, true, None)),
        (Framing::Length(0), (0, 0, true, None)),
        (Framing::Length(1), (1, 1, true, None)),
        (Framing::Length(5), (5, 5, true, None)),
        (Framing::Length(6), (6, 6, true, None)),
        (Framing::Length(7), (6, 6, false, None)),
        (Framing::Length(u64::MAX), (6, 6, false, None)),
    ] {
        assert_eq!(scan(framing, b"abcdef"), expected, "{framing:?}");
        assert_eq!(BodyScanner::new(framing).is_done(), expected.1 == 0);
    }
}

#[test]
fn chunked_bodies() {
    check_chunked("0\r\n\r\n", Ok(("", 0)));
    check_chunked("0\r\n\r\nGET / HTTP/1.1\r\n", Ok(("GET / HTTP/1.1\r\n", 0)));
    check_chunked("5\r\nhello\r\n0\r\n\r\nx", Ok(("x", 5)));
    check_chunked(
        "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        Ok(("", 20)),
    );
    check_chunked("0000000000000005\r\n\r\n\r\n0\r\n0\r\n\r\n", Ok(("", 5)));
    check_chunked("000\r\n\r\n", Ok(("", 0)));
    check_chunked("2;a\r\nhi\r\n0;last=1\r\n\r\n", Ok(("", 2)));
    check_chunked("2;a=\"b;\t\u{e9}\" ; c\r\nhi\r\n0\r\n\r\n", Ok(("", 2)));
    check_chunked(
        "0\r\nA: b\r\nC:\r\nD: \t\u{e9} \r\n\r\nrest",
        Ok(("rest", 0)),
    );
    let extension = ";".repeat(MAX_EXTENSION as usize);
    check_chunked(&format!("1{extension}\r\nx\r\n0\r\n\r\n"), Ok(("", 1)));
}

#[test]
fn malformed_chunks() {
    use FramingError::*;
    for (bytes, error) in [
        ("\r\n", ChunkSize),
        ("\n", ChunkSize),
        (";a\r\n", ChunkSize),
        (" 5\r\nhello\r\n", ChunkSize),
        ("5 \r\nhello\r\n", ChunkSize),
        ("5\t;a\r\nhello\r\n", ChunkSize),
        ("+5\r\nhello\r\n", ChunkSize),
        ("-1\r\n", ChunkSize),
        ("0x5\r\nhello\r\n", ChunkSize),
        ("5h\r\nhello\r\n", ChunkSize),
        ("5_0\r\n", ChunkSize),
        ("5,5\r\n", ChunkSize),
        ("\0", ChunkSize),
        ("00000000000000005\r\n", ChunkSizeOverflow),
        ("8000000000000000\r\n", ChunkSizeOverflow),
        ("ffffffffffffffff\r\n", ChunkSizeOverflow),
        ("10000000000000000\r\n", ChunkSizeOverflow),
        ("5\nhello\r\n", LineEnd),
        ("5\rhello", LineEnd),
        ("5\r\r\n", LineEnd),
        ("5;a\nhello", LineEnd),
        ("5;a\rb\r\n", LineEnd),
        ("5;a\0\r\n", Extension),
        ("5;\x7f\r\n", Extension),
        ("5\r\nhello0\r\n", ChunkEnd),
        ("5\r\nhello\n0\r\n\r\n", ChunkEnd),
        ("5\r\nhello\r0\r\n", ChunkEnd),
        ("0\r\n\n", LineEnd),
        ("0\r\n\rx", LineEnd),
        ("0\r\nA: b\n\r\n", LineEnd),
        ("0\r\nA: b\r\r\n", LineEnd),
        ("0\r\nA\n", LineEnd),
        ("0\r\nA\r\n", Trailer),
        ("0\r\nA : b\r\n", Trailer),
        ("0\r\n: b\r\n", Trailer),
        ("0\r\n A: b\r\n", Trailer),
        ("0\r\nA: b\r\n c\r\n", Trailer),
        ("0\r\nA: \0\r\n", Trailer),
        ("0\r\nGET / HTTP/1.1\r\n", Trailer),
    ] {
        check_chunked(bytes, Err(error));
    }
    let extension = ";".repeat(MAX_EXTENSION as usize + 1);
    check_chunked(&format!("1{extension}\r\n"), Err(ExtensionTooLong));
    let line = "A: b\r\n";
    let fits = line.repeat(MAX_TRAILERS as usize / line.len());
    check_chunked(&format!("0\r\n{fits}\r\n"), Ok(("", 0)));
    check_chunked(&format!("0\r\n{fits}{line}\r\n"), Err(TrailersTooLong));
    // The largest size that is taken.
    let (taken, _, done, error) = scan(Framing::Chunked, b"7fffffffffffffff\r\nabc");
    assert_eq!((taken, done, error), (21, false, None));
}

#[test]
fn extensions_cannot_outweigh_the_data() {
    let chunk = format!("1;{}\r\nx\r\n", "a".repeat(200));
    let outcome = scan(Framing::Chunked, chunk.repeat(1000).as_bytes());
    assert_eq!(outcome.3, Some(FramingError::ExtensionTooLong));

    // Chunks that are worth an extension may all have one.
    let chunk = format!("400;{}\r\n{}\r\n", "a".repeat(200), "x".repeat(1024));
    let body = chunk.repeat(1000) + "0\r\n\r\n";
    let (taken, data, done, error) = scan(Framing::Chunked, body.as_bytes());
    assert_eq!(
        (taken, data, done, error),
        (body.len(), 1_024_000, true, None)
    );
}

/// A decoder that is as plain as can be: lines, then data, on the whole input.
fn reference(mut input: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    fn line(input: &mut &[u8]) -> Option<String> {
        let end = input.windows(2).position(|pair| pair == b"\r\n")?;
        let text = String::from_utf8_lossy(&input[..end]).into_owned();
        *input = &input[end + 2..];
        Some(text)
    }
    let mut data = Vec::new();
    loop {
        let head = line(&mut input)?;
        let size = head.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            while !line(&mut input)?.is_empty() {}
            return Some((data, input));
        }
        data.extend_from_slice(input.get(..size)?);
        input = input.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

/// What httparse makes of the same chunks; Pingora decodes with it.
fn httparse_end(input: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let status = httparse::parse_chunk_size(&input[at..]).ok()?;
        let httparse::Status::Complete((payload, size)) = status else {
            return None;
        };
        at += payload;
        if size == 0 {
            if input[at..].starts_with(b"\r\n") {
                return Some(at + 2);
            }
            let end = input[at..].windows(4).position(|end| end == b"\r\n\r\n")?;
            return Some(at + end + 4);
        }
        at += usize::try_from(size).ok()? + 2;
        input.get(..at)?;
    }
}

fn encoded_body() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let chunk = (
        prop::collection::vec(any::<u8>(), 1..40),
        "0{0,3}",
        any::<bool>(),
        prop_oneof![3 => Just(String::new()), 1 => ";[ -~]{0,20}"],
    );
    let trailer = "([!#-'*+.^_`|~0-9A-Za-z-]{1,8}:[ -~]{0,12}\r\n){0,3}";
    (prop::collection::vec(chunk, 0..6), trailer).prop_map(|(chunks, trailer)| {
        let (mut data, mut wire) = (Vec::new(), Vec::new());
        for (bytes, zeros, upper, extension) in chunks {
            let size = if upper {
                format!("{zeros}{:X}{extension}\r\n", bytes.len())
            } else {
                format!("{zeros}{:x}{extension}\r\n", bytes.len())
            };
            wire.extend_from_slice(size.as_bytes());
            wire.extend_from_slice(&bytes);
            wire.extend_from_slice(b"\r\n");
            data.extend_from_slice(&bytes);
        }
        wire.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
        (data, wire)
    })
}

fn cut(bytes: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut cuts = Vec::new();
    for &size in sizes
        .iter()
        .cycle()
        .take(if sizes.is_empty() { 0 } else { 10_000 })
    {
        let (part, after) = rest.split_at(size.min(rest.len()));
        cuts.push(part.to_vec());
        rest = after;
    }
    cuts.push(rest.to_vec());
    cuts
}

proptest! {
    #[test]
    fn finds_the_end_that_decoders_find(
        (data, wire) in encoded_body(),
        behind in prop::collection::vec(any::<u8>(), 0..20),
        sizes in prop::collection::vec(1usize..9, 1..5),
    ) {
        let stream = [wire.clone(), behind.clone()].concat();
        let (decoded, rest) = reference(&stream).unwrap();
        prop_assert_eq!(&decoded, &data);
        prop_assert_eq!(rest, &behind[..]);
        prop_assert_eq!(httparse_end(&stream), Some(wire.len()));
        let expected = (wire.len(), data.len() as u64, true, None);
        prop_assert_eq!(scan(Framing::Chunked, &stream), expected.clone());
        let cuts = cut(&stream, &sizes);
        let expected = (expected.0, expected.2, expected.3);
        prop_assert_eq!(feed(Framing::Chunked, cuts.iter().map(Vec::as_slice)), expected);
    }

    #[test]
    fn what_passes_after_damage_still_has_one_end(
        (_, mut wire) in encoded_body(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(&b"\r\n;0 af"[..])],
        what in 0..3,
        sizes in prop::collection::vec(1usize..9, 1..5),
    ) {
        let at = at.index(wire.len());
        match what {
            0 => wire[at] = byte,
            1 => wire.insert(at, byte),
            _ => { wire.remove(at); }
        }
        let outcome = scan(Framing::Chunked, &wire);
        let cuts = cut(&wire, &sizes);
        let read = feed(Framing::Chunked, cuts.iter().map(Vec::as_slice));
        prop_assert_eq!(read, (outcome.0, outcome.2, outcome.3.clone()));
        if outcome.2 {
            let (decoded, rest) = reference(&wire).unwrap();
            prop_assert_eq!(decoded.len() as u64, outcome.1);
            prop_assert_eq!(wire.len() - rest.len(), outcome.0);
            prop_assert_eq!(httparse_end(&wire), Some(outcome.0));
        }
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0u64..300) {
        scan(Framing::Chunked, &bytes);
        let (taken, data, done, error) = scan(Framing::Length(length), &bytes);
        prop_assert_eq!(taken as u64, length.min(bytes.len() as u64));
        prop_assert_eq!(data, taken as u64);
        prop_assert_eq!((done, error), (data == length, None));
    }
}
