//! The client of the admin service: `tollgate reload` and `tollgate top` ask the running process with it.

mod answer;
mod service;

use std::io;
use std::time::Duration;

use serde::Deserialize;

pub use self::answer::Reply;
pub use self::service::{Service, ServiceError, Stream, Trust};
use crate::text::system_message;

/// Reading lists of millions of domains takes seconds.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(300);

/// The outcome of a reload.
#[derive(Debug, PartialEq, Eq)]
pub enum ReloadAnswer {
    /// Every change is in effect.
    Complete(Changes),
    /// Some changed keys need a restart.
    Partial(Changes),
    /// The file has errors, and nothing was changed: the errors, and the number of further ones.
    Refused(Vec<String>, usize),
}

/// The answer to a successful reload, as in docs/operations.md.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Changes {
    /// The number of users.
    pub users: usize,
    /// The number of rules.
    pub rules: usize,
    /// Changed keys that are in effect now.
    pub applied: Vec<String>,
    /// Changed keys that need a restart.
    pub restart_needed: Vec<String>,
    /// Keys whose files the process cannot read.
    pub not_compared: Vec<String>,
}

#[derive(Deserialize)]
struct Refusal {
    problems: Vec<String>,
    unlisted: usize,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The method.
    pub method: &'static str,
    /// The path, with a query.
    pub path: &'a str,
    /// JSON to send.
    pub body: Option<&'a [u8]>,
    /// How long the service may be silent.
    pub silence: Duration,
    /// How long all of the answer may take; none for a stream of events.
    pub time: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The service cannot be reached, or ends the connection.
    #[error("the admin service on {name} cannot be reached: {}", system_message(.error))]
    Io {
        /// The address of the service, or its URL.
        name: String,
        /// The error of the system, or of TLS.
        error: io::Error,
    },
    /// It does not know who asks.
    #[error(
        "the admin service on {0} does not know you; name a user with --user, or a certificate with --cert"
    )]
    Unknown(String),
    /// It does not do this.
    #[error("the admin service on {name} refuses this: {message}")]
    Refused {
        /// The address of the service, or its URL.
        name: String,
        /// What it says.
        message: String,
    },
    /// Another program answers there.
    #[error("the server on {0} is not the admin service of Tollgate")]
    Other(String),
}

/// Requests a reload from an admin service, and waits for the outcome.
///
/// # Errors
/// The service cannot be reached, or its answer is not that of this version.
pub fn reload(service: &Service) -> Result<ReloadAnswer, AskError> {
    let reply = service.ask(&Ask {
        method: "POST",
        path: "/reload",
        body: None,
        silence: RELOAD_TIMEOUT,
        time: None,
    })?;
    let (status, name) = (reply.status, service.name().to_owned());
    if status == 401 {
        return Err(AskError::Unknown(name));
    }
    let body = service.read(reply)?;
    if status == 403 {
        let message = first_line(&body);
        return Err(AskError::Refused { name, message });
    }
    read_outcome(status, &body).ok_or_else(|| AskError::Other(service.name().to_owned()))
}

/// What a person reads of a text that another program has sent.
fn first_line(body: &[u8]) -> String {
    const MAX_MESSAGE: usize = 400;
    let text = String::from_utf8_lossy(body);
    let line = text.lines().next().unwrap_or_default();
    let line = line.chars().filter(|letter| !letter.is_control());
    line.take(MAX_MESSAGE).collect()
}

fn read_outcome(status: u16, body: &[u8]) -> Option<ReloadAnswer> {
    if status != 200 {
        let refusal: Refusal = serde_json::from_slice(body).ok()?;
        return Some(ReloadAnswer::Refused(refusal.problems, refusal.unlisted));
    }
    let changes: Changes = serde_json::from_slice(body).ok()?;
    Some(if changes.restart_needed.is_empty() {
        ReloadAnswer::Complete(changes)
    } else {
        ReloadAnswer::Partial(changes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes() {
        let complete = "{\"result\":\"success\",\"users\":2,\"rules\":1,\"applied\":[\"tollgate.policy.rules\"],\
                        \"restart_needed\":[],\"not_compared\":[]}\n";
        let expected = Changes {
            users: 2,
            rules: 1,
            applied: vec!["tollgate.policy.rules".to_owned()],
            ..Changes::default()
        };
        assert_eq!(
            read_outcome(200, complete.as_bytes()),
            Some(ReloadAnswer::Complete(expected))
        );
        let partial = complete.replace("\"restart_needed\":[]", "\"restart_needed\":[\"threads\"]");
        assert!(matches!(
            read_outcome(200, partial.as_bytes()),
            Some(ReloadAnswer::Partial(changes)) if changes.restart_needed == ["threads"]
        ));
        let refused = "{\"result\":\"failure\",\"problems\":[\"a\"],\"unlisted\":7}";
        assert_eq!(
            read_outcome(422, refused.as_bytes()),
            Some(ReloadAnswer::Refused(vec!["a".to_owned()], 7))
        );
        for (status, other) in [
            (200, ""),
            (404, "not found\n"),
            (200, "{\"result\":\"success\"}"),
            (422, complete),
        ] {
            assert_eq!(read_outcome(status, other.as_bytes()), None, "{other}");
        }
    }
}
