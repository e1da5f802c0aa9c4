//! Invariants of the names of wrong protocols, for the fuzz target.

use super::{Door, Protocol, WINDOW};

/// Names the protocol of a connection that begins with `data`, at each door.
///
/// The name comes from the first bytes alone, however many follow. A door names no protocol that it expects,
/// and answers have an end of a line or are not text.
///
/// # Panics
/// An invariant does not hold.
pub fn first_bytes(data: &[u8]) -> String {
    let shown = data.escape_ascii();
    let start = data.get(..WINDOW).unwrap_or(data);
    let guess = Protocol::guess(data);
    assert_eq!(guess, Protocol::guess(start), "{shown}");
    let mut names = vec![guess.map_or("HTTP", Protocol::name)];
    for door in [
        Door::Plain,
        Door::Tls,
        Door::ProxyHeader,
        Door::HttpOrSocks5,
        Door::Socks5,
        Door::Stranger,
    ] {
        let protocol = Protocol::guess_at(door, data);
        assert!(door != Door::Tls || protocol != Protocol::Tls, "{shown}");
        if let Some(guess) = guess
            && guess != Protocol::Tls
        {
            assert_eq!(protocol, guess, "{shown}");
        }
        if let Some(answer) = protocol.answer() {
            assert!(answer.ends_with(b"\n") || !answer.is_ascii() || answer.contains(&0));
        }
        names.push(protocol.name());
    }
    names.join(", ")
}
