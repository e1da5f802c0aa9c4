//! The codes of replies (RFC 1928 §6).

use std::fmt;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplyCode(pub u8);

impl ReplyCode {
    pub const SUCCEEDED: Self = Self(0);
    pub const GENERAL_FAILURE: Self = Self(1);
    pub const NOT_ALLOWED: Self = Self(2);
    pub const NETWORK_UNREACHABLE: Self = Self(3);
    pub const HOST_UNREACHABLE: Self = Self(4);
    pub const CONNECTION_REFUSED: Self = Self(5);
    pub const TTL_EXPIRED: Self = Self(6);
    pub const COMMAND_NOT_SUPPORTED: Self = Self(7);
    pub const ADDRESS_TYPE_NOT_SUPPORTED: Self = Self(8);

    /// What the code means, in the words of RFC 1928.
    pub const fn text(self) -> &'static str {
        match self {
            Self::SUCCEEDED => "succeeded",
            Self::GENERAL_FAILURE => "general SOCKS server failure",
            Self::NOT_ALLOWED => "connection not allowed by ruleset",
            Self::NETWORK_UNREACHABLE => "network unreachable",
            Self::HOST_UNREACHABLE => "host unreachable",
            Self::CONNECTION_REFUSED => "connection refused",
            Self::TTL_EXPIRED => "TTL expired",
            Self::COMMAND_NOT_SUPPORTED => "command not supported",
            Self::ADDRESS_TYPE_NOT_SUPPORTED => "address type not supported",
            _ => "unknown reply",
        }
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text(), self.0)
    }
}
