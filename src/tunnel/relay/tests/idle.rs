//! Time: the idle time-out, its timer, and the meter. The clock is paused and
//! moves on when nothing else can.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep, timeout as time_out};

use super::support::{Memory, NEVER, Recorder};
use crate::tunnel::{Ended, Traffic, relay};

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
