//! The host of an authority, in one canonical spelling before any rule sees it.
//!
//! Names follow the WHATWG URL Standard's host parser rather than RFC 3986 alone, because that is what
//! user agents and resolvers do: `0177.0.0.1`, `2130706433` and `127.1` all mean 127.0.0.1 to them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use url::ParseError;

use super::TargetError;

const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;
/// Bound on what is handed to IDNA: every character of a name may take four bytes in UTF-8.
const MAX_RAW: usize = 4 * MAX_NAME;

/// A host name or an IP address.
///
/// Prints as `example.org`, `192.0.2.1` or `[2001:db8::1]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name in lower case and ASCII (IDNA A-labels), without a dot at the end.
    ///
    /// At most 253 bytes of letters, digits, `-`, `_` and `.`, labels of 1 to 63 bytes, never an IPv4
    /// address in any spelling.
    Name(Box<str>),
    /// An address. An IPv4-mapped IPv6 address stays what it was: the log shows what was asked for.
    Ip(IpAddr),
}

impl Host {
    /// Reads a host as it stands in an authority: IPv6 addresses in brackets.
    ///
    /// One dot at the end of a name is dropped, so that `example.org.` meets the rules for `example.org`.
    ///
    /// # Errors
    /// [`TargetError`], one variant per reason.
    pub fn parse(raw: &[u8]) -> Result<Host, TargetError> {
        match raw {
            [] => Err(TargetError::EmptyHost),
            [b'[', inner @ .., b']'] => parse_bracketed(inner),
            _ => parse_name(raw),
        }
    }

    /// Whether this is a name, which has to be resolved.
    pub fn is_name(&self) -> bool {
        matches!(self, Host::Name(_))
    }

    /// The name, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Host::Name(name) => Some(name),
            Host::Ip(_) => None,
        }
    }

    /// The address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::Ip(ip) => Some(*ip),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// The standard library takes neither zones nor IPvFuture, and no leading zeros in a dotted tail.
fn parse_bracketed(inner: &[u8]) -> Result<Host, TargetError> {
    std::str::from_utf8(inner)
        .ok()
        .and_then(|inner| inner.parse::<Ipv6Addr>().ok())
        .map(|ip| Host::Ip(IpAddr::V6(ip)))
        .ok_or(TargetError::Brackets)
}

fn parse_name(raw: &[u8]) -> Result<Host, TargetError> {
    if raw.len() > MAX_RAW {
        return Err(TargetError::HostLength);
    }
    // What would be special to any parser goes first, before IDNA could map something onto it.
    for &byte in raw {
        match byte {
            b'%' => return Err(TargetError::PercentInHost),
            0x80.. => {}
            _ if !is_name_byte(byte) => return Err(TargetError::HostName),
            _ => {}
        }
    }
    let text = std::str::from_utf8(raw).or(Err(TargetError::HostName))?;
    if text.is_ascii() {
        let name = without_root_dot(text);
        check_labels(name)?;
        if !ends_in_digit_label(name) && !has_a_label(name) {
            return Ok(Host::Name(name.to_ascii_lowercase().into_boxed_str()));
        }
        // Four plain decimal numbers are what they are; other spellings take the long way.
        if let Ok(ip) = name.parse::<Ipv4Addr>() {
            return Ok(Host::Ip(IpAddr::V4(ip)));
        }
    }
    match url::Host::parse(text) {
        Ok(url::Host::Ipv4(ip)) => Ok(Host::Ip(IpAddr::V4(ip))),
        Ok(url::Host::Domain(domain)) => {
            let name = without_root_dot(&domain);
            if !name.bytes().all(is_name_byte) {
                return Err(TargetError::HostName);
            }
            check_labels(name)?;
            Ok(Host::Name(name.into()))
        }
        Err(ParseError::InvalidIpv4Address) => Err(TargetError::Ipv4Number),
        Err(ParseError::EmptyHost) => Err(TargetError::EmptyHost),
        Ok(url::Host::Ipv6(_)) | Err(_) => Err(TargetError::HostName),
    }
}

/// Letters, digits, hyphen, dot; the underscore too, which real names have (RFC 8553).
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn without_root_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// The limits of RFC 1035 §2.3.4, for the name as text.
fn check_labels(name: &str) -> Result<(), TargetError> {
    if name.is_empty() {
        return Err(TargetError::EmptyHost);
    }
    if name.len() > MAX_NAME {
        return Err(TargetError::HostLength);
    }
    for label in name.split('.') {
        match label.len() {
            0 => return Err(TargetError::EmptyLabel),
            1..=MAX_LABEL => {}
            _ => return Err(TargetError::HostLength),
        }
    }
    Ok(())
}

/// Whether the last label could be a number, which makes the whole host an IPv4 address or an error.
fn ends_in_digit_label(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether some label claims to be IDNA-encoded, and thus has to be checked.
fn has_a_label(name: &str) -> bool {
    name.as_bytes()
        .windows(4)
        .any(|window| window.eq_ignore_ascii_case(b"xn--"))
}
