//! WebSocket (RFC 6455): one request that becomes a tunnel, to origins and upstreams, http and https. To those it is
//! HTTP/1.1 always; a client may have asked in HTTP/2 (RFC 8441).

mod key;
pub mod message;

use std::io;
use std::sync::atomic::AtomicBool;

use bytes::BytesMut;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::key::Key;
use self::message::{MAX_HEAD, Message, UpstreamResponse};
use super::app::App;
use super::connect::ConnectService;
use super::facts::Request;
use super::hooks::before_tunnel;
use super::live::State;
use super::outcome::Exchange;
use super::outgoing;
use super::own;
use super::tunnel::{self, Opened, TunnelRequest};
use crate::access::limits::{Account, Flow, Volume};
use crate::client::ClientStream;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::http1::{BodyScanner, Version};
use crate::http::response::{MAX_INTERIM, ResponseReader, is_final};
use crate::http::role::Role;
use crate::tunnel::Traffic;
use crate::upstream::pool::Choice;
use crate::upstream::tls::UpstreamStream;

/// Serves one handshake, which is sent upstream as `message`, and the tunnel that it opens, to the end. Gives the
/// connection back when the request was refused and the connection can go on.
pub async fn serve(
    service: &ConnectService,
    mut client: Box<ClientStream>,
    mut request: Box<TunnelRequest>,
    message: Message,
) -> Option<Box<ClientStream>> {
    let app = &service.app;
    let has_ended = AtomicBool::new(false);
    let handshake = handshake(app, &mut request.exchange, &has_ended, message);
    let opening = tunnel::unless_in_vain(app, &mut client, &has_ended, handshake);
    let (opened, answer) = match opening.await {
        Ok(answered) => answered,
        Err(error) => return request.refuse(app, client, error).await,
    };
    let status = answer.status;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        if let Err(error) = before_tunnel(&mut request.exchange) {
            return request.refuse(app, client, error).await;
        }
        relay(service, client, opened, answer, &mut request).await;
        return None;
    }
    let mut passed = 0;
    let account = request.exchange.outcome.account();
    let passing = pass_on(
        app,
        &mut client,
        opened.stream,
        answer,
        account,
        &mut passed,
    );
    let complete = passing.await;
    if complete.is_none() {
        request.exchange.outcome.error = Some(ErrorKind::ConnectionTerminated);
    }
    request.exchange.end(app, Some(status.as_u16()));
    let mut record = request.record(Some(status));
    record.bytes_to_client = passed;
    record.bytes_from_upstream = passed;
    app.telemetry.record(&record);
    if complete.is_some() {
        client.linger_briefly().await;
    }
    None
}

/// Opens the tunnel, sends `message` through it and reads the head of the response.
async fn handshake(
    app: &App,
    exchange: &mut Exchange,
    has_ended: &AtomicBool,
    mut message: Message,
) -> Result<(Box<Opened>, UpstreamResponse), RequestError> {
    if is_local(&exchange.request) {
        return Err(refuse_local(app, exchange).await);
    }
    let is_http2 = exchange.request.version == Version::Http2;
    let key = is_http2.then(Key::new).transpose()?;
    let mut opened = tunnel::open(app, exchange, has_ended).await?;
    exchange.is_now(State::Waiting);
    tunnel::refuse_early(&opened.early)?;
    outgoing::complete(app, exchange, &mut message)?;
    let message = message.to_bytes(key.as_ref());
    let upstream = &mut opened.stream;
    let sending = async {
        upstream.write_all(&message).await?;
        upstream.flush().await
    };
    let sent = tokio::time::timeout(app.timeouts.send, sending).await;
    sent.map_err(|_late| ErrorKind::WriteTimeout)?
        .map_err(terminated)?;
    let answer = read_answer(app, exchange, upstream, key.as_ref());
    let answer = tokio::time::timeout(app.timeouts.response, answer).await;
    let answer = answer.unwrap_or_else(|_late| Err(ErrorKind::ResponseTimeout.into()));
    let pool = match exchange.request.pool {
        Choice::Pool(number) => app.pools.get(number),
        Choice::Page | Choice::Ambiguous => None,
    };
    if let (Some(pool), Some(permit)) = (pool, &opened.permit) {
        match &answer {
            Ok(_) => pool.answered(&permit.server),
            // A page in place of a WebSocket: a client may ask for one anywhere.
            Err(error) if error.kind() == ErrorKind::UpgradeFailed => {
                pool.answered(&permit.server);
            }
            Err(error) => pool.failed(&permit.server, error.kind().name()),
        }
    }
    let answer = answer?;
    exchange.first_byte_came();
    Ok((opened, answer))
}

/// Whether it is for what this proxy answers itself. HTTP/1.1 makes a GET of such a handshake before it comes here.
fn is_local(request: &Request) -> bool {
    request.role == Some(Role::Gateway) && (request.is_own || request.pool == Choice::Page)
}

/// Why a WebSocket to this proxy itself does not begin. A client learns it once it is known, as with other requests.
async fn refuse_local(app: &App, exchange: &mut Exchange) -> RequestError {
    let known = match exchange.request.is_own {
        true if !own::needs_user(app, &exchange.request) => Ok(()),
        true => app.access.identify(exchange).await,
        false => app.access.admit(exchange).await.map(drop),
    };
    match known {
        Ok(()) => ErrorKind::MethodNotAllowed.into(),
        Err(error) => error,
    }
}

/// Passes the 101 on and relays until the tunnel ends.
async fn relay(
    service: &ConnectService,
    client: Box<ClientStream>,
    opened: Box<Opened>,
    answer: UpstreamResponse,
    request: &mut TunnelRequest,
) {
    let app = &service.app;
    // At an origin it is a tunnel now, and those are not limited; an upstream serves it as a request.
    let is_gateway = request.exchange.request.role == Some(Role::Gateway);
    let permit = opened.permit.filter(|_| is_gateway);
    let mut open = app.tunnels.enter(request, None, permit);
    let early = Traffic::from_upstream(answer.behind.len());
    open.carried_before(early.bytes_from_upstream);
    let greeting = [answer.head, answer.behind.into()].concat();
    let (ended, traffic) = tunnel::relay(app, &open, client, opened.stream, greeting).await;
    let traffic = early.and(traffic);
    open.end(app, &mut request.exchange, traffic);
    // In HTTP/2 the client has got another one (RFC 8441 §5).
    let status = match request.exchange.request.version {
        Version::Http2 => StatusCode::OK,
        _ => answer.status,
    };
    request.exchange.end(app, Some(status.as_u16()));
    let mut record = request.record(Some(status));
    record.bytes_from_client = traffic.bytes_from_client;
    record.bytes_from_upstream = traffic.bytes_from_upstream;
    record.bytes_to_client = record.bytes_from_upstream;
    record.end_reason = Some(ended.name());
    app.telemetry.record(&record);
}

async fn read_answer(
    app: &App,
    exchange: &mut Exchange,
    upstream: &mut UpstreamStream,
    key: Option<&Key>,
) -> Result<UpstreamResponse, RequestError> {
    let mut bytes = BytesMut::new();
    let mut interim = 0;
    let mut reader = ResponseReader::new(MAX_HEAD);
    loop {
        match message::parse(&mut reader, &mut bytes, app, exchange, key)? {
            Some(answer) if is_final(answer.status) => return Ok(answer),
            Some(_) if interim == MAX_INTERIM => {
                return Err(ErrorKind::ProtocolError.because("too many interim answers"));
            }
            Some(answer) => {
                interim += 1;
                bytes = answer.behind;
            }
            None => {
                if upstream.read_buf(&mut bytes).await.map_err(terminated)? == 0 {
                    let why = "the upstream closed the connection";
                    return Err(ErrorKind::ConnectionTerminated.because(why));
                }
            }
        }
    }
}

fn terminated(error: io::Error) -> RequestError {
    ErrorKind::ConnectionTerminated.because(error)
}

/// Passes an answer on that is no 101, and charges it. Adds the bytes of its body to `passed`; none when the answer was cut
/// short.
async fn pass_on(
    app: &App,
    client: &mut ClientStream,
    mut upstream: UpstreamStream,
    answer: UpstreamResponse,
    account: Option<&Account>,
    passed: &mut u64,
) -> Option<()> {
    let mut body = answer.end.framing().map(BodyScanner::new);
    let (mut out, mut bytes) = (answer.head, answer.behind);
    loop {
        let own = match &mut body {
            Some(body) => body.scan(&bytes).ok()?,
            None => bytes.len(),
        };
        out.extend_from_slice(bytes.get(..own).unwrap_or_default());
        *passed += own as u64;
        if let Some(account) = account {
            let wait = account.lend(Flow::Download, out.len() as u64);
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
        let sent = tokio::time::timeout(app.timeouts.send, client.send(&out)).await;
        sent.ok()?.ok()?;
        let sent = Volume::down(out.len() as u64);
        if account.is_some_and(|account| account.carried(sent).is_break()) {
            return None;
        }
        if body.as_ref().is_some_and(BodyScanner::is_done) {
            return Some(());
        }
        out.clear();
        bytes.clear();
        let read = upstream.read_buf(&mut bytes);
        let read = tokio::time::timeout(app.timeouts.response, read).await;
        if read.ok()?.ok()? == 0 {
            // Without a length the end of the connection is the end of the body.
            return body.is_none().then_some(());
        }
    }
}
