//! What a list of a million domains costs: to load, to keep, to ask.
//!
//! `cargo bench --features internals --bench domains`. The memory is what the resident set grew by, printed first: it includes
//! all that the allocator keeps for the set, and is exact to a page.

use std::{fs, hint::black_box, time::Instant};

use criterion::{BatchSize, Criterion, Throughput};
use tollgate::internals::policy::{Domains, NameKey};

const MILLION: usize = 1_000_000;
/// A size at which neither table nor names fit into any cache.
const LARGE: usize = 8 * MILLION;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    memory("1M", &list(MILLION));
    load(&mut criterion);
    look_up(&mut criterion, "1M", MILLION);
    look_up(&mut criterion, "8M", LARGE);
    small_sets(&mut criterion);
    criterion.final_summary();
}

fn memory(label: &str, text: &str) {
    let before = resident();
    let start = Instant::now();
    let domains = read(text);
    let took = start.elapsed();
    let grown = resident().saturating_sub(before);
    let each = grown as f64 / domains.len().max(1) as f64;
    let line = text.len() as f64 / domains.len().max(1) as f64;
    eprintln!(
        "{label}: {} names of {line:.1} bytes a line, {each:.1} bytes each in memory, first load {took:.2?}",
        domains.len(),
    );
}

fn load(criterion: &mut Criterion) {
    let plain = list(MILLION);
    let adblock: String = (0..MILLION)
        .map(|i| format!("||{}^\n", name(i, 2)))
        .collect();
    let hosts: String = (0..MILLION)
        .map(|i| format!("0.0.0.0 {}\n", name(i, 3)))
        .collect();
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    group.throughput(Throughput::Elements(MILLION as u64));
    for (format, text) in [("plain", plain), ("adblock", adblock), ("hosts", hosts)] {
        group.bench_function(format!("1M/{format}"), |b| {
            b.iter_batched(|| (), |()| read(&text), BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// One name after the other, each asked once before any is asked again: nothing that is cached helps.
fn look_up(criterion: &mut Criterion, label: &str, len: usize) {
    let domains = read(&list(len));
    let hits: Vec<String> = shuffled(len)
        .take(MILLION)
        .map(|i| match i % 2 {
            0 => name(i, 3),
            _ => format!("www.{}", name(i, 2)),
        })
        .collect();
    let misses: Vec<String> = shuffled(len)
        .take(MILLION)
        .map(|i| name(len + i, 3 + i % 3))
        .collect();
    let mut group = criterion.benchmark_group("look_up");
    for (kind, names) in [("hit", hits), ("miss", misses)] {
        let held = names
            .iter()
            .filter(|name| domains.matching(&NameKey::new(name)).is_some())
            .count();
        eprintln!("{label}/{kind}: {held} of {} names are held", names.len());
        let mut next = names.iter().cycle();
        group.bench_function(format!("{label}/{kind}"), |b| {
            b.iter(|| {
                let name = next.next().map_or("", String::as_str);
                domains.matching(&NameKey::new(name)).is_some()
            });
        });
    }
    group.finish();
}

/// A rule's own few domains, of which a policy has hundreds.
fn small_sets(criterion: &mut Criterion) {
    let sets: Vec<Domains> = (0..200)
        .map(|set| {
            read(
                &(0..5)
                    .map(|i| format!(".{}\n", name(set * 5 + i, 2)))
                    .collect::<String>(),
            )
        })
        .collect();
    let mut names = (0..MILLION)
        .map(|i| name(MILLION + i, 4))
        .collect::<Vec<_>>()
        .into_iter()
        .cycle();
    let mut group = criterion.benchmark_group("small");
    group.bench_function("key", |b| {
        b.iter_batched(
            || names.next().unwrap_or_default(),
            |name| black_box(NameKey::new(&name)).name().len(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("200_sets_of_5/miss", |b| {
        b.iter_batched(
            || names.next().unwrap_or_default(),
            |name| {
                let key = NameKey::new(&name);
                sets.iter()
                    .filter(|set| set.matching(&key).is_some())
                    .count()
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn read(text: &str) -> Domains {
    let mut domains = Domains::default();
    if let Err(errors) = domains.extend_list(text) {
        eprintln!("{errors:?}");
    }
    domains
}

/// Half names, half domains with all below them.
fn list(len: usize) -> String {
    (0..len)
        .map(|i| match i % 2 {
            0 => name(i, 3) + "\n",
            _ => format!(".{}\n", name(i, 2)),
        })
        .collect()
}

/// The same name for the same number, of so many labels.
fn name(number: usize, labels: usize) -> String {
    const TOP: [&str; 8] = ["com", "net", "org", "de", "info", "io", "xyz", "example"];
    let mut state = number as u64;
    let mut random = |below: u64| {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    };
    let mut name = String::new();
    for _ in 1..labels {
        for _ in 0..6 + random(6) {
            name.push(char::from(b'a' + random(26) as u8));
        }
        name.push('.');
    }
    name + TOP.get(random(8) as usize).unwrap_or(&"org")
}

/// All numbers below `len` once, far from one another. `len` must not be a multiple of the prime.
fn shuffled(len: usize) -> impl Iterator<Item = usize> {
    (0..len).map(move |i| i * 7_368_787 % len)
}

/// The resident set of this process in bytes, or 0 where there is no `/proc`.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse::<usize>().ok());
    kilobytes.unwrap_or_default() * 1024
}
