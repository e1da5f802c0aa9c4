//! The htpasswd file: which users there are and what their passwords hash to.
//!
//! Works on text. Reading the file, watching it and deciding when a new one
//! counts is for the caller.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use thiserror::Error;

use super::credentials::{Credentials, User, UserError};
use super::hash::{PasswordHash, PasswordHashError};

/// Chooses decoys; see [`Htpasswd::verify`]. One for the life of the process,
/// so that a reload does not change what an unknown user costs.
static DECOY_KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The users of one htpasswd file.
pub struct Htpasswd {
    hashes: Vec<PasswordHash>,
    /// Index into `hashes`.
    users: HashMap<User, usize>,
}

/// A line that cannot be used. Never holds what follows the user name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct LineError {
    /// Counted from one.
    pub line: usize,
    /// What is wrong, and what to do.
    pub problem: LineProblem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LineProblem {
    /// Nothing divides user and hash. The line may be a password, so none of it
    /// is shown.
    #[error("no colon after the user name; write lines with `tollgate passwd FILE USER`")]
    NoColon,
    /// The user name breaks a rule.
    #[error("{0}; remove the line and add the user with `tollgate passwd FILE USER`")]
    User(#[source] UserError),
    /// The user has a line already.
    #[error("user {:?} is on line {first} already; remove one of the two", .user.as_str())]
    Duplicate {
        /// The user name.
        user: User,
        /// The line that has the user first.
        first: usize,
    },
    /// The hash cannot be used.
    #[error("user {:?}: {problem}; make a new one with `tollgate passwd FILE USER`", .user.as_str())]
    Hash {
        /// The user name.
        user: User,
        /// What is wrong with the hash.
        problem: PasswordHashError,
    },
}

/// One line, divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Blank, or a comment.
    Nothing,
    /// No colon.
    NoColon,
    /// A user and the text of the hash.
    Entry { user: &'a str, hash: &'a str },
}

impl Htpasswd {
    /// Reads the text of a file: `user:hash` lines, blank lines and lines that
    /// begin with `#`; LF or CRLF. A second colon begins a remark, as in nginx.
    ///
    /// # Errors
    /// Every bad line, in order. A file with one is not used at all: a user who
    /// silently vanished is found late.
    pub fn parse(text: &str) -> Result<Self, Vec<LineError>> {
        let mut errors = Vec::new();
        let mut hashes = Vec::new();
        let mut users = HashMap::new();
        let mut seen = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let mut reject = |problem| {
                errors.push(LineError {
                    line: number,
                    problem,
                })
            };
            let (user, hash) = match Line::parse(line) {
                Line::Nothing => continue,
                Line::NoColon => {
                    reject(LineProblem::NoColon);
                    continue;
                }
                Line::Entry { user, hash } => (user, hash),
            };
            let user = match User::parse(user) {
                Ok(user) => user,
                Err(error) => {
                    reject(LineProblem::User(error));
                    continue;
                }
            };
            if let Some(first) = seen.get(&user) {
                reject(LineProblem::Duplicate {
                    user: user.clone(),
                    first: *first,
                });
            } else {
                seen.insert(user.clone(), number);
            }
            match PasswordHash::parse(hash) {
                Ok(hash) => {
                    users.insert(user, hashes.len());
                    hashes.push(hash);
                }
                Err(problem) => reject(LineProblem::Hash { user, problem }),
            }
        }
        if errors.is_empty() {
            Ok(Self { hashes, users })
        } else {
            Err(errors)
        }
    }

    /// Whether the password is that of the user. Slow by design.
    ///
    /// An unknown user costs what some known user costs: the password is
    /// verified against the hash of a user picked by a keyed hash of the name,
    /// and the answer thrown away. With one fixed decoy every name that takes
    /// another time than the decoy would be a real user in a file of several
    /// formats; this way the times of unknown names spread like those of the
    /// known ones, and a name asked again takes the same time again.
    pub fn verify(&self, credentials: &Credentials) -> bool {
        let user = credentials.user.as_str();
        let known = self.users.get(user).copied();
        let index = known.or_else(|| self.decoy(user));
        let verified = index
            .and_then(|index| self.hashes.get(index))
            .is_some_and(|hash| hash.verify(credentials.password.expose()));
        verified & known.is_some()
    }

    /// Whether the file has this user.
    pub fn contains(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is no user, so that nobody can be admitted.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// `None` in a file without users, where there is nothing to find out.
    fn decoy(&self, user: &str) -> Option<usize> {
        // A remainder on either width is as good a choice.
        (DECOY_KEY.hash_one(user) as usize).checked_rem(self.hashes.len())
    }
}

impl fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Htpasswd")
            .field("users", &self.users.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Line<'a> {
    /// Divides a line; its end may be there or not.
    pub(super) fn parse(line: &'a str) -> Self {
        // Editors on Windows begin a file with a byte order mark.
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.starts_with('#') {
            return Self::Nothing;
        }
        let Some((user, rest)) = line.split_once(':') else {
            return Self::NoColon;
        };
        let hash = rest.split(':').next().unwrap_or_default().trim();
        Self::Entry { user, hash }
    }
}

#[cfg(test)]
mod tests;
