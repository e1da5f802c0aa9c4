//! The pace of a request body whose answer has begun already.
//!
//! Pingora does not read from the upstream while it writes to it. An origin that answers while it reads stops reading when
//! its answer is not taken. Then both wait. So the body is passed on in small parts, and each part waits until the answer
//! so far is passed on. A body whose answer begins after its end, as is usual, has its full speed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::stream::ClientStream;

/// The most of a body that is taken at once. Pingora has room for four such parts in front of the one it writes;
/// together they are less than the smallest buffers of a connection.
pub(super) const PART: usize = 16 * 1024;

/// How much is taken before the answer is looked at.
const BURST: usize = 4 * PART;

/// The answer is passed on when none of it has come for so long.
const QUIET: Duration = Duration::from_millis(1);

/// An answer that never pauses does not need the body; the body goes on nevertheless, after so long.
const PATIENCE: Duration = Duration::from_millis(250);

/// How far the answer to the request of one connection is.
#[derive(Debug, Default)]
pub struct Answer {
    has_begun: AtomicBool,
    /// Parts of it that were passed on.
    parts: AtomicU64,
}

impl Answer {
    /// From now on the body of the request is paced.
    pub fn begin(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
    }

    /// Notes that a part of it is passed on, maybe the last one.
    pub fn on_part(&self, is_last: bool) {
        self.parts.fetch_add(1, Ordering::Relaxed);
        if is_last {
            self.forget();
        }
    }

    /// From now on a body has its full speed.
    pub(super) fn forget(&self) {
        self.has_begun.store(false, Ordering::Relaxed);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }
}

/// How far the body is.
#[derive(Debug, Default)]
pub(super) struct BodyPace {
    /// Taken since the answer was looked at last.
    taken: usize,
    wait: Option<Wait>,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    parts: u64,
    quiet_at: Instant,
    longest: Instant,
}

impl BodyPace {
    /// Ready when the next part of the body may be taken.
    pub(super) fn poll_next(
        &mut self,
        answer: &Answer,
        stream: &mut ClientStream,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if self.taken < BURST {
            return Poll::Ready(());
        }
        let parts = answer.parts.load(Ordering::Relaxed);
        let wait = match self.wait {
            Some(wait) if wait.parts == parts => wait,
            last => {
                let now = Instant::now();
                Wait {
                    parts,
                    quiet_at: now + QUIET,
                    longest: last.map_or(now + PATIENCE, |last| last.longest),
                }
            }
        };
        self.wait = Some(wait);
        ready!(stream.poll_deadline(cx, wait.quiet_at.min(wait.longest)));
        *self = Self::default();
        Poll::Ready(())
    }

    /// Notes that so many bytes were taken.
    pub(super) fn on_taken(&mut self, bytes: usize) {
        self.taken += bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::client::lent::RequestStream;
    use crate::client::{Connection, ConnectionReturn, Patience, Transport};
    use crate::http::http1::Framing;

    const BODY: usize = 16 * PART;

    /// A request whose body is here already.
    async fn lend(home: &Arc<ConnectionReturn>) -> (TcpStream, RequestStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (socket, address) = listener.accept().await.unwrap();
        client.write_all(&[b'x'; BODY]).await.unwrap();
        let patience = Patience {
            send: Duration::from_secs(60),
            half_closed: Duration::from_secs(60),
        };
        let transport = Transport::Left(Connection::Left(socket));
        let stream = Box::new(ClientStream::new(transport, address, patience));
        (client, home.lend(stream, Framing::Length(BODY as u64)))
    }

    /// Takes so much; how long that took.
    async fn take(lent: &mut RequestStream, mut bytes: usize, most: usize) -> Duration {
        let begun = Instant::now();
        let mut space = vec![0; 64 * 1024];
        while bytes > 0 {
            let room = bytes.min(space.len());
            let taken = lent.read(&mut space[..room]).await.unwrap();
            assert!((1..=most).contains(&taken), "{taken}");
            bytes -= taken;
        }
        begun.elapsed()
    }

    #[tokio::test]
    async fn a_body_is_paced_between_the_begin_and_the_end_of_its_answer() {
        let home = Arc::new(ConnectionReturn::default());
        let (_client, mut lent) = lend(&home).await;
        take(&mut lent, BURST, 64 * 1024).await;
        home.answer.begin();
        // A burst, then a pause before each further one.
        let took = take(&mut lent, 2 * BURST, PART).await;
        assert!(took >= QUIET, "{took:?}");
        home.answer.on_part(true);
        take(&mut lent, BURST, 64 * 1024).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_waits_for_an_answer_that_flows_but_not_for_ever() {
        let home = Arc::new(ConnectionReturn::default());
        let (_client, mut lent) = lend(&home).await;
        home.answer.begin();
        take(&mut lent, BURST, PART).await;
        let flowing = async {
            loop {
                home.answer.on_part(false);
                tokio::time::advance(QUIET / 2).await;
            }
        };
        // In one task, as Pingora has it: each part wakes the reader as well.
        let took = {
            let taking = take(&mut lent, PART, PART);
            tokio::pin!(taking);
            tokio::pin!(flowing);
            std::future::poll_fn(|cx| {
                assert!(flowing.as_mut().poll(cx).is_pending());
                taking.as_mut().poll(cx)
            })
            .await
        };
        assert!(took >= PATIENCE, "{took:?}");
    }
}
