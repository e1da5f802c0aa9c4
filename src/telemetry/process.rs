//! What the operating system says about this process, read when asked for.
//!
//! The names are those that every Prometheus client uses.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus::{Counter, Gauge, IntGauge, Registry};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::metrics::declare::metrics;
use super::rows::{Descriptors, ProcessRow, Thousandths};
use super::text::Clock;

/// The process' own series.
pub(crate) struct Process {
    basic: Basic,
    /// Held by the one who reads, so that two scrapes do not add the same time twice.
    refreshing: Mutex<()>,
    /// Absent where there is no `/proc`.
    proc: Option<Proc>,
}

metrics! {
    /// What every system tells.
    struct Basic;
    "process_cpu_seconds_total" counter => cpu_seconds: Counter,
        "Processor time used, user and system, in seconds.";
    "process_start_time_seconds" gauge => start: Gauge,
        "Start of the process as Unix time in seconds.";
    "process_max_fds" gauge => max_fds: IntGauge,
        "File descriptors that may be open at once.";
}

metrics! {
    /// What `/proc` tells.
    struct Proc;
    "process_open_fds" gauge => open_fds: IntGauge,
        "File descriptors that are open." "Linux only.";
    "process_resident_memory_bytes" gauge => resident_bytes: IntGauge,
        "Resident memory in bytes." "Linux only.";
    "process_virtual_memory_bytes" gauge => virtual_bytes: IntGauge,
        "Mapped memory in bytes." "Linux only.";
    "process_threads" gauge => threads: IntGauge,
        "Threads of the process." "Linux only.";
}

impl Process {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let basic = Basic::register(registry)?;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        basic
            .start
            .set(since_epoch.unwrap_or_default().as_secs_f64());
        let proc = match status() {
            Some(_) => Some(Proc::register(registry)?),
            None => None,
        };
        Ok(Process {
            basic,
            refreshing: Mutex::new(()),
            proc,
        })
    }

    /// Every metric, those of `/proc` last.
    #[cfg(test)]
    pub(crate) fn reference() -> Vec<[String; 4]> {
        [Basic::reference(), Proc::reference()].concat()
    }

    /// What is shown of a process that has `started`, but for what it counts by itself.
    pub(crate) fn row(&self, started: Instant) -> ProcessRow {
        let status = status();
        let uptime = started.elapsed();
        let began = SystemTime::now().checked_sub(uptime);
        ProcessRow {
            version: super::VERSION,
            pid: std::process::id(),
            started_at: Clock::default().rfc3339(began.unwrap_or(UNIX_EPOCH)),
            uptime_seconds: uptime.as_secs(),
            threads: status.as_ref().map(|status| status.threads),
            descriptors: Descriptors {
                open: open_fds(),
                limit: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            },
            memory_bytes: status.map(|status| status.resident_bytes),
            // Above 0, and below 2^53 milliseconds.
            cpu_seconds: Thousandths((cpu_seconds() * 1000.0) as u64),
            log_dropped: 0,
            reload: None,
        }
    }

    /// Brings the series up to date.
    pub(crate) fn refresh(&self) {
        let _alone = self.refreshing.lock();
        let counter = &self.basic.cpu_seconds;
        counter.inc_by((cpu_seconds() - counter.get()).max(0.0));
        // No limit is the largest number that there can be.
        let max_fds = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        self.basic.max_fds.set(saturate(max_fds));
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
        let first = process.basic.cpu_seconds.get();
        process.refresh();
        assert!(process.basic.cpu_seconds.get() >= first);
        assert!(process.basic.max_fds.get() > 0);
        if let Some(proc) = &process.proc {
            assert!(proc.open_fds.get() > 2);
            assert!(proc.resident_bytes.get() > 100_000);
            assert!(proc.virtual_bytes.get() >= proc.resident_bytes.get());
            assert!(proc.threads.get() > 0);
        }
    }
}
