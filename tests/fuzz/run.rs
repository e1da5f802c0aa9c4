//! Runs one input, and finds a shorter one that fails alike.

use std::cell::RefCell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use tollgate::internals::Target;

/// An input takes less, in a build without optimisation too.
const SLOW: Duration = Duration::from_secs(1);

/// How long shorter inputs are searched for.
const SEARCH: Duration = Duration::from_secs(20);

thread_local! {
    static PANIC: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// Where and why something panicked.
#[derive(Clone, Debug)]
pub struct Panic {
    place: String,
    message: String,
}

/// Why an input is a finding.
#[derive(Clone, Debug)]
pub enum Failure {
    /// A panic, although one that the parser caught.
    Panic(Panic),
    /// It took as long, twice.
    Slow(Duration),
}

impl Failure {
    /// Whether another failure has the same cause.
    fn is_like(&self, other: &Failure) -> bool {
        match (self, other) {
            (Failure::Panic(one), Failure::Panic(other)) => one.place == other.place,
            (Failure::Slow(_), Failure::Slow(_)) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Panic(panic) => write!(f, "panic at {}: {}", panic.place, panic.message),
            Failure::Slow(time) => write!(f, "slow: {time:?}"),
        }
    }
}

/// Keeps what panics say, instead of printing it.
pub fn record_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or(payload.downcast_ref::<String>().map(String::as_str));
        PANIC.with(|panic| {
            *panic.borrow_mut() = Some(Panic {
                place: place.unwrap_or_default(),
                message: text.unwrap_or("no message").to_owned(),
            });
        });
    }));
}

/// What the parser did with an input.
pub fn run(target: &Target, input: &[u8]) -> Result<String, Failure> {
    let (outcome, time) = timed(target, input);
    if time > SLOW {
        // The machine may have had other work.
        let (_, again) = timed(target, input);
        if again > SLOW {
            return Err(Failure::Slow(again));
        }
    }
    outcome.map_err(Failure::Panic)
}

fn timed(target: &Target, input: &[u8]) -> (Result<String, Panic>, Duration) {
    let began = Instant::now();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let time = began.elapsed();
    let outcome = match (PANIC.take(), outcome) {
        (None, Ok(behaviour)) => Ok(behaviour),
        (Some(panic), _) => Err(panic),
        (None, Err(_)) => Err(Panic {
            place: "an unknown place".to_owned(),
            message: String::new(),
        }),
    };
    (outcome, time)
}

/// The shortest input that was found to fail like this one.
pub fn shorten(target: &Target, input: &[u8], failure: &Failure) -> Vec<u8> {
    let end = Instant::now() + SEARCH;
    let mut best = input.to_vec();
    let mut size = best.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        let before = best.len();
        while at < best.len() && Instant::now() < end {
            let mut shorter = best.clone();
            shorter.drain(at..(at + size).min(best.len()));
            match run(target, &shorter) {
                Err(other) if other.is_like(failure) => best = shorter,
                _ => at += size,
            }
        }
        // The last size is tried until it removes nothing.
        if size > 1 || best.len() == before {
            size /= 2;
        }
    }
    best
}
