//! What a client may learn of a denial: the name of the rule, and the sentence for a person.
//!
//! It reaches the client in the body, in `Proxy-Status`, and in the reason phrase: clients drop the body of a
//! response to CONNECT that is not 2xx, and show the status line. Pure.

use std::sync::Arc;

use super::error::ErrorKind;

/// The longest reason phrase of a denial, in bytes.
pub const MAX_PHRASE: usize = 160;
/// The end of a phrase that is cut.
const ELLIPSIS: &str = "...";

/// A denial in the words for the client. It has no address, no network and no user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    kind: ErrorKind,
    rule: Option<Box<str>>,
    message: Option<Arc<str>>,
}

impl Denial {
    /// A denial of this kind by a rule, or by a part of the guard, with the message of the rule.
    pub fn new(kind: ErrorKind, rule: &str, message: Option<Arc<str>>) -> Self {
        Self {
            kind,
            rule: Some(rule.into()),
            message,
        }
    }

    /// The same without the name of the rule, which the operator hides.
    #[must_use]
    pub fn without_rule(self) -> Self {
        Self { rule: None, ..self }
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The rule or the part of the guard, unless the operator hides it.
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// The sentence for a person: the message of the rule, else that of the kind.
    pub fn text(&self) -> &str {
        self.message.as_deref().unwrap_or(self.kind.text())
    }

    /// The reason phrase of the status line: `denied by not-listed: ask it@corp.example`.
    ///
    /// Printable ASCII, which is part of what RFC 9112 §4 admits, and at most [`MAX_PHRASE`] bytes. Other characters
    /// are transliterated or become `?`, and white space is one space.
    pub fn phrase(&self) -> String {
        let mut phrase = String::with_capacity(MAX_PHRASE);
        push(&mut phrase, "denied by ");
        push(&mut phrase, self.rule().unwrap_or("policy"));
        if let Some(message) = &self.message {
            push(&mut phrase, ": ");
            push(&mut phrase, message);
        }
        // Only ASCII was pushed, so that each index is the boundary of a character.
        if phrase.len() > MAX_PHRASE {
            phrase.truncate(MAX_PHRASE - ELLIPSIS.len());
            phrase.push_str(ELLIPSIS);
        }
        phrase.truncate(phrase.trim_end().len());
        phrase
    }
}

/// Appends `text` in printable ASCII. White space at its start joins that at the end of `phrase`.
fn push(phrase: &mut String, text: &str) {
    for c in text.chars() {
        if phrase.len() > MAX_PHRASE {
            return;
        }
        match c {
            '!'..='~' => phrase.push(c),
            c if c.is_whitespace() || c.is_control() => {
                if !phrase.ends_with(' ') {
                    phrase.push(' ');
                }
            }
            c => phrase.push_str(transliterated(c)),
        }
    }
}

/// A character beyond ASCII in ASCII: punctuation, and the letters of Latin-1 without their marks.
fn transliterated(c: char) -> &'static str {
    match c {
        '\u{2010}'..='\u{2015}' | '\u{2212}' => "-",
        '\u{2018}'..='\u{201b}' | '\u{2032}' | '´' => "'",
        '\u{201c}'..='\u{201f}' | '«' | '»' | '\u{2033}' => "\"",
        '\u{2026}' => ELLIPSIS,
        '\u{2022}' | '·' => "*",
        // Marks without a width of their own.
        '\u{ad}' | '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => "",
        'À'..='Å' => "A",
        'Æ' => "AE",
        'Ç' => "C",
        'È'..='Ë' => "E",
        'Ì'..='Ï' => "I",
        'Ñ' => "N",
        'Ò'..='Ö' | 'Ø' => "O",
        'Ù'..='Ü' => "U",
        'Ý' => "Y",
        'ß' => "ss",
        'à'..='å' => "a",
        'æ' => "ae",
        'ç' => "c",
        'è'..='ë' => "e",
        'ì'..='ï' => "i",
        'ñ' => "n",
        'ò'..='ö' | 'ø' => "o",
        'ù'..='ü' => "u",
        'ý' | 'ÿ' => "y",
        'Œ' => "OE",
        'œ' => "oe",
        '€' => "EUR",
        _ => "?",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn denial(rule: &str, message: &str) -> Denial {
        Denial::new(ErrorKind::Denied, rule, Some(message.into()))
    }

    #[test]
    fn names_the_rule_and_says_its_message() {
        let denial = denial("not-listed", "ask it@corp.example");
        assert_eq!(denial.phrase(), "denied by not-listed: ask it@corp.example");
        assert_eq!(denial.text(), "ask it@corp.example");
        let hidden = denial.without_rule();
        assert_eq!(hidden.phrase(), "denied by policy: ask it@corp.example");
        assert_eq!(hidden.rule(), None);
        let default = Denial::new(ErrorKind::Denied, "default", None);
        assert_eq!(default.phrase(), "denied by default");
        assert_eq!(default.text(), ErrorKind::Denied.text());
        assert_eq!(default.without_rule().phrase(), "denied by policy");
    }

    #[test]
    fn other_characters_are_written_in_ascii() {
        for (message, expected) in [
            (
                "günstig — „ask“ the caf\u{e9}…",
                "gunstig - \"ask\" the cafe...",
            ),
            ("  a \u{a0}\t\u{3000} b  ", "a b"),
            (
                "a\r\nX-Evil: 1\r\n\r\nb\0c\u{7f}d\u{85}e",
                "a X-Evil: 1 b c d e",
            ),
            ("спросите 管理者", "???????? ???"),
            ("e\u{301}\u{200b}a\u{202e}b", "ea?b"),
            ("", ""),
        ] {
            let phrase = denial("r", message).phrase();
            let expected = format!("denied by r: {expected}");
            assert_eq!(phrase, expected.trim_end(), "{message:?}");
        }
    }

    #[test]
    fn a_long_message_is_cut_and_shows_it() {
        let fits = "x".repeat(MAX_PHRASE - "denied by r: ".len());
        assert_eq!(denial("r", &fits).phrase(), format!("denied by r: {fits}"));
        for message in [
            format!("{fits}y"),
            "ß".repeat(200),
            "界".repeat(200),
            "… ".repeat(100),
        ] {
            let phrase = denial(&"r".repeat(64), &message).phrase();
            assert!(phrase.len() <= MAX_PHRASE, "{}", phrase.len());
            assert!(phrase.ends_with(ELLIPSIS), "{phrase}");
        }
    }

    proptest! {
        /// RFC 9112 §4: `reason-phrase = 1*( HTAB / SP / VCHAR / obs-text )`.
        #[test]
        fn a_phrase_is_one_line_of_printable_ascii(
            rule in "[a-z0-9_-]{1,64}",
            message in prop::option::of(any::<String>()),
            is_hidden: bool,
        ) {
            let message = message.map(Arc::from);
            let denial = Denial::new(ErrorKind::AddressDenied, &rule, message);
            let denial = if is_hidden { denial.without_rule() } else { denial };
            let phrase = denial.phrase();
            prop_assert!((1..=MAX_PHRASE).contains(&phrase.len()));
            prop_assert!(phrase.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{:?}", phrase);
            prop_assert!(!phrase.contains("  ") && phrase.trim() == phrase);
            let named = if is_hidden { "policy" } else { &rule };
            prop_assert!(phrase.starts_with(&format!("denied by {named}")), "{}", phrase);
        }
    }
}
