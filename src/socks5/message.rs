//! Reading a message that may not have arrived in full.

use super::{LOGIN_VERSION, VERSION};

/// How far a message has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<T> {
    /// All of it, in so many bytes. What follows belongs to what comes next.
    Complete(T, usize),
    /// Not all of it. At least so many further bytes are part of the message.
    Needs(usize),
}

impl<T> Progress<T> {
    /// The length of the message, if it has arrived.
    pub fn length(self) -> Option<usize> {
        match self {
            Self::Complete(_, length) => Some(length),
            Self::Needs(_) => None,
        }
    }
}

/// Why bytes are not the message that they should be. A further byte does not change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MessageError {
    /// Another version of SOCKS, or another protocol.
    #[error("the version of a SOCKS5 message is not 5")]
    Version,
    /// A login of a version other than 1.
    #[error("the version of a SOCKS5 login is not 1")]
    LoginVersion,
    /// The reserved byte is not 0.
    #[error("the reserved byte of a SOCKS5 request is not 0")]
    Reserved,
    /// An address that is neither IPv4 nor IPv6 nor a name.
    #[error("unknown address type in a SOCKS5 message")]
    AddressType,
    /// A name of no bytes.
    #[error("empty host name in a SOCKS5 request")]
    EmptyName,
}

/// What ends the reading of a message before its end.
pub(super) enum Stop {
    Needs(usize),
    Error(MessageError),
}

impl From<MessageError> for Stop {
    fn from(error: MessageError) -> Self {
        Self::Error(error)
    }
}

/// Takes a message apart from its start.
pub(super) struct Reader<'a> {
    data: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads the message that `data` begins with.
    pub(super) fn read<T>(
        data: &'a [u8],
        message: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<Progress<T>, MessageError> {
        let mut reader = Self { data, rest: data };
        match message(&mut reader) {
            Ok(value) => Ok(Progress::Complete(
                value,
                reader.data.len() - reader.rest.len(),
            )),
            Err(Stop::Needs(more)) => Ok(Progress::Needs(more)),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Stop> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let missing = Stop::Needs(N.saturating_sub(self.rest.len()));
        let (array, rest) = self.rest.split_first_chunk().ok_or(missing)?;
        self.rest = rest;
        Ok(*array)
    }

    /// A byte that is a length, and so many bytes behind it.
    pub(super) fn counted(&mut self) -> Result<&'a [u8], Stop> {
        let length = usize::from(self.byte()?);
        let missing = Stop::Needs(length.saturating_sub(self.rest.len()));
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(missing)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn version(&mut self) -> Result<(), Stop> {
        if self.byte()? == VERSION {
            Ok(())
        } else {
            Err(MessageError::Version.into())
        }
    }

    pub(super) fn login_version(&mut self) -> Result<(), Stop> {
        if self.byte()? == LOGIN_VERSION {
            Ok(())
        } else {
            Err(MessageError::LoginVersion.into())
        }
    }
}
