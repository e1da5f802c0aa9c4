//! An origin's `Date` (RFC 9110 §6.6.1), which Pingora replaces by its own when it writes the head of a response,
//! behind all hooks.

use std::sync::atomic::{AtomicBool, Ordering};

use memchr::memchr;
use parking_lot::Mutex;

/// How Pingora's line begins.
const NAME: &[u8] = b"Date: ";

/// Keeps the field lines of one response until its head is written, and puts them back there.
#[derive(Debug, Default)]
pub struct OriginDate {
    is_kept: AtomicBool,
    lines: Mutex<Vec<u8>>,
}

impl OriginDate {
    /// Keeps the values of the final response that Pingora is about to write; without any, Pingora's own stays.
    pub fn keep<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) {
        let mut lines = self.lines.lock();
        lines.clear();
        for value in values {
            lines.reserve_exact(NAME.len() + value.len() + 2);
            lines.extend_from_slice(NAME);
            lines.extend_from_slice(value);
            lines.extend_from_slice(b"\r\n");
        }
        self.is_kept.store(!lines.is_empty(), Ordering::Relaxed);
    }

    /// Another response is written than the one that was kept for.
    pub fn forget(&self) {
        self.is_kept.store(false, Ordering::Relaxed);
    }

    /// Whether there is something to put back.
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept.load(Ordering::Relaxed)
    }

    /// Appends `head`, the head that Pingora writes, to `out` with the lines that were kept. Does nothing and is
    /// false where there is nothing to put back.
    pub(super) fn put_back(&self, head: &[u8], out: &mut Vec<u8>) -> bool {
        if !self.is_kept() || is_interim(head) {
            return false;
        }
        self.forget();
        let Some((before, behind)) = around_date(head) else {
            return false;
        };
        let lines = self.lines.lock();
        out.extend_from_slice(before);
        out.extend_from_slice(&lines);
        out.extend_from_slice(behind);
        true
    }
}

/// Whether it is the head of an interim response (1xx): Pingora adds no field to those.
fn is_interim(head: &[u8]) -> bool {
    head.get(b"HTTP/1.1 ".len()) == Some(&b'1')
}

/// What is before and behind the line of `Date`.
fn around_date(head: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut start = 0;
    loop {
        let rest = head.get(start..)?;
        let len = memchr(b'\n', rest)? + 1;
        if rest.starts_with(NAME) {
            return Some((head.get(..start)?, rest.get(len..)?));
        }
        start += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nX-Date: 1\r\nDate: now\r\nA: Date: b\r\n\r\n";

    fn put_back(date: &OriginDate, head: &[u8]) -> Option<String> {
        let mut out = b"<".to_vec();
        let is_put_back = date.put_back(head, &mut out);
        assert_eq!(is_put_back, out != b"<");
        is_put_back.then(|| String::from_utf8(out.split_off(1)).unwrap())
    }

    #[test]
    fn once_and_in_the_place_of_pingoras() {
        let date = OriginDate::default();
        assert_eq!(put_back(&date, HEAD), None);
        for lines in [&["then"][..], &["one", "", "two"]] {
            date.keep(lines.iter().map(|line| line.as_bytes()));
            let interim = b"HTTP/1.1 103 Early Hints\r\nDate: x\r\n\r\n";
            assert_eq!(put_back(&date, interim), None);
            let dates: String = lines
                .iter()
                .map(|line| format!("Date: {line}\r\n"))
                .collect();
            let expected = format!("HTTP/1.1 200 OK\r\nX-Date: 1\r\n{dates}A: Date: b\r\n\r\n");
            assert_eq!(put_back(&date, HEAD), Some(expected));
            assert_eq!(put_back(&date, HEAD), None);
        }
    }

    #[test]
    fn nothing_where_nothing_was_kept() {
        let date = OriginDate::default();
        date.keep([]);
        assert_eq!(put_back(&date, HEAD), None);
        date.keep([&b"then"[..]]);
        date.forget();
        assert_eq!(put_back(&date, HEAD), None);
        for head in [&b""[..], b"HTTP/1.1 200 OK\r\n\r\n", b"Date: cut"] {
            date.keep([&b"then"[..]]);
            assert_eq!(put_back(&date, head), None);
        }
    }
}
