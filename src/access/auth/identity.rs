//! The result of authentication: the user, and what a token says beside it.

use std::sync::Arc;
use std::time::SystemTime;

use super::credentials::User;

/// Who sends a request. Cheap to clone; that of a password allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    user: User,
    /// None: a password, or the network of the client.
    token: Option<Arc<TokenFacts>>,
}

/// What a verified token says. Its size is limited, see [`super::tokens`].
#[derive(Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// The groups of the configured claim, each once.
    pub(super) groups: Vec<Box<str>>,
    /// Claims that are text, numbers or flags, by name.
    pub(super) claims: Vec<(Box<str>, Box<str>)>,
    /// None: not by time.
    pub(super) expires: Option<SystemTime>,
}

impl Identity {
    pub(super) fn of_token(user: User, facts: TokenFacts) -> Self {
        Self {
            user,
            token: Some(Arc::new(facts)),
        }
    }

    /// A user with these groups, besides those of the group file.
    pub fn with_groups(user: User, groups: Vec<Box<str>>) -> Self {
        let facts = TokenFacts {
            groups,
            claims: Vec::new(),
            expires: None,
        };
        let token = (!facts.groups.is_empty()).then(|| Arc::new(facts));
        Self { user, token }
    }

    /// The user, by its password, its token or its network.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// The groups that the token says. Those of the group file are not among them.
    pub fn groups(&self) -> &[Box<str>] {
        self.token.as_deref().map_or(&[], |token| &token.groups)
    }

    /// The scalar claims of the token as name and text: a limited number, in the order of the token.
    pub fn claims(&self) -> &[(Box<str>, Box<str>)] {
        self.token.as_deref().map_or(&[], |token| &token.claims)
    }

    /// When the token is accepted no longer: its `exp` and the leeway. None for a password.
    pub fn expires(&self) -> Option<SystemTime> {
        self.token.as_deref()?.expires
    }
}

impl From<User> for Identity {
    fn from(user: User) -> Self {
        Self { user, token: None }
    }
}
