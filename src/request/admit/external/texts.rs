//! What a question says of a request itself, as text.

use std::fmt::Write as _;

use crate::access::auth::external::Question;
use crate::http::http1::KeptHead;
use crate::http::path::Readings;
use crate::http::role::Role;
use crate::http::target::Authority;
use crate::request::facts::Request;

/// The texts that a question borrows.
pub(super) struct Texts {
    role: Role,
    method: String,
    /// Path and query, as sent; empty for a tunnel.
    sent: String,
    uri: String,
    target: Option<String>,
    path: Option<String>,
    paths: Vec<String>,
}

impl Texts {
    /// Those of a request with this head.
    pub(super) fn of(request: &Request, head: Option<&KeptHead>) -> Self {
        let role = request.role.unwrap_or(Role::Gateway);
        let head = head.filter(|_| role != Role::Tunnel);
        let sent = head.map_or_else(String::new, |head| visible(head.target()));
        let mut paths = head.map_or_else(Vec::new, |head| paths(head.target()));
        let path = match paths.len() {
            1 => paths.pop(),
            _ => None,
        };
        Self {
            role,
            method: request.method.as_str().to_ascii_uppercase(),
            uri: request.canonical_target(&sent).into_owned(),
            sent,
            target: request.authority.as_ref().map(Authority::to_string),
            path,
            paths,
        }
    }

    /// The question without who asks.
    pub(super) fn question<'a>(&'a self, request: &'a Request) -> Question<'a> {
        Question {
            id: request.id.as_str(),
            user: None,
            client: request.source.client.ip().to_canonical(),
            role: self.role,
            method: &self.method,
            scheme: (self.role != Role::Tunnel).then(|| request.scheme.as_str()),
            target: self.target.as_deref(),
            path: self.path.as_deref(),
            paths: &self.paths,
            query: self.sent.split_once('?').map(|(_, query)| query),
            tls: request.source.tls,
            certificate: None,
            groups: Vec::new(),
            rule: None,
            password: None,
            uri: &self.uri,
            authorization: None,
        }
    }
}

/// The path of a request-target in each way in which servers may read it. A service that got it as it was sent would
/// take `/a/..%2fb` for a path below `/a`.
fn paths(target: &[u8]) -> Vec<String> {
    let end = target.iter().position(|byte| *byte == b'?');
    let path = target.get(..end.unwrap_or(target.len())).unwrap_or(target);
    let texts = Readings::of(path).texts();
    texts.iter().map(|text| visible(text)).collect()
}

/// A request-target as text. Its bytes beyond ASCII, which are allowed nowhere (RFC 3986 §2), are written as they
/// would have to be.
fn visible(target: &[u8]) -> String {
    let mut text = String::with_capacity(target.len());
    for byte in target {
        match byte {
            b'!'..=b'~' => text.push(char::from(*byte)),
            // Writing to a String cannot fail.
            other => drop(write!(text, "%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_target_is_visible() {
        assert_eq!(visible(b"/a%20?b=c~"), "/a%20?b=c~");
        assert_eq!(visible("/é".as_bytes()), "/%C3%A9");
    }

    #[test]
    fn the_ways_to_read_a_path() {
        for (target, expected) in [
            ("/v2/team-a/x?y=/..", &["/v2/team-a/x"][..]),
            ("/", &["/"]),
            ("*", &["*"]),
            ("/%61%20b/", &["/a%20b/"]),
            ("/é/./", &["/%C3%A9/"]),
            ("/v2/team-a/../team-b", &["/v2/team-b"]),
            ("/v2/team-a/%2e%2E/team-b", &["/v2/team-b"]),
            ("/..", &["/"]),
            ("/@scope%2fname", &["/@scope%2fname", "/@scope/name"]),
            ("/a/..%2fb", &["/a/..%2fb", "/b"]),
            ("/a/..;/b", &["/a/..;/b", "/b"]),
            ("/a\\..\\b", &["/a\\..\\b", "/b"]),
            ("/a//b", &["/a//b", "/a/b"]),
            ("/admin/.", &["/admin/"]),
            ("/admin/x/%2e%2e", &["/admin/"]),
            ("//admin/", &["//admin/", "/admin/", "/"]),
        ] {
            assert_eq!(paths(target.as_bytes()), expected, "{target}");
        }
        // One that is too long for all of its readings has none.
        assert!(paths(format!("/a;{}", "x".repeat(2048)).as_bytes()).is_empty());
        // The most that there is, from a path with each oddity.
        assert!(paths(b"//a;b//..%2f\\c/%3b/%5c..;").len() <= 32);
    }
}
