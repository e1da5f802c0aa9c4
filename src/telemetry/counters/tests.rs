use prometheus::{Opts, Registry};

use super::*;

fn count(family: &IntCounterVec, labels: &[&str]) -> u64 {
    family.with_label_values(labels).get()
}

#[test]
fn codes_are_sorted() {
    assert!(CODES.is_sorted());
}

#[test]
fn counts_codes_and_classes() {
    let family = IntCounterVec::new(Opts::new("x", "x"), &["role", "code"]).unwrap();
    let counters = StatusCounters::new(&family, "forward");
    for status in [
        Some(200),
        Some(200),
        Some(407),
        Some(299),
        Some(199),
        Some(600),
        Some(0),
        Some(u16::MAX),
        None,
    ] {
        counters.inc(status);
    }
    for (code, expected) in [
        ("200", 2),
        ("407", 1),
        ("2xx", 1),
        ("1xx", 1),
        ("other", 3),
        ("none", 1),
        ("5xx", 0),
    ] {
        assert_eq!(count(&family, &["forward", code]), expected, "{code}");
    }
}

#[test]
fn hostile_codes_make_a_bounded_number_of_series() {
    let registry = Registry::new();
    let family = IntCounterVec::new(Opts::new("x", "x"), &["role", "code"]).unwrap();
    registry.register(Box::new(family.clone())).unwrap();
    let counters = StatusCounters::new(&family, "forward");
    for status in 0..2000 {
        counters.inc(Some(status));
    }
    let series = registry.gather()[0].get_metric().len();
    assert_eq!(series, CODES.len() + CLASSES.len() - 1);
}

#[test]
fn labels_beyond_the_bound_are_other() {
    let registry = Registry::new();
    let family = IntCounterVec::new(Opts::new("x", "x"), &["rule"]).unwrap();
    registry.register(Box::new(family.clone())).unwrap();
    let counters = LabelledCounters::<2>::of(family);
    for value in ["a", "b", "c", "a", "d", "c"] {
        counters.inc(value);
    }
    for (value, expected) in [("a", 2), ("b", 1), ("other", 3)] {
        assert_eq!(count(&counters.family, &[value]), expected, "{value}");
    }
    assert_eq!(registry.gather()[0].get_metric().len(), 3);
}
