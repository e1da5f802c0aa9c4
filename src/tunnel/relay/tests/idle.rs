//! Time: the idle time-out, its timer, the meter, and its pauses. The clock is paused and
//! moves on when nothing else can.

use std::future::{Future, pending, poll_fn};
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep, timeout as time_out};

use super::recorder::{Answer, Recorder};
use super::support::{Memory, NEVER};
use crate::tunnel::meter::METER_BYTES;
use crate::tunnel::relay::MAX_PAUSE;
use crate::tunnel::{Ended, Meter, Traffic, relay};

const TIMEOUT: Duration = Duration::from_secs(60);

/// What a timer may be late by.
const TICK: Duration = Duration::from_millis(2);

fn assert_near(elapsed: Duration, expected: Duration) {
    assert!(
        elapsed >= expected && elapsed <= expected + TICK,
        "after {elapsed:?}, not {expected:?}"
    );
}

/// Runs a tunnel of `timeout` while `peers` act; how it ended, after how long.
async fn run<F: Future<Output = ()>>(
    timeout: Duration,
    peers: impl FnOnce(DuplexStream, DuplexStream) -> F,
) -> (Ended, Traffic, Duration) {
    let (near_client, client) = Memory::new(1024);
    let (near_upstream, upstream) = Memory::new(1024);
    let meter = Recorder::default();
    let start = Instant::now();
    let relay = async {
        let (ended, traffic) = relay(
            near_client,
            near_upstream,
            b"",
            timeout,
            &meter,
            pending::<()>(),
        )
        .await;
        (ended, traffic, start.elapsed())
    };
    let both = async { tokio::join!(relay, peers(client, upstream)) };
    let (result, ()) = time_out(1000 * NEVER, both).await.unwrap();
    result
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_without_traffic_ends_at_the_time_out() {
    let (ended, traffic, elapsed) = run(TIMEOUT, |client, upstream| async move {
        sleep(2 * TIMEOUT).await;
        drop((client, upstream));
    })
    .await;
    assert_eq!(ended, Ended::Idle);
    assert_eq!(traffic, Traffic::default());
    assert_near(elapsed, TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn activity_in_either_direction_postpones_the_end() {
    for pattern in [[true; 4], [false; 4], [true, false, true, false]] {
        let (ended, _, elapsed) = run(TIMEOUT, |mut client, mut upstream| async move {
            let mut byte = [0];
            for from_client in pattern {
                sleep(TIMEOUT - Duration::from_secs(1)).await;
                if from_client {
                    client.write_all(b"x").await.unwrap();
                    upstream.read_exact(&mut byte).await.unwrap();
                } else {
                    upstream.write_all(b"x").await.unwrap();
                    client.read_exact(&mut byte).await.unwrap();
                }
            }
            sleep(2 * TIMEOUT).await;
        })
        .await;
        assert_eq!(ended, Ended::Idle, "{pattern:?}");
        let active = 4 * (TIMEOUT - Duration::from_secs(1));
        assert!(elapsed >= active + TIMEOUT, "{pattern:?}: {elapsed:?}");
        assert!(
            elapsed <= active + TIMEOUT + 5 * TICK,
            "{pattern:?}: {elapsed:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_tunnel_ends_at_the_time_out_too() {
    let (ended, _, elapsed) = run(TIMEOUT, |mut client, upstream| async move {
        client.shutdown().await.unwrap();
        sleep(2 * TIMEOUT).await;
        drop((client, upstream));
    })
    .await;
    assert_eq!(ended, Ended::Idle);
    assert_near(elapsed, TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_not_activity() {
    let (ended, traffic, elapsed) = run(TIMEOUT, |mut client, upstream| async move {
        client.write_all(&[7; 2048]).await.unwrap();
        sleep(2 * TIMEOUT).await;
        drop((client, upstream));
    })
    .await;
    assert_eq!(ended, Ended::Idle);
    assert_eq!(traffic.bytes_from_client, 1024);
    assert_near(elapsed, TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn time_outs_of_zero_and_of_any_length_work() {
    let nobody = |client, upstream| async move {
        sleep(2 * TIMEOUT).await;
        drop((client, upstream));
    };
    let (ended, _, elapsed) = run(Duration::ZERO, nobody).await;
    assert_eq!(ended, Ended::Idle);
    assert_near(elapsed, Duration::ZERO);
    let (ended, _, _) = run(Duration::MAX, |mut client, mut upstream| async move {
        sleep(2 * NEVER).await;
        client.shutdown().await.unwrap();
        upstream.shutdown().await.unwrap();
    })
    .await;
    assert_eq!(ended, Ended::Complete);
}

#[tokio::test(start_paused = true)]
async fn the_timer_rarely_wakes_a_tunnel() {
    for half_closed in [false, true] {
        let (near_client, mut client) = Memory::new(1024);
        let (near_upstream, _upstream) = Memory::new(1024);
        if half_closed {
            client.shutdown().await.unwrap();
        }
        let meter = Recorder::default();
        let mut relay = pin!(relay(
            near_client,
            near_upstream,
            b"",
            TIMEOUT,
            &meter,
            pending::<()>(),
        ));
        let mut polls = 0;
        let (ended, _) = poll_fn(|cx| {
            polls += 1;
            relay.as_mut().poll(cx)
        })
        .await;
        assert_eq!(ended, Ended::Idle);
        // Idle, the time-out alone wakes it; half-closed, the reset check too.
        let limit = if half_closed { 60 * 4 } else { 4 };
        assert!(polls <= limit, "{polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn the_meter_is_called_each_second_and_after_bulk() {
    let (near_client, mut client) = Memory::new(1 << 20);
    let (near_upstream, mut upstream) = Memory::new(1 << 20);
    let meter = Recorder::default();
    let mut buf = vec![0; 1 << 20];
    let told = |from_client, from_upstream| Traffic {
        bytes_from_client: from_client,
        bytes_from_upstream: from_upstream,
    };
    let peers = async {
        client.write_all(&[1; 10]).await.unwrap();
        upstream.read_exact(&mut buf[..10]).await.unwrap();
        assert_eq!(meter.reports(), [], "too little, too early");
        sleep(Duration::from_millis(1001)).await;
        upstream.write_all(&[1; 5]).await.unwrap();
        client.read_exact(&mut buf[..5]).await.unwrap();
        assert_eq!(meter.reports(), [told(10, 5)]);
        upstream.write_all(&[1; 7]).await.unwrap();
        client.read_exact(&mut buf[..7]).await.unwrap();
        assert_eq!(meter.reports().len(), 1, "too early again");
        client.write_all(&[1; 300_000]).await.unwrap();
        upstream.read_exact(&mut buf[..300_000]).await.unwrap();
        assert_eq!(meter.reports().len(), 2, "enough at once");
        client.write_all(&[1; 3]).await.unwrap();
        upstream.read_exact(&mut buf[..3]).await.unwrap();
        client.shutdown().await.unwrap();
        upstream.shutdown().await.unwrap();
    };
    let never = pending::<()>();
    let relay = relay(near_client, near_upstream, b"", TIMEOUT, &meter, never);
    let both = async { tokio::join!(relay, peers) };
    let ((ended, traffic), ()) = time_out(1000 * NEVER, both).await.unwrap();
    assert_eq!(ended, Ended::Complete);
    assert_eq!(traffic, told(300_013, 12));
    assert_eq!(meter.reports(), [told(10, 5), told(300_000, 7)]);
}

const BULK: usize = METER_BYTES as usize;

#[tokio::test(start_paused = true)]
async fn the_time_out_counts_from_the_end_of_a_pause_which_is_limited() {
    for (asked, expected) in [
        (Duration::from_secs(30), Duration::from_secs(30)),
        (3 * MAX_PAUSE / 4, 3 * MAX_PAUSE / 4),
        (Duration::from_nanos(1), Duration::ZERO),
        (Duration::MAX, MAX_PAUSE),
    ] {
        let (near_client, mut client) = Memory::new(BULK);
        let (near_upstream, _upstream) = Memory::new(BULK);
        let meter = Recorder::new(u64::MAX, move |_| Answer::Continue(asked));
        client.write_all(&[7; BULK]).await.unwrap();
        let start = Instant::now();
        let timeout = Duration::from_secs(5);
        let never = pending::<()>();
        let relay = relay(near_client, near_upstream, b"", timeout, &meter, never);
        let (ended, _) = time_out(NEVER, relay).await.unwrap();
        assert_eq!(ended, Ended::Idle, "{asked:?}");
        let elapsed = start.elapsed();
        assert!(elapsed >= expected + timeout, "{asked:?}: {elapsed:?}");
        assert!(
            elapsed <= expected + timeout + 2 * TICK,
            "{asked:?}: {elapsed:?}"
        );
        assert_eq!(meter.reports().len(), 1, "{asked:?}");
    }
}

/// The bytes that the relay holds are delivered and reported in the pause.
#[tokio::test(start_paused = true)]
async fn activity_in_a_pause_does_not_shorten_it() {
    let (near_client, mut client) = Memory::new(1024);
    let (near_upstream, mut upstream) = Memory::new(1024);
    let pauses = Mutex::new(vec![TIMEOUT / 2]);
    let meter = Recorder::new(1000, move |_| {
        Answer::Continue(pauses.lock().unwrap().pop().unwrap_or_default())
    });
    let start = Instant::now();
    let peers = async {
        client.write_all(b"x").await.unwrap();
        sleep(TIMEOUT / 4).await;
        let mut got = [0; 3000];
        upstream.read_exact(&mut got).await.unwrap();
        assert_near(start.elapsed(), TIMEOUT / 4);
        upstream.read_exact(&mut got[..1]).await.unwrap();
        assert_near(start.elapsed(), TIMEOUT / 2);
        client.shutdown().await.unwrap();
        upstream.shutdown().await.unwrap();
    };
    let never = pending::<()>();
    let early = [7; 3000];
    let relay = relay(near_client, near_upstream, early, TIMEOUT, &meter, never);
    let both = async { tokio::join!(relay, peers) };
    let ((ended, _), ()) = time_out(NEVER, both).await.unwrap();
    assert_eq!(ended, Ended::Complete);
    assert!(meter.reports().len() > 1);
}

#[tokio::test(start_paused = true)]
async fn a_pause_rarely_wakes_a_tunnel() {
    let (near_client, mut client) = Memory::new(2 * BULK);
    let (near_upstream, mut upstream) = Memory::new(2 * BULK);
    client.write_all(&[7; 2 * BULK]).await.unwrap();
    upstream.write_all(&[7; 2 * BULK]).await.unwrap();
    let meter = Recorder::new(1000, |_| Answer::Continue(Duration::MAX));
    let stop = pin!(sleep(MAX_PAUSE - Duration::from_secs(1)));
    let mut relay = pin!(relay(
        near_client,
        near_upstream,
        b"",
        TIMEOUT,
        &meter,
        stop
    ));
    let mut polls = 0;
    let (ended, traffic) = poll_fn(|cx| {
        polls += 1;
        relay.as_mut().poll(cx)
    })
    .await;
    assert_eq!(ended, Ended::Drained);
    assert_eq!(
        (traffic.bytes_from_client, traffic.bytes_from_upstream),
        (1000, 1000)
    );
    // The reset check alone wakes it.
    assert!(polls <= 60 * 4, "{polls} polls");
}

/// A meter of which other tunnels take the bytes away, too.
struct Shrinking {
    report_after: AtomicU64,
    reported: AtomicU64,
}

impl Meter for Shrinking {
    fn moved(&self, traffic: Traffic) -> ControlFlow<&'static str> {
        self.reported
            .fetch_add(traffic.bytes_from_client, Ordering::Relaxed);
        ControlFlow::Continue(())
    }

    fn report_after(&self) -> u64 {
        self.report_after.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_meter_that_reduces_its_number_does_not_hang_the_tunnel() {
    for report_after in [0, 1, 100] {
        let (near_client, mut client) = Memory::new(BULK);
        let (near_upstream, mut upstream) = Memory::new(BULK);
        let meter = Shrinking {
            report_after: AtomicU64::new(1000),
            reported: AtomicU64::new(0),
        };
        let peers = async {
            let mut got = [0; 900];
            client.write_all(&got).await.unwrap();
            upstream.read_exact(&mut got).await.unwrap();
            assert_eq!(meter.reported.load(Ordering::Relaxed), 0);
            meter.report_after.store(report_after, Ordering::Relaxed);
            client.write_all(&got).await.unwrap();
            upstream.read_exact(&mut got).await.unwrap();
            client.shutdown().await.unwrap();
            upstream.shutdown().await.unwrap();
        };
        let never = pending::<()>();
        let relay = relay(near_client, near_upstream, b"", TIMEOUT, &meter, never);
        let both = async { tokio::join!(relay, peers) };
        let ((ended, traffic), ()) = time_out(NEVER, both).await.unwrap();
        assert_eq!(ended, Ended::Complete, "{report_after}");
        assert_eq!(traffic.bytes_from_client, 1800);
        // The result alone has the rest.
        let reported = meter.reported.load(Ordering::Relaxed);
        assert!(reported + report_after.max(1) > 1800, "{reported}");
    }
}
