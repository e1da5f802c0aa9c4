//! Answers of the admin service, before they are written.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::events::Feed;
use super::problem::Problem;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) fields: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Body,
    /// What was changed, for the log; none where the path says it.
    pub(super) change: Option<String>,
}

/// What an answer says.
#[derive(Debug)]
pub(super) enum Body {
    /// All of it.
    Whole(Bytes),
    /// As JSON below `/api/`, else as text.
    Problem { kind: Problem, message: String },
    /// Server-Sent Events, as they happen.
    Events(Box<Feed>),
}

impl Answer {
    /// This content. Not to be kept by a cache, unless a field says otherwise.
    pub(super) fn of(content_type: &'static str, content: impl Into<Bytes>) -> Self {
        let answer = Self {
            status: StatusCode::OK,
            fields: Vec::new(),
            body: Body::Whole(content.into()),
            change: None,
        };
        answer
            .with(CONTENT_TYPE, HeaderValue::from_static(content_type))
            .with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }

    /// A text for people.
    pub(super) fn text(content: impl Into<String>) -> Self {
        Self::of(TEXT, content.into())
    }

    /// A value as JSON.
    pub(super) fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(mut body) => {
                body.push(b'\n');
                Self::of(JSON, body)
            }
            // A map whose keys are no text, which no answer has.
            Err(_) => Self::internal(),
        }
    }

    /// A stream of events.
    pub(super) fn events(feed: Feed) -> Self {
        Self {
            body: Body::Events(Box::new(feed)),
            ..Self::of("text/event-stream", Bytes::new())
        }
    }

    /// Nothing to say, and nothing went wrong.
    pub(super) fn nothing() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            fields: vec![(CACHE_CONTROL, HeaderValue::from_static("no-store"))],
            body: Body::Whole(Bytes::new()),
            change: None,
        }
    }

    /// A request that is not answered as it wants. `message` is for people.
    pub(super) fn problem(kind: Problem, message: impl Into<String>) -> Self {
        Self {
            status: kind.status(),
            fields: vec![(CACHE_CONTROL, HeaderValue::from_static("no-store"))],
            body: Body::Problem {
                kind,
                message: message.into(),
            },
            change: None,
        }
    }

    /// The request cannot be read.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::problem(Problem::Malformed, message)
    }

    /// There is nothing of this name.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::problem(Problem::NotFound, message)
    }

    /// Another method.
    pub(super) fn method_not_allowed(allowed: &str) -> Self {
        let message = format!("the methods are {allowed}");
        Self::problem(Problem::MethodNotAllowed, message).with_text(ALLOW, allowed)
    }

    /// A mistake in this program, or a system that has no more threads.
    pub(super) fn internal() -> Self {
        Self::problem(Problem::Internal, "failed")
    }

    /// The same with a user asked for (RFC 7617).
    pub(super) fn with_challenge(self) -> Self {
        let challenge = "Basic realm=\"tollgate admin\", charset=\"UTF-8\"";
        self.with(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    /// The same, to be tried again after so many seconds.
    pub(super) fn retry_after(self, seconds: u64) -> Self {
        self.with(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// The same with another status.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The same with what was changed.
    pub(super) fn with_change(self, change: String) -> Self {
        Self {
            change: Some(change),
            ..self
        }
    }

    /// The same with this field, in place of one of the same name.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.retain(|(other, _)| *other != name);
        self.fields.push((name, value));
        self
    }

    /// The same with this field, if the text can be the value of one.
    pub(super) fn with_text(self, name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => self.with(name, value),
            Err(_) => self,
        }
    }

    /// The same with a problem as JSON, or as text.
    pub(super) fn rendered(self, as_json: bool) -> Self {
        let Body::Problem { kind, message } = &self.body else {
            return self;
        };
        let (content_type, body) = match as_json {
            true => {
                let body = json!({"error": kind.kind(), "message": message});
                (JSON, format!("{body}\n"))
            }
            false => (TEXT, format!("{message}\n")),
        };
        Self {
            body: Body::Whole(body.into()),
            ..self
        }
        .with(CONTENT_TYPE, HeaderValue::from_static(content_type))
    }
}
