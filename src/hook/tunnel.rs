//! A tunnel as a hook sees it.

use super::request::Request;

/// Bytes of a tunnel in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What the client sent.
    pub bytes_from_client: u64,
    /// What the upstream sent.
    pub bytes_from_upstream: u64,
}

/// A tunnel, by CONNECT or WebSocket.
#[derive(Debug)]
pub struct Tunnel<'a> {
    /// The request that opened it.
    pub request: Request<'a>,
    pub(super) report_every: &'a mut Option<u64>,
    pub(super) total: Traffic,
}

impl Tunnel<'_> {
    /// What went through so far.
    pub fn total(&self) -> Traffic {
        self.total
    }

    /// Asks for a call of `tunnel_bytes` after each so many bytes of a direction; at least 4 KiB. Without it, a call
    /// comes after some megabytes.
    pub fn report_every(&mut self, bytes: u64) {
        let bytes = bytes.max(4096);
        let least = self.report_every.map_or(bytes, |other| other.min(bytes));
        *self.report_every = Some(least);
    }
}
