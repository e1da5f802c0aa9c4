//! Hostile scripts and a hook that panics, one request in a hundred under load: each costs its own request, and the others
//! are answered in time.
//!
//! Seconds with hostile requests alternate with seconds without, so that a busy machine is in both. Each begins when all of the
//! one before is answered.
//! `bench/hostile.sh` asks a release build for more: it sets `TOLLGATE_BIN` and the variables of [`Load::of_environment`].

use std::net::SocketAddr;
use std::time::Duration;

use tollgate::hook::{Flow, Hook, Outcome, Phases, Request};

use crate::support::client::Wire;
use crate::support::embedded::Embedded;
use crate::support::load::{self, Answered};
use crate::support::origin::Origin;
use crate::support::port::Port;
use crate::support::proxy::Setup;
use crate::support::request::fetch;

/// One request in so many is hostile, in every second second.
const HOSTILE: usize = 100;

/// What p99 of the others may be in a second with hostile requests, beside the second before: what else the machine does is in
/// both. A call may take 4 ms of its thread's processor (twice `script_limits.time`).
fn longest_beside(before: Duration) -> Duration {
    3 * before + Duration::from_millis(40)
}

/// What a hostile request calls, and the limits at which it may end: on a slow machine the time is over first.
const CALLS: [(&str, &[&str]); 5] = [
    ("/endless", &["more than 50000 operations", "longer than"]),
    ("/memory", &["a text of more than 16384 bytes"]),
    ("/map", &["more than 50000 operations", "longer than"]),
    ("/pattern", &["more than 50000 operations", "longer than"]),
    ("/depth", &["more than 16 calls inside of calls"]),
];

const SCRIPT: &str = r#"
fn authorize(r) {
    if r.path == "/endless" { loop { } }
    if r.path == "/memory" { let all = []; loop { let text = "x"; loop { text += text; all.push(text); } } }
    if r.path == "/map" {
        let map = #{};
        let text = "a";
        text.pad(16000, "a");
        let n = 0;
        loop { n += 1; map[`${n}`] = text + n; }
    }
    if r.path == "/pattern" {
        let text = "a";
        text.pad(16000, "a");
        loop { text.contains("aaaaaaaaaaaaaaaaaaaaaaaab"); }
    }
    if r.path == "/depth" { deeper(1); }
    r.set_header("x-seen", "yes");
}
fn deeper(n) { deeper(n + 1) + deeper(n + 2) }
"#;

/// Requests at a fixed rate.
struct Load {
    /// In a second.
    rate: usize,
    seconds: usize,
    /// What 99 of 100 of the others may take; none: [`longest_beside`], in one pair of seconds at least. What holds up others
    /// does so in each.
    longest: Option<Duration>,
}

impl Load {
    /// A quarter of what the machine can do now, for some seconds.
    fn for_this_machine(address: SocketAddr, origin: &Origin) -> Self {
        const TRIAL: usize = 400;
        // All are due at once.
        let answers = load::run(address, u32::MAX, 0..TRIAL, |_| request("/", origin));
        let took = answers.iter().map(|answer| answer.took).max().unwrap();
        let possible = (TRIAL as f64 / took.as_secs_f64()) as usize;
        Self {
            rate: (possible / 4).clamp(2 * HOSTILE, 1000),
            seconds: 8,
            longest: None,
        }
    }

    /// That of `HOSTILE_RATE`, `HOSTILE_SECONDS` and `HOSTILE_P99_MS`, when they are set.
    fn of_environment() -> Option<Self> {
        let setting = |name: &str| Some(std::env::var(name).ok()?.parse().unwrap());
        Some(Self {
            rate: setting("HOSTILE_RATE")?,
            seconds: setting("HOSTILE_SECONDS")?,
            longest: Some(Duration::from_millis(setting("HOSTILE_P99_MS")? as u64)),
        })
    }

    fn total(&self) -> usize {
        self.rate * self.seconds
    }

    fn is_with_hostile(&self, turn: usize) -> bool {
        turn / self.rate % 2 == 1
    }

    /// The path of the request of this turn, when it is a hostile one.
    fn hostile_path(&self, turn: usize) -> Option<&'static str> {
        let is_hostile = self.is_with_hostile(turn) && turn % HOSTILE == HOSTILE / 2;
        is_hostile.then(|| CALLS[turn / HOSTILE % CALLS.len()].0)
    }

    fn run(&self, address: SocketAddr, origin: &Origin) -> Vec<Answered> {
        let second = |second: usize| {
            let turns = second * self.rate..(second + 1) * self.rate;
            load::run(address, self.rate as u32, turns, |turn| {
                request(self.hostile_path(turn).unwrap_or("/"), origin)
            })
        };
        (0..self.seconds).flat_map(second).collect()
    }

    /// Checks the statuses, and the times of the harmless requests; returns how many were hostile.
    fn check(&self, answers: &[Answered]) -> usize {
        let mut hostile = 0;
        let mut seconds = vec![Vec::new(); self.seconds];
        for answer in answers {
            let is_hostile = self.hostile_path(answer.turn).is_some();
            let expected = if is_hostile { 500 } else { 200 };
            assert_eq!(answer.status, expected, "request {}", answer.turn);
            if is_hostile {
                hostile += 1;
            } else {
                seconds[answer.turn / self.rate].push(answer.took);
            }
        }
        self.check_times(&seconds);
        eprintln!("{} requests, {hostile} of them hostile", answers.len());
        hostile
    }

    fn check_times(&self, seconds: &[Vec<Duration>]) {
        let mut pairs = Vec::new();
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for pair in seconds.chunks_exact(2) {
            pairs.push([&pair[0], &pair[1]].map(|times| load::quantile(times, 0.99)));
            without.extend(&pair[0]);
            with.extend(&pair[1]);
        }
        for (name, times) in [("without", &without), ("with", &with)] {
            let [p50, p99, most] = [0.5, 0.99, 1.0].map(|share| load::quantile(times, share));
            eprintln!(
                "{} requests/s, seconds {name} hostile requests: p50 {p50:?}, p99 {p99:?}, at most {most:?}",
                self.rate
            );
        }
        let p99 = load::quantile(&with, 0.99);
        match self.longest {
            Some(longest) => assert!(p99 < longest, "p99 of the others is {p99:?}"),
            None => assert!(
                pairs
                    .iter()
                    .any(|[before, after]| *after < longest_beside(*before)),
                "p99 of the others, without and with hostile requests: {pairs:?}"
            ),
        }
    }
}

fn request(path: &str, origin: &Origin) -> String {
    fetch(&format!("http://{}{path}", origin.address))
}

#[test]
fn hostile_scripts_end_within_limits_while_others_are_served() {
    let origin = Origin::ok("in");
    let proxy = Setup::new()
        .file("hostile.rhai", SCRIPT)
        .config("scripts: [{ name: hostile, roles: [forward], file: hostile.rhai }]")
        .start();
    let load =
        Load::of_environment().unwrap_or_else(|| Load::for_this_machine(proxy.address, &origin));
    let (resident, before) = (proxy.resident(), origin.requests().len());
    let hostile = load.check(&load.run(proxy.address, &origin));

    assert_eq!(
        proxy.metric("tollgate_hook_failures_total{hook=\"hostile\"}"),
        hostile as u64
    );
    let total = before + load.total();
    assert_eq!(origin.requests().len(), total - hostile);
    let failed: Vec<_> = proxy
        .wait_records(total)
        .into_iter()
        .filter(|record| record["status"] == 500)
        .collect();
    assert_eq!(failed.len(), hostile);
    for record in &failed {
        let shown = record.to_string();
        let path = CALLS.iter().find(|(path, _)| shown.contains(path));
        let (_, reasons) = path.unwrap_or_else(|| panic!("{shown}"));
        assert!(
            reasons.iter().any(|reason| shown.contains(reason)),
            "{shown}"
        );
    }
    // What a call took is free when it ends.
    let grown = proxy.resident().saturating_sub(resident);
    eprintln!("memory grew by {grown} KiB");
    assert!(grown < 64 << 10, "memory grew by {grown} KiB");
}

/// A hook that panics on each path but `/`.
struct Panics;

impl Hook for Panics {
    type State = ();

    fn name(&self) -> &str {
        "panics"
    }

    fn phases(&self) -> Phases {
        Phases::AUTHORIZE
    }

    fn authorize(&self, request: &mut Request<'_>, (): &mut ()) -> Outcome {
        if request.path().as_deref() != Some("/") {
            // As a panic, without a message of each in the output of the tests.
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        Ok(Flow::Go)
    }
}

#[test]
fn a_hook_that_panics_under_load_costs_its_own_requests() {
    let admin = Port::reserve();
    let more = format!("  admin: {{ address: \"{}\" }}\n", admin.address);
    let origin = Origin::ok("in");
    let proxy = Embedded::start(&more, Panics);
    let load = Load::for_this_machine(proxy.address(), &origin);
    let before = origin.requests().len();
    let hostile = load.check(&load.run(proxy.address(), &origin));
    let mut wire = Wire::connect(admin.address).unwrap();
    let metrics = wire.exchange("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let line = format!("tollgate_hook_failures_total{{hook=\"panics\"}} {hostile}");
    assert!(
        metrics.text().lines().any(|it| it == line),
        "{}",
        metrics.text()
    );
    assert_eq!(origin.requests().len(), before + load.total() - hostile);
}
