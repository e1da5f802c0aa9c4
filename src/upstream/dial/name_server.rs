//! One name server: a question over UDP, over TCP where the answer is long, and without
//! EDNS where the server does not take that. Remembers what it learned of the server.

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
use super::question::{Question, Said};
use crate::http::error::Kind;

/// How long the first packet of a question waits for its answer before it is sent again;
/// each further one waits twice as long as the one before it. With less time for the whole
/// question it is a fifth of that.
const RETRANSMISSION: Duration = Duration::from_millis(400);
/// The packets of one question.
const MAX_PACKETS: usize = 4;
/// How long a server without EDNS is asked without it.
const EDNS_OFF: Duration = Duration::from_secs(10 * 60);
/// The largest answer over UDP that is read.
const MAX_PACKET: usize = 4096;

/// A name server and what is known of it.
#[derive(Debug)]
pub(super) struct NameServer {
    pub(super) address: SocketAddr,
    edns: Mutex<Edns>,
    /// Did not answer lately: the others are asked first.
    pub(super) silent: AtomicBool,
    /// Is asked in the background whether it answers.
    pub(super) watched: AtomicBool,
}

/// Whether the server takes questions with EDNS (RFC 6891).
#[derive(Clone, Copy, Debug)]
enum Edns {
    /// Not known yet.
    Untried,
    /// It has answered one.
    Taken,
    /// It does not; it is tried again from then on.
    RefusedUntil(Instant),
}

/// Why a name server gave no usable answer. Displays as what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing came.
    Silent,
    /// Nothing listens on its port.
    Closed,
    /// No packet can be sent to it.
    Unreachable,
    /// This host is out of descriptors or of memory for sockets.
    Exhausted,
    /// This host is out of local ports.
    OutOfPorts,
    /// It did not take the TCP connection that its long answer needs.
    NoTcp,
    /// Its answer cannot be read.
    Unreadable,
    /// It does not resolve names.
    Referral,
    /// It answered with this error code.
    Code(ResponseCode),
    /// The name is too long for a question.
    Unaskable,
}

impl Trouble {
    /// Whether the server is there: it said something.
    pub(super) const fn is_answer(self) -> bool {
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

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "does not answer",
            Self::Closed => "does not answer: its port is closed",
            Self::Unreachable => "cannot be reached from this host",
            Self::Exhausted => "cannot be asked: this host has no file descriptor left",
            Self::OutOfPorts => "cannot be asked: this host has no local port left",
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
            Self::Unaskable => "cannot be asked for a name of this length",
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

    /// Asks, for `limit` at most.
    ///
    /// # Errors
    /// What the server did instead of answering.
    pub(super) async fn ask(&self, question: &Question, limit: Duration) -> Result<Said, Trouble> {
        let asked = timeout(limit, self.converse(question, limit)).await;
        match asked.unwrap_or(Err(Trouble::Silent))? {
            Said::Referral => Err(Trouble::Referral),
            Said::Unreadable => Err(Trouble::Unreadable),
            Said::Code(code) => Err(Trouble::Code(code)),
            said => Ok(said),
        }
    }

    async fn converse(&self, question: &Question, limit: Duration) -> Result<Said, Trouble> {
        match self.over_udp(question, limit).await? {
            (Said::Truncated, edns) => self.over_tcp(question, edns).await,
            (said, _) => Ok(said),
        }
    }

    /// The answer, and whether it is one to a packet with EDNS.
    async fn over_udp(
        &self,
        question: &Question,
        limit: Duration,
    ) -> Result<(Said, bool), Trouble> {
        let mut wait = RETRANSMISSION.min(limit / 5);
        let mut edns = self.takes_edns();
        let socket = self.socket().await?;
        let mut buffer = [0; MAX_PACKET];
        let mut sent: Vec<Packet> = Vec::with_capacity(MAX_PACKETS);
        while sent.len() < MAX_PACKETS {
            let id = random_id()?;
            let message = question.to_message(id, edns).ok_or(Trouble::Unaskable)?;
            socket.send(&message).await.map_err(|error| sort(&error))?;
            sent.push(Packet { id, edns });
            let until = Instant::now() + wait;
            wait *= 2;
            loop {
                let received = match timeout_at(until, socket.recv(&mut buffer)).await {
                    Err(_) => break,
                    Ok(received) => received.map_err(|error| sort(&error))?,
                };
                let packet = buffer.get(..received).unwrap_or_default();
                let Some((said, of_edns)) = read(question, packet, &sent) else {
                    continue;
                };
                let plain_was_sent = sent.iter().any(|packet| !packet.edns);
                if of_edns && self.may_be_about_edns(&said) {
                    if plain_was_sent {
                        // The other packet's answer counts.
                        continue;
                    }
                    break;
                }
                self.learn(of_edns, sent.iter().any(|packet| packet.edns));
                return Ok((said, of_edns));
            }
            // Some servers and firewalls drop what has EDNS in it.
            edns = edns && matches!(*self.edns.lock(), Edns::Taken) && sent.len() + 1 < MAX_PACKETS;
        }
        // The caller's limit ends this.
        loop {
            let received = socket
                .recv(&mut buffer)
                .await
                .map_err(|error| sort(&error))?;
            let packet = buffer.get(..received).unwrap_or_default();
            if let Some((said, edns)) = read(question, packet, &sent) {
                return Ok((said, edns));
            }
        }
    }

    /// Whether a server that does not know EDNS answers like this. Once it has taken a
    /// question with EDNS its failures are about the name.
    fn may_be_about_edns(&self, said: &Said) -> bool {
        match said {
            Said::Code(ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS) => {
                *self.edns.lock() = Edns::Untried;
                true
            }
            Said::Code(_) | Said::Unreadable => matches!(*self.edns.lock(), Edns::Untried),
            _ => false,
        }
    }

    fn takes_edns(&self) -> bool {
        match *self.edns.lock() {
            Edns::RefusedUntil(end) => end <= Instant::now(),
            Edns::Untried | Edns::Taken => true,
        }
    }

    /// Notes that a packet was answered, with EDNS or without while one with it was not.
    fn learn(&self, of_edns: bool, edns_was_sent: bool) {
        if of_edns {
            *self.edns.lock() = Edns::Taken;
        } else if edns_was_sent {
            log::debug!("name server {} is asked without EDNS", self.address);
            *self.edns.lock() = Edns::RefusedUntil(Instant::now() + EDNS_OFF);
        }
    }

    /// A socket of its own for each question, so that its port has to be guessed as well as
    /// the id. Connected, so that the kernel drops what others send and reports a closed port.
    async fn socket(&self) -> Result<UdpSocket, Trouble> {
        let open = async {
            let socket = match self.address {
                SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?,
                SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await?,
            };
            socket.connect(self.address).await?;
            Ok(socket)
        };
        open.await.map_err(|error: io::Error| match error.kind() {
            // A datagram needs a source address, and connect(2) has not got to a port then.
            io::ErrorKind::AddrNotAvailable => Trouble::Unreachable,
            _ => sort(&error),
        })
    }

    async fn over_tcp(&self, question: &Question, edns: bool) -> Result<Said, Trouble> {
        let id = random_id()?;
        let message = question.to_message(id, edns).ok_or(Trouble::Unaskable)?;
        let length = u16::try_from(message.len()).map_err(|_long| Trouble::Unaskable)?;
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
        let answer = exchange.await.map_err(|_any: io::Error| Trouble::NoTcp)?;
        let sent = [Packet { id, edns }];
        match read(question, &answer, &sent) {
            Some((Said::Truncated, _)) | None => Err(Trouble::Unreadable),
            Some((said, _)) => Ok(said),
        }
    }
}

/// What a packet says that answers one of those that were sent, and whether that one had
/// EDNS.
fn read(question: &Question, packet: &[u8], sent: &[Packet]) -> Option<(Said, bool)> {
    let id = u16::from_be_bytes(*packet.first_chunk()?);
    let of = sent.iter().find(|packet| packet.id == id)?;
    Some((question.read(packet)?, of.edns))
}

fn random_id() -> Result<u16, Trouble> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|_none| Trouble::Exhausted)?;
    Ok(u16::from_be_bytes(id))
}

fn sort(error: &io::Error) -> Trouble {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => Trouble::Closed,
        // udp(7): all ephemeral ports are in use.
        Some(Errno::AGAIN) => Trouble::OutOfPorts,
        _ => match exhaustion(error) {
            Some(Kind::OutOfPorts) => Trouble::OutOfPorts,
            Some(_) => Trouble::Exhausted,
            None => Trouble::Unreachable,
        },
    }
}
