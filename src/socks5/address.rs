//! A host as it stands in requests and replies (RFC 1928 §5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{MessageError, Reader, Stop};

const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// A host of one of the three types. A name is bytes: what is a host name is for its reader to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Address<'a> {
    Ip(IpAddr),
    Name(&'a [u8]),
}

/// Why a message cannot be written: a part does not fit into its byte of length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EncodeError {
    #[error("a host name in SOCKS5 has 1 to 255 bytes")]
    Name,
    #[error("a user name in SOCKS5 has 1 to 255 bytes")]
    User,
    #[error("a password in SOCKS5 has 1 to 255 bytes")]
    Password,
}

impl<'a> Address<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Stop> {
        match reader.byte()? {
            IPV4 => Ok(Self::Ip(Ipv4Addr::from(reader.array()?).into())),
            IPV6 => Ok(Self::Ip(Ipv6Addr::from(reader.array()?).into())),
            NAME => Ok(Self::Name(reader.counted()?)),
            _ => Err(MessageError::AddressType.into()),
        }
    }

    /// Writes type and host behind `message`.
    pub(super) fn write(&self, message: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Ip(IpAddr::V4(ip)) => {
                message.push(IPV4);
                message.extend_from_slice(&ip.octets());
            }
            Self::Ip(IpAddr::V6(ip)) => {
                message.push(IPV6);
                message.extend_from_slice(&ip.octets());
            }
            Self::Name(name) => {
                message.push(NAME);
                push_counted(message, name).ok_or(EncodeError::Name)?;
            }
        }
        Ok(())
    }
}

/// Writes the length of `bytes` and then the bytes. None where there are none, or more than a byte can count.
pub(super) fn push_counted(message: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    let length = u8::try_from(bytes.len())
        .ok()
        .filter(|&length| length > 0)?;
    message.push(length);
    message.extend_from_slice(bytes);
    Some(())
}
