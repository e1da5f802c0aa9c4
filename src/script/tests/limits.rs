//! A call ends within its limits, whatever its text is, and the next one is not touched.

use std::time::{Duration, Instant};

use super::*;
use crate::hook::Wish;

/// The reason for which a call fails, and how long it took.
fn failure(text: &str) -> (String, Duration) {
    let time = Limits::default().time;
    failure_within(text, time)
}

/// The same with this time for the call.
fn failure_within(text: &str, time: Duration) -> (String, Duration) {
    let mut source = in_role(Role::Forward, text);
    source.limits.time = time;
    let script = unchecked(source);
    let start = Instant::now();
    let trial = run(&script, Role::Forward, &[("x-long", &"a".repeat(15_000))]);
    let took = start.elapsed();
    match &trial.steps[0].verdict {
        Verdict::Fails { reason, .. } => (reason.to_string(), took),
        other => panic!("{text}: {other}"),
    }
}

#[test]
fn endless_and_large_calls_end() {
    for (text, reasons) in [
        (
            "fn request(r) { loop { } }",
            &["more than 50000 operations", "longer than 2ms"][..],
        ),
        (
            "fn request(r) { let x = 0; while true { x += 1; } }",
            &["more than 50000 operations", "longer than 2ms"],
        ),
        (
            "fn f(x) { f(x + 1) } fn request(r) { f(1); }",
            &["more than 16 calls inside of calls"],
        ),
        (
            "fn request(r) { let a = []; loop { a.push(1); } }",
            &["an array of more than 256 entries"],
        ),
        (
            "fn request(r) { let s = \"ab\"; loop { s += s; } }",
            &["a text of more than 16384 bytes"],
        ),
        (
            "fn request(r) { let m = #{}; for i in 0..1000 { m.set(`${i}`, i); } }",
            &["a map of more than 256 entries", "longer than 2ms"],
        ),
        (
            "fn request(r) { let a = [1, 2]; loop { a = [a, a]; } }",
            &["an array of more than 256 entries"],
        ),
        // Rhai alone forgets the operations of functions that are given to others.
        (
            "fn request(r) { let a = []; for i in 0..200 { a.push(i) } a.filter(|x| { let b = []; for i in 0..200 \
             { b.push(i) } b.map(|y| { let c = 0; for j in 0..200 { c += j } c }); true }); }",
            &["more than 50000 operations", "longer than 2ms"],
        ),
        // A result that would have 225 MB is never made.
        (
            "fn request(r) { let s = r.header(\"x-long\"); s.replace(\"a\", s); }",
            &["a text of more than 16384 bytes"],
        ),
        (
            "fn request(r) { let s = \"\"; s.pad(1000000000, \"x\"); }",
            &["a text of more than 16384 bytes"],
        ),
        (
            "fn request(r) { let s = r.header(\"x-long\"); s.split(\"\"); }",
            &["an array of more than 256 entries"],
        ),
        // A pattern that takes long elsewhere.
        (
            "fn request(r) { let s = r.header(\"x-long\"); loop { s.contains(\"aaaaaaaaaaaaaaaaaaaab\"); } }",
            &["more than 50000 operations", "longer than 2ms"],
        ),
    ] {
        // A limit of size is met in a time that depends on the machine.
        let is_of_size = !reasons.contains(&"longer than 2ms");
        let (reason, took) = match is_of_size {
            true => failure_within(text, Duration::from_secs(5)),
            false => failure(text),
        };
        let reason = reason.split(" (line").next().unwrap().to_owned();
        assert!(reasons.contains(&&*reason), "{text}: {reason}");
        assert!(took < Duration::from_millis(500), "{text}: {took:?}");
    }
}

#[test]
fn a_limit_is_not_caught() {
    let (reason, _) = failure("fn request(r) { try { loop { } } catch { } }");
    assert!(
        reason.starts_with("more than") || reason.starts_with("longer"),
        "{reason}"
    );
}

#[test]
fn deep_calls_fit_on_the_stack_of_a_thread() {
    let source = Source {
        limits: Limits {
            depth: 32,
            ..Limits::default()
        },
        ..in_role(
            Role::Forward,
            "fn f(x) { (1 + (1 + (1 + (1 + (1 + (1 + (1 + (1 + f(x + 1))))))))) } fn request(r) { f(1); }",
        )
    };
    let script = unchecked(source);
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let verdict = thread.spawn(move || {
        let trial = run(&script, Role::Forward, &[]);
        trial.steps[0].verdict.clone()
    });
    let verdict = verdict.unwrap().join().unwrap();
    assert!(
        matches!(verdict, Verdict::Fails { reason, .. } if reason.starts_with("more than 32 calls"))
    );
}

#[test]
fn the_next_call_has_all_of_its_limits() {
    let script = unchecked(in_role(
        Role::Forward,
        "fn request(r) { if r.header(\"x-loop\") == \"1\" { loop { } } r.tag(\"a\", \"b\"); }",
    ));
    for _ in 0..3 {
        assert!(
            !run(&script, Role::Forward, &[("x-loop", "1")]).steps[0]
                .verdict
                .goes_on()
        );
        let trial = run(&script, Role::Forward, &[]);
        assert_eq!(trial.steps[0].verdict, Verdict::GoesOn);
        assert!(trial.steps[0].operations < 50);
    }
}

#[test]
fn a_call_leaves_nothing_to_the_next_one() {
    let script = unchecked(in_role(
        Role::Forward,
        "fn request(r) { if r.header(\"x-first\") == \"1\" { r = 5; let a = 1; return; } r.tag(\"a\", \"b\"); } \
         fn authorize(q) { let r = [q]; q.tag(\"c\", `${r.len()}`); if q.header(\"x-throw\") == \"1\" { throw 1 } }",
    ));
    let tag = |name: &str, value: &str| Wish::Tag(name.into(), value.into());
    for field in ["x-first", "x-throw", "x-other", "x-first"] {
        let trial = run(&script, Role::Forward, &[(field, "1")]);
        let effects: Vec<_> = trial.steps.iter().map(|step| &step.effects[..]).collect();
        let first = match field {
            "x-first" => vec![],
            _ => vec![tag("a", "b")],
        };
        assert_eq!(effects[..2], [&first[..], &[tag("c", "1")]], "{field}");
        let fails = !trial.steps[1].verdict.goes_on();
        assert_eq!(fails, field == "x-throw", "{field}");
    }
}

#[test]
fn replaced_scripts_leave_their_threads() {
    let before = threads::count();
    for _ in 0..300 {
        let script = script(Role::Forward, "fn request(r) { r.tag(\"a\", \"b\"); }");
        run(&script, Role::Forward, &[]);
    }
    assert!(threads::count() <= before + 1, "{}", threads::count());
}
