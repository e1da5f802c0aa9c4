//! An open-loop load: requests at a fixed rate, whether the answers come or not.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use super::client::Wire;

/// Connections that are kept; each has a turn every `CONNECTIONS / rate` seconds.
const CONNECTIONS: usize = 32;

/// One answer.
pub(crate) struct Answered {
    /// The number of the request.
    pub(crate) turn: usize,
    pub(crate) status: u16,
    /// From when the request was due, not from when a busy connection sent it, to the whole answer.
    pub(crate) took: Duration,
}

/// Sends the requests of these turns to `address`, `rate` in a second, and returns the answers in the order of their turns, when
/// the last has come. A connection that an answer closes is opened again.
pub(crate) fn run(
    address: SocketAddr,
    rate: u32,
    turns: Range<usize>,
    request: impl Fn(usize) -> String + Sync,
) -> Vec<Answered> {
    let answers = Mutex::new(Vec::with_capacity(turns.len()));
    let wires: Vec<Wire> = (0..CONNECTIONS)
        .map(|_| Wire::connect(address).unwrap())
        .collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (first, mut wire) in wires.into_iter().enumerate() {
            let (answers, request, turns) = (&answers, &request, turns.clone());
            scope.spawn(move || {
                let mut own = Vec::with_capacity(turns.len() / CONNECTIONS + 1);
                let begin = turns.start;
                for turn in turns.skip(first).step_by(CONNECTIONS) {
                    let text = request(turn);
                    let due = start + Duration::from_secs((turn - begin) as u64) / rate;
                    await_time(due);
                    let answer = wire.exchange(text);
                    let took = due.elapsed();
                    if answer.head.fields.lists("connection", "close") {
                        wire = Wire::connect(address).unwrap();
                    }
                    own.push(Answered {
                        turn,
                        status: answer.status(),
                        took,
                    });
                }
                answers.lock().unwrap().append(&mut own);
            });
        }
    });
    let mut answers = answers.into_inner().unwrap();
    answers.sort_by_key(|answer| answer.turn);
    answers
}

/// Does something while requests come, `rate` in a second, as [`run`] sends them. The answers to them.
pub(crate) fn run_beside(
    address: SocketAddr,
    rate: u32,
    request: impl Fn(usize) -> String + Sync,
    act: impl FnOnce(),
) -> Vec<Answered> {
    /// Ends the load when the act has ended, or failed.
    struct Ended<'a>(&'a AtomicBool);

    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut answers = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let turns = answers.len()..answers.len() + rate as usize;
                answers.append(&mut run(address, rate, turns, &request));
            }
            answers
        });
        let ended = Ended(&is_over);
        act();
        drop(ended);
        load.join().unwrap()
    })
}

/// The rate is the load itself: no event ends this wait.
fn await_time(due: Instant) {
    let (_held, never) = mpsc::channel::<()>();
    let _timed_out = never.recv_timeout(due.saturating_duration_since(Instant::now()));
}

/// The time that `share` of the answers took at most.
pub(crate) fn quantile(times: &[Duration], share: f64) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    let rank = (times.len() as f64 * share).ceil() as usize;
    times[rank.clamp(1, times.len()) - 1]
}
