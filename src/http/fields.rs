//! Header fields that a proxy adds, removes or must understand (RFC 9110 §7.6).
//!
//! Pure: no I/O, no Pingora types.

mod accept;
pub mod forwarded;
mod hop;
mod user;

use http::header::HeaderValue;

pub use accept::accepts_json;
pub use forwarded::{ForwardingAction, ForwardingActions, SentForwarding};
pub use hop::{HopField, is_ignored_option, is_refused_option};
pub use user::UserField;

use super::http1::is_tchar;

/// Writes a field line with its line end.
pub fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Whether it is a field in which a proxy in front of a server tells who the client is
/// or what the client asked for. A local upstream gets such fields from Tollgate alone,
/// never from a client.
pub fn is_forwarding_field(name: &[u8]) -> bool {
    // Called for every field of every request; few begin like this.
    if !matches!(
        name,
        [b'x' | b'X', b'-', ..] | [b'f' | b'F', b'o' | b'O', ..]
    ) {
        return false;
    }
    const NAMES: &[&[u8]] = &[b"forwarded", b"x-real-ip", b"x-client-ip"];
    NAMES.iter().any(|other| name.eq_ignore_ascii_case(other)) || is_x_forwarded(name)
}

/// Whether it is one of the fields `X-Forwarded-*`.
fn is_x_forwarded(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-forwarded-";
    name.get(..PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// This proxy's name in `Via` (RFC 9110 §7.6.3): a pseudonym, which tells no host
/// name. Each instance has its own, so that a chain of two Tollgates is not a loop.
#[derive(Clone, Debug)]
pub struct Pseudonym {
    name: String,
    /// The members, made once: every message gets one.
    via10: HeaderValue,
    via11: HeaderValue,
    via20: HeaderValue,
    /// The same as field lines of a request.
    lines: [Box<[u8]>; 3],
}

impl Pseudonym {
    /// A pseudonym that ends in `instance` as eight hex digits.
    pub fn new(instance: u32) -> Self {
        let name = format!("tollgate-{instance:08x}");
        // Hex digits, letters and a hyphen are always a value.
        let member = |protocol| {
            HeaderValue::from_str(&format!("{protocol} {name}"))
                .unwrap_or(HeaderValue::from_static("1.1 tollgate"))
        };
        let [via10, via11, via20] = ["1.0", "1.1", "2.0"].map(member);
        let line = |via: &HeaderValue| [b"Via: ", via.as_bytes(), b"\r\n"].concat().into();
        Self {
            lines: [&via10, &via11, &via20].map(line),
            via10,
            via11,
            via20,
            name,
        }
    }

    /// The `Via` member for a message that was received in this version.
    pub fn via(&self, version: http::Version) -> HeaderValue {
        match version {
            http::Version::HTTP_09 | http::Version::HTTP_10 => self.via10.clone(),
            http::Version::HTTP_2 => self.via20.clone(),
            _ => self.via11.clone(),
        }
    }

    /// The same as a field line with its line end.
    pub fn via_line(&self, version: http::Version) -> &[u8] {
        let [line10, line11, line20] = &self.lines;
        match version {
            http::Version::HTTP_09 | http::Version::HTTP_10 => line10,
            http::Version::HTTP_2 => line20,
            _ => line11,
        }
    }

    /// Whether a `Via` field line holds this pseudonym: the message has been here before.
    pub fn is_in(&self, via: &[u8]) -> bool {
        via.split(|byte| *byte == b',').any(|member| {
            let mut words = member
                .split(|byte| byte.is_ascii_whitespace())
                .filter(|word| !word.is_empty());
            words.next();
            words.next() == Some(self.name.as_bytes())
        })
    }

    /// Whether a `Via` among these field lines holds this pseudonym.
    pub fn is_in_fields<'a>(&self, fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> bool {
        fields
            .into_iter()
            .any(|(name, value)| name.eq_ignore_ascii_case(b"via") && self.is_in(value))
    }
}

/// Whether `Authorization` names a scheme that authenticates the connection and
/// not the request, so that the connection must not be shared (RFC 4559 §6).
pub fn authenticates_connection(authorization: &[u8]) -> bool {
    let scheme = authorization
        .split(|byte| *byte == b' ')
        .next()
        .unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"negotiate") || scheme.eq_ignore_ascii_case(b"ntlm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_our_own_pseudonym_as_received_by() {
        let own = Pseudonym::new(0x1f2e);
        assert_eq!(&*own.name, "tollgate-00001f2e");
        assert!(own.is_in(b"1.1 tollgate-00001f2e"));
        assert!(own.is_in(b"1.0 fred, 1.1\ttollgate-00001f2e (comment)"));
        assert!(!own.is_in(b"1.1 tollgate-00001f2f"));
        assert!(!own.is_in(b"1.1 fred (tollgate-00001f2e)"));
        assert!(!own.is_in(b""));
        for (version, via) in [
            (http::Version::HTTP_10, "1.0 tollgate-00001f2e"),
            (http::Version::HTTP_11, "1.1 tollgate-00001f2e"),
            (http::Version::HTTP_2, "2.0 tollgate-00001f2e"),
        ] {
            assert_eq!(own.via(version), via);
            assert_eq!(own.via_line(version), format!("Via: {via}\r\n").as_bytes());
        }
    }

    #[test]
    fn connection_bound_schemes() {
        assert!(authenticates_connection(b"NTLM TlRM"));
        assert!(authenticates_connection(b"negotiate YII"));
        assert!(!authenticates_connection(b"Basic eA=="));
        assert!(!authenticates_connection(b""));
    }
}
