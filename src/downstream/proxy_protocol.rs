//! The PROXY protocol, versions 1 and 2: who the client of a load balancer in
//! front of us is.

use std::io;
use std::net::SocketAddr;

use ppp::{HeaderResult, PartialResult, v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::config;

#[cfg(any(test, feature = "internals"))]
pub mod fuzz;

/// The longest header that is read: version 2 with all its extensions could be
/// 64 KiB, none that is sent comes near this.
const MAX_HEADER: usize = 4096;

/// Reads the header that must come first, and nothing behind it.
///
/// `None` when the sender speaks for itself (LOCAL, UNKNOWN): a health check. A client that is given as an
/// IPv4-mapped address is one of IPv4.
///
/// # Errors
/// There is no header, or none that is well-formed, or the connection ends within it.
pub(super) async fn read_header(stream: &mut TcpStream) -> Result<Option<SocketAddr>, HeaderError> {
    let mut header = Vec::new();
    let mut window = [0; 512];
    loop {
        // What lies behind the header may be TLS, which reads for itself: look
        // first, then take only what belongs to the header.
        let seen = stream.peek(&mut window).await?;
        if seen == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let taken = header.len();
        header.extend_from_slice(window.get(..seen).unwrap_or_default());
        if taken == 0 && !may_begin(&header) {
            return Err(HeaderError::Missing);
        }
        match examine(&header)? {
            Some(parsed) => {
                consume(stream, parsed.len.saturating_sub(taken)).await?;
                return Ok(parsed.source.map(config::canonical));
            }
            None => consume(stream, seen).await?,
        }
    }
}

/// Why a client is not known.
#[derive(Debug)]
pub(super) enum HeaderError {
    /// The first bytes are those of something else; they were not taken from the stream.
    Missing,
    /// The header is broken, or the connection is.
    Broken(io::Error),
}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// The beginning of a version 1 header.
const V1_PREFIX: &[u8] = b"PROXY ";

/// Whether a header of either version can begin with these bytes.
fn may_begin(bytes: &[u8]) -> bool {
    begins(bytes, V1_PREFIX) || begins(bytes, v2::PROTOCOL_PREFIX)
}

#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    len: usize,
    source: Option<SocketAddr>,
}

/// The header at the start of a connection; `None` when more is needed. The outcome does not depend on how
/// the bytes arrive.
///
/// # Errors
/// The header is not well-formed, or is longer than [`MAX_HEADER`].
fn examine(bytes: &[u8]) -> io::Result<Option<Parsed>> {
    let parsed = parse(bytes)?;
    if parsed.as_ref().map_or(bytes.len(), |parsed| parsed.len) > MAX_HEADER {
        return Err(invalid("its PROXY protocol header is too long"));
    }
    Ok(parsed)
}

/// `None` when more is needed.
fn parse(bytes: &[u8]) -> io::Result<Option<Parsed>> {
    if may_be_cut(bytes) {
        return Ok(None);
    }
    let result = HeaderResult::parse(bytes);
    if begins(bytes, v2::PROTOCOL_PREFIX) && result.is_incomplete() {
        return Ok(None);
    }
    let invalid = || invalid("its PROXY protocol header is not well-formed");
    match result {
        HeaderResult::V1(Ok(header)) => {
            let source = match header.addresses {
                v1::Addresses::Tcp4(tcp) => Some((tcp.source_address, tcp.source_port).into()),
                v1::Addresses::Tcp6(tcp) => Some((tcp.source_address, tcp.source_port).into()),
                v1::Addresses::Unknown => None,
            };
            let len = header.header.len();
            Ok(Some(Parsed { len, source }))
        }
        HeaderResult::V2(Ok(header)) => {
            let stream = matches!(
                header.protocol,
                v2::Protocol::Stream | v2::Protocol::Unspecified
            );
            if !stream && header.command == v2::Command::Proxy {
                return Err(invalid());
            }
            let source = match (header.command, header.addresses) {
                (v2::Command::Local, _) => None,
                (_, v2::Addresses::IPv4(ip)) => Some((ip.source_address, ip.source_port).into()),
                (_, v2::Addresses::IPv6(ip)) => Some((ip.source_address, ip.source_port).into()),
                (_, v2::Addresses::Unix(_) | v2::Addresses::Unspecified) => None,
            };
            let len = header.len();
            Ok(Some(Parsed { len, source }))
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(invalid()),
    }
}

/// Whether this is the beginning of a signature, or of a version 1 line whose end
/// is still to come. The parser takes a cut number for a whole one, and whatever is
/// short for incomplete: a client that sends something else must not be waited for.
fn may_be_cut(bytes: &[u8]) -> bool {
    // With its line end a version 1 header has at most 107 bytes.
    let v1_line = bytes.starts_with(V1_PREFIX)
        && bytes.len() < 107
        && !bytes.windows(2).any(|pair| pair == b"\r\n");
    let short = bytes.len() < v2::PROTOCOL_PREFIX.len() && begins(bytes, v2::PROTOCOL_PREFIX);
    v1_line || short || (bytes.len() < V1_PREFIX.len() && begins(bytes, V1_PREFIX))
}

/// Whether `bytes` are the beginning of `signature`, or the other way round.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let len = bytes.len().min(signature.len());
    bytes.get(..len) == signature.get(..len)
}

async fn consume(stream: &mut TcpStream, mut len: usize) -> io::Result<()> {
    let mut sink = [0; 512];
    while len > 0 {
        let part = sink.len().min(len);
        let space = sink.get_mut(..part).unwrap_or_default();
        len -= stream.read_exact(space).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::ProxyHeader;
    use crate::upstream::proxy_protocol::{Ends, header};
    use std::net::IpAddr;

    fn v2_header(source: &str) -> Vec<u8> {
        let source: SocketAddr = source.parse().unwrap();
        let destination: SocketAddr = "127.0.0.1:443".parse().unwrap();
        v2::Builder::with_addresses(
            v2::Version::Two | v2::Command::Proxy,
            v2::Protocol::Stream,
            (source, destination),
        )
        .build()
        .unwrap()
    }

    fn source(bytes: &[u8]) -> Option<SocketAddr> {
        parse(bytes).unwrap().unwrap().source
    }

    #[test]
    fn the_source_is_the_client() {
        let v1 = b"PROXY TCP4 192.0.2.1 198.51.100.1 5000 443\r\nGET / HTTP/1.1\r\n";
        assert_eq!(source(v1), Some("192.0.2.1:5000".parse().unwrap()));
        let v1 = b"PROXY TCP6 2001:db8::1 ::1 5000 443\r\n";
        assert_eq!(source(v1), Some("[2001:db8::1]:5000".parse().unwrap()));
        assert_eq!(source(b"PROXY UNKNOWN\r\n"), None);
        let v2 = v2_header("192.0.2.7:1");
        assert_eq!(source(&v2), Some("192.0.2.7:1".parse().unwrap()));
        assert_eq!(parse(&v2).unwrap().unwrap().len, v2.len());
    }

    #[test]
    fn a_header_may_come_in_pieces() {
        for header in [
            b"PROXY TCP4 192.0.2.1 198.51.100.1 5000 443\r\n".to_vec(),
            v2_header("192.0.2.7:1"),
        ] {
            for cut in 1..header.len() {
                assert_eq!(parse(&header[..cut]).unwrap(), None, "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_long_header_is_refused_however_it_arrives() {
        let header = |len: usize| {
            let mut header = v2_header("192.0.2.7:1");
            let rest = u16::try_from(len - 16).unwrap();
            header[14..16].copy_from_slice(&rest.to_be_bytes());
            header.resize(len, 0);
            header
        };
        let longest = header(MAX_HEADER);
        assert_eq!(examine(&longest).unwrap().unwrap().len, MAX_HEADER);
        assert_eq!(examine(&longest[..MAX_HEADER - 1]).unwrap(), None);
        let longer = header(MAX_HEADER + 1);
        for cut in [MAX_HEADER, MAX_HEADER + 1] {
            let outcome = examine(&longer[..cut]);
            assert_eq!(outcome.is_err(), cut > MAX_HEADER, "cut at {cut}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bytes in [
            b"GET / HTTP/1.1\r\n".as_slice(),
            b"\x16\x03\x01",
            b"PROXY TCP4 999.0.2.1 198.51.100.1 5000 443\r\n",
            b"PROXY TCP5 a b c d\r\n",
            &[b'P'; 200],
        ] {
            assert!(
                parse(bytes).is_err(),
                "{:?}",
                bytes.escape_ascii().to_string()
            );
        }
        let mut endless = b"PROXY TCP4 ".to_vec();
        endless.extend([b' '; 200]);
        assert!(parse(&endless).is_err());
    }

    proptest! {
        /// What this program writes to upstreams, another one of it reads back.
        #[test]
        fn written_headers_are_read_back(
            client: IpAddr,
            client_port: u16,
            listener: IpAddr,
            listener_port: u16,
            rest in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let client = SocketAddr::new(client, client_port);
            let listener = SocketAddr::new(listener, listener_port);
            let ends = Ends { client, listener };
            for version in [ProxyHeader::V1, ProxyHeader::V2] {
                for ends in [Some(ends), None] {
                    let mut bytes = header(version, ends);
                    let len = bytes.len();
                    bytes.extend(&rest);
                    let parsed = parse(&bytes).unwrap().unwrap();
                    let source = parsed.source.map(config::canonical);
                    let named = ends.map(|ends| config::canonical(ends.client));
                    prop_assert_eq!((parsed.len, source), (len, named));
                }
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn what_follows_is_not_part_of_it(rest in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut bytes = b"PROXY TCP4 192.0.2.1 198.51.100.1 5000 443\r\n".to_vec();
            let len = bytes.len();
            bytes.extend(rest);
            prop_assert_eq!(parse(&bytes).unwrap().unwrap().len, len);
        }
    }
}
