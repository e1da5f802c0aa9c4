//! One HTTP/2 connection (RFC 9113): its streams, each a request of its own.

use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use h2::server::{self, Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::header::{ACCEPT, REFERER, USER_AGENT};
use http::request::Parts;
use http::{Method, Request};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::Acceptor;
use crate::access::client::Client;
use crate::access::shares::Place;
use crate::client::http2::{Http2Stream, LocalEndpoint, Piece, UnreadAnswers, to_http1};
use crate::client::{ClientStream, Connection, RawReturn, RawStream, Transport};
use crate::http::http1::{RefusedHead, RequestHead, Version};
use crate::request::app::App;
use crate::request::dispatch::Requests;
use crate::request::facts::{Arrival, Source};
use crate::tunnel::Socket;

/// What a client may send of a body before it was passed on. A connection takes as much
/// of all its streams: with less, a few tunnels whose other ends do not read would keep
/// the rest from sending.
const STREAM_WINDOW: u32 = 256 * 1024;

/// What waits of an answer for the client to take it, for one stream.
const SEND_BUFFER: usize = 64 * 1024;

/// How often in `timeouts.send` answers that the client does not take are looked at.
const LOOKS: u32 = 4;

/// The most that a connection without streams has for the client: what `h2` has made of them, and answers to PINGs.
const LAST_BYTES: u64 = 64 * 1024;

/// How long a connection without streams may take to end once it was told to.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves the streams of a connection until it ends.
pub(super) async fn serve(acceptor: &Arc<Acceptor>, stream: Box<ClientStream>, source: Source) {
    let app = &acceptor.app;
    let own = own(stream.transport());
    let (stream, raw_return) = RawStream::new(stream);
    let limit = app.timeouts.request_head;
    let client = source.client;
    let failed = match timeout(limit, builder(acceptor).handshake(stream)).await {
        Ok(Ok(connection)) => {
            let streams = Streams {
                acceptor: Arc::clone(acceptor),
                source,
                own: Arc::new(own),
                open: Arc::new(Open::default()),
                unread: Arc::default(),
                own_permit: Arc::new(Semaphore::new(1)),
            };
            let until = match streams.run(connection, &raw_return).await {
                Ok(until) => until,
                Err(error) => {
                    log::debug!("connection from {client}: {error}");
                    if error.is_library() {
                        app.telemetry.connection_rejected("http2_error");
                    }
                    None
                }
            };
            close_gracefully(app, &raw_return, until.unwrap_or_else(Instant::now)).await;
            return;
        }
        // A browser opens connections that it may need, and leaves them.
        Ok(Err(error)) if error.is_io() => {
            log::debug!("connection from {client}: {error}");
            return;
        }
        Ok(Err(_broken)) => {
            "it began HTTP/2 and broke the rules of it; this client has a defect, or speaks something else"
        }
        Err(_elapsed) => {
            "it began HTTP/2 and did not go on within timeouts.request_head; this client has a defect, or a slow network"
        }
    };
    acceptor.reject(client, None, "http2_preface", failed);
}

/// Closes a connection so that the client gets the ends of its answers: closed with
/// bytes unread, such as updates of windows, it would be reset.
async fn close_gracefully(app: &App, raw_return: &RawReturn, until: Instant) {
    let Some(stream) = raw_return.reclaim() else {
        return;
    };
    tokio::select! {
        biased;
        () = app.lifecycle.aborted() => {}
        () = stream.linger_until(until) => {}
    }
}

fn own(transport: &Transport) -> LocalEndpoint {
    let address = transport.tcp().and_then(|tcp| tcp.local_addr().ok());
    match transport {
        Transport::Left(Connection::Right(tls)) => {
            LocalEndpoint::new(true, tls.0.get_ref().1.server_name(), address)
        }
        _ => LocalEndpoint::new(false, None, address),
    }
}

/// All bounds that differ from what `h2` has anyway. It ends connections that send too
/// many resets, empty frames, or continuations of a head. A page that is left may reset
/// all its requests at once.
fn builder(acceptor: &Acceptor) -> Builder {
    let limits = &acceptor.app.limits;
    let streams = at_most(limits.streams_per_connection);
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW.saturating_mul(streams))
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_streams(streams)
        .max_pending_accept_reset_streams(limits.streams_per_connection)
        // 32 bytes for each field are not of the head, but count (RFC 9113 §6.5.2).
        .max_header_list_size(at_most(limits.request_head + 32 * limits.request_fields))
        .enable_connect_protocol();
    builder
}

fn at_most(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// Streams that are being served.
#[derive(Debug, Default)]
struct Open {
    count: AtomicUsize,
    ended: Notify,
}

/// One of them, until dropped.
struct OpenStream(Arc<Open>);

impl OpenStream {
    fn new(open: &Arc<Open>) -> Self {
        open.count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify_one();
        }
    }
}

/// What the streams of a connection share.
struct Streams {
    acceptor: Arc<Acceptor>,
    source: Source,
    own: Arc<LocalEndpoint>,
    open: Arc<Open>,
    /// Their answers, where the client has yet to take them.
    unread: Arc<UnreadAnswers>,
    /// The permit of the connection itself, for one stream at a time: where
    /// no other is free, HTTP/2 goes on like HTTP/1.
    own_permit: Arc<Semaphore>,
}

impl Streams {
    /// Serves until the connection ends. Then, until when the client may still be reading
    /// the ends of answers; none when it has had them all.
    async fn run(
        &self,
        mut connection: server::Connection<RawStream, Piece>,
        raw_return: &RawReturn,
    ) -> Result<Option<Instant>, h2::Error> {
        let app = &self.acceptor.app;
        let mut draining = app.lifecycle.watch();
        let mut aborted = pin!(app.lifecycle.aborted());
        let timer = pin!(sleep_until(Instant::now() + app.timeouts.request_head));
        let mut ending = Ending::new(app, timer);
        // Runs while there may be answers that the client does not take.
        let mut next_look = pin!(sleep_until(Instant::now()));
        let mut is_looking = false;
        let look_after = app.timeouts.send / LOOKS;
        loop {
            ending.note_streams(self.open.count.load(Ordering::Acquire));
            tokio::select! {
                biased;
                () = &mut aborted => return Ok(None),
                _ = draining.wait_for(|draining| *draining), if !ending.is_begun => {
                    ending.begin(&mut connection, raw_return);
                }
                stream = connection.accept() => match stream {
                    Some(stream) => {
                        let (request, respond) = stream?;
                        self.open(request, respond);
                        ending.note_request();
                        if !is_looking {
                            is_looking = true;
                            next_look.as_mut().reset(Instant::now() + look_after);
                        }
                    }
                    None => return Ok(ending.reading_until()),
                },
                () = self.open.ended.notified() => {}
                () = next_look.as_mut(), if is_looking => {
                    let is_left = self.unread.end_stalled(app.timeouts.send);
                    is_looking = is_left || !ending.is_idle;
                    next_look.as_mut().reset(Instant::now() + look_after);
                }
                () = ending.timer.as_mut(), if ending.is_idle => {
                    if ending.timer_fired(&mut connection, raw_return) {
                        return Ok(ending.reading_until);
                    }
                }
            }
        }
    }

    /// Serves a stream on a task of its own. It takes a permit like a connection, and when
    /// there is none the client may try again elsewhere or later (RFC 9113 §8.7).
    fn open(&self, request: Request<RecvStream>, mut respond: SendResponse<Piece>) {
        let Some(permit) = self.permit() else {
            self.acceptor.app.telemetry.connection_rejected("stream");
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        };
        let open = OpenStream::new(&self.open);
        // Counted at once, so that draining waits for it.
        let in_flight = self.acceptor.app.lifecycle.begin_work();
        let (acceptor, source) = (Arc::clone(&self.acceptor), self.source.clone());
        let (own, unread) = (Arc::clone(&self.own), Arc::clone(&self.unread));
        tokio::spawn(async move {
            serve_stream(&acceptor, source, &own, unread, request, respond).await;
            drop((permit, open, in_flight));
        });
    }

    fn permit(&self) -> Option<(OwnedSemaphorePermit, Option<Place>)> {
        // One that the client has reset is not open for `h2` any more, but may be here.
        let most = 2 * self.acceptor.app.limits.streams_per_connection;
        if self.open.count.load(Ordering::Relaxed) >= most {
            return None;
        }
        if let Ok(own) = Arc::clone(&self.own_permit).try_acquire_owned() {
            return Some((own, None));
        }
        let client = Client::site(self.source.client.ip());
        let place = self.acceptor.places.try_take(client)?;
        let permit = Arc::clone(&self.acceptor.permits).try_acquire_owned();
        Some((permit.ok()?, Some(place)))
    }
}

/// How far a connection is on the way to its end.
struct Ending<'a> {
    app: &'a App,
    /// Runs while there is no stream.
    timer: Pin<&'a mut Sleep>,
    is_idle: bool,
    reading_until: Option<Instant>,
    /// Whether the client was told (GOAWAY).
    is_begun: bool,
    /// Whether nothing was on its way then: the client's answer says that it has read everything (RFC 9113 §6.8).
    answer_covers_all: bool,
    /// How far the wire had come when the end was put off.
    put_off_at: Option<u64>,
    /// How far it comes when the client takes what was left for it when the last stream had ended.
    last_at: Option<u64>,
}

impl<'a> Ending<'a> {
    /// A new connection, with the time for its first request on `timer`.
    fn new(app: &'a App, timer: Pin<&'a mut Sleep>) -> Self {
        Self {
            app,
            timer,
            is_idle: true,
            reading_until: None,
            is_begun: false,
            answer_covers_all: false,
            put_off_at: None,
            last_at: None,
        }
    }

    fn set_timer(&mut self, from_now: Duration) {
        self.timer.as_mut().reset(Instant::now() + from_now);
    }

    /// Starts the timer when there is no stream any more.
    fn note_streams(&mut self, open: usize) {
        let was_idle = mem::replace(&mut self.is_idle, open == 0);
        if self.is_idle && !was_idle {
            self.reading_until = Some(Instant::now() + self.app.timeouts.send);
            self.set_timer(match self.is_begun {
                true => GOODBYE,
                false => self.app.timeouts.keep_alive,
            });
        }
    }

    fn note_request(&mut self) {
        self.is_idle = false;
        self.answer_covers_all = false;
        self.last_at = None;
    }

    /// Tells the client that the connection ends.
    fn begin(
        &mut self,
        connection: &mut server::Connection<RawStream, Piece>,
        raw_return: &RawReturn,
    ) {
        self.is_begun = true;
        self.answer_covers_all = self.is_idle && !is_sending(connection, raw_return);
        connection.graceful_shutdown();
        self.set_timer(GOODBYE);
    }

    /// Begins the end, puts it off while ends of answers are on their way to a slow client, or says that it is over.
    fn timer_fired(
        &mut self,
        connection: &mut server::Connection<RawStream, Piece>,
        raw_return: &RawReturn,
    ) -> bool {
        let written = raw_return.written();
        // A client that sends PINGs can have answers to them on their way at any time.
        let is_left =
            connection.has_streams() || written < *self.last_at.get_or_insert(written + LAST_BYTES);
        if is_left && is_sending(connection, raw_return) && self.put_off_at != Some(written) {
            self.put_off_at = Some(written);
            self.set_timer(self.app.timeouts.send);
            return false;
        }
        if !self.is_begun {
            self.begin(connection, raw_return);
            return false;
        }
        true
    }

    /// Until when a client that has closed the connection may still be reading.
    fn reading_until(&self) -> Option<Instant> {
        self.reading_until.filter(|_| !self.answer_covers_all)
    }
}

/// Whether answers that are over for their streams are not yet on the wire.
fn is_sending(connection: &server::Connection<RawStream, Piece>, raw_return: &RawReturn) -> bool {
    connection.has_streams() || raw_return.is_stalled()
}

async fn serve_stream(
    acceptor: &Acceptor,
    source: Source,
    own: &LocalEndpoint,
    unread: Arc<UnreadAnswers>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Piece>,
) {
    let app = &acceptor.app;
    // `h2` gives a request once its head is complete.
    let arrival = Arrival::now();
    let (parts, receive) = request.into_parts();
    let has_body = !receive.is_end_stream();
    let head =
        to_http1(&parts, has_body, own).and_then(|head| RequestHead::parse(head, &app.head_limits));
    let refused = head.is_err().then(|| refused(&parts));
    if let Ok(head) = &head
        && head.authenticates_connection
        && head.method != Method::CONNECT
    {
        // The upstream would take all streams for this user's (RFC 9113 §7).
        app.telemetry.connection_rejected("http_1_1_required");
        respond.send_reset(Reason::HTTP_1_1_REQUIRED);
        return;
    }
    let stream = Http2Stream::new(&parts, receive, respond, unread);
    drop(parts);
    let stream = Transport::Right(Box::new(stream));
    let stream = Box::new(ClientStream::new(stream, source.client, app.patience()));
    let mut requests = Requests::new(&acceptor.ways, source);
    match head {
        Ok(mut head) => {
            head.version = Version::Http2;
            // There is no other request for it to go on with.
            let _over: Option<Box<ClientStream>> = requests.serve(stream, head, arrival).await;
        }
        Err(error) => {
            let head = refused.unwrap_or_default();
            requests.refuse(stream, &error.into(), &head).await;
        }
    }
}

/// What the answer to a refused request and its record take from it.
fn refused(parts: &Parts) -> RefusedHead {
    let accept = parts.headers.get_all(ACCEPT).iter();
    let accept: Vec<&[u8]> = accept.map(http::HeaderValue::as_bytes).collect();
    let field = |name| {
        parts
            .headers
            .get(name)
            .map(|value| value.as_bytes().to_vec())
    };
    RefusedHead {
        accept: (!accept.is_empty()).then(|| accept.join(&b", "[..])),
        referer: field(REFERER),
        user_agent: field(USER_AGENT),
        ..RefusedHead::of_line(parts.method.as_str(), &parts.uri.to_string())
    }
}
