//! The forms of values: how the value of a key is written, and what it is read as.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::reader::{Item, Part, Section};
use super::super::units::{show_duration, show_size};
#[cfg(test)]
use super::shape::{self, Shape};

/// Reads the value of a key that may be left out.
pub(in super::super) trait Take<'d, T> {
    /// What a key is that is left out.
    type Default;

    fn take(&self, section: &mut Section<'d>, key: &'static str, default: Self::Default) -> T;

    /// The default, for the reference.
    #[cfg(test)]
    fn default(&self, default: Self::Default) -> shape::DefaultText;

    /// How the value is written, for the reference.
    #[cfg(test)]
    fn shape(&self) -> Shape {
        unreachable!("the table has the shape")
    }
}

/// A form that a value is read from at once.
pub(in super::super) trait Form<T> {
    /// Reads a value, and reports what cannot be read.
    fn read(&self, item: &Item<'_>) -> Option<T>;

    /// The value as it could be written.
    fn show(&self, value: &T) -> String;

    #[cfg(test)]
    fn shape(&self) -> Shape;
}

impl<'d, T, F: Form<T>> Take<'d, T> for F {
    type Default = T;

    fn take(&self, section: &mut Section<'d>, key: &'static str, default: T) -> T {
        let item = section.item(key);
        let value = item.and_then(|item| self.read(&item)).unwrap_or(default);
        section.note_meaning(key, &self.show(&value));
        value
    }

    #[cfg(test)]
    fn default(&self, default: T) -> shape::DefaultText {
        shape::DefaultText::Value(self.show(&default))
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        Form::shape(self)
    }
}

/// A map of keys that all have a default.
pub(in super::super) trait Settings {
    /// Reads the map, and reports the keys that it does not know.
    fn read(section: Section<'_>) -> Self;
}

/// `true` or `false`.
pub(in super::super) struct Flag;

impl Form<bool> for Flag {
    fn read(&self, item: &Item<'_>) -> Option<bool> {
        item.flag()
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        Shape::Flag
    }
}

/// One of some words, each of which means a value.
pub(in super::super) struct OneOf<T: 'static>(pub(in super::super) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Form<T> for OneOf<T> {
    fn read(&self, item: &Item<'_>) -> Option<T> {
        let text = item.text()?;
        let found = self.0.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<_> = self.0.iter().map(|(word, _)| *word).collect();
            item.report("another word", format!("write {}", words.join(" or ")));
        }
        found.map(|(_, value)| *value)
    }

    fn show(&self, value: &T) -> String {
        let found = self.0.iter().find(|(_, other)| other == value);
        found.map_or_else(String::new, |(word, _)| (*word).to_owned())
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        let words: Vec<_> = self.0.iter().map(|(word, _)| *word).collect();
        Shape::words(&words)
    }
}

/// A whole number, or a duration with its unit, in a range.
pub(in super::super) struct Within<T>(pub(in super::super) RangeInclusive<T>);

impl Form<usize> for Within<usize> {
    fn read(&self, item: &Item<'_>) -> Option<usize> {
        item.count(self.0.clone())
    }

    fn show(&self, value: &usize) -> String {
        value.to_string()
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        let as_u64 = |bound: &usize| u64::try_from(*bound).unwrap();
        Shape::Number(as_u64(self.0.start())..=as_u64(self.0.end()))
    }
}

impl Form<Duration> for Within<Duration> {
    fn read(&self, item: &Item<'_>) -> Option<Duration> {
        item.duration(self.0.clone())
    }

    fn show(&self, value: &Duration) -> String {
        show_duration(*value)
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        Shape::Duration(self.0.clone())
    }
}

/// A size in bytes, in a range.
pub(in super::super) struct Bytes(pub(in super::super) RangeInclusive<u64>);

impl Form<usize> for Bytes {
    fn read(&self, item: &Item<'_>) -> Option<usize> {
        let size = item.size(self.0.clone())?;
        usize::try_from(size).ok()
    }

    fn show(&self, value: &usize) -> String {
        u64::try_from(*value).map_or_else(|_| value.to_string(), show_size)
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        Shape::Size(self.0.clone())
    }
}

/// `none`, or a size in bytes in a range.
pub(in super::super) struct BytesOrNone(pub(in super::super) RangeInclusive<u64>);

impl Form<Option<u64>> for BytesOrNone {
    fn read(&self, item: &Item<'_>) -> Option<Option<u64>> {
        if item.scalar()? == "none" {
            return Some(None);
        }
        item.size(self.0.clone()).map(Some)
    }

    fn show(&self, value: &Option<u64>) -> String {
        value.map_or_else(|| "none".to_owned(), show_size)
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        Shape::Size(self.0.clone()).or(&["none"])
    }
}

/// What a key is that is left out, where that is no value of its form.
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "the program has its own default; this one is for the reference"
    )
)]
pub(in super::super) enum Absent {
    /// It must not be left out.
    Required,
    /// The same as this value.
    Is(&'static str),
    /// What is then done, in words.
    Means(&'static str),
    /// The defaults of the keys below it.
    Defaults,
}

/// A form whose default depends on other keys.
pub(in super::super) struct Given<F>(pub(in super::super) F);

impl<'d, T, F: Form<T>> Take<'d, Option<T>> for Given<F> {
    type Default = Absent;

    fn take(&self, section: &mut Section<'d>, key: &'static str, _: Absent) -> Option<T> {
        section.item(key).and_then(|item| self.0.read(&item))
    }

    #[cfg(test)]
    fn default(&self, default: Absent) -> shape::DefaultText {
        default.into()
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        self.0.shape()
    }
}

/// A value as it is written, which its section reads.
pub(in super::super) struct Raw;

impl<'d> Take<'d, Option<Item<'d>>> for Raw {
    type Default = Absent;

    fn take(&self, section: &mut Section<'d>, key: &'static str, _: Absent) -> Option<Item<'d>> {
        section.item(key)
    }

    #[cfg(test)]
    fn default(&self, default: Absent) -> shape::DefaultText {
        default.into()
    }
}

/// A list as it is written, which its section reads. One that is left out is empty.
pub(in super::super) struct RawList;

impl<'d> Take<'d, Option<Item<'d>>> for RawList {
    type Default = Absent;

    fn take(&self, section: &mut Section<'d>, key: &'static str, _: Absent) -> Option<Item<'d>> {
        section.list_item(key)
    }

    #[cfg(test)]
    fn default(&self, default: Absent) -> shape::DefaultText {
        default.into()
    }
}

/// A list that the section reads by itself, since the listeners decide what it may have.
pub(in super::super) struct ByHand;

impl<'d, T: Debug> Take<'d, Vec<T>> for ByHand {
    type Default = Vec<T>;

    fn take(&self, _: &mut Section<'d>, _: &'static str, default: Vec<T>) -> Vec<T> {
        default
    }

    #[cfg(test)]
    fn default(&self, default: Vec<T>) -> shape::DefaultText {
        shape::DefaultText::Value(format!("{default:?}"))
    }
}

/// A map that may be left out or empty: all its keys have a default.
pub(in super::super) struct Map;

impl<'d> Take<'d, Part<'d>> for Map {
    type Default = Absent;

    fn take(&self, section: &mut Section<'d>, key: &'static str, _: Absent) -> Part<'d> {
        section.part(key)
    }

    #[cfg(test)]
    fn default(&self, default: Absent) -> shape::DefaultText {
        default.into()
    }
}

/// A map whose keys are settings. It may be left out or empty.
pub(in super::super) struct Nested;
