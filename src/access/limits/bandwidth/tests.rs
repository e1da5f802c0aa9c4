//! Bandwidths as pure arithmetic: what passes in any time, and who gets it.

use proptest::prelude::*;

use super::*;

const KIB: u64 = 1024;
const SECOND: u64 = 1_000_000;

fn at(microseconds: u64) -> Elapsed {
    Elapsed::of(microseconds)
}

#[test]
fn texts_are_bandwidths_or_say_why_not() {
    for (text, rate) in [
        ("1KiB/s", KIB),
        ("1 KiB/s", KIB),
        ("512kb/s", 512_000),
        ("50MiB/s", 50 << 20),
        ("2048B/s", 2048),
        ("100GB/s", Bandwidth::MAX),
    ] {
        let bandwidth = Bandwidth::parse(text).unwrap();
        assert_eq!(bandwidth.rate, rate, "{text}");
        assert_eq!(Bandwidth::parse(&bandwidth.to_string()), Ok(bandwidth));
    }
    for (text, error) in [
        ("", BandwidthError::Form),
        ("50MiB", BandwidthError::Form),
        ("50MiB/m", BandwidthError::Form),
        ("5000/s", BandwidthError::Form),
        ("50M/s", BandwidthError::Form),
        ("-1MiB/s", BandwidthError::Form),
        ("50MiB/s ", BandwidthError::Form),
        ("50MiB/s/s", BandwidthError::Form),
        ("0KiB/s", BandwidthError::Range),
        ("1023B/s", BandwidthError::Range),
        ("101GB/s", BandwidthError::Range),
        ("99999999999TiB/s", BandwidthError::Range),
    ] {
        assert_eq!(Bandwidth::parse(text), Err(error), "{text}");
    }
}

/// The contract: from 1 MiB/s at most twice the rate in 100 ms, below at most 64 KiB at once; a part is always due some time.
#[test]
fn bursts_and_parts_fit_their_bandwidth() {
    for shift in 0..37 {
        for rate in [KIB << shift, (KIB << shift) + 777] {
            let bandwidth = Bandwidth::new(rate.min(Bandwidth::MAX));
            let burst = bandwidth.burst();
            assert!(bandwidth.part() <= burst, "{rate}");
            if rate < KIB * KIB {
                assert!(burst + bandwidth.part() <= 64 * KIB, "{rate}");
            } else {
                assert!(burst <= rate / 10, "{rate}");
            }
        }
    }
}

#[test]
fn a_part_that_is_not_due_is_lent_for_the_time_when_it_is() {
    let bandwidth = Bandwidth::new(100_000);
    let lent = Lent::new();
    let now = at(SECOND);
    let burst = bandwidth.burst();
    assert_eq!(lent.lend(burst, &bandwidth, now), Duration::ZERO);
    assert!(!lent.lend_now(1, &bandwidth, now));
    // Each waits behind those before it.
    let waits: Vec<_> = (0..3).map(|_| lent.lend(1000, &bandwidth, now)).collect();
    for (number, wait) in (1..).zip(&waits) {
        let expected = Duration::from_millis(10 * number);
        assert!(
            wait.abs_diff(expected) < Duration::from_micros(20),
            "{wait:?}"
        );
    }
    // What one gives back is for those after it.
    lent.give_back(1000);
    let wait = lent.lend(1000, &bandwidth, now);
    assert!(
        wait.abs_diff(waits[2]) < Duration::from_micros(20),
        "{wait:?}"
    );
    assert!(!lent.is_at_rest(&bandwidth, at(SECOND + 180_000)));
    assert!(lent.is_at_rest(&bandwidth, at(SECOND + 200_000)));
}

#[test]
fn debts_and_waits_are_bounded() {
    let bandwidth = Bandwidth::new(KIB);
    let lent = Lent::new();
    for _ in 0..10_000 {
        assert!(lent.lend(2 * KIB, &bandwidth, at(0)) <= LONGEST_WAIT);
    }
    let later = at(0).after(LONGEST_WAIT + Duration::from_secs(3));
    assert!(lent.lend_now(KIB, &bandwidth, later));
}

/// Connections that always have more, each with one part at a time, and late by up to `late`.
fn share(bandwidth: &Bandwidth, wants: &[u64], late: impl Fn(usize) -> u64, end: u64) -> Vec<u64> {
    let lent = Lent::new();
    let mut due = vec![0u64; wants.len()];
    let mut got = vec![0u64; wants.len()];
    loop {
        let (next, &time) = due.iter().enumerate().min_by_key(|(_, due)| **due).unwrap();
        if time >= end {
            return got;
        }
        let part = wants[next].min(bandwidth.part());
        let wait = lent.lend(part, bandwidth, at(time));
        let wait = u64::try_from(wait.as_nanos().div_ceil(1000)).unwrap();
        if wait == 0 {
            got[next] += part;
            // The next one is asked for after this one has passed.
            due[next] = time + 1;
        } else {
            got[next] += part;
            due[next] = time + wait + late(next);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is asked for, when, and given back at once: no window has more than its time and a burst.
    #[test]
    fn no_window_has_more_than_rate_and_burst(
        rate in prop_oneof![KIB..64 * KIB, KIB * KIB..1 << 30, Just(Bandwidth::MAX)],
        begin in 0..1u64 << 45,
        asks in prop::collection::vec((0..200_000u64, 1..101u64, 0..101u64, any::<bool>()), 1..200),
    ) {
        let bandwidth = Bandwidth::new(rate);
        let lent = Lent::new();
        let mut time = begin;
        let mut passed: Vec<(u64, u64)> = Vec::new();
        for (pause, percent, back, waits) in asks {
            time += pause;
            let bytes = (bandwidth.part() * percent / 100).max(1);
            let used = bytes - bytes * back / 100;
            let due = if waits {
                let wait = lent.lend(bytes, &bandwidth, at(time));
                if wait == Duration::ZERO {
                    lent.give_back(bytes - used);
                    passed.push((time, used));
                    continue;
                }
                prop_assume!(wait < LONGEST_WAIT);
                Some(time + u64::try_from(wait.as_nanos().div_ceil(1000)).unwrap())
            } else if lent.lend_now(bytes, &bandwidth, at(time)) {
                lent.give_back(bytes - used);
                passed.push((time, used));
                continue;
            } else {
                None
            };
            passed.extend(due.map(|due| (due, bytes)));
        }
        passed.sort_unstable();
        for from in 0..passed.len() {
            let mut sum = 0;
            for (until, bytes) in &passed[from..] {
                sum += bytes;
                let time = until - passed[from].0;
                let most = u128::from(time + 1) * u128::from(rate) / u128::from(SECOND);
                let most = most + u128::from(bandwidth.burst()) + 1;
                prop_assert!(u128::from(sum) <= most, "{} in {}", sum, time);
            }
        }
    }

    /// Connections that always have more get the whole rate, and as much as each other.
    #[test]
    fn connections_share_evenly(
        rate in prop_oneof![8 * KIB..64 * KIB, KIB * KIB..1 << 30],
        count in 1..20usize,
        late in 0..3_000u64,
    ) {
        let bandwidth = Bandwidth::new(rate);
        let seconds = 20 * SECOND;
        let got = share(&bandwidth, &vec![u64::MAX; count], |number| late * (number as u64 % 3) / 2, seconds);
        let sum: u64 = got.iter().sum();
        let whole = 20 * rate;
        // A connection may be late by a part.
        prop_assert!(sum >= whole - whole / 50 - count as u64 * bandwidth.part(), "{} of {}", sum, whole);
        let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
        prop_assert!(most - least <= most / 10 + 2 * bandwidth.part(), "{:?}", got);
    }

    /// One that wants little has it, and the others have the rest.
    #[test]
    fn a_small_one_is_not_pushed_aside(rate in KIB * KIB..1 << 30) {
        let bandwidth = Bandwidth::new(rate);
        let got = share(&bandwidth, &[100, u64::MAX, u64::MAX], |_| 0, SECOND);
        // Its turns come as often as theirs.
        prop_assert!(got[0] / 100 * bandwidth.part() + 2 * bandwidth.part() >= got[1], "{:?}", got);
    }
}
