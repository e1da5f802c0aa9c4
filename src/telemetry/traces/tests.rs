use std::time::{Duration, SystemTime};

use super::proto::{Kind, Value};
use super::*;
use crate::telemetry::{Destination, Settings, Telemetry, UserKey, UserNames};

const CALLER: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

type Field = (&'static [u8], &'static [u8]);

fn settings(sample: u32, propagate: Propagate) -> TraceSettings {
    TraceSettings {
        endpoint: HttpUrl::parse("http://127.0.0.1:4318/v1/traces").unwrap(),
        fields: Vec::new(),
        sample: Sample::of_million(sample),
        propagate,
    }
}

fn begin(traces: &Traces, role: Role, fields: &[Field]) -> Option<Box<Trace>> {
    traces.begin(role, fields.iter().copied(), Instant::now())
}

#[test]
fn a_part_of_the_requests_begins_a_trace() {
    for (sample, expected) in [
        (0, 0..=0),
        (1_000_000, 10_000..=10_000),
        (100_000, 700..=1300),
    ] {
        let traces = Traces::new(settings(sample, Propagate::Never));
        let begun = (0..10_000).filter(|_| begin(&traces, Role::Forward, &[]).is_some());
        let begun = begun.count();
        assert!(expected.contains(&begun), "{sample}: {begun}");
    }
}

#[test]
fn the_caller_decides_where_it_is_taken_up() {
    let all = Traces::new(settings(0, Propagate::All));
    let trace = begin(&all, Role::Forward, &[(b"TraceParent", CALLER)]).unwrap();
    assert_eq!(trace.own.trace_id[..2], [0x0a, 0xf7]);
    assert_eq!(trace.caller.unwrap()[0], 0xb7);
    assert_ne!(Some(trace.own.parent_id), trace.caller);
    let always = Traces::new(settings(1_000_000, Propagate::All));
    assert!(begin(&always, Role::Forward, &[(b"traceparent", UNSAMPLED)]).is_none());
    // Two contradict each other, and what is none counts as none.
    let cases: [&[Field]; 2] = [
        &[(b"traceparent", CALLER), (b"traceparent", CALLER)],
        &[(b"traceparent", b"00-x")],
    ];
    for fields in cases {
        let trace = begin(&always, Role::Forward, fields).unwrap();
        assert_eq!(trace.caller, None);
        assert!(!trace.own.to_string().contains("0af7651916cd43dd"));
    }
}

#[test]
fn it_is_passed_on_by_choice_alone() {
    for (propagate, role, is_passed_on) in [
        (Propagate::Never, Role::Gateway, false),
        (Propagate::Never, Role::Forward, false),
        (Propagate::Gateway, Role::Gateway, true),
        (Propagate::Gateway, Role::Forward, false),
        (Propagate::Gateway, Role::Tunnel, false),
        (Propagate::All, Role::Forward, true),
        (Propagate::All, Role::Tunnel, true),
    ] {
        let traces = Traces::new(settings(1_000_000, propagate));
        let fields: &[Field] = &[
            (b"traceparent", CALLER),
            (b"tracestate", b"a=1"),
            (b"tracestate", b"b=2"),
        ];
        let trace = begin(&traces, role, fields).unwrap();
        assert_eq!(
            trace.caller.is_some(),
            is_passed_on,
            "{propagate:?} {role:?}"
        );
        let passed = trace.for_server();
        assert_eq!(passed.is_some(), is_passed_on, "{propagate:?} {role:?}");
        if let Some((parent, state)) = passed {
            assert_eq!(parent, trace.own.to_string().as_str());
            assert_eq!(state.unwrap(), "a=1,b=2");
        }
    }
    // The state belongs to a parent.
    let traces = Traces::new(settings(1_000_000, Propagate::All));
    let trace = begin(&traces, Role::Forward, &[(b"tracestate", b"a=1")]).unwrap();
    assert!(matches!(trace.for_server(), Some((_, None))));
}

fn telemetry(users: UserNames) -> Telemetry {
    let settings = Settings {
        access: Destination::Off,
        traces: Some(settings(1_000_000, Propagate::All)),
        users,
        ..Settings::default()
    };
    Telemetry::new(&settings).unwrap()
}

fn text<'s>(span: &'s Span, key: &str) -> Option<&'s str> {
    let attribute = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::Text(text) => Some(text),
        Value::Number(_) => None,
    }
}

#[test]
fn a_request_becomes_spans_of_its_phases() {
    let telemetry = telemetry(UserNames::Hashed(UserKey::of("a secret of the operator")));
    let (_, mut queue) = telemetry.traces.as_ref().unwrap().take().unwrap();
    let started = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    let fields: &[Field] = &[(b"traceparent", CALLER), (b"tracestate", b"a=1")];
    let begun = telemetry.begin_trace(Some(Role::Forward), || fields.iter().copied(), started);
    let mut trace = begun.unwrap();
    trace.ended(Phase::Resolve);
    trace.ended(Phase::Connect);
    let record = Record {
        user: Some("alice"),
        method: b"GET",
        target: b"http://example.org/path?secret=1",
        status: Some(502),
        error: Some("connection_refused"),
        duration: Duration::from_secs(1),
        resolve: Some(Duration::from_millis(100)),
        connect: Some(Duration::from_millis(50)),
        first_byte: Some(Duration::from_secs(1)),
        trace: Some(&trace),
        ..Record::new(
            SystemTime::now(),
            "id-1",
            Some(Role::Forward),
            ([192, 0, 2, 1], 5).into(),
        )
    };
    telemetry.record(&record);
    let spans = queue.try_recv().unwrap();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["GET", "resolve", "connect", "first byte"]);
    let request = &spans[0];
    assert_eq!(request.parent_span_id, trace.caller.unwrap());
    assert_eq!(request.trace_state, "a=1");
    assert_eq!(request.kind, Kind::Server as i32);
    assert_eq!(request.status.as_ref().unwrap().code, 2);
    assert_eq!(
        text(request, "tollgate.target"),
        Some("http://example.org/path")
    );
    assert_eq!(text(request, "error.type"), Some("connection_refused"));
    assert_eq!(text(request, "client.address"), Some("192.0.2.1"));
    assert_eq!(
        text(request, "user.name"),
        Some(&*telemetry.show_user("alice"))
    );
    assert!(!format!("{spans:?}").contains("alice"));
    let length = |span: &Span| span.end_time_unix_nano - span.start_time_unix_nano;
    for (span, millis) in spans.iter().zip([1000, 100, 50]) {
        assert_eq!(length(span) / 1_000_000, millis, "{}", span.name);
    }
    let mut ids: Vec<_> = spans.iter().map(|span| &span.span_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    for child in &spans[1..] {
        assert_eq!(child.parent_span_id, request.span_id);
        assert_eq!(child.trace_id, request.trace_id);
        assert!(child.start_time_unix_nano >= request.start_time_unix_nano);
        assert!(child.end_time_unix_nano >= child.start_time_unix_nano);
    }
}

#[test]
fn a_full_queue_drops_and_counts() {
    let telemetry = telemetry(UserNames::Plain);
    let trace = telemetry
        .begin_trace(Some(Role::Gateway), || [].into_iter(), Instant::now())
        .unwrap();
    let record = Record {
        trace: Some(&trace),
        ..Record::new(
            SystemTime::now(),
            "id",
            Some(Role::Gateway),
            ([192, 0, 2, 1], 5).into(),
        )
    };
    for _ in 0..QUEUE + 3 {
        telemetry.record(&record);
    }
    let metrics = telemetry.render_metrics();
    assert!(
        metrics.contains("tollgate_trace_spans_total{result=\"overflow\"} 3"),
        "{metrics}"
    );
}

#[test]
fn without_the_setting_there_is_none() {
    let settings = Settings {
        access: Destination::Off,
        ..Settings::default()
    };
    let telemetry = Telemetry::new(&settings).unwrap();
    let fields: &[Field] = &[(b"traceparent", CALLER)];
    let begun = telemetry.begin_trace(
        Some(Role::Gateway),
        || fields.iter().copied(),
        Instant::now(),
    );
    assert!(begun.is_none() && telemetry.take_traces().is_none());
}
