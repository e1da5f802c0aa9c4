//! The parts of a refused head that can still be read: for its answer and its record alone.

use memchr::memchr;

use super::{is_tchar, trim_ows};
use crate::http::target::Target;

/// How much of a head is read: enough for an `Accept` behind the longest target.
const MAX_READ: usize = 80 * 1024;

/// How much of each part is kept, in bytes; the log shows less.
const MAX_PART: usize = 4096;

/// A longer word is not taken for a method.
const MAX_METHOD: usize = 32;

/// Methods that count without a version behind the target. Commands of other protocols have the same form, and
/// a password follows `PASS` and `AUTH`.
const METHODS: [&[u8]; 9] = [
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH",
];

/// Parts of a refused head. A part that cannot be read is empty or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedHead {
    /// The method.
    pub method: Vec<u8>,
    /// The request-target as sent, with anything masked that may be a password.
    pub target: Vec<u8>,
    /// The version, if it has the form of one.
    pub version: String,
    /// The `Accept` field lines, joined.
    pub accept: Option<Vec<u8>>,
    /// The `Referer` field.
    pub referer: Option<Vec<u8>>,
    /// The `User-Agent` field.
    pub user_agent: Option<Vec<u8>>,
}

impl RefusedHead {
    /// Reads the start of a head. It may be cut anywhere, or be no head at all.
    pub fn read(bytes: &[u8]) -> Self {
        let bytes = bytes.get(..MAX_READ).unwrap_or(bytes);
        let start = bytes
            .iter()
            .position(|byte| !matches!(byte, b'\r' | b'\n'))
            .unwrap_or(bytes.len());
        let bytes = bytes.get(start..).unwrap_or_default();
        let (line, fields) = match memchr(b'\n', bytes) {
            Some(end) => (
                bytes.get(..end).unwrap_or_default(),
                bytes.get(end + 1..).unwrap_or_default(),
            ),
            None => (bytes, &[][..]),
        };
        let mut refused = Self::default();
        let is_cut = line.len() == bytes.len();
        if refused.read_line(line.strip_suffix(b"\r").unwrap_or(line), is_cut) {
            refused.read_fields(fields);
        }
        refused
    }

    /// The parts of a request that has no request line, as in HTTP/2.
    pub fn of_line(method: &str, target: &str) -> Self {
        Self {
            method: method.into(),
            target: kept(method.as_bytes(), target.as_bytes(), false),
            ..Self::default()
        }
    }

    /// Whether the line is a request line. If `is_cut`, its end has not arrived.
    fn read_line(&mut self, line: &[u8], is_cut: bool) -> bool {
        let Some(space) = memchr(b' ', line) else {
            return false;
        };
        let (method, rest) = line.split_at(space);
        if method.is_empty() || method.len() > MAX_METHOD || !method.iter().all(|&b| is_tchar(b)) {
            return false;
        }
        let rest = rest.trim_ascii_start();
        let version = version(rest);
        if version.is_none() && !METHODS.contains(&method) {
            return false;
        }
        let target = version.map_or(rest, |version| {
            rest.get(..rest.len() - version.len()).unwrap_or_default()
        });
        let target = target.trim_ascii_end();
        self.method = method.to_vec();
        self.target = kept(method, target, is_cut);
        self.version = version
            .and_then(|version| std::str::from_utf8(version).ok())
            .unwrap_or_default()
            .to_owned();
        true
    }

    fn read_fields(&mut self, fields: &[u8]) {
        for line in fields.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                return;
            }
            let Some(colon) = memchr(b':', line) else {
                continue;
            };
            let (name, value) = line.split_at(colon);
            let value = trim_ows(value.get(1..).unwrap_or_default());
            let value = value.get(..MAX_PART).unwrap_or(value);
            if name.eq_ignore_ascii_case(b"accept") {
                let accept = self.accept.get_or_insert_default();
                if !accept.is_empty() {
                    accept.extend_from_slice(b", ");
                }
                accept.extend_from_slice(value);
            } else if name.eq_ignore_ascii_case(b"referer") {
                self.referer.get_or_insert_with(|| value.to_vec());
            } else if name.eq_ignore_ascii_case(b"user-agent") {
                self.user_agent.get_or_insert_with(|| value.to_vec());
            }
        }
    }
}

/// The version at the end of a request line, without its method.
fn version(rest: &[u8]) -> Option<&[u8]> {
    let last = rest.rsplit(|byte| *byte == b' ').next()?;
    let digits = last.strip_prefix(b"HTTP/")?;
    let plain = digits.len() <= 4
        && digits
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'.');
    (plain && !digits.is_empty()).then_some(last)
}

/// The target for the log, of bounded length, which masks userinfo where the syntax has it. Of a target that
/// has no meaning, everything up to the last `@` may be userinfo, wherever that is.
fn kept(method: &[u8], target: &[u8], is_cut: bool) -> Vec<u8> {
    let short = target.get(..MAX_PART).unwrap_or(target);
    if short.starts_with(b"/") && !short.starts_with(b"//") {
        return short.to_vec();
    }
    if is_cut || short.len() < target.len() {
        return masked_cut(method, short);
    }
    let at = short.iter().rposition(|byte| *byte == b'@');
    match at.and_then(|at| short.get(at..)) {
        Some(rest) if short.starts_with(b"//") || Target::parse(method, short).is_err() => {
            [b"***", rest].concat()
        }
        _ => short.to_vec(),
    }
}

/// The longest name of a host.
const MAX_HOST: usize = 255;

/// What is known not to be userinfo of a target that is cut: the `@` that would tell may be what is missing.
fn masked_cut(method: &[u8], target: &[u8]) -> Vec<u8> {
    const MASK: &[u8] = b"***";
    let start = match memchr::memmem::find(target, b"://") {
        Some(at) => at + 3,
        None if target.starts_with(b"//") => 2,
        None => 0,
    };
    let (scheme, rest) = target.split_at(start);
    let end = rest.iter().position(|byte| b"/?#\\".contains(byte));
    let authority = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
    // The colons of `[::1]` are not before a port.
    let host = match authority.first() {
        Some(b'[') => memchr(b']', authority).unwrap_or(authority.len()),
        _ => 0,
    };
    let after_host = authority.get(host..).unwrap_or_default();
    let colon = memchr(b':', after_host).map(|at| host + at + 1);
    let behind = colon.and_then(|at| authority.get(at..)).unwrap_or_default();
    let is_whole = end.is_some() && Target::parse(method, target).is_ok();
    if is_whole || behind.is_empty() && authority.len() <= MAX_HOST && !rest.contains(&b'@') {
        return target.to_vec();
    }
    let before = colon
        .and_then(|at| authority.get(..at))
        .filter(|before| !before.contains(&b'@'))
        .unwrap_or_default();
    [scheme, before, MASK].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(head: &str) -> (String, String, String) {
        let read = RefusedHead::read(head.as_bytes());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&read.method), text(&read.target), read.version)
    }

    #[test]
    fn request_lines() {
        for (head, method, target, version) in [
            (
                "GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
                "GET",
                "/a",
                "HTTP/1.1",
            ),
            ("\r\nGET  /a b HTTP/1.0\r\n\r\n", "GET", "/a b", "HTTP/1.0"),
            ("GET http://x/\r\n\r\n", "GET", "http://x/", ""),
            ("GET /aaaa", "GET", "/aaaa", ""),
            ("BREW /pot HTTP/1.1\n", "BREW", "/pot", "HTTP/1.1"),
            ("GET / HTTP/3.0\r\n\r\n", "GET", "/", "HTTP/3.0"),
            ("GET / RTSP/1.0\r\n\r\n", "GET", "/ RTSP/1.0", ""),
            // Passwords of other protocols, and of a body that is taken for a head.
            ("PASS secret\r\n", "", "", ""),
            ("AUTH secret\r\n", "", "", ""),
            ("a=1&password=secret GET / HTTP/1.1\r\n\r\n", "", "", ""),
            ("secret\r\n", "", "", ""),
            ("", "", "", ""),
        ] {
            let expected = (method.to_owned(), target.to_owned(), version.to_owned());
            assert_eq!(line(head), expected, "{head:?}");
        }
    }

    #[test]
    fn no_password_of_a_target_is_kept_where_the_target_has_no_meaning() {
        for target in [
            "http:/u:secret@h/",
            "http:\\\\u:secret@h\\",
            "//u:secret@h/",
            "http://u:sec/ret@h:x/",
            "http://u:secret@h:99999/?a@b",
            "u:secret@h:443",
        ] {
            let (_, shown, _) = line(&format!("CONNECT {target} HTTP/1.1\r\n\r\n"));
            assert!(
                shown.starts_with("***@") && !shown.contains("ret"),
                "{target}: {shown}"
            );
        }
        assert_eq!(line("GET //u:secret@h/ HTTP/1.1\r\n\r\n").1, "***@h/");
        assert_eq!(line("GET http://h/@a HTTP/1.1\r\n\r\n").1, "http://h/@a");
        assert_eq!(line("GET /@a HTTP/1.1\r\n\r\n").1, "/@a");
    }

    #[test]
    fn no_password_of_a_target_that_is_cut_is_kept() {
        let long = "s".repeat(5000);
        for (head, expected) in [
            ("GET http://u:secret", "http://u:***"),
            ("GET http://u:12345", "http://u:***"),
            ("GET http://u:sec@ret", "http://u:***"),
            ("GET http://u:sec/ret", "http://u:***"),
            ("GET http://u@h:sec@ret", "http://***"),
            ("GET //u:secret", "//u:***"),
            ("GET ftp://u:secret", "ftp://u:***"),
            ("CONNECT u:secret", "u:***"),
            ("GET http://[::1]:80", "http://[::1]:***"),
            ("GET http://[::1]/a", "http://[::1]/a"),
            ("GET http://h:80/a@b", "http://h:80/a@b"),
            ("GET http://h/a", "http://h/a"),
            ("GET http://h", "http://h"),
            ("GET /a:b@c", "/a:b@c"),
            (
                &format!("GET http://u:{long}@h/ HTTP/1.1\r\n\r\n"),
                "http://u:***",
            ),
            (
                &format!("GET http://{long}@h/ HTTP/1.1\r\n\r\n"),
                "http://***",
            ),
        ] {
            assert_eq!(line(head).1, expected, "{}", head.get(..30).unwrap_or(head));
        }
    }

    #[test]
    fn fields() {
        let head = b"GET / HTTP/1.1\r\naccept: text/html\nAccept:  application/json;q=0.5 \r\n\
            nonsense\r\nUser-Agent: x\r\nUser-Agent: y\r\n\r\nReferer: of the body\r\n";
        let read = RefusedHead::read(head);
        assert_eq!(read.accept.unwrap(), b"text/html, application/json;q=0.5");
        assert_eq!(read.user_agent.unwrap(), b"x");
        assert_eq!(read.referer, None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_bounded(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let read = RefusedHead::read(&bytes);
            prop_assert!(read.method.len() <= MAX_METHOD && read.target.len() <= MAX_PART + 4);
        }

        #[test]
        fn what_is_cut_is_a_part_of_the_whole(cut in 0usize..80) {
            let head = b"GET http://example.org/path HTTP/1.1\r\nAccept: application/json\r\n\r\n";
            let read = RefusedHead::read(head.get(..cut).unwrap_or(head));
            prop_assert!(b"http://example.org/path HTTP/1.".starts_with(&read.target) || read.target == b"http://example.org/path");
        }
    }
}
