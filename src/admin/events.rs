//! `GET /api/v1/events`: Server-Sent Events. A snapshot each second, built once for all listeners and only while there are any.
//!
//! A listener that takes nothing for a while misses snapshots, and is closed by the deadline of its writes: what waits for it is
//! one snapshot.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::answer::Answer;
use super::problem::Problem;
use super::routes::Call;
use crate::access::client::Client;
use crate::access::shares::{Place, SharedPlaces};
use crate::request::app::App;
use crate::request::live;
use crate::telemetry::{DenialRow, members};

/// How often there is a snapshot.
const PERIOD: Duration = Duration::from_secs(1);

/// Listeners at once; six of them for one client.
pub(super) const MAX_LISTENERS: usize = 8;

/// Denials that are told one by one in a second.
const MAX_DENIALS: u32 = 20;

/// After how many milliseconds a browser connects again.
const RETRY: u32 = 2000;

/// What the listeners share.
pub(super) struct Events {
    app: Arc<App>,
    places: SharedPlaces,
    /// Whether a task builds snapshots.
    is_building: Mutex<bool>,
    snapshots: watch::Sender<Bytes>,
}

/// What one listener gets.
pub(super) struct Feed {
    snapshots: watch::Receiver<Bytes>,
    denials: Denials,
    draining: watch::Receiver<bool>,
    has_begun: bool,
    _place: Place,
}

/// Denials as they happen, and how many of them this second has had.
struct Denials {
    rows: broadcast::Receiver<Arc<DenialRow>>,
    second: Instant,
    told: u32,
    skipped: u64,
}

members! {
    /// Denials that were not told one by one.
    pub(in crate::admin) struct Skipped;
    count: u64, "How many, since the last event of this name.";
}

/// Answers with events.
pub(super) async fn listen(call: Call<'_>) -> Answer {
    match call.admin.events.listen(call.client) {
        Some(feed) => Answer::events(feed),
        None => Answer::problem(
            Problem::TooManyListeners,
            format!("all {MAX_LISTENERS} places are taken, or this client has its share of them"),
        )
        .retry_after(PERIOD.as_secs()),
    }
}

impl Events {
    pub(super) fn new(app: Arc<App>) -> Arc<Self> {
        Arc::new(Self {
            app,
            places: SharedPlaces::new(MAX_LISTENERS),
            is_building: Mutex::new(false),
            snapshots: watch::Sender::new(Bytes::new()),
        })
    }

    /// One more listener, unless there are too many.
    fn listen(self: &Arc<Self>, client: Client) -> Option<Feed> {
        let place = self.places.try_take(client)?;
        let mut is_building = self.is_building.lock();
        let snapshots = self.snapshots.subscribe();
        if !*is_building {
            *is_building = true;
            tokio::spawn(Arc::clone(self).build());
        }
        Some(Feed {
            snapshots,
            denials: Denials {
                rows: self.app.telemetry.watch_denials()?,
                second: Instant::now(),
                told: 0,
                skipped: 0,
            },
            draining: self.app.lifecycle.watch(),
            has_begun: false,
            _place: place,
        })
    }

    /// Builds snapshots while there are listeners.
    async fn build(self: Arc<Self>) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            {
                let mut is_building = self.is_building.lock();
                if self.snapshots.receiver_count() == 0 {
                    *is_building = false;
                    // The next listener must not begin with an old one.
                    self.snapshots.send_replace(Bytes::new());
                    return;
                }
            }
            let app = Arc::clone(&self.app);
            let built =
                tokio::task::spawn_blocking(move || event("snapshot", &live::snapshot(&app)));
            if let Ok(Some(event)) = built.await {
                self.snapshots.send_replace(event.into());
            }
        }
    }
}

impl Feed {
    /// What is to be written next. None at the end: the process drains.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        if !self.has_begun {
            self.has_begun = true;
            let mut begin = format!("retry: {RETRY}\n\n").into_bytes();
            begin.extend_from_slice(&self.snapshots.borrow_and_update());
            return Some(begin.into());
        }
        loop {
            tokio::select! {
                biased;
                _ = self.draining.wait_for(|draining| *draining) => return None,
                changed = self.snapshots.changed() => {
                    changed.ok()?;
                    let snapshot = self.snapshots.borrow_and_update().clone();
                    let skipped = self.denials.take_skipped();
                    match skipped {
                        _ if snapshot.is_empty() => {}
                        None => return Some(snapshot),
                        Some(skipped) => return Some([skipped.as_bytes(), &snapshot].concat().into()),
                    }
                }
                denial = self.denials.rows.recv() => {
                    if let Some(event) = self.denials.take(denial)? {
                        return Some(event.into());
                    }
                }
            }
        }
    }
}

impl Denials {
    /// The event of a denial, unless this second has had enough of them. None at the end.
    fn take(&mut self, denial: Result<Arc<DenialRow>, RecvError>) -> Option<Option<String>> {
        let row = match denial {
            Ok(row) => row,
            Err(RecvError::Lagged(missed)) => {
                self.skipped = self.skipped.saturating_add(missed);
                return Some(None);
            }
            Err(RecvError::Closed) => return None,
        };
        if self.second.elapsed() >= PERIOD {
            self.second = Instant::now();
            self.told = 0;
        }
        if self.told >= MAX_DENIALS {
            self.skipped = self.skipped.saturating_add(1);
            return Some(None);
        }
        self.told += 1;
        Some(event("denial", &*row))
    }

    /// The event that tells how many denials were not told, if any.
    fn take_skipped(&mut self) -> Option<String> {
        match std::mem::take(&mut self.skipped) {
            0 => None,
            count => event("denials_skipped", &Skipped { count }),
        }
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Feed")
    }
}

/// An event: JSON has no line end, so that it is one line.
fn event(name: &str, data: &impl Serialize) -> Option<String> {
    let data = serde_json::to_string(data).ok()?;
    let mut event = String::with_capacity(data.len() + name.len() + 16);
    write!(event, "event: {name}\ndata: {data}\n\n").ok()?;
    Some(event)
}
