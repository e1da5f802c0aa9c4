//! A name in a pool: its addresses as they were found last, and what the log says of them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::http::error::RequestError;
use crate::telemetry::throttle::Throttle;
use crate::upstream::dial::Dialer;

/// Whether an address leads to one of Tollgate's own listeners.
pub type IsOwn = dyn Fn(SocketAddr) -> bool + Send + Sync;

/// A name with its port. Prints as `backend:80`.
pub(super) struct Name {
    pub(super) host: Box<str>,
    pub(super) port: u16,
    found: Mutex<Found>,
    /// Whether a look-up is under way.
    is_asked: AtomicBool,
    told_change: Throttle,
    told_trouble: Throttle,
}

#[derive(Default)]
struct Found {
    /// In ascending order, without those that lead here.
    addresses: Vec<IpAddr>,
    /// Why the last look-up failed.
    trouble: Option<String>,
    /// Whether the log says that an address leads here.
    is_told_of_own: bool,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Name {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            found: Mutex::default(),
            is_asked: AtomicBool::new(false),
            told_change: Throttle::new(),
            told_trouble: Throttle::new(),
        }
    }

    /// The addresses as they are known now.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let found = self.found.lock();
        let addresses = found.addresses.iter();
        addresses
            .map(|ip| SocketAddr::new(*ip, self.port))
            .collect()
    }

    /// Why it has no address.
    pub(super) fn trouble(&self) -> String {
        let trouble = self.found.lock().trouble.clone();
        let trouble = trouble.unwrap_or_else(|| "it is being looked up".to_owned());
        format!("{self} has no address: {trouble}")
    }

    /// Looks the name up, unless that is under way. The answer may be one of the cache.
    pub(super) async fn look_up(&self, dialer: &Dialer, is_own: &IsOwn) {
        if self.is_asked.swap(true, Ordering::AcqRel) {
            return;
        }
        let answer = dialer.addresses(&self.host).await;
        self.note(
            answer.map_err(|error| RequestError::from(error).chain()),
            is_own,
        );
        self.is_asked.store(false, Ordering::Release);
    }

    fn note(&self, answer: Result<Vec<IpAddr>, String>, is_own: &IsOwn) {
        let mut found = self.found.lock();
        let mut addresses = match answer {
            Ok(addresses) => addresses,
            Err(trouble) => {
                self.note_trouble(&mut found, trouble);
                return;
            }
        };
        let all = addresses.len();
        addresses.retain(|ip| !is_own(SocketAddr::new(*ip, self.port)));
        let leads_here = addresses.len() < all;
        if leads_here && !found.is_told_of_own {
            log::warn!(
                "upstream {self} leads to one of tollgate's own listeners, which gets no requests; name the server \
                 behind it"
            );
        }
        found.is_told_of_own = leads_here;
        addresses.sort_unstable();
        let failed_before = found.trouble.take().is_some() && !found.addresses.is_empty();
        if addresses.is_empty() {
            found.trouble = Some("it leads to one of tollgate's own listeners".to_owned());
        }
        if found.addresses != addresses {
            found.addresses = addresses;
            self.tell_change(&found.addresses);
        } else if failed_before {
            log::info!("upstream {self} can be resolved again; its addresses are the same");
        }
    }

    /// The last known addresses stay in use.
    fn note_trouble(&self, found: &mut Found, trouble: String) {
        if found.trouble.as_ref() == Some(&trouble) {
            return;
        }
        if let Some(passed) = self.told_trouble.pass() {
            let meanwhile = if found.addresses.is_empty() {
                "it has no address until then"
            } else {
                "the last known addresses stay in use"
            };
            log::warn!("upstream {self} cannot be resolved: {trouble}; {meanwhile}{passed}");
        }
        found.trouble = Some(trouble);
    }

    fn tell_change(&self, addresses: &[IpAddr]) {
        if let Some(passed) = self.told_change.pass() {
            let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let list = if list.is_empty() {
                "none".to_owned()
            } else {
                list.join(", ")
            };
            log::info!("upstream {self} has the addresses: {list}{passed}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_last_known_addresses_outlive_a_failure() {
        let name = Name::new("backend", 80);
        let is_own = |address: SocketAddr| address.ip() == IpAddr::from([127, 0, 0, 9]);
        assert_eq!(
            name.trouble(),
            "backend:80 has no address: it is being looked up"
        );
        name.note(Err("gone".to_owned()), &is_own);
        assert_eq!(name.trouble(), "backend:80 has no address: gone");
        name.note(Ok(ips(&["127.0.0.2", "127.0.0.1", "127.0.0.9"])), &is_own);
        let both = ["127.0.0.1:80", "127.0.0.2:80"].map(|text| text.parse().unwrap());
        assert_eq!(name.addresses(), both);
        name.note(Err("gone".to_owned()), &is_own);
        assert_eq!(name.addresses(), both);
        // One that leads here is never used, even where nothing is left.
        name.note(Ok(ips(&["127.0.0.9"])), &is_own);
        assert_eq!(name.addresses(), []);
        assert!(name.trouble().contains("own listeners"));
    }
}
