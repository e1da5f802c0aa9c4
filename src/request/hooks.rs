//! The hooks of a request, between the code that serves it and [`crate::hook`].

use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use tokio::time::sleep;

use super::admit::{Access, of_role};
use super::app::App;
use super::facts::Request;
use super::outcome::Exchange;
use crate::access::auth::{AuthScheme, Identity, Token68, User};
use crate::access::policy::{DecidedBy, HookName, RuleNames};
use crate::hook::{self, Authentication, Facts, How, MAX_WAIT, Phases, Run, Stop};
use crate::http::denial::Denial;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::http1::KeptHead;
use crate::http::role::Role;

/// What hooks say of the addresses of a host; none: nothing.
type Resolved = Result<Option<Vec<IpAddr>>, Stop>;

impl Exchange {
    /// Begins with the users, the policy and the hooks of now. The request keeps them, whatever a reload brings.
    /// `kept` is what [`Access::keep`] gives.
    #[inline]
    pub fn begin(&mut self, access: Arc<Access>, kept: Option<Arc<KeptHead>>) {
        self.rule_names = access.rule_names();
        if let Some(kept) = kept {
            self.begin_with_head(&access, kept);
        }
        self.access = Some(access);
    }

    fn begin_with_head(&mut self, access: &Access, kept: Arc<KeptHead>) {
        let is_own = self.request.is_own;
        self.head = access.needs_head(is_own).then(|| Arc::clone(&kept));
        // What this proxy answers itself is not for hooks.
        if let Some(hooks) = access.hooks().filter(|_| !is_own)
            && let Some(facts) = facts(&self.request, kept)
        {
            self.run = Some(Box::new(Run::new(hooks, facts)));
        }
    }

    /// The phase `log`, and what hooks count. Once, before the last record of the request.
    #[inline]
    pub fn end(&mut self, app: &App, status: Option<u16>) {
        if let Some(run) = &mut self.run {
            end(run, app, status);
        }
    }
}

fn end(run: &mut Run, app: &App, status: Option<u16>) {
    if let Some(stop) = run.log(status) {
        app.hook_failed(&stop);
    }
    for skipped in run.notes.skipped() {
        app.hook_failed(&Stop {
            by: skipped.by.clone(),
            phase: skipped.phase,
            how: How::Failed(skipped.reason.clone()),
        });
    }
    for count in run.notes.counts() {
        app.telemetry.hook_event(&count.name, &count.label);
    }
}

/// What becomes of a request that a hook ends, noted in its outcome.
pub fn ended(exchange: &mut Exchange, stop: Stop) -> RequestError {
    let Stop { by, phase, how } = stop;
    let outcome = &mut exchange.outcome;
    match how {
        How::Denied(denial) => {
            outcome.decided_by = Some(DecidedBy::Hook(HookName::new(&by)));
            let message = denial.message().map(Arc::from);
            let mut told = Denial::new(ErrorKind::Denied, &format!("hook:{by}"), message);
            if exchange.rule_names == RuleNames::Hidden {
                told = told.without_rule();
            }
            let mut detail = format!("denied by hook:{by} in {phase}");
            if let Some(message) = denial.message() {
                detail = format!("{detail}: {message}");
            }
            RequestError::denied(told, denial.status()).because(detail)
        }
        How::Answered(answer) => {
            outcome.decided_by = Some(DecidedBy::Hook(HookName::new(&by)));
            let is_tunnel = exchange.request.role == Some(Role::Tunnel);
            if is_tunnel && answer.status().is_success() {
                // The client would take what follows for the tunnel (RFC 9110 §9.3.6).
                let why = format!("hook:{by} in {phase}: CONNECT is answered with a success");
                return ErrorKind::Internal.because(why);
            }
            RequestError::answered(answer.into_inner())
        }
        How::Failed(why) => {
            if let Some(run) = &mut exchange.run {
                run.notes.set_failed(&by);
            }
            ErrorKind::Internal.because(format!("hook:{by} in {phase}: {why}"))
        }
        How::Ambiguous(why) => ErrorKind::BadRequest
            .because(format!("hook:{by} in {phase}: {why}"))
            .told("ambiguous path"),
    }
}

/// Ends the request, if its hooks want that.
///
/// # Errors
/// They do.
pub fn settle(exchange: &mut Exchange, done: Result<(), Stop>) -> Result<(), RequestError> {
    done.map_err(|stop| ended(exchange, stop))
}

/// The phase that comes before all decisions. The target may be another one after it.
///
/// # Errors
/// A hook ends the request.
pub fn before_admission(exchange: &mut Exchange) -> Result<(), RequestError> {
    let Some(run) = &mut exchange.run else {
        return Ok(());
    };
    let done = run.request();
    if let Some((scheme, authority)) = run.notes.target() {
        exchange.request.scheme = *scheme;
        exchange.request.authority = Some(authority.clone());
    }
    settle(exchange, done)
}

/// The phase that says who the client is. None: no hook knows.
///
/// # Errors
/// A hook refuses the credentials (407, or 401 at the gateway), or fails.
pub async fn authenticate(exchange: &mut Exchange) -> Result<Option<Identity>, RequestError> {
    let Exchange {
        request,
        credentials,
        run,
        ..
    } = exchange;
    let Some(run) = run.as_mut().filter(|run| run.has(Phases::AUTHENTICATE)) else {
        return Ok(None);
    };
    let token = credentials
        .value()
        .and_then(|value| Token68::parse_any(value).ok());
    let basic = token.filter(|token| token.scheme() == AuthScheme::Basic);
    let basic = basic.and_then(|token| token.decode().ok());
    let bearer = token.filter(|token| token.scheme() == AuthScheme::Bearer);
    let shown = hook::Credentials {
        user: basic.as_ref().map(|basic| basic.user.as_str()),
        password: basic.as_ref().map(|basic| basic.password.expose()),
        token: bearer.and_then(|token| std::str::from_utf8(token.expose()).ok()),
    };
    let limit = pin!(sleep(MAX_WAIT));
    let why = match run.authenticate(&shown, limit).await {
        Ok(Authentication::Unknown) => return Ok(None),
        Ok(Authentication::Refused) => {
            let error = RequestError::from(ErrorKind::CredentialsWrong);
            return Err(of_role(error, credentials, request));
        }
        Ok(Authentication::User { name, groups }) => match identity(&name, &groups) {
            Ok(identity) => return Ok(Some(identity)),
            Err(why) => why,
        },
        Err(stop) => return Err(ended(exchange, stop)),
    };
    Err(ErrorKind::Internal.because(format!("a hook in authenticate: {why}")))
}

/// The addresses that a hook gives. Boxed: few requests have hooks, and none is to be larger for it.
pub fn resolve(run: &mut Run) -> Pin<Box<dyn Future<Output = Resolved> + Send + '_>> {
    Box::pin(async {
        match run.has(Phases::RESOLVE) {
            true => run.resolve(pin!(sleep(MAX_WAIT))).await,
            false => Ok(None),
        }
    })
}

/// The identity that a hook gives.
fn identity(name: &str, groups: &[String]) -> Result<Identity, &'static str> {
    let user = User::parse(name).or(Err("it gave a name that is none of a user"))?;
    if groups.len() > Authentication::MAX_GROUPS {
        return Err("it gave more than 64 groups");
    }
    let is_name = |group: &String| {
        !group.is_empty()
            && group.len() <= Authentication::MAX_NAME
            && !group.contains(char::is_control)
    };
    if !groups.iter().all(is_name) {
        return Err("it gave a name that is none of a group");
    }
    let groups = groups.iter().map(|group| group.as_str().into());
    let groups: Vec<Box<str>> = groups.collect();
    Ok(Identity::from(user).with_groups(&groups))
}

/// The phases behind the decision of the policy.
///
/// # Errors
/// A hook ends the request.
pub fn after_admission(exchange: &mut Exchange) -> Result<(), RequestError> {
    let Some(run) = &mut exchange.run else {
        return Ok(());
    };
    let done = run.authorize().and_then(|()| run.route());
    settle(exchange, done)
}

/// The last phase before a tunnel opens.
///
/// # Errors
/// A hook ends the request.
pub fn before_tunnel(exchange: &mut Exchange) -> Result<(), RequestError> {
    let Some(run) = &mut exchange.run else {
        return Ok(());
    };
    let done = run.tunnel_open();
    settle(exchange, done)
}

/// None for a head that could not be read, which no hook sees.
fn facts(request: &Request, head: Arc<KeptHead>) -> Option<Facts> {
    Some(Facts {
        id: request.id.as_str().into(),
        role: request.role?,
        method: hook::in_capitals(&request.method),
        version: request.version.as_str(),
        scheme: request.scheme,
        authority: request.authority.clone(),
        client: request.source.client,
        tls: request.source.tls,
        head,
    })
}
