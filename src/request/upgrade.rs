//! WebSocket (RFC 6455) to plain origins and upstreams: one request that becomes a
//! tunnel.
//!
//! Pingora can carry an upgrade too, but loses it when the answer is there before
//! it has noted that the request has no body. It keeps the rest: upgrades to https
//! origins, and requests with a body.

mod message;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::message::{Answer, MAX_HEAD};
use crate::client::ClientStream;
use crate::http::error::{Kind, RequestError};
use crate::http::http1::{BodyScanner, Framing, RequestHead};
use crate::http::target::Scheme;
use crate::request::app::App;
use crate::request::connect;
use crate::request::exchange::Exchange;
use crate::telemetry::{GATEWAY_SITE, Role};
use crate::tunnel::{self, Meter, Traffic};
use crate::upstream::dial::{DialError, Dialed, connect_any};

/// Interim answers before the one that counts.
const MAX_INTERIM: usize = 16;

/// Whether `head` asks for what is served here.
pub fn is_for(app: &App, head: &RequestHead, exchange: &Exchange) -> bool {
    let reachable = match exchange.role {
        Role::Gateway => app.pool.is_some(),
        _ => exchange.scheme == Scheme::Http,
    };
    // RFC 6455 §4.1: with GET, which is also all that is known here about bodies.
    head.upgrade
        && head.method == Method::GET
        && head.framing == Framing::None
        && reachable
        && head
            .field("upgrade")
            .is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// Serves one upgrade to its end. Gives the connection back when the request was
/// refused and the connection can go on.
pub async fn serve(
    app: &Arc<App>,
    mut client: Box<ClientStream>,
    head: &RequestHead,
    mut exchange: Box<Exchange>,
) -> Option<Box<ClientStream>> {
    let outcome = match open(app, head, &mut exchange).await {
        Ok((upstream, answer)) if answer.status == StatusCode::SWITCHING_PROTOCOLS => {
            if exchange.role == Role::Forward {
                // A tunnel now, and those do not count.
                exchange.slot = None;
            }
            let (ended, traffic) = switch(app, client, upstream, &answer).await;
            record(app, head, &exchange, Some(101), traffic, Some(ended));
            return None;
        }
        Ok((upstream, answer)) => pass_on(app, &mut client, upstream, &answer).await,
        Err(error) => {
            let reply = app.refuse(&mut exchange, &error, head.field("accept"));
            let status = reply.status().as_u16();
            let traffic = Traffic {
                bytes_from_client: 0,
                bytes_from_upstream: reply.body_len(),
            };
            record(app, head, &exchange, Some(status), traffic, None);
            let close = connect::must_close(&client, &reply, head);
            return app.answer(client, &reply, close).await;
        }
    };
    let status = outcome.status.as_u16();
    if !outcome.complete {
        exchange.error = Some(Kind::ConnectionTerminated);
    }
    let traffic = Traffic {
        bytes_from_client: 0,
        bytes_from_upstream: outcome.bytes,
    };
    record(app, head, &exchange, Some(status), traffic, None);
    if outcome.complete {
        client.linger_briefly().await;
    }
    None
}

/// Admits, connects, sends the request and reads the answer's head.
async fn open(
    app: &Arc<App>,
    head: &RequestHead,
    exchange: &mut Exchange,
) -> Result<(TcpStream, Answer), RequestError> {
    app.admit(exchange, &head.method).await?;
    if app.lifecycle.is_draining() {
        return Err(Kind::Draining.into());
    }
    let begun = std::time::Instant::now();
    let dialed = match &exchange.candidates {
        Some(candidates) => {
            exchange.slot = Some(app.place(candidates.first(), exchange.thread).await?);
            app.dialer.connect(candidates).await?
        }
        None => dial_pool(app, exchange).await?,
    };
    exchange.connected(dialed.address);
    exchange.connect = Some(begun.elapsed());
    let mut upstream = dialed.stream;
    let request = message::request(head);
    let terminated =
        |error: io::Error| RequestError::new(Kind::ConnectionTerminated).because(error);
    match tokio::time::timeout(app.timeouts.send, upstream.write_all(&request)).await {
        Ok(sent) => sent.map_err(terminated)?,
        Err(_) => return Err(Kind::WriteTimeout.into()),
    }
    let answer = tokio::time::timeout(app.timeouts.response, read_answer(app, &mut upstream)).await;
    let answer = answer.unwrap_or_else(|_| Err(Kind::ResponseTimeout.into()))?;
    exchange.first_byte = Some(exchange.started.elapsed());
    exchange.admission = None;
    Ok((upstream, answer))
}

/// A connection to the next local upstream that takes one.
async fn dial_pool(app: &App, exchange: &mut Exchange) -> Result<Dialed, RequestError> {
    let pool = app.pool.as_ref().ok_or(Kind::Internal)?;
    loop {
        let slot = pool
            .slot(&exchange.failed, exchange.thread, &app.telemetry)
            .await?;
        let address: SocketAddr = slot.address;
        match connect_any([address], app.timeouts.connect).await {
            Ok(dialed) => {
                exchange.slot = Some(slot);
                return Ok(dialed);
            }
            // Another upstream needs a socket as well.
            Err(error @ DialError::Exhausted(_)) => return Err(error.into()),
            Err(error) => {
                exchange.failed.push(address);
                if exchange.failed.len() >= pool.len() {
                    return Err(error.into());
                }
            }
        }
    }
}

async fn read_answer(app: &App, upstream: &mut TcpStream) -> Result<Answer, RequestError> {
    let mut bytes = BytesMut::new();
    let mut interim = 0;
    loop {
        match message::parse(&mut bytes, app)? {
            Some(answer) if answer.is_interim() => {
                interim += 1;
                bytes = answer.behind;
                if interim > MAX_INTERIM {
                    return Err(
                        RequestError::new(Kind::ProtocolError).because("too many interim answers")
                    );
                }
            }
            Some(answer) => return Ok(answer),
            None if bytes.len() > MAX_HEAD => {
                let long = RequestError::new(Kind::ProtocolError);
                return Err(long.because("the head of the answer is too long"));
            }
            None => match upstream.read_buf(&mut bytes).await {
                Ok(0) => {
                    let ended = RequestError::new(Kind::ConnectionTerminated);
                    return Err(ended.because("the upstream closed the connection"));
                }
                Ok(_) => {}
                Err(error) => {
                    return Err(RequestError::new(Kind::ConnectionTerminated).because(error));
                }
            },
        }
    }
}

/// Passes the 101 on and relays until the end.
async fn switch(
    app: &App,
    mut client: Box<ClientStream>,
    upstream: TcpStream,
    answer: &Answer,
) -> (tunnel::Ended, Traffic) {
    let mut first = answer.head.clone();
    first.extend_from_slice(&answer.behind);
    let sent = tokio::time::timeout(app.timeouts.send, client.send(&first)).await;
    let Ok(Ok(())) = sent else {
        return (tunnel::Ended::ClientReset, Traffic::default());
    };
    let (transport, early) = client.into_parts();
    let idle = app.timeouts.tunnel_idle;
    let cut = pin!(app.lifecycle.when_cut());
    let (ended, mut traffic) =
        tunnel::relay(transport, upstream, early, idle, &Unmetered, cut).await;
    traffic.bytes_from_upstream += answer.behind.len() as u64;
    (ended, traffic)
}

/// What became of an answer that declined.
struct Declined {
    status: StatusCode,
    bytes: u64,
    complete: bool,
}

/// Passes an answer on that is no 101, and closes behind it.
async fn pass_on(
    app: &App,
    client: &mut ClientStream,
    mut upstream: TcpStream,
    answer: &Answer,
) -> Declined {
    let mut outcome = Declined {
        status: answer.status,
        bytes: 0,
        complete: false,
    };
    let mut body = answer.framing.map(BodyScanner::new);
    let mut bytes = answer.behind.clone();
    let mut out = answer.head.clone();
    loop {
        let own = match &mut body {
            Some(body) => match body.scan(&bytes) {
                Ok(own) => own,
                Err(_) => return outcome,
            },
            None => bytes.len(),
        };
        out.extend_from_slice(bytes.get(..own).unwrap_or_default());
        outcome.bytes += own as u64;
        bytes.advance(own);
        if !matches!(
            tokio::time::timeout(app.timeouts.send, client.send(&out)).await,
            Ok(Ok(()))
        ) {
            return outcome;
        }
        out.clear();
        if body.as_ref().is_some_and(BodyScanner::is_done) {
            outcome.complete = true;
            return outcome;
        }
        bytes.clear();
        let read = upstream.read_buf(&mut bytes);
        match tokio::time::timeout(app.timeouts.response, read).await {
            // Without a length the end of the connection is the end of the body.
            Ok(Ok(0)) => {
                outcome.complete = body.is_none();
                return outcome;
            }
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return outcome,
        }
    }
}

/// Traffic of an upgraded connection is in its record alone.
struct Unmetered;

impl Meter for Unmetered {
    fn moved(&self, _: Traffic) {}
}

fn record(
    app: &App,
    head: &RequestHead,
    exchange: &Exchange,
    status: Option<u16>,
    traffic: Traffic,
    ended: Option<tunnel::Ended>,
) {
    let path = String::from_utf8_lossy(head.request_target());
    let target = exchange.canonical_target(&path);
    let site = exchange.authority.as_ref().map(ToString::to_string);
    let mut record = exchange.record();
    record.method = head.method.as_str().as_bytes();
    record.target = target.as_bytes();
    record.site = Some(site.as_deref().unwrap_or(GATEWAY_SITE));
    record.status = status;
    record.bytes_from_client = traffic.bytes_from_client;
    record.bytes_to_client = traffic.bytes_from_upstream;
    record.bytes_from_upstream = traffic.bytes_from_upstream;
    record.end_reason = ended.map(tunnel::Ended::name);
    record.user_agent = head.field("user-agent");
    record.referer = head.field("referer");
    app.telemetry.record(&record);
}
