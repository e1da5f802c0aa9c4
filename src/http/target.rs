//! Request-target parsing (RFC 9112 §3.2): which of the four forms it is, and the authority that it names.
//!
//! This is the only reader of authorities in the program: policy, dialling, the `Host` field and the log
//! all use what it returns, so they cannot disagree about where a host begins or ends. What is ambiguous
//! is refused, never repaired. Pure: no I/O, no Pingora types, no policy.

use std::fmt;

mod authority;
#[cfg(any(test, feature = "internals"))]
pub mod fuzz;
mod host;
#[cfg(test)]
mod tests;

pub use authority::Authority;
pub use host::Host;

/// A request-target in one of its four forms (RFC 9112 §3.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Absolute-form, `http://host/path`: a request to forward.
    Absolute {
        /// The scheme that the client named.
        scheme: Scheme,
        /// Where the request goes; the port is the scheme's default when the client gave none or an empty one.
        authority: Authority,
        /// Where path and query begin in the raw request-target.
        ///
        /// There may be no path (`http://host` gives the length of the raw target) or only a query
        /// (`http://host?q` points at the `?`); origin-form then needs a `/` in front.
        path_start: usize,
    },
    /// Authority-form, `host:port`: a tunnel to open (CONNECT only).
    Authority(Authority),
    /// Origin-form, `/path`: a request to the gateway.
    Origin,
    /// Asterisk-form, `*`: about the server as a whole (OPTIONS only).
    Asterisk,
}

/// The schemes that a request can be forwarded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// Why a request-target is refused.
///
/// All are the client's fault. All but [`TargetError::Scheme`] are malformed requests; that one is a
/// well-formed request for something that is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TargetError {
    /// Nothing between method and version.
    #[error("empty request-target")]
    Empty,
    /// A control byte, a space or DEL, which no form may hold.
    #[error("control byte or space in the request-target")]
    Byte,
    /// A `#`. A fragment is never sent, and parsers disagree about what it hides.
    #[error("fragment in the request-target")]
    Fragment,
    /// None of the four forms.
    #[error("request-target is in none of the forms of RFC 9112 section 3.2")]
    Form,
    /// CONNECT with something else than `host:port`.
    #[error("CONNECT takes host:port and nothing else")]
    ConnectForm,
    /// `host:port` with another method than CONNECT.
    #[error("authority-form is for CONNECT only")]
    AuthorityForm,
    /// `*` with another method than OPTIONS.
    #[error("asterisk-form is for OPTIONS only")]
    AsteriskForm,
    /// Absolute-form with a scheme that is neither `http` nor `https`.
    #[error("scheme is neither http nor https")]
    Scheme,
    /// An `@` in the authority. Refused rather than dropped: it is how one host is dressed up as another.
    #[error("user information in the authority")]
    Userinfo,
    /// A `\` in the authority, where some parsers see the end of the host.
    #[error("backslash in the authority")]
    Backslash,
    /// No host, as in `http:///path` or `:443`.
    #[error("empty host")]
    EmptyHost,
    /// No port where there is no default one.
    #[error("missing port")]
    MissingPort,
    /// A port that is signed, zero, above 65535, zero-padded or not a number, or an empty one where there is no
    /// default.
    #[error("port is not a number from 1 to 65535")]
    Port,
    /// More than one colon outside brackets.
    #[error("IPv6 address without brackets")]
    UnbracketedIpv6,
    /// Brackets around a name, an IPv4 address, an IPvFuture literal or an address with a zone.
    #[error("brackets hold something else than an IPv6 address")]
    Brackets,
    /// A percent-encoded byte in the host.
    #[error("percent-encoding in the host")]
    PercentInHost,
    /// A byte that no host name has, or a name that IDNA refuses.
    #[error("invalid host name")]
    HostName,
    /// Two dots in a row, or one in front.
    #[error("empty label in the host name")]
    EmptyLabel,
    /// A label above 63 or a name above 253 bytes.
    #[error("host name or label is too long")]
    HostLength,
    /// A host that ends in a number, thus has to be an IPv4 address, and is none.
    #[error("host ends in a number and is not an IPv4 address")]
    Ipv4Number,
}

impl Target {
    /// Reads the request-target of a request with this method.
    ///
    /// The method is compared as sent: `connect` is not CONNECT (RFC 9110 §9.1). Path and query are
    /// passed on as they are, bytes above 0x7F included, as long as no byte can end a request line.
    ///
    /// # Errors
    /// [`TargetError`], one variant per reason.
    pub fn parse(method: &[u8], raw: &[u8]) -> Result<Target, TargetError> {
        check_bytes(raw)?;
        if method == b"CONNECT" {
            return parse_authority_form(raw);
        }
        match raw {
            [] => Err(TargetError::Empty),
            [b'/', ..] => Ok(Target::Origin),
            [b'*'] if method == b"OPTIONS" => Ok(Target::Asterisk),
            [b'*'] => Err(TargetError::AsteriskForm),
            _ => parse_absolute_form(raw),
        }
    }

    /// The authority that the target names, if its form names one.
    pub fn authority(&self) -> Option<&Authority> {
        match self {
            Target::Absolute { authority, .. } | Target::Authority(authority) => Some(authority),
            Target::Origin | Target::Asterisk => None,
        }
    }
}

impl Scheme {
    /// The scheme of that name, in any case (RFC 3986 §3.1).
    pub fn parse(name: &[u8]) -> Option<Self> {
        [Self::Http, Self::Https]
            .into_iter()
            .find(|scheme| name.eq_ignore_ascii_case(scheme.as_str().as_bytes()))
    }

    /// The port that an authority without one means: 80 or 443.
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    /// The scheme in lower case, without `://`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn check_bytes(raw: &[u8]) -> Result<(), TargetError> {
    // One pass without a branch per byte for what is almost always clean, then the reason.
    let dirty = raw.iter().fold(false, |dirty, &b| {
        dirty | (b <= b' ') | (b == 0x7f) | (b == b'#')
    });
    if !dirty {
        Ok(())
    } else if raw.iter().any(|&b| b <= b' ' || b == 0x7f) {
        Err(TargetError::Byte)
    } else {
        Err(TargetError::Fragment)
    }
}

/// The port is required: CONNECT has no default one (RFC 9110 §9.3.6).
fn parse_authority_form(raw: &[u8]) -> Result<Target, TargetError> {
    if raw.is_empty() {
        return Err(TargetError::Empty);
    }
    if raw == b"*" || raw.iter().any(|&b| b == b'/' || b == b'?') {
        return Err(TargetError::ConnectForm);
    }
    Authority::parse(raw).map(Target::Authority)
}

fn parse_absolute_form(raw: &[u8]) -> Result<Target, TargetError> {
    let Some((scheme, rest)) = split_scheme(raw) else {
        return Err(not_absolute(raw, TargetError::Form));
    };
    match (Scheme::parse(scheme), rest.strip_prefix(b"//")) {
        (Some(scheme), Some(after)) => {
            let end = after
                .iter()
                .position(|&b| b == b'/' || b == b'?')
                .unwrap_or(after.len());
            let (authority, path_and_query) = after.split_at_checked(end).unwrap_or((after, b""));
            Ok(Target::Absolute {
                scheme,
                authority: Authority::parse_with_default(authority, Some(scheme.default_port()))?,
                path_start: raw.len() - path_and_query.len(),
            })
        }
        (None, Some(_)) => Err(TargetError::Scheme),
        (Some(_), None) => Err(not_absolute(raw, TargetError::Form)),
        (None, None) => Err(not_absolute(raw, TargetError::Scheme)),
    }
}

/// Splits `scheme:rest` where the first part has the syntax of a scheme (RFC 3986 §3.1).
fn split_scheme(raw: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = raw.iter().position(|&b| b == b':')?;
    let (scheme, rest) = raw.split_at_checked(colon)?;
    let valid = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    valid.then_some((scheme, rest.get(1..)?))
}

/// Tells `GET example.org:80` from what is no request-target at all.
fn not_absolute(raw: &[u8], otherwise: TargetError) -> TargetError {
    if Authority::parse(raw).is_ok() {
        TargetError::AuthorityForm
    } else {
        otherwise
    }
}
