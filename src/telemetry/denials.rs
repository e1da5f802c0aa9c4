//! The last denials of each user, which the user may read at `/.tollgate/denials`: a program that gets no more
//! than "CONNECT failed" from its HTTP library finds the reason there.
//!
//! Memory is limited in users and for each user, so that the denials of one user never cost those of another.
//! An admitted request takes no lock here. Nothing outlives the process.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};

use super::record::{Record, max, role_name};
use super::text::{Clock, push_json, push_json_uri, push_u64};

/// Users with a list. One more replaces the list of the user that was not denied for the longest time.
pub(crate) const MAX_USERS: usize = 4096;
/// Denials in the list of a user.
pub(crate) const MAX_ENTRIES: usize = 32;
/// Bytes of all denials in the list of a user.
pub(crate) const MAX_BYTES: usize = 12 * 1024;
/// Bytes of a target, before they are escaped.
pub(crate) const MAX_TARGET: usize = 1024;
/// Bytes of a message, before they are escaped: 200 characters at most.
pub(crate) const MAX_MESSAGE: usize = 800;

/// Hashed fast: a name is in the password file or in the configuration, and not for a client to choose.
type Map = HashMap<Box<str>, Arc<UserDenials>, RandomState>;

/// The last denials of all users.
pub(crate) struct Denials {
    users: RwLock<Map>,
    max_users: usize,
    /// Counts denials, and so tells which user was denied last.
    turn: AtomicU64,
}

#[derive(Debug, Default)]
struct UserDenials {
    /// The turn of the last denial.
    last: AtomicU64,
    list: Mutex<List>,
}

/// Denials as JSON objects, newest first.
#[derive(Debug, Default)]
struct List {
    entries: VecDeque<Box<[u8]>>,
    bytes: usize,
}

impl Denials {
    pub(crate) fn new() -> Self {
        Self::with_max(MAX_USERS)
    }

    fn with_max(max_users: usize) -> Self {
        Self {
            users: RwLock::default(),
            max_users,
            turn: AtomicU64::new(0),
        }
    }

    /// Keeps the denial of a user, if the record is one.
    pub(crate) fn add(&self, record: &Record<'_>) {
        let Some(user) = record.user else {
            return;
        };
        if let Some(entry) = to_json(record) {
            self.of(user).list.lock().push(entry);
        }
    }

    /// The list of a user as a JSON object. No user sees a denial of another.
    pub(crate) fn to_json(&self, user: &str) -> Vec<u8> {
        let denials = self.users.read().get(user).map(Arc::clone);
        let mut json = b"{\"denials\":[".to_vec();
        if let Some(denials) = denials {
            let list = denials.list.lock();
            json.reserve_exact(list.bytes + list.entries.len() + 3);
            for (index, entry) in list.entries.iter().enumerate() {
                if index > 0 {
                    json.push(b',');
                }
                json.extend_from_slice(entry);
            }
        }
        json.extend_from_slice(b"]}\n");
        json
    }

    /// The denials of a user, to which one is added.
    fn of(&self, user: &str) -> Arc<UserDenials> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if let Some(denials) = self.users.read().get(user) {
            denials.last.store(turn, Ordering::Relaxed);
            return Arc::clone(denials);
        }
        let mut users = self.users.write();
        // Another thread may have been faster.
        if !users.contains_key(user) && users.len() >= self.max_users {
            let last = |denials: &Arc<UserDenials>| denials.last.load(Ordering::Relaxed);
            let oldest = users.iter().min_by_key(|(_, denials)| last(denials));
            let oldest = oldest.map(|(user, _)| user.clone());
            drop(oldest.and_then(|user| users.remove(&user)));
        }
        let denials = users.entry(user.into()).or_default();
        denials.last.store(turn, Ordering::Relaxed);
        Arc::clone(denials)
    }
}

impl List {
    fn push(&mut self, entry: Box<[u8]>) {
        self.bytes += entry.len();
        self.entries.push_front(entry);
        while self.entries.len() > MAX_ENTRIES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.entries.pop_back() else {
                return;
            };
            self.bytes -= oldest.len();
        }
    }
}

/// A denial as a JSON object; none of a record that is no denial.
///
/// The target is that of the log without its query. The policy does not look at a query, it may hold secrets, and
/// all clients of a trusted network can be one user.
fn to_json(record: &Record<'_>) -> Option<Box<[u8]>> {
    let denial = record.denial?;
    let target = record.target.split(|byte| *byte == b'?').next();
    let mut json = b"{\"time\":\"".to_vec();
    Clock::default().push_rfc3339(&mut json, record.time);
    json.extend_from_slice(b"\",\"id\":");
    push_json(&mut json, record.request_id.as_bytes(), 64);
    json.extend_from_slice(b",\"role\":");
    push_json(&mut json, role_name(record.role).as_bytes(), 64);
    json.extend_from_slice(b",\"method\":");
    push_json(&mut json, record.method, max::METHOD);
    json.extend_from_slice(b",\"target\":");
    push_json_uri(&mut json, target.unwrap_or_default(), MAX_TARGET);
    if let Some(status) = record.status {
        json.extend_from_slice(b",\"status\":");
        push_u64(&mut json, u64::from(status));
    }
    json.extend_from_slice(b",\"error\":");
    push_json(&mut json, denial.kind().name().as_bytes(), 64);
    if let Some(rule) = denial.rule() {
        json.extend_from_slice(b",\"rule\":");
        push_json(&mut json, rule.as_bytes(), 64);
    }
    json.extend_from_slice(b",\"message\":");
    push_json(&mut json, denial.text().as_bytes(), MAX_MESSAGE);
    json.push(b'}');
    Some(json.into())
}

#[cfg(test)]
mod tests;
