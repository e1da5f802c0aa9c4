//! How a tunnel is opened and what goes through it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What is sent through a tunnel of the `tunnels` and `idle` loads, and
/// expected back.
pub(crate) const MESSAGE: [u8; 64] =
    *b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// How long one step of a tunnel may take before it counts as an error.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest response head that is read from a proxy.
const MAX_HEAD: usize = 8 * 1024;

/// Bytes of a bulk stream between two changes of its value.
const RUN: u64 = 4096;

/// The number of values in a bulk stream: prime, so that a block that is lost,
/// doubled or moved shows.
const VALUES: u64 = 251;

/// One period of a bulk stream.
pub(crate) fn bulk_pattern() -> Vec<u8> {
    (0..RUN * VALUES).map(bulk_byte).collect()
}

/// The byte at this place of a bulk stream.
pub(crate) fn bulk_byte(place: u64) -> u8 {
    u8::try_from(place / RUN % VALUES).unwrap_or(u8::MAX)
}

/// Why a tunnel did not carry its bytes.
pub(crate) enum Failure {
    /// The proxy answered the CONNECT with this status instead of a 2xx.
    Refused(u16),
    /// Connecting, writing or reading failed, or took too long.
    Io,
    /// What came back is not what was sent.
    Bytes,
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Io
    }
}

/// The way to a target: direct, or through a proxy.
pub(crate) struct Way {
    first_hop: SocketAddr,
    connect_head: Option<Vec<u8>>,
}

impl Way {
    /// `user` is `name:password`, for the proxy.
    pub(crate) fn new(target: SocketAddr, proxy: Option<SocketAddr>, user: Option<&str>) -> Self {
        Self {
            first_hop: proxy.unwrap_or(target),
            connect_head: proxy.map(|_| connect_head(target, user)),
        }
    }

    /// Opens a tunnel.
    ///
    /// # Errors
    /// When the connection cannot be made or the proxy does not answer with 2xx.
    pub(crate) fn open(&self) -> Result<TcpStream, Failure> {
        let mut stream = TcpStream::connect_timeout(&self.first_hop, STEP_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STEP_TIMEOUT))?;
        stream.set_write_timeout(Some(STEP_TIMEOUT))?;
        if let Some(head) = &self.connect_head {
            stream.write_all(head)?;
            read_connect_response(&mut stream)?;
        }
        Ok(stream)
    }

    /// Opens a tunnel and sends 64 bytes there and back.
    ///
    /// # Errors
    /// As for [`Way::open`], and when other bytes come back.
    pub(crate) fn open_and_echo(&self) -> Result<TcpStream, Failure> {
        let mut stream = self.open()?;
        stream.write_all(&MESSAGE)?;
        let mut echo = [0; MESSAGE.len()];
        stream.read_exact(&mut echo)?;
        if echo == MESSAGE {
            Ok(stream)
        } else {
            Err(Failure::Bytes)
        }
    }
}

/// The head of the CONNECT request that opens a tunnel to `target`.
fn connect_head(target: SocketAddr, user: Option<&str>) -> Vec<u8> {
    let credentials = user.map_or_else(String::new, |user| {
        format!("Proxy-Authorization: Basic {}\r\n", base64(user.as_bytes()))
    });
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credentials}\r\n").into_bytes()
}

/// Reads the answer to a CONNECT and not a byte more: what follows it belongs
/// to the tunnel, and a `source` speaks first.
fn read_connect_response(stream: &mut TcpStream) -> Result<(), Failure> {
    let mut head = Vec::with_capacity(256);
    let mut window = [0; 1024];
    loop {
        let seen = stream.peek(&mut window)?;
        if seen == 0 {
            return Err(Failure::Io);
        }
        let known = head.len();
        head.extend_from_slice(window.get(..seen).unwrap_or_default());
        let end = head.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let take = end.map_or(seen, |end| end + 4 - known);
        stream.read_exact(window.get_mut(..take).unwrap_or_default())?;
        if end.is_some() {
            break;
        }
        if head.len() > MAX_HEAD {
            return Err(Failure::Bytes);
        }
    }
    let status = head
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse::<u16>().ok());
    match status {
        Some(200..300) => Ok(()),
        Some(status) => Err(Failure::Refused(status)),
        None => Err(Failure::Bytes),
    }
}

/// Base64 (RFC 4648 §4), here so that the program needs no crate.
fn base64(input: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut output = String::new();
    for chunk in input.chunks(3) {
        let group = chunk
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        for place in 0..4 {
            let index = (group >> (18 - 6 * place)) & 63;
            match ALPHABET.get(index as usize) {
                Some(letter) if place <= chunk.len() => output.push(char::from(*letter)),
                _ => output.push('='),
            }
        }
    }
    output
}
