//! A client that writes frames of HTTP/2 by hand, and reads when it wants to.

use std::io;
use std::net::SocketAddr;

use super::client::Wire;
use super::request::{ALICE, basic};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The bytes of a frame (RFC 9113 §4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// What a client begins with: it takes so much for each stream, and any amount for all.
pub(crate) fn opening(window: u32) -> Vec<u8> {
    let mut setting = vec![0, 4];
    setting.extend(window.to_be_bytes());
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &setting),
        frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()),
    ]
    .concat()
}

/// A whole GET over plain HTTP, by Alice.
pub(crate) fn get(stream: u32, authority: SocketAddr, path: &str) -> Vec<u8> {
    get_as(stream, ALICE, authority, path)
}

/// The same by another user.
pub(crate) fn get_as(
    stream: u32,
    user: (&str, &str),
    authority: SocketAddr,
    path: &str,
) -> Vec<u8> {
    // Indexed GET and http; then literals by the name's index or with the name
    // (RFC 7541 §6).
    let mut head = vec![0x82, 0x86];
    let mut put = |lead: &[u8], value: &str| {
        head.extend(lead);
        head.push(u8::try_from(value.len()).unwrap());
        head.extend(value.as_bytes());
    };
    put(&[0x01], &authority.to_string());
    put(&[0x04], path);
    put(b"\x00\x13proxy-authorization", &basic(user.0, user.1));
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head)
}

/// A whole request of these fields, pseudo-fields among them, as literals (RFC 7541 §6.2.2).
pub(crate) fn request(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    head(END_STREAM, stream, fields)
}

/// Alice's CONNECT, of which more may follow.
pub(crate) fn connect(stream: u32, authority: SocketAddr) -> Vec<u8> {
    let fields = [
        (":method", "CONNECT"),
        (":authority", &authority.to_string()),
        ("proxy-authorization", &basic(ALICE.0, ALICE.1)),
    ];
    head(0, stream, &fields)
}

fn head(flags: u8, stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in fields {
        head.push(0);
        for text in [name, value] {
            head.push(u8::try_from(text.len()).unwrap());
            head.extend(text.as_bytes());
        }
    }
    frame(HEADERS, END_HEADERS | flags, stream, &head)
}

/// Reads the next frame. Acknowledges what is to be, and lets data flow, as every client
/// does.
pub(crate) fn read(wire: &mut Wire) -> io::Result<Frame> {
    let head = wire.read_bytes(9)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let frame = Frame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes(head[5..].try_into().unwrap()),
        payload: wire.read_bytes(usize::try_from(length).unwrap())?,
    };
    match frame.kind {
        SETTINGS if frame.flags & ACK == 0 => wire.send(self::frame(SETTINGS, ACK, 0, &[]))?,
        PING if frame.flags & ACK == 0 => wire.send(self::frame(PING, ACK, 0, &frame.payload))?,
        DATA if length > 0 => {
            wire.send(self::frame(WINDOW_UPDATE, 0, 0, &length.to_be_bytes()))?;
        }
        _ => {}
    }
    Ok(frame)
}

/// Reads up to the first frame that is expected.
pub(crate) fn read_until(wire: &mut Wire, wanted: impl Fn(&Frame) -> bool) -> Frame {
    loop {
        let frame = read(wire).unwrap();
        if wanted(&frame) {
            return frame;
        }
    }
}
