//! Which protocol a client speaks that does not speak the one of the listener. Pure: bytes in, name out.
//!
//! Asked only once a connection has failed, so it costs a request nothing. It decides nothing but what the
//! log and the client are told.

use crate::error::Kind;

/// What is looked at, in bytes.
const WINDOW: usize = 512;

/// A protocol by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    Tls,
    Http,
    Http2,
    Socks4,
    Socks5,
    Ssh,
    ProxyHeader,
    Rtsp,
    Sip,
    Icap,
    Smtp,
    Ftp,
    Imap,
    Irc,
    Redis,
    PostgreSql,
    Rdp,
    Smb,
    Ldap,
    Mqtt,
    Amqp,
    BitTorrent,
    /// Bytes that no text protocol begins with.
    Binary,
}

/// What a listener expects of a connection's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Door {
    /// HTTP in plain.
    Plain,
    /// A TLS handshake.
    Tls,
    /// A PROXY protocol header.
    ProxyHeader,
}

impl Door {
    fn expects(self) -> &'static str {
        match self {
            Self::Plain => "plain HTTP",
            Self::Tls => "TLS",
            Self::ProxyHeader => "a PROXY protocol header first",
        }
    }
}

impl Protocol {
    /// The protocol that begins with `bytes`, of which more may be to come. None for what may be HTTP/1 on a
    /// plain listener: mistakes in HTTP have errors of their own.
    pub(super) fn guess(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..WINDOW).unwrap_or(bytes);
        Self::of_signature(bytes).or_else(|| Self::of_text(bytes))
    }

    fn of_signature(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            // A handshake record of SSL 3 to TLS 1.3, and the hello of SSL 2.
            [0x16] | [0x16, 3, ..] => Self::Tls,
            [high, _, 1, 0 | 2 | 3, ..] if high & 0x80 != 0 => Self::Tls,
            // TPKT (RFC 1006), as remote desktops have it.
            [3, 0, _, _, ..] => Self::Rdp,
            [4] | [4, 1 | 2, ..] => Self::Socks4,
            [5, ..] => Self::Socks5,
            [b'\r', b'\n', b'\r', b'\n', 0, ..] | [b'P', b'R', b'O', b'X', b'Y', b' ', ..] => {
                Self::ProxyHeader
            }
            [
                b'P',
                b'R',
                b'I',
                b' ',
                b'*',
                b' ',
                b'H',
                b'T',
                b'T',
                b'P',
                b'/',
                b'2',
                ..,
            ] => Self::Http2,
            [b'S', b'S', b'H', b'-', ..] => Self::Ssh,
            [b'A', b'M', b'Q', b'P', 0, ..] => Self::Amqp,
            [0x13, b'B', b'i', b't', b'T', b'o', b'r', b'r', ..] => Self::BitTorrent,
            // A length, then the code of SSLRequest, GSSENCRequest or protocol 3.0.
            [0, 0, _, _, 4, 0xd2, 0x16, 0x2f | 0x30, ..] | [0, 0, _, _, 0, 3, 0, 0, ..] => {
                Self::PostgreSql
            }
            [0, _, _, _, 0xff | 0xfe, b'S', b'M', b'B', ..] => Self::Smb,
            [0x30, _, 2, 1, _, 0x60, ..] => Self::Ldap,
            [0x10, _, 0, 4, b'M', b'Q', b'T', b'T', ..] => Self::Mqtt,
            [first, ..] if first.is_ascii_control() && !matches!(first, b'\r' | b'\n' | b'\t') => {
                Self::Binary
            }
            [first, ..] if !first.is_ascii() => Self::Binary,
            _ if bytes.contains(&0) => Self::Binary,
            _ => return None,
        })
    }

    /// By the first line, whose words are compared as their protocols do, in any case.
    fn of_text(bytes: &[u8]) -> Option<Self> {
        let line = bytes.split(|byte| *byte == b'\n').next()?.trim_ascii();
        let mut words = line
            .split(|byte| *byte == b' ')
            .filter(|word| !word.is_empty());
        let first = words.next()?;
        let second = words.next();
        let last = words.next_back().or(second).unwrap_or_default();
        if last.starts_with(b"RTSP/") {
            return Some(Self::Rtsp);
        }
        if last.starts_with(b"SIP/") {
            return Some(Self::Sip);
        }
        if last.starts_with(b"ICAP/") {
            return Some(Self::Icap);
        }
        if last.starts_with(b"HTTP/") {
            return None;
        }
        let is = |names: &[&str]| {
            names
                .iter()
                .any(|name| first.eq_ignore_ascii_case(name.as_bytes()))
        };
        if is(&["EHLO", "HELO", "LHLO", "MAIL", "RCPT"]) {
            Some(Self::Smtp)
        } else if is(&["USER", "PASS", "FEAT", "SYST", "AUTH", "PASV", "EPSV"])
            && !is_irc_user(line)
        {
            Some(Self::Ftp)
        } else if is(&["NICK", "CAP", "JOIN", "USER"]) {
            Some(Self::Irc)
        } else if is(&["PING"]) && second.is_none() || is_resp_array(first) {
            Some(Self::Redis)
        } else if second.is_some_and(is_imap_command) && first.iter().all(u8::is_ascii_alphanumeric)
        {
            Some(Self::Imap)
        } else {
            None
        }
    }

    /// What an operator calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tls => "a TLS handshake",
            Self::Http => "an HTTP request without TLS",
            Self::Http2 => "HTTP/2 without TLS",
            Self::Socks4 => "a SOCKS4 request",
            Self::Socks5 => "a SOCKS5 greeting",
            Self::Ssh => "an SSH banner",
            Self::ProxyHeader => "a PROXY protocol header",
            Self::Rtsp => "an RTSP request",
            Self::Sip => "a SIP request",
            Self::Icap => "an ICAP request",
            Self::Smtp => "an SMTP command",
            Self::Ftp => "an FTP command",
            Self::Imap => "an IMAP command",
            Self::Irc => "an IRC command",
            Self::Redis => "a Redis command",
            Self::PostgreSql => "a PostgreSQL start-up",
            Self::Rdp => "an RDP connection request",
            Self::Smb => "an SMB negotiation",
            Self::Ldap => "an LDAP bind",
            Self::Mqtt => "an MQTT connect",
            Self::Amqp => "an AMQP header",
            Self::BitTorrent => "a BitTorrent handshake",
            Self::Binary => "binary data of no known protocol",
        }
    }

    /// What a connection that begins so is refused as.
    pub(super) fn kind(self, door: Door) -> Kind {
        match self {
            Self::Socks4 | Self::Socks5 => Kind::Socks,
            Self::Ssh => Kind::Ssh,
            _ if door == Door::ProxyHeader => Kind::ProxyHeaderMissing,
            Self::ProxyHeader => Kind::ProxyHeaderUnexpected,
            Self::Http | Self::Http2 if door == Door::Tls => Kind::PlainAtTlsPort,
            Self::Tls => Kind::TlsAtPlainPort,
            Self::Http2 => Kind::Http2Off,
            _ => Kind::OtherProtocol,
        }
    }

    /// What the client is sent where it would not understand HTTP: words that its protocol has for this, as
    /// far as there are any. TLS has none: clients know a port that speaks HTTP by its HTTP, and take an alert
    /// for a fault in their certificates or ciphers.
    pub(super) fn answer(self) -> Option<&'static [u8]> {
        Some(match self {
            // Request rejected; the address that follows is ignored.
            Self::Socks4 => &[0, 0x5b, 0, 0, 0, 0, 0, 0],
            // No acceptable methods (RFC 1928 §3).
            Self::Socks5 => &[5, 0xff],
            // Lines before a server's banner are shown by clients (RFC 4253 §4.2).
            Self::Ssh => b"This port is an HTTP proxy and not an SSH server; reach one through it with CONNECT\r\n",
            Self::Redis => b"-ERR this port is an HTTP proxy and not a Redis server\r\n",
            Self::Smtp => b"554 This port is an HTTP proxy and not a mail server\r\n",
            Self::Ftp => b"421 This port is an HTTP proxy and not an FTP server\r\n",
            Self::Imap => b"* BYE This port is an HTTP proxy and not a mail server\r\n",
            Self::Irc => b"ERROR :This port is an HTTP proxy and not an IRC server\r\n",
            _ => return None,
        })
    }

    /// A line for the log: what came, what was expected, and what to change.
    pub(super) fn line(self, door: Door) -> String {
        let remedy = match self.kind(door) {
            Kind::TlsAtPlainPort => {
                "write http:// for the proxy in the client, or give the listener `tls`"
            }
            Kind::PlainAtTlsPort => {
                "write https:// for the proxy in the client, or remove `tls` from the listener"
            }
            Kind::Socks => "set it as the HTTP proxy in the client, not as a SOCKS proxy",
            Kind::Ssh => "have ssh connect through the proxy with CONNECT (ProxyCommand)",
            Kind::Http2Off => "set http2: true on the listener, or have the client use HTTP/1.1",
            Kind::ProxyHeaderUnexpected => {
                "set proxy_protocol: true on the listener, or switch the header off in the load balancer"
            }
            Kind::ProxyHeaderMissing => {
                "have the load balancer send the header, or remove proxy_protocol from the listener"
            }
            _ => "this client has the wrong port",
        };
        format!(
            "{}, where the listener expects {}; {remedy}",
            self.name(),
            door.expects()
        )
    }
}

/// `USER` has four parameters in IRC, and one in FTP.
fn is_irc_user(line: &[u8]) -> bool {
    line.split(|byte| *byte == b' ').count() >= 5
}

/// `*1`, the number of words of a command.
fn is_resp_array(word: &[u8]) -> bool {
    matches!(word, [b'*', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
}

fn is_imap_command(word: &[u8]) -> bool {
    [b"CAPABILITY".as_slice(), b"LOGIN", b"AUTHENTICATE"]
        .iter()
        .any(|command| word.eq_ignore_ascii_case(command))
}

#[cfg(test)]
mod tests;
