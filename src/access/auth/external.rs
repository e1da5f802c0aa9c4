//! An external authoriser: a service of the operator's, over HTTP, that decides about requests.
//!
//! ```text
//! Question -> its content, its key -> (the service) -> Answer -> Verdict
//! ```
//!
//! Pure: the caller asks the service. Both sides of the exchange are limited: a question by the limits of request
//! heads, an answer by [`MAX_ANSWER`].

mod answer;
#[cfg(any(test, feature = "internals"))]
pub mod fuzz;
mod question;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::answer::{Answer, AnswerError, Grant, Verdict};
pub use self::question::{Question, QuestionError, QuestionKey};
use crate::http::url::HttpUrl;

/// The longest content of an answer, in bytes.
pub const MAX_ANSWER: usize = 16 * 1024;

/// The longest time for which an answer that admits nothing is kept.
pub const MAX_REFUSED: Duration = Duration::from_secs(1);

/// The authoriser as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// Where it is asked.
    pub url: HttpUrl,
    /// In which form.
    pub mode: Mode,
    /// About which requests.
    pub ask: Ask,
    /// How long a request waits for an answer, its turn included.
    pub timeout: Duration,
    /// How long an answer is kept; zero for not at all.
    pub cache: Duration,
    /// How many answers that admit are kept.
    pub cache_entries: usize,
    /// How many requests to it are under way at once.
    pub concurrency: usize,
    /// What becomes of a request when it does not answer.
    pub on_failure: OnFailure,
    /// Whether it gets the password.
    pub send_password: bool,
}

impl External {
    /// Whether the groups of its answers count in rules.
    pub fn gives_groups(&self) -> bool {
        // By a rule it is asked when the rules are through.
        self.ask != Ask::Rule
    }
}

/// The form of questions and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A POST with a JSON object, answered with another one.
    Json,
    /// A GET with fields, answered by the status, as for `auth_request` of nginx.
    Status,
}

/// About which requests the service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// All that are authenticated: it denies, or adds groups.
    Always,
    /// Those that a rule with `ask` admits: it denies.
    Rule,
    /// Those whose user no file and no network knows: it authenticates.
    UnknownUsers,
}

/// What becomes of a request that the service has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is refused with 503.
    Deny,
    /// It goes on as if the service had not been asked.
    Admit,
}
