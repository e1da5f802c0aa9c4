//! What the external authoriser is asked about a request, and what becomes of the request by its answer.

mod answers;
mod authorizer;
mod calls;
mod login;
mod once;
mod rule;
mod texts;

use std::sync::Arc;
use std::time::Duration;

pub use self::authorizer::Asking;
pub(super) use self::authorizer::Authorizer;
use self::authorizer::{Answered, Unanswered};
use self::login::Login;
pub use self::once::{AskedOnce, ask_once};
pub(super) use self::rule::Unasked;
use self::texts::Texts;
use super::logins::Begins;
use super::{Access, AccessControl};
use crate::access::auth::external::{Grant, OnFailure, Question, Verdict};
use crate::access::auth::{Attempt, CredentialsError, Identity, User, password};
use crate::access::client::Client;
use crate::access::policy::{DecidedBy, Denied, Name};
use crate::http::credentials::Credentials;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::role::Role;
use crate::request::outcome::Exchange;
use crate::upstream::pool::Choice;

/// When a client may try again that the service has not been asked about.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a question says beside what the request says.
struct Asked<'a> {
    user: &'a str,
    groups: Vec<&'a str>,
    credentials: &'a Credentials,
    client: Client,
    /// The rule that has it asked.
    rule: Option<&'a Name>,
}

impl AccessControl {
    /// Asks the service who the client is, for credentials whose user is not known here.
    ///
    /// # Errors
    /// The service denies, or it has not answered, whatever `on_failure` says. The user or the network is locked out: the
    /// service is not asked.
    pub(super) async fn authenticate_by(
        &self,
        authorizer: &Authorizer,
        access: &Access,
        attempt: &Attempt,
        credentials: &Credentials,
        exchange: &mut Exchange,
    ) -> Result<Identity, RequestError> {
        let claimed = attempt.user();
        let client = exchange.request.source.client.ip();
        let login = Login::begin(access, authorizer, attempt, client)?;
        let counted = login.as_ref().map(|(login, _)| login.clone());
        let asked = Asked {
            user: claimed.as_str(),
            groups: Vec::new(),
            credentials,
            client: Client::site(client),
            rule: None,
        };
        let answered = match (ask(authorizer, asked, login, exchange).await, counted) {
            (Ok(answered), counted) => {
                // It may be an answer that was kept, or that of a request with other credentials.
                counted.inspect(|login| login.end(&answered));
                answered
            }
            (Err(unanswered), Some(login)) => return Err(login.refused(unanswered)),
            (Err(unanswered), None) => return Err(failed(unanswered.why())),
        };
        let is_free = |user: &User| !access.authenticator.is_taken(user.as_str());
        match &*answered.verdict {
            Verdict::Admit(grant) => {
                let user = grant.user.as_ref().unwrap_or(claimed);
                if !is_free(user) {
                    // What is written for the user of one proof must not be for that of another.
                    let why = authorizer.failed("it names a user of the password file or of a trusted network, whose own credentials alone make it");
                    return Err(failed(why));
                }
                let identity = Identity::from(user.clone()).with_groups(&grant.groups);
                let chosen = self.choose_granted(authorizer, grant, exchange);
                chosen.map_err(failed)?;
                Ok(identity)
            }
            refused => {
                if let Verdict::Deny { user, .. } = refused {
                    exchange.outcome.user = user.clone().filter(is_free);
                }
                Err(refusal(refused, None, access, exchange))
            }
        }
    }

    /// Asks the service about the request of a user, which it may deny, or give further groups and a pool.
    ///
    /// # Errors
    /// The service denies, or it has not answered where `on_failure` says deny.
    pub(super) async fn tighten(
        &self,
        authorizer: &Authorizer,
        access: &Access,
        identity: Identity,
        credentials: &Credentials,
        exchange: &mut Exchange,
    ) -> Result<Identity, RequestError> {
        exchange.outcome.identify(&identity);
        let user = identity.user();
        let asked = Asked {
            user: user.as_str(),
            groups: access.policy.groups_of(user.as_str(), identity.groups()),
            credentials,
            client: Client::new(Some(user), exchange.request.source.client.ip()),
            rule: None,
        };
        let verdict = self.consult(authorizer, access, asked, exchange).await?;
        Ok(match verdict.as_deref() {
            Some(Verdict::Admit(grant)) => identity.with_groups(&grant.groups),
            _ => identity,
        })
    }

    /// Asks the service about the request of an authenticated user, and sends it to the pool that the service chooses. The
    /// answer, if there is one, else the request goes on without.
    async fn consult(
        &self,
        authorizer: &Authorizer,
        access: &Access,
        asked: Asked<'_>,
        exchange: &mut Exchange,
    ) -> Result<Option<Arc<Verdict>>, RequestError> {
        let rule = asked.rule;
        let verdict = match ask(authorizer, asked, None, exchange).await {
            Ok(answered) => answered.verdict,
            Err(unanswered) => return on_failure(authorizer, unanswered.why(), rule, exchange),
        };
        match &*verdict {
            Verdict::Admit(grant) => match self.choose_granted(authorizer, grant, exchange) {
                Ok(()) => Ok(Some(verdict)),
                Err(why) => on_failure(authorizer, why, rule, exchange),
            },
            refused => Err(refusal(refused, rule, access, exchange)),
        }
    }

    /// Sends a request to the gateway to the pool that the service names. In other roles a pool has no meaning.
    fn choose_granted(
        &self,
        authorizer: &Authorizer,
        grant: &Grant,
        exchange: &mut Exchange,
    ) -> Result<(), Arc<str>> {
        let request = &mut exchange.request;
        let Some(name) = &grant.pool else {
            return Ok(());
        };
        if request.role != Some(Role::Gateway) || request.is_own {
            return Ok(());
        }
        let Some(pool) = self.pool(name) else {
            return Err(authorizer.failed("it names a pool that is not configured"));
        };
        request.pool = Choice::Pool(pool);
        Ok(())
    }
}

/// Asks the service about the request of `exchange`.
async fn ask(
    authorizer: &Authorizer,
    asked: Asked<'_>,
    login: Option<(Login, Option<Begins>)>,
    exchange: &Exchange,
) -> Result<Answered, Unanswered> {
    let request = &exchange.request;
    let texts = Texts::of(request, exchange.head.as_deref());
    let value = match authorizer.settings().send_password {
        true => asked.credentials.value(),
        false => None,
    };
    // They were read before.
    let secret = value.map(password).transpose();
    let unreadable = |error: CredentialsError| Unanswered::Failed(error.to_string().into());
    let secret = secret.map_err(unreadable)?;
    let secret = secret.as_ref().map(|secret| secret.expose());
    let certificate = super::certificate::user(request);
    let question = Question {
        user: Some(asked.user),
        groups: asked.groups,
        rule: asked.rule.map(Name::as_str),
        password: secret.map(|secret| std::str::from_utf8(secret).unwrap_or_default()),
        authorization: value.map(<[u8]>::trim_ascii),
        certificate: certificate.as_ref().map(User::as_str),
        ..texts.question(request)
    };
    authorizer.ask(&question, asked.client, login).await
}

/// The refusal of a request that the service does not admit, which this rule put to it.
fn refusal(
    verdict: &Verdict,
    rule: Option<&Name>,
    access: &Access,
    exchange: &mut Exchange,
) -> RequestError {
    let by = DecidedBy::External(rule.cloned());
    match verdict {
        Verdict::Deny { refusal, .. } => {
            let denied = Denied {
                refusal: refusal.clone(),
                ..Denied::request(by)
            };
            let detail = refusal.message.as_ref();
            let detail = detail.map(|message| format!("{denied}: {message}"));
            let error = exchange.outcome.deny(denied, access.policy.names());
            match detail {
                Some(detail) => error.because(detail),
                None => error,
            }
        }
        Verdict::Challenge { message } => {
            note_rule(rule, exchange);
            let error = ErrorKind::CredentialsWrong.because("auth.external answers so");
            match message {
                Some(message) => error.saying(Arc::clone(message)),
                None => error,
            }
        }
        Verdict::Admit(_) => ErrorKind::Internal.into(),
    }
}

/// Nothing, where a request without an answer goes on.
fn on_failure<T>(
    authorizer: &Authorizer,
    why: Arc<str>,
    rule: Option<&Name>,
    exchange: &mut Exchange,
) -> Result<Option<T>, RequestError> {
    match authorizer.settings().on_failure {
        OnFailure::Deny => {
            note_rule(rule, exchange);
            Err(failed(why))
        }
        OnFailure::Admit => Ok(None),
    }
}

/// Notes for the record which rule put a request to the service that is refused without being denied.
fn note_rule(rule: Option<&Name>, exchange: &mut Exchange) {
    if let Some(rule) = rule {
        exchange.outcome.decided_by = Some(DecidedBy::External(Some(rule.clone())));
    }
}

fn failed(why: Arc<str>) -> RequestError {
    let error = ErrorKind::AuthorizerFailed.because(&*why);
    error.retry_after(RETRY_AFTER)
}
