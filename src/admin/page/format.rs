//! How the page writes values. Pure.
//!
//! `assets/page.js` has the same formats by the same names, for the values that come later. `assets/formats.json` has
//! examples, with which tests hold both.

use std::borrow::Cow;

use chrono::DateTime;
use serde_json::Value;

use crate::telemetry::{human_bytes, human_seconds};

/// What stands for a value that is not known.
pub(super) const NONE: &str = "–";
/// The most characters of a text; the rest is in `title`.
const MAX_TEXT: usize = 160;
/// From here on a browser cannot tell every number from its neighbours; what has such a limit has none.
const UNLIMITED: u64 = 1 << 53;
/// The most characters of a `title`.
const MAX_TITLE: usize = 2000;

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Text as it is; lists with commas.
    Text,
    /// A number in groups of three digits.
    Count,
    /// `1.5 KiB`.
    Bytes,
    /// `1.5 KiB/s`.
    Rate,
    /// A time in seconds: `3m 4s`.
    Seconds,
    /// A time in seconds, to the tenth of a millisecond where it is short.
    Elapsed,
    /// How long ago a moment is: `3m 4s ago`.
    Ago,
    /// The time of day of a moment, with the date where that is another day.
    Clock,
    /// A time in milliseconds.
    Milliseconds,
    /// A word from a short list, with a colour.
    State,
}

/// All of them, for tests.
#[cfg(test)]
pub(super) const FORMATS: [Format; 10] = [
    Format::Text,
    Format::Count,
    Format::Bytes,
    Format::Rate,
    Format::Seconds,
    Format::Elapsed,
    Format::Ago,
    Format::Clock,
    Format::Milliseconds,
    Format::State,
];

/// A value as the page shows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// What stands there.
    pub(super) text: String,
    /// The whole of it, where that says more.
    pub(super) title: Option<String>,
}

impl Format {
    /// Its name in `data-format`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Rate => "rate",
            Self::Seconds => "seconds",
            Self::Elapsed => "elapsed",
            Self::Ago => "ago",
            Self::Clock => "clock",
            Self::Milliseconds => "milliseconds",
            Self::State => "state",
        }
    }

    /// Whether values are aligned at their last digit.
    pub(super) fn is_number(self) -> bool {
        !matches!(self, Self::Text | Self::Clock | Self::State)
    }

    /// Writes a value. `now` is the time of the snapshot, in seconds since 1970.
    pub(super) fn show(self, value: Option<&Value>, now: i64) -> Shown {
        let value = value.filter(|value| !value.is_null());
        let shown = value.and_then(|value| self.write(value, now));
        shown.unwrap_or_else(|| plain(NONE.to_owned()))
    }

    fn write(self, value: &Value, now: i64) -> Option<Shown> {
        let number = whole(value);
        match self {
            Self::Text | Self::State => text(value),
            Self::Count => number.map(|number| plain(grouped(number))),
            Self::Bytes => number.map(|bytes| plain(human_bytes(bytes))),
            Self::Rate => number.map(|bytes| plain(format!("{}/s", human_bytes(bytes)))),
            Self::Seconds => number.map(|seconds| plain(human_seconds(seconds))),
            Self::Elapsed => match value.as_f64() {
                Some(short) if short < 60.0 => Some(plain(milliseconds(short * 1000.0))),
                _ => number.map(|seconds| plain(human_seconds(seconds))),
            },
            Self::Milliseconds => value.as_f64().map(|value| plain(milliseconds(value))),
            Self::Ago | Self::Clock => {
                let raw = value.as_str()?;
                let moment = DateTime::parse_from_rfc3339(raw).ok()?.to_utc();
                let text = if self == Self::Ago {
                    let past = u64::try_from(now.saturating_sub(moment.timestamp())).unwrap_or(0);
                    format!("{} ago", human_seconds(past))
                } else {
                    let today = DateTime::from_timestamp(now, 0).map(|now| now.date_naive());
                    let is_today = today == Some(moment.date_naive());
                    let form = if is_today { "%H:%M:%S" } else { "%m-%d %H:%M" };
                    moment.format(form).to_string()
                };
                let title = Some(visible(raw).into_owned());
                Some(Shown { text, title })
            }
        }
    }
}

/// The class that gives a word its colour. The words are those of the program; another one has none.
pub(super) fn tone(word: &str) -> &'static str {
    match word {
        "up" | "running" | "works" | "success" | "admit" => "good",
        "closing" | "draining" | "partial" | "observe" | "waiting" | "queued" => "warn",
        "down" | "ejected" | "failure" | "failed" | "deny" => "bad",
        _ => "plain",
    }
}

fn plain(text: String) -> Shown {
    Shown { text, title: None }
}

fn whole(value: &Value) -> Option<u64> {
    let float = || value.as_f64().filter(|value| *value >= 0.0);
    // A cast saturates.
    value.as_u64().or_else(|| float().map(|value| value as u64))
}

fn text(value: &Value) -> Option<Shown> {
    let all: Cow<'_, str> = match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Bool(true) => Cow::Borrowed("yes"),
        Value::Bool(false) => Cow::Borrowed("no"),
        Value::Number(number) => Cow::Owned(number.to_string()),
        Value::Array(values) => {
            let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            Cow::Owned(texts.join(", "))
        }
        Value::Null | Value::Object(_) => return None,
    };
    if all.is_empty() {
        return None;
    }
    match all.char_indices().nth(MAX_TEXT) {
        None => Some(plain(visible(&all).into_owned())),
        Some((at, _)) => {
            let begin = all.get(..at).unwrap_or_default();
            let title: String = all.chars().take(MAX_TITLE).collect();
            Some(Shown {
                text: format!("{}…", visible(begin)),
                title: Some(visible(&title).into_owned()),
            })
        }
    }
}

/// The text with each character that a reader cannot see, or that turns the order of others, as `\u{202e}`.
///
/// A host, a path or a user name comes from a client, and must not look like another one.
fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_deceptive(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Control characters, marks and overrides of direction, and characters without width.
fn is_deceptive(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    if number >= UNLIMITED {
        return "unlimited".to_owned();
    }
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `0.4 ms`, `12 ms`, `1.3 s`. Halves are rounded up, as in the module.
fn milliseconds(value: f64) -> String {
    let tenths = |value: f64| {
        let tenths = (value * 10.0 + 0.5).floor() as u64;
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    if value < 9.95 {
        format!("{} ms", tenths(value))
    } else if value < 999.5 {
        format!("{} ms", (value + 0.5).floor() as u64)
    } else {
        format!("{} s", tenths(value / 1000.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The time in `formats.json`.
    const NOW: i64 = 1_796_060_000;

    /// The examples, with which the browser's test holds the module.
    #[test]
    fn examples() {
        let examples: Value = serde_json::from_str(include_str!("assets/formats.json")).unwrap();
        assert_eq!(examples["now"], NOW);
        let mut seen = 0;
        for format in FORMATS {
            for example in examples[format.name()].as_array().unwrap() {
                let shown = format.show(Some(&example["value"]), NOW);
                assert_eq!(shown.text, example["text"], "{example}");
                let title = example.get("title").and_then(Value::as_str);
                assert_eq!(shown.title.as_deref(), title, "{example}");
                seen += 1;
            }
            assert_eq!(format.show(None, NOW).text, NONE);
        }
        assert!(seen > 40, "{seen}");
    }

    proptest! {
        #[test]
        fn no_text_is_long_or_deceptive(text in any::<String>(), long in "\\PC{150,400}") {
            for text in [text, long] {
                let shown = Format::Text.show(Some(&Value::String(text)), NOW);
                prop_assert!(!shown.text.chars().any(is_deceptive));
                prop_assert!(shown.text.chars().count() <= MAX_TEXT * 10 + 1);
                prop_assert!(!shown.title.unwrap_or_default().chars().any(is_deceptive));
            }
        }
    }
}
