//! Traces for OpenTelemetry: which requests have one, their spans, and the queue of what is to be sent.
//!
//! Without the setting there is none of it. A request that has no trace costs a random number, and one whose trace is
//! taken up the reading of a field. A trace is made into spans when its record is complete; a full queue drops them. The
//! task that sends them is `request::trace_export`.

pub mod proto;
mod span;

use std::cell::Cell;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::mpsc;

use self::proto::Span;
use super::Telemetry;
use super::record::Record;
use crate::http::role::Role;
use crate::http::trace_context::{TRACEPARENT, TRACESTATE, TraceParent, trace_state};
use crate::http::url::HttpUrl;

/// Requests whose spans wait to be sent. One has five spans at most.
const QUEUE: usize = 2048;

/// How requests are traced, and where spans go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSettings {
    /// The URL that spans are posted to.
    pub endpoint: HttpUrl,
    /// Fields of these posts. Values are marked as sensitive.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Which of the requests without a trace begin one.
    pub sample: Sample,
    /// Whose traces are taken up and passed on.
    pub propagate: Propagate,
}

/// A part of all requests, in parts of 2^64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample(u64);

/// Whose `traceparent` is taken up, and to whom the one of our span is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagate {
    /// Nobody's, and to nobody.
    #[default]
    Never,
    /// That of requests to the gateway, and to its upstreams.
    Gateway,
    /// That of all requests, and to origins and parents as well.
    All,
}

/// The trace of a request that is recorded.
#[derive(Debug)]
pub struct Trace {
    /// Our span: it is the parent of those that an upstream makes.
    own: TraceParent,
    /// The span of the caller.
    caller: Option<[u8; 8]>,
    /// What systems of tracing have added.
    state: Option<Box<str>>,
    /// When the first byte of the request was read.
    started: Instant,
    /// When the phases ended, in the order of [`Phase`].
    ends: [Option<Instant>; Phase::COUNT],
    is_passed_on: bool,
}

/// A phase that is a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The look-up of the name.
    Resolve,
    /// Waiting for a turn.
    Queue,
    /// Connecting.
    Connect,
}

impl Phase {
    const COUNT: usize = 3;
}

/// The spans of one request.
pub type Spans = Vec<Span>;

/// What decides on traces, and their queue.
#[derive(Debug)]
pub(crate) struct Traces {
    settings: TraceSettings,
    sender: mpsc::Sender<Spans>,
    /// For the task that sends.
    receiver: Mutex<Option<mpsc::Receiver<Spans>>>,
}

/// Spans that are sent together.
#[derive(Debug)]
pub struct Batch(Spans);

impl Batch {
    /// With these as the first.
    #[must_use]
    pub fn new(spans: Spans) -> Batch {
        Batch(spans)
    }

    /// Adds those of another request.
    pub fn add(&mut self, spans: Spans) {
        self.0.extend(spans);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The content of the post.
    #[must_use]
    pub fn encode(self) -> Bytes {
        span::export(self.0).encode_to_vec().into()
    }
}

impl Telemetry {
    /// Queues the spans of a request that is over, if it is traced.
    pub(super) fn trace(&self, record: &Record<'_>) {
        if let (Some(traces), Some(trace)) = (&self.traces, record.trace) {
            self.spans_sent("overflow", traces.emit(record, trace));
        }
    }

    /// The trace of a request with these fields, if it has one that is recorded.
    pub fn begin_trace<'a, F>(
        &self,
        role: Option<Role>,
        fields: impl FnOnce() -> F,
        started: Instant,
    ) -> Option<Box<Trace>>
    where
        F: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    {
        let traces = self.traces.as_ref()?;
        traces.begin(role?, fields(), started)
    }

    /// How requests are traced, and the queue of their spans; once, for the task that sends them.
    pub fn take_traces(&self) -> Option<(TraceSettings, mpsc::Receiver<Spans>)> {
        self.traces.as_ref()?.take()
    }

    /// Counts spans by what became of them.
    pub fn spans_sent(&self, result: &'static str, count: u64) {
        if count > 0 {
            self.metrics.spans.add(result, count);
        }
    }
}

impl Sample {
    /// Of a million requests, so many.
    #[must_use]
    pub fn of_million(number: u32) -> Sample {
        let parts = u128::from(number) * (u128::from(u64::MAX) + 1) / 1_000_000;
        Sample(u64::try_from(parts).unwrap_or(u64::MAX))
    }

    fn hits(self) -> bool {
        self.0 == u64::MAX || random() < self.0
    }
}

impl Propagate {
    fn includes(self, role: Role) -> bool {
        match self {
            Propagate::Never => false,
            Propagate::Gateway => role == Role::Gateway,
            Propagate::All => true,
        }
    }
}

impl Trace {
    /// Notes that a phase has ended just now.
    pub fn ended(&mut self, phase: Phase) {
        if let Some(end) = self.ends.get_mut(phase as usize) {
            *end = Some(Instant::now());
        }
    }

    /// The values of `traceparent` and `tracestate` for the server; none where it is not to learn of the trace. Without a
    /// state there is to be no such field.
    pub fn for_server(&self) -> Option<(HeaderValue, Option<HeaderValue>)> {
        let parent = self.is_passed_on.then(|| self.own.to_string())?;
        let state = self.state.as_deref();
        let state = state.and_then(|state| HeaderValue::from_str(state).ok());
        Some((HeaderValue::try_from(parent).ok()?, state))
    }
}

impl Traces {
    pub(super) fn new(settings: TraceSettings) -> Traces {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Traces {
            settings,
            sender,
            receiver: Mutex::new(Some(receiver)),
        }
    }

    /// The trace of a request with this head, if it has one that is recorded.
    pub(super) fn begin<'a>(
        &self,
        role: Role,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        started: Instant,
    ) -> Option<Box<Trace>> {
        let is_passed_on = self.settings.propagate.includes(role);
        let caller = is_passed_on.then(|| caller(fields.clone())).flatten();
        let is_recorded = match &caller {
            Some(caller) => caller.is_sampled,
            None => self.settings.sample.hits(),
        };
        if !is_recorded {
            return None;
        }
        // Boxed: what few requests have is not to make the others larger.
        let (trace_id, span_id) = ids()?;
        let state = caller.and_then(|_| trace_state(lines(fields, TRACESTATE)));
        Some(Box::new(Trace {
            own: TraceParent {
                trace_id: caller.map_or(trace_id, |caller| caller.trace_id),
                parent_id: span_id,
                is_sampled: true,
            },
            caller: caller.map(|caller| caller.parent_id),
            state: state.map(String::into_boxed_str),
            started,
            ends: [None; Phase::COUNT],
            is_passed_on,
        }))
    }

    /// Queues the spans of a request that is over. Returns how many had no room.
    pub(super) fn emit(&self, record: &Record<'_>, trace: &Trace) -> u64 {
        match self.sender.try_reserve() {
            Ok(place) => {
                place.send(span::spans(record, trace));
                0
            }
            // Not worth making them.
            Err(_full) => span::count(record),
        }
    }

    /// The settings, and the queue; once.
    pub(super) fn take(&self) -> Option<(TraceSettings, mpsc::Receiver<Spans>)> {
        Some((self.settings.clone(), self.receiver.lock().take()?))
    }
}

/// The one `traceparent` of a head. Two contradict each other.
fn caller<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Option<TraceParent> {
    let mut values = lines(fields, TRACEPARENT);
    let first = values.next()?;
    match values.next() {
        None => TraceParent::parse(first).ok(),
        Some(_) => None,
    }
}

fn lines<'a>(
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    wanted: &'static str,
) -> impl Iterator<Item = &'a [u8]> {
    let named = fields.filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
    named.map(|(_, value)| value)
}

/// A new trace and a new span; none where the system has no random numbers.
fn ids() -> Option<([u8; 16], [u8; 8])> {
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    getrandom::fill(&mut trace).ok()?;
    getrandom::fill(&mut span).ok()?;
    // Zero means none.
    (trace != [0; 16] && span != [0; 8]).then_some((trace, span))
}

/// A number for the choice of requests, of a generator for each thread (SplitMix64). No secret depends on it.
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(getrandom::u64().unwrap_or_default());
    }
    // A thread that is ending takes no request.
    let state = STATE.try_with(|state| {
        state.set(state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        state.get()
    });
    mix(state.unwrap_or(u64::MAX))
}

fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
