//! Whether the path of a request is below a prefix, as the server that gets it may read it. Pure.
//!
//! The path is compared as RFC 3986 §6.2.2 has it: encoded unreserved characters are decoded, once, and dot segments
//! resolved. Servers differ in the rest: whether `%2F`, `\` and `%5C` separate segments, whether empty segments count,
//! whether `;` begins parameters, and whether what follows two separators at the begin is an authority, as in a URL of
//! browsers. Each of these is a [`Reading`], and a caller that decides by a path asks for all of
//! them. The path that is sent on stays as it is.

mod readings;

use std::borrow::Cow;

pub use readings::Readings;

/// How a server may read a path, beyond RFC 3986: a bit for each of the ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading(u8);

impl Reading {
    const ENCODED_SLASH: u8 = 1;
    const BACKSLASH: u8 = 2;
    const MERGED_SLASHES: u8 = 4;
    const PARAMETERS: u8 = 8;
    const AUTHORITY: u8 = 16;
    const ALL: u8 = 31;

    const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

/// A path of the configuration: `/api` is for itself and all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Without the slash at its end.
    text: Box<str>,
}

/// The path of a request in one reading.
#[derive(Debug)]
pub struct ReadPath<'a>(Form<'a>);

#[derive(Debug)]
enum Form<'a> {
    /// Every reading is the text itself.
    Plain(&'a [u8]),
    Segments(Vec<Vec<u8>>),
}

impl Prefix {
    /// Reads a prefix: segments of unreserved characters (RFC 3986 §2.3), which have one spelling. A slash at its end
    /// means nothing. None for what could be read in more than one way.
    pub fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix('/')?;
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let is_segment = |segment: &str| {
            !matches!(segment, "" | "." | "..") && segment.bytes().all(is_unreserved)
        };
        if text != "/" && !inner.split('/').all(is_segment) {
            return None;
        }
        let end = text.len() - usize::from(text.ends_with('/'));
        Some(Self {
            text: text.get(..end)?.into(),
        })
    }

    /// The prefix as text, without a slash at its end; empty for `/`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether every path below `other` is below this prefix.
    pub fn covers(&self, other: &Prefix) -> bool {
        self.holds(&ReadPath(Form::Plain(other.text.as_bytes())))
    }

    /// Whether the path is the prefix or below it.
    pub fn holds(&self, path: &ReadPath<'_>) -> bool {
        self.holds_as(path, |one, other| one == other)
    }

    /// The same for a server that ignores the case of ASCII letters, as some do.
    pub fn holds_in_any_case(&self, path: &ReadPath<'_>) -> bool {
        self.holds_as(path, <[u8]>::eq_ignore_ascii_case)
    }

    fn holds_as(&self, path: &ReadPath<'_>, is_equal: fn(&[u8], &[u8]) -> bool) -> bool {
        match &path.0 {
            Form::Plain(path) => {
                path.split_at_checked(self.text.len())
                    .is_some_and(|(start, rest)| {
                        is_equal(start, self.text.as_bytes()) && matches!(rest, [] | [b'/', ..])
                    })
            }
            Form::Segments(segments) => {
                let mut segments = segments.iter();
                let mut own = self.text.split('/').skip(1);
                own.all(|own| {
                    segments
                        .next()
                        .is_some_and(|it| is_equal(it, own.as_bytes()))
                })
            }
        }
    }
}

impl<'a> ReadPath<'a> {
    /// Every reading of the path of a request-target in origin-form. Nothing is allocated where there is only one.
    pub fn readings(target: &'a [u8]) -> impl Iterator<Item = ReadPath<'a>> {
        let end = target.iter().position(|byte| *byte == b'?');
        let path = target.get(..end.unwrap_or(target.len())).unwrap_or(target);
        let oddities = oddities(path);
        let plain = oddities.is_none().then_some(ReadPath(Form::Plain(path)));
        let differ = oddities.unwrap_or(0);
        let readings = oddities.map_or(0..0, |_| 0..Reading::ALL + 1);
        let others = readings
            .filter(move |bits| bits & !differ == 0)
            .map(move |bits| ReadPath(Form::Segments(segments(path, Reading(bits)))));
        plain.into_iter().chain(others)
    }

    /// The path in this reading: as it was sent where every server reads it so, else with unreserved characters
    /// decoded and dot segments resolved.
    pub fn text(&self) -> Cow<'a, [u8]> {
        match &self.0 {
            Form::Plain(path) => Cow::Borrowed(path),
            Form::Segments(segments) => {
                let mut text = Vec::new();
                for segment in segments {
                    text.push(b'/');
                    text.extend_from_slice(segment);
                }
                match text.is_empty() {
                    true => Cow::Borrowed(b"/"),
                    false => Cow::Owned(text),
                }
            }
        }
    }

    /// Whether the first segment is this one.
    pub fn begins_with(&self, segment: &[u8]) -> bool {
        match &self.0 {
            Form::Plain(path) => path
                .strip_prefix(b"/")
                .and_then(|path| path.strip_prefix(segment))
                .is_some_and(|rest| matches!(rest, [] | [b'/', ..])),
            Form::Segments(segments) => segments.first().is_some_and(|first| first == segment),
        }
    }
}

/// The ways in which servers may differ over a path; none where the path is its only reading.
fn oddities(path: &[u8]) -> Option<u8> {
    let mut bits = match path {
        [b'/', b'/' | b'\\', ..] => Reading::AUTHORITY,
        _ => 0,
    };
    let mut is_plain = true;
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        match byte {
            b'%' => {
                is_plain = false;
                bits |= match decoded(tail) {
                    Some(b'/') => Reading::ENCODED_SLASH | Reading::MERGED_SLASHES,
                    Some(b'\\') => Reading::BACKSLASH | Reading::MERGED_SLASHES,
                    Some(b';') => Reading::PARAMETERS | Reading::MERGED_SLASHES,
                    _ => 0,
                };
            }
            b'\\' => bits |= Reading::BACKSLASH | Reading::MERGED_SLASHES,
            b';' => bits |= Reading::PARAMETERS | Reading::MERGED_SLASHES,
            b'/' => match tail {
                [b'/', ..] => bits |= Reading::MERGED_SLASHES,
                [b'.', ..] => is_plain = false,
                _ => {}
            },
            _ => {}
        }
        rest = tail;
    }
    (bits != 0 || !is_plain).then_some(bits)
}

/// The segments of a path, with dot segments resolved.
fn segments(path: &[u8], reading: Reading) -> Vec<Vec<u8>> {
    let mut segments: Vec<Vec<u8>> = Vec::new();
    let mut segment = Vec::new();
    // Whether the last one is left out, so that the path ends with a slash (RFC 3986 §5.2.4).
    let mut is_open = false;
    let mut end = |segment: &mut Vec<u8>| {
        let mut whole = std::mem::take(segment);
        if reading.has(Reading::PARAMETERS)
            && let Some(at) = parameters(&whole)
        {
            whole.truncate(at);
        }
        is_open = true;
        match whole.as_slice() {
            b"." => {}
            b".." => drop(segments.pop()),
            b"" if reading.has(Reading::MERGED_SLASHES) => {}
            _ => {
                is_open = false;
                segments.push(whole);
            }
        }
    };
    let path = match reading.has(Reading::AUTHORITY) {
        true => behind_authority(path),
        false => path,
    };
    let mut rest = path.strip_prefix(b"/").unwrap_or(path);
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b'/' => end(&mut segment),
            b'\\' if reading.has(Reading::BACKSLASH) => end(&mut segment),
            b'%' => match decoded(tail) {
                Some(b'/') if reading.has(Reading::ENCODED_SLASH) => {
                    rest = tail.get(2..).unwrap_or_default();
                    end(&mut segment);
                }
                Some(b'\\') if reading.has(Reading::BACKSLASH) => {
                    rest = tail.get(2..).unwrap_or_default();
                    end(&mut segment);
                }
                Some(byte) if is_unreserved(byte) => {
                    rest = tail.get(2..).unwrap_or_default();
                    segment.push(byte);
                }
                _ => segment.push(b'%'),
            },
            byte => segment.push(*byte),
        }
    }
    end(&mut segment);
    if is_open && !segments.is_empty() {
        segments.push(Vec::new());
    }
    segments
}

/// The path behind all separators at the begin and the host that follows them. One of its own is a slash here.
fn behind_authority(path: &[u8]) -> &[u8] {
    let is_separator = |byte: &u8| matches!(byte, b'/' | b'\\');
    let host = path.iter().position(|byte| !is_separator(byte));
    let host = path.get(host.unwrap_or(path.len())..).unwrap_or_default();
    let end = host.iter().position(is_separator);
    // The separator is left out, as the slash at the begin of any path is.
    host.get(end.map_or(host.len(), |end| end + 1)..)
        .unwrap_or_default()
}

/// Where the parameters of a segment begin.
fn parameters(segment: &[u8]) -> Option<usize> {
    let encoded = segment.windows(3);
    let encoded = encoded
        .into_iter()
        .position(|it| it.eq_ignore_ascii_case(b"%3b"));
    let plain = segment.iter().position(|byte| *byte == b';');
    encoded.into_iter().chain(plain).min()
}

/// The byte that the two digits behind a `%` mean.
fn decoded(behind: &[u8]) -> Option<u8> {
    let [high, low, ..] = behind else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the readings say that it holds: all, none, or some of them.
    fn held(prefix: &str, target: &str) -> Option<bool> {
        let prefix = Prefix::parse(prefix).unwrap();
        let mut holds = ReadPath::readings(target.as_bytes()).map(|path| prefix.holds(&path));
        let first = holds.next().unwrap();
        holds.all(|other| other == first).then_some(first)
    }

    #[test]
    fn prefixes() {
        for text in ["/", "/api", "/api/", "/a.b/c-d_e~f", "/...", "/.well-known"] {
            assert!(Prefix::parse(text).is_some(), "{text}");
        }
        for text in [
            "", "api", "//", "/a//b", "/a/../b", "/./a", "/a%2F", "/a?b", "/a#b", "/a;b", "/a b",
            "/\u{e4}", "/a\\b",
        ] {
            assert_eq!(Prefix::parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        /// Whatever the path, and what is plain is what RFC 3986 says it is.
        #[test]
        fn a_plain_path_is_read_as_its_segments(target in r"/[/.a%25fF35bcC;\\?]{0,12}") {
            let prefix = Prefix::parse("/a").unwrap();
            let first = ReadPath::readings(target.as_bytes()).next().unwrap();
            let path = target.split('?').next().unwrap();
            let strict = ReadPath(Form::Segments(segments(path.as_bytes(), Reading(0))));
            proptest::prop_assert_eq!(prefix.holds(&first), prefix.holds(&strict));
            proptest::prop_assert!(ReadPath::readings(target.as_bytes()).count() <= 32);
        }
    }

    #[test]
    fn paths_in_all_their_readings() {
        for (target, expected) in [
            ("/api", Some(true)),
            ("/api/", Some(true)),
            ("/api?/x", Some(true)),
            ("/api/x", Some(true)),
            ("/apix", Some(false)),
            ("/API", Some(false)),
            ("/", Some(false)),
            ("*", Some(false)),
            ("/x?/../api/", Some(false)),
            // One meaning, in another spelling.
            ("/%61pi/x", Some(true)),
            ("/x/../api/y", Some(true)),
            ("/x/%2e%2E/api", Some(true)),
            ("/../api", Some(true)),
            ("/./api", Some(true)),
            ("/api/../x", Some(false)),
            ("/api/..", Some(false)),
            ("/api/../api", Some(true)),
            // Encoded once more, which no server decodes twice.
            ("/%2561pi", Some(false)),
            ("/%", Some(false)),
            ("/%zz/../api", Some(true)),
            // Readings that differ.
            ("//api", None),
            ("/api%2Fx", None),
            ("/api\\x", None),
            ("/api%5cx", None),
            ("/x\\..\\api", None),
            ("/x%2f..%2fapi", None),
            ("/x/..%2fapi", None),
            ("/api;v=1/x", None),
            ("/x/..;/api", None),
            ("/api/..;/x", None),
            ("/x//../api", None),
            ("//x/api", None),
            ("/\\x/api", None),
            ("///x/api", None),
            ("//x\\api/y", None),
            ("/;/api", None),
            ("/%3b/api", None),
            ("/api/%3Bx/..", None),
            // Odd, and the same in every reading.
            ("/api//x", Some(true)),
            ("/api/x%2Fy;z", Some(true)),
            ("/x/y;api", Some(false)),
            ("/x//api", Some(false)),
        ] {
            assert_eq!(held("/api/", target), expected, "{target}");
        }
        assert_eq!(held("/", "/any"), Some(true));
        assert_eq!(held("/", "/a/../.."), Some(true));
        assert_eq!(held("/a/b", "/a/b/c"), Some(true));
        assert_eq!(held("/a/b", "/a/bc"), Some(false));
    }
}
