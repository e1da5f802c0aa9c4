//! One name server: queries over UDP, over TCP when the response is long, and without
//! EDNS when the server does not support it. Remembers the state of the server.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

use super::error::exhaustion;
use super::question::{Question, Response};
use crate::http::error::ErrorKind;

/// The time from the first packet of a question to its retransmission; each further
/// interval is twice as long. At most a fifth of the time for the whole question.
const RETRANSMISSION: Duration = Duration::from_millis(400);
/// The most packets of one question.
const MAX_PACKETS: usize = 4;
/// How long a server without EDNS is queried without it.
const EDNS_OFF: Duration = Duration::from_secs(10 * 60);
/// The largest response over UDP.
const MAX_PACKET: usize = 4096;

/// A name server and its known state.
#[derive(Debug)]
pub(super) struct NameServer {
    pub(super) address: SocketAddr,
    edns: Mutex<Edns>,
    /// It did not answer recently: the others are queried first.
    pub(super) silent: AtomicBool,
    /// It is probed in the background.
    pub(super) watched: AtomicBool,
}

/// Whether the server supports EDNS (RFC 6891).
#[derive(Clone, Copy, Debug)]
enum Edns {
    /// Not known yet.
    Untried,
    /// It has answered a question with EDNS.
    Supported,
    /// It does not; EDNS is tried again at this time.
    UnsupportedUntil(Instant),
}

/// Why a name server gave no usable response. Prints as a verb with its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueryFailure {
    /// It sent no response.
    Silent,
    /// Nothing listens on its port.
    Closed,
    /// No packet can be sent to it.
    Unreachable,
    /// This host is out of descriptors or of memory for sockets.
    Exhausted,
    /// This host is out of local ports.
    OutOfPorts,
    /// It did not accept the TCP connection that its long response needs.
    NoTcp,
    /// Its response cannot be parsed.
    Unreadable,
    /// It does not resolve names.
    Referral,
    /// It answered with this error code.
    Code(ResponseCode),
    /// The name is too long for a question.
    Unaskable,
}

impl QueryFailure {
    /// Whether the server is reachable: it sent something, or this host is the cause.
    pub(super) const fn is_response(self) -> bool {
        match self {
            Self::Silent | Self::Closed | Self::Unreachable => false,
            Self::Exhausted
            | Self::OutOfPorts
            | Self::NoTcp
            | Self::Unreadable
            | Self::Referral
            | Self::Code(_)
            | Self::Unaskable => true,
        }
    }
}

impl fmt::Display for QueryFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "does not answer",
            Self::Closed => "does not answer: its port is closed",
            Self::Unreachable => "cannot be reached from this host",
            Self::Exhausted => "cannot be queried: this host has no file descriptor left",
            Self::OutOfPorts => "cannot be queried: this host has no local port left",
            Self::NoTcp => "has an answer that is too long for UDP and does not take TCP",
            Self::Unreadable => "sends an answer that cannot be read",
            Self::Referral => "resolves no names, it only refers to other servers",
            Self::Code(ResponseCode::ServFail) => "failed (SERVFAIL)",
            Self::Code(ResponseCode::Refused) => "refuses to answer (REFUSED)",
            Self::Code(ResponseCode::FormErr) => "cannot read the question (FORMERR)",
            Self::Code(ResponseCode::NotImp) => "does not implement the question (NOTIMP)",
            Self::Code(code) => {
                return write!(f, "answers with the error code {}", u16::from(*code));
            }
            Self::Unaskable => "cannot be queried for a name of this length",
        })
    }
}

/// A packet that was sent.
struct Packet {
    id: u16,
    edns: bool,
}

impl NameServer {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            edns: Mutex::new(Edns::Untried),
            silent: AtomicBool::new(false),
            watched: AtomicBool::new(false),
        }
    }

    /// Sends a question and waits for the response, for `limit` at most.
    ///
    /// # Errors
    /// Why there is no usable response.
    pub(super) async fn ask(
        &self,
        question: &Question,
        limit: Duration,
    ) -> Result<Response, QueryFailure> {
        let asked = timeout(limit, self.exchange(question, limit)).await;
        match asked.unwrap_or(Err(QueryFailure::Silent))? {
            Response::Referral => Err(QueryFailure::Referral),
            Response::Unreadable => Err(QueryFailure::Unreadable),
            Response::Code(code) => Err(QueryFailure::Code(code)),
            response => Ok(response),
        }
    }

    async fn exchange(
        &self,
        question: &Question,
        limit: Duration,
    ) -> Result<Response, QueryFailure> {
        match self.over_udp(question, limit).await? {
            (Response::Truncated, edns) => self.over_tcp(question, edns).await,
            (response, _) => Ok(response),
        }
    }

    /// The response, and whether it belongs to a packet with EDNS.
    async fn over_udp(
        &self,
        question: &Question,
        limit: Duration,
    ) -> Result<(Response, bool), QueryFailure> {
        let mut wait = RETRANSMISSION.min(limit / 5);
        let mut edns = self.supports_edns();
        let socket = self.socket().await?;
        let mut buffer = [0; MAX_PACKET];
        let mut sent: Vec<Packet> = Vec::with_capacity(MAX_PACKETS);
        while sent.len() < MAX_PACKETS {
            let id = random_id()?;
            let message = question
                .to_message(id, edns)
                .ok_or(QueryFailure::Unaskable)?;
            socket
                .send(&message)
                .await
                .map_err(|error| classify(&error))?;
            sent.push(Packet { id, edns });
            let until = Instant::now() + wait;
            wait *= 2;
            loop {
                let received = match timeout_at(until, socket.recv(&mut buffer)).await {
                    Err(_) => break,
                    Ok(received) => received.map_err(|error| classify(&error))?,
                };
                let packet = buffer.get(..received).unwrap_or_default();
                let Some((response, of_edns)) = parse(question, packet, &sent) else {
                    continue;
                };
                let plain_was_sent = sent.iter().any(|packet| !packet.edns);
                if of_edns && self.may_be_about_edns(&response) {
                    if plain_was_sent {
                        // The response to the other packet counts.
                        continue;
                    }
                    break;
                }
                self.learn(of_edns, sent.iter().any(|packet| packet.edns));
                return Ok((response, of_edns));
            }
            // Some servers and firewalls drop packets with EDNS.
            edns = edns
                && matches!(*self.edns.lock(), Edns::Supported)
                && sent.len() + 1 < MAX_PACKETS;
        }
        // The caller's timeout ends this loop.
        loop {
            let received = socket
                .recv(&mut buffer)
                .await
                .map_err(|error| classify(&error))?;
            let packet = buffer.get(..received).unwrap_or_default();
            if let Some((response, edns)) = parse(question, packet, &sent) {
                return Ok((response, edns));
            }
        }
    }

    /// Whether a server without EDNS may respond like this. Once it has answered a
    /// question with EDNS, its failures are about the name.
    fn may_be_about_edns(&self, response: &Response) -> bool {
        match response {
            Response::Code(
                ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS,
            ) => {
                *self.edns.lock() = Edns::Untried;
                true
            }
            Response::Code(_) | Response::Unreadable => matches!(*self.edns.lock(), Edns::Untried),
            _ => false,
        }
    }

    fn supports_edns(&self) -> bool {
        match *self.edns.lock() {
            Edns::UnsupportedUntil(end) => end <= Instant::now(),
            Edns::Untried | Edns::Supported => true,
        }
    }

    /// Notes a response to a packet with EDNS, or to one without while one with EDNS got none.
    fn learn(&self, of_edns: bool, edns_was_sent: bool) {
        if of_edns {
            *self.edns.lock() = Edns::Supported;
        } else if edns_was_sent {
            log::debug!("name server {} is queried without EDNS", self.address);
            *self.edns.lock() = Edns::UnsupportedUntil(Instant::now() + EDNS_OFF);
        }
    }

    /// A new socket for each question, so that an attacker has to guess its port as well as
    /// the id. Connected, so that the kernel drops packets of others and reports a closed port.
    async fn socket(&self) -> Result<UdpSocket, QueryFailure> {
        let open = async {
            let socket = match self.address {
                SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?,
                SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await?,
            };
            socket.connect(self.address).await?;
            Ok(socket)
        };
        open.await.map_err(|error: io::Error| match error.kind() {
            // A datagram needs a source address; connect(2) fails before it selects a port.
            io::ErrorKind::AddrNotAvailable => QueryFailure::Unreachable,
            _ => classify(&error),
        })
    }

    async fn over_tcp(&self, question: &Question, edns: bool) -> Result<Response, QueryFailure> {
        let id = random_id()?;
        let message = question
            .to_message(id, edns)
            .ok_or(QueryFailure::Unaskable)?;
        let length = u16::try_from(message.len()).map_err(|_long| QueryFailure::Unaskable)?;
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await?;
            let mut framed = length.to_be_bytes().to_vec();
            framed.extend_from_slice(&message);
            stream.write_all(&framed).await?;
            let length = stream.read_u16().await?;
            let mut answer = vec![0; length.into()];
            stream.read_exact(&mut answer).await?;
            io::Result::Ok(answer)
        };
        let answer = exchange
            .await
            .map_err(|_any: io::Error| QueryFailure::NoTcp)?;
        let sent = [Packet { id, edns }];
        match parse(question, &answer, &sent) {
            Some((Response::Truncated, _)) | None => Err(QueryFailure::Unreadable),
            Some((response, _)) => Ok(response),
        }
    }
}

/// Parses a packet that responds to one of `sent`, and tells whether that one had EDNS.
fn parse(question: &Question, packet: &[u8], sent: &[Packet]) -> Option<(Response, bool)> {
    let id = u16::from_be_bytes(*packet.first_chunk()?);
    let of = sent.iter().find(|packet| packet.id == id)?;
    Some((question.read(packet)?, of.edns))
}

fn random_id() -> Result<u16, QueryFailure> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|_none| QueryFailure::Exhausted)?;
    Ok(u16::from_be_bytes(id))
}

fn classify(error: &io::Error) -> QueryFailure {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => QueryFailure::Closed,
        // udp(7): all ephemeral ports are in use.
        Some(Errno::AGAIN) => QueryFailure::OutOfPorts,
        _ => match exhaustion(error) {
            Some(ErrorKind::OutOfPorts) => QueryFailure::OutOfPorts,
            Some(_) => QueryFailure::Exhausted,
            None => QueryFailure::Unreachable,
        },
    }
}
