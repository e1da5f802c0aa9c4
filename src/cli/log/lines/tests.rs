use std::io::Write as _;

use proptest::prelude::*;

use super::*;

/// A source that gives a few bytes with each read.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = self.1.min(out.len()).min(self.0.len());
        let (now, rest) = self.0.split_at(most);
        out[..most].copy_from_slice(now);
        self.0 = rest;
        Ok(most)
    }
}

fn lines(bytes: &[u8], piece: usize) -> Vec<Option<Vec<u8>>> {
    let mut found = Vec::new();
    let mut each = |line: Line<'_>| {
        found.push(match line {
            Line::Bytes(line) => Some(line.to_vec()),
            Line::TooLong => None,
        });
        Ok::<(), io::Error>(())
    };
    let mut source = Pieces(bytes, piece);
    let mut lines = Lines::new();
    while lines.read(&mut source, &mut each).unwrap() {}
    lines.finish(&mut each).unwrap();
    found
}

proptest! {
    #[test]
    fn lines_are_the_same_in_whatever_pieces(text in "[a-c\n]{0,200}", piece in 1_usize..50) {
        let mut expected: Vec<_> = text.split('\n').map(|line| Some(line.as_bytes().to_vec())).collect();
        if text.is_empty() || text.ends_with('\n') {
            expected.pop();
        }
        prop_assert_eq!(lines(text.as_bytes(), piece), expected);
    }
}

#[test]
fn a_line_without_end_takes_no_memory_and_counts_once() {
    let mut text = b"one\n".to_vec();
    text.resize(text.len() + 5 * BUFFER, b'x');
    text.extend_from_slice(b"\ntwo\n");
    for piece in [1000, usize::MAX] {
        let found = lines(&text, piece);
        assert_eq!(
            found,
            [Some(b"one".to_vec()), None, Some(b"two".to_vec())],
            "{piece}"
        );
    }
    let long = vec![b'x'; MAX_LINE + 1];
    assert_eq!(lines(&long, usize::MAX), [None]);
}

fn rest(file: &mut File) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_last_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    for (text, lines, expected) in [
        ("", 2, ""),
        ("a\n", 2, "a\n"),
        ("a\nb\nc\n", 2, "b\nc\n"),
        ("a\nb\nc", 2, "b\nc"),
        ("a\nb\n", 2, "a\nb\n"),
    ] {
        fs::write(&path, text).unwrap();
        let mut file = File::open(&path).unwrap();
        seek_last(&mut file, lines).unwrap();
        assert_eq!(rest(&mut file), expected, "{text:?}");
    }
    // More than is looked at.
    fs::write(&path, format!("{}\nlast\n", "x".repeat(2 * BUFFER))).unwrap();
    let mut file = File::open(&path).unwrap();
    seek_last(&mut file, 10).unwrap();
    assert_eq!(rest(&mut file), "last\n");
}

#[test]
fn a_time_is_found_without_reading_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut file = File::create(&path).unwrap();
    let start = DateTime::parse_from_rfc3339("2026-11-30T00:00:00Z").unwrap();
    let padding = "x".repeat(500);
    for second in 0..20_000 {
        let time = (start + chrono::Duration::seconds(second)).to_utc();
        let time = time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let line = format!("{{\"time\":\"{time}\",\"event\":\"request\",\"x\":\"{padding}\"}}\n");
        file.write_all(line.as_bytes()).unwrap();
    }
    let mut file = File::open(&path).unwrap();
    let since = (start + chrono::Duration::seconds(15_000)).to_utc();
    seek_time(&mut file, since).unwrap();
    let position = file.stream_position().unwrap();
    let (all, text) = (file.metadata().unwrap().len(), rest(&mut file));
    assert!(position > all / 2, "{position} of {all}");
    assert!(text.starts_with("{\"time\":"), "{}", &text[..40]);
    assert!(text.contains("\"2026-11-30T04:10:00.000Z\""));
    assert!(text[..40] < *"{\"time\":\"2026-11-30T04:10:00");
    // What is no log is read as a whole.
    fs::write(&path, "x".repeat(1 << 20)).unwrap();
    let mut file = File::open(&path).unwrap();
    seek_time(&mut file, since).unwrap();
    assert_eq!(file.stream_position().unwrap(), 0);
}

#[test]
fn a_file_that_is_rotated_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (path, old) = (directory.path().join("log"), directory.path().join("old"));
    fs::write(&path, "one\n").unwrap();
    let mut file = File::open(&path).unwrap();
    assert_eq!(rest(&mut file), "one\n");
    assert!(matches!(turn(&path, &mut file).unwrap(), Turn::Same));
    fs::rename(&path, &old).unwrap();
    assert!(matches!(turn(&path, &mut file).unwrap(), Turn::Same));
    fs::write(&path, "two\n").unwrap();
    let Turn::Next(mut next) = turn(&path, &mut file).unwrap() else {
        panic!("the next file was not seen");
    };
    assert_eq!(rest(&mut next), "two\n");
    // As `copytruncate` of logrotate does.
    fs::write(&path, "3\n").unwrap();
    assert!(matches!(turn(&path, &mut next).unwrap(), Turn::Truncated));
    assert_eq!(rest(&mut next), "3\n");
}
