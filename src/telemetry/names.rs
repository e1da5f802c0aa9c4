//! Names of users as log, metrics, statistics and traces show them: as they are, or hashed with a key.
//!
//! The one place where a name becomes a label: what is shown to operators takes it from here. What a user reads of
//! itself (`/.tollgate/`) needs no label.

use std::fmt;
use std::ops::Deref;

use zeroize::Zeroizing;

use super::Telemetry;
use super::record::Record;
use crate::access::limits::quota::Row;

/// Bytes of a hash that are shown, as twice as many digits: with a million users, the chance that two share a label is
/// one in thirty million.
const SHOWN: usize = 8;

/// What the key is derived for, so that the same secret in another place of the program is another key.
const CONTEXT: &str = "tollgate 2026-11 log.users_key";

/// How names of users are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum UserNames {
    /// As they are.
    #[default]
    Plain,
    /// As hashes with this key.
    Hashed(UserKey),
}

/// The key of hashed names. Processes with the same key show the same labels. `Debug` does not show it.
#[derive(Clone)]
pub struct UserKey(Zeroizing<[u8; 32]>);

/// The name of a user as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownUser<'a> {
    /// As it is.
    Plain(&'a str),
    /// Hashed.
    Hashed(UserHash),
}

/// A hashed name: hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserHash([u8; 2 * SHOWN]);

impl Telemetry {
    /// How names are shown.
    pub fn user_names(&self) -> &UserNames {
        &self.names
    }

    /// The name of a user as it is shown wherever others than the user see it.
    pub fn show_user<'a>(&self, user: &'a str) -> ShownUser<'a> {
        self.names.show(user)
    }

    /// The label of a user that an operator has named, by its name or by that label.
    pub fn label_of(&self, named: &str) -> String {
        match &self.names {
            UserNames::Hashed(key) if !UserHash::is_like(named) => key.show(named),
            UserNames::Hashed(_) | UserNames::Plain => named.to_owned(),
        }
    }

    /// The user that is shown so, of these; none where names are plain.
    pub fn user_shown_as<'a>(
        &self,
        shown: &str,
        mut users: impl Iterator<Item = &'a str>,
    ) -> Option<&'a str> {
        let is_so = |user: &&str| {
            self.names
                .hash(user)
                .is_some_and(|hash| hash.as_str() == shown)
        };
        users.find(is_so)
    }

    /// A balance with its member as it is shown.
    pub fn show_row(&self, mut row: Row) -> Row {
        if let Some(hash) = self.names.hash(&row.member).filter(|_| row.is_user) {
            hash.as_str().clone_into(&mut row.member);
        }
        row
    }

    /// Lends the record with the name of its user as it is shown.
    pub(super) fn with_shown_user<T>(
        &self,
        record: &Record<'_>,
        then: impl FnOnce(&Record<'_>) -> T,
    ) -> T {
        match record.user.and_then(|user| self.names.hash(user)) {
            None => then(record),
            Some(hash) => then(&Record {
                user: Some(hash.as_str()),
                ..*record
            }),
        }
    }
}

impl UserNames {
    /// The label of a user.
    #[must_use]
    pub fn show<'a>(&self, user: &'a str) -> ShownUser<'a> {
        match self.hash(user) {
            None => ShownUser::Plain(user),
            Some(hash) => ShownUser::Hashed(hash),
        }
    }

    /// The hash of a name; none where names are plain.
    pub(super) fn hash(&self, user: &str) -> Option<UserHash> {
        match self {
            UserNames::Plain => None,
            UserNames::Hashed(key) => Some(key.hash(user)),
        }
    }
}

impl UserKey {
    /// The key that is made of this secret.
    #[must_use]
    pub fn of(secret: &str) -> UserKey {
        UserKey(Zeroizing::new(blake3::derive_key(
            CONTEXT,
            secret.as_bytes(),
        )))
    }

    /// The label of a user, for a search in what was shown.
    #[must_use]
    pub fn show(&self, user: &str) -> String {
        self.hash(user).as_str().to_owned()
    }

    fn hash(&self, user: &str) -> UserHash {
        let hash = blake3::keyed_hash(&self.0, user.as_bytes());
        let mut digits = [b'0'; 2 * SHOWN];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(hash.as_bytes()) {
            for (digit, half) in pair.iter_mut().zip([byte >> 4, byte & 0xf]) {
                *digit = if half < 10 {
                    b'0' + half
                } else {
                    b'a' + half - 10
                };
            }
        }
        UserHash(digits)
    }
}

impl PartialEq for UserKey {
    fn eq(&self, other: &UserKey) -> bool {
        blake3::Hash::from_bytes(*self.0) == blake3::Hash::from_bytes(*other.0)
    }
}

impl Eq for UserKey {}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserKey(..)")
    }
}

impl UserHash {
    /// Whether a text has the form of a hash.
    #[must_use]
    pub fn is_like(text: &str) -> bool {
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        text.len() == 2 * SHOWN && text.bytes().all(is_digit)
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Deref for ShownUser<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            ShownUser::Plain(name) => name,
            ShownUser::Hashed(hash) => hash.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay() {
        assert_eq!(&*UserNames::Plain.show("alice"), "alice");
    }

    #[test]
    fn hashes_depend_on_name_and_key_alone() {
        let one = UserNames::Hashed(UserKey::of("one"));
        let label = one.show("alice");
        // A change of this text breaks the search in logs that are kept.
        assert_eq!(&*label, "f37f3e1f495ff02b");
        assert_eq!(label, UserNames::Hashed(UserKey::of("one")).show("alice"));
        assert_ne!(label, one.show("bob"));
        assert_ne!(label, UserNames::Hashed(UserKey::of("two")).show("alice"));
        assert_eq!(one.show("").len(), 16);
        assert_eq!(format!("{one:?}"), "Hashed(UserKey(..))");
    }
}
