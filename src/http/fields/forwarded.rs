//! The fields that tell an upstream of the gateway who the client is: `Forwarded` (RFC 7239), `X-Forwarded-For` and
//! `X-Forwarded-Proto`.
//!
//! The fields of a trusted sender are kept only where they are well-formed: behind a quote that does not end, an added
//! element would be a part of the quote.

#[cfg(any(test, feature = "internals"))]
pub mod fuzz;

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::http::http1::is_tchar;

/// The most of a field that is kept of what its sender has written. More is replaced.
const MAX_KEPT: usize = 4096;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardingAction {
    /// The client is added to what a trusted sender has written. What another one has written is replaced.
    Append,
    /// It names the client alone.
    #[default]
    Replace,
    /// It is not sent.
    Remove,
}

/// What becomes of each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardingActions {
    /// `Forwarded`.
    pub forwarded: ForwardingAction,
    /// `X-Forwarded-For`, and `X-Forwarded-Proto` with it.
    pub x_forwarded: ForwardingAction,
}

/// What a sender has written, in the order of its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentForwarding {
    forwarded: Kept,
    x_forwarded_for: Kept,
    /// The last one; none where it is neither `http` nor `https`.
    x_forwarded_proto: Option<&'static str>,
}

/// A field whose lines are joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Kept {
    #[default]
    Absent,
    List(String),
    /// It is too long, or not well-formed.
    Unusable,
}

impl ForwardingActions {
    /// Whether what senders have written may count.
    pub fn append(&self) -> bool {
        [self.forwarded, self.x_forwarded].contains(&ForwardingAction::Append)
    }

    /// Whether `Forwarded` is sent.
    pub fn has_forwarded(&self) -> bool {
        self.forwarded != ForwardingAction::Remove
    }

    /// The field lines for a client that has connected with this scheme, each with its line end. `sent` has the fields
    /// of a trusted sender.
    pub fn lines(&self, client: IpAddr, scheme: &str, sent: Option<&SentForwarding>) -> String {
        let nothing = SentForwarding::default();
        let sent = sent.unwrap_or(&nothing);
        let mut out = String::new();
        // Writing to a String cannot fail.
        if let Some(before) = sent.forwarded.before(self.forwarded) {
            let node = node(client);
            let _ = write!(out, "Forwarded: {before}for={node};proto={scheme}\r\n");
        }
        if let Some(before) = sent.x_forwarded_for.before(self.x_forwarded) {
            let is_kept = self.x_forwarded == ForwardingAction::Append;
            let sent = sent.x_forwarded_proto.filter(|_| is_kept);
            let scheme = sent.unwrap_or(scheme);
            let _ = write!(
                out,
                "X-Forwarded-For: {before}{client}\r\nX-Forwarded-Proto: {scheme}\r\n"
            );
        }
        out
    }
}

impl SentForwarding {
    /// Takes a field line, if it is of one of the fields.
    pub fn read(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"forwarded") {
            self.forwarded.add(value, is_forwarded);
        } else if name.eq_ignore_ascii_case(b"x-forwarded-for") {
            self.x_forwarded_for.add(value, is_list_of_addresses);
        } else if name.eq_ignore_ascii_case(b"x-forwarded-proto") {
            let known = ["http", "https"].into_iter();
            let mut known = known.filter(|known| value.eq_ignore_ascii_case(known.as_bytes()));
            self.x_forwarded_proto = known.next();
        }
    }
}

impl Kept {
    fn add(&mut self, value: &[u8], is_sound: fn(&[u8]) -> bool) {
        let text = std::str::from_utf8(value).ok();
        let text = text.filter(|_| is_sound(value));
        let before = match self {
            Self::Absent => "",
            Self::List(list) => list,
            Self::Unusable => return,
        };
        *self = match text {
            Some("") => return,
            Some(text) if before.is_empty() && text.len() <= MAX_KEPT => {
                Self::List(text.to_owned())
            }
            Some(text) if before.len() + text.len() + 2 <= MAX_KEPT => {
                Self::List(format!("{before}, {text}"))
            }
            _ => Self::Unusable,
        };
    }

    /// What comes before the client in a field that is sent.
    fn before(&self, action: ForwardingAction) -> Option<String> {
        match (action, self) {
            (ForwardingAction::Remove, _) => None,
            (ForwardingAction::Append, Self::List(list)) => Some(format!("{list}, ")),
            (ForwardingAction::Append | ForwardingAction::Replace, _) => Some(String::new()),
        }
    }
}

/// An address as a node (RFC 7239 §6): one of IPv6 is in brackets, and so in quotes.
fn node(client: IpAddr) -> String {
    match client {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("\"[{ip}]\""),
    }
}

/// Whether it is a list of `Forwarded` (RFC 7239 §4): elements of pairs, each a token and a token or a quoted string.
fn is_forwarded(value: &[u8]) -> bool {
    let mut rest = value;
    loop {
        rest = rest.trim_ascii_start();
        if let [b',' | b';', behind @ ..] = rest {
            rest = behind;
            continue;
        }
        if rest.is_empty() {
            return true;
        }
        let Some(behind) = pair(rest) else {
            return false;
        };
        rest = behind.trim_ascii_start();
        if !matches!(rest, [] | [b',' | b';', ..]) {
            return false;
        }
    }
}

/// What is behind a pair, which `bytes` begin with.
fn pair(bytes: &[u8]) -> Option<&[u8]> {
    let (_, rest) = token(bytes)?;
    let rest = rest.strip_prefix(b"=")?;
    let Some(mut rest) = rest.strip_prefix(b"\"") else {
        return token(rest).map(|(_, rest)| rest);
    };
    loop {
        rest = match rest {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', b' '..=b'~', rest @ ..] => rest,
            [b' '..=b'[' | b']'..=b'~', rest @ ..] => rest,
            _ => return None,
        };
    }
}

fn token(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = bytes.iter().take_while(|byte| is_tchar(**byte)).count();
    let (token, rest) = bytes.split_at_checked(len)?;
    (!token.is_empty()).then_some((token, rest))
}

/// Whether it is a list as `X-Forwarded-For` has it, of addresses and names without quotes.
fn is_list_of_addresses(value: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b".:[]%_-, \t".contains(byte);
    value.iter().all(is_part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ForwardingAction::{Append, Remove, Replace};
    use super::*;

    fn sent(lines: &[(&str, &str)]) -> SentForwarding {
        let mut sent = SentForwarding::default();
        for (name, value) in lines {
            sent.read(name.as_bytes(), value.as_bytes());
        }
        sent
    }

    fn lines(
        actions: (ForwardingAction, ForwardingAction),
        sent: Option<&SentForwarding>,
    ) -> String {
        let (forwarded, x_forwarded) = actions;
        let actions = ForwardingActions {
            forwarded,
            x_forwarded,
        };
        let client = "2001:db8::7".parse().unwrap();
        actions.lines(client, "https", sent)
    }

    #[test]
    fn each_action() {
        let before = sent(&[
            ("Forwarded", "for=192.0.2.1;proto=http"),
            ("X-Forwarded-For", "192.0.2.1"),
            ("forwarded", "for=\"[2001:db8::1]:99\""),
            ("x-forwarded-for", "192.0.2.2, 192.0.2.3"),
            ("X-Forwarded-Proto", "HTTP"),
        ]);
        let alone = "Forwarded: for=\"[2001:db8::7]\";proto=https\r\n";
        let x_alone = "X-Forwarded-For: 2001:db8::7\r\nX-Forwarded-Proto: https\r\n";
        for sent in [None, Some(&before)] {
            assert_eq!(lines((Remove, Remove), sent), "");
            assert_eq!(lines((Replace, Remove), sent), alone);
            assert_eq!(lines((Remove, Replace), sent), x_alone);
        }
        assert_eq!(lines((Append, Append), None), format!("{alone}{x_alone}"));
        assert_eq!(
            lines((Append, Append), Some(&before)),
            "Forwarded: for=192.0.2.1;proto=http, for=\"[2001:db8::1]:99\", \
             for=\"[2001:db8::7]\";proto=https\r\n\
             X-Forwarded-For: 192.0.2.1, 192.0.2.2, 192.0.2.3, 2001:db8::7\r\n\
             X-Forwarded-Proto: http\r\n"
        );
    }

    #[test]
    fn what_would_swallow_the_client_is_replaced() {
        for value in [
            "for=\"192.0.2.1",
            "for=\"a\\",
            "for=\"a\\\"",
            "for=",
            "for",
            "=a",
            "for=a b=c",
            "for=[::1]",
            "for=\"\u{e9}\"",
            "for=\"\t\"",
            &format!("for={}", "a".repeat(MAX_KEPT)),
        ] {
            let before = sent(&[
                ("forwarded", "for=a"),
                ("forwarded", value),
                ("forwarded", "for=b"),
            ]);
            let line = lines((Append, Remove), Some(&before));
            assert_eq!(line, lines((Replace, Remove), None), "{value}");
        }
        for value in ["192.0.2.1\"", "a;b", "<script>", &"a".repeat(MAX_KEPT + 1)] {
            let before = sent(&[("x-forwarded-for", value), ("x-forwarded-for", "a")]);
            let line = lines((Remove, Append), Some(&before));
            assert_eq!(line, lines((Remove, Replace), None), "{value}");
        }
        for value in ["", ",", "for=a,,for=b;", "For = a"] {
            assert_eq!(
                is_forwarded(value.as_bytes()),
                value != "For = a",
                "{value}"
            );
        }
    }

    proptest! {
        /// Whatever was sent, the last element is the client, the field is a list, and its size is limited.
        #[test]
        fn the_client_is_last(values in prop::collection::vec("[ -~\t]{0,40}|(for=(\"[ -~]{0,9}\"|a)[,;]?){0,9}", 0..9)) {
            let values: Vec<_> = values.iter().map(|value| ("forwarded", value.as_str())).collect();
            let line = lines((Append, Remove), Some(&sent(&values)));
            let value = line.strip_prefix("Forwarded: ").unwrap().strip_suffix("\r\n").unwrap();
            prop_assert!(is_forwarded(value.as_bytes()), "{value}");
            prop_assert!(value.len() < MAX_KEPT + 80);
            let before = value.strip_suffix("for=\"[2001:db8::7]\";proto=https").unwrap();
            prop_assert!(before.is_empty() || is_forwarded(before.as_bytes()), "{value}");
        }
    }
}
