//! The handshake of SOCKS5 (RFC 1928): from the first byte of a connection to its request.
//!
//! Its messages have to arrive within the time for a head, from the first byte on; the time that a login takes here is not
//! counted. No message is longer than 513 bytes, so that little is kept of a client.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::time::Instant;

use super::Acceptor;
use super::connection::{Event, IdleConnection, refuse_protocol};
use super::protocol::{Door, Protocol};
use crate::client::ClientStream;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::http1::HeadError;
use crate::http::target::{Authority, Host, TargetError};
use crate::request::app::App;
use crate::request::dispatch::{LoggedIn, Requests, Stage};
use crate::request::facts::Arrival;
use crate::socks5::message::{MessageError, Progress};
use crate::socks5::server::{Command, Greeting, Login, Method, Request, login_reply};
use crate::socks5::{Address, VERSION};

/// A request that is served.
type Served<'a> = Pin<Box<dyn Future<Output = Option<Box<ClientStream>>> + Send + 'a>>;

/// Why there is no request.
enum Ending {
    /// The client closed the connection or sent nothing. It gets no answer.
    Gone,
    /// It is told why. With who it is, where that is known.
    Refused(RequestError, Stage, Option<Box<LoggedIn>>),
    /// It speaks another protocol.
    Other,
}

impl Ending {
    fn at(stage: Stage, error: impl Into<RequestError>) -> Self {
        Self::Refused(error.into(), stage, None)
    }
}

/// Reads a client up to its request, and begins to serve that. None where the client was refused, or is gone.
pub(super) async fn shake_hands<'a>(
    acceptor: &'a Arc<Acceptor>,
    idle: &mut IdleConnection,
    requests: &mut Requests<'a>,
    stream: Box<ClientStream>,
) -> Option<Served<'a>> {
    let app = &acceptor.app;
    let mut handshake = Handshake {
        app,
        idle,
        requests,
        stream,
        deadline: Instant::now() + app.timeouts.request_head,
        arrival: None,
    };
    let outcome = handshake.run().await;
    let arrival = handshake.arrival();
    let Handshake {
        requests,
        mut stream,
        ..
    } = handshake;
    match outcome {
        Ok((authority, client)) => {
            return Some(requests.connect(stream, authority, client, arrival));
        }
        Err(Ending::Gone) => {}
        Err(Ending::Refused(error, stage, client)) => {
            let refused = requests.refuse_socks5(
                stream,
                &error,
                stage,
                client.map(|client| *client),
                arrival,
            );
            refused.await;
        }
        Err(Ending::Other) => {
            let seen = stream.take(stream.inbox().len());
            let protocol = Protocol::guess_at(Door::Socks5, &seen);
            let requests = Requests::new(&acceptor.ways, requests.source());
            refuse_protocol(acceptor, requests, stream, protocol, Door::Socks5, &seen).await;
        }
    }
    None
}

struct Handshake<'h, 'a> {
    app: &'h App,
    idle: &'h mut IdleConnection,
    requests: &'h mut Requests<'a>,
    stream: Box<ClientStream>,
    deadline: Instant,
    /// Since the first byte.
    arrival: Option<Arrival>,
}

impl Handshake<'_, '_> {
    async fn run(&mut self) -> Result<(Authority, LoggedIn), Ending> {
        let message = self
            .message(Stage::Greeting, |data| Ok(Greeting::parse(data)?.length()))
            .await?;
        let greeting = whole(Greeting::parse(&message), Stage::Greeting)?;
        let method = self.requests.method(greeting);
        let client = match method {
            Method::Unacceptable => {
                let missing = ErrorKind::CredentialsMissing;
                return Err(Ending::at(Stage::Greeting, missing));
            }
            Method::None => {
                self.send(method.to_bytes()).await?;
                LoggedIn::default()
            }
            Method::Password => {
                self.send(method.to_bytes()).await?;
                self.log_in().await?
            }
        };
        let message = self
            .message(Stage::Request, |data| Ok(Request::parse(data)?.length()))
            .await?;
        let request = whole(Request::parse(&message), Stage::Request)?;
        match authority(&request) {
            Ok(authority) => Ok((authority, client)),
            Err(error) => Err(Ending::Refused(error, Stage::Request, Some(client.into()))),
        }
    }

    async fn log_in(&mut self) -> Result<LoggedIn, Ending> {
        let message = self
            .message(Stage::Login, |data| Ok(Login::parse(data)?.length()))
            .await?;
        let login = whole(Login::parse(&message), Stage::Login)?;
        let (begun, arrival) = (Instant::now(), self.arrival());
        let verified = self.requests.log_in(&mut self.stream, login, arrival).await;
        self.deadline += begun.elapsed();
        let client = verified.map_err(|error| Ending::at(Stage::Login, error))?;
        self.send(login_reply(true)).await?;
        Ok(client)
    }

    /// Reads one message and takes it. What has come behind it stays.
    async fn message(
        &mut self,
        stage: Stage,
        length: fn(&[u8]) -> Result<Option<usize>, MessageError>,
    ) -> Result<BytesMut, Ending> {
        loop {
            let inbox = self.stream.inbox();
            if let Some(first) = inbox.first() {
                let now = std::time::Instant::now();
                let arrival = self.arrival.get_or_insert_with(|| {
                    self.deadline = Instant::from_std(now) + self.app.timeouts.request_head;
                    Arrival::at(now)
                });
                arrival.completed = now;
                if stage == Stage::Greeting && *first != VERSION {
                    return Err(Ending::Other);
                }
                match length(inbox) {
                    Ok(Some(length)) => return Ok(self.stream.take(length)),
                    Ok(None) => {}
                    Err(error) => return Err(Ending::at(stage, malformed(error))),
                }
            }
            if self.stream.ended() {
                return Err(Ending::Gone);
            }
            let begun = self.arrival.is_some();
            let stream = &mut self.stream;
            match self.idle.wait(self.app, stream, self.deadline, begun).await {
                Event::Filled(Ok(_)) => {}
                Event::Filled(Err(_)) | Event::Draining => return Err(Ending::Gone),
                Event::Late if begun => return Err(Ending::at(stage, ErrorKind::HeadTimeout)),
                Event::Late => return Err(Ending::Gone),
            }
        }
    }

    async fn send(&mut self, message: [u8; 2]) -> Result<(), Ending> {
        let sent = tokio::time::timeout(self.app.timeouts.send, self.stream.send(&message)).await;
        sent.ok().and_then(Result::ok).ok_or(Ending::Gone)
    }

    /// When its first and its last byte came, so far.
    fn arrival(&self) -> Arrival {
        self.arrival.unwrap_or_else(Arrival::now)
    }
}

/// A message that was found to be whole.
fn whole<T>(parsed: Result<Progress<T>, MessageError>, stage: Stage) -> Result<T, Ending> {
    match parsed {
        Ok(Progress::Complete(message, _)) => Ok(message),
        Ok(Progress::Needs(_)) => Err(Ending::at(stage, ErrorKind::Internal)),
        Err(error) => Err(Ending::at(stage, malformed(error))),
    }
}

fn malformed(error: MessageError) -> RequestError {
    let kind = match error {
        MessageError::AddressType => ErrorKind::SocksAddressType,
        _ => ErrorKind::BadRequest,
    };
    kind.because(error)
}

/// Where a request leads. A name that is an address is that address, as in CONNECT.
fn authority(request: &Request<'_>) -> Result<Authority, RequestError> {
    if request.command != Command::Connect {
        return Err(ErrorKind::SocksCommand.because(request.command.name()));
    }
    let host = match request.address {
        Address::Ip(ip) => Ok(Host::Ip(ip)),
        Address::Name(name) => host(name),
    };
    let host = host.map_err(HeadError::Target)?;
    if request.port == 0 {
        return Err(HeadError::Target(TargetError::Port).into());
    }
    Ok(Authority {
        host,
        port: request.port,
    })
}

/// The host that a name is. An IPv6 address stands without brackets here.
fn host(name: &[u8]) -> Result<Host, TargetError> {
    let text = std::str::from_utf8(name).or(Err(TargetError::HostName))?;
    match text.parse() {
        Ok(ip) => Ok(Host::Ip(ip)),
        Err(_) => Host::parse(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(address: Address<'_>, port: u16) -> Result<String, ErrorKind> {
        let request = Request {
            command: Command::Connect,
            address,
            port,
        };
        let authority = authority(&request);
        authority
            .map(|authority| authority.to_string())
            .map_err(|error| error.kind())
    }

    #[test]
    fn a_name_means_what_it_means_in_connect() {
        let named = |name: &str| asked(Address::Name(name.as_bytes()), 443);
        for (name, expected) in [
            ("Example.ORG.", "example.org:443"),
            ("127.0.0.1", "127.0.0.1:443"),
            ("0177.1", "127.0.0.1:443"),
            ("2130706433", "127.0.0.1:443"),
            ("::1", "[::1]:443"),
            ("[::1]", "[::1]:443"),
            ("b\u{fc}cher.example", "xn--bcher-kva.example:443"),
        ] {
            assert_eq!(named(name).as_deref(), Ok(expected), "{name}");
        }
        for name in [
            "a b",
            "a\0b",
            "a:80",
            "user@host",
            "a..b",
            ".",
            "%61",
            "fe80::1%1",
            "a/b",
            "1.2.3.4.5",
        ] {
            assert_eq!(named(name), Err(ErrorKind::BadRequest), "{name}");
        }
        let not_text = asked(Address::Name(b"a\xff"), 443);
        assert_eq!(not_text, Err(ErrorKind::BadRequest));
    }

    #[test]
    fn a_port_of_zero_is_none() {
        let ip = Address::Ip([192, 0, 2, 1].into());
        assert_eq!(asked(ip, 0), Err(ErrorKind::BadRequest));
        assert_eq!(asked(ip, 1).as_deref(), Ok("192.0.2.1:1"));
    }
}
