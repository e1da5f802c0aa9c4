//! Traces: spans at a collector, read with the messages that OpenTelemetry publishes for Python; `traceparent` on its way;
//! and collectors that are down, slow or full.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::command::{is_here, run};
use crate::support::eventually;
use crate::support::message::response;
use crate::support::origin::Origin;
use crate::support::port::Port;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, auth, request_of};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Reads the content of a post, in hexadecimal digits, and prints its spans.
const READER: &str = "
import sys, json
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
request = ExportTraceServiceRequest()
request.ParseFromString(bytes.fromhex(sys.stdin.read()))
def attributes(of): return {a.key: a.value.string_value or a.value.int_value for a in of}
print(json.dumps([
    {'resource': attributes(r.resource.attributes), 'scope': s.scope.name, 'name': span.name, 'kind': span.kind,
     'trace': span.trace_id.hex(), 'span': span.span_id.hex(), 'parent': span.parent_span_id.hex(),
     'state': span.trace_state, 'nanos': span.end_time_unix_nano - span.start_time_unix_nano,
     'status': span.status.code, 'attributes': attributes(span.attributes)}
    for r in request.resource_spans for s in r.scope_spans for span in s.spans]))
";

fn has_messages() -> bool {
    let import = "import opentelemetry.proto.collector.trace.v1.trace_service_pb2";
    is_here(&["python3", "-c", import], "PyPI: opentelemetry-proto")
}

fn read(content: &[u8]) -> Vec<Value> {
    let digits: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
    let outcome = run(Command::new("python3").args(["-c", READER]), &digits);
    assert!(outcome.status.success(), "{}", outcome.output());
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn collector() -> Origin {
    Origin::http(|_| response("200 OK", "Content-Type: application/x-protobuf\r\n", ""))
}

fn traced(endpoint: impl std::fmt::Display, keys: &str) -> Setup {
    Setup::new().config(&format!(
        "telemetry: {{ otlp: {{ endpoint: 'http://{endpoint}', sample: 100%, {keys} }} }}"
    ))
}

fn spans(collector: &Origin, count: usize) -> Vec<Value> {
    eventually("the spans", || {
        let posts = collector.requests();
        let spans: Vec<Value> = posts.iter().flat_map(|post| read(&post.body)).collect();
        (spans.len() >= count).then_some(spans)
    })
}

#[test]
fn a_collector_gets_spans_of_requests_and_tunnels() {
    let collector = collector();
    let origin = Origin::ok("hello");
    let echo = Origin::echo();
    let proxy = traced(collector.address, "fields: { authorization: COLLECTOR }")
        .file("collector.secret", "Bearer of-the-collector\n")
        .config("secrets: { COLLECTOR: { file: collector.secret } }")
        .start();
    let url = format!("http://{}/path?secret=1", origin.address);
    assert_eq!(proxy.fetch(&url).status(), 200);
    proxy.exchange(request_of(ALICE, "GET", "http://10.0.0.1/denied"));
    drop(proxy.tunnel(echo.address));
    let post = eventually("the post", || collector.requests().into_iter().next());
    assert_eq!(post.head.method(), "POST");
    assert_eq!(post.head.target(), "/v1/traces");
    let fields = &post.head.fields;
    assert_eq!(fields.value("content-type"), Some("application/x-protobuf"));
    assert_eq!(
        fields.value("authorization"),
        Some("Bearer of-the-collector")
    );
    if !has_messages() {
        return;
    }
    let spans = spans(&collector, 6);
    let of = |name: &str, target: &str| -> &Value {
        let named = |span: &&Value| {
            let attributes = &span["attributes"];
            span["name"] == name && attributes["tollgate.target"].as_str() == Some(target)
        };
        spans
            .iter()
            .find(named)
            .unwrap_or_else(|| panic!("{name} {target}: {spans:#?}"))
    };
    let get = of("GET", &format!("http://{}/path", origin.address));
    assert_eq!(get["resource"]["service.name"], "tollgate");
    assert_eq!(get["scope"], "tollgate");
    assert_eq!(
        (&get["kind"], &get["parent"], &get["status"]),
        (&2.into(), &"".into(), &0.into())
    );
    assert_eq!(get["attributes"]["http.response.status_code"], 200);
    assert_eq!(get["attributes"]["user.name"], ALICE.0);
    let children: Vec<&str> = spans
        .iter()
        .filter(|span| span["parent"] == get["span"] && span["trace"] == get["trace"])
        .map(|span| span["name"].as_str().unwrap())
        .collect();
    assert_eq!(children, ["connect", "first byte"], "{spans:#?}");
    let denied = of("GET", "http://10.0.0.1/denied");
    assert_eq!(denied["status"], 2);
    assert_eq!(
        denied["attributes"]["error.type"],
        "destination_ip_prohibited"
    );
    let tunnel = of("CONNECT", &echo.address.to_string());
    assert_eq!(tunnel["attributes"]["tollgate.role"], "tunnel");
    assert!(tunnel["nanos"].as_u64().unwrap() > 0);
    assert!(!format!("{spans:?}").contains("secret=1"));
    let exported = proxy.metric("tollgate_trace_spans_total{result=\"exported\"}");
    assert_eq!(exported, spans.len() as u64);
}

fn with_context(target: &str, flags: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: gate\r\n{}traceparent: 00-{TRACE}-{CALLER}-{flags}\r\n\
         tracestate: rojo=1\r\n\r\n",
        auth()
    )
}

#[test]
fn the_trace_context_is_passed_on_by_choice() {
    for (propagate, to_upstream, to_origin) in [
        ("never", false, false),
        ("gateway", true, false),
        ("all", true, true),
    ] {
        let collector = collector();
        let (upstream, origin) = (Origin::ok("up"), Origin::ok("origin"));
        let proxy = traced(collector.address, &format!("propagate: {propagate}"))
            .config(&format!(
                "gateway: {{ upstreams: ['{}'] }}",
                upstream.address
            ))
            .start();
        let target = format!("http://{}/", origin.address);
        for (server, target, is_told) in [
            (&upstream, "/", to_upstream),
            (&origin, &*target, to_origin),
        ] {
            proxy.exchange(with_context(target, "01"));
            let fields = server.request().head.fields;
            let parent = fields.value("traceparent").unwrap().to_owned();
            assert!(
                parent.starts_with(&format!("00-{TRACE}-")),
                "{propagate} {target}: {parent}"
            );
            // Without the choice, the field of the client passes as any other.
            assert_eq!(
                parent.contains(CALLER),
                !is_told,
                "{propagate} {target}: {parent}"
            );
            assert_eq!(fields.all("tracestate"), ["rojo=1"]);
        }
        // One that is not recorded is left as it is.
        proxy.exchange(with_context("/unsampled", "00"));
        let last = eventually("the request", || {
            let seen = upstream.requests().into_iter();
            seen.into_iter()
                .find(|request| request.head.target() == "/unsampled")
        });
        let parent = last.head.fields.value("traceparent").unwrap().to_owned();
        assert_eq!(parent, format!("00-{TRACE}-{CALLER}-00"));
    }
}

#[test]
fn a_collector_that_is_down_costs_spans_alone() {
    let port = Port::reserve();
    let deaf = Origin::deaf();
    for endpoint in [port.address, deaf.address] {
        let origin = Origin::ok("hello");
        let proxy = traced(endpoint, "propagate: never").start();
        let url = format!("http://{}/", origin.address);
        let begun = Instant::now();
        let mut wire = proxy.connect();
        // More than the queue has room for.
        for _ in 0..2600 {
            let answer = wire.exchange(request_of(ALICE, "GET", &url));
            assert_eq!(answer.status(), 200);
        }
        assert!(
            begun.elapsed() < Duration::from_secs(40),
            "{:?}",
            begun.elapsed()
        );
        let overflow = "tollgate_trace_spans_total{result=\"overflow\"}";
        eventually("the drops", || (proxy.metric(overflow) > 0).then_some(()));
    }
}

#[test]
fn retry_after_is_respected() {
    const WAIT: Duration = Duration::from_secs(2);
    let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = Arc::clone(&times);
    let collector = Origin::http(move |_| {
        let mut times = seen.lock().unwrap();
        times.push(Instant::now());
        match times.len() {
            1 => response("503 Service Unavailable", "Retry-After: 2\r\n", ""),
            _ => response("200 OK", "", ""),
        }
    });
    let proxy: Proxy = traced(collector.address, "propagate: never").start();
    proxy.exchange(request_of(ALICE, "GET", "http://10.0.0.1/"));
    let exported = "tollgate_trace_spans_total{result=\"exported\"}";
    eventually("the second attempt", || {
        (proxy.metric(exported) == 1).then_some(())
    });
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 2);
    assert!(times[1] - times[0] >= WAIT, "{:?}", times[1] - times[0]);
    assert!(
        proxy.errors().contains("the collector answers 503"),
        "{}",
        proxy.errors()
    );
}
