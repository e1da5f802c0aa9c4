//! All that changes at once, and the sampler of the history.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};

use super::query::{Query, TunnelsBy};
use super::rows::Snapshot;
use super::views::{gauges, policy, tunnels, upstreams};
use crate::request::app::App;
use crate::telemetry::{STEP, TopBy};

/// Tunnels in a snapshot.
const TUNNELS: usize = 200;
/// Users and sites in it.
const TOP: usize = 20;

/// All that changes, at this moment. It takes milliseconds of one thread, whatever there is.
pub fn snapshot(app: &App) -> Snapshot {
    let telemetry = &app.telemetry;
    let fastest = Query {
        limit: TUNNELS,
        ..Query::default()
    };
    Snapshot {
        now: telemetry.now(gauges(app)),
        totals: telemetry.totals(),
        tunnels: tunnels(app, TunnelsBy::Rate, &fastest),
        users: telemetry.top_users(TopBy::Requests, TOP, |_| true),
        sites: telemetry.top_sites(TopBy::Requests, TOP),
        upstreams: upstreams(app),
        classes: telemetry.classes(),
        policy: policy(app),
    }
}

/// Takes a point of the history in each second, until the process ends. For a process with an admin service.
pub async fn keep_history(app: Arc<App>) {
    let mut seconds = interval(STEP);
    // After a time in which the process did not run, the next point has it all.
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut aborted = std::pin::pin!(app.lifecycle.aborted());
    loop {
        tokio::select! {
            () = &mut aborted => return,
            _ = seconds.tick() => app.telemetry.sample(gauges(&app)),
        }
    }
}
