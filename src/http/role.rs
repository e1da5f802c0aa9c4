//! In which of its roles Tollgate serves a request: the form of the request-target says it (RFC 9112 §3.2).

use super::target::Target;

/// The role in which a request is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// `CONNECT` (RFC 9110 §9.3.6): the bytes of a tunnel are not read.
    Tunnel,
    /// Absolute-form: the request goes to the origin that the target names (RFC 9112 §3.2.2).
    Forward,
    /// Origin-form or asterisk-form: the request goes to one of the local upstreams.
    Gateway,
}

impl Role {
    /// Every role, in the order of [`Role::index`].
    pub const ALL: [Role; 3] = [Role::Tunnel, Role::Forward, Role::Gateway];

    /// The names of [`Role::ALL`].
    pub const NAMES: [&'static str; 3] = {
        let [tunnel, forward, gateway] = Role::ALL;
        [tunnel.as_str(), forward.as_str(), gateway.as_str()]
    };

    /// The role in which a request with this target is served.
    pub const fn of(target: &Target) -> Self {
        match target {
            Target::Authority(_) => Role::Tunnel,
            Target::Absolute { .. } => Role::Forward,
            Target::Origin | Target::Asterisk => Role::Gateway,
        }
    }

    /// The name in configuration, log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Tunnel => "tunnel",
            Role::Forward => "forward",
            Role::Gateway => "gateway",
        }
    }

    /// The place of the role in tables with one entry for each.
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_the_target_says_the_role() {
        for (method, target, expected) in [
            ("CONNECT", "h:443", Role::Tunnel),
            ("GET", "http://h/", Role::Forward),
            ("CONNECT", "[::1]:80", Role::Tunnel),
            ("OPTIONS", "https://h", Role::Forward),
            ("GET", "/a", Role::Gateway),
            ("OPTIONS", "*", Role::Gateway),
        ] {
            let parsed = Target::parse(method.as_bytes(), target.as_bytes()).unwrap();
            assert_eq!(Role::of(&parsed), expected, "{method} {target}");
        }
    }

    #[test]
    fn the_index_is_the_place_among_all() {
        assert_eq!(Role::ALL.map(Role::index), [0, 1, 2]);
        assert_eq!(Role::ALL.map(Role::as_str), Role::NAMES);
        assert_eq!(Role::NAMES, ["tunnel", "forward", "gateway"]);
    }
}
