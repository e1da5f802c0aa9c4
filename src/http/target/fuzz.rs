//! Invariants of request-targets and authorities, for the fuzz target and property tests.

#![expect(
    clippy::expect_used,
    reason = "a broken invariant is what a fuzz target looks for"
)]

use std::net::IpAddr;

use super::{Authority, Host, Scheme, Target, TargetError};

/// Reads `data` as a request-target of several methods, and as an authority.
///
/// What is accepted prints as what is read back as the same, means the same to the URL parser of browsers, and
/// is of one form: no target is accepted in a second meaning.
///
/// # Panics
/// An invariant does not hold.
pub fn authority(data: &[u8]) -> String {
    let shown = data.escape_ascii();
    let parsed = Authority::parse(data);
    if let Ok(authority) = &parsed {
        check_authority(authority);
        let with_default = Authority::parse_with_default(data, Some(1));
        assert_eq!(with_default.as_ref(), Ok(authority), "{shown}");
    } else if let Ok(authority) = Authority::parse_with_default(data, Some(1)) {
        // Without a port, or with an empty one: both are the same (RFC 9110 §4.2.1).
        assert_eq!(authority.port, 1, "{shown}");
        let host = data.strip_suffix(b":").unwrap_or(data);
        for same in [host.to_vec(), [host, b":"].concat()] {
            let same = Authority::parse_with_default(&same, Some(1));
            assert_eq!(same.as_ref(), Ok(&authority), "{shown}");
        }
    }
    let tunnel = Target::parse(b"CONNECT", data);
    if let Ok(target) = &tunnel {
        let authority = parsed.clone().map(Target::Authority);
        assert_eq!(authority.as_ref(), Ok(target), "{shown}");
    }
    let forward = Target::parse(b"GET", data);
    match &forward {
        Ok(Target::Absolute {
            scheme,
            authority,
            path_start,
        }) => {
            assert!(tunnel.is_err() && parsed.is_err(), "{shown}");
            check_absolute(data, *scheme, authority, *path_start);
        }
        Ok(other) => assert_eq!(other, &Target::Origin, "{shown}"),
        // A target that is an authority is never more than that.
        Err(error) => assert!(
            tunnel.is_err() || *error == TargetError::AuthorityForm,
            "{error}: {shown}"
        ),
    }
    match Target::parse(b"OPTIONS", data) {
        Ok(Target::Asterisk) => assert_eq!(data, b"*"),
        other if data == b"*" => assert_eq!(other, Ok(Target::Asterisk)),
        other => assert_eq!(other, forward, "{shown}"),
    }
    format!(
        "{} {} {}",
        form(&tunnel),
        form(&forward),
        form(&parsed.map(Target::Authority))
    )
}

fn form(target: &Result<Target, TargetError>) -> String {
    match target {
        Ok(Target::Absolute {
            scheme, authority, ..
        }) => format!(
            "{scheme} {}",
            match authority.host {
                Host::Name(_) => "name",
                Host::Ip(IpAddr::V4(_)) => "ipv4",
                Host::Ip(IpAddr::V6(_)) => "ipv6",
            }
        ),
        Ok(Target::Authority(_)) => "authority".to_owned(),
        Ok(Target::Origin) => "origin".to_owned(),
        Ok(Target::Asterisk) => "asterisk".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

/// What must hold of an authority that was accepted.
///
/// # Panics
/// An invariant does not hold.
pub(super) fn check_authority(authority: &Authority) {
    let printed = authority.to_string();
    assert_eq!(printed.parse::<Authority>().as_ref(), Ok(authority));
    assert!(printed.is_ascii() && printed.len() <= 253 + 6, "{printed}");
    assert_ne!(authority.port, 0, "{printed}");
    for scheme in [Scheme::Http, Scheme::Https] {
        let field = authority.host_field(scheme).to_string();
        let again = Authority::parse_with_default(field.as_bytes(), Some(scheme.default_port()));
        assert_eq!(again.as_ref(), Ok(authority), "{field}");
    }
    if let Some(name) = authority.host.name() {
        let is_lower =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
        assert!(name.bytes().all(is_lower) && !name.ends_with('.'), "{name}");
        assert!(name.parse::<IpAddr>().is_err(), "{name}");
    }
}

fn check_absolute(raw: &[u8], scheme: Scheme, authority: &Authority, path_start: usize) {
    let shown = raw.escape_ascii();
    check_authority(authority);
    let path = raw.get(path_start..).expect("the path is in the target");
    assert!(matches!(path, [] | [b'/' | b'?', ..]), "{shown}");
    let canonical = [format!("{scheme}://{authority}").as_bytes(), path].concat();
    let expected = Target::Absolute {
        scheme,
        authority: authority.clone(),
        path_start: canonical.len() - path.len(),
    };
    assert_eq!(Target::parse(b"GET", &canonical), Ok(expected), "{shown}");
    if let Ok(text) = std::str::from_utf8(raw) {
        check_url(text, scheme, authority);
    }
}

/// What is accepted means the same to the URL parser of browsers.
///
/// # Panics
/// The parser reads another host or port, or no URL at all.
pub(super) fn check_url(raw: &str, scheme: Scheme, authority: &Authority) {
    let url = url::Url::parse(raw).expect(raw);
    let host = url.host_str().expect(raw);
    let printed = authority.host.to_string();
    assert_eq!(
        printed.parse::<IpAddr>().is_ok(),
        host.parse::<IpAddr>().is_ok(),
        "{raw}"
    );
    if !matches!(authority.host, Host::Ip(IpAddr::V6(_))) {
        assert_eq!(printed, host.strip_suffix('.').unwrap_or(host), "{raw}");
    }
    let port = url.port().unwrap_or(scheme.default_port());
    assert_eq!(authority.port, port, "{raw}");
}
