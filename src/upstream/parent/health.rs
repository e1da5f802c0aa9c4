//! Whether the URLs of parents can be used, as far as this host can find out.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Member, Parent, Parents};

/// How long is slept at most: a reload may have brought others.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Checks each URL of the parents that `current` gives in its interval, until it is dropped.
pub(super) async fn look_after(current: impl Fn() -> Arc<Parents>) {
    let mut checks = JoinSet::new();
    let mut due: Vec<(Arc<Member>, Instant)> = Vec::new();
    loop {
        let parents = current();
        let now = Instant::now();
        let mut pause = LONGEST_PAUSE;
        let mut next = Vec::with_capacity(due.len());
        for (parent, member) in parents.members() {
            let known = due.iter().find(|(known, _)| Arc::ptr_eq(known, member));
            let mut at = known.map_or(now, |(_, at)| *at);
            if at <= now {
                checks.spawn(check(Arc::clone(parent), Arc::clone(member)));
                at = now + parent.settings.health.interval;
            }
            pause = pause.min(at - now);
            next.push((Arc::clone(member), at));
        }
        due = next;
        sleep(pause).await;
        while checks.try_join_next().is_some() {}
    }
}

async fn check(parent: Arc<Parent>, member: Arc<Member>) {
    let health = &parent.settings.health;
    let outcome = parent.check(&member, health.connect.as_ref()).await;
    let threshold = match outcome {
        Ok(()) => health.rise,
        Err(_) => health.fall,
    };
    let in_a_row = {
        let mut checks = member.checks.lock();
        let so_far = if checks.0 == outcome.is_ok() {
            checks.1
        } else {
            0
        };
        *checks = (outcome.is_ok(), so_far.saturating_add(1));
        checks.1
    };
    if in_a_row < threshold || member.is_up() == outcome.is_ok() {
        return;
    }
    member.checked(outcome.is_ok());
    let (name, url) = (member.parent(), member.shown());
    match outcome {
        Ok(()) => log::info!("parent {name}: {url} is up"),
        Err(why) => log::warn!("parent {name}: {url} is down: {why}"),
    }
}

impl Parents {
    /// Checks the URLs of the parents that `current` gives. Never ends; without parents it sleeps.
    pub async fn look_after(current: impl Fn() -> Arc<Parents>) {
        look_after(current).await;
    }
}
