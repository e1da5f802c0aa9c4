//! An origin's `Date` (RFC 9110 §6.6.1), which Pingora replaces by its own when it writes the head of a response,
//! behind all hooks.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderValue;
use memchr::memchr;
use memchr::memmem::Finder;
use parking_lot::Mutex;

/// How Pingora's line begins.
const NAME: &[u8] = b"Date: ";

/// Keeps the values of one response until its head is written, and puts them back there.
#[derive(Debug, Default)]
pub struct OriginDate {
    is_kept: AtomicBool,
    values: Mutex<Values>,
}

#[derive(Debug, Default)]
struct Values {
    first: Option<HeaderValue>,
    more: Option<Box<[HeaderValue]>>,
}

impl OriginDate {
    /// Keeps the values of the final response that Pingora is about to write; without any, Pingora's own stays.
    pub fn keep(&self, first: Option<HeaderValue>, more: Option<Box<[HeaderValue]>>) {
        self.is_kept.store(first.is_some(), Ordering::Relaxed);
        *self.values.lock() = Values { first, more };
    }

    /// Another response is written than the one that was kept for.
    pub fn forget(&self) {
        if self.is_kept.swap(false, Ordering::Relaxed) {
            *self.values.lock() = Default::default();
        }
    }

    /// Whether there is something to put back.
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept.load(Ordering::Relaxed)
    }

    /// Appends `head`, the head that Pingora writes, to `out` with the values that were kept. Does nothing and is
    /// false where there is nothing to put back.
    pub(super) fn put_back(&self, head: &[u8], out: &mut Vec<u8>) -> bool {
        if !self.is_kept() || is_interim(head) {
            return false;
        }
        self.is_kept.store(false, Ordering::Relaxed);
        let Values { first, more } = std::mem::take(&mut *self.values.lock());
        let (Some(first), Some((start, end))) = (first, value_of_date(head)) else {
            return false;
        };
        out.extend_from_slice(head.get(..start).unwrap_or_default());
        out.extend_from_slice(first.as_bytes());
        for value in more.iter().flatten() {
            for part in [&b"\r\n"[..], NAME, value.as_bytes()] {
                out.extend_from_slice(part);
            }
        }
        out.extend_from_slice(head.get(end..).unwrap_or_default());
        true
    }
}

/// Whether it is the head of an interim response (1xx): Pingora adds no field to those.
fn is_interim(head: &[u8]) -> bool {
    head.get(b"HTTP/1.1 ".len()) == Some(&b'1')
}

/// Where the value of `Date` begins and ends.
fn value_of_date(head: &[u8]) -> Option<(usize, usize)> {
    static LINE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\r\nDate: "));
    let start = LINE.find(head)? + LINE.needle().len();
    let len = memchr(b'\r', head.get(start..)?)?;
    Some((start, start + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nX-Date: 1\r\nDate: now\r\nA: Date: b\r\n\r\n";

    fn keep(date: &OriginDate, values: &[&str]) {
        let mut values = values.iter().map(|value| value.parse().unwrap());
        date.keep(values.next(), Some(values.collect()));
    }

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
            keep(&date, lines);
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
        keep(&date, &[]);
        assert_eq!(put_back(&date, HEAD), None);
        keep(&date, &["then"]);
        date.forget();
        assert_eq!(put_back(&date, HEAD), None);
        for head in [&b""[..], b"HTTP/1.1 200 OK\r\n\r\n", b"\r\nDate: cut"] {
            keep(&date, &["then"]);
            assert_eq!(put_back(&date, head), None);
        }
    }
}
