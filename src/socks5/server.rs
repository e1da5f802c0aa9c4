//! The server's side: what a client sends, and the answers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::message::{MessageError, Progress, Reader};
use super::{
    Address, LOGIN_VERSION, METHOD_NONE, METHOD_PASSWORD, METHOD_UNACCEPTABLE, ReplyCode, VERSION,
};

/// The first message: which methods of authentication the client offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Greeting {
    /// To send nothing.
    pub without_login: bool,
    /// To send a user name and a password.
    pub with_password: bool,
}

/// User name and password (RFC 1929), as bytes. Either may be empty.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Login<'a> {
    pub user: &'a [u8],
    pub password: &'a [u8],
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    Connect,
    Bind,
    UdpAssociate,
    /// One that RFC 1928 does not have.
    Other(u8),
}

/// A request: a command and where it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request<'a> {
    pub command: Command,
    pub address: Address<'a>,
    pub port: u16,
}

/// The answer to a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// The request follows at once.
    None,
    /// A login follows.
    Password,
    /// No method that is offered is acceptable. The client closes the connection.
    Unacceptable,
}

impl Greeting {
    /// Reads a greeting. A client may offer a method that is not known here, or the same one twice.
    ///
    /// # Errors
    /// [`MessageError::Version`]
    pub fn parse(data: &[u8]) -> Result<Progress<Self>, MessageError> {
        Reader::read(data, |reader| {
            reader.version()?;
            let methods = reader.counted()?;
            Ok(Self {
                without_login: methods.contains(&METHOD_NONE),
                with_password: methods.contains(&METHOD_PASSWORD),
            })
        })
    }
}

impl<'a> Login<'a> {
    /// Reads a login.
    ///
    /// # Errors
    /// [`MessageError::LoginVersion`]
    pub fn parse(data: &'a [u8]) -> Result<Progress<Self>, MessageError> {
        Reader::read(data, |reader| {
            reader.login_version()?;
            let user = reader.counted()?;
            let password = reader.counted()?;
            Ok(Self { user, password })
        })
    }
}

/// Neither shows: a user may type the password as the name.
impl fmt::Debug for Login<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

impl<'a> Request<'a> {
    /// Reads a request. A port of 0 is one: what it means depends on the command.
    ///
    /// # Errors
    /// [`MessageError::Version`], [`MessageError::Reserved`], [`MessageError::AddressType`],
    /// [`MessageError::EmptyName`]
    pub fn parse(data: &'a [u8]) -> Result<Progress<Self>, MessageError> {
        Reader::read(data, |reader| {
            reader.version()?;
            let command = match reader.byte()? {
                1 => Command::Connect,
                2 => Command::Bind,
                3 => Command::UdpAssociate,
                other => Command::Other(other),
            };
            if reader.byte()? != 0 {
                return Err(MessageError::Reserved.into());
            }
            let address = Address::read(reader)?;
            if address == Address::Name(b"") {
                return Err(MessageError::EmptyName.into());
            }
            let port = u16::from_be_bytes(reader.array()?);
            Ok(Self {
                command,
                address,
                port,
            })
        })
    }
}

impl Command {
    /// The name in RFC 1928.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Bind => "BIND",
            Self::UdpAssociate => "UDP ASSOCIATE",
            Self::Other(_) => "unknown command",
        }
    }
}

impl Method {
    /// The bytes to send.
    pub const fn to_bytes(self) -> [u8; 2] {
        let method = match self {
            Self::None => METHOD_NONE,
            Self::Password => METHOD_PASSWORD,
            Self::Unacceptable => METHOD_UNACCEPTABLE,
        };
        [VERSION, method]
    }
}

/// The answer to a login. After a failure the connection is to be closed (RFC 1929 §2).
pub const fn login_reply(succeeded: bool) -> [u8; 2] {
    [LOGIN_VERSION, if succeeded { 0 } else { 1 }]
}

/// The answer to a request. `bound` is the address of the socket towards the target, where there is one to tell.
pub fn reply(code: ReplyCode, bound: Option<SocketAddr>) -> Vec<u8> {
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let bound = bound.unwrap_or(nowhere);
    let mut message = Vec::with_capacity(22);
    message.extend_from_slice(&[VERSION, code.0, 0]);
    let ip = match bound.ip() {
        IpAddr::V6(ip) => ip.to_canonical(),
        ip @ IpAddr::V4(_) => ip,
    };
    // Only a name can be too long.
    let _written = Address::Ip(ip).write(&mut message);
    message.extend_from_slice(&bound.port().to_be_bytes());
    message
}
