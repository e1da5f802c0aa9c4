//! Requests of SOCKS5: whether a client has to log in, its login, and its request, which is served as the CONNECT with the
//! same meaning.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Boxed, Requests};
use crate::client::ClientStream;
use crate::http::credentials::Credentials;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::http1::{HeadError, RequestHead, Version};
use crate::http::secret::Secret;
use crate::http::target::Authority;
use crate::request::admit::{Access, EarlyLogin};
use crate::request::facts::{Arrival, Request};
use crate::request::outcome::Exchange;
use crate::request::tunnel::{TunnelRequest, unless_in_vain};
use crate::socks5::server::{self, Greeting, Login, Method};

/// The message of a client that is refused, which has an answer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Greeting,
    Login,
    Request,
}

/// A client that may send its request.
#[derive(Debug, Default)]
pub struct LoggedIn {
    /// Users and policy with which it has logged in.
    access: Option<Arc<Access>>,
    credentials: Credentials,
    early: Option<Box<EarlyLogin>>,
}

impl<'a> Requests<'a> {
    /// The method of authentication for a client that offers these. One that offers a login has it verified, as one that
    /// sends credentials with a CONNECT has.
    pub fn method(&self, greeting: Greeting) -> Method {
        let access = self.ways.app.access.current();
        if greeting.with_password {
            Method::Password
        } else if greeting.without_login && access.may_omit_login(&self.source) {
            Method::None
        } else {
            Method::Unacceptable
        }
    }

    /// Verifies a login as far as that takes no request. `stream` is watched meanwhile.
    ///
    /// # Errors
    /// It fails, or the client is gone.
    pub async fn log_in(
        &mut self,
        stream: &mut ClientStream,
        login: Login<'_>,
        arrival: Arrival,
    ) -> Result<LoggedIn, RequestError> {
        let app = &self.ways.app;
        let access = app.access.current();
        // Some clients, as those in Java, offer a login without having one.
        let credentials = if login.password.is_empty() && access.is_trusted(&self.source) {
            Credentials::Missing
        } else {
            credentials(login)?
        };
        let request = Request::of_socks5(app.ids.next(), self.source.clone(), arrival);
        let mut exchange = Exchange::new(request, credentials);
        let has_ended = AtomicBool::new(false);
        let verified = app.access.log_in(&access, &mut exchange);
        let early = unless_in_vain(app, stream, &has_ended, verified).await?;
        Ok(LoggedIn {
            access: Some(access),
            credentials: exchange.credentials,
            early: early.map(Box::new),
        })
    }

    /// Serves the request to its end. Not async: what begins it would be part of its future.
    pub fn connect(
        &self,
        stream: Box<ClientStream>,
        authority: Authority,
        client: LoggedIn,
        arrival: Arrival,
    ) -> Boxed<'a, Option<Box<ClientStream>>> {
        let app = &self.ways.app;
        let mut head = RequestHead::connect(authority, Version::Socks5, client.credentials);
        let mut request = Request::new(app.ids.next(), self.source.clone(), &head, arrival);
        request.is_tunnel = true;
        let access = client.access.unwrap_or_else(|| app.access.current());
        let kept = access.keep(&head, &request);
        let mut exchange = Exchange::new(request, std::mem::take(&mut head.credentials));
        exchange.early = client.early;
        exchange.begin(access, kept);
        app.show(&mut exchange, &head);
        let request = Box::new(TunnelRequest::new(exchange, &head));
        Box::pin(self.ways.connect.serve(stream, request))
    }

    /// Refuses a client of SOCKS5 before its request is one, and closes. `client` is who it is, where that is known.
    pub async fn refuse_socks5(
        &mut self,
        stream: Box<ClientStream>,
        error: &RequestError,
        stage: Stage,
        client: Option<LoggedIn>,
        arrival: Arrival,
    ) {
        let app = &self.ways.app;
        let request = Request::of_socks5(app.ids.next(), self.source.clone(), arrival);
        let mut exchange = Exchange::new(request, Credentials::Missing);
        if let Some(early) = client.and_then(|client| client.early) {
            exchange.outcome.identify(early.identity());
        }
        let is_gone = error.kind() == ErrorKind::ClientGone || app.lifecycle.is_aborted();
        let status = if is_gone {
            exchange.outcome.fail(error);
            None
        } else {
            Some(app.refuse(&mut exchange, error, None).status().as_u16())
        };
        let mut record = exchange.record();
        record.status = status;
        record.malformation = HeadError::of(error).map(HeadError::reason);
        app.telemetry.record(&record);
        if is_gone {
            return;
        }
        let answer = match stage {
            Stage::Greeting => Method::Unacceptable.to_bytes().to_vec(),
            Stage::Login => server::login_reply(false).to_vec(),
            Stage::Request => server::reply(error.kind().socks5_reply(), None),
        };
        app.answer(stream, &answer, true).await;
    }
}

/// The login as the credentials of a CONNECT, which have the same rules.
fn credentials(login: Login<'_>) -> Result<Credentials, RequestError> {
    // In Basic, the first colon ends the name.
    if login.user.contains(&b':') {
        let why = "a colon in the user name of a SOCKS5 login";
        return Err(ErrorKind::CredentialsMalformed.because(why));
    }
    let pair = Zeroizing::new([login.user, b":", login.password].concat());
    let value = Zeroizing::new(STANDARD.encode(&pair));
    let value: Box<[u8]> = [b"Basic ", value.as_bytes()].concat().into();
    Ok(Credentials::Proxy(Secret::hide(value)))
}
