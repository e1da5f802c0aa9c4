//! The spans of one request or tunnel, made of its record.
//!
//! Names of attributes are those of OpenTelemetry's conventions where there is one. No span has a query string: it may
//! hold secrets, and traces go further than the log.

use std::time::{Duration, Instant, SystemTime};

use super::proto::{
    AnyValue, ExportRequest, KeyValue, Kind, Resource, ResourceSpans, Scope, ScopeSpans, Span,
    Status, Value,
};
use super::{Phase, Spans, Trace, mix};
use crate::telemetry::VERSION;
use crate::telemetry::record::{Record, role_name};

/// Bytes of a text.
const MAX_TEXT: usize = 1024;
/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;
/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` and `.._IS_REMOTE_MASK`, and that the trace is sampled.
const SAMPLED: u32 = 1;
const HAS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The span of the request, and those of its phases.
pub(super) fn spans(record: &Record<'_>, trace: &Trace) -> Spans {
    let clock = Clock::now();
    let end = trace.started + record.duration;
    let mut spans = Vec::with_capacity(5);
    spans.push(request(record, trace, &clock, end));
    let mut number = 0;
    let mut child = |name: &str, kind: Kind, from: Instant, to: Instant| {
        number += 1;
        spans.push(Span {
            trace_id: trace.own.trace_id.to_vec(),
            span_id: child_id(trace.own.parent_id, number),
            parent_span_id: trace.own.parent_id.to_vec(),
            name: name.to_owned(),
            kind: kind as i32,
            start_time_unix_nano: clock.nanos(from),
            end_time_unix_nano: clock.nanos(to),
            flags: SAMPLED | HAS_REMOTE,
            ..Span::default()
        });
    };
    let mut last = None;
    for (name, kind, phase, length) in [
        ("resolve", Kind::Internal, Phase::Resolve, record.resolve),
        ("queue", Kind::Internal, Phase::Queue, record.queue),
        ("connect", Kind::Client, Phase::Connect, record.connect),
    ] {
        let ended = trace.ends.get(phase as usize).copied().flatten();
        if let (Some(ended), Some(length)) = (ended, length) {
            // One that is repeated has the length of all of them.
            let began = ended.checked_sub(length).unwrap_or(trace.started);
            child(name, kind, began.max(trace.started), ended);
            last = last.max(Some(ended));
        }
    }
    if let Some(first_byte) = record.first_byte {
        let came = trace.started + first_byte;
        let began = last.unwrap_or(trace.started).min(came);
        child("first byte", Kind::Client, began, came);
    }
    spans
}

/// How many spans the request has, about: without making them.
pub(super) fn count(record: &Record<'_>) -> u64 {
    let phases = [
        record.resolve,
        record.queue,
        record.connect,
        record.first_byte,
    ];
    1 + phases.iter().flatten().count() as u64
}

/// The spans as they are sent.
pub(super) fn export(spans: Spans) -> ExportRequest {
    let text = |text: &str| Value::Text(text.to_owned());
    let process = Value::Number(std::process::id().into());
    let attributes = [
        ("service.name", text("tollgate")),
        ("service.version", text(VERSION)),
        ("process.pid", process),
    ];
    ExportRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: attributes.into_iter().map(attribute).collect(),
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(Scope {
                    name: "tollgate".to_owned(),
                    version: VERSION.to_owned(),
                }),
                spans,
            }],
        }],
    }
}

fn attribute((key, value): (&'static str, Value)) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
    }
}

fn request(record: &Record<'_>, trace: &Trace, clock: &Clock, end: Instant) -> Span {
    let method = text(record.method);
    let is_error = record.error.is_some() || record.status.is_some_and(|status| status >= 500);
    let remote = trace.caller.map_or(0, |_| IS_REMOTE);
    Span {
        trace_id: trace.own.trace_id.to_vec(),
        span_id: trace.own.parent_id.to_vec(),
        parent_span_id: trace.caller.map(Vec::from).unwrap_or_default(),
        trace_state: trace.state.as_deref().unwrap_or_default().to_owned(),
        name: match record.method.is_empty() {
            true => "HTTP".to_owned(),
            false => method.clone(),
        },
        kind: Kind::Server as i32,
        start_time_unix_nano: clock.nanos(trace.started),
        end_time_unix_nano: clock.nanos(end),
        attributes: attributes(record, method),
        status: is_error.then(|| Status {
            message: record.error.unwrap_or_default().to_owned(),
            code: ERROR,
        }),
        flags: SAMPLED | HAS_REMOTE | remote,
    }
}

fn attributes(record: &Record<'_>, method: String) -> Vec<KeyValue> {
    let target = record.target.split(|byte| *byte == b'?').next();
    let number = |number: u64| Value::Number(i64::try_from(number).unwrap_or(i64::MAX));
    let word = |word: &str| Value::Text(text(word.as_bytes()));
    let client = record.client.ip().to_canonical().to_string();
    let mut all = vec![
        ("http.request.method", Value::Text(method)),
        (
            "tollgate.target",
            Value::Text(text(target.unwrap_or_default())),
        ),
        ("tollgate.role", word(role_name(record.role))),
        ("tollgate.request_id", word(record.request_id)),
        ("client.address", Value::Text(client)),
        ("http.request.body.size", number(record.bytes_from_client)),
        ("http.response.body.size", number(record.bytes_to_client)),
    ];
    let mut add = |key: &'static str, value: Option<Value>| {
        if let Some(value) = value {
            all.push((key, value));
        }
    };
    add(
        "http.response.status_code",
        record.status.map(|status| number(status.into())),
    );
    add("user.name", record.user.map(word));
    add("error.type", record.error.map(word));
    add(
        "tollgate.rule",
        record.decided_by.map(|by| word(&by.name())),
    );
    add("tollgate.class", record.class.map(word));
    add("tollgate.parent", record.parent.map(word));
    add("tollgate.end_reason", record.end_reason.map(word));
    all.into_iter().map(attribute).collect()
}

/// Text that may be a client's, cut.
fn text(bytes: &[u8]) -> String {
    let kept = bytes.get(..MAX_TEXT).unwrap_or(bytes);
    String::from_utf8_lossy(kept).into_owned()
}

/// The id of a child: made of that of the span, and never zero.
fn child_id(span: [u8; 8], number: u64) -> Vec<u8> {
    let id = mix(u64::from_be_bytes(span).wrapping_add(number));
    id.max(1).to_be_bytes().to_vec()
}

/// The same moment on both clocks.
struct Clock {
    instant: Instant,
    system: SystemTime,
}

impl Clock {
    fn now() -> Clock {
        Clock {
            instant: Instant::now(),
            system: SystemTime::now(),
        }
    }

    fn nanos(&self, moment: Instant) -> u64 {
        let ago = self.instant.saturating_duration_since(moment);
        let ahead = moment.saturating_duration_since(self.instant);
        let time = self
            .system
            .checked_sub(ago)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        let since: Duration = since.unwrap_or_default() + ahead;
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}
