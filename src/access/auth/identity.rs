//! The result of authentication: the user, and what a token or an external authoriser says beside it.

use std::sync::Arc;
use std::time::SystemTime;

use super::credentials::User;

/// Who sends a request. Cheap to clone; that of a password allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    user: User,
    /// None: a password, or the network of the client.
    facts: Option<Arc<IdentityFacts>>,
}

/// What a verified token or an authoriser says. Its size is limited, see [`super::tokens`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct IdentityFacts {
    /// The groups of the configured claim, or of the answer, each once.
    pub(super) groups: Vec<Box<str>>,
    /// Claims that are text, numbers or flags, by name.
    pub(super) claims: Vec<(Box<str>, Box<str>)>,
    /// Of a token, always; of an authoriser, never.
    pub(super) expires: Option<SystemTime>,
}

impl IdentityFacts {
    /// The claims: name and text.
    pub fn claims(&self) -> &[(Box<str>, Box<str>)] {
        &self.claims
    }

    /// The groups.
    pub fn groups(&self) -> &[Box<str>] {
        &self.groups
    }
}

impl Identity {
    pub(super) fn with_facts(user: User, facts: IdentityFacts) -> Self {
        Self {
            user,
            facts: Some(Arc::new(facts)),
        }
    }

    /// The same with further groups.
    #[must_use]
    pub fn with_groups(self, more: &[Box<str>]) -> Self {
        if more.is_empty() {
            return self;
        }
        let mut groups = self.groups().to_vec();
        let new = more.iter().filter(|group| !self.groups().contains(group));
        groups.extend(new.cloned());
        let facts = IdentityFacts {
            groups,
            claims: self.claims().to_vec(),
            expires: self.expires(),
        };
        Self::with_facts(self.user, facts)
    }

    /// The user, by its password, its token or its network.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// What there is beside the user, to keep it.
    pub fn facts(&self) -> Option<Arc<IdentityFacts>> {
        self.facts.clone()
    }

    /// The groups that the token and the authoriser say. Those of the group file are not among them.
    pub fn groups(&self) -> &[Box<str>] {
        self.facts.as_deref().map_or(&[], |facts| &facts.groups)
    }

    /// The scalar claims of the token as name and text: a limited number, in the order of the token.
    pub fn claims(&self) -> &[(Box<str>, Box<str>)] {
        self.facts.as_deref().map_or(&[], |facts| &facts.claims)
    }

    /// When the token is accepted no longer: its `exp` and the leeway. None for a password.
    pub fn expires(&self) -> Option<SystemTime> {
        self.facts.as_deref().and_then(|facts| facts.expires)
    }
}

impl From<User> for Identity {
    fn from(user: User) -> Self {
        Self { user, facts: None }
    }
}
