//! Host and port of a request-target (RFC 3986 §3.2). Splits them; what a host is, `host.rs` says.

use std::{fmt, str::FromStr};

use super::{Host, Scheme, TargetError};

/// Where a request or a tunnel goes, in canonical spelling: `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The name or address.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

/// Prints an authority as the value of a `Host` field, made by [`Authority::host_field`].
#[derive(Clone, Copy, Debug)]
pub struct HostField<'a> {
    authority: &'a Authority,
    scheme: Scheme,
}

impl Authority {
    /// Reads `host:port`; the port is required.
    ///
    /// # Errors
    /// [`TargetError::MissingPort`], or what is wrong with host or port.
    pub fn parse(raw: &[u8]) -> Result<Authority, TargetError> {
        Authority::parse_with_default(raw, None)
    }

    /// Reads `host` or `host:port`, with `default_port` where there is no port. An empty port (`host:`) is none
    /// (RFC 9110 §4.2.1).
    ///
    /// # Errors
    /// Where there is no default, [`TargetError::MissingPort`] without a port and [`TargetError::Port`] with an
    /// empty one; or what is wrong with host or port.
    pub fn parse_with_default(
        raw: &[u8],
        default_port: Option<u16>,
    ) -> Result<Authority, TargetError> {
        // Userinfo is refused, not dropped: two parsers that disagree on where the
        // host begins are how a deny rule gets bypassed.
        for &byte in raw {
            match byte {
                b'@' => return Err(TargetError::Userinfo),
                b'\\' => return Err(TargetError::Backslash),
                b'#' => return Err(TargetError::Fragment),
                0..=b' ' | 0x7f => return Err(TargetError::Byte),
                _ => {}
            }
        }
        let (host, port) = split_port(raw)?;
        let host = Host::parse(host)?;
        let port = match (port, default_port) {
            (Some([]), Some(default)) => default,
            (Some(digits), _) => parse_port(digits)?,
            (None, default_port) => default_port.ok_or(TargetError::MissingPort)?,
        };
        Ok(Authority { host, port })
    }

    /// The value of the `Host` field for a request to this authority (RFC 9110 §7.2).
    ///
    /// The port is left out where it is the scheme's default, as user agents do.
    pub fn host_field(&self, scheme: Scheme) -> HostField<'_> {
        HostField {
            authority: self,
            scheme,
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Authority {
    type Err = TargetError;

    fn from_str(s: &str) -> Result<Authority, TargetError> {
        Authority::parse(s.as_bytes())
    }
}

impl fmt::Display for HostField<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.authority.port == self.scheme.default_port() {
            self.authority.host.fmt(f)
        } else {
            self.authority.fmt(f)
        }
    }
}

/// Host with its brackets, and what follows the colon behind it.
fn split_port(raw: &[u8]) -> Result<(&[u8], Option<&[u8]>), TargetError> {
    let host_end = if raw.first() == Some(&b'[') {
        let close = raw.iter().position(|&b| b == b']');
        close.ok_or(TargetError::Brackets)? + 1
    } else {
        let colon = raw.iter().position(|&b| b == b':');
        colon.unwrap_or(raw.len())
    };
    let (host, rest) = raw.split_at_checked(host_end).unwrap_or((raw, b""));
    match rest {
        [] => Ok((host, None)),
        [b':', port @ ..] if port.contains(&b':') => Err(TargetError::UnbracketedIpv6),
        [b':', port @ ..] => Ok((host, Some(port))),
        _ => Err(TargetError::Brackets),
    }
}

/// Digits only. Zero-padding is refused: clients do not write it, and some parsers read it as octal.
fn parse_port(digits: &[u8]) -> Result<u16, TargetError> {
    let plain = matches!(digits, [b'1'..=b'9', rest @ ..] if rest.len() < 5);
    if !plain || !digits.iter().all(u8::is_ascii_digit) {
        return Err(TargetError::Port);
    }
    let value = digits
        .iter()
        .fold(0u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    u16::try_from(value).or(Err(TargetError::Port))
}
