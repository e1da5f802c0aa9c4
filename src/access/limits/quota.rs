//! Quotas: how many bytes a member of a class may move in an hour, a day, a week and a month, and what it has used.
//!
//! ```text
//! class, member -> Ledger -> a Balance for each period: window (start, end), used, granted
//! ```
//!
//! - A [`Balance`] has the bytes of one [`Window`]. The window is computed once, in the time zone of the quotas, and
//!   kept with the bytes: a balance is emptied when the clock reaches the end of its window, and for no other reason. A
//!   clock that steps back therefore neither empties nor reopens a window, and bytes count in one window alone.
//! - A [`Ledger`] has the balances of one member. Its lock is held for a few additions.
//! - [`Ledgers`] is the table of all of them, in parts with a lock each. Its size is limited; members for which there
//!   is no room have one ledger together in each class.
//! - A ledger that changes enters a list, which the keeper of the balances takes to write it down: what is written is
//!   what has changed, and no search of the table is needed for it. A balance knows how many of its bytes are `unsaved`.
//!
//! The time is an argument; [`now`] is what callers take. Files, threads and other processes are in [`crate::balances`].

use std::fmt;

use crate::access::policy::Zone;
use crate::text::units::show_size;

mod ledger;
mod ledgers;
mod listing;
mod period;
#[cfg(test)]
mod tests;

pub use self::ledger::{Balance, Balances, Key, Ledger, Member};
pub use self::ledgers::{Ledgers, Loaded, Names};
pub use self::listing::{Filter, Largest, Row, Totals};
pub use self::period::{Period, Window, moment_text, now};

/// The limits of the bytes that a member moves. At least one is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    limits: [Option<u64>; Period::ALL.len()],
    on_quota: OnQuota,
    zone: Zone,
}

/// What happens to requests and tunnels that are open when a quota ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnQuota {
    /// They end.
    #[default]
    Cut,
    /// They go on; new ones are refused.
    RefuseNew,
}

/// A quota that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Of these, the one that begins anew last.
    pub period: Period,
    /// When it begins anew, in seconds since 1970.
    pub resets: i64,
}

impl Quota {
    /// A quota of these limits; none without a limit.
    pub fn new(
        limits: [Option<u64>; Period::ALL.len()],
        on_quota: OnQuota,
        zone: Zone,
    ) -> Option<Quota> {
        let has_one = limits.iter().any(Option::is_some);
        has_one.then_some(Quota {
            limits,
            on_quota,
            zone,
        })
    }

    /// The time zone in which its periods begin.
    pub fn zone(&self) -> Zone {
        self.zone
    }

    /// The limit of a period, if it has one.
    pub fn limit(&self, period: Period) -> Option<u64> {
        self.limits.get(period as usize).copied().flatten()
    }

    /// The periods that have a limit.
    pub fn periods(&self) -> impl Iterator<Item = (Period, u64)> + '_ {
        let limit = |period| Some((period, self.limit(period)?));
        Period::ALL.into_iter().filter_map(limit)
    }

    /// What happens when it ends.
    pub fn on_quota(&self) -> OnQuota {
        self.on_quota
    }
}

impl OnQuota {
    /// Each of them.
    pub const ALL: [OnQuota; 2] = [OnQuota::Cut, OnQuota::RefuseNew];

    /// As in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            OnQuota::Cut => "cut",
            OnQuota::RefuseNew => "refuse_new",
        }
    }
}

impl fmt::Display for Quota {
    /// `quota 1GB a day, 2TiB a month (cut)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("quota ")?;
        for (number, (period, limit)) in self.periods().enumerate() {
            let separator = if number > 0 { ", " } else { "" };
            let (limit, a) = (show_size(limit), period.article());
            write!(f, "{separator}{limit} {a} {}", period.as_str())?;
        }
        write!(f, " ({})", self.on_quota.as_str())
    }
}
