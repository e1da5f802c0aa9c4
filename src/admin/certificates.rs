//! Certificates, keys and revocation lists of the listeners while the process serves: they are read again when their
//! files change, and their ends are told.
//!
//! The files are looked at every two seconds, and not watched through inotify: that tells nothing of a volume of NFS or of a
//! mounted directory, and a link that is exchanged above a file (`..data` of Kubernetes, `live` of certbot) needs
//! a watch on each directory of the way. A look is a call of stat(2) for each file, on a thread that may block.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use crate::config::{EXPIRY_WARNING, Expiry, ListenerTls, Reread};
use crate::telemetry::{ShownCertificate, Telemetry};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How often an end is told, in seconds.
const DAY: i64 = 86_400;

/// What the listeners of the process use.
pub struct Certificates {
    listeners: Vec<(SocketAddr, Arc<ListenerTls>)>,
    telemetry: Arc<Telemetry>,
    told: Mutex<Told>,
}

/// When each end was told, in seconds since 1970.
#[derive(Debug, Default)]
struct Told(HashMap<(SocketAddr, String, bool), i64>);

impl Certificates {
    /// Those of these listeners. Their ends were told when they were read.
    pub fn new(
        listeners: Vec<(SocketAddr, Arc<ListenerTls>)>,
        telemetry: Arc<Telemetry>,
    ) -> Arc<Self> {
        let certificates = Self {
            listeners,
            telemetry,
            told: Mutex::default(),
        };
        certificates.shown();
        Arc::new(certificates)
    }

    /// Takes over what a reload has read.
    pub fn adopt(&self, new: &[(SocketAddr, Arc<ListenerTls>)], trigger: &str) {
        let mut has_changed = false;
        for (address, tls) in &self.listeners {
            let of_address = new.iter().find(|(other, _)| other == address);
            if let Some((_, new)) = of_address
                && tls.adopt(new)
            {
                tell_of_change(*address, tls, trigger);
                has_changed = true;
            }
        }
        if has_changed {
            self.shown();
        }
    }

    /// Looks after the files and the ends for as long as the process serves.
    pub async fn look_after(self: Arc<Self>) {
        if self.listeners.is_empty() {
            return;
        }
        loop {
            tokio::time::sleep(LOOK).await;
            let certificates = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || {
                certificates.look();
                certificates.tell_of_ends(seconds(SystemTime::now()));
            });
            if let Err(error) = looked.await {
                log::error!("the files of certificates are not looked at: {error}");
            }
        }
    }

    fn look(&self) {
        let mut has_changed = false;
        for (address, tls) in &self.listeners {
            match tls.read_again() {
                Reread::Unchanged => {}
                Reread::Replaced(warnings) => {
                    warnings.log();
                    tell_of_change(*address, tls, "files have changed");
                    self.telemetry.certificates_read(true);
                    has_changed = true;
                }
                Reread::Failed(error) => {
                    self.telemetry.certificates_read(false);
                    log::error!(
                        "listener {address}: its files have changed and cannot be used; what it had stays in use:\n{error}"
                    );
                }
            }
        }
        if has_changed {
            self.shown();
        }
    }

    /// Shows what is in use in metrics and statistics, and has its ends told from tomorrow on: reading it has told
    /// them.
    fn shown(&self) {
        let now = seconds(SystemTime::now());
        let mut told = self.told.lock();
        told.0.clear();
        let mut shown = Vec::new();
        for (address, tls) in &self.listeners {
            for expiry in &tls.served().expiries {
                told.due(*address, expiry, now);
                shown.push(ShownCertificate {
                    listener: address.to_string(),
                    name: expiry.name.clone(),
                    expires: expiry.at,
                    is_list: expiry.is_list,
                });
            }
        }
        self.telemetry.show_certificates(shown);
    }

    fn tell_of_ends(&self, now: i64) {
        let mut told = self.told.lock();
        for (address, tls) in &self.listeners {
            for expiry in &tls.served().expiries {
                if told.due(*address, expiry, now) {
                    log::warn!("listener {address}: {}", line(expiry, now));
                }
            }
        }
    }
}

impl Told {
    /// Whether an end is to be told at this time, which is noted. That of a certificate is from 21 days before, that of a
    /// list from then on; each once a day.
    fn due(&mut self, listener: SocketAddr, expiry: &Expiry, now: i64) -> bool {
        let before = if expiry.is_list { 0 } else { EXPIRY_WARNING };
        if expiry.at.saturating_sub(now) > before {
            return false;
        }
        let key = (listener, expiry.name.clone(), expiry.is_list);
        if let Some(last) = self.0.get(&key)
            && now.saturating_sub(*last) < DAY
        {
            return false;
        }
        self.0.insert(key, now);
        true
    }
}

fn tell_of_change(listener: SocketAddr, tls: &ListenerTls, why: &str) {
    let served = tls.served();
    let parts: Vec<String> = served.expiries.iter().map(Expiry::to_string).collect();
    log::info!("{why}: listener {listener} now uses {}", parts.join(", "));
}

/// What is told of an end.
fn line(expiry: &Expiry, now: i64) -> String {
    let Expiry { name, at, is_list } = expiry;
    let date = date(*at);
    let days = |seconds: i64| match seconds / DAY {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    match (is_list, at.saturating_sub(now)) {
        (true, _) => format!(
            "the revocation list in {name} expired on {date}: no client with a certificate of its authority gets in; get \
             the current list"
        ),
        (false, left @ 0..) => format!(
            "the certificate for {name} expires in {}, on {date}; renew it",
            days(left)
        ),
        (false, past) => format!(
            "the certificate for {name} expired {} ago, on {date}: clients refuse it; renew it",
            days(past.saturating_neg())
        ),
    }
}

fn date(seconds: i64) -> String {
    let date = DateTime::<Utc>::from_timestamp(seconds, 0);
    date.map_or_else(
        || "a date out of range".to_owned(),
        |date| date.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_once_a_day_from_21_days_before() {
        let listener = SocketAddr::from(([127, 0, 0, 1], 8443));
        let end = 2_000_000_000;
        let of = |is_list| Expiry {
            name: "a.test".to_owned(),
            at: end,
            is_list,
        };
        let mut told = Told::default();
        let mut certificates = Vec::new();
        let mut lists = Vec::new();
        for hour in -24 * 23..=24 * 2 {
            let now = end + hour * 3600;
            if told.due(listener, &of(false), now) {
                certificates.push(hour);
            }
            if told.due(listener, &of(true), now) {
                lists.push(hour);
            }
        }
        let daily: Vec<i64> = (-21..=2).map(|day| day * 24).collect();
        assert_eq!(certificates, daily);
        assert_eq!(lists, [0, 24, 48]);
        assert_eq!(
            line(&of(false), end - 21 * DAY),
            "the certificate for a.test expires in 21 days, on 2033-05-18 03:33:20 UTC; renew it"
        );
        assert_eq!(
            line(&of(false), end + DAY),
            "the certificate for a.test expired 1 day ago, on 2033-05-18 03:33:20 UTC: clients refuse it; renew it"
        );
    }
}
