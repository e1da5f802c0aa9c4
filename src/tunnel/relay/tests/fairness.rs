//! A busy tunnel leaves time to its other direction, to other tasks, and to the
//! order to stop.

use std::future::{Future, pending};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::{coop, yield_now};

use super::recorder::Recorder;
use super::support::{NEVER, pair};
use crate::tunnel::{Ended, Socket, relay};

/// A stream that always has more and always takes more.
struct Endless {
    socket: TcpStream,
    _far: TcpStream,
    taken: Arc<AtomicU64>,
    /// What a read takes of its task's budget, which is 128.
    cost: usize,
    /// Takes nothing after all.
    full: bool,
}

impl Endless {
    fn new(cost: usize) -> (Self, Arc<AtomicU64>) {
        let (socket, _far) = pair();
        let taken = Arc::new(AtomicU64::new(0));
        let stream = Self {
            socket,
            _far,
            taken: Arc::clone(&taken),
            cost,
            full: false,
        };
        (stream, taken)
    }
}

impl Socket for Endless {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(&self.socket)
    }
}

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        for _ in 0..self.cost {
            ready!(coop::poll_proceed(cx)).made_progress();
        }
        buf.advance(buf.remaining());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.full {
            return Poll::Ready(Ok(0));
        }
        self.taken.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Runs `future` on a thread of its own: a relay that never yields hangs that
/// thread, and not the test.
fn on_a_thread<F>(what: &str, future: impl FnOnce() -> F + Send + 'static) -> Ended
where
    F: Future<Output = Ended>,
{
    let (report, reported) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        report.send(runtime.block_on(future())).unwrap();
    });
    reported.recv_timeout(Duration::from_secs(5)).expect(what)
}

/// An endless tunnel until both directions have moved; then it is cancelled.
fn both_move_and_it_stops(cost: usize) {
    let ended = on_a_thread("both to move, and an end", move || async move {
        let (client, to_client) = Endless::new(cost);
        let (upstream, to_upstream) = Endless::new(cost);
        let (cancel, cancelled) = oneshot::channel();
        let relay = tokio::spawn(async move {
            let meter = Recorder::default();
            let cancelled = pin!(async move { cancelled.await.unwrap() });
            relay(client, upstream, b"", NEVER, &meter, cancelled).await
        });
        for taken in [to_client, to_upstream] {
            while taken.load(Ordering::Relaxed) < 1_000_000 {
                yield_now().await;
            }
        }
        cancel.send(()).unwrap();
        relay.await.unwrap().0
    });
    assert_eq!(ended, Ended::Drained);
}

#[test]
fn streams_that_are_always_ready_do_not_take_the_thread() {
    both_move_and_it_stops(0);
}

#[test]
fn a_direction_that_uses_up_the_budget_does_not_starve_the_other() {
    both_move_and_it_stops(100);
}

#[test]
fn directions_that_use_up_the_budget_do_not_delay_cancellation() {
    both_move_and_it_stops(4);
}

#[test]
fn a_sink_that_takes_nothing_has_failed() {
    let ended = on_a_thread("an end", || async {
        let (client, _) = Endless::new(0);
        let (mut upstream, _) = Endless::new(0);
        upstream.full = true;
        let meter = Recorder::default();
        relay(client, upstream, b"x", NEVER, &meter, pending())
            .await
            .0
    });
    assert_eq!(ended, Ended::UpstreamReset);
}
