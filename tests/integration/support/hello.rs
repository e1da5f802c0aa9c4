//! The first bytes of clients of TLS, and tunnels that are judged by them.

use std::sync::{Arc, Mutex};

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use serde_json::Value;

use super::eventually;
use super::origin::Origin;
use super::proxy::Proxy;
use super::request::auth;
use super::tls::Authority;

/// What is asked of the tunnels of most tests.
pub(crate) const MATCH: &str = "tunnel: { sni: match, hello_timeout: 400ms }";

/// `unrecognized_name`, fatal, in the clear.
pub(crate) const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
pub(crate) const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];
pub(crate) const ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// The first flight of a client of rustls: a record with a hello.
pub(crate) fn hello(name: &str) -> Vec<u8> {
    let config = Authority::new().client(rustls::ALL_VERSIONS, None);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(config, name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// A hello in records of `size` bytes.
pub(crate) fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let parts = hello[5..].chunks(size);
    parts
        .flat_map(|part| {
            let len = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[22, 3, 1], &len[..], part].concat()
        })
        .collect()
}

/// The same hello, longer by a padding extension (RFC 7685) of `count` bytes.
pub(crate) fn padded(hello: &[u8], count: usize) -> Vec<u8> {
    let mut message = hello[5..].to_vec();
    // Message: type, length (3); version (2), random (32), session, ciphers, compressions, extensions.
    let mut at = 4 + 2 + 32;
    at += 1 + usize::from(message[at]);
    at += 2 + usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    at += 1 + usize::from(message[at]);
    let len = usize::from(u16::from_be_bytes([message[at], message[at + 1]])) + 4 + count;
    message[at..at + 2].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
    message.extend([0, 21]);
    message.extend(u16::try_from(count).unwrap().to_be_bytes());
    message.extend(vec![0; count]);
    let len = u32::try_from(message.len() - 4).unwrap().to_be_bytes();
    message[1..4].copy_from_slice(&len[1..]);
    in_records(&[&[0; 5], &message[..]].concat(), 16 * 1024)
}

/// A server that speaks first with `greeting`, and keeps what it was sent.
pub(crate) struct Server {
    pub(crate) origin: Origin,
    pub(crate) got: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Server {
    pub(crate) fn new(greeting: &'static [u8]) -> Self {
        let got = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&got);
        let origin = Origin::raw(move |mut wire, _| {
            wire.send(greeting)?;
            let bytes = wire.rest();
            kept.lock().unwrap().push(bytes);
            Ok(())
        });
        Self { origin, got }
    }

    pub(crate) fn target(&self, host: &str) -> String {
        format!("{host}:{}", self.origin.port())
    }

    /// What the only connection was sent.
    pub(crate) fn got(&self) -> Vec<u8> {
        eventually("the server's connection to end", || {
            self.got.lock().unwrap().pop()
        })
    }
}

pub(crate) fn closed(proxy: &Proxy) -> Value {
    proxy.record("the tunnel", |record| record["event"] == "tunnel_close")
}

/// Sends `bytes` in a tunnel to `host`, and expects that it is refused: this alert, this reason, and nothing upstream.
pub(crate) fn assert_refused(
    yaml: &str,
    host: &str,
    bytes: &[u8],
    alert: &[u8],
    reason: &str,
) -> Value {
    let (proxy, server) = (Proxy::start(yaml), Server::new(b""));
    let mut wire = proxy.tunnel(server.target(host));
    wire.send(bytes).unwrap();
    // In order: a reset would be an error.
    assert_eq!(wire.read_to_end().unwrap(), alert, "{reason}");
    let record = closed(&proxy);
    assert_eq!(record["error"], reason, "{record}");
    assert_eq!(record["end_reason"], reason, "{record}");
    assert_eq!(record["bytes_from_client"], 0, "{record}");
    assert_eq!(record["status"], 200, "{record}");
    assert_eq!(server.got(), b"", "{reason}");
    let series = format!("tollgate_errors_total{{kind=\"{reason}\"}}");
    assert_eq!(proxy.metric(&series), 1);
    let own = format!(
        "GET /.tollgate/denials HTTP/1.1\r\nHost: {}\r\n{}Connection: close\r\n\r\n",
        proxy.address,
        auth()
    );
    let denials: Value = serde_json::from_slice(&proxy.exchange(own).body).unwrap();
    assert_eq!(denials["denials"][0]["error"], reason, "{denials}");
    assert_eq!(denials["denials"][0]["rule"], record["rule"], "{denials}");
    record
}

/// Sends the parts one after the other, and expects that the tunnel carries them.
pub(crate) fn assert_carried<P: AsRef<[u8]>>(yaml: &str, host: &str, parts: &[P]) -> Value {
    let (proxy, server) = (Proxy::start(yaml), Server::new(b"hi"));
    let mut wire = proxy.tunnel(server.target(host));
    for part in parts {
        wire.send(part).unwrap();
    }
    assert_eq!(wire.read_bytes(2).unwrap(), b"hi");
    wire.finish().unwrap();
    wire.assert_closed();
    let record = closed(&proxy);
    let sent: Vec<u8> = parts
        .iter()
        .flat_map(|part| part.as_ref().to_vec())
        .collect();
    assert!(server.got() == sent, "{record}");
    assert_eq!(record["error"], Value::Null, "{record}");
    assert_eq!(record["end_reason"], "complete", "{record}");
    assert_eq!(record["bytes_from_client"], sent.len(), "{record}");
    assert_eq!(record["bytes_from_upstream"], 2, "{record}");
    record
}
