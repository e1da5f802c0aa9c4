//! The one error that a request can end in, and what each kind of it means to
//! the client, the log, the metrics and `Proxy-Status`.
//!
//! Pure: no I/O. The modules that can fail keep their own small errors and turn
//! them into a [`RequestError`] themselves, so this file knows none of them.

mod kind;
mod next_hop;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

pub use self::kind::{ErrorKind, Side};
pub use self::next_hop::NextHop;
use super::answer::Answer;
use super::denial::Denial;

/// A request that did not get what it asked for: the kind that the client and
/// the metrics see, and the cause that only the log sees.
#[derive(Debug)]
pub struct RequestError {
    kind: ErrorKind,
    status: Option<StatusCode>,
    message: Option<Arc<str>>,
    denial: Option<Arc<Denial>>,
    /// Boxed: most errors have none of it.
    told: Option<Box<Told>>,
    retry_after: Option<Duration>,
    answer: Option<Arc<Answer>>,
    /// Boxed: few errors have it.
    next_hop: Option<Box<NextHop>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What a client is told beyond the kind.
#[derive(Clone, Debug)]
struct Told {
    word: Box<str>,
    resets_at: Option<Box<str>>,
}

impl RequestError {
    /// An error without a further cause.
    pub fn new(kind: ErrorKind) -> Self {
        Self {
            kind,
            status: None,
            message: None,
            denial: None,
            told: None,
            retry_after: None,
            answer: None,
            next_hop: None,
            source: None,
        }
    }

    /// Not an error of anyone's: the request is answered with this and goes no further.
    pub fn answered(answer: Answer) -> Self {
        Self {
            answer: Some(Arc::new(answer)),
            ..Self::new(ErrorKind::Denied)
        }
    }

    /// The answer, where the request did not fail.
    pub fn answer(&self) -> Option<&Answer> {
        self.answer.as_deref()
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// A request that the policy denies, answered with this status.
    pub fn denied(denial: Denial, status: StatusCode) -> Self {
        let kind = denial.kind();
        Self {
            status: Some(status),
            denial: Some(Arc::new(denial)),
            ..Self::new(kind)
        }
    }

    /// Answers with this status in place of that of the kind.
    #[must_use]
    pub fn answered_with(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// The same from an origin (RFC 9110 §3.7): credentials are asked for with 401 (§15.5.2).
    #[must_use]
    pub fn of_an_origin(mut self) -> Self {
        let text = match self.kind {
            ErrorKind::CredentialsMissing => {
                "This server needs credentials: send Basic authorization."
            }
            ErrorKind::CredentialsMalformed => {
                "The credentials cannot be read: send Basic authorization."
            }
            ErrorKind::CredentialsWrong | ErrorKind::TokenInvalid | ErrorKind::TokenExpired => {
                self.kind.text()
            }
            _ => return self,
        };
        self.status = Some(StatusCode::UNAUTHORIZED);
        self.message.get_or_insert_with(|| text.into());
        self
    }

    /// Tells the client more than the kind, in a word or two: "expired". It names no address,
    /// user or policy entry, and has no quotes.
    #[must_use]
    pub fn told(mut self, word: impl Into<Box<str>>) -> Self {
        let word: Box<str> = word.into();
        let text = self.kind.text().trim_end_matches('.');
        self.message = Some(format!("{text}: {word}.").into());
        self.told = Some(Box::new(Told {
            word,
            resets_at: None,
        }));
        self
    }

    /// Tells the client a sentence of the operator's in the place of that of the kind. It has no control characters.
    #[must_use]
    pub fn saying(mut self, message: Arc<str>) -> Self {
        self.message = Some(message);
        self
    }

    /// Tells the client when to come back (RFC 9110 §10.2.3).
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Tells the client when the quota that it was [told](Self::told) begins anew, as a time of RFC 3339.
    #[must_use]
    pub fn resets_at(mut self, moment: impl Into<Box<str>>) -> Self {
        if let Some(told) = &mut self.told {
            told.resets_at = Some(moment.into());
        }
        self
    }

    /// The same error for another owner; its causes become text.
    #[must_use]
    pub fn repeat(&self) -> Self {
        Self {
            kind: self.kind,
            status: self.status,
            message: self.message.clone(),
            denial: self.denial.clone(),
            told: self.told.clone(),
            retry_after: self.retry_after,
            answer: self.answer.clone(),
            next_hop: self.next_hop.clone(),
            source: self.detail().map(Into::into),
        }
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The status code that the client gets.
    pub fn status(&self) -> StatusCode {
        self.status.unwrap_or(self.kind.status())
    }

    /// What a person is told: the kind's sentence, or the operator's own. Without
    /// control characters.
    pub fn text(&self) -> &str {
        let message = self.message.as_deref();
        let denial = || self.denial.as_ref().map(|denial| denial.text());
        message.or_else(denial).unwrap_or(self.kind.text())
    }

    /// What the client is told of a denial; none for every other error.
    pub fn denial(&self) -> Option<&Arc<Denial>> {
        self.denial.as_ref()
    }

    /// What the client is told besides, see [`told`](Self::told).
    pub fn word(&self) -> Option<&str> {
        self.told.as_ref().map(|told| &*told.word)
    }

    /// When the client may come back, where that is known.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.retry_after
    }

    /// When a quota begins anew, if the error is about one.
    pub fn reset_time(&self) -> Option<&str> {
        self.told.as_ref()?.resets_at.as_deref()
    }

    /// The whole chain of causes, for the log alone.
    pub fn chain(&self) -> String {
        match self.detail() {
            Some(detail) => format!("{self}: {detail}"),
            None => self.to_string(),
        }
    }

    /// The same without the kind; none without a cause.
    pub fn detail(&self) -> Option<String> {
        let mut cause = self.source()?;
        let mut text = cause.to_string();
        while let Some(error) = cause.source() {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error;
        }
        Some(text)
    }
}

impl From<ErrorKind> for RequestError {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())
    }
}

impl StdError for RequestError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|error| error as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests;
