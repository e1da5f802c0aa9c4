//! What a process counts that no longer owns the store: it tells the owner.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::link::{self, Answer, LinkError, Request};
use super::offline::Offline;
use super::store::{LastReport, Reports, StoreError};
use super::{StoreSettings, socket_path};
use crate::access::limits::quota::{
    Balance, Balances, Ledger, Ledgers, Member, Names, Period, Window, now,
};

/// The most ledgers of one report.
const MAX_LEDGERS: usize = 512;

/// How long a process may have the store without listening.
const PATIENCE: Duration = Duration::from_secs(3);

const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// What a process has counted since its last report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The number of the process, drawn by lot.
    process: u64,
    /// From 1 on.
    sequence: u64,
    ledgers: Vec<Counted>,
}

/// A ledger in a report: what was counted. In its answer: what the owner knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counted {
    class: String,
    member: String,
    balances: Vec<(u8, i64, i64, u64, u64)>,
}

/// Tells the owner of a store.
pub(super) struct Reporter {
    settings: StoreSettings,
    process: u64,
    sequence: u64,
    /// What is told until it is answered.
    pending: Vec<(Arc<Ledger>, Balances)>,
    /// What is told after it.
    changed: Vec<Arc<Ledger>>,
}

/// Why a report did not get through.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReportError {
    /// The owner does not answer.
    #[error("the process that owns the balances does not answer: {0}")]
    Link(#[from] LinkError),
    /// There is no owner, and the store cannot be written.
    #[error("the balances cannot be written: {0}")]
    Store(#[from] StoreError),
    /// The answer is none to a report.
    #[error("the process that owns the balances is of another version")]
    Answer,
}

impl Counted {
    fn new(ledger: &Ledger, balances: &[Balance], bytes: impl Fn(&Balance) -> (u64, u64)) -> Self {
        let key = ledger.key();
        let numbers = |balance: &Balance| {
            let (used, granted) = bytes(balance);
            let Window { start, end } = balance.window;
            (balance.period as u8, start, end, used, granted)
        };
        Counted {
            class: key.class.as_str().to_owned(),
            member: key.member.to_string(),
            balances: balances.iter().map(numbers).collect(),
        }
    }

    fn balances(&self) -> Option<Balances> {
        let balance = |&(period, start, end, used, granted): &(u8, i64, i64, u64, u64)| {
            Some(Balance {
                period: *Period::ALL.get(usize::from(period))?,
                window: Window { start, end },
                used,
                granted,
                unsaved: 0,
                resets: 0,
            })
        };
        self.balances.iter().map(balance).collect()
    }
}

impl Report {
    /// Adds what was counted, unless that has been done before, and answers with the sums.
    pub(super) fn apply(&self, ledgers: &Ledgers, reports: &mut Reports) -> Vec<Counted> {
        let last = reports.get(&self.process);
        let is_new = last.is_none_or(|last| last.sequence < self.sequence);
        if is_new {
            let last = LastReport {
                sequence: self.sequence,
                time: now(),
            };
            reports.insert(self.process, last);
        }
        let mut names = Names::default();
        let counted = self.ledgers.iter().filter_map(|counted| {
            let class = names.get(&counted.class)?;
            let member = Member::parse(&counted.member)?;
            let ledger = ledgers.of_member(&class, &member);
            if is_new {
                let balances: Balances = counted.balances()?;
                let unsaved = balances.into_iter().map(|balance| Balance {
                    unsaved: balance.used,
                    ..balance
                });
                ledgers.join(&ledger, &unsaved.collect::<Balances>());
            }
            let of_member = |balance: &Balance| (balance.used, balance.granted);
            let mut known = Counted::new(&ledger, &ledger.balances(), of_member);
            // There may be no room for the member here.
            known.member.clone_from(&counted.member);
            Some(known)
        });
        counted.collect()
    }
}

impl Reporter {
    /// One that tells the next owner of this store.
    pub(super) fn new(settings: StoreSettings) -> Reporter {
        Reporter {
            settings,
            // Without random numbers, the time differs from that of every other process well enough.
            process: getrandom::u64().unwrap_or_else(|_| now().unsigned_abs()),
            sequence: 1,
            pending: Vec::new(),
            changed: Vec::new(),
        }
    }

    /// Tells what was counted since the last time.
    ///
    /// # Errors
    /// The owner does not answer. It is told again the next time.
    pub(super) fn report(&mut self, ledgers: &Ledgers) -> Result<(), ReportError> {
        self.each_report(ledgers, |reporter| reporter.send())
    }

    /// The same for the last time: where there is no owner, it is written into the store.
    ///
    /// # Errors
    /// Neither could be done.
    pub(super) fn finish(&mut self, ledgers: &Ledgers) -> Result<(), ReportError> {
        let deadline = Instant::now() + PATIENCE;
        let mut offline = loop {
            match self.report(ledgers) {
                Err(ReportError::Link(LinkError::NoOwner)) => {}
                told => return told,
            }
            match Offline::open(&self.settings) {
                // An owner that does not listen yet.
                Err(StoreError::Locked) if Instant::now() < deadline => {
                    thread::sleep(RETRY_PAUSE);
                }
                opened => break opened?,
            }
        };
        self.each_report(ledgers, |reporter| {
            let report = reporter.to_report();
            report.apply(&offline.ledgers, &mut offline.reports);
            Ok(())
        })?;
        Ok(offline.save()?)
    }

    fn each_report(
        &mut self,
        ledgers: &Ledgers,
        mut tell: impl FnMut(&mut Reporter) -> Result<(), ReportError>,
    ) -> Result<(), ReportError> {
        self.changed.append(&mut ledgers.take_changed());
        loop {
            if self.pending.is_empty() {
                let from = self.changed.len().saturating_sub(MAX_LEDGERS);
                let next = self.changed.drain(from..);
                let next = next.map(|ledger| {
                    let taken = ledger.take();
                    (ledger, taken)
                });
                self.pending = next.collect();
            }
            if self.pending.is_empty() {
                return Ok(());
            }
            tell(self)?;
            self.pending.clear();
            self.sequence += 1;
        }
    }

    /// A report of what has changed.
    #[cfg(test)]
    pub(super) fn first(&mut self, ledgers: &Ledgers) -> Report {
        let mut report = None;
        let told = self.each_report(ledgers, |reporter| {
            report = Some(reporter.to_report());
            Err(ReportError::Answer)
        });
        assert!(told.is_err());
        report.unwrap()
    }

    fn to_report(&self) -> Report {
        let unsaved = |balance: &Balance| (balance.unsaved, 0);
        let counted = self.pending.iter();
        Report {
            process: self.process,
            sequence: self.sequence,
            ledgers: counted
                .map(|(ledger, balances)| Counted::new(ledger, balances, unsaved))
                .collect(),
        }
    }

    fn send(&mut self) -> Result<(), ReportError> {
        let mut answered = None;
        let request = Request::Report(self.to_report());
        link::ask(&socket_path(self.settings.path()), &request, |answer| {
            if let Answer::Counted(counted) = answer {
                answered = Some(counted);
            }
        })?;
        let counted = answered.ok_or(ReportError::Answer)?;
        for ((ledger, _), counted) in self.pending.iter().zip(&counted) {
            let key = ledger.key();
            let is_same =
                *key.class.as_str() == *counted.class && key.member.to_string() == counted.member;
            if let Some(balances) = counted.balances().filter(|_| is_same) {
                ledger.follow(&balances);
            }
        }
        Ok(())
    }
}
