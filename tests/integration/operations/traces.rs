//! Traces: spans at a real collector; `traceparent` on its way; and collectors that are down, slow or full.

use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client::Wire;
use crate::support::collector::{Collector, Span};
use crate::support::dns::Dns;
use crate::support::message::response;
use crate::support::origin::Origin;
use crate::support::port::Port;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, auth, request_of};
use crate::support::upgrade::Successor;
use crate::support::{DEADLINE, eventually};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// A collector whose posts are looked at.
fn collector() -> Origin {
    Origin::http(|_| response("200 OK", "Content-Type: application/x-protobuf\r\n", ""))
}

fn traced(endpoint: impl std::fmt::Display, keys: &str) -> Setup {
    Setup::new().config(&format!(
        "telemetry: {{ otlp: {{ endpoint: 'http://{endpoint}', sample: 100%, {keys} }} }}"
    ))
}

#[test]
fn a_collector_gets_spans_of_requests_and_tunnels() {
    let Some(mut collector) = Collector::reserve() else {
        return;
    };
    collector.start();
    let dns = Dns::table(&[("name.test", &["127.0.0.1"])]);
    let origin = Origin::ok("hello");
    let echo = Origin::echo();
    let proxy = traced(collector.address(), "")
        .config(&dns.config())
        .config("limits: { classes: [{ name: all, requests: 12/m, burst: 1, queue: 8s }] }")
        .start();
    let target = format!("http://name.test:{}/path", origin.address.port());
    assert_eq!(proxy.fetch(&format!("{target}?secret=1")).status(), 200);
    proxy.exchange(request_of(ALICE, "GET", "http://10.0.0.1/denied"));
    drop(proxy.tunnel(echo.address));
    // A denied one takes no turn and is connected nowhere, the one after it waits for its turn.
    const ALL: [(&str, &[&str]); 3] = [
        ("GET", &["resolve", "connect", "first byte"]),
        ("GET", &[]),
        ("CONNECT", &["queue", "connect"]),
    ];
    let count: usize = ALL.iter().map(|(_, children)| 1 + children.len()).sum();
    let exported = "tollgate_trace_spans_total{result=\"exported\"}";
    eventually("the posts", || {
        (proxy.metric(exported) == count as u64).then_some(())
    });
    let spans = collector.finish(count);
    assert_eq!(spans.len(), count, "{spans:#?}");
    assert!(!format!("{spans:?}").contains("secret=1"));
    let mut roots: Vec<&Span> = spans
        .iter()
        .filter(|span| span.field("Parent ID").is_empty())
        .collect();
    // A record is written after its answer, so that the second one may come first.
    roots.sort_by_key(|root| root.started());
    for (root, (name, expected)) in roots.iter().zip(ALL) {
        assert_eq!(root.name(), name);
        assert_eq!(root.field("Kind"), "SPAN_KIND_SERVER");
        assert_eq!(root.resource["service.name"], "tollgate");
        assert!(root.scope.starts_with("tollgate "), "{}", root.scope);
        assert_eq!(root.attributes["user.name"], ALICE.0);
        let children: Vec<&Span> = spans
            .iter()
            .filter(|span| span.field("Parent ID") == root.field("ID"))
            .collect();
        let names: Vec<&str> = children.iter().map(|span| span.name()).collect();
        assert_eq!(names, expected, "{spans:#?}");
        for child in children {
            assert_eq!(child.field("Trace ID"), root.field("Trace ID"));
            assert!(child.nanoseconds() <= root.nanoseconds(), "{spans:#?}");
        }
    }
    let [get, denied, tunnel] = roots[..] else {
        panic!("{spans:#?}")
    };
    assert!(!get.has("Status code"));
    assert_eq!(get.attributes["tollgate.target"], target);
    assert_eq!(get.attributes["http.response.status_code"], "200");
    assert_eq!(denied.field("Status code"), "STATUS_CODE_ERROR");
    assert_eq!(denied.attributes["error.type"], "destination_ip_prohibited");
    assert_eq!(tunnel.attributes["tollgate.role"], "tunnel");
    let to = echo.address.to_string();
    assert_eq!(tunnel.attributes["tollgate.target"], to);
    assert!(tunnel.nanoseconds() > 0);
}

#[test]
fn a_collector_that_comes_later_gets_what_waited() {
    let Some(mut collector) = Collector::reserve() else {
        return;
    };
    let listener = TcpListener::bind(collector.address()).unwrap();
    let proxy = traced(collector.address(), "propagate: never").start();
    proxy.exchange(request_of(ALICE, "GET", "http://10.0.0.1/early"));
    // The first attempt finds one that hangs up.
    listener.set_nonblocking(true).unwrap();
    drop(eventually("the first attempt", || listener.accept().ok()));
    drop(listener);
    collector.start();
    let spans = collector.finish(1);
    assert_eq!(
        spans[0].attributes["tollgate.target"],
        "http://10.0.0.1/early"
    );
}

/// Waits until the error log of a process that has ended has this text.
fn told(proxy: &Proxy, text: &str) {
    eventually(text, || proxy.errors().contains(text).then_some(()));
}

/// Sends spans of two requests to a process with traces, and ends it so.
fn end(collector: &Collector, end: impl FnOnce(&mut Proxy)) {
    let echo = Origin::echo();
    let mut proxy = traced(collector.address(), "")
        .config("timeouts: { drain: 100ms }")
        .start();
    proxy.exchange(request_of(ALICE, "GET", "http://10.0.0.1/denied"));
    let _tunnel = proxy.tunnel(echo.address);
    end(&mut proxy);
}

fn assert_all(collector: Collector) {
    let spans = collector.finish(3);
    let mut names: Vec<&str> = spans.iter().map(Span::name).collect();
    names.sort_unstable();
    assert_eq!(names, ["CONNECT", "GET", "connect"]);
}

#[test]
fn the_last_spans_are_sent_before_the_process_ends() {
    for signal in [Signal::INT, Signal::TERM] {
        let Some(mut collector) = Collector::reserve() else {
            return;
        };
        collector.start();
        end(&collector, |proxy| {
            proxy.signal(signal);
            assert!(proxy.wait_exit(DEADLINE).success());
        });
        assert_all(collector);
    }
}

#[test]
fn the_last_spans_are_sent_when_another_process_takes_over() {
    let Some(mut collector) = Collector::reserve() else {
        return;
    };
    collector.start();
    end(&collector, |proxy| {
        let _successor = Successor::start(proxy);
        proxy.signal(Signal::QUIT);
        assert!(proxy.wait_exit(DEADLINE).success());
    });
    assert_all(collector);
}

/// A process that is killed while it drains has sent most of them.
#[test]
fn spans_wait_for_a_second_while_the_process_drains() {
    let collector = collector();
    let echo = Origin::echo();
    let proxy = traced(collector.address, "")
        .config("timeouts: { drain: 1h }")
        .start();
    let _tunnel = proxy.tunnel(echo.address);
    proxy.exchange(request_of(ALICE, "GET", "http://10.0.0.1/denied"));
    let begun = Instant::now();
    proxy.signal(Signal::TERM);
    eventually("the post", || collector.requests().into_iter().next());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn losses_at_the_end_are_told() {
    let closed = Port::reserve();
    let busy = Origin::http(|_| response("503 Service Unavailable", "Retry-After: 60\r\n", ""));
    for endpoint in [closed.address, busy.address] {
        let mut proxy = traced(endpoint, "propagate: never").start();
        for _ in 0..3 {
            proxy.exchange(request_of(ALICE, "GET", "http://10.0.0.1/denied"));
        }
        assert_ends_soon(&mut proxy);
        told(&proxy, "the last 3 spans were not taken and are lost");
    }
}

/// The process ends, whatever the collector does.
fn assert_ends_soon(proxy: &mut Proxy) {
    let begun = Instant::now();
    proxy.signal(Signal::INT);
    assert!(proxy.wait_exit(DEADLINE).success());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// The connection of the first post is kept, and the collector closes it before the last one.
#[test]
fn the_last_spans_are_sent_on_another_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let (first, kept) = channel();
    let posts = std::thread::spawn(move || {
        let accept = || eventually("a connection", || listener.accept().ok()).0;
        let mut kept = Wire::new(accept()).unwrap();
        let _first = kept.request().unwrap().unwrap();
        kept.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        first.send(()).unwrap();
        // The second one is read, and gets no answer.
        let _second = kept.request().unwrap().unwrap();
        drop(kept);
        let mut other = Wire::new(accept()).unwrap();
        let again = other.request().unwrap().unwrap();
        other
            .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        again.head.target().to_owned()
    });
    let mut proxy = traced(address, "propagate: never").start();
    proxy.exchange(request_of(ALICE, "GET", "http://10.0.0.1/first"));
    kept.recv_timeout(DEADLINE).unwrap();
    proxy.exchange(request_of(ALICE, "GET", "http://10.0.0.1/second"));
    proxy.signal(Signal::INT);
    assert!(proxy.wait_exit(DEADLINE).success());
    assert_eq!(posts.join().unwrap(), "/v1/traces");
    assert!(!proxy.errors().contains("lost"), "{}", proxy.errors());
}

#[test]
fn a_deaf_collector_holds_the_end_up_for_a_second() {
    let deaf = Origin::deaf();
    let mut proxy = traced(deaf.address, "").start();
    proxy.exchange(request_of(ALICE, "GET", "http://10.0.0.1/denied"));
    assert_ends_soon(&mut proxy);
    told(
        &proxy,
        "the collector did not answer in time; the last spans may be lost",
    );
}

#[test]
fn the_span_of_the_caller_is_the_parent() {
    let Some(mut collector) = Collector::reserve() else {
        return;
    };
    collector.start();
    let proxy = traced(collector.address(), "propagate: all").start();
    proxy.exchange(with_context("http://10.0.0.1/", "01"));
    let spans = collector.finish(1);
    assert_eq!(spans[0].field("Trace ID"), TRACE);
    assert_eq!(spans[0].field("Parent ID"), CALLER);
}

#[test]
fn a_post_has_the_path_and_the_configured_fields() {
    let collector = collector();
    let proxy = traced(collector.address, "fields: { authorization: COLLECTOR }")
        .file("collector.secret", "Bearer of-the-collector\n")
        .config("secrets: { COLLECTOR: { file: collector.secret } }")
        .start();
    proxy.exchange(request_of(ALICE, "GET", "http://10.0.0.1/denied"));
    let post = eventually("the post", || collector.requests().into_iter().next());
    assert_eq!(post.head.method(), "POST");
    assert_eq!(post.head.target(), "/v1/traces");
    let fields = &post.head.fields;
    assert_eq!(fields.value("content-type"), Some("application/x-protobuf"));
    assert_eq!(
        fields.value("authorization"),
        Some("Bearer of-the-collector")
    );
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
