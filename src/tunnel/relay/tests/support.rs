//! Tunnels to test with: sockets on both sides, and observers on the relay's ends.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::recorder::Recorder;

use crate::tunnel::direction::{SPLICING, Splicing};
use crate::tunnel::pace::Limits;
use crate::tunnel::pipe::{PIPE_SIZE, Pool};
use crate::tunnel::relay::relay_tunnel;
use crate::tunnel::{Ended, Ends, Socket, Traffic};

/// Only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the kernel holds for a socket each way; it doubles the value.
const SOCKET_BUFFER: usize = 1024 * 1024;

/// A reset is passed on within a second; the rest is for a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(2);

pub(super) const NEVER: Duration = Duration::from_secs(3600);

/// How a tunnel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Through buffers alone.
    Copy,
    /// Through pipes from the first byte, where both sockets are bare.
    Splice,
    /// As it thinks best.
    Adaptive,
}

/// Runs asynchronous tests of a [`Mode`] in every one.
macro_rules! in_every_mode {
    ($($name:ident),* $(,)?) => {
        mod copied {
            $(#[tokio::test] async fn $name() { super::$name(super::Mode::Copy).await; })*
        }
        mod spliced {
            $(#[tokio::test] async fn $name() { super::$name(super::Mode::Splice).await; })*
        }
        mod adaptive {
            $(#[tokio::test] async fn $name() { super::$name(super::Mode::Adaptive).await; })*
        }
    };
}
pub(super) use in_every_mode;

/// Splicing of one tunnel's own.
pub(super) fn splicing(mode: Mode) -> &'static Splicing {
    let max = if mode == Mode::Copy { 0 } else { 8 * PIPE_SIZE };
    let limits = match mode {
        Mode::Adaptive => SPLICING.limits,
        Mode::Copy | Mode::Splice => Limits {
            bulk_after: 0,
            small_burst: 0,
            slow: Duration::MAX,
        },
    };
    let pipes = Pool::new(max);
    Box::leak(Box::new(Splicing { limits, pipes }))
}

/// The output of `future`, in time.
pub(super) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not in time"),
    }
}

/// A connected pair. Not asynchronous: under a paused clock nothing may wait.
pub(super) fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let one = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    for socket in [&one, &other] {
        // The system would let them grow to tens of megabytes, more than a test sends.
        let socket = socket2::SockRef::from(socket);
        socket.set_recv_buffer_size(SOCKET_BUFFER).unwrap();
        socket.set_send_buffer_size(SOCKET_BUFFER).unwrap();
    }
    one.set_nonblocking(true).unwrap();
    other.set_nonblocking(true).unwrap();
    (
        TcpStream::from_std(one).unwrap(),
        TcpStream::from_std(other).unwrap(),
    )
}

/// Bytes that differ from place to place and from seed to seed.
pub(super) fn payload(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

pub(super) fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
}

/// The other end of `stream` is reset soon, seen without reading.
pub(super) async fn assert_reset(what: &str, stream: &TcpStream) {
    let seen = timeout(SOON, stream.ready(Interest::ERROR)).await;
    let ready = seen.unwrap_or_else(|_| panic!("{what}: no reset"));
    assert!(ready.unwrap().is_error(), "{what}");
    let error = stream.take_error().unwrap().map(|error| error.kind());
    assert!(
        matches!(
            error,
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        ),
        "{what}: {error:?}"
    );
}

/// All that comes, and how it ended.
pub(super) async fn rest_of(stream: &mut (impl AsyncRead + Unpin)) -> (Vec<u8>, io::Result<()>) {
    let mut got = Vec::new();
    let end = within("the end of a stream", stream.read_to_end(&mut got)).await;
    (got, end.map(drop))
}

/// What the relay did last with one of its streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// It waits for bytes.
    pub(super) reads: bool,
    /// It waits for space.
    pub(super) blocked: bool,
    /// A read or a write has failed.
    pub(super) failed: bool,
    pub(super) shut_down: bool,
    pub(super) bytes_read: u64,
    /// Of these, past the stream.
    pub(super) bytes_spliced: u64,
    pub(super) bytes_written: u64,
    /// The smallest space that it read into.
    pub(super) least_space: Option<usize>,
}

/// A stream that tells what the relay does with it.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    seen: watch::Sender<Seen>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S) -> (Self, watch::Receiver<Seen>) {
        let (seen, eyes) = watch::channel(Seen::default());
        (Self { stream, seen }, eyes)
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        self.seen.send_if_modified(|seen| {
            let before = *seen;
            change(seen);
            *seen != before
        });
    }
}

impl<S: Socket> Socket for Watched<S> {
    fn tcp(&self) -> Option<&TcpStream> {
        self.stream.tcp()
    }

    fn plain_tcp(&self) -> Option<&TcpStream> {
        self.stream.plain_tcp()
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        self.stream.poll_readable(cx)
    }

    fn splice_read(&self, taken: Poll<io::Result<usize>>) {
        self.note(|seen| {
            seen.reads = taken.is_pending();
            seen.failed |= matches!(taken, Poll::Ready(Err(_)));
            if let Poll::Ready(Ok(len)) = taken {
                seen.bytes_read += len as u64;
                seen.bytes_spliced += len as u64;
            }
        });
    }

    fn splice_write(&self, given: Poll<io::Result<usize>>) {
        self.note(|seen| {
            seen.blocked = given.is_pending();
            seen.failed |= matches!(given, Poll::Ready(Err(_)));
            if let Poll::Ready(Ok(len)) = given {
                seen.bytes_written += len as u64;
            }
        });
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, space) = (buf.filled().len(), buf.remaining());
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.note(|seen| {
            seen.reads = result.is_pending();
            seen.failed |= matches!(result, Poll::Ready(Err(_)));
            seen.bytes_read += (buf.filled().len() - before) as u64;
            seen.least_space = Some(seen.least_space.map_or(space, |least| least.min(space)));
        });
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(|seen| {
            seen.blocked = result.is_pending();
            match result {
                Poll::Ready(Ok(len)) => seen.bytes_written += len as u64,
                Poll::Ready(Err(_)) => seen.failed = true,
                Poll::Pending => {}
            }
        });
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        self.note(|seen| seen.shut_down = true);
        Poll::Ready(Ok(()))
    }
}

/// A stream in memory with an idle socket beside it: for tests with a paused clock.
#[derive(Debug)]
pub(super) struct Memory {
    bytes: DuplexStream,
    socket: TcpStream,
    _far: TcpStream,
}

impl Memory {
    pub(super) fn new(capacity: usize) -> (Self, DuplexStream) {
        let (bytes, far) = tokio::io::duplex(capacity);
        let (socket, _far) = pair();
        let near = Self {
            bytes,
            socket,
            _far,
        };
        (near, far)
    }
}

impl Socket for Memory {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(&self.socket)
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_read(cx, buf)
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(cx)
    }
}

/// A tunnel that runs, with the far ends of it.
pub(super) struct Tunnel {
    pub(super) client: TcpStream,
    pub(super) upstream: TcpStream,
    pub(super) at_client: watch::Receiver<Seen>,
    pub(super) at_upstream: watch::Receiver<Seen>,
    pub(super) cancel: oneshot::Sender<()>,
    pub(super) relay: JoinHandle<(Ended, Traffic)>,
    pub(super) splicing: &'static Splicing,
}

impl Tunnel {
    pub(super) fn open(mode: Mode) -> Self {
        Self::open_with(splicing(mode), Vec::new(), NEVER, |stream| stream)
    }

    pub(super) fn open_with<S>(
        splicing: &'static Splicing,
        early: Vec<u8>,
        idle_timeout: Duration,
        wrap: impl Fn(TcpStream) -> S,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Socket + Unpin + Send + 'static,
    {
        let meter = Recorder::default();
        Self::between([pair(), pair()], splicing, early, idle_timeout, wrap, meter)
    }

    /// Between two pairs, the client's and the upstream's.
    pub(super) fn between<S>(
        pairs: [(TcpStream, TcpStream); 2],
        splicing: &'static Splicing,
        early: Vec<u8>,
        idle_timeout: Duration,
        wrap: impl Fn(TcpStream) -> S,
        meter: Recorder,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Socket + Unpin + Send + 'static,
    {
        let [(client, near_client), (upstream, near_upstream)] = pairs;
        let (near_client, at_client) = Watched::new(wrap(near_client));
        let (near_upstream, at_upstream) = Watched::new(wrap(near_upstream));
        let (cancel, cancelled) = oneshot::channel();
        let relay = tokio::spawn(async move {
            let cancelled = pin!(async move {
                if cancelled.await.is_err() {
                    std::future::pending::<()>().await;
                }
            });
            let (ended, traffic) = relay_tunnel(
                Ends::new(near_client, near_upstream),
                &early,
                idle_timeout,
                &meter,
                cancelled,
                splicing,
            )
            .await;
            let told = meter.reports();
            let from_client: u64 = told.iter().map(|told| told.bytes_from_client).sum();
            let from_upstream: u64 = told.iter().map(|told| told.bytes_from_upstream).sum();
            assert!(from_client <= traffic.bytes_from_client);
            assert!(from_upstream <= traffic.bytes_from_upstream);
            if meter.lends() && ended == Ended::Complete {
                let carried = [traffic.bytes_from_client, traffic.bytes_from_upstream];
                assert_eq!(meter.lent(), carried, "lent");
            }
            (ended, traffic)
        });
        Self {
            client,
            upstream,
            at_client,
            at_upstream,
            cancel,
            relay,
            splicing,
        }
    }

    /// Until the relay waits for bytes on both sides.
    pub(super) async fn idle(&mut self) {
        let wait = async {
            self.at_client.wait_for(|seen| seen.reads).await.unwrap();
            self.at_upstream.wait_for(|seen| seen.reads).await.unwrap();
        };
        within("an idle tunnel", wait).await;
    }

    /// Waits until no byte has moved for a while: both sides are blocked then.
    pub(super) async fn settled(&mut self) {
        let settle = async {
            loop {
                let change = async {
                    tokio::select! {
                        change = self.at_client.changed() => change,
                        change = self.at_upstream.changed() => change,
                    }
                };
                match timeout(Duration::from_millis(50), change).await {
                    Ok(change) => change.unwrap(),
                    Err(_) => return,
                }
            }
        };
        within("a tunnel at rest", settle).await;
    }
}

pub(super) async fn outcome(relay: JoinHandle<(Ended, Traffic)>) -> (Ended, Traffic) {
    within("the end of the tunnel", relay).await.unwrap()
}

/// Sends `bytes` for as long as they are taken, and holds on to the rest.
pub(super) async fn stuff(stream: &TcpStream, bytes: &[u8]) -> usize {
    let mut sent = 0;
    while sent < bytes.len() {
        let Ok(writable) = timeout(Duration::from_millis(50), stream.writable()).await else {
            break;
        };
        writable.unwrap();
        match stream.try_write(&bytes[sent..]) {
            Ok(len) => sent += len,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    sent
}
