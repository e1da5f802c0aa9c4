//! WebSocket (RFC 6455): one request that becomes a tunnel, to origins and upstreams, http and https.

mod message;

use std::io;

use bytes::{Buf, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::message::{MAX_HEAD, UpstreamResponse};
use super::app::App;
use super::connect::ConnectService;
use super::outcome::Exchange;
use super::tunnel::{self, Opened, TunnelRequest};
use crate::client::ClientStream;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::http1::{BodyScanner, RequestHead};
use crate::http::response::MAX_INTERIM;
use crate::http::role::Role;
use crate::upstream::tls::UpstreamStream;

/// Serves one handshake, and the tunnel that it opens, to the end. Gives the connection back when the request
/// was refused and the connection can go on.
pub fn serve<'a>(
    app: &'a App,
    service: &'a ConnectService,
    client: Box<ClientStream>,
    head: &RequestHead,
    exchange: Exchange,
) -> impl Future<Output = Option<Box<ClientStream>>> + Send + use<'a> {
    let request = Box::new(TunnelRequest::new(exchange, head));
    run(app, service, client, request, message::request(head))
}

async fn run(
    app: &App,
    service: &ConnectService,
    mut client: Box<ClientStream>,
    mut request: Box<TunnelRequest>,
    message: Vec<u8>,
) -> Option<Box<ClientStream>> {
    let handshake = handshake(app, &mut request.exchange, &mut client, message);
    let (opened, answer) = match tunnel::unless_aborted(app, handshake).await {
        Ok(answered) => answered,
        Err(error) => return request.refuse(app, client, error).await,
    };
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        relay(app, service, client, opened, answer, &request).await;
        return None;
    }
    let outcome = pass_on(app, &mut client, opened.stream, &answer).await;
    if !outcome.complete {
        request.exchange.outcome.error = Some(ErrorKind::ConnectionTerminated);
    }
    let mut record = request.record(Some(answer.status));
    record.bytes_to_client = outcome.bytes;
    record.bytes_from_upstream = outcome.bytes;
    app.telemetry.record(&record);
    if outcome.complete {
        client.linger_briefly().await;
    }
    None
}

/// Opens the tunnel, sends `message` through it and reads the head of the response.
async fn handshake(
    app: &App,
    exchange: &mut Exchange,
    client: &mut ClientStream,
    message: Vec<u8>,
) -> Result<(Opened, UpstreamResponse), RequestError> {
    let mut opened = tunnel::open(app, exchange, client).await?;
    let upstream = &mut opened.stream;
    let terminated =
        |error: io::Error| RequestError::new(ErrorKind::ConnectionTerminated).because(error);
    let sending = async {
        upstream.write_all(&message).await?;
        upstream.flush().await
    };
    match tokio::time::timeout(app.timeouts.send, sending).await {
        Ok(sent) => sent.map_err(terminated)?,
        Err(_) => return Err(ErrorKind::WriteTimeout.into()),
    }
    let answer = tokio::time::timeout(app.timeouts.response, read_answer(app, upstream)).await;
    let answer = answer.unwrap_or_else(|_| Err(ErrorKind::ResponseTimeout.into()))?;
    exchange.outcome.times.first_byte = Some(exchange.request.arrival.started.elapsed());
    Ok((opened, answer))
}

/// Passes the 101 on and relays until the tunnel ends.
async fn relay(
    app: &App,
    service: &ConnectService,
    client: Box<ClientStream>,
    opened: Opened,
    answer: UpstreamResponse,
    request: &TunnelRequest,
) {
    // At an origin it is a tunnel now, and those are not limited; an upstream serves it as a request.
    let is_gateway = request.exchange.request.role == Some(Role::Gateway);
    let permit = opened.permit.filter(|_| is_gateway);
    let open = service.tunnels().enter(request, None, permit);
    let early = answer.behind.len() as u64;
    let greeting = [answer.head, answer.behind.into()].concat();
    let (ended, traffic) = tunnel::relay(app, &open, client, opened.stream, greeting).await;
    let mut record = request.record(Some(answer.status));
    record.bytes_from_client = traffic.bytes_from_client;
    record.bytes_from_upstream = traffic.bytes_from_upstream + early;
    record.bytes_to_client = record.bytes_from_upstream;
    record.end_reason = Some(ended.name());
    app.telemetry.record(&record);
}

async fn read_answer(
    app: &App,
    upstream: &mut UpstreamStream,
) -> Result<UpstreamResponse, RequestError> {
    let mut bytes = BytesMut::new();
    let mut interim = 0;
    loop {
        match message::parse(&mut bytes, app)? {
            Some(answer) if answer.is_interim() => {
                interim += 1;
                bytes = answer.behind;
                if interim > MAX_INTERIM {
                    return Err(RequestError::new(ErrorKind::ProtocolError)
                        .because("too many interim answers"));
                }
            }
            Some(answer) => return Ok(answer),
            None if bytes.len() > MAX_HEAD => {
                let long = RequestError::new(ErrorKind::ProtocolError);
                return Err(long.because("the head of the answer is too long"));
            }
            None => match upstream.read_buf(&mut bytes).await {
                Ok(0) => {
                    let ended = RequestError::new(ErrorKind::ConnectionTerminated);
                    return Err(ended.because("the upstream closed the connection"));
                }
                Ok(_) => {}
                Err(error) => {
                    return Err(RequestError::new(ErrorKind::ConnectionTerminated).because(error));
                }
            },
        }
    }
}

/// What became of an answer that declined.
struct Declined {
    bytes: u64,
    complete: bool,
}

/// Passes an answer on that is no 101, and closes behind it.
async fn pass_on(
    app: &App,
    client: &mut ClientStream,
    mut upstream: UpstreamStream,
    answer: &UpstreamResponse,
) -> Declined {
    let mut outcome = Declined {
        bytes: 0,
        complete: false,
    };
    let mut body = answer.end.framing().map(BodyScanner::new);
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
