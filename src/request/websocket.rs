//! WebSocket (RFC 6455): one request that becomes a tunnel, to origins and upstreams, http and https.

mod message;

use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::message::{Answer, MAX_HEAD};
use super::app::App;
use super::connect::{self, ConnectService};
use super::outcome::Exchange;
use super::tunnel::{self, Opened};
use crate::client::ClientStream;
use crate::http::error::{Kind, RequestError};
use crate::http::http1::{BodyScanner, RequestHead};
use crate::http::response::MAX_INTERIM;
use crate::http::role::Role;
use crate::telemetry::GATEWAY_SITE;
use crate::tunnel::{Ended, Traffic};
use crate::upstream::stream::UpstreamStream;

/// Serves one handshake, and the tunnel that it opens, to the end. Gives the connection back when the request
/// was refused and the connection can go on.
pub async fn serve(
    app: &Arc<App>,
    service: &ConnectService,
    mut client: Box<ClientStream>,
    head: RequestHead,
    mut exchange: Box<Exchange>,
) -> Option<Box<ClientStream>> {
    let head = &head;
    let (opened, answer) = match handshake(app, head, &mut exchange, &mut client).await {
        Ok(answered) => answered,
        Err(error) => return refuse(app, client, head, exchange, error).await,
    };
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        relay(app, service, client, opened, &answer, head, &exchange).await;
        return None;
    }
    let outcome = pass_on(app, &mut client, opened.stream, &answer).await;
    if !outcome.complete {
        exchange.outcome.error = Some(Kind::ConnectionTerminated);
    }
    let traffic = Traffic {
        bytes_from_client: 0,
        bytes_from_upstream: outcome.bytes,
    };
    record(app, head, &exchange, Some(answer.status), traffic, None);
    if outcome.complete {
        client.linger_briefly().await;
    }
    None
}

/// Answers a request that was not sent upstream, or got no response from there.
async fn refuse(
    app: &App,
    client: Box<ClientStream>,
    head: &RequestHead,
    mut exchange: Box<Exchange>,
    error: RequestError,
) -> Option<Box<ClientStream>> {
    if error.kind() == Kind::ClientGone {
        exchange.outcome.fail(&error);
        record(app, head, &exchange, None, Traffic::default(), None);
        return None;
    }
    let reply = app.refuse(&mut exchange, &error, head.field("accept"));
    let traffic = Traffic {
        bytes_from_client: 0,
        bytes_from_upstream: reply.body_len(),
    };
    record(app, head, &exchange, Some(reply.status()), traffic, None);
    let close = connect::must_close(&client, &reply, head);
    app.answer(client, &reply, close).await
}

/// Opens the tunnel, sends the request through it and reads the head of the response.
async fn handshake(
    app: &App,
    head: &RequestHead,
    exchange: &mut Exchange,
    client: &mut ClientStream,
) -> Result<(Opened, Answer), RequestError> {
    let mut opened = tunnel::open(app, exchange, client).await?;
    let upstream = &mut opened.stream;
    let request = message::request(head);
    let terminated =
        |error: io::Error| RequestError::new(Kind::ConnectionTerminated).because(error);
    let sending = async {
        upstream.write_all(&request).await?;
        upstream.flush().await
    };
    match tokio::time::timeout(app.timeouts.send, sending).await {
        Ok(sent) => sent.map_err(terminated)?,
        Err(_) => return Err(Kind::WriteTimeout.into()),
    }
    let answer = tokio::time::timeout(app.timeouts.response, read_answer(app, upstream)).await;
    let answer = answer.unwrap_or_else(|_| Err(Kind::ResponseTimeout.into()))?;
    exchange.outcome.times.first_byte = Some(exchange.request.arrival.started.elapsed());
    Ok((opened, answer))
}

/// Passes the 101 on and relays until the tunnel ends.
async fn relay(
    app: &App,
    service: &ConnectService,
    client: Box<ClientStream>,
    opened: Opened,
    answer: &Answer,
    head: &RequestHead,
    exchange: &Exchange,
) {
    // At an origin it is a tunnel now, and those are not limited; an upstream serves it as a request.
    let permit = opened
        .permit
        .filter(|_| exchange.request.role == Some(Role::Gateway));
    let target = String::from_utf8_lossy(head.request_target());
    let target = exchange.request.canonical_target(&target);
    let open = service.tunnels().enter(exchange, &target, None, permit);
    let greeting = [answer.head.as_slice(), &answer.behind].concat();
    let (ended, mut traffic) = tunnel::relay(app, &open, client, opened.stream, greeting).await;
    traffic.bytes_from_upstream += answer.behind.len() as u64;
    record(
        app,
        head,
        exchange,
        Some(answer.status),
        traffic,
        Some(ended),
    );
}

async fn read_answer(app: &App, upstream: &mut UpstreamStream) -> Result<Answer, RequestError> {
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
    answer: &Answer,
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

fn record(
    app: &App,
    head: &RequestHead,
    exchange: &Exchange,
    status: Option<StatusCode>,
    traffic: Traffic,
    ended: Option<Ended>,
) {
    let path = String::from_utf8_lossy(head.request_target());
    let target = exchange.request.canonical_target(&path);
    let site = exchange.request.authority.as_ref().map(ToString::to_string);
    let mut record = exchange.record();
    record.method = head.method.as_str().as_bytes();
    record.target = target.as_bytes();
    record.site = Some(site.as_deref().unwrap_or(GATEWAY_SITE));
    record.status = status.map(|status| status.as_u16());
    record.bytes_from_client = traffic.bytes_from_client;
    record.bytes_to_client = traffic.bytes_from_upstream;
    record.bytes_from_upstream = traffic.bytes_from_upstream;
    record.end_reason = ended.map(Ended::name);
    record.user_agent = head.field("user-agent");
    record.referer = head.field("referer");
    app.telemetry.record(&record);
}
