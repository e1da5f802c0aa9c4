//! The cached answer for one name: its addresses or why it has none, its expiry,
//! and the address that connected last. Sends no query.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::error::Unresolved;

/// The most addresses of one name that are kept and tried. A hostile zone can
/// send thousands; each would be evaluated on every request and sent a SYN.
pub(super) const MAX_ADDRESSES: usize = 16;

/// How long the address that connected is tried first. Then the order of RFC 8305
/// applies again, so that one failure does not disable IPv6 for good.
const PREFERENCE_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// The addresses of one name, or why it has none.
#[derive(Debug)]
pub struct DnsAnswer {
    addresses: Result<Box<[IpAddr]>, Unresolved>,
    made: Instant,
    expires: Instant,
    /// The address to try first, with an expiry; see [`Preference`].
    preference: AtomicU64,
}

impl DnsAnswer {
    /// An answer that is `made` now and valid for `ttl`.
    pub(super) fn new(
        addresses: Result<Box<[IpAddr]>, Unresolved>,
        made: Instant,
        ttl: Duration,
    ) -> Self {
        Self {
            addresses,
            made,
            expires: made + ttl,
            preference: AtomicU64::new(0),
        }
    }

    /// The addresses in the order of RFC 8305 §4; never empty.
    ///
    /// # Errors
    /// Why there are none.
    pub fn addresses(&self) -> Result<&[IpAddr], &Unresolved> {
        self.addresses.as_deref()
    }

    /// Whether the answer is still valid at `now`.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now < self.expires
    }

    /// The index of the address to dial first.
    pub(super) fn preferred(&self, now: Instant) -> usize {
        match Preference::unpack(self.preference.load(Ordering::Relaxed)) {
            Some(preference) if now < preference.until(self.made) => preference.index,
            _ => 0,
        }
    }

    /// Remembers that `winner` accepted a connection at `now`.
    pub(super) fn prefer(&self, winner: IpAddr, now: Instant) {
        let Some(index) = self.position(winner) else {
            return;
        };
        let current = Preference::unpack(self.preference.load(Ordering::Relaxed));
        // A repeated success does not extend the time, or it would never end.
        if current.is_some_and(|it| it.index == index && now < it.until(self.made)) {
            return;
        }
        self.keep_preference(index, now + PREFERENCE_LIFETIME);
    }

    /// Copies the preference of the previous answer, so that a name keeps its
    /// first address, and the connections to it in the pool, when its TTL ends.
    pub(super) fn inherit_preference(&self, previous: &DnsAnswer, now: Instant) {
        let Some(preference) = Preference::unpack(previous.preference.load(Ordering::Relaxed))
        else {
            return;
        };
        let until = preference.until(previous.made);
        let address = previous
            .addresses()
            .ok()
            .and_then(|addresses| addresses.get(preference.index));
        if let Some(index) = address.and_then(|address| self.position(*address))
            && now < until
        {
            self.keep_preference(index, until);
        }
    }

    fn position(&self, address: IpAddr) -> Option<usize> {
        let addresses = self.addresses().ok()?;
        addresses.iter().position(|known| *known == address)
    }

    fn keep_preference(&self, index: usize, until: Instant) {
        let seconds = until.saturating_duration_since(self.made).as_secs();
        let preference = Preference { index, seconds };
        self.preference.store(preference.pack(), Ordering::Relaxed);
    }
}

/// The address to dial first, packed into one word so that each request reads it
/// without a lock: seconds since the answer was made, then the index plus one.
/// Zero means none.
#[derive(Clone, Copy)]
struct Preference {
    index: usize,
    seconds: u64,
}

impl Preference {
    fn pack(self) -> u64 {
        (self.seconds << 8) | (self.index as u64 + 1)
    }

    fn unpack(word: u64) -> Option<Self> {
        let index = (word & 0xff).checked_sub(1)? as usize;
        Some(Self {
            index,
            seconds: word >> 8,
        })
    }

    fn until(self, made: Instant) -> Instant {
        made + Duration::from_secs(self.seconds)
    }
}

/// Orders addresses as RFC 8305 §4 has it: the families take turns, IPv6 first,
/// each in the order of its answer. RFC 6724's sorting by source address is left
/// out: the race finds a dead path, and the winner is remembered.
///
/// IPv4-mapped addresses become IPv4, so that the policy evaluates the dialled address.
pub(super) fn in_dial_order(found: impl IntoIterator<Item = IpAddr>) -> Box<[IpAddr]> {
    let (mut v6, mut v4) = (Vec::new(), Vec::new());
    for address in found {
        let address = address.to_canonical();
        let family = if address.is_ipv6() { &mut v6 } else { &mut v4 };
        if family.len() < MAX_ADDRESSES && !family.contains(&address) {
            family.push(address);
        }
    }
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut ordered = Vec::with_capacity((v6.len() + v4.len()).min(MAX_ADDRESSES));
    while ordered.len() < MAX_ADDRESSES {
        let before = ordered.len();
        ordered.extend(v6.next());
        ordered.extend(v4.next());
        if ordered.len() == before {
            break;
        }
    }
    ordered.truncate(MAX_ADDRESSES);
    ordered.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn answer(list: &[&str], made: Instant) -> DnsAnswer {
        DnsAnswer::new(Ok(ips(list).into()), made, Duration::from_secs(60))
    }

    #[test]
    fn families_take_turns() {
        let cases: &[(&[&str], &[&str])] = &[
            (&[], &[]),
            (&["192.0.2.1", "192.0.2.2"], &["192.0.2.1", "192.0.2.2"]),
            (
                &["192.0.2.1", "192.0.2.2", "2001:db8::1"],
                &["2001:db8::1", "192.0.2.1", "192.0.2.2"],
            ),
            (
                &["2001:db8::1", "2001:db8::2", "192.0.2.1"],
                &["2001:db8::1", "192.0.2.1", "2001:db8::2"],
            ),
            (&["::ffff:127.0.0.1", "127.0.0.1"], &["127.0.0.1"]),
        ];
        for (found, expected) in cases {
            assert_eq!(*in_dial_order(ips(found)), *ips(expected), "{found:?}");
        }
    }

    #[test]
    fn the_number_of_addresses_is_limited_and_both_families_are_kept() {
        let found = (0..4000u32).flat_map(|n| {
            let v4 = IpAddr::V4((0x0a00_0000 + n).into());
            let v6 = IpAddr::V6(u128::from(n).into());
            [v4, v6]
        });
        let ordered = in_dial_order(found);
        assert_eq!(ordered.len(), MAX_ADDRESSES);
        let v6 = ordered.iter().filter(|address| address.is_ipv6()).count();
        assert_eq!(v6, MAX_ADDRESSES / 2);
    }

    #[test]
    fn the_winner_goes_first_for_ten_minutes() {
        let made = Instant::now();
        let answer = answer(&["2001:db8::1", "192.0.2.1", "192.0.2.2"], made);
        assert_eq!(answer.preferred(made), 0);
        answer.prefer("192.0.2.2".parse().unwrap(), made);
        assert_eq!(answer.preferred(made), 2);

        // A second win of the same address does not extend the time.
        answer.prefer("192.0.2.2".parse().unwrap(), made + PREFERENCE_LIFETIME / 2);
        let end = made + PREFERENCE_LIFETIME;
        assert_eq!(answer.preferred(end - Duration::from_secs(1)), 2);
        assert_eq!(answer.preferred(end), 0);

        answer.prefer("192.0.2.1".parse().unwrap(), made);
        assert_eq!(answer.preferred(made), 1);
        answer.prefer("198.51.100.1".parse().unwrap(), made);
        assert_eq!(
            answer.preferred(made),
            1,
            "an unknown address changes nothing"
        );
    }

    #[test]
    fn the_next_answer_inherits_the_winner() {
        let made = Instant::now();
        let old = answer(&["192.0.2.1", "192.0.2.2"], made);
        old.prefer("192.0.2.1".parse().unwrap(), made);
        let later = made + Duration::from_secs(61);

        let rotated = answer(&["192.0.2.2", "192.0.2.1"], later);
        rotated.inherit_preference(&old, later);
        assert_eq!(rotated.preferred(later), 1);
        assert_eq!(rotated.preferred(made + PREFERENCE_LIFETIME), 0);

        let moved = answer(&["198.51.100.1", "192.0.2.2"], later);
        moved.inherit_preference(&old, later);
        assert_eq!(moved.preferred(later), 0, "the winner is not in the answer");

        let much_later = made + PREFERENCE_LIFETIME;
        let same = answer(&["192.0.2.2", "192.0.2.1"], much_later);
        same.inherit_preference(&old, much_later);
        assert_eq!(same.preferred(much_later), 0, "the time is over");
    }
}
