//! The forms that a field of a JSON line can have: how a value is written, and
//! in the text of the form what a reader of the log is told of it.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use super::{Event, UpstreamAddress, role_name};
use crate::access::policy::{DecidedBy, Name};
use crate::hook::Tag;
use crate::http::role::Role;
use crate::telemetry::text::{
    Clock, push_addr, push_json, push_json_part, push_json_uri, push_seconds, push_u64,
};

/// A line that is being written.
pub(super) struct Line<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) clock: &'a mut Clock,
}

/// Writes values of one type. Its text is for the reference of the fields.
pub(super) trait Form<T>: Display {
    /// Whether the value needs quotes around it.
    const QUOTED: bool = false;

    fn push(&self, line: &mut Line<'_>, value: T);
}

impl Line<'_> {
    /// Writes a field: its key, which ends where the value begins, and the value.
    /// There are two keys, without and with the opening quote of the value.
    #[inline(always)]
    pub(super) fn push<T, F: Form<T>>(&mut self, keys: [&'static str; 2], form: &F, value: T) {
        let [bare, quoted] = keys;
        let key = if F::QUOTED { quoted } else { bare };
        self.out.extend_from_slice(key.as_bytes());
        form.push(self, value);
        if F::QUOTED {
            self.out.push(b'"');
        }
    }
}

/// A moment.
pub(super) struct Moment;

impl Form<SystemTime> for Moment {
    const QUOTED: bool = true;

    fn push(&self, line: &mut Line<'_>, value: SystemTime) {
        line.clock.push_rfc3339(line.out, value);
    }
}

impl Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RFC 3339, UTC, milliseconds")
    }
}

/// One of a few names, which need no escapes.
pub(super) struct Word;

impl Form<Event> for Word {
    const QUOTED: bool = true;

    fn push(&self, line: &mut Line<'_>, value: Event) {
        line.out.extend_from_slice(value.as_str().as_bytes());
    }
}

impl Form<Option<Role>> for Word {
    const QUOTED: bool = true;

    fn push(&self, line: &mut Line<'_>, value: Option<Role>) {
        line.out.extend_from_slice(role_name(value).as_bytes());
    }
}

impl Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one of these names")
    }
}

/// An address with its port.
pub(super) struct Address;

impl Form<SocketAddr> for Address {
    const QUOTED: bool = true;

    fn push(&self, line: &mut Line<'_>, value: SocketAddr) {
        push_addr(line.out, value);
    }
}

impl Form<UpstreamAddress<'_>> for Address {
    const QUOTED: bool = true;

    fn push(&self, line: &mut Line<'_>, value: UpstreamAddress<'_>) {
        match value {
            UpstreamAddress::Tcp(address) => push_addr(line.out, address),
            UpstreamAddress::Unix(path) => {
                line.out.extend_from_slice(b"unix:");
                push_json_part(line.out, path.as_os_str().as_bytes(), 128);
            }
        }
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`address:port`")
    }
}

/// Text of at most so many bytes before it is escaped.
pub(super) struct Text(pub(super) usize);

impl<T: AsRef<[u8]>> Form<T> for Text {
    fn push(&self, line: &mut Line<'_>, value: T) {
        push_json(line.out, value.as_ref(), self.0);
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "text, cut at {} bytes", self.0)
    }
}

/// The same with userinfo masked.
pub(super) struct Uri(pub(super) usize);

impl Form<&[u8]> for Uri {
    fn push(&self, line: &mut Line<'_>, value: &[u8]) {
        push_json_uri(line.out, value, self.0);
    }
}

impl Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "URI, cut at {} bytes", self.0)
    }
}

/// What decided, by its name of at most so many bytes.
pub(super) struct Decision(pub(super) usize);

impl Form<&DecidedBy> for Decision {
    fn push(&self, line: &mut Line<'_>, value: &DecidedBy) {
        push_json(line.out, value.name().as_bytes(), self.0);
    }
}

impl Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Text(self.0).fmt(f)
    }
}

/// Names, at most so many, each of at most so many bytes.
pub(super) struct Names {
    pub(super) count: usize,
    pub(super) each: usize,
}

impl Form<&[Name]> for Names {
    fn push(&self, line: &mut Line<'_>, value: &[Name]) {
        self.push_all(line, value.iter().map(Name::as_str));
    }
}

impl Form<&[Box<str>]> for Names {
    fn push(&self, line: &mut Line<'_>, value: &[Box<str>]) {
        self.push_all(line, value.iter().map(AsRef::as_ref));
    }
}

impl Names {
    fn push_all<'n>(&self, line: &mut Line<'_>, names: impl Iterator<Item = &'n str>) {
        line.out.push(b'[');
        for (index, name) in names.take(self.count).enumerate() {
            if index > 0 {
                line.out.push(b',');
            }
            push_json(line.out, name.as_bytes(), self.each);
        }
        line.out.push(b']');
    }
}

impl Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "list of names, {} at most", self.count)
    }
}

/// Pairs of names and texts, at most so many, each of at most so many bytes.
pub(super) struct Tags {
    pub(super) count: usize,
    pub(super) each: usize,
}

impl Form<&[Tag]> for Tags {
    fn push(&self, line: &mut Line<'_>, value: &[Tag]) {
        line.out.push(b'{');
        for (index, tag) in value.iter().take(self.count).enumerate() {
            if index > 0 {
                line.out.push(b',');
            }
            push_json(line.out, tag.name.as_bytes(), self.each);
            line.out.push(b':');
            push_json(line.out, tag.value.as_bytes(), self.each);
        }
        line.out.push(b'}');
    }
}

impl Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object of texts, {} at most", self.count)
    }
}

/// A number without a unit.
pub(super) struct Number;

impl Form<u16> for Number {
    fn push(&self, line: &mut Line<'_>, value: u16) {
        push_u64(line.out, u64::from(value));
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("number")
    }
}

/// A number of bytes.
pub(super) struct Bytes;

impl Form<u64> for Bytes {
    fn push(&self, line: &mut Line<'_>, value: u64) {
        push_u64(line.out, value);
    }
}

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }
}

/// A length of time.
pub(super) struct Seconds;

impl Form<Duration> for Seconds {
    fn push(&self, line: &mut Line<'_>, value: Duration) {
        push_seconds(line.out, value);
    }
}

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds, six digits")
    }
}
