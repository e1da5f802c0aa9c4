//! The constants of a script: `settings` in its text.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A text.
    Text(Box<str>),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Flag(bool),
    /// A list of constants.
    List(Vec<Setting>),
}

/// The constants by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(Arc<BTreeMap<Box<str>, Setting>>);

impl Settings {
    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(AsRef::as_ref)
    }

    /// The same, and these, which come before those of the same name.
    #[must_use]
    pub fn with(&self, settings: impl IntoIterator<Item = (Box<str>, Setting)>) -> Self {
        let mut all = BTreeMap::clone(&self.0);
        all.extend(settings);
        Self(Arc::new(all))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.0.iter().map(|(name, setting)| (&**name, setting))
    }
}

impl FromIterator<(Box<str>, Setting)> for Settings {
    fn from_iter<I: IntoIterator<Item = (Box<str>, Setting)>>(settings: I) -> Self {
        Self(Arc::new(settings.into_iter().collect()))
    }
}
