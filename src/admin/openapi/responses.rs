//! What each route may answer.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{About, Content, reference};
use crate::admin::problem::Problem;
use crate::admin::routes::{Effect, Guard, Route};

/// The responses of a route, by status.
pub(super) fn of(route: &Route, about: &About) -> BTreeMap<String, Value> {
    let mut done = json!({"description": "As asked."});
    if let Some(content) = about.content.described() {
        done["content"] = content;
    }
    let mut responses = BTreeMap::from([(about.status.to_string(), done)]);
    if matches!(about.content, Content::File(_)) && route.path != "/" {
        let unchanged = json!({"description": "The browser has it, as `If-None-Match` says."});
        responses.insert("304".to_owned(), unchanged);
    }
    let mut others: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for (status, when) in &about.others {
        others.entry(*status).or_default().push(when);
    }
    let own: Vec<u16> = others.keys().copied().collect();
    for problem in Problem::ALL.iter().filter(|it| it.may_come(route, about)) {
        let when = others.entry(problem.status().as_u16()).or_default();
        when.push(problem.when());
    }
    for (status, when) in others {
        let of_route = own.contains(&status).then_some(about);
        let content = problem_content(route, of_route);
        let response = json!({"description": when.join(" "), "content": content});
        responses.insert(status.to_string(), response);
    }
    responses
}

impl Content {
    /// As the description has it.
    fn described(&self) -> Option<Value> {
        let of = |media_type: &str, schema: &Value| Some(json!({media_type: {"schema": schema}}));
        let text = json!({"type": "string"});
        match self {
            Content::Nothing => None,
            Content::Text => of("text/plain", &text),
            Content::File(media_type) => of(media_type, &text),
            Content::Json(schema) => of("application/json", schema),
            Content::Events => of("text/event-stream", &text),
        }
    }
}

impl Problem {
    /// Whether a route may answer so, beside what is said of it alone.
    fn may_come(self, route: &Route, about: &About) -> bool {
        let is_guarded = route.guard != Guard::Open;
        match self {
            Problem::Malformed | Problem::HostUnknown => true,
            Problem::CredentialsMissing
            | Problem::CredentialsMalformed
            | Problem::CredentialsWrong
            | Problem::CertificateMissing
            | Problem::CertificateRefused
            | Problem::UsersMissing
            | Problem::LockedOut
            | Problem::AuthenticationOverloaded
            | Problem::Internal => is_guarded,
            Problem::OriginRefused => route.effect != Effect::Reads || Route::is_api(route.path),
            Problem::RequestFieldMissing | Problem::TooLarge => route.effect != Effect::Reads,
            Problem::ReadOnly => route.effect == Effect::Changes,
            Problem::NotJson => about.body.is_some(),
            // Each is of one route, which says it.
            Problem::NotFound
            | Problem::LevelUnavailable
            | Problem::TooManyListeners
            | Problem::StoreFailed => false,
            // Of another operation.
            Problem::MethodNotAllowed => false,
        }
    }
}

/// What a response has that is not as asked; of a status that the route has for itself, if `own` is what is said of it.
fn problem_content(route: &Route, own: Option<&About>) -> Value {
    let text = json!({"type": "string"});
    let problem = match Route::is_api(route.path) {
        true => ("application/json", reference("Problem")),
        false => ("text/plain", text),
    };
    let mut content = json!({problem.0: {"schema": problem.1}});
    if own.is_some() && route.path.ends_with("/reload") {
        let report = reference("Reload");
        let schema = match Route::is_api(route.path) {
            true => json!({"oneOf": [report, problem.1]}),
            false => report,
        };
        content["application/json"] = json!({"schema": schema});
    }
    content
}
