//! The handshake message ClientHello, without its type and length.

use super::ja4::{self, Parts};
use super::{Hello, MAX_ALPN, MAX_SNI, Unreadable};

const SERVER_NAME: u16 = 0;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
/// The draft before ECH.
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;

const HOST_NAME: u8 = 0;

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

type Parsed<T> = Result<T, Unreadable>;

/// Reads the whole message.
///
/// # Errors
/// [`Unreadable::Malformed`]
pub(super) fn parse(body: &[u8]) -> Parsed<Hello> {
    let mut bytes = Bytes(body);
    let version = bytes.u16("its version")?;
    bytes.take(32, "its random")?;
    let session = bytes.vec8("its session")?;
    if session.0.len() > 32 {
        return Err(Unreadable::Malformed("its session"));
    }
    let ciphers = bytes.vec16("its ciphers")?.list16("its ciphers")?;
    let compressions = bytes.vec8("its compressions")?;
    if ciphers.is_empty() || compressions.0.is_empty() {
        return Err(Unreadable::Malformed("an empty list"));
    }
    let mut hello = Hello::default();
    let mut parts = Parts {
        version,
        ciphers,
        ..Parts::default()
    };
    // Clients before TLS 1.2 may have no extensions.
    if !bytes.0.is_empty() {
        let mut extensions = bytes.vec16("its extensions")?;
        bytes.end("bytes behind its extensions")?;
        while !extensions.0.is_empty() {
            let kind = extensions.u16("an extension")?;
            let body = extensions.vec16("an extension")?;
            parts.extensions.push(kind);
            extension(kind, body, &mut hello, &mut parts)?;
        }
    }
    parts.extensions.sort_unstable();
    if parts.extensions.windows(2).any(|two| match two {
        [a, b] => a == b,
        _ => false,
    }) {
        // RFC 8446 §4.2. A server may take the first, the last or none.
        return Err(Unreadable::Malformed("an extension is there twice"));
    }
    hello.ja4 = ja4::fingerprint(parts);
    Ok(hello)
}

fn extension<'a>(
    kind: u16,
    mut body: Bytes<'a>,
    hello: &mut Hello,
    parts: &mut Parts<'a>,
) -> Parsed<()> {
    match kind {
        SERVER_NAME => {
            const WHAT: &str = "its server name";
            let mut names = body.vec16(WHAT)?;
            body.end(WHAT)?;
            let kind = names.u8(WHAT)?;
            let name = names.vec16(WHAT)?;
            names.end(WHAT)?;
            if kind != HOST_NAME {
                return Err(Unreadable::Malformed(WHAT));
            }
            hello.sni = Some(host_name(name.0)?);
        }
        ALPN => {
            const WHAT: &str = "its protocols";
            let mut protocols = body.vec16(WHAT)?;
            body.end(WHAT)?;
            while !protocols.0.is_empty() {
                let protocol = protocols.vec8(WHAT)?.0;
                parts.alpn.get_or_insert(protocol);
                if hello.alpn.len() == MAX_ALPN {
                    return Err(Unreadable::Malformed("too many protocols"));
                }
                hello.alpn.push(protocol_text(protocol));
            }
        }
        SIGNATURE_ALGORITHMS => {
            const WHAT: &str = "its signature algorithms";
            parts.signatures = body.vec16(WHAT)?.list16(WHAT)?;
            body.end(WHAT)?;
        }
        SUPPORTED_VERSIONS => {
            const WHAT: &str = "its versions";
            parts.versions = body.vec8(WHAT)?.list16(WHAT)?;
            body.end(WHAT)?;
        }
        ENCRYPTED_CLIENT_HELLO | ENCRYPTED_SERVER_NAME => hello.ech = true,
        _ => {}
    }
    Ok(())
}

fn host_name(name: &[u8]) -> Parsed<Box<str>> {
    let is_text = !name.is_empty() && name.len() <= MAX_SNI && name.iter().all(is_printable);
    match std::str::from_utf8(name) {
        Ok(name) if is_text => Ok(name.into()),
        _ => Err(Unreadable::Malformed("its server name")),
    }
}

fn protocol_text(protocol: &[u8]) -> Box<str> {
    match std::str::from_utf8(protocol) {
        Ok(text) if text.bytes().all(|byte| is_printable(&byte)) => text.into(),
        _ => {
            let mut text = String::with_capacity(2 + 2 * protocol.len());
            text.push_str("0x");
            ja4::push_hex(&mut text, protocol);
            text.into()
        }
    }
}

fn is_printable(byte: &u8) -> bool {
    byte.is_ascii_graphic()
}

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Parsed<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(Unreadable::Malformed(what))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self, what: &'static str) -> Parsed<u8> {
        match self.take(1, what)? {
            [byte] => Ok(*byte),
            _ => Err(Unreadable::Malformed(what)),
        }
    }

    fn u16(&mut self, what: &'static str) -> Parsed<u16> {
        match self.take(2, what)? {
            [high, low] => Ok(u16::from_be_bytes([*high, *low])),
            _ => Err(Unreadable::Malformed(what)),
        }
    }

    /// A vector with a length of one byte.
    fn vec8(&mut self, what: &'static str) -> Parsed<Bytes<'a>> {
        let count = self.u8(what)?;
        self.take(count.into(), what).map(Bytes)
    }

    /// A vector with a length of two bytes.
    fn vec16(&mut self, what: &'static str) -> Parsed<Bytes<'a>> {
        let count = self.u16(what)?;
        self.take(count.into(), what).map(Bytes)
    }

    /// All of it as numbers of two bytes.
    fn list16(mut self, what: &'static str) -> Parsed<Vec<u16>> {
        let mut list = Vec::with_capacity(self.0.len() / 2);
        while !self.0.is_empty() {
            list.push(self.u16(what)?);
        }
        Ok(list)
    }

    fn end(&self, what: &'static str) -> Parsed<()> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Unreadable::Malformed(what)),
        }
    }
}
