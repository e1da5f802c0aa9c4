//! The service that is asked: its settings, its answers that are kept, and the calls to it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};

use super::answers::Answers;
use super::calls::{Calls, Wanted};
use super::login::Login;
use crate::access::auth::external::{
    Answer, AnswerError, External, MAX_ANSWER, Mode, Question, QuestionError, QuestionKey, Verdict,
};
use crate::access::auth::{AuthorizerId, EntropyError, random_secret};
use crate::access::client::Client;
use crate::request::admit::logins::{Begins, CountedOnce};
use crate::telemetry::Telemetry;
use crate::telemetry::throttle::Throttle;
use crate::upstream::fetch::{FetchError, FetchRequest, FetchResponse, Fetcher};

/// What a service is asked with, whatever its settings.
#[derive(Clone)]
pub struct Asking {
    /// The client.
    fetcher: Arc<Fetcher>,
    telemetry: Arc<Telemetry>,
    /// The key of the keys of questions, for this process only and never stored.
    secret: [u8; 32],
    /// Lines about a service that fails.
    failures: Arc<Throttle>,
}

/// A service, with the answers that are kept.
pub(in crate::request::admit) struct Authorizer {
    settings: Arc<External>,
    asking: Asking,
    answers: Arc<Answers>,
    calls: Calls<CallResult>,
    id: AuthorizerId,
}

/// What comes of a question.
pub(super) type CallResult = Result<Answered, Unanswered>;

/// An answer.
#[derive(Clone)]
pub(super) struct Answered {
    pub(super) verdict: Arc<Verdict>,
    /// The logins of which it has counted.
    pub(super) once: CountedOnce,
}

/// Why there is no answer.
#[derive(Clone)]
pub(super) enum Unanswered {
    /// The service has failed, with the reason.
    Failed(Arc<str>),
    /// It was not asked: the login is locked out, for so long.
    Locked(Duration),
}

/// A call that can be made.
struct Call {
    settings: Arc<External>,
    asking: Asking,
    answers: Arc<Answers>,
    key: QuestionKey,
    written: Written,
}

/// A question as it is sent.
pub(super) struct Written {
    content: Option<Bytes>,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Unanswered {
    /// The reason, for a record.
    pub(super) fn why(self) -> Arc<str> {
        match self {
            Self::Failed(why) => why,
            Self::Locked(_) => "the login is locked out".into(),
        }
    }
}

impl Asking {
    /// With this client.
    ///
    /// # Errors
    /// The system has no random numbers for the secret.
    pub fn new(fetcher: Arc<Fetcher>, telemetry: Arc<Telemetry>) -> Result<Self, EntropyError> {
        Ok(Self {
            fetcher,
            telemetry,
            secret: random_secret()?,
            failures: Arc::default(),
        })
    }

    /// Where calls are counted.
    pub(in crate::request::admit) fn telemetry(&self) -> Arc<Telemetry> {
        Arc::clone(&self.telemetry)
    }
}

impl Authorizer {
    /// The service of these settings. No answer is kept yet.
    pub(in crate::request::admit) fn new(settings: Arc<External>, asking: Asking) -> Self {
        Self {
            asking,
            answers: Arc::new(Answers::new(&settings)),
            calls: Calls::new(settings.concurrency),
            settings,
            id: AuthorizerId::unique(),
        }
    }

    pub(in crate::request::admit) fn settings(&self) -> &External {
        &self.settings
    }

    pub(super) fn id(&self) -> AuthorizerId {
        self.id
    }

    /// Asks, or has the answer to the same question from before. Why there is none, otherwise. With the login that the
    /// question is about, and its place.
    pub(super) async fn ask(
        &self,
        question: &Question<'_>,
        client: Client,
        login: Option<(Login, Option<Begins>)>,
    ) -> CallResult {
        let cannot = |error: &dyn fmt::Display| Unanswered::Failed(self.failed(&error.to_string()));
        let key = question.key(&self.asking.secret);
        let key = key.map_err(|error| cannot(&error))?;
        let known = || {
            let verdict = self.answers.lookup(&key, Instant::now())?;
            self.asking.telemetry.authorizer_cache_hit();
            let once = CountedOnce::default();
            Some(Answered { verdict, once })
        };
        if let Some(answered) = known() {
            return Ok(answered);
        }
        let call = self.call(question, key).map_err(|error| cannot(&error))?;
        let timeout = self.settings.timeout;
        let known = || known().map(Ok);
        let guess = login.as_ref().map(|(login, _)| login.clone());
        let guess = guess.filter(Login::is_guess);
        let wanted = Wanted {
            client,
            gate: guess.map(|guess| Box::new(move || guess.turn()) as _),
            call: Box::new(|left| {
                Box::pin(async move {
                    let answered = call.make(left).await?;
                    // Here, since the request may be gone.
                    if let Some((login, _place)) = &login {
                        login.end(&answered);
                    }
                    Ok(answered)
                })
            }),
        };
        match self.calls.ask(key, timeout, known, wanted).await {
            Some(result) => result,
            None => {
                let why = self.failed(&late(timeout));
                Err(Unanswered::Failed(why))
            }
        }
    }

    fn call(&self, question: &Question<'_>, key: QuestionKey) -> Result<Call, QuestionError> {
        Ok(Call {
            settings: Arc::clone(&self.settings),
            asking: self.asking.clone(),
            answers: Arc::clone(&self.answers),
            key,
            written: Written::of(self.settings.mode, question)?,
        })
    }

    /// Notes a failure in the log, now and then. The reason, for the record of the request.
    pub(super) fn failed(&self, why: &str) -> Arc<str> {
        failed(&self.asking, &self.settings, why)
    }
}

impl Call {
    /// Asks the service and keeps its answer.
    async fn make(self, left: Duration) -> CallResult {
        let asked = Instant::now();
        let answered = self.answer(left).await;
        let result = match &answered {
            Ok(answer) => match &answer.verdict {
                Verdict::Admit(_) => "admit",
                Verdict::Challenge { .. } => "challenge",
                Verdict::Deny { .. } => "deny",
            },
            Err((result, _)) => result,
        };
        let telemetry = &self.asking.telemetry;
        telemetry.authorizer_asked(result, asked.elapsed());
        match answered {
            Ok(answer) => {
                if let Some(misspelt) = &answer.misspelt {
                    failed(&self.asking, &self.settings, &misspelt.to_string());
                }
                Ok(Answered {
                    verdict: self.answers.insert(self.key, &answer, asked),
                    once: CountedOnce::default(),
                })
            }
            Err((_, why)) => Err(Unanswered::Failed(failed(
                &self.asking,
                &self.settings,
                &why,
            ))),
        }
    }

    async fn answer(&self, left: Duration) -> Result<Answer, (&'static str, String)> {
        let settings = &*self.settings;
        let sent = self.written.send(settings, &self.asking.fetcher, left);
        let response = sent.await.map_err(|error| match error {
            FetchError::Timeout(_) => ("timeout", late(settings.timeout)),
            other => ("failure", chain(&other)),
        })?;
        read(settings, &response).map_err(|error| ("failure", error.to_string()))
    }
}

impl Written {
    /// The question in this form.
    ///
    /// # Errors
    /// [`QuestionError`]
    pub(super) fn of(mode: Mode, question: &Question<'_>) -> Result<Self, QuestionError> {
        let (content, fields) = match mode {
            Mode::Json => (Some(Bytes::from_owner(question.content()?)), Vec::new()),
            Mode::Status => (None, question.fields()?),
        };
        Ok(Self { content, fields })
    }

    /// The content, and the fields.
    pub(super) fn parts(&self) -> (Option<&[u8]>, &[(HeaderName, HeaderValue)]) {
        (self.content.as_deref(), &self.fields)
    }

    /// Asks the service.
    ///
    /// # Errors
    /// [`FetchError`]
    pub(super) async fn send(
        &self,
        settings: &External,
        fetcher: &Fetcher,
        timeout: Duration,
    ) -> Result<FetchResponse, FetchError> {
        let (method, accept) = match settings.mode {
            Mode::Json => (Method::POST, "application/json"),
            Mode::Status => (Method::GET, "*/*"),
        };
        let content = self.content.clone();
        let request = FetchRequest {
            method,
            url: &settings.url,
            content: content.map(|content| ("application/json", content)),
            accept,
            fields: self.fields.clone(),
            // A question changes nothing.
            is_repeatable: true,
            max_body: MAX_ANSWER,
            // The page for a person in an answer by status is not for the proxy.
            cuts_body: settings.mode == Mode::Status,
            timeout,
        };
        fetcher.fetch(request).await
    }
}

/// What the service says.
///
/// # Errors
/// It does not count.
pub(super) fn read(settings: &External, response: &FetchResponse) -> Result<Answer, AnswerError> {
    match settings.mode {
        Mode::Json => Answer::of_json(response.status, &response.body, settings.ask),
        Mode::Status => Answer::of_status(response.status, &response.fields),
    }
}

/// The URL is not repeated: its query may have a key of the service in it.
fn failed(asking: &Asking, settings: &External, why: &str) -> Arc<str> {
    let authority = &settings.url.authority;
    let why: Arc<str> = format!("auth.external at {authority}: {why}").into();
    if let Some(passed) = asking.failures.pass() {
        log::warn!("{why}{passed}");
    }
    why
}

/// What is said of a service that has not answered in time, or of a turn that has not come.
fn late(timeout: Duration) -> String {
    format!(
        "no answer within {timeout:?}, the turn among other calls included; see why it is slow, or raise `timeout` or \
         `concurrency`"
    )
}

/// An error and its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").finish_non_exhaustive()
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::access::auth::external::{Ask, OnFailure};
    use crate::http::url::HttpUrl;

    /// Settings as by default.
    pub(in super::super) fn settings(ask: Ask) -> External {
        External {
            url: HttpUrl::parse("http://127.0.0.1:9/").unwrap(),
            mode: Mode::Json,
            ask,
            timeout: Duration::from_millis(500),
            cache: Duration::from_secs(60),
            cache_entries: 10_000,
            concurrency: 64,
            on_failure: OnFailure::Deny,
            send_password: false,
        }
    }
}
