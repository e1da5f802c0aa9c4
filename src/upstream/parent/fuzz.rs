//! Invariants of what a parent answers to a CONNECT, for the fuzz target.

#![expect(
    clippy::panic,
    reason = "a broken invariant is what a fuzz target looks for"
)]

use bytes::BytesMut;

use super::connect::{ConnectAnswer, MAX_HEAD};
use super::failure::Failure;

/// Reads `data` as the answer of a parent, in pieces.
///
/// The outcome does not depend on how the bytes are cut. A tunnel opens behind the head alone, and every byte behind it is
/// there. What is kept before that is limited.
///
/// # Panics
/// An invariant does not hold.
pub fn parent_answer(data: &[u8]) -> String {
    let whole = drive(data, data.len().max(1));
    for piece in [1, 2, 7] {
        assert_eq!(
            drive(data, piece),
            whole,
            "{piece}: {}",
            data.escape_ascii()
        );
    }
    match whole {
        Outcome::Open(behind) => {
            let head = data.len() - behind.len();
            assert!(
                data.ends_with(&behind) && head >= b"HTTP/1.1 200\n\n".len(),
                "{}",
                data.escape_ascii()
            );
            "open".to_owned()
        }
        Outcome::Waits => "waits".to_owned(),
        Outcome::Failed(why) => why.replace(|c: char| c.is_ascii_digit(), "0"),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// With all bytes behind the head.
    Open(Vec<u8>),
    Waits,
    Failed(String),
}

fn drive(data: &[u8], piece: usize) -> Outcome {
    let mut answer = ConnectAnswer::new();
    let mut bytes = BytesMut::new();
    let mut pieces = data.chunks(piece);
    while let Some(more) = pieces.next() {
        bytes.extend_from_slice(more);
        match answer.advance(&mut bytes) {
            Ok(true) => {
                let behind = pieces.flatten().copied();
                return Outcome::Open(bytes.iter().copied().chain(behind).collect());
            }
            Ok(false) => assert!(bytes.len() <= MAX_HEAD, "{} bytes are kept", bytes.len()),
            Err(Failure::Dial(_) | Failure::Io(_) | Failure::Socks(_)) => {
                panic!("an error of another part")
            }
            Err(failure) => return Outcome::Failed(failure.to_string()),
        }
    }
    Outcome::Waits
}
