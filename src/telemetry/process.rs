//! What the operating system says about this process, read when asked for.
//!
//! The names are those that every Prometheus client uses.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus::{Counter, Gauge, IntGauge, Registry};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::names;

/// The process' own series.
pub(crate) struct Process {
    cpu_seconds: Mutex<Counter>,
    max_fds: IntGauge,
    /// Absent where there is no `/proc`.
    proc: Option<Proc>,
}

struct Proc {
    open_fds: IntGauge,
    resident_bytes: IntGauge,
    virtual_bytes: IntGauge,
    threads: IntGauge,
}

impl Process {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name, help| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let cpu_seconds = Counter::new(
            names::PROCESS_CPU_SECONDS_TOTAL,
            "Processor time used, user and system, in seconds.",
        )?;
        registry.register(Box::new(cpu_seconds.clone()))?;
        let start = Gauge::new(
            names::PROCESS_START_TIME_SECONDS,
            "Start of the process as Unix time in seconds.",
        )?;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        start.set(since_epoch.unwrap_or_default().as_secs_f64());
        registry.register(Box::new(start))?;
        let max_fds = gauge(
            names::PROCESS_MAX_FDS,
            "File descriptors that may be open at once.",
        )?;
        let proc = if status().is_some() {
            Some(Proc {
                open_fds: gauge(names::PROCESS_OPEN_FDS, "File descriptors that are open.")?,
                resident_bytes: gauge(
                    names::PROCESS_RESIDENT_MEMORY_BYTES,
                    "Resident memory in bytes.",
                )?,
                virtual_bytes: gauge(
                    names::PROCESS_VIRTUAL_MEMORY_BYTES,
                    "Mapped memory in bytes.",
                )?,
                threads: gauge(names::PROCESS_THREADS, "Threads of the process.")?,
            })
        } else {
            None
        };
        Ok(Process {
            cpu_seconds: Mutex::new(cpu_seconds),
            max_fds,
            proc,
        })
    }

    /// Brings the series up to date.
    pub(crate) fn refresh(&self) {
        {
            // Locked, so that two scrapes do not add the same time twice.
            let counter = self.cpu_seconds.lock();
            counter.inc_by((cpu_seconds() - counter.get()).max(0.0));
        }
        // No limit is the largest number that there can be.
        let max_fds = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        self.max_fds.set(saturate(max_fds));
        let Some(proc) = &self.proc else { return };
        if let Some(open) = open_fds() {
            proc.open_fds.set(saturate(open));
        }
        if let Some(status) = status() {
            proc.resident_bytes.set(saturate(status.resident_bytes));
            proc.virtual_bytes.set(saturate(status.virtual_bytes));
            proc.threads.set(saturate(status.threads));
        }
    }
}

fn cpu_seconds() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    // Both parts are small enough to be exact.
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

fn open_fds() -> Option<u64> {
    const DIRECTORY: &str = "/proc/self/fd";
    // Since Linux 6.2 the size is the number; before, it is 0 and one counts,
    // which takes milliseconds when there are ten thousands.
    match fs::metadata(DIRECTORY).ok()?.size() {
        0 => u64::try_from(fs::read_dir(DIRECTORY).ok()?.count()).ok(),
        size => Some(size),
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Status {
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: u64,
}

fn status() -> Option<Status> {
    fs::read_to_string("/proc/self/status")
        .ok()
        .map(|text| parse_status(&text))
}

fn parse_status(text: &str) -> Status {
    let mut status = Status::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let number = value.split_ascii_whitespace().next();
        let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) else {
            continue;
        };
        match key {
            "VmRSS" => status.resident_bytes = number.saturating_mul(1024),
            "VmSize" => status.virtual_bytes = number.saturating_mul(1024),
            "Threads" => status.threads = number,
            _ => {}
        }
    }
    status
}

fn saturate(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_status_file() {
        let text = "Name:\ttollgate\nVmPeak:\t  9 kB\nVmSize:\t  2048 kB\nVmRSS:\t    16 kB\n\
                    odd line\nVmLck:\tx kB\nThreads:\t7\n";
        let expected = Status {
            resident_bytes: 16 * 1024,
            virtual_bytes: 2048 * 1024,
            threads: 7,
        };
        assert_eq!(parse_status(text), expected);
        assert_eq!(parse_status(""), Status::default());
    }

    #[test]
    fn shows_what_this_process_uses() {
        let registry = Registry::new();
        let process = Process::register(&registry).unwrap();
        process.refresh();
        let first = process.cpu_seconds.lock().get();
        process.refresh();
        assert!(process.cpu_seconds.lock().get() >= first);
        assert!(process.max_fds.get() > 0);
        if let Some(proc) = &process.proc {
            assert!(proc.open_fds.get() > 2);
            assert!(proc.resident_bytes.get() > 100_000);
            assert!(proc.virtual_bytes.get() >= proc.resident_bytes.get());
            assert!(proc.threads.get() > 0);
        }
    }
}
