//! One walk over the fields of an answer, for all that a proxy has to see to in them.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// What the fields of an answer say of its framing, and which of them may not go on.
#[derive(Debug, Default)]
pub struct Survey {
    /// How many `Transfer-Encoding` lines there are.
    pub codings: usize,
    /// Whether one of them is `chunked` and nothing else.
    pub chunked: bool,
    /// What all `Content-Length` lines say together.
    pub length: Length,
    /// Those that describe one hop and may not be sent past us (RFC 9110 §7.6.1), those
    /// that `Connection` names included. `Transfer-Encoding` is not among them: the
    /// framing belongs to Pingora, as does `Connection` itself.
    ///
    /// `Proxy-Authenticate` and its kin are: an origin that challenges in the proxy's
    /// name would have the client send it the proxy's credentials.
    pub hop_by_hop: Vec<HeaderName>,
}

/// What `Content-Length` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Length {
    /// There is none.
    #[default]
    Absent,
    /// One number.
    One(u64),
    /// The same number several times, in one line or more.
    Several(u64),
    /// What can be read in two ways.
    Ambiguous,
}

impl Survey {
    /// Walks over the fields of an answer.
    ///
    /// With `upgraded` (a 101) `Upgrade` stays: it is the message.
    pub fn of(headers: &HeaderMap, upgraded: bool) -> Self {
        let mut survey = Self::default();
        for (name, value) in headers {
            let text = name.as_str();
            // Few names are as long as one of these; the rest is told apart at once.
            let known = match text.len() {
                2 => text == "te",
                7 => (text == "upgrade" && !upgraded) || text == "trailer",
                10 if text == "connection" => {
                    survey.hop_by_hop.extend(nominated(value, headers));
                    false
                }
                10 => text == "keep-alive",
                14 if text == "content-length" => {
                    survey.length = survey.length.and(value);
                    false
                }
                16 => text == "proxy-connection",
                17 if text == "transfer-encoding" => {
                    survey.codings += 1;
                    survey.chunked |= value.as_bytes().eq_ignore_ascii_case(b"chunked");
                    false
                }
                18 => text == "proxy-authenticate",
                25 => text == "proxy-authentication-info",
                _ => false,
            };
            if known {
                survey.hop_by_hop.push(name.clone());
            }
        }
        survey
    }
}

impl Length {
    /// Both, the one of another line as well.
    fn and(self, line: &HeaderValue) -> Self {
        let Ok(text) = line.to_str() else {
            return Self::Ambiguous;
        };
        text.split(',').fold(self, |length, member| {
            let member = member.trim_matches([' ', '\t']);
            let digits = !member.is_empty() && member.bytes().all(|byte| byte.is_ascii_digit());
            // What no body reaches is what another reader overflows on.
            let number = member
                .parse()
                .ok()
                .filter(|number| digits && i64::try_from(*number).is_ok());
            match (length, number) {
                (Self::Absent, Some(number)) => Self::One(number),
                (Self::One(one) | Self::Several(one), Some(number)) if one == number => {
                    Self::Several(number)
                }
                _ => Self::Ambiguous,
            }
        })
    }
}

/// The fields of an answer that an option of its `Connection` takes away.
fn nominated(connection: &HeaderValue, headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    connection
        .as_bytes()
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|option| !is_kept(option))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| headers.contains_key(name))
}

/// Options that are no field, or that name a field which frames, routes or dates
/// the message: no option takes such a field away.
fn is_kept(option: &[u8]) -> bool {
    const KEPT: &[&[u8]] = &[
        b"close",
        b"keep-alive",
        b"upgrade",
        b"connection",
        b"content-length",
        b"transfer-encoding",
        b"via",
        b"date",
    ];
    KEPT.iter().any(|kept| option.eq_ignore_ascii_case(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    fn stripped(lines: &[(&str, &str)], upgraded: bool) -> Vec<String> {
        let mut map = headers(lines);
        for name in Survey::of(&map, upgraded).hop_by_hop {
            map.remove(name);
        }
        let mut left: Vec<_> = map.keys().map(ToString::to_string).collect();
        left.sort();
        left
    }

    #[test]
    fn hop_by_hop_fields_of_a_response_go() {
        let left = stripped(
            &[
                ("Connection", "close, X-Private"),
                ("Keep-Alive", "timeout=5"),
                ("X-Private", "1"),
                ("Proxy-Authenticate", "Basic realm=origin"),
                ("Upgrade", "h2c"),
                ("Trailer", "X"),
                ("TE", "trailers"),
                ("Proxy-Authenticate", "Negotiate"),
                ("Proxy-Authentication-Info", "nextnonce=1"),
                ("Proxy-Connection", "close"),
                ("Server", "origin"),
                ("Content-Length", "3"),
                ("Transfer-Encoding", "chunked"),
            ],
            false,
        );
        assert_eq!(
            left,
            [
                "connection",
                "content-length",
                "server",
                "transfer-encoding"
            ]
        );
    }

    #[test]
    fn no_option_takes_framing_away() {
        let left = stripped(
            &[
                ("Connection", "content-length, transfer-encoding, via"),
                ("Content-Length", "3"),
                ("Via", "1.1 a"),
            ],
            false,
        );
        assert_eq!(left, ["connection", "content-length", "via"]);
    }

    #[test]
    fn options_of_every_line_count() {
        let left = stripped(
            &[
                ("Connection", "x-a"),
                ("Connection", "X-B, close,,x-c"),
                ("X-A", "1"),
                ("X-B", "1"),
                ("X-B", "2"),
                ("X-D", "1"),
            ],
            false,
        );
        assert_eq!(left, ["connection", "x-d"]);
    }

    #[test]
    fn framing_is_that_of_all_lines() {
        let cases: &[(&[(&str, &str)], _)] = &[
            (&[], (0, false, Length::Absent)),
            (&[("Content-Length", "3")], (0, false, Length::One(3))),
            (
                &[("Content-Length", "3"), ("Content-Length", "3")],
                (0, false, Length::Several(3)),
            ),
            (
                &[("Content-Length", "3, 3,3")],
                (0, false, Length::Several(3)),
            ),
            (
                &[("Content-Length", "3,4,4")],
                (0, false, Length::Ambiguous),
            ),
            (
                &[("Content-Length", "x"), ("Content-Length", "3")],
                (0, false, Length::Ambiguous),
            ),
            (
                &[("Content-Length", "9223372036854775807")],
                (0, false, Length::One(9_223_372_036_854_775_807)),
            ),
            (
                &[("Content-Length", "9223372036854775808")],
                (0, false, Length::Ambiguous),
            ),
            (
                &[
                    ("Transfer-Encoding", "gzip"),
                    ("Transfer-Encoding", "Chunked"),
                ],
                (2, true, Length::Absent),
            ),
            (
                &[("Transfer-Encoding", "gzip, chunked")],
                (1, false, Length::Absent),
            ),
        ];
        for (lines, expected) in cases {
            let survey = Survey::of(&headers(lines), false);
            let found = (survey.codings, survey.chunked, survey.length);
            assert_eq!(found, *expected, "{lines:?}");
        }
    }

    #[test]
    fn an_upgrade_keeps_its_fields() {
        let left = stripped(&[("Connection", "Upgrade"), ("Upgrade", "websocket")], true);
        assert_eq!(left, ["connection", "upgrade"]);
    }
}
