//! The htpasswd file: users and their password hashes.
//!
//! Parses text; the caller reads and replaces the file.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use thiserror::Error;

use super::credentials::{Credentials, User, UserError};
use super::hash::{PasswordHash, PasswordHashError};
use crate::text::is_invisible;

/// Selects decoys; see [`Htpasswd::verify`]. One for the life of the process,
/// so that a reload does not change the cost of an unknown user.
static DECOY_KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The users of one htpasswd file.
#[derive(Clone)]
pub struct Htpasswd {
    /// Which file it is, of those that were read one after the other.
    generation: u64,
    known: Vec<Arc<KnownUser>>,
    /// Index into `known`.
    users: HashMap<User, usize>,
}

/// A user with a hash, in all the files, one after the other, that have both.
pub struct KnownUser {
    user: User,
    hash: PasswordHash,
    /// The generation of the first of these files.
    since: AtomicU64,
    /// That of the first file that has them no more.
    until: AtomicU64,
}

impl KnownUser {
    fn new(user: User, hash: PasswordHash) -> Self {
        Self {
            user,
            hash,
            since: AtomicU64::new(0),
            until: AtomicU64::new(u64::MAX),
        }
    }

    pub(super) fn user(&self) -> &User {
        &self.user
    }

    /// Tells hashes of one name apart.
    pub(super) fn since(&self) -> u64 {
        // What is seen here was written before the file was in use.
        self.since.load(Ordering::Relaxed)
    }

    /// Whether the file of that generation has this user with this hash.
    pub(super) fn is_in(&self, generation: u64) -> bool {
        (self.since()..self.until.load(Ordering::Relaxed)).contains(&generation)
    }
}

/// A line that cannot be used. Never contains the text after the user name.
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
    /// Nothing separates user and hash. The line may be a password, so it
    /// is not shown.
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

/// Why a text cannot be a user name in a password file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// No client can send it.
    #[error(transparent)]
    User(#[from] UserError),
    /// The line would be a comment.
    #[error("the user name begins with #, which starts a comment")]
    Comment,
    /// A space before or after the name; clients send the name without it.
    #[error("the user name begins or ends with a space")]
    Space,
    /// Two names that look the same would differ.
    #[error("the user name has an invisible character, U+{:04X}", u32::from(*.0))]
    Invisible(char),
    /// `"alice"`
    #[error("the user name is in quotes, which would be part of the name")]
    Quoted,
}

/// Parses a user name for a line of a password file.
///
/// # Errors
/// One variant of [`NameError`] for each rule.
pub fn parse_name(name: &str) -> Result<User, NameError> {
    if let Some(c) = name.chars().find(|c| is_invisible(*c)) {
        return Err(NameError::Invisible(c));
    }
    written_well(name, User::parse(name)?)
}

/// As [`parse_name`], for a user that may also be one of a token: such a name may have colons.
///
/// # Errors
/// One variant of [`NameError`] for each rule.
pub fn parse_any_name(name: &str) -> Result<User, NameError> {
    if name.contains(':')
        && let Ok(user) = User::of_token(name)
    {
        return written_well(name, user);
    }
    parse_name(name)
}

fn written_well(name: &str, user: User) -> Result<User, NameError> {
    let bytes = name.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(b'#'), _) => Err(NameError::Comment),
        (Some(b' '), _) | (_, Some(b' ')) => Err(NameError::Space),
        (Some(first @ (b'"' | b'\'' | b'`')), Some(last)) if first == last && name.len() > 1 => {
            Err(NameError::Quoted)
        }
        // Curved quotes close with another character.
        _ if name.starts_with(['\u{201c}', '\u{201e}', '\u{2018}', '\u{201a}', '\u{ab}']) => {
            Err(NameError::Quoted)
        }
        _ => Ok(user),
    }
}

impl LineProblem {
    /// The remedy; `file` is the name of the file in a command.
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

/// The name for a command line, or `USER` if it would need quotes.
fn shell_word(user: &User) -> &str {
    let is_plain = |c: char| c.is_alphanumeric() || "._@+=/%-".contains(c);
    let name = user.as_str();
    if name.starts_with('-') || !name.chars().all(is_plain) {
        "USER"
    } else {
        name
    }
}

/// One line, parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HtpasswdLine<'a> {
    /// Blank, or a comment.
    Nothing,
    /// No colon.
    NoColon,
    /// A user and the text of the hash.
    Entry { user: &'a str, hash: &'a str },
}

impl Htpasswd {
    /// Parses the text of a file: `user:hash` lines, blank lines and lines that
    /// begin with `#`. A second colon begins a remark, as in nginx. Spaces and
    /// tabs at both ends of a line and around the hash are ignored.
    ///
    /// # Errors
    /// Every invalid line, in order. A file with one is not used at all: an
    /// operator would notice a missing user late.
    pub fn parse(text: &str) -> Result<Self, Vec<LineError>> {
        use PasswordHashError::{DesCrypt, Unknown};

        let mut errors = Vec::new();
        let mut known = Vec::new();
        let mut users = HashMap::new();
        let mut seen = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let mut reject = |problem| {
                errors.push(LineError {
                    line: number,
                    problem,
                })
            };
            let (user, hash) = match HtpasswdLine::parse(line) {
                HtpasswdLine::Nothing => continue,
                HtpasswdLine::NoColon => {
                    reject(LineProblem::NoColon);
                    continue;
                }
                HtpasswdLine::Entry { user, hash } => (user, hash),
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
                // In a htdigest line, the realm is in the place of the hash.
                Err(Unknown | DesCrypt) if is_htdigest(line) => reject(LineProblem::Hash {
                    user,
                    problem: PasswordHashError::Htdigest,
                }),
                Ok(hash) => {
                    users.insert(user.clone(), known.len());
                    known.push(Arc::new(KnownUser::new(user, hash)));
                }
                Err(problem) => reject(LineProblem::Hash { user, problem }),
            }
        }
        if errors.is_empty() {
            Ok(Self {
                generation: 0,
                known,
                users,
            })
        } else {
            Err(errors)
        }
    }

    /// Whether the password is that of the user. Slow by design.
    ///
    /// An unknown user costs as much as some known user: the password is
    /// verified against the hash of a user selected by a keyed hash of the name,
    /// and the result is ignored. With one fixed decoy, in a file of several
    /// formats, a name whose time differs from the decoy's would be a real user;
    /// with a selected one, the times of unknown names are distributed like those
    /// of known names, and the same name always takes the same time.
    pub fn verify(&self, credentials: &Credentials) -> bool {
        self.authenticate(credentials).is_some()
    }

    /// As [`verify`](Self::verify): the user whose password it is.
    pub(super) fn authenticate(&self, credentials: &Credentials) -> Option<&Arc<KnownUser>> {
        let user = credentials.user.as_str();
        let known = self.users.get(user).copied();
        let index = known.or_else(|| self.decoy(user));
        let verified = index
            .and_then(|index| self.known.get(index))
            .is_some_and(|known| known.hash.verify(credentials.password.expose()));
        known
            .filter(|_| verified)
            .and_then(|index| self.known.get(index))
    }

    /// Becomes the file after `before`: users whose hash is the same stay the same [`KnownUser`], and the others of
    /// `before` are in no further file. To be called before this file is in use.
    pub fn succeed(&mut self, before: &Htpasswd) {
        self.generation = before.generation + 1;
        for known in &mut self.known {
            match before.known(known.user.as_str()) {
                Some(old) if old.hash == known.hash => *known = Arc::clone(old),
                _ => known.since.store(self.generation, Ordering::Relaxed),
            }
        }
        for old in &before.known {
            let kept = self.known(old.user.as_str());
            if !kept.is_some_and(|kept| Arc::ptr_eq(kept, old)) {
                old.until.store(self.generation, Ordering::Relaxed);
            }
        }
    }

    /// Which file it is, of those that were read one after the other.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// A user with the hash.
    pub(super) fn known(&self, user: &str) -> Option<&Arc<KnownUser>> {
        self.known.get(*self.users.get(user)?)
    }

    /// Whether the file has this user.
    pub fn contains(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// The users, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(|known| known.user.as_str())
    }

    /// The number of users.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is no user, so that every request is refused.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// `None` in a file without users, which reveals nothing.
    fn decoy(&self, user: &str) -> Option<usize> {
        // The width of `usize` does not matter for the choice.
        (DECOY_KEY.hash_one(user) as usize).checked_rem(self.known.len())
    }
}

impl fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Htpasswd")
            .field("users", &self.users.len())
            .finish_non_exhaustive()
    }
}

impl<'a> HtpasswdLine<'a> {
    /// Parses a line, with or without its end.
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
