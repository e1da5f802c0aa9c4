//! CONNECT (RFC 9110 §9.3.6): the service that opens tunnels and owns those that are open.
//!
//! Pingora starts it with its other services, and calls none of its code for a request: its HTTP proxy would
//! pass CONNECT on and frame the response, and a tunnel is neither.

use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;

use super::app::App;
use super::outcome::Exchange;
use super::reply::Reply;
use super::tunnel::{self, Opened, Tunnels};
use crate::client::ClientStream;
use crate::http::http1::RequestHead;
use crate::telemetry::Record;

/// No field at all: a client ignores those that frame content in a 2xx to CONNECT, and clients exist that do not.
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Serves CONNECT, and owns the open tunnels of the process. The relay of each runs on the thread of its
/// connection.
#[derive(Clone, Debug)]
pub struct ConnectService {
    app: Arc<App>,
    tunnels: Arc<Tunnels>,
}

impl ConnectService {
    /// A service without tunnels.
    pub fn new(app: Arc<App>) -> Self {
        Self {
            app,
            tunnels: Arc::default(),
        }
    }

    /// The open tunnels, those of other protocols too.
    pub fn tunnels(&self) -> &Tunnels {
        &self.tunnels
    }

    /// Serves one CONNECT to its end. Gives the connection back when it can go on,
    /// which is after a 407 alone.
    pub async fn serve(
        &self,
        mut client: Box<ClientStream>,
        head: RequestHead,
        mut exchange: Box<Exchange>,
    ) -> Option<Box<ClientStream>> {
        let app = &self.app;
        let error = match tunnel::open(app, &mut exchange, &mut client).await {
            Ok(opened) => {
                self.relay(client, opened, &head, &exchange).await;
                return None;
            }
            Err(error) => error,
        };
        let reply = app.refuse(&mut exchange, &error, head.field("accept"));
        let target = exchange.request.canonical_target("");
        let mut record = record(&exchange, &target, &head, reply.status().as_u16());
        record.bytes_to_client = reply.body_len();
        app.telemetry.record(&record);
        let close = must_close(&client, &reply, &head);
        // Boxed: what refuses is not to make every tunnel larger.
        Box::pin(app.answer(client, &reply, close)).await
    }

    /// Answers 200 and relays until the tunnel ends.
    async fn relay(
        &self,
        client: Box<ClientStream>,
        opened: Opened,
        head: &RequestHead,
        exchange: &Exchange,
    ) {
        let app = &self.app;
        let target = exchange.request.canonical_target("");
        // Its record is a temporary: a variable would be part of each open tunnel.
        let counted = app
            .telemetry
            .tunnel_opened(&record(exchange, &target, head, 200));
        let open = self
            .tunnels
            .enter(exchange, &target, Some(counted), opened.permit);
        let relayed = tunnel::relay(app, &open, client, opened.stream, ESTABLISHED);
        let (ended, traffic) = relayed.await;
        let mut record = record(exchange, &target, head, 200);
        record.bytes_from_client = traffic.bytes_from_client;
        record.bytes_from_upstream = traffic.bytes_from_upstream;
        record.end_reason = Some(ended.name());
        open.close(&record);
    }
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
        let open = self.tunnels.count();
        if open > 0 {
            log::info!("tunnels that are aborted: {open}");
        }
        self.tunnels.abort_all();
    }

    fn name(&self) -> &str {
        "CONNECT"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

/// Whether a refusal of a request that would have left HTTP ends the connection.
///
/// Bytes behind such a request are the other protocol's, sent too early. To read them as requests would let a
/// client smuggle some in.
pub fn must_close(client: &ClientStream, reply: &Reply, head: &RequestHead) -> bool {
    reply.status() != StatusCode::PROXY_AUTHENTICATION_REQUIRED
        || !client.inbox().is_empty()
        || !head.keep_alive
}

fn record<'a>(
    exchange: &'a Exchange,
    target: &'a str,
    head: &'a RequestHead,
    status: u16,
) -> Record<'a> {
    let mut record = exchange.record();
    record.method = b"CONNECT";
    record.target = target.as_bytes();
    record.site = Some(target);
    record.status = Some(status);
    record.user_agent = head.field("user-agent");
    record.referer = head.field("referer");
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, D, F: Future>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_open_tunnel_is_small() {
        let size = size(|service: &ConnectService, client, head, exchange| {
            service.serve(client, head, exchange)
        });
        assert!(size <= 1856, "{size} bytes for each tunnel");
    }
}
