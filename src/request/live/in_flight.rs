//! The requests in flight, where an admin service is configured.
//!
//! A request takes a slot when it begins and gives it back when it ends: two short locks that only requests of its own
//! thread take, and those who look. A slot is used again, so that a request allocates nothing. Its target is copied, since
//! the head belongs to whoever serves the request. There are as many slots as requests, which `limits.max_connections`
//! limits.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use http::Method;
use parking_lot::Mutex;

use super::look::Look;
use super::query::Query;
use super::rows::{RequestList, RequestRow};
use crate::access::auth::User;
use crate::access::policy::DecidedBy;
use crate::http::role::Role;
use crate::http::target::{Authority, Host};
use crate::request::facts::Request;
use crate::request::outcome::Outcome;
use crate::request::request_id::RequestId;
use crate::telemetry::{ShownUser, Telemetry, Thousandths, canonical, shown};
use crate::tunnel::Traffic;

/// Parts of the table where threads share their work.
const SHARED_PARTS: usize = 16;
/// Slots that a part keeps for requests to come.
const SPARE: usize = 64;
/// Bytes of a target that are kept.
const MAX_TARGET: usize = 256;
/// Bytes of a method that are shown.
const MAX_METHOD: usize = 32;

/// All requests in flight.
#[derive(Debug)]
pub struct InFlight {
    parts: Box<[Mutex<Part>]>,
    /// Whether each thread has a part to itself.
    is_by_thread: bool,
}

#[derive(Debug, Default)]
struct Part {
    open: Vec<Arc<Slot>>,
    spare: Vec<Arc<Slot>>,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Authentication, policy, look-up of the name.
    Admitting,
    /// Waits for its turn of a rate, or at the server.
    Queued,
    /// A connection is chosen or made.
    Connecting,
    /// Sent, and not answered yet.
    Waiting,
    /// The answer has begun.
    Answering,
}

#[derive(Debug)]
struct Slot {
    /// Where it is in its part. Read and written with the part locked.
    place: AtomicUsize,
    state: AtomicU8,
    /// Content, written by whoever serves the request alone.
    bytes_from_client: AtomicU64,
    bytes_from_upstream: AtomicU64,
    facts: Mutex<Facts>,
}

/// What is shown of a request.
#[derive(Debug)]
struct Facts {
    id: RequestId,
    is_open: bool,
    begun: Instant,
    look: Look,
    client: SocketAddr,
    role: Option<Role>,
    method: Method,
    target: Text,
    user: Option<User>,
    decided_by: Option<DecidedBy>,
}

/// A text of limited length.
#[derive(Debug)]
struct Text {
    bytes: [u8; MAX_TARGET],
    length: usize,
    is_cut: bool,
}

/// The place of a request in the table, until dropped.
pub struct InFlightRequest {
    slot: Arc<Slot>,
    part: usize,
    table: Arc<InFlight>,
}

impl State {
    const ALL: [State; 5] = [
        State::Admitting,
        State::Queued,
        State::Connecting,
        State::Waiting,
        State::Answering,
    ];

    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Admitting => "admitting",
            State::Queued => "queued",
            State::Connecting => "connecting",
            State::Waiting => "waiting",
            State::Answering => "answering",
        }
    }

    fn of(number: u8) -> State {
        let state = State::ALL.get(usize::from(number)).copied();
        state.unwrap_or(State::Admitting)
    }
}

impl InFlight {
    /// An empty table for so many threads that share nothing; 1 where they share their work.
    pub fn new(threads: usize) -> Self {
        let is_by_thread = threads > 1;
        let parts = if is_by_thread { threads } else { SHARED_PARTS };
        Self {
            parts: (0..parts).map(|_| Mutex::default()).collect(),
            is_by_thread,
        }
    }

    /// Enters a request, whose path is `path`.
    pub fn enter(self: &Arc<Self>, request: &Request, path: &[u8]) -> Option<InFlightRequest> {
        let source = &request.source;
        let number = match self.is_by_thread {
            true => usize::from(source.thread),
            // The remainder is below the number of parts.
            false => (source.connection % SHARED_PARTS as u64) as usize,
        };
        let number = number.checked_rem(self.parts.len())?;
        let mut part = self.parts.get(number)?.lock();
        let slot = part.spare.pop().unwrap_or_else(|| Arc::new(Slot::new()));
        slot.begin(request, path);
        slot.place.store(part.open.len(), Ordering::Relaxed);
        part.open.push(Arc::clone(&slot));
        drop(part);
        Some(InFlightRequest {
            slot,
            part: number,
            table: Arc::clone(self),
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.parts.iter().map(|part| part.lock().open.len()).sum()
    }

    /// The requests that are wanted, the oldest first.
    pub fn list(&self, query: &Query<'_>, telemetry: &Telemetry) -> RequestList {
        let now = Instant::now();
        let mut slots = Vec::new();
        for part in &self.parts {
            slots.extend(part.lock().open.iter().map(Arc::clone));
        }
        let search = query.search();
        let mut found: Vec<(Instant, RequestId, Arc<Slot>)> = Vec::new();
        for slot in slots {
            let facts = slot.facts.lock();
            let user = facts.user(telemetry);
            let user = user.as_deref();
            let is_wanted = facts.is_open && query.user.is_none_or(|wanted| user == Some(wanted));
            if is_wanted && facts.matches(user, slot.state(), &search) {
                let (begun, id) = (facts.begun, facts.id);
                drop(facts);
                found.push((begun, id, slot));
            }
        }
        let total = found.len();
        found.sort_unstable_by_key(|(begun, ..)| *begun);
        found.truncate(query.limit());
        let rows = found.into_iter();
        RequestList {
            total,
            requests: rows
                .filter_map(|(_, id, slot)| slot.row(id, now, telemetry))
                .collect(),
        }
    }
}

impl Slot {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            place: AtomicUsize::new(0),
            state: AtomicU8::new(State::Admitting as u8),
            bytes_from_client: AtomicU64::new(0),
            bytes_from_upstream: AtomicU64::new(0),
            facts: Mutex::new(Facts {
                id: RequestId::new(0),
                is_open: false,
                begun: now,
                look: Look::new(now),
                client: (Ipv4Addr::UNSPECIFIED, 0).into(),
                role: None,
                method: Method::GET,
                target: Text::new(),
                user: None,
                decided_by: None,
            }),
        }
    }

    fn begin(&self, request: &Request, path: &[u8]) {
        self.state.store(State::Admitting as u8, Ordering::Relaxed);
        self.bytes_from_client.store(0, Ordering::Relaxed);
        self.bytes_from_upstream.store(0, Ordering::Relaxed);
        let mut facts = self.facts.lock();
        facts.id = request.id;
        facts.is_open = true;
        facts.begun = request.arrival.started;
        facts.look = Look::new(facts.begun);
        facts.client = request.source.client;
        facts.role = request.role;
        facts.method.clone_from(&request.method);
        facts.target.write(request, path);
    }

    fn state(&self) -> State {
        State::of(self.state.load(Ordering::Relaxed))
    }

    /// The row of the request of this id; none where the slot has another one meanwhile.
    fn row(&self, id: RequestId, now: Instant, telemetry: &Telemetry) -> Option<RequestRow> {
        let state = self.state();
        let total = Traffic {
            bytes_from_client: self.bytes_from_client.load(Ordering::Relaxed),
            bytes_from_upstream: self.bytes_from_upstream.load(Ordering::Relaxed),
        };
        let mut facts = self.facts.lock();
        if !facts.is_open || facts.id != id {
            return None;
        }
        let rate = facts.look.rate(now, total);
        let age = now.saturating_duration_since(facts.begun).as_millis();
        Some(RequestRow {
            id: id.to_string(),
            user: facts.user(telemetry).as_deref().map(str::to_owned),
            client: canonical(facts.client),
            role: facts.role(),
            method: shown(facts.method.as_str().as_bytes(), MAX_METHOD),
            target: facts.target.shown(),
            rule: facts.decided_by.as_ref().map(ToString::to_string),
            age_seconds: Thousandths(u64::try_from(age).unwrap_or(u64::MAX)),
            bytes_from_client: total.bytes_from_client,
            bytes_from_upstream: total.bytes_from_upstream,
            rate_from_client: rate.bytes_from_client,
            rate_from_upstream: rate.bytes_from_upstream,
            state: state.as_str(),
        })
    }
}

impl Facts {
    /// The user, as names are shown.
    fn user(&self, telemetry: &Telemetry) -> Option<ShownUser<'_>> {
        let user = self.user.as_ref();
        user.map(|user| telemetry.show_user(user.as_str()))
    }

    fn role(&self) -> &'static str {
        self.role.map_or("unknown", Role::as_str)
    }

    fn matches(&self, user: Option<&str>, state: State, search: &super::query::Search) -> bool {
        if search.is_for_all() {
            return true;
        }
        let client = canonical(self.client);
        let target = self.target.shown();
        let rule = self.decided_by.as_ref().map(ToString::to_string);
        // All texts of a row.
        let texts = [
            Some(self.id.as_str()),
            user,
            Some(&*client),
            Some(self.role()),
            Some(self.method.as_str()),
            Some(&*target),
            rule.as_deref(),
            Some(state.as_str()),
        ];
        search.matches(texts.into_iter().flatten())
    }
}

impl Text {
    fn new() -> Self {
        Self {
            bytes: [0; MAX_TARGET],
            length: 0,
            is_cut: false,
        }
    }

    /// The target as the log has it. Its query is kept as well, and left out when it is [`shown`](Self::shown): few
    /// requests are.
    fn write(&mut self, request: &Request, path: &[u8]) {
        self.length = 0;
        self.is_cut = false;
        let path = match request.role {
            Some(Role::Tunnel) => &[],
            _ => path,
        };
        if let Some(authority) = &request.authority {
            let default_port = match request.role {
                Some(Role::Forward) => {
                    self.push(request.scheme.as_str().as_bytes());
                    self.push(b"://");
                    Some(request.scheme.default_port())
                }
                _ => None,
            };
            self.push_authority(authority, default_port);
        }
        self.push(path);
    }

    /// By hand: the formatting machinery takes three times as long as all the rest of it.
    fn push_authority(&mut self, authority: &Authority, default_port: Option<u16>) {
        match &authority.host {
            Host::Name(name) => self.push(name.as_bytes()),
            Host::Ip(IpAddr::V4(ip)) => {
                for (place, octet) in ip.octets().into_iter().enumerate() {
                    if place > 0 {
                        self.push(b".");
                    }
                    self.push_number(u16::from(octet));
                }
            }
            // It is cut where it does not fit.
            Host::Ip(IpAddr::V6(ip)) => drop(write!(self, "[{ip}]")),
        }
        if default_port != Some(authority.port) {
            self.push(b":");
            self.push_number(authority.port);
        }
    }

    fn push_number(&mut self, number: u16) {
        if number >= 10 {
            self.push_number(number / 10);
        }
        // The remainder of ten fits any integer.
        self.push(&[b'0' + (number % 10) as u8]);
    }

    fn push(&mut self, more: &[u8]) {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        let fits = more.len().min(room.len());
        if let (Some(room), Some(more)) = (room.get_mut(..fits), more.get(..fits)) {
            room.copy_from_slice(more);
        }
        self.length += fits;
        self.is_cut |= fits < more.len();
    }

    /// Without its query, which may hold secrets.
    fn shown(&self) -> String {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        let query = memchr::memchr(b'?', bytes);
        let mut text = shown(
            query.and_then(|at| bytes.get(..at)).unwrap_or(bytes),
            MAX_TARGET,
        );
        if self.is_cut && query.is_none() {
            text.push('\u{2026}');
        }
        text
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

impl InFlightRequest {
    /// Notes how far the request is.
    #[inline]
    pub fn set(&self, state: State) {
        self.slot.state.store(state as u8, Ordering::Relaxed);
    }

    /// Notes how many bytes of its content have come.
    #[inline]
    pub fn came(&self, in_all: u64) {
        self.slot.bytes_from_client.store(in_all, Ordering::Relaxed);
    }

    /// Notes further bytes of the content of its answer.
    #[inline]
    pub fn answered(&self, more: u64) {
        let bytes = &self.slot.bytes_from_upstream;
        // Nobody else writes it.
        bytes.store(bytes.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    /// Notes who sends the request, and what has decided about it.
    pub fn note(&self, outcome: &Outcome) {
        let mut facts = self.slot.facts.lock();
        facts.user.clone_from(&outcome.user);
        facts.decided_by.clone_from(&outcome.decided_by);
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        let Some(part) = self.table.parts.get(self.part) else {
            return;
        };
        let mut part = part.lock();
        let place = self.slot.place.load(Ordering::Relaxed);
        if place >= part.open.len() {
            return;
        }
        let slot = part.open.swap_remove(place);
        if let Some(moved) = part.open.get(place) {
            moved.place.store(place, Ordering::Relaxed);
        }
        let is_kept = part.spare.len() < SPARE;
        {
            let mut facts = slot.facts.lock();
            facts.is_open = false;
            facts.user = None;
            facts.decided_by = None;
        }
        if is_kept {
            part.spare.push(slot);
        }
    }
}

impl fmt::Debug for InFlightRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlightRequest")
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
