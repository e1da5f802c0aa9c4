//! A login that comes before its request, as in SOCKS5: verified when it comes, so that its client hears at once whether it
//! has failed.

use std::time::SystemTime;

use super::{Access, AccessControl, certificate};
use crate::access::auth::external::Ask;
use crate::access::auth::{AuthMethod, CertificateLogin, Check, Clocks, Identity};
use crate::hook::Phases;
use crate::http::error::{ErrorKind, RequestError};
use crate::request::facts::Source;
use crate::request::outcome::{Exchange, Outcome};

/// A client whose credentials were verified before its request. Admission takes it in place of verifying them again.
#[derive(Clone, Debug)]
pub struct EarlyLogin {
    identity: Identity,
    method: Option<AuthMethod>,
}

impl EarlyLogin {
    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The identity, with what proved it noted in `outcome`.
    pub(super) fn into_identity(self, outcome: &mut Outcome) -> Identity {
        outcome.auth = self.method;
        self.identity
    }
}

impl Access {
    /// Whether a client may be somebody without credentials: by its network, by its certificate, or by what a hook says.
    /// Where its certificate is not accepted any more, the answer to its request says so.
    pub fn may_omit_login(&self, source: &Source) -> bool {
        if self.hooks.phases().has(Phases::AUTHENTICATE) {
            return true;
        }
        let certificate = source.certificate.as_ref();
        match certificate.map(|it| it.login(SystemTime::now())) {
            Some(Ok(Some(login))) => login.needs == CertificateLogin::Alone,
            Some(Err(_)) => true,
            Some(Ok(None)) | None => self.is_trusted(source),
        }
    }

    /// Whether the network of a client says who it is.
    pub fn is_trusted(&self, source: &Source) -> bool {
        let trusted = self.authenticator.trusted();
        trusted.user(source.client.ip()).is_some()
    }

    /// Whether only the request tells who the client is, since a hook or the external authoriser sees both.
    fn needs_request(&self, exchange: &Exchange) -> Result<bool, RequestError> {
        if self.hooks.phases().has(Phases::AUTHENTICATE) {
            return Ok(true);
        }
        let (Some(_), Some(value)) = (self.asked(Ask::UnknownUsers), exchange.credentials.value())
        else {
            return Ok(false);
        };
        let request = &exchange.request;
        let now = Clocks {
            instant: request.arrival.completed,
            time: request.time,
        };
        let network = self.network(request.source.client.ip());
        Ok(match self.authenticator.check(value, network, now)? {
            Check::Unverified(attempt) => !self.authenticator.is_taken(attempt.user().as_str()),
            Check::Verified(_) | Check::Token(_) => false,
        })
    }
}

impl AccessControl {
    /// Verifies the credentials of a client before its request. None where they are to be verified with the request: there
    /// are none, or a hook or the external authoriser decides about them, which sees both.
    ///
    /// # Errors
    /// Those of [`admit`](Self::admit) that are about credentials.
    pub async fn log_in(
        &self,
        access: &Access,
        exchange: &mut Exchange,
    ) -> Result<Option<EarlyLogin>, RequestError> {
        if exchange.credentials.value().is_none() || access.needs_request(exchange)? {
            return Ok(None);
        }
        let certificate = certificate::login(exchange)?;
        let credentials = std::mem::take(&mut exchange.credentials);
        let identity = self.authenticate(access, &credentials, exchange).await;
        exchange.credentials = credentials;
        let identity = identity?;
        // Admission compares the two once more, and notes both.
        if let Some(login) = certificate
            && login.user.as_ref() != Ok(identity.user())
        {
            let why = "the certificate of the client names no user, or another one";
            return Err(ErrorKind::CredentialsWrong.because(why));
        }
        let method = exchange.outcome.auth.take();
        Ok(Some(EarlyLogin { identity, method }))
    }
}
