//! Resets by a peer: seen in every state, passed on as such, and not so early
//! that they destroy what came before.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::support::{
    Mode, SOON, Tunnel, assert_reset, in_every_mode, outcome, payload, reset, rest_of, stuff,
    within,
};
use crate::tunnel::Ended;

/// More than all buffers of a tunnel hold.
const BULK: usize = 40_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaker {
    Client,
    Upstream,
}

/// What a tunnel does when one of its peers breaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing.
    Idle,
    /// The other does not read what the breaker sends.
    SinkBlocked,
    /// The breaker does not read what the other sends.
    SourceBlocked,
    BothBlocked,
    /// The breaker has ended its side.
    HalfClosed,
    /// ... and the other does not read what came before.
    HalfClosedSinkBlocked,
    /// ... and does not read what the other sends.
    HalfClosedSourceBlocked,
    /// The other has ended its side.
    OtherHalfClosed,
}

const STATES: [State; 8] = [
    State::Idle,
    State::SinkBlocked,
    State::SourceBlocked,
    State::BothBlocked,
    State::HalfClosed,
    State::HalfClosedSinkBlocked,
    State::HalfClosedSourceBlocked,
    State::OtherHalfClosed,
];

async fn breaks(mode: Mode, breaker: Breaker, state: State) {
    let what = format!("{mode:?}: {breaker:?} breaks: {state:?}");
    let mut tunnel = Tunnel::open(mode);
    let bulk = vec![7; BULK];
    tunnel.idle().await;
    {
        let (breaking, other) = match breaker {
            Breaker::Client => (&mut tunnel.client, &mut tunnel.upstream),
            Breaker::Upstream => (&mut tunnel.upstream, &mut tunnel.client),
        };
        let stuffs_sink = matches!(
            state,
            State::SinkBlocked | State::BothBlocked | State::HalfClosedSinkBlocked
        );
        let stuffs_source = matches!(
            state,
            State::SourceBlocked | State::BothBlocked | State::HalfClosedSourceBlocked
        );
        if stuffs_sink {
            assert!(stuff(breaking, &bulk).await < BULK, "{what}");
        }
        if stuffs_source {
            assert!(stuff(other, &bulk).await < BULK, "{what}");
        }
        match state {
            State::HalfClosed | State::HalfClosedSourceBlocked | State::HalfClosedSinkBlocked => {
                breaking.shutdown().await.unwrap();
            }
            State::OtherHalfClosed => other.shutdown().await.unwrap(),
            _ => {}
        }
    }
    tunnel.settled().await;
    let start = Instant::now();
    let (breaking, other) = match breaker {
        Breaker::Client => (tunnel.client, tunnel.upstream),
        Breaker::Upstream => (tunnel.upstream, tunnel.client),
    };
    reset(breaking);
    assert_reset(&what, &other).await;
    let elapsed = start.elapsed();
    assert!(elapsed < SOON, "{what}: {elapsed:?}");
    let ended = match breaker {
        Breaker::Client => Ended::ClientReset,
        Breaker::Upstream => Ended::UpstreamReset,
    };
    assert_eq!(outcome(tunnel.relay).await.0, ended, "{what}");
}

async fn breaks_in_every_state(mode: Mode, breaker: Breaker) {
    let mut runs = JoinSet::new();
    for state in STATES {
        runs.spawn(breaks(mode, breaker, state));
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap();
    }
}

async fn a_reset_by_the_client_is_passed_on_in_every_state(mode: Mode) {
    breaks_in_every_state(mode, Breaker::Client).await;
}

async fn a_reset_by_the_upstream_is_passed_on_in_every_state(mode: Mode) {
    breaks_in_every_state(mode, Breaker::Upstream).await;
}

/// A tunnel that has carried `rounds` bytes each way, one at a time: each wakes
/// the relay, so that it is one or the other direction's turn to be first.
async fn warm(mode: Mode, rounds: usize) -> Tunnel {
    let mut tunnel = Tunnel::open(mode);
    let mut byte = [0];
    for _ in 0..rounds {
        tunnel.client.write_all(b"?").await.unwrap();
        within("a byte", tunnel.upstream.read_exact(&mut byte))
            .await
            .unwrap();
    }
    tunnel.idle().await;
    tunnel
}

/// Runs `case` on tunnels where it is the one and where it is the other
/// direction's turn, all at once.
async fn in_turns<F>(mode: Mode, case: impl Fn(Tunnel) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut runs = JoinSet::new();
    for rounds in 0..4 {
        runs.spawn(case(warm(mode, rounds).await));
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap();
    }
}

/// A failed write takes the error from the socket, which reads as ended then.
async fn a_reset_found_by_writing_is_not_an_end(mode: Mode) {
    in_turns(mode, |mut tunnel| async move {
        // Nothing is awaited between the two: the relay wakes to both.
        tunnel.client.try_write(b"x").unwrap();
        reset(tunnel.upstream);
        assert_eq!(outcome(tunnel.relay).await.0, Ended::UpstreamReset);
        let (got, end) = rest_of(&mut tunnel.client).await;
        assert!(got.is_empty());
        end.expect_err("an end, although the upstream broke");
    })
    .await;
    in_turns(mode, |mut tunnel| async move {
        tunnel.upstream.try_write(b"x").unwrap();
        reset(tunnel.client);
        assert_eq!(outcome(tunnel.relay).await.0, Ended::ClientReset);
        let (got, end) = rest_of(&mut tunnel.upstream).await;
        assert!(got.is_empty());
        end.expect_err("an end, although the client broke");
    })
    .await;
}

/// A server that refuses an upload answers, closes, and by that resets.
async fn an_answer_sent_before_the_reset_arrives(mode: Mode) {
    in_turns(mode, |mut tunnel| async move {
        let answer = payload(1, 300_000);
        let len = answer.len() as u64;
        assert_eq!(stuff(&tunnel.upstream, &answer).await, answer.len());
        let carried = tunnel.at_client.wait_for(|seen| seen.bytes_written == len);
        within("the answer to be on its way", carried)
            .await
            .unwrap();
        tunnel.client.try_write(b"upload").unwrap();
        reset(tunnel.upstream);
        let failed = tunnel.at_upstream.wait_for(|seen| seen.failed);
        within("the relay to see the reset", failed).await.unwrap();
        // Most of it is in the sockets still: now nothing may overtake it.
        let (got, end) = rest_of(&mut tunnel.client).await;
        end.expect_err("an end, although the upstream broke");
        assert!(got == answer, "{} of {len} bytes", got.len());
        let (ended, traffic) = outcome(tunnel.relay).await;
        assert_eq!(ended, Ended::UpstreamReset);
        assert_eq!(traffic.bytes_from_upstream, len);
    })
    .await;
}

/// Nothing is awaited before the reset: the answer and the reset are both there
/// when the relay looks, and its own write is what fails.
async fn an_answer_that_is_found_with_the_reset_arrives(mode: Mode) {
    in_turns(mode, |mut tunnel| async move {
        tunnel.upstream.try_write(b"too large").unwrap();
        tunnel.client.try_write(b"upload").unwrap();
        reset(tunnel.upstream);
        let (got, end) = rest_of(&mut tunnel.client).await;
        end.expect_err("an end, although the upstream broke");
        assert_eq!(got, b"too large");
        assert_eq!(outcome(tunnel.relay).await.0, Ended::UpstreamReset);
    })
    .await;
}

/// The upstream has ended in order and is closed; further bytes of the client
/// cause a reset, which must not discard the answer.
async fn a_reset_after_the_end_does_not_overtake_what_came_before(mode: Mode) {
    let answer = payload(2, 1_000_000);
    let mut tunnel = Tunnel::open(mode);
    let sent = stuff(&tunnel.upstream, &answer).await;
    assert_eq!(sent, answer.len());
    tunnel.upstream.shutdown().await.unwrap();
    within(
        "the end to be passed on",
        tunnel.at_client.wait_for(|seen| seen.shut_down),
    )
    .await
    .unwrap();
    drop(tunnel.upstream);
    let failing = async {
        while !tunnel.at_upstream.borrow().failed {
            tunnel.client.write_all(b"thanks").await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    within("the relay to see the reset", failing).await;
    let mut got = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    while got.len() < answer.len() {
        let len = within("the answer", tunnel.client.read(&mut chunk))
            .await
            .unwrap();
        assert!(len > 0, "cut after {} bytes", got.len());
        got.extend_from_slice(&chunk[..len]);
    }
    assert!(got == answer);
    assert_eq!(
        within("the rest", tunnel.client.read(&mut chunk))
            .await
            .unwrap(),
        0
    );
    assert_eq!(outcome(tunnel.relay).await.0, Ended::UpstreamReset);
}

/// The remaining bytes are passed on for a limited time.
async fn a_stalled_reader_does_not_delay_the_reset(mode: Mode) {
    let mut tunnel = Tunnel::open(mode);
    let bulk = vec![7; BULK];
    let sent = stuff(&tunnel.upstream, &bulk).await;
    assert!(sent < BULK);
    tunnel.settled().await;
    let start = Instant::now();
    tunnel.client.write_all(b"x").await.unwrap();
    reset(tunnel.upstream);
    assert_eq!(outcome(tunnel.relay).await.0, Ended::UpstreamReset);
    assert!(start.elapsed() < SOON);
    assert_reset("the client", &tunnel.client).await;
}

in_every_mode! {
    a_reset_by_the_client_is_passed_on_in_every_state,
    a_reset_by_the_upstream_is_passed_on_in_every_state,
    a_reset_found_by_writing_is_not_an_end,
    an_answer_sent_before_the_reset_arrives,
    an_answer_that_is_found_with_the_reset_arrives,
    a_reset_after_the_end_does_not_overtake_what_came_before,
    a_stalled_reader_does_not_delay_the_reset,
}
