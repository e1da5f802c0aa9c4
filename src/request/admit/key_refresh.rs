//! When the keys of issuers are fetched: at the start, now and then, and when a token names a key that is not known.
//!
//! A request never fetches. It says that a key is missing, and waits a short time for the task that fetches. That is at
//! most one fetch in each `min_refetch`, whatever clients send: in between, a token with an unknown key is refused
//! at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::access::auth::tokens::{Issuer, Tokens};
use crate::http::url::HttpUrl;

/// How long a request waits for keys.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Without an issuer whose keys are fetched, a reload ends the pause of the task.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// What requests and the task that fetches share.
#[derive(Debug)]
pub struct KeyRefresh {
    feeds: Mutex<HashMap<Box<str>, Feed>>,
    wake: Notify,
    /// Told of each fetch that is over.
    over: watch::Sender<()>,
}

/// What is known of the keys of one issuer, by its name.
#[derive(Debug)]
struct Feed {
    url: HttpUrl,
    /// When the last fetch began.
    begun: Option<Instant>,
    has_failed: bool,
    is_running: bool,
    is_wanted: bool,
    /// Fetches that are over.
    count: u64,
}

impl Feed {
    fn new(url: &HttpUrl) -> Self {
        Self {
            url: url.clone(),
            begun: None,
            has_failed: false,
            is_running: false,
            is_wanted: false,
            count: 0,
        }
    }

    /// When the next fetch is due; none for at once.
    fn due(&self, tokens: &Tokens) -> Option<Instant> {
        let pause = match self.has_failed || self.is_wanted {
            true => tokens.min_refetch.min(tokens.refresh),
            false => tokens.refresh,
        };
        Some(self.begun? + pause)
    }
}

impl Default for KeyRefresh {
    fn default() -> Self {
        Self {
            feeds: Mutex::default(),
            wake: Notify::new(),
            over: watch::Sender::new(()),
        }
    }
}

impl KeyRefresh {
    /// Has the task look again: the issuers may be others.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for the keys of an issuer, where they are being fetched or may be fetched again. Whether they were.
    pub async fn fetched(&self, issuer: &Issuer, min_refetch: Duration) -> bool {
        let mut over = self.over.subscribe();
        let Some(count) = self.ask(issuer, min_refetch, Instant::now()) else {
            return false;
        };
        let is_over = || {
            let feeds = self.feeds.lock();
            let feed = feeds.get(issuer.name());
            feed.is_none_or(|feed| feed.count != count)
        };
        let waiting = async { while !is_over() && over.changed().await.is_ok() {} };
        tokio::time::timeout(MAX_WAIT, waiting).await.is_ok()
    }

    /// Asks for a fetch, if one is not too early. Which one is then awaited.
    fn ask(&self, issuer: &Issuer, min_refetch: Duration, now: Instant) -> Option<u64> {
        let url = issuer.url()?;
        let mut feeds = self.feeds.lock();
        let feed = feeds
            .entry(issuer.name().into())
            .or_insert_with(|| Feed::new(url));
        if feed.url != *url {
            *feed = Feed::new(url);
        }
        let since = feed.begun.map(|begun| now.saturating_duration_since(begun));
        if !feed.is_running && since.is_some_and(|since| since < min_refetch) {
            return None;
        }
        if !feed.is_running && !feed.is_wanted {
            feed.is_wanted = true;
            self.wake.notify_one();
        }
        Some(feed.count)
    }

    /// The issuers whose keys are to be fetched now, each marked as under way, and the pause until the next one.
    pub fn due(&self, tokens: Option<&Tokens>, now: Instant) -> (Vec<Arc<Issuer>>, Duration) {
        let mut feeds = self.feeds.lock();
        let Some(tokens) = tokens else {
            feeds.clear();
            return (Vec::new(), LONG);
        };
        let issuers = tokens.issuers();
        feeds.retain(|name, feed| {
            let mut same = issuers.iter().filter(|issuer| *issuer.name() == **name);
            same.any(|issuer| issuer.url() == Some(&feed.url))
        });
        let mut due = Vec::new();
        let mut pause = LONG;
        for issuer in issuers {
            let Some(url) = issuer.url() else { continue };
            let feed = feeds
                .entry(issuer.name().into())
                .or_insert_with(|| Feed::new(url));
            if feed.is_running {
                continue;
            }
            match feed.due(tokens) {
                Some(at) if at > now => pause = pause.min(at - now),
                _ => {
                    feed.begun = Some(now);
                    feed.is_running = true;
                    feed.is_wanted = false;
                    due.push(Arc::clone(issuer));
                }
            }
        }
        (due, pause)
    }

    /// Notes that a fetch is over, and lets the requests go on that wait for it.
    pub fn done(&self, issuer: &Issuer, has_failed: bool) {
        if let Some(feed) = self.feeds.lock().get_mut(issuer.name()) {
            feed.is_running = false;
            feed.has_failed = has_failed;
            feed.count += 1;
        }
        self.over.send_replace(());
        self.wake.notify_one();
    }

    /// Waits for that pause, or until there is something to do.
    pub async fn pause(&self, pause: Duration) {
        let _elapsed = tokio::time::timeout(pause, self.wake.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::auth::tokens::tests::{settings, tokens_with};
    use crate::access::auth::tokens::{IssuerSettings, KeySet, KeySource};

    fn tokens(urls: &[(&str, &str)]) -> Tokens {
        let issuer = |(name, url): &(&str, &str)| {
            let settings = IssuerSettings {
                issuer: (*name).into(),
                source: KeySource::Url(HttpUrl::parse(url).unwrap()),
                ..settings()
            };
            Issuer::new(settings, KeySet::default())
        };
        let issuers = urls.iter().map(issuer).collect();
        Tokens::new(
            issuers,
            true,
            Duration::from_secs(3600),
            Duration::from_secs(30),
        )
    }

    fn due(refresh: &KeyRefresh, tokens: &Tokens, now: Instant) -> (Vec<String>, u64) {
        let (due, pause) = refresh.due(Some(tokens), now);
        let names = due.iter().map(|issuer| issuer.name().to_owned());
        (names.collect(), pause.as_secs())
    }

    #[test]
    fn when_keys_are_fetched() {
        let refresh = KeyRefresh::default();
        let both = tokens(&[("a", "http://a.test/"), ("b", "http://b.test/")]);
        let (a, min) = (&both.issuers()[0], both.min_refetch);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        // A request before the first look waits for it.
        assert_eq!(refresh.ask(a, min, at(0)), Some(0));
        assert_eq!(due(&refresh, &both, at(0)).0, ["a", "b"]);
        // They are under way: nothing is due, and a request waits.
        assert_eq!(due(&refresh, &both, at(1)).0, [""; 0]);
        assert_eq!(refresh.ask(a, min, at(1)), Some(0));
        refresh.done(a, false);
        refresh.done(&both.issuers()[1], true);
        // One that has failed is tried again soon.
        assert_eq!(due(&refresh, &both, at(2)), (vec![], 28));
        // Too early for another, and later one for all who ask.
        assert_eq!(refresh.ask(a, min, at(29)), None);
        assert_eq!(refresh.ask(a, min, at(31)), Some(1));
        assert_eq!(refresh.ask(a, min, at(31)), Some(1));
        assert_eq!(due(&refresh, &both, at(31)).0, ["a", "b"]);
        refresh.done(a, false);
        refresh.done(&both.issuers()[1], false);
        assert_eq!(due(&refresh, &both, at(32)), (vec![], 3599));

        // A reload with another URL, and then without one.
        let other = tokens(&[("a", "http://other.test/")]);
        assert_eq!(due(&refresh, &other, at(33)).0, ["a"]);
        let of_file = tokens_with(
            settings(),
            &[crate::access::auth::tokens::tests::Signer::ec().jwk("k")],
        );
        assert_eq!(due(&refresh, &of_file, at(34)), (vec![], LONG.as_secs()));
        assert_eq!(refresh.ask(&of_file.issuers()[0], min, at(34)), None);
        assert!(refresh.feeds.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_a_short_time_only() {
        let refresh = KeyRefresh::default();
        let tokens = tokens(&[("a", "http://a.test/")]);
        let issuer = &tokens.issuers()[0];
        let begun = tokio::time::Instant::now();
        assert!(!refresh.fetched(issuer, tokens.min_refetch).await);
        assert_eq!(begun.elapsed(), MAX_WAIT);
        let (due, _) = refresh.due(Some(&tokens), Instant::now());
        let asked = refresh.fetched(issuer, tokens.min_refetch);
        let (is_fetched, ()) = tokio::join!(asked, async { refresh.done(&due[0], true) });
        assert!(is_fetched);
    }
}
