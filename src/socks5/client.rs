//! The client's side: from a connection to a SOCKS5 server to one that is at its target.
//!
//! [`Handshake`] is the whole of it as a state machine. Its caller sends what [`Handshake::begin`] returns, then reads
//! as [`Step`] says, until [`Step::Open`].

use std::fmt;
use std::net::SocketAddr;

use zeroize::Zeroizing;

use super::address::push_counted;
use super::message::{MessageError, Progress, Reader};
use super::{
    Address, EncodeError, LOGIN_VERSION, METHOD_NONE, METHOD_PASSWORD, METHOD_UNACCEPTABLE,
    ReplyCode, VERSION,
};

/// The command CONNECT.
const CONNECT: u8 = 1;

/// Asks a server for a connection.
pub struct Handshake {
    login: Option<Zeroizing<Vec<u8>>>,
    request: Vec<u8>,
    awaits: Awaits,
}

/// The message that comes next from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Method,
    LoginReply,
    Reply,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Read on: up to so many bytes, behind those that were shown.
    Read(usize),
    /// A message is complete in so many bytes. Send these, and show what comes after the message.
    Send(usize, Zeroizing<Vec<u8>>),
    /// The last message is complete in so many bytes, and the next byte is the target's.
    Open(usize, Bound),
}

/// The address from which the server has connected to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    Address(SocketAddr),
    /// A name, which says nothing that can be used.
    Name,
}

/// Why there is no connection to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HandshakeError {
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The server takes none of the methods: it wants a login that there is not, or one of another kind.
    #[error("the SOCKS5 server accepts no method of authentication that is offered")]
    NoAcceptableMethod,
    /// The server chose a method that was not offered.
    #[error("the SOCKS5 server chose a method of authentication that is not offered")]
    UnofferedMethod,
    #[error("the SOCKS5 server refuses the user name or the password")]
    LoginRefused,
    #[error("the SOCKS5 server answers: {0}")]
    Refused(ReplyCode),
}

impl Handshake {
    /// For a connection to `port` of `host`. With a login, the server decides whether it wants it.
    ///
    /// # Errors
    /// [`EncodeError`], where a part does not fit.
    pub fn new(
        host: Address<'_>,
        port: u16,
        login: Option<(&[u8], &[u8])>,
    ) -> Result<Self, EncodeError> {
        let login = login.map(|(user, password)| {
            // Its whole length, so that no copy is left behind when it grows.
            let length = 3 + user.len() + password.len();
            let mut message = Zeroizing::new(Vec::with_capacity(length));
            message.push(LOGIN_VERSION);
            push_counted(&mut message, user).ok_or(EncodeError::User)?;
            push_counted(&mut message, password).ok_or(EncodeError::Password)?;
            Ok(message)
        });
        let mut request = vec![VERSION, CONNECT, 0];
        host.write(&mut request)?;
        request.extend_from_slice(&port.to_be_bytes());
        Ok(Self {
            login: login.transpose()?,
            request,
            awaits: Awaits::Method,
        })
    }

    /// The greeting, which is sent first.
    pub fn begin(&self) -> &'static [u8] {
        if self.login.is_some() {
            &[VERSION, 2, METHOD_NONE, METHOD_PASSWORD]
        } else {
            &[VERSION, 1, METHOD_NONE]
        }
    }

    /// Goes on with `received`: what has come since the last message that was complete.
    ///
    /// # Errors
    /// [`HandshakeError`]; the connection is of no use then.
    pub fn advance(&mut self, received: &[u8]) -> Result<Step, HandshakeError> {
        match self.awaits {
            Awaits::Method => match Reader::read(received, |reader| {
                reader.version()?;
                reader.byte()
            })? {
                Progress::Needs(more) => Ok(Step::Read(more)),
                Progress::Complete(method, length) => self.chosen(method, length),
            },
            Awaits::LoginReply => match Reader::read(received, |reader| {
                reader.login_version()?;
                reader.byte()
            })? {
                Progress::Needs(more) => Ok(Step::Read(more)),
                Progress::Complete(0, length) => Ok(self.send_request(length)),
                Progress::Complete(_, _) => Err(HandshakeError::LoginRefused),
            },
            Awaits::Reply => reply(received),
        }
    }

    fn chosen(&mut self, method: u8, length: usize) -> Result<Step, HandshakeError> {
        match (method, self.login.take()) {
            (METHOD_NONE, _) => Ok(self.send_request(length)),
            (METHOD_PASSWORD, Some(login)) => {
                self.awaits = Awaits::LoginReply;
                Ok(Step::Send(length, login))
            }
            (METHOD_UNACCEPTABLE, _) => Err(HandshakeError::NoAcceptableMethod),
            _ => Err(HandshakeError::UnofferedMethod),
        }
    }

    fn send_request(&mut self, length: usize) -> Step {
        self.awaits = Awaits::Reply;
        Step::Send(length, Zeroizing::new(std::mem::take(&mut self.request)))
    }
}

/// The login does not show.
impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("awaits", &self.awaits)
            .finish_non_exhaustive()
    }
}

/// A refusal is known from its code. Some servers send no more than that.
fn reply(received: &[u8]) -> Result<Step, HandshakeError> {
    let code = Reader::read(received, |reader| {
        reader.version()?;
        reader.byte()
    })?;
    match code {
        Progress::Needs(more) => return Ok(Step::Read(more)),
        Progress::Complete(code, _) if code != ReplyCode::SUCCEEDED.0 => {
            return Err(HandshakeError::Refused(ReplyCode(code)));
        }
        Progress::Complete(_, _) => {}
    }
    let reply = Reader::read(received, |reader| {
        // Version, code, and the reserved byte, of which nothing depends.
        let _: [u8; 3] = reader.array()?;
        let address = Address::read(reader)?;
        let port = u16::from_be_bytes(reader.array()?);
        Ok(match address {
            Address::Ip(ip) => Bound::Address(SocketAddr::new(ip, port)),
            Address::Name(_) => Bound::Name,
        })
    })?;
    Ok(match reply {
        Progress::Needs(more) => Step::Read(more),
        Progress::Complete(bound, length) => Step::Open(length, bound),
    })
}
