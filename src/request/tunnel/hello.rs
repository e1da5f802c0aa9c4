//! The first bytes of a tunnel, where something is asked of them: none goes upstream before they are judged.
//!
//! What the server sends meanwhile goes to the client, so that protocols in which the server speaks first go on. Nothing
//! here is part of a tunnel of which nothing is asked, nor of one that was judged.

use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::{OpenTunnel, true_end};
use crate::access::policy::{HelloTerms, Opening, Policy};
use crate::client::ClientStream;
use crate::hello::{Hello, HelloReader, Unreadable, fatal_alert};
use crate::http::error::{ErrorKind, RequestError};
use crate::request::app::App;
use crate::request::outcome::Exchange;
use crate::tunnel::{Ended, Meter, Socket, Source, Traffic};
use crate::upstream::tls::UpstreamStream;

/// The most that one read takes from the server. On the stack: a tunnel that waits holds no buffer.
const READ_CHUNK: usize = 8 * 1024;

/// Alerts of TLS (RFC 8446 §6.2).
const ACCESS_DENIED: u8 = 49;
const DECODE_ERROR: u8 = 50;
const UNRECOGNIZED_NAME: u8 = 112;

/// What is asked of the first bytes, and what evaluates it.
#[derive(Debug)]
pub struct Demand {
    /// Where the terms have an expression.
    policy: Option<Arc<Policy>>,
    terms: Arc<HelloTerms>,
}

impl Demand {
    pub fn new((policy, terms): (Option<Arc<Policy>>, Arc<HelloTerms>)) -> Self {
        Self { policy, terms }
    }
}

/// A tunnel whose first bytes are admitted.
pub struct Judged {
    pub client: Box<ClientStream>,
    pub upstream: UpstreamStream,
    /// What went through it meanwhile, which is charged.
    pub before: Traffic,
}

/// What the client sends first.
enum Found {
    Hello(Hello),
    Not(Unreadable),
    /// Not all of a hello in time.
    Late,
    /// The end of its side, and no byte.
    Nothing,
}

/// Sends `greeting`, reads the first bytes and judges them. The bytes stay with the client's stream.
///
/// # Errors
/// Why the tunnel has ended, and what went through it. Both sides are closed then.
pub async fn judge(
    app: &App,
    open: &OpenTunnel<'_>,
    (mut client, mut upstream): (Box<ClientStream>, UpstreamStream),
    greeting: &[u8],
    exchange: &mut Exchange,
    demand: Demand,
) -> Result<Judged, (Ended, Traffic)> {
    let sent = timeout(app.timeouts.send, client.send(greeting)).await;
    if !matches!(sent, Ok(Ok(()))) {
        return Err((Ended::ClientReset, Traffic::default()));
    }
    let mut peek = Peek {
        client: &mut client,
        upstream: &mut upstream,
        open,
        reader: HelloReader::default(),
        read: 0,
        begun: None,
        timeout: demand.terms.timeout,
        active: Instant::now(),
        idle: app.timeouts.tunnel_idle,
        held: Vec::new(),
        written: 0,
        pause: None,
        before: Traffic::default(),
    };
    let mut aborted = pin!(open.aborted());
    let found = poll_fn(|cx| match aborted.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(Err(Ended::Drained)),
        Poll::Pending => peek.poll(cx),
    });
    let found = found.await;
    let before = peek.before;
    let refused = match found {
        Ok(found) => admit(open, exchange, &demand, found).err(),
        Err(ended) => {
            close(client, upstream, ended).await;
            return Err((true_end(app, open, ended), before));
        }
    };
    let Some((ended, alert)) = refused else {
        return Ok(Judged {
            client,
            upstream,
            before,
        });
    };
    // Nothing was sent to it.
    drop(upstream);
    if let Some(alert) = alert {
        // A client that does not take it knows no more than that the tunnel ends.
        let _ = timeout(app.timeouts.send, client.send(&fatal_alert(alert))).await;
    }
    client.linger_briefly().await;
    Err((ended, before))
}

/// Ends a tunnel that is not judged: in order where the server has ended it, else by a reset of both sides.
async fn close(client: Box<ClientStream>, mut upstream: UpstreamStream, ended: Ended) {
    if ended == Ended::Complete {
        drop(upstream);
        client.linger_briefly().await;
        return;
    }
    let (mut transport, _) = client.into_parts();
    transport.reset();
    upstream.reset();
}

/// Judges what was found, by the policy and then by hooks, and notes it.
///
/// # Errors
/// How the tunnel ends, with the alert for its client.
fn admit(
    open: &OpenTunnel<'_>,
    exchange: &mut Exchange,
    demand: &Demand,
    found: Found,
) -> Result<(), (Ended, Option<u8>)> {
    let opening = match &found {
        // It can send nothing any more.
        Found::Nothing => return Ok(()),
        Found::Hello(hello) => Opening::Hello(hello),
        Found::Not(Unreadable::NotTls) => Opening::NotTls,
        Found::Not(_) => Opening::Unreadable,
        Found::Late => Opening::Late,
    };
    let judged = exchange.admit_opening(demand.policy.as_deref(), &demand.terms, opening);
    let judged = judged.map_err(|error| match &found {
        Found::Not(why) => error.because(*why),
        _ => error,
    });
    if let Err(error) = judged {
        note(exchange, found);
        exchange.outcome.fail(&error);
        return Err((Ended::Stopped(error.kind().name()), alert(&error)));
    }
    let Found::Hello(hello) = found else {
        return Ok(());
    };
    let hello = exchange.outcome.note_hello(hello);
    match open.hello(&hello) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(reason) => Err((Ended::Stopped(reason), Some(ACCESS_DENIED))),
    }
}

fn note(exchange: &mut Exchange, found: Found) {
    if let Found::Hello(hello) = found {
        exchange.outcome.note_hello(hello);
    }
}

/// The alert that says it in the words of the client's library; none where the client speaks no TLS.
fn alert(error: &RequestError) -> Option<u8> {
    match error.kind() {
        ErrorKind::SniMismatch | ErrorKind::SniMissing | ErrorKind::EchDenied => {
            Some(UNRECOGNIZED_NAME)
        }
        ErrorKind::HelloUnreadable => Some(DECODE_ERROR),
        ErrorKind::Denied => Some(ACCESS_DENIED),
        _ => None,
    }
}

/// A tunnel whose first bytes are awaited.
struct Peek<'a> {
    client: &'a mut ClientStream,
    upstream: &'a mut UpstreamStream,
    open: &'a OpenTunnel<'a>,
    reader: HelloReader,
    /// What the reader has seen of the bytes of the client.
    read: usize,
    /// When the first byte came. A client that is silent has the time of an idle tunnel.
    begun: Option<Instant>,
    timeout: Duration,
    /// When the last byte came, of either side.
    active: Instant,
    idle: Duration,
    /// Bytes of the server that the client has not taken, as far as `written`.
    held: Vec<u8>,
    written: usize,
    /// Until the class of the tunnel has bandwidth for them.
    pause: Option<Pin<Box<Sleep>>>,
    before: Traffic,
}

impl Peek<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Found, Ended>> {
        if let Poll::Ready(found) = self.poll_client(cx) {
            return Poll::Ready(found.map_err(|_broken| Ended::ClientReset));
        }
        if let Poll::Ready(ended) = self.poll_upstream(cx) {
            return Poll::Ready(Err(ended));
        }
        let idle = self.active + self.idle;
        let late = self.begun.map(|begun| begun + self.timeout);
        let deadline = late.map_or(idle, |late| late.min(idle));
        ready!(self.client.poll_deadline(cx, deadline));
        Poll::Ready(match self.begun {
            Some(_) => Ok(Found::Late),
            None => Err(Ended::Idle),
        })
    }

    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Found>> {
        loop {
            let here = self.client.inbox();
            if here.len() > self.read {
                self.read = here.len();
                self.begun.get_or_insert_with(Instant::now);
                match self.reader.read(here) {
                    Ok(None) => {}
                    Ok(Some(hello)) => return Poll::Ready(Ok(Found::Hello(hello))),
                    Err(why) => return Poll::Ready(Ok(Found::Not(why))),
                }
            }
            if ready!(self.client.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(match self.read {
                    0 => Found::Nothing,
                    _ => Found::Not(Unreadable::Malformed("its stream ends within it")),
                }));
            }
            self.active = Instant::now();
        }
    }

    /// Passes on what the server sends. Ready when the tunnel ends.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            if self.held.is_empty() {
                match ready!(self.poll_read(cx)) {
                    Ok(true) => {}
                    // No answer to a hello comes any more.
                    Ok(false) => return Poll::Ready(Ended::Complete),
                    Err(_broken) => return Poll::Ready(Ended::UpstreamReset),
                }
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let rest = self.held.get(self.written..).unwrap_or_default();
            match ready!(self.client.poll_pass(cx, rest)) {
                Ok(written) => self.written += written,
                Err(_broken) => return Poll::Ready(Ended::ClientReset),
            }
            self.active = Instant::now();
            if self.written < self.held.len() {
                continue;
            }
            let passed = Traffic {
                bytes_from_client: 0,
                bytes_from_upstream: self.held.len() as u64,
            };
            self.before.bytes_from_upstream += passed.bytes_from_upstream;
            (self.held, self.written) = (Vec::new(), 0);
            if let ControlFlow::Break(reason) = self.open.moved(passed) {
                return Poll::Ready(Ended::Stopped(reason));
            }
        }
    }

    /// Reads what the server sends, as much as its bandwidth lets through; false at its end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let part = self.open.part(Source::Upstream);
        let most = part.map_or(READ_CHUNK, |part| {
            usize::try_from(part).map_or(READ_CHUNK, |part| part.clamp(1, READ_CHUNK))
        });
        let mut space = [0; READ_CHUNK];
        let mut buf = ReadBuf::new(space.get_mut(..most).unwrap_or_default());
        ready!(Pin::new(&mut *self.upstream).poll_read(cx, &mut buf))?;
        self.held = buf.filled().to_vec();
        if part.is_some() {
            let wait = self.open.lend(Source::Upstream, self.held.len() as u64);
            self.pause = (!wait.is_zero()).then(|| Box::pin(sleep(wait)));
        }
        Poll::Ready(Ok(!self.held.is_empty()))
    }
}
