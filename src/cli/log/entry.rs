//! A record as it is read from a line of the JSON access log.
//!
//! A line is text of unknown origin: nothing in it is taken for checked. Members that are not shown or filtered by are
//! skipped.

use std::borrow::Cow;

use serde::Deserialize;

/// How each line of the log begins, and what a line of syslog has behind its own head.
const BEGIN: &[u8] = b"{\"time\":\"";

/// Text of a record, borrowed where it has no escapes.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The members of a record that are shown, or that filters ask for.
#[derive(Debug, Deserialize)]
pub(super) struct Entry<'a> {
    #[serde(borrow)]
    pub(super) time: Text<'a>,
    #[serde(borrow)]
    pub(super) event: Text<'a>,
    #[serde(borrow, default)]
    pub(super) role: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) user: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) client: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) method: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) target: Option<Text<'a>>,
    pub(super) status: Option<u16>,
    #[serde(default)]
    pub(super) bytes_from_client: u64,
    #[serde(default)]
    pub(super) bytes_to_client: u64,
    #[serde(default)]
    pub(super) duration_seconds: f64,
    #[serde(borrow, default)]
    pub(super) error: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) error_detail: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) rule: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) observed: Vec<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) end_reason: Option<Text<'a>>,
}

impl<'a> Entry<'a> {
    /// The part of a line that may be a record: all of it, or what follows the head of a line of syslog. None where the
    /// line has no such part.
    pub(super) fn part(line: &[u8]) -> Option<&[u8]> {
        let line = line.trim_ascii_end();
        let part = match line.starts_with(BEGIN) {
            true => Some(line),
            false => memchr::memmem::find(line, BEGIN).and_then(|at| line.get(at..)),
        };
        part.filter(|part| part.ends_with(b"}"))
    }

    /// Reads the record that [`part`](Self::part) has found.
    pub(super) fn read(part: &'a [u8]) -> Option<Entry<'a>> {
        serde_json::from_slice(part).ok()
    }

    /// Whether it says that something went wrong.
    pub(super) fn is_error(&self) -> bool {
        self.error.is_some() || self.status.is_some_and(|status| status >= 400)
    }

    /// The host and the port that the target names.
    pub(super) fn site(&self) -> (&str, Option<&str>) {
        let target = self.target.as_ref().map_or("", Text::as_str);
        let role = self.role.as_ref().map(Text::as_str);
        if role == Some("gateway") || target.starts_with('/') {
            return ("gateway", None);
        }
        let (scheme, rest) = match target.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, target),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let port = match authority.rsplit_once(':') {
            // The colons of an IPv6 address are before its bracket.
            Some((host, port)) if !port.contains(']') => Some((host, port)),
            _ => None,
        };
        let implied = match scheme {
            Some("http") => Some("80"),
            Some("https") => Some("443"),
            _ => None,
        };
        match port {
            Some((host, port)) => (host, Some(port)),
            None => (authority, implied),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_behind_the_head_of_syslog() {
        let record = br#"{"time":"t","event":"request"}"#;
        assert_eq!(Entry::part(record), Some(&record[..]));
        let line = [b"<134>1 - host tollgate - - - ", &record[..], b"\r\n"].concat();
        assert_eq!(Entry::part(&line), Some(&record[..]));
        for other in [
            &b""[..],
            b"{}",
            b"{\"time\":\"t\",\"eve",
            b"127.0.0.1 - - x",
        ] {
            assert_eq!(Entry::part(other), None, "{other:?}");
        }
    }

    #[test]
    fn text_is_borrowed_and_unescaped() {
        let line = br#"{"time":"t","event":"request","user":"a\u001b","x":[{"y":1}],"target":"t"}"#;
        let entry = Entry::read(line).unwrap();
        assert_eq!(entry.user.unwrap().as_str(), "a\u{1b}");
        assert!(matches!(entry.target.unwrap().0, Cow::Borrowed("t")));
        for wrong in [
            &br#"{"time":"t"}"#[..],
            br#"{"time":1,"event":"request"}"#,
            br#"{"time":"t","event":"request","status":"x"}"#,
            b"{\"time\":\"\xff\",\"event\":\"request\"}",
            br#"[]"#,
        ] {
            assert!(Entry::read(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn sites() {
        for (target, host, port) in [
            ("example.org:443", "example.org", Some("443")),
            ("http://example.org/a:b?c", "example.org", Some("80")),
            ("https://[2001:db8::1]/", "[2001:db8::1]", Some("443")),
            ("[2001:db8::1]:8443", "[2001:db8::1]", Some("8443")),
            ("/path", "gateway", None),
            ("", "", None),
        ] {
            let line = serde_json::json!({"time": "t", "event": "request", "target": target});
            let line = line.to_string();
            let entry = Entry::read(line.as_bytes()).unwrap();
            assert_eq!(entry.site(), (host, port), "{target}");
        }
        let line = br#"{"time":"t","event":"request","role":"gateway","target":"*"}"#;
        assert_eq!(Entry::read(line).unwrap().site(), ("gateway", None));
    }
}
