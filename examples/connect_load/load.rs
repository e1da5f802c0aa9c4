//! The loads, and the line of results of each.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::wire::{Failure, Way, bulk_byte};

/// Threads that open idle tunnels.
const OPENERS: usize = 4;

/// After so many failures in a row a thread opens no further idle tunnels: the
/// proxy is at its bound, and each may take the whole time-out.
const MAX_FAILURES: usize = 2;

/// The buffer that a bulk tunnel is read into.
const BULK_BUFFER: usize = 256 * 1024;

/// What one client, or all of them, did.
#[derive(Default)]
struct Tally {
    micros: Vec<u32>,
    refused: u64,
    last_refusal: u16,
    io: u64,
    bytes: u64,
}

impl Tally {
    fn fail(&mut self, failure: &Failure) {
        match failure {
            Failure::Refused(status) => {
                self.refused += 1;
                self.last_refusal = *status;
            }
            Failure::Io => self.io += 1,
            Failure::Bytes => self.bytes += 1,
        }
    }

    fn add(&mut self, other: Self) {
        self.micros.extend(other.micros);
        self.refused += other.refused;
        self.last_refusal = self.last_refusal.max(other.last_refusal);
        self.io += other.io;
        self.bytes += other.bytes;
    }

    /// The value below which `share` of the sorted durations lie, in milliseconds.
    fn quantile_ms(&self, share: f64) -> f64 {
        let last = self.micros.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        f64::from(self.micros.get(index).copied().unwrap_or(0)) / 1000.0
    }

    fn is_clean(&self) -> bool {
        self.refused + self.io + self.bytes == 0
    }

    /// The failures as `key=value` pairs.
    fn failures(&self) -> String {
        format!(
            "errors={} refused={} last_refusal={} io_errors={} wrong_bytes={}",
            self.io + self.bytes,
            self.refused,
            self.last_refusal,
            self.io,
            self.bytes,
        )
    }
}

/// Runs `work` on so many threads and gives what each returned. A thread that
/// panicked counts as an error.
fn on_threads<T: Send>(
    count: usize,
    total: &mut Tally,
    work: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|index| {
                let work = &work;
                scope.spawn(move || work(index))
            })
            .collect();
        let mut results = Vec::with_capacity(count);
        for thread in threads {
            match thread.join() {
                Ok(result) => results.push(result),
                Err(_) => total.io += 1,
            }
        }
        results
    })
}

/// Short tunnels; true when none failed.
///
/// # Errors
/// When the results cannot be written.
pub(crate) fn tunnels(way: &Way, clients: usize, duration: Duration) -> io::Result<bool> {
    let mut total = Tally::default();
    let started = Instant::now();
    let deadline = started + duration;
    let tallies = on_threads(clients, &mut total, |_| {
        let mut tally = Tally::default();
        let mut begun = Instant::now();
        while begun < deadline {
            let outcome = way.open_and_echo();
            let now = Instant::now();
            match outcome.map(drop) {
                Ok(()) => tally
                    .micros
                    .push(u32::try_from((now - begun).as_micros()).unwrap_or(u32::MAX)),
                Err(failure) => tally.fail(&failure),
            }
            // A proxy that is down must not be hammered in a busy loop.
            if tally.micros.is_empty() && tally.io > 100 {
                thread::sleep(Duration::from_millis(10));
            }
            begun = now;
        }
        tally
    });
    let seconds = started.elapsed().as_secs_f64();
    for tally in tallies {
        total.add(tally);
    }
    total.micros.sort_unstable();
    let count = total.micros.len();
    writeln!(
        io::stdout(),
        "count={count} seconds={seconds:.3} p50_ms={:.3} p75_ms={:.3} p90_ms={:.3} p99_ms={:.3} \
         p999_ms={:.3} max_ms={:.3} {}",
        total.quantile_ms(0.5),
        total.quantile_ms(0.75),
        total.quantile_ms(0.9),
        total.quantile_ms(0.99),
        total.quantile_ms(0.999),
        total.quantile_ms(1.0),
        total.failures(),
    )?;
    Ok(total.is_clean() && count > 0)
}

/// Reads from a tunnel until the deadline; the bytes that came. Their values
/// are checked at both ends of each read.
fn drain(way: &Way, deadline: Instant) -> (u64, Option<Failure>) {
    let mut read = 0;
    let mut pull = || -> Result<(), Failure> {
        let mut stream = way.open()?;
        let mut buffer = vec![0; BULK_BUFFER];
        while Instant::now() < deadline {
            let got = stream.read(&mut buffer)?;
            let bytes = buffer.get(..got).unwrap_or_default();
            let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
                return Err(Failure::Io);
            };
            let end = read + got as u64;
            if *first != bulk_byte(read) || *last != bulk_byte(end - 1) {
                return Err(Failure::Bytes);
            }
            read = end;
        }
        Ok(())
    };
    let failure = pull().err();
    (read, failure)
}

/// Bulk tunnels; true when none failed.
///
/// # Errors
/// When the results cannot be written.
pub(crate) fn bulk(way: &Way, tunnels: usize, duration: Duration) -> io::Result<bool> {
    let mut total = Tally::default();
    let started = Instant::now();
    let deadline = started + duration;
    let drained = on_threads(tunnels, &mut total, |_| drain(way, deadline));
    let seconds = started.elapsed().as_secs_f64();
    let mut bytes = 0;
    for (read, failure) in drained {
        bytes += read;
        if let Some(failure) = failure {
            total.fail(&failure);
        }
    }
    writeln!(
        io::stdout(),
        "count={bytes} seconds={seconds:.3} {}",
        total.failures()
    )?;
    Ok(total.is_clean() && bytes > 0)
}

/// Opens tunnels and holds them until standard input ends; true when all were
/// opened and none had been closed by then.
///
/// # Errors
/// When the results cannot be written.
pub(crate) fn idle(way: &Way, tunnels: usize) -> io::Result<bool> {
    let mut total = Tally::default();
    let started = Instant::now();
    let opened = on_threads(OPENERS, &mut total, |index| {
        let mut tally = Tally::default();
        let mut streams = Vec::new();
        let mut in_a_row = 0;
        // The first threads take what does not divide evenly.
        let share = tunnels / OPENERS + usize::from(index < tunnels % OPENERS);
        while streams.len() < share && in_a_row < MAX_FAILURES {
            match way.open_and_echo() {
                Ok(stream) => {
                    streams.push(stream);
                    in_a_row = 0;
                }
                Err(failure) => {
                    tally.fail(&failure);
                    in_a_row += 1;
                }
            }
        }
        (streams, tally)
    });
    let mut streams = Vec::with_capacity(tunnels);
    for (some, tally) in opened {
        streams.extend(some);
        total.add(tally);
    }
    writeln!(
        io::stdout(),
        "count={} seconds={:.3} {}",
        streams.len(),
        started.elapsed().as_secs_f64(),
        total.failures()
    )?;
    io::stdout().flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    let lost = streams.iter().filter(|stream| is_closed(stream)).count();
    writeln!(io::stdout(), "lost={lost}")?;
    Ok(total.is_clean() && streams.len() == tunnels && lost == 0)
}

/// Whether the other side has ended the connection.
fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).is_err()
        || !matches!(stream.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}
