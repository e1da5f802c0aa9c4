//! The time that an upstream may be silent, kept by the watch over the client.
//!
//! Whenever Pingora waits for the response to a request without a body it also reads from the client, to learn
//! that it left. So one timer for each connection is enough; a timer of Pingora's own for each read from the
//! upstream costs many times as much.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::stream::ClientStream;

/// What is given to an upstream that has been silent for too long before it is given up: bytes that came while
/// the process was held up are found in that time.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// Whether the upstream of one connection is silent for too long.
#[derive(Debug, Default)]
pub struct ResponseWatch {
    /// How long it may be silent, in milliseconds; 0 while that does not count.
    timeout: AtomicU64,
    /// Whether it has sent something since that was asked last.
    is_active: AtomicBool,
    timed_out: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    /// When it will be too long.
    until: Instant,
    /// Whether it was too long already, and this is the second look.
    is_second_look: bool,
}

impl ResponseWatch {
    /// Forgets an earlier request.
    pub(super) fn reset(&self) {
        self.timed_out.store(false, Ordering::Relaxed);
        self.stop();
    }

    /// From now on the upstream may be silent for `response_timeout`. After that the read from the client fails.
    pub fn start(&self, response_timeout: Duration) {
        let millis = u64::try_from(response_timeout.as_millis()).unwrap_or(u64::MAX);
        self.timeout.store(millis.max(1), Ordering::Relaxed);
        self.on_upstream_activity();
    }

    pub fn on_upstream_activity(&self) {
        self.is_active.store(true, Ordering::Relaxed);
    }

    /// From now on its silence does not count.
    pub fn stop(&self) {
        self.timeout.store(0, Ordering::Relaxed);
    }

    pub fn timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Relaxed)
    }

    /// Ready, once, when the upstream has been silent for too long.
    pub(super) fn poll_silence(
        &self,
        silence: &mut Option<Silence>,
        stream: &mut ClientStream,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let timeout = self.timeout.load(Ordering::Relaxed);
        if timeout == 0 {
            return Poll::Pending;
        }
        let current = match *silence {
            Some(silence) if !self.is_active.load(Ordering::Relaxed) => silence,
            _ => Silence {
                until: Instant::now() + Duration::from_millis(timeout),
                is_second_look: false,
            },
        };
        self.is_active.store(false, Ordering::Relaxed);
        let silence = silence.insert(current);
        ready!(stream.poll_deadline(cx, silence.until));
        if !silence.is_second_look {
            silence.is_second_look = true;
            silence.until = Instant::now() + SECOND_LOOK;
            ready!(stream.poll_deadline(cx, silence.until));
        }
        self.stop();
        self.timed_out.store(true, Ordering::Relaxed);
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::client::lent::RequestStream;
    use crate::client::{Connection, ConnectionReturn, Patience, Transport};
    use crate::http::http1::Framing;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Watches the client until that fails, at most for an hour; how long that took.
    async fn watch(lent: &mut RequestStream) -> Option<Duration> {
        let start = Instant::now();
        let hour = Duration::from_secs(3600);
        let read = timeout(hour, lent.read(&mut [0; 1])).await.ok()?;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
        Some(start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_that_counts_ends_the_watch_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _client = TcpStream::connect(address).await.unwrap();
        let (socket, client) = listener.accept().await.unwrap();
        let patience = Patience {
            send: PATIENCE,
            half_closed: PATIENCE,
        };
        let stream = ClientStream::new(Transport::Left(Connection::Left(socket)), client, patience);
        let home = Arc::new(ConnectionReturn::default());
        let mut lent = home.lend(Box::new(stream), Framing::None);
        assert_eq!(watch(&mut lent).await, None);

        let (least, most) = (PATIENCE + SECOND_LOOK, PATIENCE + 2 * SECOND_LOOK);
        for _ in 0..2 {
            home.response.start(PATIENCE);
            let took = watch(&mut lent).await.unwrap();
            assert!((least..most).contains(&took), "{took:?}");
            assert!(home.response.timed_out());
            assert_eq!(watch(&mut lent).await, None);
        }

        home.response.start(PATIENCE);
        home.response.stop();
        assert_eq!(watch(&mut lent).await, None);

        // Heard of before it is too long, and when it was but is looked at again.
        for heard_after in [PATIENCE / 2, PATIENCE + SECOND_LOOK / 2] {
            home.response.start(PATIENCE);
            let start = Instant::now();
            tokio::select! {
                took = watch(&mut lent) => panic!("late after {took:?}"),
                () = sleep(heard_after) => home.response.on_upstream_activity(),
            }
            watch(&mut lent).await.unwrap();
            let took = start.elapsed() - heard_after;
            assert!((least..most).contains(&took), "{took:?}");
        }

        drop(lent);
        let stream = home.reclaim().unwrap();
        home.response.start(PATIENCE);
        let mut lent = home.lend(stream, Framing::None);
        assert!(!home.response.timed_out());
        assert_eq!(watch(&mut lent).await, None);
    }
}
