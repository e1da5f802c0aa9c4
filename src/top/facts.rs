//! What the service says, as JSON, and as texts that a terminal can show.
//!
//! The only way from an answer to the screen is [`Fact::text`] and what is made of it: a text that has no control and no mark that
//! reorders text, whoever wrote it. [`Fact::raw`] is for requests.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use serde_json::Value;

use crate::telemetry::human_bytes;

/// The longest text that is shown, in characters.
const MAX_TEXT: usize = 1024;

/// An answer, or a part of it that is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts(Value);

/// A value in an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fact<'a>(&'a Value);

static NOTHING: LazyLock<Value> = LazyLock::new(Value::default);

impl Facts {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().map(Self)
    }

    pub(super) fn new(value: Value) -> Self {
        Self(value)
    }

    /// A copy of a part.
    pub(super) fn of(fact: Fact<'_>) -> Self {
        Self(fact.0.clone())
    }

    /// Puts a text in the place of a member of an object.
    pub(super) fn set(&mut self, name: &str, text: &str) {
        if let Some(members) = self.0.as_object_mut() {
            members.insert(name.to_owned(), text.into());
        }
    }

    pub(super) fn into_value(self) -> Value {
        self.0
    }

    pub(super) fn whole(&self) -> Fact<'_> {
        Fact(&self.0)
    }

    /// The value at a path such as `now.requests`.
    pub(super) fn at(&self, path: &str) -> Fact<'_> {
        self.whole().at(path)
    }

    /// Takes the list at a path apart.
    pub(super) fn into_list(mut self, path: &str) -> Vec<Facts> {
        let mut value = &mut self.0;
        for name in path.split('.') {
            match value.get_mut(name) {
                Some(below) => value = below,
                None => return Vec::new(),
            }
        }
        match value.take() {
            Value::Array(items) => items.into_iter().map(Facts).collect(),
            _ => Vec::new(),
        }
    }
}

impl<'a> Fact<'a> {
    /// The value at a path; nothing when there is none.
    pub(super) fn at(self, path: &str) -> Fact<'a> {
        let mut value = self.0;
        for name in path.split('.') {
            match value.get(name) {
                Some(below) => value = below,
                None => return Fact(&NOTHING),
            }
        }
        Fact(value)
    }

    pub(super) fn is_nothing(self) -> bool {
        self.0.is_null()
    }

    /// A text as the service has it. Not for the terminal.
    pub(super) fn raw(self) -> Option<&'a str> {
        self.0.as_str()
    }

    /// A text, a number or a truth value to be shown.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        match self.0 {
            Value::String(text) => Some(clean(text)),
            Value::Number(number) => Some(number.to_string().into()),
            Value::Bool(is) => Some(if *is { "yes" } else { "no" }.into()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    pub(super) fn count(self) -> Option<u64> {
        self.0.as_u64()
    }

    pub(super) fn number(self) -> Option<f64> {
        self.0.as_f64()
    }

    pub(super) fn is_true(self) -> bool {
        self.0.as_bool() == Some(true)
    }

    pub(super) fn items(self) -> impl Iterator<Item = Fact<'a>> {
        self.0.as_array().into_iter().flatten().map(Fact)
    }

    /// The members of an object, with their names to be shown.
    pub(super) fn members(self) -> impl Iterator<Item = (Cow<'a, str>, Fact<'a>)> {
        let members = self.0.as_object().into_iter().flatten();
        members.map(|(name, value)| (clean(name), Fact(value)))
    }

    /// Whether a text of it has `wanted`, which is in lower case.
    pub(super) fn has_text(self, wanted: &str) -> bool {
        match self.0 {
            Value::String(text) => text.to_lowercase().contains(wanted),
            Value::Array(items) => items.iter().any(|item| Fact(item).has_text(wanted)),
            Value::Object(members) => members.values().any(|value| Fact(value).has_text(wanted)),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    /// JSON for standard output, which may be a terminal: what is no plain character of a text is escaped, and means the same.
    pub(super) fn json(self) -> String {
        let json = self.0.to_string();
        let mut out = String::with_capacity(json.len());
        let mut units = [0; 2];
        for c in json.chars() {
            if is_plain(c) {
                out.push(c);
                continue;
            }
            for unit in c.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
        out
    }
}

/// A text without what a terminal takes for more than a character: controls, marks that reorder, join or hide, lone combining
/// marks. Those are written out.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let is_short = text.len() <= MAX_TEXT;
    if is_short && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len().min(2 * MAX_TEXT));
    for (place, c) in text.chars().enumerate() {
        if place >= MAX_TEXT {
            out.push('\u{2026}');
            break;
        }
        match is_plain(c) {
            true => out.push(c),
            false => out.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(out)
}

/// Whether it is one character to see, or a space. The standard library writes out what is not, for `Debug`.
fn is_plain(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1
}

/// A count as it is shown: whole below a million.
pub(super) fn human_count(count: u64) -> String {
    const UNITS: [&str; 5] = ["k", "M", "G", "T", "P"];
    if count < 100_000 {
        return count.to_string();
    }
    let (mut whole, mut below, mut shown) = (count, 0, "");
    for unit in UNITS {
        if whole < 1000 {
            break;
        }
        below = whole % 1000;
        whole /= 1000;
        shown = unit;
    }
    format!("{whole}.{}{shown}", below / 100)
}

/// A time of that many seconds: its two largest units.
pub(super) fn human_seconds(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86400 => format!("{hours}h{:02}m", minutes % 60),
        86400.. => format!("{days}d{:02}h", hours % 24),
    }
}

/// Bytes in a short form: `1.5M`.
pub(super) fn short_bytes(bytes: u64) -> String {
    let text = human_bytes(bytes);
    match text.split_once(' ') {
        Some((number, "B")) => number.to_owned(),
        Some((number, unit)) => {
            let unit = unit.get(..1).unwrap_or_default();
            let number = match number.split_once('.') {
                Some((whole, _)) if whole.len() > 2 => whole,
                _ => number,
            };
            format!("{number}{unit}")
        }
        None => text,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::fuzz::is_harmless;
    use super::*;

    /// Texts that peers may have sent: with controls, escapes of terminals, marks that reorder, wide and combining characters.
    pub(crate) fn hostile() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            "[ -~]{0,12}",
            Just("\u{1b}[2J".to_owned()),
            Just("\u{1b}]0;title\u{7}".to_owned()),
            Just("\u{9b}31m".to_owned()),
            Just("\u{202e}gro.elpmaxe\u{2066}".to_owned()),
            Just("\u{200d}\u{feff}\u{ad}".to_owned()),
            Just("e\u{301}\u{301}\u{301}".to_owned()),
            Just("漢字🦀".to_owned()),
            Just("\r\n\t\0\u{7f}\u{85}\u{2028}".to_owned()),
            any::<char>().prop_map(String::from),
        ];
        proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn texts_are_harmless(text in hostile()) {
            let shown = clean(&text);
            prop_assert!(is_harmless(&shown), "{shown:?}");
            let fact = Facts::new(json!({&text: [&text]}));
            let json = fact.whole().json();
            prop_assert!(is_harmless(&json), "{json:?}");
            prop_assert_eq!(Facts::parse(json.as_bytes()), Some(fact));
        }
    }

    #[test]
    fn texts_are_limited_and_kept() {
        assert_eq!(clean("a \"b\" c:\\d'"), "a \"b\" c:\\d'");
        assert_eq!(clean("käse 漢"), "käse 漢");
        assert_eq!(clean("a\u{1b}b\u{202e}"), "a\\u{1b}b\\u{202e}");
        let long = clean(&"x".repeat(5000)).into_owned();
        assert_eq!(long.chars().count(), MAX_TEXT + 1);
    }

    #[test]
    fn numbers() {
        for (count, expected) in [
            (0, "0"),
            (99_999, "99999"),
            (100_000, "100.0k"),
            (1_250_000, "1.2M"),
            (u64::MAX, "18446.7P"),
        ] {
            assert_eq!(human_count(count), expected);
        }
        for (bytes, expected) in [
            (0, "0"),
            (1023, "1023"),
            (1536, "1.5K"),
            (150 << 20, "150M"),
            (u64::MAX, "15.9E"),
        ] {
            assert_eq!(short_bytes(bytes), expected);
        }
        for (seconds, expected) in [
            (59, "59s"),
            (61, "1m01s"),
            (3660, "1h01m"),
            (90_000, "1d01h"),
        ] {
            assert_eq!(human_seconds(seconds), expected);
        }
    }

    #[test]
    fn values_at_paths() {
        let facts = Facts::parse(br#"{"a": {"b": [1, "X y"]}, "n": null}"#).unwrap();
        assert_eq!(facts.at("a.b").items().count(), 2);
        assert!(facts.at("a.c.d").is_nothing());
        assert!(facts.whole().has_text("x y"));
        assert!(!facts.whole().has_text("z"));
        let items = facts.into_list("a.b");
        assert_eq!(
            items.first().map(|item| item.whole().count()),
            Some(Some(1))
        );
        assert_eq!(Facts::parse(b"{"), None);
    }
}
