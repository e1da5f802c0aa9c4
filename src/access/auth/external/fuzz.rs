//! Invariants of the answers of an authoriser, for the fuzz target.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::answer::AnswerError;
use super::{Answer, Ask, Verdict};
use crate::access::auth::MAX_USER_LEN;
use crate::access::policy::Refusal;

/// Reads `data` as the content of an answer, or what follows `fields:` as a user and groups of one.
///
/// What is taken of an answer is limited, and is text without control characters. `ask` changes the meaning of a
/// denial without a status and of nothing else.
///
/// # Panics
/// An invariant does not hold.
pub fn authorizer_answer(data: &[u8]) -> String {
    if let Some(value) = data.strip_prefix(b"fields:") {
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return "no field".to_owned();
        };
        let name = |name| HeaderName::from_static(name);
        let mut fields = HeaderMap::new();
        fields.insert(name("x-tollgate-groups"), value.clone());
        let groups = Answer::of_status(StatusCode::NO_CONTENT, &fields);
        fields.insert(name("x-tollgate-user"), value);
        let both = Answer::of_status(StatusCode::OK, &fields);
        return format!("{} {}", word(groups.as_ref()), word(both.as_ref()));
    }
    let tightens = Answer::of_json(StatusCode::OK, data, Ask::Always);
    let authenticates = Answer::of_json(StatusCode::OK, data, Ask::UnknownUsers);
    let is_denied = |answer: &Result<Answer, AnswerError>| {
        let verdict = answer.as_ref().map(|answer| &answer.verdict);
        verdict.is_ok_and(|verdict| !matches!(verdict, Verdict::Admit(_)))
    };
    assert_eq!(is_denied(&tightens), is_denied(&authenticates));
    if !is_denied(&tightens) {
        assert_eq!(tightens, authenticates);
    }
    format!(
        "{} {}",
        word(tightens.as_ref()),
        word(authenticates.as_ref())
    )
}

/// What an answer says, in a word.
fn word(answer: Result<&Answer, &AnswerError>) -> &'static str {
    match answer.map(|answer| &answer.verdict) {
        Ok(Verdict::Admit(grant)) => {
            if let Some(user) = &grant.user {
                text(user.as_str(), MAX_USER_LEN);
            }
            assert!(grant.groups.len() <= 256);
            for (at, group) in grant.groups.iter().enumerate() {
                text(group, MAX_USER_LEN);
                assert!(!grant.groups.iter().skip(at + 1).any(|other| other == group));
            }
            match (&grant.user, grant.groups.is_empty(), &grant.pool) {
                (None, true, None) => "admit",
                (Some(_), true, None) => "user",
                (_, false, _) => "groups",
                (_, _, Some(_)) => "pool",
            }
        }
        Ok(Verdict::Challenge { message }) => {
            message
                .iter()
                .for_each(|message| text(message, 4 * Refusal::MAX_MESSAGE));
            "challenge"
        }
        Ok(Verdict::Deny { refusal, .. }) => {
            assert!(Refusal::STATUSES.contains(&refusal.status));
            let message = refusal.message.iter();
            message.for_each(|message| text(message, 4 * Refusal::MAX_MESSAGE));
            "deny"
        }
        Err(AnswerError::Status(_) | AnswerError::StatusOfJson(_) | AnswerError::Missing) => {
            "status"
        }
        Err(AnswerError::Misspelt(_)) => "misspelt",
        Err(AnswerError::Json(_)) => "json",
        Err(AnswerError::Member(name) | AnswerError::Field(name)) => name,
    }
}

fn text(text: &str, max: usize) {
    assert!(!text.is_empty() && text.len() <= max, "{text:?}");
    assert!(!text.contains(char::is_control), "{text:?}");
}
