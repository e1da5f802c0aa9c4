//! Runs the fuzz targets in this process, without the help of a compiler: `make fuzz`.
//!
//! | variable | meaning |
//! |---|---|
//! | `FUZZ_SECONDS` | the time for all targets together, 60 by default |
//! | `FUZZ_TARGET` | the one target to run |
//! | `FUZZ_SEED` | the seed of the random numbers; the same seed gives the same inputs |
//! | `FUZZ_INPUT` | a file to run alone, such as one that was found; its folder names the target |
//!
//! An input that breaks an invariant, or takes longer than a second, is made shorter and written to
//! `fuzz/artifacts/TARGET`. The exit code is then 1.

mod run;

use std::env::{self, VarError};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tollgate::internals::{Campaign, TARGETS, Target, folder};

use self::run::{Failure, run};

/// What a thread that serves has.
const STACK: usize = 2 << 20;

/// How many inputs run between two looks at the clock.
const ROUND: u32 = 16;

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    run::record_panics();
    match fuzz() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every invariant held.
fn fuzz() -> Fallible<bool> {
    let chosen: Option<String> = variable("FUZZ_TARGET")?;
    if let Some(path) = variable::<PathBuf>("FUZZ_INPUT")? {
        return repeat(&path, chosen.as_deref());
    }
    let targets: Vec<&Target> = match &chosen {
        Some(name) => vec![target(name)?],
        None => TARGETS.iter().collect(),
    };
    let seconds = variable("FUZZ_SECONDS")?.unwrap_or(60);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let seed = variable("FUZZ_SEED")?.unwrap_or(now.as_millis() as u64);
    let time = Duration::from_secs(seconds) / u32::try_from(targets.len())?;
    say(&format!("FUZZ_SEED={seed}, {time:?} for each target"))?;
    let mut all_held = true;
    for target in targets {
        all_held &= on_a_thread(move || fuzz_target(target, seed, time))??;
    }
    Ok(all_held)
}

/// The value of a variable of the environment, if it is set and not empty.
fn variable<T: FromStr>(name: &str) -> Fallible<Option<T>> {
    match env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => match value.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(format!("{name}={value} cannot be used").into()),
        },
        Err(VarError::NotPresent) => Ok(None),
        Err(error) => Err(format!("{name}: {error}").into()),
    }
}

fn target(name: &str) -> Fallible<&'static Target> {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    Target::of(name)
        .ok_or_else(|| format!("no target {name}; there are {}", names.join(", ")).into())
}

/// Calls a function where the stack is that of a thread that serves.
fn on_a_thread<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Fallible<T> {
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(call)?;
    thread.join().or(Err("the fuzzer itself panicked".into()))
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// Runs the input in a file.
fn repeat(path: &Path, chosen: Option<&str>) -> Fallible<bool> {
    let parent = path.parent().and_then(Path::file_name);
    let named = parent.map(|name| name.to_string_lossy());
    let target = target(chosen.or(named.as_deref()).unwrap_or_default())?;
    let input = fs::read(path)?;
    match on_a_thread(move || run(target, &input))? {
        Ok(behaviour) => {
            say(&format!("{}: {behaviour}", target.name))?;
            Ok(true)
        }
        Err(failure) => {
            say(&format!("{}: {failure}", target.name))?;
            Ok(false)
        }
    }
}

/// Fuzzes one target. Whether its invariants held.
fn fuzz_target(target: &Target, seed: u64, time: Duration) -> Fallible<bool> {
    let began = Instant::now();
    let mut campaign = Campaign::new(target, seed)?;
    let mut seeds = target.seeds()?.into_iter();
    let mut runs = 0_u64;
    loop {
        for _ in 0..ROUND {
            let input = seeds.next().unwrap_or_else(|| campaign.next_input());
            match run(target, &input) {
                Ok(behaviour) => campaign.note(input, behaviour),
                Err(failure) => {
                    report(target, &input, &failure)?;
                    return Ok(false);
                }
            }
            runs += 1;
        }
        let elapsed = began.elapsed();
        if elapsed >= time {
            let rate = runs as f64 / elapsed.as_secs_f64();
            let (name, behaviours) = (target.name, campaign.behaviours());
            say(&format!(
                "{name:<14} {runs:>9} runs {rate:>9.0}/s {behaviours:>5} behaviours"
            ))?;
            return Ok(true);
        }
    }
}

/// Writes a failure as a file, and says how to repeat it.
fn report(target: &Target, input: &[u8], failure: &Failure) -> Fallible<()> {
    let short = run::shorten(target, input, failure);
    let folder = folder().join("artifacts").join(target.name);
    fs::create_dir_all(&folder)?;
    let hash = blake3::hash(&short).to_hex();
    let path = folder.join(format!("crash-{}", &hash[..16]));
    fs::write(&path, &short)?;
    say(&format!(
        "{}: {failure}\nto repeat it: make fuzz FUZZ_INPUT={}",
        target.name,
        path.display()
    ))?;
    Ok(())
}
