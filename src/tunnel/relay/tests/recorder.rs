//! A meter that records what it is told, and does what a test says.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::support::NEVER;
use crate::tunnel::{Meter, Source, Traffic};

/// What a meter does after a report: it stops the tunnel, or pauses both directions.
pub(super) type Answer = ControlFlow<&'static str, Duration>;

/// Records the calls of a meter, and answers them.
pub(super) struct Recorder {
    reports: Mutex<Vec<Traffic>>,
    report_after: u64,
    answer: Box<dyn Fn(Traffic) -> Answer + Send + Sync>,
    /// Whether it lends, or lets all pass.
    lends: bool,
    /// The source that a pause is for; both without one.
    only: Option<Source>,
    /// The end of a pause, once for each source.
    paused_until: Mutex<[Option<Instant>; 2]>,
    /// What is lent and neither read nor given back, at most.
    lent: [AtomicU64; 2],
}

impl Recorder {
    pub(super) fn new(
        report_after: u64,
        answer: impl Fn(Traffic) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self {
            reports: Mutex::default(),
            report_after,
            answer: Box::new(answer),
            lends: true,
            only: None,
            paused_until: Mutex::default(),
            lent: Default::default(),
        }
    }

    /// How long a source is paused from now on.
    fn pause(&self, source: Source) -> Duration {
        let until = self.paused_until.lock().unwrap()[source as usize];
        until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }

    /// Pauses one source alone.
    pub(super) fn of(mut self, source: Source) -> Self {
        self.only = Some(source);
        self
    }

    pub(super) fn lends(&self) -> bool {
        self.lends
    }

    /// What was lent and was not given back, from the client and from the upstream.
    pub(super) fn lent(&self) -> [u64; 2] {
        [0, 1].map(|source: usize| self.lent[source].load(Ordering::Relaxed))
    }

    pub(super) fn reports(&self) -> Vec<Traffic> {
        self.reports.lock().unwrap().clone()
    }
}

impl Default for Recorder {
    fn default() -> Self {
        let mut recorder = Self::new(u64::MAX, |_| Answer::Continue(Duration::ZERO));
        recorder.lends = false;
        recorder
    }
}

impl Meter for Recorder {
    fn moved(&self, traffic: Traffic) -> ControlFlow<&'static str> {
        self.reports.lock().unwrap().push(traffic);
        let pause = (self.answer)(traffic)?;
        if !pause.is_zero() {
            let end = Instant::now() + pause.min(10 * NEVER);
            let mut until = self.paused_until.lock().unwrap();
            for source in [Source::Client, Source::Upstream] {
                if self.only.is_none_or(|only| only == source) {
                    let until = &mut until[source as usize];
                    *until = (*until).max(Some(end));
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn report_after(&self) -> u64 {
        self.report_after
    }

    fn part(&self, _: Source) -> Option<u64> {
        self.lends.then_some(self.report_after)
    }

    fn lend_now(&self, source: Source, bytes: u64) -> bool {
        self.pause(source).is_zero() && self.lend(source, bytes).is_zero()
    }

    fn lend(&self, source: Source, bytes: u64) -> Duration {
        self.lent[source as usize].fetch_add(bytes, Ordering::Relaxed);
        let pause = self.pause(source);
        self.paused_until.lock().unwrap()[source as usize] = None;
        pause
    }

    fn give_back(&self, source: Source, bytes: u64) {
        self.lent[source as usize].fetch_sub(bytes, Ordering::Relaxed);
    }
}
