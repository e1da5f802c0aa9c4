//! What the bytes of a request or a tunnel are charged to: its class, and the member that it is of.

use std::ops::{AddAssign, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thiserror::Error;

use super::bandwidth::{Bandwidth, Flow, LONGEST_WAIT, Lent};
use super::class::{Class, Limit, Per};
use super::members::Member;
use super::quota::{Ledger, OnQuota, now};
use super::rate::Elapsed;
use crate::access::policy::Name;

/// Bytes of both directions, as the client's connection carries them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// To the client.
    pub download: u64,
    /// From the client.
    pub upload: u64,
}

/// What of a class a request's bytes are charged to. A clone is of the same class and member, and may live longer than the
/// ticket: a body can be on its way after its request has given the ticket back.
#[derive(Clone, Debug)]
pub struct Account {
    pub(super) class: Arc<Class>,
    /// None in a class without limits.
    pub(super) member: Option<Arc<Member>>,
    /// Where its quota is counted; none in a class without one.
    pub(super) ledger: Option<Arc<Ledger>>,
}

/// Why a connection carries no more: the cause of an error of its stream.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("over {class}.{} of its {}", .limit.as_str(), .per.as_str())]
pub struct OverLimit {
    class: Name,
    per: Per,
    /// The limit.
    pub limit: Limit,
}

/// Bytes that are counted by all connections at once.
#[derive(Debug, Default)]
pub(super) struct Counter {
    download: AtomicU64,
    upload: AtomicU64,
}

impl Account {
    /// Charges bytes that were carried. The one place where bytes count: for tunnels, for WebSockets and for the bodies of
    /// requests and responses.
    ///
    /// `Break` has the limit that they are over: the connection carries no more. That is a quota which cuts.
    pub fn carried(&self, bytes: Volume) -> ControlFlow<Limit> {
        self.class.tally.bytes.add(bytes);
        if let Some(member) = &self.member {
            member.bytes.add(bytes);
        }
        match &self.ledger {
            None => ControlFlow::Continue(()),
            Some(ledger) => self.count(ledger, bytes.sum()),
        }
    }

    fn count(&self, ledger: &Arc<Ledger>, bytes: u64) -> ControlFlow<Limit> {
        let quota = self.class.limits().quota.as_ref();
        let (Some(ledgers), Some(quota)) = (&self.class.ledgers, quota) else {
            return ControlFlow::Continue(());
        };
        let counted = ledgers.add(ledger, quota, bytes, now());
        if let Some(fleet) = self.class.fleet()
            && let Some(instances) = fleet.instances()
            && ledger.is_near_end(quota, instances)
        {
            fleet.wake();
        }
        match (counted, quota.on_quota()) {
            (Err(ended), OnQuota::Cut) => ControlFlow::Break(Limit::Quota(ended.period)),
            _ => ControlFlow::Continue(()),
        }
    }

    /// The name of its class.
    pub fn class_name(&self) -> &Name {
        self.class.full_name()
    }

    /// Whether [`carried`](Self::carried) is called each time that bytes were: those of a quota are written down, and end what
    /// is open.
    pub fn is_exact(&self) -> bool {
        self.ledger.is_some()
    }

    /// The reason for an error, of a limit of this account.
    pub fn over(&self, limit: Limit) -> OverLimit {
        OverLimit {
            class: self.class.full_name().clone(),
            per: self.class.per(),
            limit,
        }
    }

    /// The most bytes that a connection is lent at once; none where this direction has no limit.
    pub fn part(&self, flow: Flow) -> Option<u64> {
        self.bandwidth(flow).map(|(_, bandwidth)| bandwidth.part())
    }

    /// The longest that bytes of this direction may have to wait.
    pub fn longest_wait(&self, flow: Flow) -> Duration {
        match self.bandwidth(flow) {
            Some(_) => LONGEST_WAIT,
            None => Duration::ZERO,
        }
    }

    /// Lends bytes of a part, if they may pass at once.
    pub fn lend_now(&self, flow: Flow, bytes: u64) -> bool {
        let lent = self.bandwidth(flow);
        lent.is_none_or(|(lent, bandwidth)| lent.lend_now(bytes, bandwidth, Elapsed::now()))
    }

    /// Lends bytes. How long until they may pass, at most [`longest_wait`](Self::longest_wait).
    pub fn lend(&self, flow: Flow, bytes: u64) -> Duration {
        match self.bandwidth(flow) {
            Some((lent, bandwidth)) => lent.lend(bytes, bandwidth, Elapsed::now()),
            None => Duration::ZERO,
        }
    }

    /// Takes back what was lent and did not pass.
    pub fn give_back(&self, flow: Flow, bytes: u64) {
        if let Some((lent, _)) = self.bandwidth(flow)
            && bytes > 0
        {
            lent.give_back(bytes);
        }
    }

    fn bandwidth(&self, flow: Flow) -> Option<(&Lent, &Bandwidth)> {
        let member = self.member.as_ref()?;
        let limits = self.class.limits();
        match flow {
            Flow::Download => Some((&member.download, limits.download.as_ref()?)),
            Flow::Upload => Some((&member.upload, limits.upload.as_ref()?)),
        }
    }

    /// The most bytes of each direction that may be carried before [`carried`](Self::carried) is called.
    pub fn report_after(&self) -> u64 {
        u64::MAX
    }
}

impl Volume {
    /// Bytes to the client.
    pub fn down(download: u64) -> Volume {
        Volume {
            download,
            upload: 0,
        }
    }

    /// Bytes from the client.
    pub fn up(upload: u64) -> Volume {
        Volume {
            download: 0,
            upload,
        }
    }

    /// Both directions together.
    pub fn sum(self) -> u64 {
        self.download.saturating_add(self.upload)
    }
}

impl AddAssign for Volume {
    fn add_assign(&mut self, other: Volume) {
        self.download += other.download;
        self.upload += other.upload;
    }
}

impl Counter {
    fn add(&self, bytes: Volume) {
        for (counter, bytes) in [
            (&self.download, bytes.download),
            (&self.upload, bytes.upload),
        ] {
            if bytes > 0 {
                counter.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn get(&self) -> Volume {
        Volume {
            download: self.download.load(Ordering::Relaxed),
            upload: self.upload.load(Ordering::Relaxed),
        }
    }
}
