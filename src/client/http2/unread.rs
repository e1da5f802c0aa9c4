//! Answers that are over for their streams, and of which the peer has not taken all.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h2::{Reason, SendStream};
use parking_lot::Mutex;
use tokio::time::Instant;

/// How many bytes of one stream wait with `h2` for the peer to take them.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    pub(super) fn is_none(&self) -> bool {
        self.count() == 0
    }

    /// A piece of the stream's answer, which counts until it is on the wire or dropped.
    pub(super) fn piece(&self, bytes: Bytes) -> Piece {
        self.0.fetch_add(bytes.len(), Ordering::Relaxed);
        Piece {
            bytes,
            waiting: self.clone(),
        }
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn subtract(&self, count: usize) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }
}

/// Bytes of an answer on their way to the peer.
#[derive(Debug)]
pub struct Piece {
    bytes: Bytes,
    waiting: Waiting,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.waiting.subtract(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.waiting.subtract(self.bytes.len());
    }
}

/// The answers of one connection that are over and wait for the peer.
#[derive(Default)]
pub struct UnreadAnswers(Mutex<Answers>);

#[derive(Default)]
struct Answers {
    waiting: Vec<UnreadAnswer>,
    /// At so many, those that the peer has taken meanwhile are removed.
    most: usize,
}

/// At fewer, those that the peer has taken are not looked for.
const LEAST: usize = 8;

struct UnreadAnswer {
    stream: SendStream<Piece>,
    waiting: Waiting,
    /// How much waited when that was looked at last.
    count: usize,
    /// Since when it is so much.
    since: Instant,
}

impl UnreadAnswers {
    /// Adds the answer of a stream that is over.
    pub(super) fn add(&self, stream: SendStream<Piece>, waiting: Waiting) {
        let answer = UnreadAnswer {
            stream,
            count: waiting.count(),
            waiting,
            since: Instant::now(),
        };
        let mut answers = self.0.lock();
        if answers.waiting.len() >= answers.most {
            answers.waiting.retain(|answer| !answer.waiting.is_none());
            answers.most = LEAST.max(2 * answers.waiting.len());
        }
        answers.waiting.push(answer);
    }

    /// Ends the streams of which the peer has taken nothing for `patience`, and says whether some are left.
    pub fn end_stalled(&self, patience: Duration) -> bool {
        let mut answers = self.0.lock();
        answers
            .waiting
            .retain_mut(|answer| !answer.ends(Instant::now(), patience));
        !answers.waiting.is_empty()
    }
}

impl fmt::Debug for UnreadAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnreadAnswers").finish_non_exhaustive()
    }
}

impl UnreadAnswer {
    /// Whether there is nothing left to wait for.
    fn ends(&mut self, now: Instant, patience: Duration) -> bool {
        let count = self.waiting.count();
        if count == 0 {
            return true;
        }
        if count != self.count {
            self.count = count;
            self.since = now;
        }
        let is_stalled = now.duration_since(self.since) >= patience;
        if is_stalled {
            self.stream.send_reset(Reason::CANCEL);
        }
        is_stalled
    }
}
