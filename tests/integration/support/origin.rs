//! Origins, well-behaved and odd, that keep what they were sent.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::client::Wire;
use super::eventually;
use super::message::{Request, ok};

/// What an origin has seen.
#[derive(Default)]
pub(crate) struct Seen {
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    peak: AtomicUsize,
    answering: AtomicUsize,
    peak_answering: AtomicUsize,
}

impl Seen {
    /// Keeps a request for the test to look at.
    pub(crate) fn keep(&self, request: Request) {
        self.requests.lock().unwrap().push(request);
    }

    /// Makes an answer; how many are made at once is counted.
    fn answer<T>(&self, make: impl FnOnce() -> T) -> T {
        let now = self.answering.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak_answering.fetch_max(now, Ordering::SeqCst);
        let answer = make();
        self.answering.fetch_sub(1, Ordering::SeqCst);
        answer
    }
}

/// A server on a loopback port: one thread per connection, ended with its value.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    stopping: Arc<AtomicBool>,
}

impl Origin {
    /// Serves each connection with `handler` on `address` (`127.0.0.1:0` for any port).
    pub(crate) fn bind(
        address: &str,
        handler: impl Fn(Wire, &Seen) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::over(TcpListener::bind(address).unwrap(), handler)
    }

    /// Serves each connection of `listener` with `handler`.
    pub(crate) fn over(
        listener: TcpListener,
        handler: impl Fn(Wire, &Seen) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::listen(listener, move |socket, seen| {
            handler(Wire::new(socket)?, seen)
        })
    }

    /// Serves each connection with `handler`.
    pub(crate) fn raw(
        handler: impl Fn(Wire, &Seen) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::bind("127.0.0.1:0", handler)
    }

    /// Answers every request with what `answer` makes of it; connections are kept.
    pub(crate) fn http(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::raw(move |wire, seen| serve(wire, seen, &answer))
    }

    /// An origin that answers when it is told to, once for each message sent.
    pub(crate) fn held() -> (Self, mpsc::Sender<()>) {
        let (release, released) = mpsc::channel();
        let released = std::sync::Mutex::new(released);
        let origin = Self::raw(move |mut wire, seen| {
            while let Some(request) = wire.request()? {
                let path = request.head.target().to_owned();
                seen.keep(request);
                let waited = seen.answer(|| {
                    released
                        .lock()
                        .unwrap()
                        .recv_timeout(Duration::from_secs(15))
                });
                waited.map_err(std::io::Error::other)?;
                wire.send(ok(path))?;
            }
            Ok(())
        });
        (origin, release)
    }

    /// Answers every request with those bytes.
    pub(crate) fn fixed(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::http(move |_| answer.clone())
    }

    /// Answers every request with `200` and that body.
    pub(crate) fn ok(body: &str) -> Self {
        Self::fixed(ok(body))
    }

    /// As [`Origin::http`], over TLS.
    pub(crate) fn https(
        config: Arc<ServerConfig>,
        answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::https_raw(config, move |wire, seen| serve(wire, seen, &answer))
    }

    /// As [`Origin::raw`], over TLS.
    pub(crate) fn https_raw(
        config: Arc<ServerConfig>,
        handler: impl Fn(Wire, &Seen) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::listen(listener, move |socket, seen| {
            let tls = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            let stream = StreamOwned::new(tls, socket.try_clone()?);
            handler(Wire::over(Box::new(stream), socket)?, seen)
        })
    }

    /// Reads nothing, sends nothing and keeps its connections as long as it lives.
    pub(crate) fn deaf() -> Self {
        let kept = Mutex::new(Vec::new());
        Self::raw(move |wire, _| {
            kept.lock().unwrap().push(wire);
            Ok(())
        })
    }

    /// Sends every byte back, and its end when the peer has ended.
    pub(crate) fn echo() -> Self {
        Self::raw(|wire, _| {
            let mut from = wire.socket().try_clone()?;
            let mut to = from.try_clone()?;
            io::copy(&mut from, &mut to)?;
            wire.finish()
        })
    }

    fn listen(
        listener: TcpListener,
        handler: impl Fn(TcpStream, &Seen) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let stopping = Arc::new(AtomicBool::new(false));
        let origin = Self {
            address,
            seen: Arc::clone(&seen),
            stopping: Arc::clone(&stopping),
        };
        let handler = Arc::new(handler);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                if stopping.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(socket) = socket else { continue };
                let (handler, seen) = (Arc::clone(&handler), Arc::clone(&seen));
                seen.connections.fetch_add(1, Ordering::SeqCst);
                let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
                seen.peak.fetch_max(open, Ordering::SeqCst);
                std::thread::spawn(move || {
                    // An error here is the peer's doing; the client's side judges it.
                    let _ended = handler(socket, &seen);
                    seen.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        origin
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// The one request that this origin must have got.
    pub(crate) fn request(&self) -> Request {
        eventually("a request at the origin", || {
            self.requests().first().cloned()
        })
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// The most connections that were open at one time.
    pub(crate) fn peak_connections(&self) -> usize {
        self.seen.peak.load(Ordering::SeqCst)
    }

    /// The most requests that [`held`](Self::held) and [`http`](Self::http) had at one time.
    pub(crate) fn peak_requests(&self) -> usize {
        self.seen.peak_answering.load(Ordering::SeqCst)
    }

    /// Waits until no connection is open.
    pub(crate) fn wait_all_closed(&self) {
        eventually("the origin's connections closed", || {
            (self.seen.open.load(Ordering::SeqCst) == 0).then_some(())
        });
    }

    /// Waits until that many connections were accepted.
    pub(crate) fn wait_connections(&self, count: usize) {
        eventually("connections at the origin", || {
            (self.connections() >= count).then_some(())
        });
    }

    /// Fails the test when anything has reached this origin.
    pub(crate) fn assert_untouched(&self) {
        assert_eq!(
            self.connections(),
            0,
            "the origin was reached: {:?}",
            self.requests()
        );
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the accept loop; a failure means that it is gone already.
        let _woken = TcpStream::connect(self.address);
    }
}

fn serve(mut wire: Wire, seen: &Seen, answer: &impl Fn(&Request) -> Vec<u8>) -> io::Result<()> {
    while let Some(request) = wire.request()? {
        let bytes = seen.answer(|| answer(&request));
        seen.keep(request);
        wire.send(bytes)?;
    }
    Ok(())
}
