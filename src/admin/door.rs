//! The door of the admin service: whose requests go in.
//!
//! The checks that keep the pages of other sites out hold for everyone: `Host` against names that lead here (DNS rebinding),
//! `Origin` and a field of its own against requests that such a page makes a browser send. There are no cookies.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::answer::Answer;
use super::problem::Problem;
use super::routes::{Effect, Route};
use crate::access::auth::{CertificateLogin, EntropyError, User};
use crate::client::ClientCertificate;
use crate::config::{Admin, Config};
use crate::http::error::{ErrorKind, RequestError};
use crate::request::admit::Operators;
use crate::telemetry::{Telemetry, UserNames};

/// A field that no form and no link of another site can make a browser send.
pub(super) const REQUEST_FIELD: HeaderName = HeaderName::from_static("tollgate-request");

/// What a browser says of where a request comes from.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// And of what it is for.
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Who uses the admin service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// Anyone: the service has no users.
    Anyone,
    /// A user by password, or by certificate where it names one.
    User(User),
    /// A client with a certificate, which names no user.
    Certificate,
}

/// The client of a connection.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) address: SocketAddr,
    /// What it has shown.
    pub(super) certificate: Option<Arc<ClientCertificate>>,
}

/// What decides about each request.
pub(super) struct Door {
    operators: Option<Arc<Operators>>,
    takes_certificates: bool,
    has_tls: bool,
    /// Whether its address is not loopback.
    is_exposed: bool,
    hosts: Vec<String>,
    pub(super) has_public_metrics: bool,
    pub(super) has_page: bool,
}

impl Door {
    /// The door that the configuration describes. One without `admin` is closed, and nothing listens before it.
    ///
    /// # Errors
    /// The system has no random numbers for the secret of a cache.
    pub(super) fn new(config: &Config, telemetry: &Arc<Telemetry>) -> Result<Self, EntropyError> {
        let admin = config.admin.as_ref();
        let users = admin.and_then(|admin| admin.users.clone());
        let operators = users.map(|users| {
            Operators::new(users, config.auth.lockout.clone(), Arc::clone(telemetry)).map(Arc::new)
        });
        Ok(Self {
            operators: operators.transpose()?,
            takes_certificates: admin.is_some_and(|admin| admin.asks_certificates),
            has_tls: admin.is_some_and(|admin| admin.tls.is_some()),
            is_exposed: admin.is_some_and(Admin::is_exposed),
            hosts: admin
                .map(|admin| admin.allowed_hosts.clone())
                .unwrap_or_default(),
            has_public_metrics: admin.is_some_and(|admin| admin.public_metrics),
            has_page: admin.is_some_and(|admin| admin.dashboard),
        })
    }

    /// The users, where there are any.
    pub(super) fn operators(&self) -> Option<&Arc<Operators>> {
        self.operators.as_ref()
    }

    /// Whether it knows who comes in.
    pub(super) fn knows_users(&self) -> bool {
        self.operators.is_some() || self.takes_certificates
    }

    /// Whether the name that a request is for leads here: an address, localhost or one of `allowed_hosts`. A page whose
    /// name resolves to this machine (DNS rebinding) sends that name.
    ///
    /// # Errors
    /// It is another name, or not one `Host` field (RFC 9112 §3.2).
    pub(super) fn check_host(&self, version: Version, fields: &HeaderMap) -> Result<(), Answer> {
        let mut hosts = fields.get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (None, _) if version < Version::HTTP_11 => return Ok(()),
            (Some(host), None) if self.is_known(host) => return Ok(()),
            (Some(_), None) => {}
            (None, _) | (Some(_), Some(_)) => {
                return Err(Answer::malformed("a request has one Host field"));
            }
        }
        Err(Answer::problem(
            Problem::HostUnknown,
            "the Host field must be an address, localhost or a name of admin.allowed_hosts",
        ))
    }

    fn is_known(&self, host: &HeaderValue) -> bool {
        let Ok(host) = std::str::from_utf8(host.as_bytes()) else {
            return false;
        };
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let address = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        let is_same = |known: &str| name.eq_ignore_ascii_case(known);
        is_same("localhost")
            || address.parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|known| is_same(known))
    }

    /// Who sends a request.
    ///
    /// # Errors
    /// Nobody that is known here: the answer.
    pub(super) async fn admit(
        &self,
        visitor: &Visitor,
        fields: &HeaderMap,
    ) -> Result<Operator, Answer> {
        if !self.knows_users() {
            return match self.is_exposed {
                false => Ok(Operator::Anyone),
                true => Err(Answer::problem(
                    Problem::UsersMissing,
                    "this service has no users, and its address is not loopback: configure admin.users",
                )),
            };
        }
        let certified = match &visitor.certificate {
            Some(certificate) if self.takes_certificates => certified(certificate)?,
            _ => None,
        };
        if let Some((operator, CertificateLogin::Alone)) = certified {
            return Ok(operator);
        }
        let user = self.verify(visitor, fields).await?;
        match certified {
            Some((Operator::User(named), _)) if named != user => Err(wrong()),
            _ => Ok(Operator::User(user)),
        }
    }

    async fn verify(&self, visitor: &Visitor, fields: &HeaderMap) -> Result<User, Answer> {
        let Some(operators) = &self.operators else {
            return Err(Answer::problem(
                Problem::CertificateMissing,
                "this service asks its clients for a certificate",
            ));
        };
        let Some(value) = fields.get(AUTHORIZATION) else {
            return Err(
                Answer::problem(Problem::CredentialsMissing, "send Basic authorization")
                    .with_challenge(),
            );
        };
        let address = visitor.address.ip();
        let verified = operators.verify(value.as_bytes(), address).await;
        verified.map_err(|error| refusal(&error))
    }

    /// Whether a request is one of this origin, or of a program, and may do what its route does.
    ///
    /// # Errors
    /// A page of another site may have made a browser send it, or it needs a user.
    pub(super) fn check_effect(
        &self,
        effect: Effect,
        path: &str,
        fields: &HeaderMap,
    ) -> Result<(), Answer> {
        let is_read = effect == Effect::Reads;
        // A link of another site may lead to what is read, and no frame of it.
        let is = |name, value| fields.get(name).is_some_and(|given| given == value);
        let is_link = is(FETCH_MODE, "navigate") && is(FETCH_DEST, "document");
        if is_read && (is_link || !Route::is_api(path)) {
            return Ok(());
        }
        let forbidden = |problem, message: &str| Err(Answer::problem(problem, message));
        let is_foreign = |site: &HeaderValue| !matches!(site.as_bytes(), b"same-origin" | b"none");
        let origin = fields.get(ORIGIN);
        if origin.is_some_and(|origin| !self.is_own(origin, fields))
            || fields.get(FETCH_SITE).is_some_and(is_foreign)
        {
            return forbidden(
                Problem::OriginRefused,
                "requests of pages of another site are refused",
            );
        }
        let needs_field = Route::needs_field(effect, path) || !is_read && origin.is_some();
        if needs_field && !fields.contains_key(REQUEST_FIELD) {
            return forbidden(
                Problem::RequestFieldMissing,
                "send the field `Tollgate-Request: 1` too, which no page of another site can send",
            );
        }
        if effect == Effect::Changes && !self.knows_users() {
            return forbidden(
                Problem::ReadOnly,
                "this service changes nothing, since it does not know its users: configure admin.users",
            );
        }
        Ok(())
    }

    /// Whether this is the origin of the service, as the client names it.
    fn is_own(&self, origin: &HeaderValue, fields: &HeaderMap) -> bool {
        let scheme: &[u8] = if self.has_tls {
            b"https://"
        } else {
            b"http://"
        };
        let host = fields.get(HOST).map(HeaderValue::as_bytes);
        let own = origin.as_bytes().strip_prefix(scheme);
        own.is_some_and(|own| host.is_some_and(|host| own.eq_ignore_ascii_case(host)))
    }
}

/// The user of a certificate, and what it needs beside it; none where it does not count any more.
fn certified(
    certificate: &ClientCertificate,
) -> Result<Option<(Operator, CertificateLogin)>, Answer> {
    let refused = |message: String| Err(Answer::problem(Problem::CertificateRefused, message));
    match certificate.login(SystemTime::now()) {
        Ok(None) => Ok(Some((Operator::Certificate, CertificateLogin::Alone))),
        Ok(Some(login)) => match login.user {
            Ok(user) => Ok(Some((Operator::User(user), login.needs))),
            Err(why) => refused(format!("the certificate of the client {why}")),
        },
        Err(why) => refused(why.to_string()),
    }
}

fn wrong() -> Answer {
    Answer::problem(Problem::CredentialsWrong, "the credentials are wrong").with_challenge()
}

/// The answer to credentials that were not accepted. No text of the client is in it.
fn refusal(error: &RequestError) -> Answer {
    let kind = error.kind();
    let problem = match kind {
        ErrorKind::CredentialsWrong => return wrong(),
        kind if kind.is_challenge() => {
            let message = "the credentials cannot be read: send Basic authorization";
            return Answer::problem(Problem::CredentialsMalformed, message).with_challenge();
        }
        ErrorKind::LockedOut => Problem::LockedOut,
        ErrorKind::AuthenticationOverloaded => Problem::AuthenticationOverloaded,
        _ => return Answer::internal(),
    };
    let answer = Answer::problem(problem, kind.text());
    match error.retry_delay() {
        Some(delay) => answer.retry_after(delay.as_secs().max(1)),
        None => answer,
    }
}

impl Operator {
    /// As lines of the log name it.
    pub(super) fn shown(&self, names: &UserNames) -> Cow<'static, str> {
        match self {
            Self::Anyone => "anyone".into(),
            Self::User(user) => format!("{:?}", &*names.show(user.as_str())).into(),
            Self::Certificate => "a certificate".into(),
        }
    }
}

#[cfg(test)]
mod tests;
