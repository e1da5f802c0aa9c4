//! Meters that slow and stop a tunnel.

use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use proptest::prelude::*;
use rustix::io::ioctl_fionread;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::bytes::{Last, play, script, streams};
use super::recorder::{Answer, Recorder};
use super::support::{
    Mode, NEVER, SOON, Tunnel, assert_reset, in_every_mode, outcome, pair, payload, reset, rest_of,
    splicing, stuff, within,
};
use crate::tunnel::buffer::tests::held;
use crate::tunnel::meter::METER_BYTES;
use crate::tunnel::{Ended, Traffic};

const GO_ON: Answer = Answer::Continue(Duration::ZERO);

/// Longer than any test, even when the relay shortens it.
const LONG: Answer = Answer::Continue(Duration::MAX);

fn sum(traffic: Traffic) -> u64 {
    traffic.bytes_from_client + traffic.bytes_from_upstream
}

/// A token bucket that is in debt after a report, and asks for the time until it is not. It holds
/// what it gains in 50 ms: that much makes up for a timer that is late.
fn at_rate(per_second: u32) -> impl Fn(Traffic) -> Answer + Send + Sync {
    let paid_until = Mutex::new(None);
    move |traffic| {
        let now = Instant::now();
        let mut paid_until = paid_until.lock().unwrap();
        let from = paid_until
            .unwrap_or(now)
            .max(now.checked_sub(Duration::from_millis(50)).unwrap());
        let until = from + Duration::from_secs(sum(traffic)) / per_second;
        *paid_until = Some(until);
        Answer::Continue(until.saturating_duration_since(now))
    }
}

/// Answers the first report with `first`, and lets the tunnel go on afterwards.
fn once(first: Answer) -> impl Fn(Traffic) -> Answer + Send + Sync {
    let is_first = AtomicBool::new(true);
    move |_| match is_first.swap(false, Ordering::Relaxed) {
        true => first,
        false => GO_ON,
    }
}

/// A pair whose near socket has received `bytes`, and the end of the stream if it `ends`.
fn sent(bytes: &[u8], ends: bool) -> (TcpStream, TcpStream) {
    let (far, near) = pair();
    let far = far.into_std().unwrap();
    far.set_nonblocking(false).unwrap();
    std::io::Write::write_all(&mut &far, bytes).unwrap();
    let start = std::time::Instant::now();
    while ioctl_fionread(&near).unwrap() < bytes.len() as u64 {
        assert!(start.elapsed() < SOON, "loopback loses bytes");
        std::thread::yield_now();
    }
    if ends {
        far.shutdown(Shutdown::Write).unwrap();
    }
    far.set_nonblocking(true).unwrap();
    (TcpStream::from_std(far).unwrap(), near)
}

fn metered(
    mode: Mode,
    report_after: u64,
    answer: impl Fn(Traffic) -> Answer + Send + Sync + 'static,
) -> Tunnel {
    between([pair(), pair()], mode, report_after, NEVER, answer)
}

fn between(
    pairs: [(TcpStream, TcpStream); 2],
    mode: Mode,
    report_after: u64,
    idle_timeout: Duration,
    answer: impl Fn(Traffic) -> Answer + Send + Sync + 'static,
) -> Tunnel {
    let meter = Recorder::new(report_after, answer);
    let (splicing, early) = (splicing(mode), Vec::new());
    Tunnel::between(pairs, splicing, early, idle_timeout, |stream| stream, meter)
}

/// Carries `len` bytes that the near socket has already, under a paused clock: the pauses alone
/// take time. What was reported, and after how long since the first report.
async fn carried_at_rate(
    mode: Mode,
    from_client: bool,
    len: usize,
    report_after: u64,
    per_second: u32,
) -> Vec<(u64, Duration)> {
    let bulk = payload(1, len);
    let mut pairs = [sent(&bulk, true), sent(&[], true)];
    if !from_client {
        pairs.reverse();
    }
    let (reports, reported) = mpsc::channel();
    let rate = at_rate(per_second);
    let mut tunnel = between(pairs, mode, report_after, NEVER, move |traffic| {
        reports.send((sum(traffic), Instant::now())).unwrap();
        rate(traffic)
    });
    let sink = if from_client {
        &mut tunnel.upstream
    } else {
        &mut tunnel.client
    };
    // The relay ends first: a reader that waits would be one more event to wait for.
    let (ended, _) = timeout(NEVER, tunnel.relay).await.unwrap().unwrap();
    assert_eq!(ended, Ended::Complete);
    let source = if from_client {
        tunnel.at_client
    } else {
        tunnel.at_upstream
    };
    let spliced = source.borrow().bytes_spliced;
    assert!(
        mode != Mode::Splice || spliced > len as u64 / 2,
        "{spliced}"
    );
    let mut got = Vec::new();
    timeout(NEVER, sink.read_to_end(&mut got))
        .await
        .unwrap()
        .unwrap();
    assert!(got == bulk);
    let reports: Vec<_> = reported.try_iter().collect();
    let start = reports[0].1;
    reports
        .into_iter()
        .map(|(bytes, at)| (bytes, at - start))
        .collect()
}

/// In 5 seconds, and in each part of them, the rate is kept but for what may pass at once.
async fn a_meter_holds_a_rate(mode: Mode) {
    tokio::time::pause();
    for (per_second, report_after) in [(100_000, 5_000), (20_000, 1_000), (20_000_000, 100_000)] {
        for from_client in [true, false] {
            let what = format!("{per_second}/s, from the client: {from_client}");
            let len = (per_second as usize * 5).min(600_000);
            let reports = carried_at_rate(mode, from_client, len, report_after, per_second).await;
            let mut moved = 0;
            for &(bytes, at) in &reports {
                assert!(bytes <= report_after, "{what}: {bytes} at once");
                moved += bytes;
                let due =
                    u64::from(per_second) * u64::try_from(at.as_micros()).unwrap() / 1_000_000;
                // Two of them: that of the first report, and what the bucket holds.
                let most = due + 2 * report_after.max(u64::from(per_second) / 20);
                assert!(moved <= most, "{what}: {moved} after {at:?}");
            }
            assert!(moved + report_after >= len as u64, "{what}: {moved}");
            let (_, took) = *reports.last().unwrap();
            let expected = Duration::from_secs(len as u64) / per_second;
            assert!(
                took.abs_diff(expected) < expected.max(Duration::from_secs(1)) / 10,
                "{what}: {took:?}"
            );
        }
    }
}

/// Without a number of bytes for each report, a pause makes up for what passed before it.
async fn the_average_is_right_when_reports_are_large(mode: Mode) {
    tokio::time::pause();
    let len = 1_300_000;
    let per_second = 20_000;
    let reports = carried_at_rate(mode, true, len, u64::MAX, per_second).await;
    let mut paid = Duration::ZERO;
    for &(bytes, at) in &reports {
        assert!(at >= paid, "{reports:?}");
        assert!(at <= paid + Duration::from_millis(2), "{reports:?}");
        paid += Duration::from_secs(bytes) / per_second;
    }
}

async fn a_meter_stops_a_tunnel(mode: Mode) {
    let left = AtomicUsize::new(3);
    let mut tunnel = metered(mode, u64::MAX, move |_| {
        match left.fetch_sub(1, Ordering::Relaxed) {
            1 => Answer::Break("quota"),
            _ => GO_ON,
        }
    });
    let bulk = vec![7; 1_000_000];
    let (mut reads, mut writes) = tunnel.upstream.split();
    let sending = async { while tunnel.client.write_all(&bulk).await.is_ok() {} };
    let receiving = async {
        let mut chunk = vec![0; 65_536];
        while !matches!(reads.read(&mut chunk).await, Ok(0) | Err(_)) {}
    };
    within("the end on both sides", async {
        tokio::join!(sending, receiving)
    })
    .await;
    writes.write_all(b"late").await.unwrap_err();
    let (ended, traffic) = outcome(tunnel.relay).await;
    assert_eq!(ended, Ended::Stopped("quota"));
    assert_eq!(ended.name(), "quota");
    assert!(traffic.bytes_from_client >= 3 * METER_BYTES);
    assert_eq!((held(), tunnel.splicing.pipes.lent()), (0, 0));
}

/// Also the one that only gets bytes, and does not read them.
async fn a_stop_resets_both_sides(mode: Mode) {
    let pairs = [sent(&[7; 500_000], false), pair()];
    let tunnel = between(pairs, mode, u64::MAX, NEVER, |_| Answer::Break("rule"));
    assert_eq!(outcome(tunnel.relay).await.0, Ended::Stopped("rule"));
    assert_reset("the client", &tunnel.client).await;
    assert_reset("the upstream", &tunnel.upstream).await;
}

/// A meter that wants small reports stops a tunnel without exceeding its quota.
async fn a_quota_is_exact(mode: Mode) {
    let pairs = [sent(&[7; 500_000], false), pair()];
    let left = AtomicUsize::new(10);
    let tunnel = between(pairs, mode, 1_000, NEVER, move |_| {
        match left.fetch_sub(1, Ordering::Relaxed) {
            1 => Answer::Break("quota"),
            _ => GO_ON,
        }
    });
    let (ended, traffic) = outcome(tunnel.relay).await;
    assert_eq!(ended, Ended::Stopped("quota"));
    assert_eq!(traffic.bytes_from_client, 10_000);
}

/// What was sent, and both ends, are there before the relay looks: it must pass them on although
/// the pause is longer than the time-out.
async fn a_pause_is_not_idle_and_loses_nothing(mode: Mode) {
    let idle_timeout = Duration::from_millis(300);
    let pause = Answer::Continue(2 * idle_timeout);
    let bulk = payload(3, 600_000);
    let pairs = [sent(&bulk, true), sent(&bulk[..1000], true)];
    let mut tunnel = between(pairs, mode, 100_000, idle_timeout, once(pause));
    let start = Instant::now();
    let (ended, traffic) = outcome(tunnel.relay).await;
    assert_eq!(ended, Ended::Complete);
    assert!(start.elapsed() >= 2 * idle_timeout);
    assert_eq!(
        (traffic.bytes_from_client, traffic.bytes_from_upstream),
        (600_000, 1000)
    );
    let (got, end) = rest_of(&mut tunnel.upstream).await;
    end.unwrap();
    assert!(got == bulk);
    let (got, end) = rest_of(&mut tunnel.client).await;
    end.unwrap();
    assert!(got == bulk[..1000]);
}

/// Each is over before the timer is set.
async fn short_pauses_are_short(mode: Mode) {
    let pairs = [sent(&[7; 500_000], true), sent(&[], true)];
    let pause = Answer::Continue(Duration::from_nanos(1));
    let tunnel = between(pairs, mode, 5_000, NEVER, move |_| pause);
    // A hundred: the reset check after each would take half a minute.
    assert_eq!(outcome(tunnel.relay).await.0, Ended::Complete);
}

/// A tunnel that begins a long pause when the client has sent its first bytes.
async fn paused(mode: Mode) -> Tunnel {
    let mut tunnel = metered(mode, 1, |_| LONG);
    tunnel.client.write_all(b"x").await.unwrap();
    within("the byte", tunnel.upstream.read_exact(&mut [0]))
        .await
        .unwrap();
    tunnel
}

async fn a_pause_does_not_delay_a_reset(mode: Mode) {
    let mut runs = JoinSet::new();
    for (by_client, unread) in [(true, true), (true, false), (false, true), (false, false)] {
        runs.spawn(async move {
            let what = format!("by the client: {by_client}, unread bytes: {unread}");
            let mut tunnel = paused(mode).await;
            if unread {
                tunnel.client.write_all(&[7; 1000]).await.unwrap();
                tunnel.upstream.write_all(&[7; 1000]).await.unwrap();
            }
            let (breaking, other, expected) = if by_client {
                (tunnel.client, tunnel.upstream, Ended::ClientReset)
            } else {
                (tunnel.upstream, tunnel.client, Ended::UpstreamReset)
            };
            let start = Instant::now();
            reset(breaking);
            assert_reset(&what, &other).await;
            assert!(start.elapsed() < SOON, "{what}");
            assert_eq!(outcome(tunnel.relay).await.0, expected, "{what}");
        });
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap();
    }
}

async fn a_pause_does_not_delay_the_order_to_stop(mode: Mode) {
    let tunnel = paused(mode).await;
    tunnel.cancel.send(()).unwrap();
    assert_eq!(outcome(tunnel.relay).await.0, Ended::Drained);
    assert_reset("the client", &tunnel.client).await;
    assert_reset("the upstream", &tunnel.upstream).await;
}

async fn a_pause_does_not_delay_an_end_without_bytes_before_it(mode: Mode) {
    let mut tunnel = paused(mode).await;
    tunnel.upstream.shutdown().await.unwrap();
    let (got, end) = rest_of(&mut tunnel.client).await;
    end.unwrap();
    assert_eq!(got, b"");
    tunnel.client.shutdown().await.unwrap();
    let (got, end) = rest_of(&mut tunnel.upstream).await;
    end.unwrap();
    assert_eq!(got, b"");
    assert_eq!(outcome(tunnel.relay).await.0, Ended::Complete);
}

/// The sender is slowed down by TCP alone.
async fn no_byte_is_read_in_a_pause(mode: Mode) {
    let mut tunnel = paused(mode).await;
    let bulk = vec![7; 40_000_000];
    assert!(stuff(&tunnel.client, &bulk).await < bulk.len());
    assert!(stuff(&tunnel.upstream, &bulk).await < bulk.len());
    tunnel.settled().await;
    assert_eq!(tunnel.at_client.borrow().bytes_read, 1);
    assert_eq!(tunnel.at_upstream.borrow().bytes_read, 0);
    assert_eq!((held(), tunnel.splicing.pipes.lent()), (0, 0));
}

/// The upstream does not read when the pause begins, and reads in the pause.
async fn bytes_that_were_read_before_a_pause_are_delivered_in_it(mode: Mode) {
    let (order, ordered) = watch::channel(false);
    let (pause, mut pauses) = watch::channel(false);
    let mut tunnel = metered(mode, u64::MAX, move |_| match *ordered.borrow() {
        true => {
            pause.send_replace(true);
            LONG
        }
        false => GO_ON,
    });
    let bulk = payload(4, 40_000_000);
    let sent = stuff(&tunnel.client, &bulk).await;
    assert!(sent < bulk.len());
    tunnel.settled().await;
    let (read, written) = (
        tunnel.at_client.borrow().bytes_read,
        tunnel.at_upstream.borrow().bytes_written,
    );
    assert!(read > written, "none is held");
    order.send(true).unwrap();
    // The last report may be long ago, so that fewer bytes are enough for the next one.
    let len = usize::try_from(METER_BYTES).unwrap();
    assert_eq!(stuff(&tunnel.upstream, &bulk[..len]).await, len);
    within("a pause", pauses.wait_for(|pauses| *pauses))
        .await
        .unwrap();
    let mut got = vec![0; usize::try_from(read).unwrap()];
    within("what was read before", tunnel.upstream.read_exact(&mut got))
        .await
        .unwrap();
    assert!(got == bulk[..got.len()]);
    tunnel.settled().await;
    assert_eq!(tunnel.at_client.borrow().bytes_read, read);
    assert_eq!((held(), tunnel.splicing.pipes.lent()), (0, 0));
}

async fn a_sink_that_buffers_is_flushed_in_a_pause(mode: Mode) {
    let pairs = [pair(), pair()];
    let meter = Recorder::new(1, |_| LONG);
    let (splicing, early) = (splicing(mode), b"early".to_vec());
    let mut tunnel = Tunnel::between(pairs, splicing, early, NEVER, BufWriter::new, meter);
    let mut got = [0; 5];
    within("the bytes", tunnel.upstream.read_exact(&mut got))
        .await
        .unwrap();
    assert_eq!(&got, b"early");
}

in_every_mode! {
    a_meter_holds_a_rate,
    the_average_is_right_when_reports_are_large,
    a_meter_stops_a_tunnel,
    a_stop_resets_both_sides,
    a_quota_is_exact,
    a_pause_is_not_idle_and_loses_nothing,
    short_pauses_are_short,
    a_pause_does_not_delay_a_reset,
    a_pause_does_not_delay_the_order_to_stop,
    a_pause_does_not_delay_an_end_without_bytes_before_it,
    no_byte_is_read_in_a_pause,
    bytes_that_were_read_before_a_pause_are_delivered_in_it,
    a_sink_that_buffers_is_flushed_in_a_pause,
}

/// Pauses of so many microseconds, one after each report.
fn meter(pauses: Vec<u64>, report_after: u64) -> Recorder {
    let next = AtomicUsize::new(0);
    Recorder::new(report_after, move |_| {
        let next = next.fetch_add(1, Ordering::Relaxed);
        let micros = pauses.get(next).copied().unwrap_or_default();
        Answer::Continue(Duration::from_micros(micros))
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        max_shrink_iters: 100,
        max_shrink_time: 5_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn bytes_and_ends_arrive_as_they_were_sent_whatever_the_pauses(
        early in prop_oneof![Just(0_usize), 1..100_000_usize],
        client in script(),
        upstream in script(),
        mode in prop_oneof![Just(Mode::Copy), Just(Mode::Splice), Just(Mode::Adaptive)],
        last in prop_oneof![Just(Last::Neither), Just(Last::Client), Just(Last::Upstream)],
        streams in streams(),
        pauses in prop::collection::vec(prop_oneof![Just(0_u64), 1..20_000_u64], 0..20),
        report_after in prop_oneof![1_000..10_000_u64, 10_000..400_000_u64, Just(u64::MAX)],
    ) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(play(mode, early, client, upstream, last, streams, meter(pauses, report_after)));
        prop_assert_eq!(held(), 0);
    }
}
