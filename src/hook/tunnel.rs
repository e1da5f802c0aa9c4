//! A tunnel as a hook sees it.

use std::sync::Arc;

use super::request::Request;
use crate::hello::Hello;

/// Bytes of a tunnel in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What the client sent.
    pub bytes_from_client: u64,
    /// What the upstream sent.
    pub bytes_from_upstream: u64,
}

/// What the client of a tunnel says before anything is encrypted. Nothing here is verified by anyone.
#[derive(Clone, Copy, Debug)]
pub struct ClientHello<'a>(&'a Hello);

impl<'a> ClientHello<'a> {
    /// The name of the host, as sent.
    pub fn sni(&self) -> Option<&'a str> {
        self.0.sni.as_deref()
    }

    /// The protocols that it offers; one that is no text is `0x` and hexadecimal digits.
    pub fn alpn(&self) -> impl Iterator<Item = &'a str> {
        self.0.alpn.iter().map(AsRef::as_ref)
    }

    /// The JA4 fingerprint.
    pub fn ja4(&self) -> &'a str {
        &self.0.ja4
    }

    /// Whether it has an encrypted hello inside (ECH), or what looks like one.
    pub fn has_ech(&self) -> bool {
        self.0.ech
    }
}

/// A tunnel, by CONNECT or WebSocket.
#[derive(Debug)]
pub struct Tunnel<'a> {
    /// The request that opened it.
    pub request: Request<'a>,
    pub(super) report_every: &'a mut Option<u64>,
    pub(super) total: Traffic,
    pub(super) hello: Option<&'a Arc<Hello>>,
}

impl Tunnel<'_> {
    /// What went through so far.
    pub fn total(&self) -> Traffic {
        self.total
    }

    /// The ClientHello of the client, from the phase `tunnel_hello` on; none where it was not read or there was none.
    pub fn hello(&self) -> Option<ClientHello<'_>> {
        self.hello.map(|hello| ClientHello(hello))
    }

    /// Asks for a call of `tunnel_bytes` after each so many bytes of a direction; at least 4 KiB. Without it, a call
    /// comes after some megabytes.
    pub fn report_every(&mut self, bytes: u64) {
        let bytes = bytes.max(4096);
        let least = self.report_every.map_or(bytes, |other| other.min(bytes));
        *self.report_every = Some(least);
    }
}
