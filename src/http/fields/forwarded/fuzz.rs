//! Invariants of the fields that name a client, for the fuzz target.

use std::net::{IpAddr, Ipv4Addr};

use super::{ForwardingAction, ForwardingActions, Kept, MAX_KEPT, SentForwarding};

/// Reads each line of `data` as a line of `Forwarded` and of `X-Forwarded-For` that a trusted client sends.
///
/// However they are written, a reader that goes from the left and knows quotes finds the client as the last member, and
/// the size is limited.
///
/// # Panics
/// An invariant does not hold.
pub fn forwarded(data: &[u8]) -> String {
    let shown = data.escape_ascii();
    let mut sent = SentForwarding::default();
    for line in data.split(|byte| *byte == b'\n') {
        sent.read(b"Forwarded", line.trim_ascii());
        sent.read(b"X-Forwarded-For", line.trim_ascii());
    }
    let actions = ForwardingActions {
        forwarded: ForwardingAction::Append,
        x_forwarded: ForwardingAction::Append,
    };
    let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let lines = actions.lines(client, "http", Some(&sent));
    let mut values = lines.split("\r\n").filter_map(|line| line.split_once(": "));
    let forwarded = values.next().map(|(_, value)| value).unwrap_or_default();
    assert_eq!(
        last_member(forwarded),
        "for=192.0.2.1;proto=http",
        "{shown}"
    );
    let addresses = values.next().map(|(_, value)| value).unwrap_or_default();
    assert_eq!(last_member(addresses), "192.0.2.1", "{shown}");
    assert_eq!(lines.matches("\r\n").count(), 3, "{shown}");
    assert!(lines.len() < 2 * MAX_KEPT + 256, "{shown}");
    let kept = [sent.forwarded, sent.x_forwarded_for].map(|kept| match kept {
        Kept::Absent => "absent",
        Kept::List(_) => "kept",
        Kept::Unusable => "replaced",
    });
    kept.join(" ")
}

/// What is behind the last comma that is in no quotes.
fn last_member(list: &str) -> &str {
    let (mut start, mut is_quoted, mut is_escaped) = (0, false, false);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => start = at + 1,
            _ => {}
        }
    }
    list.get(start..).unwrap_or_default().trim()
}
