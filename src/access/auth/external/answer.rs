//! What the service answers, read strictly: a value of a wrong type, or one that is too long, makes the whole answer
//! one that does not count.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use thiserror::Error;

use super::Ask;
use crate::access::auth::User;
use crate::access::auth::json::{Json, JsonError, Object};
use crate::access::auth::tokens::group_names;
use crate::access::policy::Refusal;
use crate::text::nearest::nearest;

/// Values of one answer, at any depth; more than the groups.
const MAX_VALUES: usize = 1024;

/// The members of an answer. Others are for the author of the service.
const MEMBERS: [&str; 7] = [
    "allow", "user", "groups", "message", "status", "pool", "ttl",
];

/// How the fields of an answer by status begin, and the rest of them.
const FIELDS: (&str, [&str; 2]) = ("x-tollgate-", ["user", "groups"]);

/// The longest name of a pool.
const MAX_POOL: usize = 64;

/// The longest `ttl`: more is a mistake, such as a time.
const MAX_TTL: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The fields of an answer by status.
const USER_FIELD: &str = "x-tollgate-user";
const GROUPS_FIELD: &str = "x-tollgate-groups";

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it decides.
    pub verdict: Verdict,
    /// The longest time for which it may be kept; none for that of the configuration.
    pub ttl: Option<Duration>,
    /// What is misspelt in an answer that does not admit, and so does what it says in any case.
    pub misspelt: Option<Misspelt>,
}

/// A name that an answer has in the place of one with a meaning.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the answer has {name:?}, which has no meaning; did you mean {near:?}?")]
pub struct Misspelt {
    name: Box<str>,
    near: &'static str,
}

/// What the service decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request is admitted, as far as the service is concerned.
    Admit(Grant),
    /// The credentials are wrong: the client is asked for others.
    Challenge {
        /// The sentence for the client.
        message: Option<Arc<str>>,
    },
    /// The request is denied.
    Deny {
        /// The answer to the client.
        refusal: Refusal,
        /// Who the client is, for the log.
        user: Option<User>,
    },
}

/// What comes with an admission.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Who the client is; none for whom it says that it is.
    pub user: Option<User>,
    /// Groups of the user, each once.
    pub groups: Vec<Box<str>>,
    /// Where the request goes, at the gateway.
    pub pool: Option<Box<str>>,
}

/// Why an answer does not count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// Another status than one with a meaning.
    #[error("the service answers {}, which neither admits nor denies; see its log", .0.as_u16())]
    Status(StatusCode),
    /// No JSON object.
    #[error("the answer is {0}; it has to be an object such as {{\"allow\":true}}")]
    Json(#[from] JsonError),
    /// Another status than 200, in JSON mode.
    #[error("the service answers {}, and not 200 with a JSON object; with allow: false it denies", .0.as_u16())]
    StatusOfJson(StatusCode),
    /// No member `allow`.
    #[error("the answer has no member allow; write true or false")]
    Missing,
    /// A name is most likely misspelt.
    #[error("{0}")]
    Misspelt(#[from] Misspelt),
    /// A member has a value that it cannot have.
    #[error("the member {} of the answer is not {}", .0, expected(.0))]
    Member(&'static str),
    /// A field has a value that it cannot have, or is there twice.
    #[error("the field {0} of the answer has a value that it cannot have")]
    Field(&'static str),
}

impl Answer {
    /// Reads the answer to a POST. Where it denies and names no status, that is 403, or 401 where the service
    /// authenticates.
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub fn of_json(status: StatusCode, content: &[u8], ask: Ask) -> Result<Self, AnswerError> {
        if status != StatusCode::OK {
            return Err(AnswerError::StatusOfJson(status));
        }
        let object = Object::parse(content, MAX_VALUES)?;
        let names = || object.members().map(|(name, _)| name);
        let misspelt = names().find_map(|name| Misspelt::find(name, &MEMBERS, names));
        let allow = match (object.get("allow"), misspelt.clone()) {
            (Some(Json::Flag(allow)), _) => *allow,
            (Some(_), _) => return Err(AnswerError::Member("allow")),
            (None, Some(misspelt)) if misspelt.near == "allow" => return Err(misspelt.into()),
            (None, _) => return Err(AnswerError::Missing),
        };
        // Each member is read, so that a wrong one is not found only when it is needed.
        let user = member(&object, "user", |value| user(value.text()?))?;
        let groups = member(&object, "groups", |value| {
            let texts: Option<Vec<&str>> = value.list()?.iter().map(Json::text).collect();
            group_names(texts?)
        })?;
        let message = member(&object, "message", |value| Some(message(value.text()?)))?;
        let code = member(&object, "status", code)?;
        let pool = member(&object, "pool", |value| pool(value.text()?))?;
        let ttl = member(&object, "ttl", ttl)?;
        let message = message.flatten();
        // What a denial says beside itself does not turn it into a failure, with which a request may go on.
        if let (true, Some(misspelt)) = (allow, misspelt.clone()) {
            return Err(misspelt.into());
        }
        let verdict = match (allow, code) {
            (true, _) => Verdict::Admit(Grant {
                user,
                groups: groups.unwrap_or_default(),
                pool,
            }),
            (false, None) if ask == Ask::UnknownUsers => Verdict::Challenge { message },
            (false, Some(StatusCode::UNAUTHORIZED)) => Verdict::Challenge { message },
            (false, code) => Verdict::Deny {
                refusal: Refusal {
                    status: code.unwrap_or(StatusCode::FORBIDDEN),
                    message,
                },
                user,
            },
        };
        Ok(Self {
            verdict,
            ttl,
            misspelt,
        })
    }

    /// Reads the answer to a GET: 2xx admits, 401 asks for credentials, 403 denies.
    ///
    /// # Errors
    /// [`AnswerError::Status`], [`AnswerError::Field`]
    pub fn of_status(status: StatusCode, fields: &HeaderMap) -> Result<Self, AnswerError> {
        let verdict = match status {
            StatusCode::UNAUTHORIZED => Verdict::Challenge { message: None },
            StatusCode::FORBIDDEN => Verdict::Deny {
                refusal: Refusal::default(),
                user: None,
            },
            status if status.is_success() => Verdict::Admit(grant(fields)?),
            status => return Err(AnswerError::Status(status)),
        };
        Ok(Self {
            verdict,
            ttl: None,
            misspelt: None,
        })
    }
}

impl Misspelt {
    /// Whether this name is near to one of those with a meaning, which the answer lacks: with both of them, the author has
    /// a name of their own.
    fn find<'a, N: Iterator<Item = &'a str>>(
        name: &str,
        known: &[&'static str],
        names: impl Fn() -> N,
    ) -> Option<Self> {
        if known.contains(&name) {
            return None;
        }
        let missing = known.iter().copied();
        let missing = missing.filter(|known| names().all(|other| other != *known));
        let near = nearest(name, missing)?;
        Some(Self {
            name: name.into(),
            near,
        })
    }
}

/// What the fields of an answer say.
fn grant(fields: &HeaderMap) -> Result<Grant, AnswerError> {
    let (prefix, known) = FIELDS;
    let names = || {
        fields
            .keys()
            .filter_map(|name| name.as_str().strip_prefix(prefix))
    };
    if let Some(misspelt) = names().find_map(|name| Misspelt::find(name, &known, names)) {
        return Err(misspelt.into());
    }
    let user = match text(fields, USER_FIELD)? {
        None => None,
        Some(name) => Some(user(name).ok_or(AnswerError::Field(USER_FIELD))?),
    };
    let groups = match text(fields, GROUPS_FIELD)? {
        None => Vec::new(),
        Some(list) => {
            let names = list.split(',').map(str::trim);
            let names = names.filter(|name| !name.is_empty()).collect();
            group_names(names).ok_or(AnswerError::Field(GROUPS_FIELD))?
        }
    };
    Ok(Grant {
        user,
        groups,
        pool: None,
    })
}

/// The one value of a field. Two would be two answers.
fn text<'a>(fields: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, AnswerError> {
    let mut values = fields.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value.as_bytes()).ok();
    let text = text.filter(|_| values.next().is_none());
    text.map(Some).ok_or(AnswerError::Field(name))
}

/// What a member has to be.
fn expected(name: &str) -> &'static str {
    match name {
        "allow" => "true or false",
        "user" => "the name of a user, up to 255 bytes",
        "groups" => "a list of up to 256 names of groups",
        "status" => "401, 403, 404, 407, 429, 451 or 503",
        "pool" => "the name of a pool",
        "ttl" => "a number of seconds, up to a year",
        _ => "a text",
    }
}

/// Reads a member. One that is null is not there.
fn member<T>(
    object: &Object,
    name: &'static str,
    read: impl FnOnce(&Json) -> Option<T>,
) -> Result<Option<T>, AnswerError> {
    match object.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => read(value).map(Some).ok_or(AnswerError::Member(name)),
    }
}

fn user(name: &str) -> Option<User> {
    User::of_token(name).ok()
}

/// As much of a message as a rule may have, without control characters.
fn message(text: &str) -> Option<Arc<str>> {
    let shown = text.chars().filter(|c| !c.is_control());
    let shown: String = shown.take(Refusal::MAX_MESSAGE).collect();
    (!shown.is_empty()).then(|| shown.into())
}

/// A status that a rule can deny with, or 401; 407 is the same.
fn code(value: &Json) -> Option<StatusCode> {
    let Json::Integer(number) = value else {
        return None;
    };
    let status = StatusCode::from_u16(u16::try_from(*number).ok()?).ok()?;
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Some(StatusCode::UNAUTHORIZED)
        }
        status => Refusal::STATUSES.contains(&status).then_some(status),
    }
}

fn pool(name: &str) -> Option<Box<str>> {
    let is_name = !name.is_empty() && name.len() <= MAX_POOL;
    is_name.then(|| name.into())
}

fn ttl(value: &Json) -> Option<Duration> {
    let ttl = match value {
        Json::Integer(seconds) => Duration::from_secs(u64::try_from(*seconds).ok()?),
        Json::Fraction(seconds) => Duration::try_from_secs_f64(*seconds).ok()?,
        _ => return None,
    };
    (ttl <= MAX_TTL).then_some(ttl)
}
