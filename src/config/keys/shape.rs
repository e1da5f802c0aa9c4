//! How the value of each key is written, in words for the reference and as patterns for the schema.

mod text;

use std::ops::RangeInclusive;
use std::time::Duration;

use super::form::Absent;

/// One key, as the reference has it.
pub(in super::super) struct Key {
    pub(in super::super) name: &'static str,
    /// What it means.
    pub(in super::super) about: &'static str,
    pub(in super::super) default: DefaultText,
    pub(in super::super) shape: Shape,
    /// Whether a reload applies it, where one does not apply the map that has it.
    pub(in super::super) on_reload: bool,
}

/// What a key is that is left out.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum DefaultText {
    Required,
    /// A value, as it would be written.
    Value(String),
    /// What is then done.
    Words(&'static str),
    /// The defaults of the keys below it.
    OfItsKeys,
}

impl From<Absent> for DefaultText {
    fn from(absent: Absent) -> DefaultText {
        match absent {
            Absent::Required => DefaultText::Required,
            Absent::Is(value) => DefaultText::Value(value.to_owned()),
            Absent::Means(words) => DefaultText::Words(words),
            Absent::Defaults => DefaultText::OfItsKeys,
        }
    }
}

/// How a value is written.
pub(in super::super) enum Shape {
    Flag,
    Number(RangeInclusive<u64>),
    Size(RangeInclusive<u64>),
    Duration(RangeInclusive<Duration>),
    /// One of these.
    Words(Vec<String>),
    /// Text of any kind, also what YAML takes for a number. What it is, and how long it may be.
    Text(&'static str, Option<usize>),
    /// Text in a form that is no number.
    Form {
        what: &'static str,
        pattern: &'static str,
    },
    /// A map from texts to texts; what it is.
    Texts(&'static str),
    /// A value of a type of YAML, which is not read from its text: of Pingora's keys.
    Typed(Typed),
    Either(Vec<Shape>),
    List {
        of: Box<Shape>,
        length: RangeInclusive<usize>,
    },
    /// A map with these keys.
    Map(fn() -> Vec<Key>),
    /// A map with names that the file chooses. What each value is.
    Names(&'static str),
    /// The same, where each value is a map with these keys.
    NamedMaps(fn() -> Vec<Key>),
    /// As `Map`, which may be left empty.
    Part(fn() -> Vec<Key>),
}

/// A value that Pingora reads.
#[derive(Clone)]
pub(in super::super) enum Typed {
    Flag,
    Number(RangeInclusive<u64>),
    Text(&'static str),
    Words(&'static [&'static str]),
    List(&'static str),
    /// Or no value.
    Optional(Box<Typed>),
}

impl Shape {
    /// A list of at most so many; an empty one too.
    pub(in super::super) fn list(self, most: usize) -> Shape {
        Shape::List {
            of: Box::new(self),
            length: 0..=most,
        }
    }

    /// A list that is not empty.
    pub(in super::super) fn some(self) -> Shape {
        Shape::List {
            of: Box::new(self),
            length: 1..=usize::MAX,
        }
    }

    /// A map with names that the file chooses.
    pub(in super::super) fn names(of: &'static str) -> Shape {
        Shape::Names(of)
    }

    /// This, or one of these words.
    pub(in super::super) fn or(self, words: &[&str]) -> Shape {
        Shape::Either(vec![self, Shape::words(words)])
    }

    pub(in super::super) fn words(words: &[&str]) -> Shape {
        Shape::Words(words.iter().map(|word| (*word).to_owned()).collect())
    }
}
