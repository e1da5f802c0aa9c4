//! The phase in which a hook says who the client is: the only one that sees credentials.

use std::fmt;

use subtle::ConstantTimeEq as _;

/// What the client proves its identity with. `Debug` shows none of it.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    pub(crate) user: Option<&'a str>,
    pub(crate) password: Option<&'a [u8]>,
    pub(crate) token: Option<&'a str>,
}

/// Who the client is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Authentication {
    /// This hook does not know: the next one is asked, and then the users of the configuration.
    #[default]
    Unknown,
    /// This user.
    User {
        /// The name: not empty, at most 255 bytes, no colon, no control character.
        name: String,
        /// Groups besides those of the group file: at most 64, each of at most 255 bytes.
        groups: Vec<String>,
    },
    /// The credentials are wrong: the client is asked again.
    Refused,
}

impl Credentials<'_> {
    /// The user name of the scheme Basic; none without credentials, and with another scheme.
    pub fn user(&self) -> Option<&str> {
        self.user
    }

    /// The password of the scheme Basic.
    pub fn password(&self) -> Option<&[u8]> {
        self.password
    }

    /// Whether the password is this one. Takes the same time for each wrong one of the same length.
    pub fn is_password(&self, password: &str) -> bool {
        let sent = self.password.unwrap_or_default();
        self.password.is_some() && bool::from(sent.ct_eq(password.as_bytes()))
    }

    /// The token of the scheme Bearer.
    pub fn token(&self) -> Option<&str> {
        self.token
    }
}

impl Authentication {
    /// The longest name of a user or a group, in bytes.
    pub(crate) const MAX_NAME: usize = 255;
    /// The most groups.
    pub(crate) const MAX_GROUPS: usize = 64;

    /// A user without groups of its own.
    pub fn user(name: impl Into<String>) -> Self {
        Self::User {
            name: name.into(),
            groups: Vec::new(),
        }
    }

    /// The same in one group more.
    #[must_use]
    pub fn in_group(mut self, group: impl Into<String>) -> Self {
        if let Self::User { groups, .. } = &mut self {
            groups.push(group.into());
        }
        self
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}
