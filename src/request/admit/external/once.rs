//! One question outside of a request that is served, for `tollgate explain --ask`. Nothing is kept and nothing counted.

use http::Method;

use super::authorizer::{Written, chain, read};
use super::texts::Texts;
use crate::access::auth::external::{Answer, External, Mode, Question};
use crate::access::policy::Scenario;
use crate::http::target::{Authority, Scheme};
use crate::request::facts::{Arrival, Request, Source};
use crate::request::request_id::RequestId;
use crate::upstream::fetch::{FetchResponse, Fetcher};

/// The longest text of an answer that is shown.
const MAX_SHOWN: usize = 1000;

/// What was asked and answered.
pub struct AskedOnce {
    /// The question: a JSON object, or fields with a line each.
    pub question: String,
    /// The answer as it came: status and content, or the fields with a meaning; none where none came.
    pub said: Option<String>,
    /// What it means, or why it does not count.
    pub answer: Result<Answer, String>,
}

/// Puts the question about a request that would be, without a password: by this rule, where one has it asked, and to this
/// target over https, where a rule sends it there.
pub async fn ask_once(
    settings: &External,
    fetcher: &Fetcher,
    scenario: &Scenario,
    groups: &[Box<str>],
    (rule, upgraded): (Option<&str>, Option<Authority>),
) -> AskedOnce {
    let asked = scenario.request();
    let source = Source {
        client: (asked.client, 0).into(),
        listener: None,
        connection: 0,
        tls: false,
        thread: 0,
        certificate: None,
    };
    let mut request = Request::unread(RequestId::new(0), source, Arrival::now());
    request.role = Some(asked.role());
    request.method = Method::from_bytes(asked.method.as_bytes()).unwrap_or(Method::GET);
    request.scheme = asked.scheme.unwrap_or(Scheme::Http);
    request.authority = asked.destination.authority().cloned();
    if upgraded.is_some() {
        (request.scheme, request.authority) = (Scheme::Https, upgraded);
    }
    let texts = Texts::of(&request, asked.head);
    let question = Question {
        user: Some(asked.user),
        groups: groups.iter().map(AsRef::as_ref).collect(),
        rule,
        ..texts.question(&request)
    };
    let unasked = |why: String| AskedOnce {
        question: String::new(),
        said: None,
        answer: Err(why),
    };
    let written = match Written::of(settings.mode, &question) {
        Ok(written) => written,
        Err(error) => return unasked(error.to_string()),
    };
    let question = show(&written);
    let (said, answer) = match written.send(settings, fetcher, settings.timeout).await {
        Ok(response) => {
            let said = shown(settings.mode, &response);
            let answer = read(settings, &response).map_err(|error| error.to_string());
            (Some(said), answer)
        }
        Err(error) => (None, Err(chain(&error))),
    };
    AskedOnce {
        question,
        said,
        answer,
    }
}

/// A question for people. It has no password.
fn show(written: &Written) -> String {
    let (content, fields) = written.parts();
    let fields = fields.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        format!("{name}: {value}")
    });
    let content = content.map(|content| String::from_utf8_lossy(content).into_owned());
    content
        .into_iter()
        .chain(fields)
        .collect::<Vec<_>>()
        .join("\n")
}

/// An answer for people, in one line.
fn shown(mode: Mode, response: &FetchResponse) -> String {
    let status = response.status.as_u16();
    let text = match mode {
        Mode::Json => String::from_utf8_lossy(&response.body).into_owned(),
        Mode::Status => {
            let fields = response.fields.iter();
            let own = fields.filter(|(name, _)| name.as_str().starts_with("x-tollgate-"));
            let own = own.map(|(name, value)| {
                format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
            });
            own.collect::<Vec<_>>().join(", ")
        }
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.chars().filter(|c| !c.is_control()).take(MAX_SHOWN);
    format!("{status} {}", line.collect::<String>())
}
