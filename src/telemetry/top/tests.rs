use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn hash_of(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Checks what the sketch promises against exact counts.
fn check(shard: &Shard, exact: &HashMap<String, u64>, total: u64) {
    let bound = total / shard.max as u64;
    let known: HashMap<&str, &Entry> = shard.entries().map(|e| (&*e.key, e)).collect();
    assert_eq!(known.len(), shard.index.len());
    assert!(known.len() <= shard.max);
    for entry in known.values() {
        let truth = exact[&*entry.key];
        assert!(entry.count >= truth, "{entry:?} but {truth}");
        assert!(
            entry.count - entry.max_overcount <= truth,
            "{entry:?} but {truth}"
        );
        assert!(entry.max_overcount <= bound, "{entry:?} above {bound}");
    }
    for (key, &count) in exact {
        assert!(
            count <= bound || known.contains_key(&**key),
            "{key} occurred {count} times and is not known"
        );
    }
    for (rank, &slot) in shard.heap.iter().enumerate() {
        assert_eq!(shard.slots[slot].rank, rank);
        assert!(rank == 0 || shard.score_at((rank - 1) / 2) <= shard.score_at(rank));
    }
}

fn run(max: usize, stream: impl IntoIterator<Item = String>) -> (Shard, HashMap<String, u64>) {
    let mut shard = Shard::new(max);
    let mut exact = HashMap::new();
    for key in stream {
        shard.add(&key, hash_of(&key), &Weight::ONE);
        *exact.entry(key).or_default() += 1;
    }
    (shard, exact)
}

/// Keys 0, 1, 2 … with a frequency as 1, 1/2, 1/3 …, by a fixed generator.
fn skewed(keys: u32, length: usize) -> impl Iterator<Item = u32> {
    let weights: Vec<f64> = (1..=keys).map(|rank| 1.0 / f64::from(rank)).collect();
    let sum: f64 = weights.iter().sum();
    let bounds: Vec<f64> = weights
        .iter()
        .scan(0.0, |below, weight| {
            *below += weight / sum;
            Some(*below)
        })
        .collect();
    let mut state = 0x9e37_79b9_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let x = (state >> 11) as f64 / (1_u64 << 53) as f64;
        u32::try_from(bounds.partition_point(|&bound| bound < x)).unwrap()
    })
    .take(length)
}

proptest! {
    #[test]
    fn keeps_its_bounds_on_any_stream(
        max in 1_usize..20,
        stream in vec(prop_oneof![0_u32..8, 0_u32..1000], 0..2000),
    ) {
        let total = stream.len() as u64;
        let (shard, exact) = run(max, stream.iter().map(|key| format!("host{key}")));
        check(&shard, &exact, total);
    }
}

#[test]
fn keeps_its_bounds_on_hostile_streams() {
    // All new; all new twice; one that returns among new ones; in waves.
    let new: Vec<String> = (0..20_000).map(|i| format!("h{i}")).collect();
    let twice = new.iter().chain(&new).cloned();
    let returning = new.iter().flat_map(|key| [key.clone(), "site".to_owned()]);
    let waves = (0..20_000).map(|i| format!("w{}", (i / 100) % 37));
    for stream in [
        new.clone(),
        twice.collect(),
        returning.collect::<Vec<_>>(),
        waves.collect(),
    ] {
        let total = stream.len() as u64;
        let (shard, exact) = run(64, stream);
        check(&shard, &exact, total);
    }
}

#[test]
fn finds_the_top_sites_of_a_skewed_stream() {
    let top = Top::new();
    let mut exact: HashMap<u32, u64> = HashMap::new();
    for key in skewed(50_000, 300_000) {
        top.add(&format!("host{key}.example:443"), &Weight::ONE);
        *exact.entry(key).or_default() += 1;
    }
    let found = top.top(20);
    assert_eq!(found.len(), 20);
    let mut expected: Vec<_> = exact.into_iter().collect();
    expected.sort_unstable_by_key(|&(key, count)| (std::cmp::Reverse(count), key));
    for (entry, (key, count)) in found.iter().zip(&expected) {
        assert!(entry.count >= *count);
        assert!(
            entry.count - count <= count / 20,
            "host{key}: {} for {count}",
            entry.count
        );
    }
    let names: Vec<_> = found.iter().take(10).map(|e| e.key.to_string()).collect();
    let expected: Vec<_> = expected
        .iter()
        .take(10)
        .map(|(key, _)| format!("host{key}.example:443"))
        .collect();
    assert_eq!(names, expected);
}

proptest! {
    /// With weights, the promise is about scores; what is said of requests holds all the same.
    #[test]
    fn keeps_its_bounds_with_weights(
        max in 1_usize..20,
        stream in vec((prop_oneof![0_u32..8, 0_u32..200], 0_u64..3, 0_u64..8), 0..1500),
    ) {
        let mut shard = Shard::new(max);
        let mut exact: HashMap<String, Weight> = HashMap::new();
        let mut total = 0;
        for (key, requests, parts) in stream {
            let key = format!("host{key}");
            let weight = Weight {
                requests,
                from_client: parts * BYTES_OF_ONE,
                to_client: 7,
                ..Weight::default()
            };
            shard.add(&key, hash_of(&key), &weight);
            // Nothing is known of a key that never had a point.
            exact.entry(key).or_default().add(&weight);
            total += weight.score();
        }
        let bound = total / max as u64;
        prop_assert!(shard.slots.len() <= max);
        for slot in &shard.slots {
            let truth = &exact[&*slot.entry.key];
            let Entry { count, max_overcount, weight, .. } = &slot.entry;
            prop_assert!(*count >= truth.requests, "{:?} but {truth:?}", slot.entry);
            prop_assert!(count - max_overcount <= truth.requests, "{:?} but {truth:?}", slot.entry);
            prop_assert!(*max_overcount <= bound);
            prop_assert!(weight.bytes() <= truth.bytes());
        }
        for (key, truth) in &exact {
            prop_assert!(truth.score() <= bound + 1 || shard.index.contains_key(&**key), "{key} {truth:?}");
        }
        for (rank, &slot) in shard.heap.iter().enumerate() {
            prop_assert_eq!(shard.slots[slot].rank, rank);
            prop_assert!(rank == 0 || shard.score_at((rank - 1) / 2) <= shard.score_at(rank));
        }
    }
}

#[test]
fn is_exact_while_keys_are_few() {
    let top = Top::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..1000 {
                    let key = if i % 4 == 0 {
                        "b.example:80"
                    } else {
                        "a.example:443"
                    };
                    top.add(key, &Weight::ONE);
                }
            });
        }
    });
    let entry = |key: &str, count| Entry {
        key: key.into(),
        count,
        max_overcount: 0,
        weight: Weight {
            requests: count,
            ..Weight::ONE
        },
    };
    let expected = [entry("a.example:443", 3000), entry("b.example:80", 1000)];
    assert_eq!(top.top(20), expected);
    assert_eq!(top.top(1), expected[..1]);
}

#[test]
fn memory_is_bounded() {
    let top = Top::new();
    for i in 0..100_000 {
        top.add(&format!("host{i}.example:80"), &Weight::ONE);
    }
    top.add(&"x".repeat(MAX_KEY + 1), &Weight::ONE);
    for shard in &top.shards {
        let shard = shard.lock();
        assert_eq!(shard.slots.len(), COUNTERS);
        assert_eq!(shard.index.len(), COUNTERS);
        assert!(shard.entries().all(|entry| entry.key.len() <= MAX_KEY));
    }
}
