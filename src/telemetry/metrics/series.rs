//! Series of families with fixed labels. Each is found when the program starts,
//! so that to count is an addition.

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, Registry};

use super::declare::{Counters, Declared, Metric};
use crate::http::role::Role;
use crate::telemetry::counters::StatusCounters;
use crate::telemetry::record::{ROLES, role_name};

/// One of each for every role.
pub(crate) struct ByRole<T>([T; ROLES.len()]);

impl<T> ByRole<T> {
    fn each(make: impl FnMut(Option<Role>) -> T) -> Self {
        Self(ROLES.map(make))
    }

    pub(crate) fn of(&self, role: Option<Role>) -> &T {
        let [forward, tunnel, gateway, unknown] = &self.0;
        match role {
            Some(Role::Forward) => forward,
            Some(Role::Tunnel) => tunnel,
            Some(Role::Gateway) => gateway,
            None => unknown,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

impl Counters for ByRole<StatusCounters> {
    fn of(family: IntCounterVec) -> Self {
        Self::each(|role| StatusCounters::new(&family, role_name(role)))
    }
}

impl Counters for ByRole<Bytes> {
    fn of(family: IntCounterVec) -> Self {
        Self::each(|role| Bytes::of(&family, role_name(role)))
    }
}

impl Metric for ByRole<Histogram> {
    fn register(registry: &Registry, declared: &Declared) -> prometheus::Result<Self> {
        let family = HistogramVec::register(registry, declared)?;
        Ok(Self::each(|role| {
            family.with_label_values(&[role_name(role)])
        }))
    }
}

/// Bytes by direction, of a role or of a user.
#[derive(Debug)]
pub(crate) struct Bytes {
    pub(crate) from_client: IntCounter,
    pub(crate) to_client: IntCounter,
}

impl Bytes {
    /// Those of a family with `owner` as its first label.
    pub(crate) fn of(family: &IntCounterVec, owner: &str) -> Self {
        Self {
            from_client: family.with_label_values(&[owner, "from_client"]),
            to_client: family.with_label_values(&[owner, "to_client"]),
        }
    }

    pub(crate) fn add(&self, from_client: u64, to_client: u64) {
        self.from_client.inc_by(from_client);
        self.to_client.inc_by(to_client);
    }
}

/// Reloads by result.
pub(crate) struct Reloads {
    pub(crate) succeeded: IntCounter,
    pub(crate) incomplete: IntCounter,
    pub(crate) failed: IntCounter,
}

impl Counters for Reloads {
    fn of(family: IntCounterVec) -> Self {
        Self {
            succeeded: family.with_label_values(&["success"]),
            incomplete: family.with_label_values(&["partial"]),
            failed: family.with_label_values(&["failure"]),
        }
    }
}

/// Times that failed logins have locked out, by scope.
pub(crate) struct Lockouts {
    /// Users, each at a network.
    pub(crate) users: IntCounter,
    pub(crate) networks: IntCounter,
}

impl Counters for Lockouts {
    fn of(family: IntCounterVec) -> Self {
        Self {
            users: family.with_label_values(&["user"]),
            networks: family.with_label_values(&["network"]),
        }
    }
}

/// Lines of the access log that were lost, by reason.
#[derive(Debug, Clone)]
pub(crate) struct Losses {
    /// The queue was full, or the writer could not be started.
    pub(crate) overflow: IntCounter,
    /// The line could not be written.
    pub(crate) write_error: IntCounter,
}

impl Losses {
    /// Lines that were lost for either reason.
    pub(crate) fn sum(&self) -> u64 {
        self.overflow.get().saturating_add(self.write_error.get())
    }
}

impl Counters for Losses {
    fn of(family: IntCounterVec) -> Self {
        Self {
            overflow: family.with_label_values(&["overflow"]),
            write_error: family.with_label_values(&["write_error"]),
        }
    }
}
