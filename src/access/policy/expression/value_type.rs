//! The types of the language, and the sizes of their values.

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
pub enum ValueType {
    /// A value that is not a list.
    One(Scalar),
    /// A list; `None` is the empty list, which fits every list.
    List(Option<Scalar>),
}

impl ValueType {
    /// The common type of both, if there is one.
    pub(super) fn unify(self, other: ValueType) -> Option<ValueType> {
        match (self, other) {
            (ValueType::List(None), ValueType::List(_)) => Some(other),
            (ValueType::List(_), ValueType::List(None)) => Some(self),
            _ => (self == other).then_some(self),
        }
    }
}

/// With its article: `a string`, `a list of ints`.
impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValueType::One(Scalar::Bool) => "a bool",
            ValueType::One(Scalar::Int) => "an int",
            ValueType::One(Scalar::String) => "a string",
            ValueType::One(Scalar::Timestamp) => "a timestamp",
            ValueType::One(Scalar::Duration) => "a duration",
            ValueType::List(None) => "an empty list",
            ValueType::List(Some(Scalar::Bool)) => "a list of bools",
            ValueType::List(Some(Scalar::Int)) => "a list of ints",
            ValueType::List(Some(Scalar::String)) => "a list of strings",
            ValueType::List(Some(Scalar::Timestamp)) => "a list of timestamps",
            ValueType::List(Some(Scalar::Duration)) => "a list of durations",
        })
    }
}

/// The largest size of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Bytes of the string, or of each string of the list. 0 for other types.
    pub(super) bytes: u64,
    /// Elements of the list. 0 for other types.
    pub(super) len: u64,
}

impl Size {
    /// The size of a string.
    pub(super) fn bytes(bytes: u64) -> Size {
        Size { bytes, len: 0 }
    }

    /// The larger of both sizes.
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

    /// The steps to read all of it.
    pub(super) fn walk(self) -> u64 {
        self.len.saturating_mul(self.touch().saturating_add(1))
    }
}
