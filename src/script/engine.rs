//! The seam between scripts and their language.

use std::fmt;

use crate::hook::{Answer, Denial, Detached, Phases, Traffic};

/// A compiled script of one thread.
pub(super) trait Engine {
    /// Calls the function of a phase, which the script has. What it wants is in the subject that comes back.
    fn call(&self, phase: Phases, subject: Subject) -> Called;
}

/// What a function of a script gets.
#[derive(Debug)]
pub(super) struct Subject {
    /// The request, response or tunnel.
    pub detached: Detached,
    /// The status of the answer, in the phase `log`.
    pub status: Option<u16>,
    /// What went through a tunnel: since the last call, and in all.
    pub traffic: Option<(Traffic, Traffic)>,
}

/// What a call has done.
#[derive(Debug)]
pub(super) struct Called {
    /// The subject again.
    pub subject: Option<Subject>,
    /// What the function returns, or why it failed.
    pub result: Result<Returned, Failure>,
    /// The operations that it took.
    pub operations: u64,
}

/// What a function returns.
#[derive(Clone, Debug)]
pub(super) enum Returned {
    /// Nothing: the request goes on.
    Nothing,
    /// `deny(..)`
    Denial(Denial),
    /// `answer(..)`
    Answer(Answer),
    /// `cut()`
    Cut,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// For the log: one line without control characters.
    pub reason: Box<str>,
    /// Where.
    pub line: Option<usize>,
    /// Where in the line.
    pub column: Option<usize>,
    /// Whether the script itself throws it.
    pub is_thrown: bool,
    /// Whether it is the request that the script cannot decide about.
    pub is_of_request: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        match self.line {
            Some(line) => write!(f, " (line {line})"),
            None => Ok(()),
        }
    }
}
