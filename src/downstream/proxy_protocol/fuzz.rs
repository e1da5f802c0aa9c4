//! Invariants of PROXY headers, for the fuzz target.

#![expect(
    clippy::panic,
    reason = "a broken invariant is what a fuzz target looks for"
)]

use std::net::IpAddr;

use ppp::v2;

use super::{MAX_HEADER, Parsed, V1_PREFIX, examine, may_begin};

/// Reads `data` as the start of a connection on a listener with `proxy_protocol`.
///
/// The outcome does not depend on how the bytes are cut, a header takes exactly its own bytes, and the client is
/// the one that stands in the header.
///
/// # Panics
/// An invariant does not hold.
pub fn proxy_header(data: &[u8]) -> String {
    let shown = data.escape_ascii();
    let whole = examine(data);
    // Each cut of a header of usual length, and some of a longer one.
    let near = 1..data.len().min(300);
    let far = (300..data.len()).step_by(61);
    let mut cuts = near.chain(far).chain([data.len()]);
    let first = cuts.find_map(|end| {
        let outcome = examine(data.get(..end).unwrap_or_default());
        (!matches!(outcome, Ok(None))).then_some((end, outcome))
    });
    match (&whole, first) {
        (Ok(None), None) => "incomplete".to_owned(),
        (Err(error), Some((_, Err(_)))) => error.to_string(),
        (Ok(Some(parsed)), Some((end, Ok(Some(cut))))) => {
            assert_eq!(parsed, &cut, "cut at {end}: {shown}");
            assert!(parsed.len <= end && parsed.len <= MAX_HEADER, "{shown}");
            let header = data.get(..parsed.len).unwrap_or_default();
            assert!((1..header.len()).all(|end| may_begin(header.get(..end).unwrap_or_default())));
            assert!(
                examine(header).is_ok_and(|again| again.as_ref() == Some(parsed)),
                "{shown}"
            );
            check(header, parsed)
        }
        (whole, first) => panic!("{whole:?}, cut {first:?}: {shown}"),
    }
}

/// Reads the header again, in another way.
fn check(header: &[u8], parsed: &Parsed) -> String {
    let shown = header.escape_ascii();
    let ip = parsed.source.map(|source| source.ip());
    let port = parsed.source.map(|source| source.port());
    let version = if header.starts_with(V1_PREFIX) {
        let line = std::str::from_utf8(header).unwrap_or_default();
        let Some((line, "")) = line.split_once("\r\n") else {
            panic!("not one line: {shown}");
        };
        if let Some(port) = port {
            let words: Vec<_> = line.split(' ').collect();
            let [_, _, source, _, source_port, _] = words[..] else {
                panic!("not six words: {shown}");
            };
            assert_eq!(source.parse().ok(), ip, "{shown}");
            assert_eq!(source_port.parse(), Ok(port), "{shown}");
        }
        "1"
    } else {
        let fixed = header.strip_prefix(v2::PROTOCOL_PREFIX);
        let Some((&[_, _, high, low], rest)) = fixed.and_then(|rest| rest.split_first_chunk())
        else {
            panic!("no fixed part: {shown}");
        };
        assert_eq!(
            rest.len(),
            usize::from(u16::from_be_bytes([high, low])),
            "{shown}"
        );
        let (source, ports) = match ip {
            None => (None, None),
            Some(IpAddr::V4(_)) => (
                rest.first_chunk::<4>().map(|ip| IpAddr::from(*ip)),
                rest.get(8..10),
            ),
            Some(IpAddr::V6(_)) => (
                rest.first_chunk::<16>().map(|ip| IpAddr::from(*ip)),
                rest.get(32..34),
            ),
        };
        assert_eq!(source, ip, "{shown}");
        let source_port = port.map(u16::to_be_bytes);
        assert_eq!(source_port.as_ref().map(|port| &port[..]), ports, "{shown}");
        "2"
    };
    let family = match ip {
        None => "none",
        Some(IpAddr::V4(_)) => "ipv4",
        Some(IpAddr::V6(_)) => "ipv6",
    };
    format!("{version} {family}")
}
