//! Requests on connections whose client has shown a certificate: whether it is accepted still, and that it and the
//! credentials are of the same user.

use std::time::SystemTime;

use super::{Access, AccessControl};
use crate::access::auth::{AuthMethod, CertificateLogin, Identity, User};
use crate::client::Login;
use crate::http::credentials::Credentials;
use crate::http::error::{ErrorKind, RequestError};
use crate::request::facts::Request;
use crate::request::outcome::Exchange;

/// The user of the client's certificate; none where there is no certificate, or where it is no user.
///
/// # Errors
/// The certificate is not accepted any more (403).
pub(super) fn login(exchange: &Exchange) -> Result<Option<Login>, RequestError> {
    let Some(certificate) = &exchange.request.source.certificate else {
        return Ok(None);
    };
    let login = certificate.login(exchange.request.time);
    login.map_err(|refused| ErrorKind::ClientCertificate.because(refused))
}

/// The user that the certificate names, if it is accepted.
pub(super) fn user(request: &Request) -> Option<User> {
    let certificate = request.source.certificate.as_ref()?;
    let login = certificate.login(SystemTime::now()).ok()??;
    login.user.ok()
}

impl AccessControl {
    /// The identity of a client whose certificate is a user. Credentials, where they are needed or sent, have to be of
    /// the same user. The network of the client proves nothing here.
    ///
    /// # Errors
    /// The certificate names no user, credentials are missing, wrong or of another user (407, or 401 at the gateway); and
    /// those of [`authenticate`](Self::authenticate).
    pub(super) async fn by_certificate(
        &self,
        access: &Access,
        login: Login,
        credentials: &Credentials,
        exchange: &mut Exchange,
    ) -> Result<Identity, RequestError> {
        let user = login.user.map_err(|why| {
            ErrorKind::CredentialsWrong.because(format!("the certificate of the client {why}"))
        })?;
        if credentials.value().is_none() {
            return match login.needs {
                CertificateLogin::Alone => {
                    exchange.outcome.auth = Some(AuthMethod::Certificate);
                    Ok(user.into())
                }
                CertificateLogin::WithPassword => Err(ErrorKind::CredentialsMissing.into()),
            };
        }
        let identity = self.authenticate(access, credentials, exchange).await?;
        let method = exchange.outcome.auth.take();
        if *identity.user() != user {
            // The same answer as to a wrong password: which of the two it was is not told.
            let why = "the certificate of the client is that of another user";
            return Err(ErrorKind::CredentialsWrong.because(why));
        }
        exchange.outcome.auth = method.map(AuthMethod::with_certificate);
        Ok(identity)
    }
}
