//! Users, their credentials and the requests that carry them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::message::Response;
use super::origin::Origin;
use super::proxy::Proxy;

/// The users of every proxy that does not bring its own, with passwords that occur nowhere else.
pub(crate) const ALICE: (&str, &str) = ("alice", "canary-4d1f9a");
pub(crate) const BOB: (&str, &str) = ("bob", "canary-b77c02");
pub(crate) const COLON: (&str, &str) = ("carol", "pa:ss:canary-51");
pub(crate) const UNICODE: (&str, &str) = ("zoë", "pässwörd-canary-ü");

/// The value of a Basic credentials field.
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The whole `Proxy-Authorization` field line.
pub(crate) fn credentials((user, password): (&str, &str)) -> String {
    format!("Proxy-Authorization: {}\r\n", basic(user, password))
}

/// Alice's field line.
pub(crate) fn auth() -> String {
    credentials(ALICE)
}

/// A `{SHA}` line: weak, and as fast as tests want it.
pub(crate) fn sha_line((user, password): (&str, &str)) -> String {
    let hash = STANDARD.encode(Sha1::digest(password.as_bytes()));
    format!("{user}:{{SHA}}{hash}\n")
}

/// The authority of an `http` URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// Alice's GET of an absolute URL.
pub(crate) fn fetch(url: &str) -> String {
    let host = authority(url);
    format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n{}\r\n", auth())
}

/// Alice's CONNECT.
pub(crate) fn connect(authority: impl std::fmt::Display) -> String {
    format!(
        "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{}\r\n",
        auth()
    )
}

/// A user's request for a URL, a path, or `host:port` with CONNECT.
pub(crate) fn request_of(user: (&str, &str), method: &str, target: &str) -> String {
    let host = match target.starts_with('/') {
        true => "gate",
        false => authority(target),
    };
    format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{}\r\n",
        credentials(user)
    )
}

/// Alice's request with a method, more field lines and a body.
pub(crate) fn request(method: &str, origin: &Origin, fields: &str, body: &str) -> String {
    let address = origin.address;
    format!(
        "{method} http://{address}/path?query=1 HTTP/1.1\r\nHost: {address}\r\n{}{fields}\r\n{body}",
        auth()
    )
}

/// A GET and a CONNECT of the same host and port.
pub(crate) fn attempt(proxy: &Proxy, host: &str, port: u16) -> [Response; 2] {
    [
        proxy.exchange(fetch(&format!("http://{host}:{port}/"))),
        proxy.exchange(connect(format!("{host}:{port}"))),
    ]
}
