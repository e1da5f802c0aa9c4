//! How a hook ends a request.

use super::{Answer, Denial, HookError, Phases};

/// Why a request does not go on after a phase.
#[derive(Debug)]
pub struct Stop {
    /// The hook, by its name.
    pub by: Box<str>,
    /// The phase, by its name.
    pub phase: &'static str,
    /// What the client gets.
    pub how: How,
}

/// See [`Stop`].
#[derive(Debug)]
pub enum How {
    /// A denial.
    Denied(Denial),
    /// An answer in place of a server's.
    Answered(Answer),
    /// The hook failed, with the reason for the log.
    Failed(Box<str>),
    /// The request is one that the hook cannot decide about, with the reason for the log.
    Ambiguous(Box<str>),
}

impl How {
    pub(super) fn of(error: &HookError) -> Self {
        let reason = error.reason().into();
        match error.is_of_request() {
            true => How::Ambiguous(reason),
            false => How::Failed(reason),
        }
    }
}

impl Stop {
    pub(super) fn failed(by: &str, phase: Phases, error: &HookError) -> Self {
        Self {
            by: by.into(),
            phase: phase.name(),
            how: How::of(error),
        }
    }
}
