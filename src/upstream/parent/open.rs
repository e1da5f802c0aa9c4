//! Opening tunnels through a parent.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Parent;
use super::connect::{self, ConnectAnswer};
use super::failure::Failure;
use super::member::{Member, ParentStream};
use crate::config::{ParentCredentials, ParentScheme};
use crate::http::error::{ErrorKind, RequestError};
use crate::http::target::{Authority, Host};
use crate::socks5::Address;
use crate::socks5::client::{Handshake, Step};
use crate::upstream::dial::Candidates;

/// Addresses of one target that a parent is asked for, one after the other.
const MAX_ADDRESSES: usize = 4;

/// Where a tunnel goes, as the parent is told.
#[derive(Clone, Debug)]
pub enum Target {
    /// To the addresses that the policy has admitted.
    Addresses(Candidates),
    /// To a name, which the parent resolves.
    Name(Authority),
}

/// What a tunnel is opened with.
#[derive(Clone, Debug)]
pub struct Tunnel {
    /// Where to.
    pub target: Target,
    /// The value of `Via`, with this proxy in it.
    pub via: Bytes,
}

/// A tunnel that is open.
#[derive(Debug)]
pub struct OpenedTunnel {
    /// The connection to the parent, whose next byte is the target's.
    pub stream: ParentStream,
    /// What the target has sent already.
    pub early: Bytes,
    /// Which of the addresses the parent was asked for; none for a name.
    pub target: Option<SocketAddr>,
}

impl Target {
    fn authorities(&self) -> impl Iterator<Item = (Cow<'_, Authority>, Option<SocketAddr>)> {
        let (addresses, name) = match self {
            Self::Addresses(candidates) => (Some(candidates), None),
            Self::Name(authority) => (None, Some(authority)),
        };
        let all = move || addresses.into_iter().flat_map(Candidates::iter);
        // What this host reaches says nothing of a parent, and some parents say that a tunnel is open before they have
        // connected: so those that nearly every parent reaches come first.
        let addresses = all()
            .filter(SocketAddr::is_ipv4)
            .chain(all().filter(SocketAddr::is_ipv6));
        let addresses = addresses.take(MAX_ADDRESSES).map(|address| {
            let host = Host::Ip(address.ip());
            let port = address.port();
            (Cow::Owned(Authority { host, port }), Some(address))
        });
        let name = name.into_iter().map(|name| (Cow::Borrowed(name), None));
        addresses.chain(name)
    }
}

impl Parent {
    /// Opens a tunnel through the URL with this number. Of several addresses of the target, one that the parent does not
    /// reach is followed by the next, all within the time of one.
    ///
    /// # Errors
    /// [`ErrorKind::ParentFailed`] where another URL may do better; another one where the parent refuses.
    pub async fn open(&self, number: usize, tunnel: &Tunnel) -> Result<OpenedTunnel, RequestError> {
        let Some(member) = self.member(number) else {
            return Err(none());
        };
        let begun = Instant::now();
        let opened = self.open_at(member, tunnel).await;
        self.note(member, begun, opened)
    }

    /// Connects to the URL with this number by TCP alone, for requests in absolute-form: TLS is for the caller.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn connect_tcp(&self, number: usize) -> Result<TcpStream, RequestError> {
        let Some(member) = self.member(number) else {
            return Err(none());
        };
        let begun = Instant::now();
        let connected = member.connect_tcp(&self.parts).await;
        self.note(member, begun, connected.map_err(Failure::Dial))
    }

    /// Notes that a request in absolute-form was answered through this URL.
    pub fn answered(&self, number: usize) {
        if let Some(member) = self.member(number) {
            member.answered();
        }
    }

    /// The error of a request in absolute-form that got no connection to this URL, which is noted.
    pub fn not_connected(&self, number: usize, why: RequestError) -> RequestError {
        let Some(member) = self.member(number) else {
            return why;
        };
        let failure = Failure::Dial(why);
        if !failure.exhaustion() {
            member.failed(self.ejection(), failure.kind().0.name());
        }
        failure.into_error(member)
    }

    fn note<T>(
        &self,
        member: &Member,
        begun: Instant,
        outcome: Result<T, Failure>,
    ) -> Result<T, RequestError> {
        let result = outcome.as_ref().map_or_else(Failure::result, |_| "success");
        let telemetry = &self.parts.telemetry;
        telemetry.parent_dialed(&self.shown, result, begun.elapsed());
        outcome
            .map_err(|failure| {
                let is_answer = failure.is_answer();
                let says_nothing = failure.exhaustion();
                let error = failure.into_error(member);
                if is_answer {
                    member.answered();
                } else if !says_nothing {
                    member.failed(self.ejection(), error.kind().name());
                }
                error
            })
            .inspect(|_| member.answered())
    }

    async fn open_at(&self, member: &Member, tunnel: &Tunnel) -> Result<OpenedTunnel, Failure> {
        let deadline = self.settings.timeout;
        let mut left = deadline;
        let mut last = Failure::Protocol("no address of the target");
        for (authority, address) in tunnel.target.authorities() {
            let stream = member.connect(&self.parts).await.map_err(Failure::Dial)?;
            let begun = Instant::now();
            let opened = within(left, self.ask(member, stream, &authority, &tunnel.via)).await;
            match opened {
                Ok(opened) => {
                    if let (Target::Addresses(candidates), Some(address)) =
                        (&tunnel.target, address)
                    {
                        candidates.remember(address);
                    }
                    return Ok(OpenedTunnel {
                        target: address,
                        ..opened
                    });
                }
                Err(failure) if failure.is_about_address() => last = failure,
                Err(failure) => return Err(failure),
            }
            left = left.saturating_sub(begun.elapsed());
        }
        Err(last)
    }

    /// Asks for a tunnel on a connection to the parent.
    async fn ask(
        &self,
        member: &Member,
        mut stream: ParentStream,
        target: &Authority,
        via: &[u8],
    ) -> Result<OpenedTunnel, Failure> {
        let credentials = self.settings.credentials.as_ref();
        let early = match member.url().scheme {
            ParentScheme::Http | ParentScheme::Https => {
                let credentials = credentials.map(ParentCredentials::basic);
                let head = connect::request(&target.to_string(), via, credentials);
                by_connect(&mut stream, &head).await?
            }
            ParentScheme::Socks5 => {
                let login = credentials.map(|credentials| credentials.expose());
                let login = login.map(|(user, password)| (user.as_bytes(), password.as_bytes()));
                let host = match &target.host {
                    Host::Ip(ip) => Address::Ip(ip.to_canonical()),
                    Host::Name(name) => Address::Name(name.as_bytes()),
                };
                by_socks(&mut stream, Handshake::new(host, target.port, login)?).await?
            }
        };
        Ok(OpenedTunnel {
            stream,
            early,
            target: None,
        })
    }

    /// Whether the URL can be used: a connection to it, or a tunnel to `target`.
    pub(super) async fn check(
        &self,
        member: &Member,
        target: Option<&Authority>,
    ) -> Result<(), String> {
        let limit = self.settings.health.timeout;
        let checked = within(limit, async {
            let stream = member.connect(&self.parts).await.map_err(Failure::Dial)?;
            match target {
                Some(target) => self
                    .ask(member, stream, target, b"1.1 tollgate")
                    .await
                    .map(drop),
                None => Ok(()),
            }
        });
        match checked.await {
            // A host that has no socket to connect with does not mislead it.
            Err(failure) if failure.exhaustion() && member.is_up() => Ok(()),
            Err(Failure::Dial(error)) => Err(error.chain()),
            Err(failure) => Err(failure.to_string()),
            Ok(()) => Ok(()),
        }
    }
}

fn none() -> RequestError {
    ErrorKind::Internal.because("a parent has no such URL")
}

async fn within<T>(
    limit: Duration,
    asking: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(limit, asking).await.unwrap_or(Err(Failure::Silent))
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Failure> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    Ok(())
}

/// Sends a CONNECT and reads its answer, with what comes behind it.
pub(super) async fn by_connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    head: &[u8],
) -> Result<Bytes, Failure> {
    send(stream, head).await?;
    let mut answer = ConnectAnswer::new();
    let mut bytes = BytesMut::new();
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(Failure::Closed);
        }
        if answer.advance(&mut bytes)? {
            return Ok(bytes.freeze());
        }
    }
}

/// Goes through the handshake of SOCKS5. It never reads a byte of the target, so that there are no early ones.
pub(super) async fn by_socks(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    mut handshake: Handshake,
) -> Result<Bytes, Failure> {
    send(stream, handshake.begin()).await?;
    let mut bytes = BytesMut::new();
    loop {
        match handshake.advance(&bytes)? {
            Step::Read(missing) => {
                let missing = u64::try_from(missing).unwrap_or(u64::MAX);
                let mut limited = (&mut *stream).take(missing);
                if limited.read_buf(&mut bytes).await? == 0 {
                    return Err(Failure::Closed);
                }
            }
            Step::Send(length, message) => {
                bytes.advance(length);
                send(stream, &message).await?;
            }
            Step::Open(length, _) => {
                bytes.advance(length);
                return Ok(bytes.freeze());
            }
        }
    }
}
