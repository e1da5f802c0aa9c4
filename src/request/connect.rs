//! CONNECT, of HTTP (RFC 9110 §9.3.6) and of SOCKS5: the service that opens tunnels and owns those that are open.
//!
//! Pingora starts it with its other services, and calls none of its code for a request: its HTTP proxy would
//! pass CONNECT on and frame the response, and a tunnel is neither.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use http::StatusCode;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;

use super::app::App;
use super::hooks::before_tunnel;
use super::tunnel::{self, Demand, OpenTunnel, Opened, TunnelRequest};
use crate::client::ClientStream;
use crate::telemetry::Record;
use crate::tunnel::{Ended, Traffic};
use crate::upstream::limit::Permit;

/// Serves CONNECT, and owns the open tunnels of the process. The relay of each runs on the thread of its
/// connection.
#[derive(Clone)]
pub struct ConnectService {
    pub(super) app: Arc<App>,
}

impl ConnectService {
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// Serves one CONNECT to its end. Gives the connection back when it can go on.
    pub async fn serve(
        &self,
        mut client: Box<ClientStream>,
        mut request: Box<TunnelRequest>,
    ) -> Option<Box<ClientStream>> {
        let app = &self.app;
        let has_ended = AtomicBool::new(false);
        let opening = tunnel::open(app, &mut request.exchange, &has_ended);
        let opened = tunnel::unless_in_vain(app, &mut client, &has_ended, opening).await;
        match opened.and_then(|opened| Ok((before_tunnel(&mut request.exchange)?, opened).1)) {
            Ok(opened) => {
                match request.exchange.outcome.take_demand() {
                    None => self.relay(client, opened, &mut request).await,
                    // Boxed: a tunnel of which nothing is asked is no larger for it.
                    Some(demand) => {
                        Box::pin(self.relay_judged(client, opened, &mut request, demand)).await;
                    }
                }
                None
            }
            // Boxed: what refuses is not to make every tunnel larger.
            Err(error) => Box::pin(request.refuse(app, client, error)).await,
        }
    }

    /// Answers 200 and relays until the tunnel ends.
    async fn relay(
        &self,
        client: Box<ClientStream>,
        opened: Box<Opened>,
        request: &mut TunnelRequest,
    ) {
        let app = &self.app;
        let Opened {
            stream,
            permit,
            early,
        } = *opened;
        let open = self.enter(request, permit);
        open.carried_before(early.len() as u64);
        let greeting = request.established(&stream, &early);
        let before = Traffic::from_upstream(early.len());
        drop(early);
        let relayed = tunnel::relay(app, &open, client, stream, greeting);
        let (ended, traffic) = relayed.await;
        end(app, open, request, (ended, before.and(traffic)));
    }

    /// Answers 200, judges the first bytes of the client, and relays if they are admitted.
    async fn relay_judged(
        &self,
        client: Box<ClientStream>,
        opened: Box<Opened>,
        request: &mut TunnelRequest,
        demand: Demand,
    ) {
        let app = &self.app;
        let Opened {
            stream,
            permit,
            early,
        } = *opened;
        let open = self.enter(request, permit);
        open.carried_before(early.len() as u64);
        let greeting = request.established(&stream, &early);
        let first = Traffic::from_upstream(early.len());
        let ends = (client, stream);
        let exchange = &mut request.exchange;
        // Boxed: what judges is gone while the tunnel is relayed.
        let judged = Box::pin(tunnel::judge(
            app,
            &open,
            ends,
            greeting.as_ref(),
            exchange,
            demand,
        ));
        let relayed = match judged.await {
            Ok(judged) => {
                let relayed = tunnel::relay(app, &open, judged.client, judged.upstream, b"");
                let (ended, traffic) = relayed.await;
                (ended, judged.before.and(traffic))
            }
            Err(ended) => ended,
        };
        let (ended, traffic) = relayed;
        let relayed = (ended, first.and(traffic));
        let denied = end(app, open, request, relayed);
        if let Some(record) = denied {
            app.telemetry.denied(&record);
        }
    }

    /// Enters the tunnel in the table, in metrics and statistics.
    fn enter(&self, request: &mut TunnelRequest, permit: Option<Permit>) -> OpenTunnel<'_> {
        let record = request.record(Some(StatusCode::OK));
        let counted = self.app.telemetry.tunnel_opened(&record);
        self.app.tunnels.enter(request, Some(counted), permit)
    }
}

/// Records the end of a tunnel. Its record comes back if it was denied.
fn end<'r>(
    app: &App,
    mut open: OpenTunnel<'_>,
    request: &'r mut TunnelRequest,
    (ended, traffic): (Ended, Traffic),
) -> Option<Record<'r>> {
    open.end(app, &mut request.exchange, traffic);
    request.exchange.end(app, Some(StatusCode::OK.as_u16()));
    let mut record = request.record(Some(StatusCode::OK));
    record.bytes_from_client = traffic.bytes_from_client;
    record.bytes_from_upstream = traffic.bytes_from_upstream;
    record.end_reason = Some(ended.name());
    open.close(&record);
    record.denial.is_some().then_some(record)
}

#[async_trait]
impl Service for ConnectService {
    /// Runs until the process stops, and then aborts the tunnels that are still open.
    async fn start_service(&mut self, _: Option<ListenFds>, mut shutdown: ShutdownWatch, _: usize) {
        tokio::select! {
            () = self.app.lifecycle.aborted() => {}
            // Its error is that Pingora is gone.
            _ = shutdown.changed() => {}
        }
        let open = self.app.tunnels.count();
        if open > 0 {
            log::info!("tunnels that are aborted: {open}");
        }
        self.app.tunnels.abort_all();
    }

    fn name(&self) -> &str {
        "CONNECT"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_open_tunnel_is_small() {
        let size = size(|service: &ConnectService, client, request| service.serve(client, request));
        assert!(size <= 1536, "{size} bytes for each tunnel");
    }
}
