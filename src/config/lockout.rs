//! `auth.lockout`: when failed logins lock out.

use std::time::Duration;

use super::keys::form::{Absent, Take, Within};
use super::keys::keys;
#[cfg(test)]
use super::keys::shape::{DefaultText, Shape};
use super::reader::Section;
use super::units::{days, hours, milliseconds, minutes, seconds};
use crate::access::auth::lockout::LockoutSettings;

keys! {
    /// The map, where it is not `off`.
    pub(super) struct LockoutKeys {
        /// Failed logins of a user from one network (an address of IPv4, a /64 of IPv6) within `window`, of which the last
        /// one locks the user out at this network. The same wrong password again counts once.
        failures: usize = 5, Within(1..=1_000_000);
        /// The same for all users of a network together, which locks the network out.
        network_failures: usize = 50, Within(1..=1_000_000);
        /// How long failed logins count, and how long after its end a lock does.
        window: Duration = minutes(1), Within(seconds(1)..=hours(24));
        /// The first lock.
        first: Duration = seconds(1), Within(milliseconds(1)..=days(1));
        /// How many times as long each further lock is, after one more failed login.
        factor: usize = 2, Within(1..=100);
        /// The longest lock.
        max: Duration = minutes(15), Within(seconds(1)..=days(1));
        /// How many users with their networks are kept, and how many networks; some 100 bytes each. The ones that count
        /// least are forgotten first.
        entries: usize = 65_536, Within(8..=10_000_000);
    }
}

/// The map, which may be left out, or `off`.
pub(super) struct LockoutOrOff;

impl<'d> Take<'d, Option<LockoutSettings>> for LockoutOrOff {
    type Default = Absent;

    fn take(
        &self,
        section: &mut Section<'d>,
        key: &'static str,
        _: Absent,
    ) -> Option<LockoutSettings> {
        let item = section.item(key);
        if item.as_ref().is_some_and(|item| item.is_word("off")) {
            section.note_meaning(key, "off");
            return None;
        }
        let mut section = match item {
            Some(item) => item.section(),
            None => section.part(key).section(),
        };
        let keys = LockoutKeys::take(&mut section);
        if keys.first > keys.max && section.is_known(&["first", "max"]) {
            let message = "longer than `max`, the longest lock";
            section.report("first", message, "write a shorter one, or a longer `max`");
        }
        if keys.network_failures < keys.failures
            && section.is_known(&["failures", "network_failures"])
        {
            section.warn(
                "network_failures",
                "less than `failures`: failed logins of one user lock all users of the network, and never the user alone",
                "write more than `failures`",
            );
        }
        section.finish();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Some(LockoutSettings {
            failures: number(keys.failures),
            network_failures: number(keys.network_failures),
            window: keys.window,
            first: keys.first,
            factor: number(keys.factor),
            max: keys.max,
            entries: keys.entries,
        })
    }

    #[cfg(test)]
    fn default(&self, default: Absent) -> DefaultText {
        default.into()
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        Shape::Map(LockoutKeys::keys).or(&["off"])
    }
}
