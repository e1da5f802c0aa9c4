//! Which protocol a client speaks that does not speak the one of the listener. Pure: bytes in, name out.
//!
//! Asked only once a connection has failed, so it costs a request nothing. It decides nothing but what the
//! log and the client are told.

use crate::http::error::ErrorKind;

#[cfg(any(test, feature = "internals"))]
pub mod fuzz;

/// What is looked at, in bytes.
const WINDOW: usize = 512;

/// A protocol by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    Tls,
    /// TLS that does not begin with the handshake of a version that is served.
    OtherTls,
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
    Telnet,
    Git,
    Rsync,
    Vnc,
    Xml,
    Pop3,
    Nntp,
    Memcached,
    Nats,
    Stomp,
    MongoDb,
    /// Text that is no request of HTTP, where a listener expects no text at all.
    Text,
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
    /// HTTP in plain, or SOCKS5.
    HttpOrSocks5,
    /// SOCKS5 alone.
    Socks5,
    /// Nothing: the peer is none that may send a PROXY protocol header.
    Stranger,
}

impl Door {
    fn expects(self) -> &'static str {
        match self {
            Self::Plain => "plain HTTP",
            Self::Tls => "TLS",
            Self::HttpOrSocks5 => "plain HTTP or SOCKS5",
            Self::Socks5 => "SOCKS5",
            Self::ProxyHeader => "a PROXY protocol header first",
            Self::Stranger => "connections from `proxy_protocol.from` alone",
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

    /// As [`Self::guess`], at a door where HTTP in plain is as wrong as any other protocol.
    pub(super) fn guess_at(door: Door, bytes: &[u8]) -> Self {
        match Self::guess(bytes) {
            Some(Self::Tls) if door == Door::Tls => Self::OtherTls,
            Some(protocol) => protocol,
            None if may_be_http(bytes.get(..WINDOW).unwrap_or(bytes)) => Self::Http,
            None => Self::Text,
        }
    }

    fn of_signature(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            // A record of SSL 3 to TLS 1.3, and the hello of SSL 2.
            [0x16] | [0x14..=0x17, 3, ..] => Self::Tls,
            [high, _, 1, 0 | 2 | 3, ..] if high & 0x80 != 0 => Self::Tls,
            [0xff, 0xfb..=0xfe, ..] => Self::Telnet,
            // TPKT (RFC 1006), as remote desktops have it.
            [3, 0, _, _, ..] => Self::Rdp,
            [4] | [4, 1 | 2, ..] => Self::Socks4,
            // Without methods it is a frame of Cassandra.
            [5] | [5, 1..=255, ..] => Self::Socks5,
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
            // A length, then the code of CancelRequest, SSLRequest, GSSENCRequest or protocol 3.0.
            [0, 0, _, _, 4, 0xd2, 0x16, 0x2e..=0x30, ..] | [0, 0, _, _, 0, 3, 0, 0, ..] => {
                Self::PostgreSql
            }
            [0, _, _, _, 0xff | 0xfe, b'S', b'M', b'B', ..] => Self::Smb,
            // A sequence, its length in one way or another, a message number, and a request.
            [0x30, _, 2, 1, _, 0x42 | 0x60..=0x7f, ..]
            | [0x30, 0x82, _, _, 2, 1, _, 0x42 | 0x60..=0x7f, ..]
            | [0x30, 0x84, _, _, _, _, 2, 1, _, 0x42 | 0x60..=0x7f, ..] => Self::Ldap,
            [0x10, rest @ ..] if is_mqtt(rest) => Self::Mqtt,
            [a, b, c, d, b'g', b'i', b't', b'-', ..]
                if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) =>
            {
                Self::Git
            }
            // The code of OP_QUERY or OP_MSG behind three numbers.
            [_, _, _, _, _, _, _, _, _, _, _, _, 0xd4 | 0xdd, 7, 0, 0, ..] => Self::MongoDb,
            _ if bytes.starts_with(b"STOMP\n") || bytes.starts_with(b"STOMP\r\n") => Self::Stomp,
            _ if bytes.starts_with(b"CONNECT\n") || bytes.starts_with(b"CONNECT\r\n") => {
                Self::Stomp
            }
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
        if line.starts_with(b"@RSYNCD:") {
            Some(Self::Rsync)
        } else if line.starts_with(b"RFB 0") {
            Some(Self::Vnc)
        } else if line.starts_with(b"<?xml") || line.starts_with(b"<stream:") {
            Some(Self::Xml)
        } else if first == b"CONNECT" && second.is_some_and(|word| word.starts_with(b"{")) {
            Some(Self::Nats)
        } else if is_memcached_command(first) {
            Some(Self::Memcached)
        } else if is(&["CAPA", "STLS", "APOP"]) {
            Some(Self::Pop3)
        } else if is(&["MODE"]) && second.is_some_and(|word| word.eq_ignore_ascii_case(b"READER")) {
            Some(Self::Nntp)
        } else if is(&[
            "EHLO", "HELO", "LHLO", "MAIL", "RCPT", "STARTTLS", "QUIT", "NOOP", "RSET", "VRFY",
        ]) {
            Some(Self::Smtp)
        } else if is(&["USER", "PASS", "FEAT", "SYST", "AUTH", "PASV", "EPSV"])
            && !is_irc_user(line)
        {
            Some(Self::Ftp)
        } else if is(&["NICK", "CAP", "JOIN", "USER"]) {
            Some(Self::Irc)
        } else if is(&["PING"]) && second.is_none() || is_resp_array(first) {
            Some(Self::Redis)
        } else if second.is_some_and(is_imap_command)
            && first.iter().all(u8::is_ascii_alphanumeric)
            && !is_http_method(first)
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
            Self::OtherTls => "SSL 2, or TLS without a handshake",
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
            Self::Ldap => "an LDAP request",
            Self::Mqtt => "an MQTT connect",
            Self::Amqp => "an AMQP header",
            Self::BitTorrent => "a BitTorrent handshake",
            Self::Telnet => "a Telnet negotiation",
            Self::Git => "a request of git://",
            Self::Rsync => "an rsync greeting",
            Self::Vnc => "a VNC greeting",
            Self::Xml => "XML, as XMPP begins",
            Self::Pop3 => "a POP3 command",
            Self::Nntp => "an NNTP command",
            Self::Memcached => "a memcached command",
            Self::Nats => "a NATS command",
            Self::Stomp => "a STOMP frame",
            Self::MongoDb => "a MongoDB message",
            Self::Text => "text of no known protocol",
            Self::Binary => "binary data of no known protocol",
        }
    }

    /// What a connection that begins so is refused as.
    pub(super) fn kind(self, door: Door) -> ErrorKind {
        match self {
            _ if door == Door::Stranger => ErrorKind::ProxyHeaderUntrusted,
            Self::Socks4 if matches!(door, Door::HttpOrSocks5 | Door::Socks5) => ErrorKind::Socks4,
            Self::Socks4 | Self::Socks5 => ErrorKind::Socks,
            Self::ProxyHeader if door == Door::Socks5 => ErrorKind::ProxyHeaderUnexpected,
            _ if door == Door::Socks5 => ErrorKind::NotSocks5,
            Self::Ssh => ErrorKind::Ssh,
            _ if door == Door::ProxyHeader => ErrorKind::ProxyHeaderMissing,
            Self::ProxyHeader => ErrorKind::ProxyHeaderUnexpected,
            Self::Http | Self::Http2 if door == Door::Tls => ErrorKind::PlainAtTlsPort,
            Self::Tls => ErrorKind::TlsAtPlainPort,
            Self::Http2 => ErrorKind::Http2Off,
            _ => ErrorKind::OtherProtocol,
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
            Self::Pop3 => b"-ERR This port is an HTTP proxy and not a mail server\r\n",
            Self::Nntp => b"502 This port is an HTTP proxy and not a news server\r\n",
            Self::Memcached => b"SERVER_ERROR this port is an HTTP proxy and not memcached\r\n",
            Self::Nats => b"-ERR 'this port is an HTTP proxy and not a NATS server'\r\n",
            Self::Rsync => b"@ERROR: this port is an HTTP proxy and not an rsync server\n",
            // The number is the length of the line, with itself.
            Self::Git => b"0055ERR this port is an HTTP proxy and no git server; use an http or https URL of it\n",
            _ => return None,
        })
    }

    /// The same at a door. Behind one of SOCKS5 alone the words of other protocols are not true.
    pub(super) fn answer_at(self, door: Door) -> Option<&'static [u8]> {
        let is_true = door != Door::Socks5 || self == Self::Socks4;
        self.answer().filter(|_| is_true)
    }

    /// A line for the log: what came, what was expected, and what to change.
    pub(super) fn line(self, door: Door) -> String {
        let remedy = match self.kind(door) {
            ErrorKind::OtherProtocol if self == Self::OtherTls => {
                "have the client begin with a handshake of TLS 1.2 or 1.3"
            }
            ErrorKind::TlsAtPlainPort => {
                "write http:// for the proxy in the client, or give the listener `tls`"
            }
            ErrorKind::PlainAtTlsPort => {
                "write https:// for the proxy in the client, or remove `tls` from the listener"
            }
            ErrorKind::Socks => "set it as the HTTP proxy in the client, not as a SOCKS proxy",
            ErrorKind::Socks4 => "have the client use SOCKS5",
            ErrorKind::NotSocks5 => {
                "set it as the SOCKS5 proxy in the client, or set socks5: also on the listener"
            }
            ErrorKind::Ssh => "have ssh connect through the proxy with CONNECT (ProxyCommand)",
            ErrorKind::Http2Off => {
                "set http2: true on the listener, or have the client use HTTP/1.1"
            }
            ErrorKind::ProxyHeaderUnexpected => {
                "set proxy_protocol on the listener, or switch the header off in the load balancer"
            }
            ErrorKind::ProxyHeaderUntrusted => {
                "have the client connect to the load balancer, or add the address of a load balancer to `from`"
            }
            ErrorKind::ProxyHeaderMissing => {
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

/// What follows the first byte: a length in one to four bytes, then the name of the protocol.
fn is_mqtt(bytes: &[u8]) -> bool {
    let length = bytes.iter().take(3).take_while(|byte| **byte & 0x80 != 0);
    let name = bytes.get(length.count() + 1..).unwrap_or_default();
    name.starts_with(b"\0\x04MQTT") || name.starts_with(b"\0\x06MQIsdp")
}

/// In lower case, in which HTTP has no method.
fn is_memcached_command(word: &[u8]) -> bool {
    [
        b"get".as_slice(),
        b"gets",
        b"set",
        b"add",
        b"stats",
        b"version",
        b"incr",
        b"flush_all",
        b"mn",
    ]
    .contains(&word)
}

fn is_http_method(word: &[u8]) -> bool {
    [
        b"GET".as_slice(),
        b"HEAD",
        b"POST",
        b"PUT",
        b"DELETE",
        b"CONNECT",
        b"OPTIONS",
        b"TRACE",
        b"PATCH",
        b"PRI",
    ]
    .contains(&word)
}

/// Whether this is a request line, or may become one.
fn may_be_http(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii_start();
    let ends = bytes.contains(&b'\n');
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or(bytes);
    let mut words = line.split(|byte| *byte == b' ');
    let first = words.next().unwrap_or_default();
    let is_short = words.next().is_none() && !ends;
    is_http_method(first)
        || memchr::memmem::find(line, b"HTTP/").is_some()
        || is_short && first.len() < 8 && first.iter().all(u8::is_ascii_uppercase)
}

fn is_imap_command(word: &[u8]) -> bool {
    [
        b"CAPABILITY".as_slice(),
        b"LOGIN",
        b"AUTHENTICATE",
        b"STARTTLS",
        b"NOOP",
        b"ID",
        b"LOGOUT",
    ]
    .iter()
    .any(|command| word.eq_ignore_ascii_case(command))
}

#[cfg(test)]
mod tests;
