//! The types of the language, and how large their values can become.

use std::fmt;

/// The type of a value that is not a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// `true` or `false`.
    Bool,
    /// 64 bits, signed.
    Int,
    /// Text.
    String,
    /// A point in time.
    Timestamp,
    /// A length of time.
    Duration,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value that is not a list.
    One(Scalar),
    /// A list; `None` is the empty list, which fits every list.
    List(Option<Scalar>),
}

impl Kind {
    /// The type that holds the values of both, if there is one.
    pub(super) fn join(self, other: Kind) -> Option<Kind> {
        match (self, other) {
            (Kind::List(None), Kind::List(_)) => Some(other),
            (Kind::List(_), Kind::List(None)) => Some(self),
            _ => (self == other).then_some(self),
        }
    }
}

/// With its article: `a string`, `a list of ints`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::One(Scalar::Bool) => "a bool",
            Kind::One(Scalar::Int) => "an int",
            Kind::One(Scalar::String) => "a string",
            Kind::One(Scalar::Timestamp) => "a timestamp",
            Kind::One(Scalar::Duration) => "a duration",
            Kind::List(None) => "an empty list",
            Kind::List(Some(Scalar::Bool)) => "a list of bools",
            Kind::List(Some(Scalar::Int)) => "a list of ints",
            Kind::List(Some(Scalar::String)) => "a list of strings",
            Kind::List(Some(Scalar::Timestamp)) => "a list of timestamps",
            Kind::List(Some(Scalar::Duration)) => "a list of durations",
        })
    }
}

/// How large a value is at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Bytes of the string, or of each string of the list. 0 for what is not a string.
    pub(super) bytes: u64,
    /// Elements of the list. 0 for what is not a list.
    pub(super) len: u64,
}

impl Size {
    /// The size of a string.
    pub(super) fn bytes(bytes: u64) -> Size {
        Size { bytes, len: 0 }
    }

    /// The size of what is one or the other.
    pub(super) fn max(self, other: Size) -> Size {
        Size {
            bytes: self.bytes.max(other.bytes),
            len: self.len.max(other.len),
        }
    }

    /// The steps to read, compare or copy one string of it.
    pub(super) fn touch(self) -> u64 {
        self.bytes.div_ceil(64)
    }

    /// The steps to go over all of it.
    pub(super) fn walk(self) -> u64 {
        self.len.saturating_mul(self.touch().saturating_add(1))
    }
}
