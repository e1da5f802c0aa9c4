//! Invariants of SOCKS5 messages, for the fuzz target.

#![expect(
    clippy::panic,
    reason = "a broken invariant is what a fuzz target looks for"
)]

use std::fmt::Debug;

use super::Address;
use super::client::{Bound, Handshake, HandshakeError, Step};
use super::message::{MessageError, Progress};
use super::server::{Greeting, Login, Request};

/// The longest message: a login with a user name and a password of 255 bytes each.
const MAX_MESSAGE: usize = 3 + 255 + 255;

/// Reads `data` as each message of a client, and as what a server says in a whole handshake.
///
/// The outcome does not depend on how the bytes are cut, a message takes exactly its own bytes, and the number of bytes
/// that are said to be missing is never too high.
///
/// # Panics
/// An invariant does not hold.
pub fn socks5(data: &[u8]) -> String {
    let parts = [
        message(data, Greeting::parse, |_| true),
        message(data, Login::parse, |_| true),
        message(data, Request::parse, asks_for_itself),
        handshake(data, None),
        handshake(data, Some((b"user", b"password"))),
    ];
    parts.join(", ")
}

/// How `parse` reads `data`, in every cut.
fn message<'a, T: Debug + PartialEq>(
    data: &'a [u8],
    parse: impl Fn(&'a [u8]) -> Result<Progress<T>, MessageError>,
    holds: impl Fn(&T) -> bool,
) -> String {
    let shown = data.escape_ascii();
    let whole = parse(data);
    let end = data.len().min(MAX_MESSAGE + 1);
    for at in 0..end {
        let cut = parse(data.get(..at).unwrap_or_default());
        match (&cut, &whole) {
            (Ok(Progress::Needs(0)), _) => panic!("no byte is missing at {at}: {shown}"),
            (Ok(Progress::Needs(more)), Ok(Progress::Complete(_, length))) => {
                assert!(at + more <= *length, "{more} at {at} of {length}: {shown}");
            }
            (Ok(Progress::Needs(more)), Ok(Progress::Needs(further))) => {
                assert!(at + more <= data.len() + further, "{shown}");
            }
            (Ok(Progress::Needs(_)), Err(_)) => {}
            _ => assert_eq!(cut, whole, "cut at {at}: {shown}"),
        }
    }
    match whole {
        Ok(Progress::Complete(value, length)) => {
            assert!(length <= MAX_MESSAGE && length <= data.len(), "{shown}");
            assert!(holds(&value), "{shown}");
            "whole".to_owned()
        }
        Ok(Progress::Needs(_)) => {
            assert!(data.len() < MAX_MESSAGE, "{shown}");
            "incomplete".to_owned()
        }
        Err(error) => error.to_string(),
    }
}

/// Whether a request that a client is to send is the same when the client's side writes it.
fn asks_for_itself(request: &Request<'_>) -> bool {
    let Ok(mut handshake) = Handshake::new(request.address, request.port, None) else {
        return false;
    };
    let Ok(Step::Send(2, message)) = handshake.advance(&[5, 0]) else {
        return false;
    };
    let again = Request::parse(&message);
    let Ok(Progress::Complete(again, length)) = again else {
        return false;
    };
    length == message.len() && (again.address, again.port) == (request.address, request.port)
}

/// How a handshake ends when the server sends `data`: the same in one piece, in single bytes, and when no more is read
/// than what the handshake asks for.
fn handshake(data: &[u8], login: Option<(&[u8], &[u8])>) -> String {
    let at_once = drive(data, login, |_, all| all);
    let by_need = drive(data, login, |needed, all| needed.min(all));
    let by_byte = drive(data, login, |_, all| all.min(1));
    let shown = data.escape_ascii();
    assert_eq!(by_need, by_byte, "{shown}");
    assert_eq!(by_need, at_once, "{shown}");
    match by_need {
        (Some(Ok(bound)), _, sent) => format!("{bound} {sent}"),
        (Some(Err(error)), _, _) => error.to_string(),
        (None, _, sent) => format!("waits {sent}"),
    }
}

type End = Option<Result<&'static str, HandshakeError>>;

/// Runs a handshake on what the server sends. Returns how it ended, how many bytes it took, and how many messages were
/// sent.
fn drive(
    data: &[u8],
    login: Option<(&[u8], &[u8])>,
    take: impl Fn(usize, usize) -> usize,
) -> (End, usize, usize) {
    let Ok(mut handshake) = Handshake::new(Address::Name(b"host"), 443, login) else {
        panic!("a host of four letters");
    };
    let greeting = Greeting::parse(handshake.begin());
    assert!(
        matches!(greeting, Ok(Progress::Complete(it, _)) if it.with_password == login.is_some())
    );
    // Where the message begins, and up to where bytes were read.
    let (mut from, mut to, mut sent) = (0, 0, 0);
    loop {
        match handshake.advance(data.get(from..to).unwrap_or_default()) {
            Ok(Step::Read(needed)) => {
                assert!(needed > 0 && to - from < MAX_MESSAGE);
                match take(needed, data.len() - to) {
                    0 => return (None, 0, sent),
                    more => to += more,
                }
            }
            Ok(Step::Send(length, message)) => {
                assert!(length > 0 && !message.is_empty());
                sent += 1;
                from += length;
                assert!(from <= to);
            }
            Ok(Step::Open(length, bound)) => {
                let kind = match bound {
                    Bound::Address(_) => "address",
                    Bound::Name => "name",
                };
                return (Some(Ok(kind)), from + length, sent);
            }
            Err(error) => return (Some(Err(error)), 0, sent),
        }
    }
}
