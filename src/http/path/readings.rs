//! Every reading of one path, made once and compared with many prefixes.

use std::borrow::Cow;

use super::{Prefix, ReadPath, oddities};

/// The longest path that is read in more than one way, in bytes. The work is 32 readings of it at most.
const MAX_READ: usize = 2048;

/// Every reading of the path of a request.
#[derive(Debug)]
pub struct Readings<'a>(Known<'a>);

#[derive(Debug)]
enum Known<'a> {
    One(ReadPath<'a>),
    Several(Vec<ReadPath<'a>>),
    /// Too long to be read in each of its ways, so that it may be anywhere.
    TooLong,
}

impl<'a> Readings<'a> {
    /// Reads a path. Does not allocate where the text is its only reading.
    pub fn of(path: &'a [u8]) -> Self {
        let mut readings = ReadPath::readings(path);
        Self(match oddities(path) {
            None | Some(0) => readings.next().map_or(Known::TooLong, Known::One),
            Some(_) if path.len() > MAX_READ => Known::TooLong,
            Some(_) => Known::Several(readings.collect()),
        })
    }

    /// The path in each reading, each once; none for a path that is too long.
    pub fn texts(&self) -> Vec<Cow<'a, [u8]>> {
        let readings = match &self.0 {
            Known::One(path) => std::slice::from_ref(path),
            Known::Several(readings) => readings,
            Known::TooLong => &[],
        };
        let mut texts = Vec::new();
        for text in readings.iter().map(ReadPath::text) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts
    }

    /// Whether every reading is below one of the prefixes: never for a path that is too long.
    pub fn are_all_below(&self, prefixes: &[Prefix]) -> bool {
        match &self.0 {
            Known::One(path) => is_below(path, prefixes),
            Known::Several(readings) => readings.iter().all(|path| is_below(path, prefixes)),
            Known::TooLong => false,
        }
    }

    /// Whether a reading is below one of the prefixes, in any case of letters: always for a path that is too long.
    pub fn is_any_below(&self, prefixes: &[Prefix]) -> bool {
        match &self.0 {
            Known::One(path) => may_be_below(path, prefixes),
            Known::Several(readings) => readings.iter().any(|path| may_be_below(path, prefixes)),
            Known::TooLong => true,
        }
    }
}

fn is_below(path: &ReadPath<'_>, prefixes: &[Prefix]) -> bool {
    prefixes.iter().any(|prefix| prefix.holds(path))
}

fn may_be_below(path: &ReadPath<'_>, prefixes: &[Prefix]) -> bool {
    let mut prefixes = prefixes.iter();
    prefixes.any(|prefix| prefix.holds_in_any_case(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(texts: &[&str]) -> Vec<Prefix> {
        let parsed = texts.iter().map(|text| Prefix::parse(text).unwrap());
        parsed.collect()
    }

    /// `all`, `some` or `none` of the readings are below a prefix.
    fn below(path: &str, texts: &[&str]) -> &'static str {
        let readings = Readings::of(path.as_bytes());
        let prefixes = prefixes(texts);
        let found = (
            readings.are_all_below(&prefixes),
            readings.is_any_below(&prefixes),
        );
        match found {
            (true, true) => "all",
            (false, true) => "some",
            (false, false) => "none",
            (true, false) => unreachable!("{path}"),
        }
    }

    #[test]
    fn readings_and_several_prefixes() {
        assert_eq!(below("/a/x", &["/a", "/b"]), "all");
        assert_eq!(below("/b", &["/a", "/b"]), "all");
        assert_eq!(below("/c", &["/a", "/b"]), "none");
        assert_eq!(below("/c", &[]), "none");
        assert_eq!(below("/a/..%2fb", &["/a"]), "some");
        // Each reading is below one of them, though not the same.
        assert_eq!(below("/a/..%2fb", &["/a", "/b"]), "all");
        assert_eq!(below("/a/%2e%2e/b", &["/a"]), "none");
        assert_eq!(below("/A/x", &["/a"]), "some");
        assert_eq!(below("/%41;/x", &["/a"]), "some");
        assert_eq!(below("/Ab", &["/a"]), "none");
        let long = "x".repeat(MAX_READ);
        assert_eq!(below(&format!("/a/{long}"), &["/a"]), "all");
        assert_eq!(below(&format!("/a/%41/{long}"), &["/a"]), "all");
        assert_eq!(below(&format!("/a//{long}"), &["/a"]), "some");
        assert_eq!(below(&format!("/c//{long}"), &["/a"]), "some");
    }

    #[test]
    fn prefixes_that_cover() {
        let [all, a, b, ab] = ["/", "/a", "/ab", "/a/b/"].map(|text| Prefix::parse(text).unwrap());
        assert!(all.covers(&a) && all.covers(&all) && a.covers(&a) && a.covers(&ab));
        assert!(!a.covers(&all) && !a.covers(&b) && !ab.covers(&a) && !b.covers(&a));
        assert_eq!((all.as_str(), ab.as_str()), ("", "/a/b"));
    }

    proptest::proptest! {
        #[test]
        fn agree_with_each_reading(path in r"/[/.a%25fF35bcC;\\]{0,12}") {
            let some = prefixes(&["/a", "/.a/a"]);
            let readings = Readings::of(path.as_bytes());
            let each: Vec<bool> = ReadPath::readings(path.as_bytes())
                .map(|path| some.iter().any(|prefix| prefix.holds(&path)))
                .collect();
            proptest::prop_assert_eq!(readings.are_all_below(&some), each.iter().all(|held| *held));
            proptest::prop_assert_eq!(readings.is_any_below(&some), each.contains(&true));
        }
    }
}
