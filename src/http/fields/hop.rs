//! Which fields end at each hop, and which no connection option takes away (RFC 9110 §7.6.1): one table for
//! requests, responses and HTTP/2.

use http::HeaderName;

/// A proxy removes it from a request.
const REQUEST: u8 = 1;
/// A proxy removes it from a response.
const RESPONSE: u8 = 1 << 1;
/// It has no place in a message of HTTP/2 (RFC 9113 §8.2.2).
const HTTP2: u8 = 1 << 2;
/// A request whose connection option names it is refused: without it, others would route, frame or trace the
/// request in another way.
const REFUSED_OPTION: u8 = 1 << 3;
/// A connection option of a response that names it is ignored.
const IGNORED_OPTION: u8 = 1 << 4;

/// Declares the fields by their length: few names share one, so that most names are told apart at once.
macro_rules! fields {
    ($($length:literal { $($(#[$doc:meta])* $field:ident = $name:literal: $flags:expr;)+ })+) => {
        /// A field with a rule of its own at each hop.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum HopField { $($(
            #[doc = concat!("`", $name, "`.")]
            $(#[$doc])*
            $field,
        )+)+ }

        impl HopField {
            #[cfg(test)]
            const ALL: &[(Self, &str)] = &[$($((Self::$field, $name),)+)+];

            const fn flags(self) -> u8 {
                match self { $($(Self::$field => $flags,)+)+ }
            }

            #[inline]
            fn find(name: &[u8], is: impl Fn(&[u8], &[u8]) -> bool) -> Option<Self> {
                match name.len() {
                    $($length => {
                        $(if is(name, $name.as_bytes()) {
                            return Some(Self::$field);
                        })+
                        None
                    })+
                    _ => None,
                }
            }
        }
    };
}

fields! {
    2 {
        Te = "te": REQUEST | RESPONSE | HTTP2;
    }
    3 {
        Via = "via": REFUSED_OPTION | IGNORED_OPTION;
    }
    4 {
        Date = "date": IGNORED_OPTION;
        Host = "host": REFUSED_OPTION;
    }
    7 {
        /// A 101 keeps it: there it names the protocol.
        Upgrade = "upgrade": REQUEST | RESPONSE | HTTP2 | IGNORED_OPTION;
        Trailer = "trailer": REQUEST | RESPONSE;
    }
    9 {
        Forwarded = "forwarded": REFUSED_OPTION;
    }
    10 {
        /// In a response the writer of the head replaces it.
        Connection = "connection": REQUEST | HTTP2 | IGNORED_OPTION;
        KeepAlive = "keep-alive": REQUEST | RESPONSE | HTTP2 | IGNORED_OPTION;
    }
    14 {
        ContentLength = "content-length": REFUSED_OPTION | IGNORED_OPTION;
        Http2Settings = "http2-settings": REQUEST;
    }
    16 {
        ProxyConnection = "proxy-connection": REQUEST | RESPONSE | HTTP2;
    }
    17 {
        /// In a response it delimits the body that goes on.
        TransferEncoding = "transfer-encoding": REQUEST | HTTP2 | REFUSED_OPTION | IGNORED_OPTION;
    }
    18 {
        /// An origin that challenges in the proxy's name would get the proxy's credentials from the client.
        ProxyAuthenticate = "proxy-authenticate": REQUEST | RESPONSE;
    }
    19 {
        ProxyAuthorization = "proxy-authorization": REQUEST;
    }
    25 {
        ProxyAuthenticationInfo = "proxy-authentication-info": RESPONSE;
    }
}

impl HopField {
    /// The field of this name.
    #[inline]
    pub fn of(name: &HeaderName) -> Option<Self> {
        Self::find(name.as_str().as_bytes(), |name, known| name == known)
    }

    /// The field of this name, in any case.
    #[inline]
    pub fn parse(name: &[u8]) -> Option<Self> {
        Self::find(name, <[u8]>::eq_ignore_ascii_case)
    }

    /// Whether a proxy removes it from a request.
    pub const fn is_removed_from_request(self) -> bool {
        self.flags() & REQUEST != 0
    }

    /// Whether a proxy removes it from a response.
    pub const fn is_removed_from_response(self) -> bool {
        self.flags() & RESPONSE != 0
    }

    /// Whether a message of HTTP/2 may not have it (RFC 9113 §8.2.2).
    pub const fn is_barred_from_http2(self) -> bool {
        self.flags() & HTTP2 != 0
    }
}

/// Whether a client's connection option names a field that others rely on.
pub fn is_refused_option(option: &[u8]) -> bool {
    HopField::parse(option).is_some_and(|field| field.flags() & REFUSED_OPTION != 0)
        || super::is_x_forwarded(option)
}

/// Whether a server's connection option takes no field away: it is `close`, which is no field, or names one that
/// frames, routes or dates the response or that is seen to in another way.
pub fn is_ignored_option(option: &[u8]) -> bool {
    HopField::parse(option).is_some_and(|field| field.flags() & IGNORED_OPTION != 0)
        || option.eq_ignore_ascii_case(b"close")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The names for which `holds` is true.
    fn names(holds: impl Fn(HopField) -> bool) -> Vec<&'static str> {
        let all = HopField::ALL.iter().filter(|(field, _)| holds(*field));
        let mut names: Vec<_> = all.map(|(_, name)| *name).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_ends_in_each_direction() {
        assert_eq!(
            names(HopField::is_removed_from_request),
            [
                "connection",
                "http2-settings",
                "keep-alive",
                "proxy-authenticate",
                "proxy-authorization",
                "proxy-connection",
                "te",
                "trailer",
                "transfer-encoding",
                "upgrade",
            ]
        );
        assert_eq!(
            names(HopField::is_removed_from_response),
            [
                "keep-alive",
                "proxy-authenticate",
                "proxy-authentication-info",
                "proxy-connection",
                "te",
                "trailer",
                "upgrade",
            ]
        );
        assert_eq!(
            names(HopField::is_barred_from_http2),
            [
                "connection",
                "keep-alive",
                "proxy-connection",
                "te",
                "transfer-encoding",
                "upgrade",
            ]
        );
    }

    #[test]
    fn options_that_take_no_field_away() {
        let is = |holds: fn(&[u8]) -> bool| {
            let mut names = names(|_| true);
            names.extend([
                "close",
                "x-forwarded-for",
                "X-Forwarded-",
                "x-forwarded",
                "x",
            ]);
            names.retain(|name| holds(name.as_bytes()));
            names
        };
        assert_eq!(
            is(is_refused_option),
            [
                "content-length",
                "forwarded",
                "host",
                "transfer-encoding",
                "via",
                "x-forwarded-for",
                "X-Forwarded-",
            ]
        );
        assert_eq!(
            is(is_ignored_option),
            [
                "connection",
                "content-length",
                "date",
                "keep-alive",
                "transfer-encoding",
                "upgrade",
                "via",
                "close",
            ]
        );
    }

    #[test]
    fn every_name_is_found_and_no_other() {
        for (field, name) in HopField::ALL {
            assert_eq!(HopField::parse(name.as_bytes()), Some(*field), "{name}");
            let upper = name.to_ascii_uppercase();
            assert_eq!(HopField::parse(upper.as_bytes()), Some(*field), "{upper}");
            let header = HeaderName::from_bytes(upper.as_bytes()).unwrap();
            assert_eq!(HopField::of(&header), Some(*field), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_found_by_its_text_alone(name in "[a-zA-Z2-]{0,26}") {
            let known = HopField::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(&name));
            prop_assert_eq!(HopField::parse(name.as_bytes()), known.map(|(field, _)| *field));
        }
    }
}
