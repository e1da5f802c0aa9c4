//! CONNECT (RFC 9110 §9.3.6): the service that opens tunnels.
//!
//! Pingora sees none of this: its HTTP proxy would carry the request on and frame
//! the answer, and a tunnel is neither.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;

use crate::client::ClientStream;
use crate::http::error::{Kind, RequestError};
use crate::http::http1::RequestHead;
use crate::request::app::App;
use crate::request::exchange::Exchange;
use crate::request::reply::Reply;
use crate::telemetry::{OpenTunnel, Record};
use crate::tunnel::{self, Ended, Meter, Traffic};
use crate::upstream::dial::Dialed;

/// No field at all: whatever a 2xx to CONNECT says of framing must be ignored,
/// and clients exist that do not.
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Serves one CONNECT to its end. Gives the connection back when it can go on,
/// which is after a 407 alone.
pub async fn serve(
    app: &Arc<App>,
    client: Box<ClientStream>,
    head: &RequestHead,
    mut exchange: Box<Exchange>,
) -> Option<Box<ClientStream>> {
    let line = Line::new(head, &exchange);
    match open(app, head, &mut exchange).await {
        Ok(dialed) => {
            join(app, client, dialed, &line, &exchange).await;
            None
        }
        Err(error) => {
            let reply = app.refuse(&mut exchange, &error, head.field("accept"));
            let mut record = line.record(&exchange, reply.status().as_u16());
            record.bytes_to_client = reply.body_len();
            app.telemetry.record(&record);
            let close = must_close(&client, &reply, head);
            // Boxed: what refuses is not to make every tunnel larger.
            Box::pin(app.answer(client, &reply, close)).await
        }
    }
}

/// Whether a refusal of something that would have left HTTP ends the connection.
///
/// Bytes behind such a request are the other protocol's, sent too early. To take
/// them for requests would let a client smuggle some in.
pub fn must_close(client: &ClientStream, reply: &Reply, head: &RequestHead) -> bool {
    reply.status() != StatusCode::PROXY_AUTHENTICATION_REQUIRED
        || !client.inbox().is_empty()
        || !head.keep_alive
}

/// Authorises, resolves and dials: all that can fail before the 200.
async fn open(
    app: &App,
    head: &RequestHead,
    exchange: &mut Exchange,
) -> Result<Dialed, RequestError> {
    app.admit(exchange, &head.method).await?;
    if app.lifecycle.is_draining() {
        return Err(Kind::Draining.into());
    }
    let candidates = exchange.candidates.as_ref().ok_or(Kind::Internal)?;
    let begun = Instant::now();
    let dialed = app.dialer.connect(candidates).await?;
    exchange.connect = Some(begun.elapsed());
    exchange.connected(dialed.address);
    // An old policy is not kept for as long as the tunnel lasts.
    exchange.admission = None;
    Ok(dialed)
}

/// Says 200 and relays until the tunnel ends.
async fn join(
    app: &Arc<App>,
    mut client: Box<ClientStream>,
    dialed: Dialed,
    line: &Line<'_>,
    exchange: &Exchange,
) {
    let open = app.telemetry.tunnel_opened(&line.record(exchange, 200));
    let sent = tokio::time::timeout(app.timeouts.send, client.send(ESTABLISHED)).await;
    let (ended, traffic) = if let Ok(Ok(())) = sent {
        let (transport, early) = client.into_parts();
        let cut = pin!(app.lifecycle.when_cut());
        let idle = app.timeouts.tunnel_idle;
        tunnel::relay(transport, dialed.stream, early, idle, &open, cut).await
    } else {
        (Ended::ClientReset, Traffic::default())
    };
    // When the process stops, the connection of a stream may be gone before the relay is
    // told of it.
    let ended = match ended {
        Ended::ClientReset if app.lifecycle.is_cut() => Ended::Drained,
        ended => ended,
    };
    let mut record = line.record(exchange, 200);
    record.bytes_from_client = traffic.bytes_from_client;
    record.bytes_from_upstream = traffic.bytes_from_upstream;
    record.end_reason = Some(ended.name());
    open.close(&record);
}

impl Meter for OpenTunnel {
    fn moved(&self, traffic: Traffic) {
        self.add_bytes(traffic.bytes_from_client, traffic.bytes_from_upstream);
    }
}

/// What the records of a tunnel take from its head.
struct Line<'a> {
    target: String,
    user_agent: Option<&'a [u8]>,
    referer: Option<&'a [u8]>,
}

impl<'a> Line<'a> {
    fn new(head: &'a RequestHead, exchange: &Exchange) -> Self {
        Self {
            target: exchange.canonical_target("").into_owned(),
            user_agent: head.field("user-agent"),
            referer: head.field("referer"),
        }
    }

    fn record<'b>(&'b self, exchange: &'b Exchange, status: u16) -> Record<'b> {
        let mut record = exchange.record();
        record.method = b"CONNECT";
        record.target = self.target.as_bytes();
        record.site = Some(&self.target);
        record.status = Some(status);
        record.user_agent = self.user_agent;
        record.referer = self.referer;
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, D, F: Future>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_open_tunnel_is_small() {
        let size = size(|app: &Arc<App>, client, head: &RequestHead, exchange| {
            serve(app, client, head, exchange)
        });
        assert!(size <= 1536, "{size} bytes for each tunnel");
    }
}
