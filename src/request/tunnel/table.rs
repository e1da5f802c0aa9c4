//! The table of the open tunnels.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::TunnelRequest;
use crate::access::auth::User;
use crate::request::request_id::RequestId;
use crate::telemetry;
use crate::tunnel::{Meter, Traffic};
use crate::upstream::limit::Permit;

#[derive(Debug, Default)]
pub struct Tunnels(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    open: HashMap<RequestId, Arc<Tunnel>>,
    /// Whether the process stops, so that a tunnel that opens now is aborted.
    is_closed: bool,
}

#[derive(Debug)]
struct Tunnel {
    id: RequestId,
    user: Option<User>,
    target: Box<str>,
    since: Instant,
    bytes_from_client: AtomicU64,
    bytes_from_upstream: AtomicU64,
    abort: CancellationToken,
}

/// An entry of the table, until dropped, with what the tunnel holds.
pub struct OpenTunnel<'a> {
    tunnels: &'a Tunnels,
    tunnel: Arc<Tunnel>,
    /// Its place in the metrics and statistics, if it has one.
    counted: Option<telemetry::OpenTunnel>,
    _permit: Option<Permit>,
}

impl Tunnels {
    /// Enters the tunnel that `request` opened. It keeps `permit` until it ends.
    pub fn enter(
        &self,
        request: &TunnelRequest,
        counted: Option<telemetry::OpenTunnel>,
        permit: Option<Permit>,
    ) -> OpenTunnel<'_> {
        let tunnel = Arc::new(Tunnel {
            id: request.exchange.request.id,
            user: request.exchange.outcome.user.clone(),
            target: request.target().into(),
            since: Instant::now(),
            bytes_from_client: AtomicU64::new(0),
            bytes_from_upstream: AtomicU64::new(0),
            abort: CancellationToken::new(),
        });
        let mut table = self.0.lock();
        if table.is_closed {
            tunnel.abort.cancel();
        }
        table.open.insert(tunnel.id, Arc::clone(&tunnel));
        drop(table);
        OpenTunnel {
            tunnels: self,
            tunnel,
            counted,
            _permit: permit,
        }
    }

    pub fn count(&self) -> usize {
        self.0.lock().open.len()
    }

    /// Aborts every tunnel, and each one that opens from now on.
    pub fn abort_all(&self) {
        let mut table = self.0.lock();
        table.is_closed = true;
        for tunnel in table.open.values() {
            tunnel.abort.cancel();
            log::debug!("{}", tunnel.describe());
        }
    }
}

impl Tunnel {
    fn describe(&self) -> String {
        format!(
            "tunnel {} of {} to {}: aborted after {:?}, with some {} bytes from the client and {} from the upstream",
            self.id,
            self.user.as_ref().map_or("no user", User::as_str),
            self.target,
            self.since.elapsed(),
            self.bytes_from_client.load(Ordering::Relaxed),
            self.bytes_from_upstream.load(Ordering::Relaxed),
        )
    }
}

impl OpenTunnel<'_> {
    pub fn aborted(&self) -> WaitForCancellationFuture<'_> {
        self.tunnel.abort.cancelled()
    }

    /// Records the end of a tunnel that metrics and statistics count.
    pub fn close(mut self, record: &telemetry::Record<'_>) {
        if let Some(counted) = self.counted.take() {
            counted.close(record);
        }
    }
}

impl Meter for OpenTunnel<'_> {
    /// Counts. No limit exists yet: the tunnel goes on at once.
    fn moved(&self, traffic: Traffic) -> ControlFlow<&'static str, Duration> {
        let Traffic {
            bytes_from_client,
            bytes_from_upstream,
        } = traffic;
        let tunnel = &self.tunnel;
        tunnel
            .bytes_from_client
            .fetch_add(bytes_from_client, Ordering::Relaxed);
        tunnel
            .bytes_from_upstream
            .fetch_add(bytes_from_upstream, Ordering::Relaxed);
        if let Some(counted) = &self.counted {
            counted.add_bytes(bytes_from_client, bytes_from_upstream);
        }
        ControlFlow::Continue(Duration::ZERO)
    }
}

impl Drop for OpenTunnel<'_> {
    fn drop(&mut self) {
        self.tunnels.0.lock().open.remove(&self.tunnel.id);
    }
}
