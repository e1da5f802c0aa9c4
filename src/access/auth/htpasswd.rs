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
use crate::text::is_invisible;

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
#[error("line {line}: {problem}; {}", .problem.remedy("FILE"))]
pub struct LineError {
    /// Counted from one.
    pub line: usize,
    /// What is wrong.
    pub problem: LineProblem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LineProblem {
    /// Nothing divides user and hash. The line may be a password, so none of it
    /// is shown.
    #[error("no colon after the user name")]
    NoColon,
    /// The user name breaks a rule.
    #[error("{0}")]
    User(#[source] NameError),
    /// The user has a line already.
    #[error("user {:?} is on line {first} already", .user.as_str())]
    Duplicate {
        /// The user name.
        user: User,
        /// The line that has the user first.
        first: usize,
    },
    /// The hash cannot be used.
    #[error("user {:?}: {problem}", .user.as_str())]
    Hash {
        /// The user name.
        user: User,
        /// What is wrong with the hash.
        problem: PasswordHashError,
    },
}

/// Why no line of a password file can have a text as user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// No client can send it.
    #[error(transparent)]
    User(#[from] UserError),
    /// The line would be a comment.
    #[error("the user name begins with #, which begins a comment")]
    Comment,
    /// Before or after the name; the name that it seems to be would not be found.
    #[error("the user name begins or ends with a space")]
    Space,
    /// Two names that look the same would not be the same.
    #[error("the user name has an invisible character, U+{:04X}", u32::from(*.0))]
    Invisible(char),
    /// `"alice"`
    #[error("the user name is in quotes, which would be a part of it")]
    Quoted,
}

/// A user name as a line of a password file can have it.
///
/// # Errors
/// One variant of [`NameError`] for each rule.
pub fn parse_name(name: &str) -> Result<User, NameError> {
    if let Some(c) = name.chars().find(|c| is_invisible(*c)) {
        return Err(NameError::Invisible(c));
    }
    let user = User::parse(name)?;
    let bytes = name.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(b'#'), _) => Err(NameError::Comment),
        (Some(b' '), _) | (_, Some(b' ')) => Err(NameError::Space),
        (Some(first @ (b'"' | b'\'' | b'`')), Some(last)) if first == last && name.len() > 1 => {
            Err(NameError::Quoted)
        }
        // Curved ones have a pair that is another character.
        _ if name.starts_with(['\u{201c}', '\u{201e}', '\u{2018}', '\u{201a}', '\u{ab}']) => {
            Err(NameError::Quoted)
        }
        _ => Ok(user),
    }
}

impl LineProblem {
    /// What to do about it; `file` is what to call the file in a command.
    #[must_use]
    pub fn remedy(&self, file: &str) -> String {
        match self {
            LineProblem::NoColon => {
                format!("write lines with `tollgate passwd {file} USER`; a comment begins with #")
            }
            LineProblem::User(_) => {
                format!("remove the line and add the user with `tollgate passwd {file} USER`")
            }
            LineProblem::Duplicate { .. } => "remove one of the two".to_owned(),
            LineProblem::Hash { user, problem } => match problem.edit() {
                Some(edit) => edit.to_owned(),
                None => {
                    let why = if problem.is_other_format() {
                        "a hash cannot be converted, so "
                    } else {
                        ""
                    };
                    let user = shell_word(user);
                    format!("{why}set a new password with `tollgate passwd {file} {user}`")
                }
            },
        }
    }
}

/// The name for a command line, where it needs no quotes there.
fn shell_word(user: &User) -> &str {
    let is_plain = |c: char| c.is_alphanumeric() || "._@+=/%-".contains(c);
    let name = user.as_str();
    if name.starts_with('-') || !name.chars().all(is_plain) {
        "USER"
    } else {
        name
    }
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
    /// begin with `#`. A second colon begins a remark, as in nginx. Spaces and
    /// tabs at both ends of a line and around the hash count for nothing.
    ///
    /// # Errors
    /// Every bad line, in order. A file with one is not used at all: a user who
    /// silently vanished is found late.
    pub fn parse(text: &str) -> Result<Self, Vec<LineError>> {
        use PasswordHashError::{DesCrypt, Unknown};

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
            let user = match parse_name(user) {
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
                // Its realm takes the place of the hash.
                Err(Unknown | DesCrypt) if is_htdigest(line) => reject(LineProblem::Hash {
                    user,
                    problem: PasswordHashError::Htdigest,
                }),
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
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with('#') {
            return Self::Nothing;
        }
        let Some((user, rest)) = line.split_once(':') else {
            return Self::NoColon;
        };
        let hash = rest.split(':').next().unwrap_or_default();
        let hash = hash.trim_ascii();
        Self::Entry { user, hash }
    }
}

/// `user:realm:` and 32 hexadecimal digits.
fn is_htdigest(line: &str) -> bool {
    let digest = line.trim_ascii().rsplit(':').next().unwrap_or_default();
    digest.len() == 32
        && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
        && line.matches(':').count() == 2
}

#[cfg(test)]
mod tests;
