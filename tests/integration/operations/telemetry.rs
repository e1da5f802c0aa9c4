//! What is told about the traffic: the access log, `/metrics` and `/stats`.

use std::collections::HashSet;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, auth, connect, credentials, fetch};

#[test]
fn each_request_has_one_record() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("hello");
    let address = origin.address;
    let mut wire = proxy.connect();
    let mut ids = HashSet::new();
    wire.exchange(fetch(&format!("http://{address}/page?x=1")));
    wire.exchange(format!(
        "POST http://{address}/post HTTP/1.1\r\nHost: {address}\r\n{}Content-Length: 3\r\n\
         User-Agent: agent/1\r\nReferer: http://from.test/\r\n\r\nabc",
        auth()
    ));
    wire.exchange(format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth()));
    wire.exchange(format!(
        "GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\n\r\n"
    ));
    wire.exchange(fetch("http://10.0.0.1/denied"));
    wire.exchange(fetch("http://127.0.0.1:1/refused"));
    wire.exchange(format!("FOO / HTTP/1.1\r\n{}\r\n", auth()));
    let records = proxy.wait_records(7);
    assert_eq!(records.len(), 7, "{records:#?}");
    let expected = [
        ("forward", "GET", 200, ALICE.0),
        ("forward", "POST", 200, ALICE.0),
        ("gateway", "GET", 200, ALICE.0),
        ("forward", "GET", 407, ""),
        ("forward", "GET", 403, ALICE.0),
        ("forward", "GET", 502, ALICE.0),
    ];
    for (record, (role, method, status, user)) in records.iter().zip(expected) {
        assert_eq!(record["event"], "request", "{record}");
        assert_eq!(record["role"], role, "{record}");
        assert_eq!(record["method"], method, "{record}");
        assert_eq!(record["status"], status, "{record}");
        assert_eq!(record["user"].as_str().unwrap_or(""), user, "{record}");
        assert_eq!(record["version"], "HTTP/1.1", "{record}");
        assert!(
            record["client"].as_str().unwrap().starts_with("127.0.0.1:"),
            "{record}"
        );
        assert!(
            record["duration_seconds"].as_f64().unwrap() < 15.0,
            "{record}"
        );
        assert!(record["time"].as_str().unwrap().contains('T'), "{record}");
        ids.insert(record["request_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 6);
    assert_eq!(records[0]["target"], format!("http://{address}/page?x=1"));
    assert_eq!(records[0]["upstream"], address.to_string());
    assert_eq!(records[0]["bytes_to_client"], 5);
    assert_eq!(records[0]["bytes_from_upstream"], 5);
    assert_eq!(records[1]["bytes_from_client"], 3);
    assert_eq!(records[1]["user_agent"], "agent/1");
    assert_eq!(records[1]["referer"], "http://from.test/");
    assert!(
        records[4]["rule"]
            .as_str()
            .unwrap()
            .starts_with("special_purpose"),
        "{}",
        records[4]
    );
    assert_eq!(records[5]["error"], "connection_refused");
    assert_eq!(records[6]["status"], 400, "{}", records[6]);
}

#[test]
fn malformed_heads_are_recorded_too() {
    let proxy = Proxy::start("timeouts: { request_head: 1s }");
    let mut count = 0;
    for bytes in [
        "GET / HTTP/1.1\r\nX : y\r\n\r\n",
        "rubbish\r\n\r\n",
        "GET / HTTP/1.1\r\n",
    ] {
        let mut wire = proxy.connect();
        wire.send(bytes).unwrap();
        wire.rest();
        count += 1;
        let records = proxy.wait_records(count);
        let status = records.last().unwrap()["status"].as_u64().unwrap();
        assert!([400, 408].contains(&status), "{bytes:?}: {records:#?}");
    }
}

#[test]
fn request_id_of_the_answer_is_in_the_log() {
    let proxy = Proxy::plain();
    let answer = proxy.fetch("http://10.0.0.1/");
    let record = proxy.record("the refusal", |record| record["status"] == 403);
    let id = record["request_id"].as_str().unwrap();
    let head = String::from_utf8_lossy(&answer.head.raw).into_owned();
    assert!(head.contains(id), "{id} in {head}");
}

#[test]
fn tunnel_has_a_record_at_its_end_and_if_wanted_at_its_start() {
    let origin = Origin::echo();
    for open in [false, true] {
        let proxy = Proxy::start(&format!("log: {{ tunnel_open: {open} }}"));
        let mut wire = proxy.tunnel(origin.address);
        if open {
            let record = proxy.record("the start", |record| record["event"] == "tunnel_open");
            assert_eq!(record["target"], origin.address.to_string(), "{record}");
        }
        wire.send("12345").unwrap();
        wire.finish().unwrap();
        wire.rest();
        let record = proxy.record("the end", |record| record["event"] == "tunnel_close");
        assert_eq!(record["role"], "tunnel", "{record}");
        assert_eq!(record["method"], "CONNECT", "{record}");
        assert_eq!(record["target"], origin.address.to_string(), "{record}");
        assert_eq!(record["upstream"], origin.address.to_string(), "{record}");
        assert_eq!(record["user"], ALICE.0, "{record}");
        assert_eq!(record["status"], 200, "{record}");
        assert_eq!(record["bytes_from_client"], 5, "{record}");
        assert_eq!(record["bytes_from_upstream"], 5, "{record}");
        assert!(record["end_reason"].is_string(), "{record}");
        assert_eq!(proxy.records().len(), if open { 2 } else { 1 });
    }
}

#[test]
fn reasons_why_tunnels_end_are_told_apart() {
    let proxy = Proxy::start("timeouts: { tunnel_idle: 1s }");
    let origin = Origin::echo();
    let resetting = Origin::raw(|mut wire, _| {
        wire.read_bytes(1)?;
        wire.reset();
        Ok(())
    });
    let mut reasons = HashSet::new();
    let mut count = 0;
    let mut next = |proxy: &Proxy| {
        count += 1;
        let records = proxy.wait_records(count);
        reasons.insert(
            records.last().unwrap()["end_reason"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    };
    let mut wire = proxy.tunnel(origin.address);
    wire.finish().unwrap();
    wire.rest();
    next(&proxy);
    let mut wire = proxy.tunnel(resetting.address);
    wire.send("x").unwrap();
    wire.rest();
    next(&proxy);
    let mut wire = proxy.tunnel(origin.address);
    wire.rest();
    next(&proxy);
    proxy.tunnel(origin.address).reset();
    next(&proxy);
    assert!(reasons.len() >= 3, "{reasons:?}");
}

#[test]
fn hostile_text_stays_inside_its_record() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let address = origin.address;
    let mut wire = proxy.connect();
    wire.send(
        [
            format!(
                "GET http://{address}/\"%0a%22 HTTP/1.1\r\nHost: {address}\r\n{}",
                auth()
            )
            .as_bytes(),
            b"User-Agent: a\"b\\c\xff\xfe\td\xe2\x80\xa8\r\nReferer: {\"x\":1}\r\n\r\n",
        ]
        .concat(),
    )
    .unwrap();
    wire.response("GET").unwrap();
    // Reading the records parses every line.
    let records = proxy.wait_records(1);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["referer"], "{\"x\":1}");
}

#[test]
fn combined_format_has_nine_parts() {
    let proxy = Proxy::start("log: { format: combined }");
    let origin = Origin::ok("hello");
    let address = origin.address;
    proxy.exchange(format!(
        "GET http://{address}/a HTTP/1.1\r\nHost: {address}\r\n{}User-Agent: agent/1\r\n\r\n",
        auth()
    ));
    let line = eventually("a line", || {
        let log = std::fs::read_to_string(proxy.path("access.log")).ok()?;
        log.strip_suffix('\n').map(str::to_owned)
    });
    assert!(line.starts_with("127.0.0.1 - alice ["), "{line}");
    let request = format!("\"GET http://{address}/a HTTP/1.1\" 200 5 \"-\" \"agent/1\"");
    assert!(line.ends_with(&request), "{line}");
}

#[test]
fn log_goes_to_standard_output_or_nowhere() {
    let proxy = Proxy::start("log: { access: stdout }");
    proxy.fetch("http://10.0.0.1/");
    let line = eventually("a line", || {
        let output = proxy.output();
        output
            .lines()
            .find(|line| line.starts_with('{'))
            .map(str::to_owned)
    });
    let record: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(record["status"], 403);

    let mut silent = Proxy::start("log: { access: \"off\" }");
    silent.fetch("http://10.0.0.1/");
    silent.signal(Signal::TERM);
    silent.wait_exit(Duration::from_secs(10));
    assert!(!silent.output().contains("10.0.0.1"), "{}", silent.output());
    assert!(!silent.path("access.log").exists() && !silent.path("off").exists());
}

/// The value of one sample in Prometheus' text format.
fn sample(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn metrics_count_what_happens() {
    let proxy = Proxy::plain();
    let (web, echo) = (Origin::ok("hello"), Origin::echo());
    let mut wire = proxy.connect();
    for _ in 0..3 {
        wire.exchange(fetch(&format!("http://{}/", web.address)));
    }
    wire.exchange(fetch("http://10.0.0.1/"));
    wire.exchange("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let tunnel = proxy.tunnel(echo.address);
    proxy.wait_records(5);
    let answer = proxy.admin("/metrics");
    assert_eq!(answer.status(), 200);
    assert!(
        answer
            .field("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    let text = answer.text();
    assert_eq!(
        sample(
            &text,
            "tollgate_requests_total{code=\"200\",role=\"forward\"}"
        ),
        Some(3.0),
        "{text}"
    );
    assert_eq!(
        sample(
            &text,
            "tollgate_requests_total{code=\"403\",role=\"forward\"}"
        ),
        Some(1.0),
        "{text}"
    );
    assert_eq!(
        sample(
            &text,
            "tollgate_requests_total{code=\"401\",role=\"gateway\"}"
        ),
        Some(1.0),
        "{text}"
    );
    assert_eq!(sample(&text, "tollgate_open_tunnels"), Some(1.0), "{text}");
    assert_eq!(sample(&text, "tollgate_tunnels_total"), Some(1.0), "{text}");
    assert!(
        sample(&text, "tollgate_open_connections").unwrap() >= 2.0,
        "{text}"
    );
    assert!(
        sample(&text, "process_resident_memory_bytes").unwrap() > 1e6,
        "{text}"
    );
    drop(tunnel);
    eventually("the tunnel to be counted out", || {
        (sample(&proxy.admin("/metrics").text(), "tollgate_open_tunnels") == Some(0.0))
            .then_some(())
    });
    let text = proxy.admin("/metrics").text();
    assert_eq!(sample(&text, "tollgate_tunnels_total"), Some(1.0), "{text}");
    // Every line is a comment or a sample with a number.
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let number = line.rsplit(' ').next().unwrap();
        assert!(number.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn stats_have_the_keys_of_the_seed() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("hello");
    let echo = Origin::echo();
    let mut wire = proxy.connect();
    let url = format!("http://{}/", origin.address);
    for _ in 0..4 {
        wire.exchange(fetch(&url));
    }
    wire.exchange(fetch("http://127.0.0.1:1/"));
    let request = format!(
        "GET {url} HTTP/1.1\r\nHost: {}\r\n{}\r\n",
        origin.address,
        credentials(BOB)
    );
    wire.exchange(request);
    let mut tunnel = proxy.tunnel(echo.address);
    tunnel.send("12345").unwrap();
    tunnel.read_bytes(5).unwrap();
    proxy.wait_records(6);
    let answer = proxy.admin("/stats");
    assert_eq!(answer.status(), 200);
    assert!(
        answer
            .field("content-type")
            .unwrap()
            .starts_with("application/json")
    );
    assert!(answer.body.ends_with(b"}\n"), "{}", answer.text());
    let stats: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(stats["bandwidth_usage"].is_string(), "{stats}");
    assert!(stats["total_requests"].as_u64().unwrap() >= 6, "{stats}");
    assert!(stats["successful_visits"].as_u64().unwrap() >= 5, "{stats}");
    assert_eq!(stats["failed_visits"], 1, "{stats}");
    let top = &stats["top_sites"][0];
    assert_eq!(top["url"], origin.address.to_string(), "{stats}");
    assert_eq!(top["visits"], 5, "{stats}");
    assert_eq!(stats["users"][ALICE.0]["open_tunnels"], 1, "{stats}");
    assert_eq!(stats["users"][BOB.0]["requests"], 1, "{stats}");
    assert_eq!(stats["users"][BOB.0]["bytes_to_client"], 5, "{stats}");
    assert_eq!(stats["open_tunnels"], 1, "{stats}");
}

// Case 31: nothing in the telemetry stumbles over requests of odd shapes.
#[test]
fn odd_requests_are_counted_without_stumbling() {
    let mut proxy = Proxy::plain();
    let origin = Origin::ok("in");
    for request in [
        format!("OPTIONS * HTTP/1.1\r\nHost: x\r\n{}\r\n", auth()),
        format!("GET / HTTP/1.0\r\n{}\r\n", auth()),
        format!("GET http://{} HTTP/1.0\r\n{}\r\n", origin.address, auth()),
        format!(
            "OPTIONS http://{} HTTP/1.1\r\nHost: x\r\n{}\r\n",
            origin.address,
            auth()
        ),
        format!("HEAD /?q HTTP/1.1\r\nHost: \r\n{}\r\n", auth()),
        "CONNECT x:443 HTTP/1.0\r\n\r\n".to_owned(),
        connect("[::1]:1"),
    ] {
        let mut wire = proxy.connect();
        wire.exchange(&request);
    }
    let records = proxy.wait_records(7);
    assert_eq!(records.len(), 7);
    assert!(proxy.is_running());
    assert!(!proxy.errors().contains("panicked"), "{}", proxy.errors());
}

// Case 38: the admin listener answers its two paths, to its own names, by GET.
#[test]
fn admin_listener_is_narrow() {
    let proxy = Proxy::plain();
    assert_eq!(proxy.admin("/nothing").status(), 404);
    assert_eq!(proxy.admin("/metrics/../stats").status(), 404);
    let ask = |request: &str| {
        let mut wire = Wire::connect(proxy.admin_address()).unwrap();
        let _maybe_closed = wire.send(request);
        let said = wire.response(request.split(' ').next().unwrap());
        said.map_or(0, |answer| answer.status())
    };
    let host = proxy.admin_address();
    for method in ["POST", "PUT", "DELETE", "CONNECT", "TRACE"] {
        let status = ask(&format!(
            "{method} /stats HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ));
        assert!(
            [0, 400, 404, 405, 501].contains(&status),
            "{method}: {status}"
        );
    }
    // A page of another site whose name was pointed here (DNS rebinding).
    let status = ask("GET /stats HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert_ne!(status, 200);
    // It is no proxy.
    let status =
        ask("GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\nConnection: close\r\n\r\n");
    assert!([0, 400, 403, 404, 421].contains(&status), "{status}");
    let mut wire = Wire::connect(proxy.admin_address()).unwrap();
    wire.send("\x00\x01\x02").unwrap();
    wire.finish().unwrap();
    wire.rest();
    assert_eq!(proxy.admin("/stats").status(), 200);
}

#[test]
fn no_admin_listener_unless_configured() {
    let setup = Setup::new();
    let yaml = format!(
        "version: 1\npid_file: {0}/p\nupgrade_sock: {0}/u\ntollgate:\n  listeners: [{{ address: \"{1}\" }}]\n  \
         auth: {{ realm: r, htpasswd: users.htpasswd }}\n  log: {{ access: \"off\" }}\n",
        setup.directory.path().display(),
        setup.address()
    );
    let admin = setup.admin_address();
    let proxy = setup.whole(&yaml).without_admin().start();
    assert_eq!(proxy.fetch("http://10.0.0.1/").status(), 403);
    assert!(std::net::TcpStream::connect(admin).is_err());
}

#[test]
fn summary_is_logged_at_the_end() {
    let mut proxy = Proxy::plain();
    let origin = Origin::http(|_| ok("hello"));
    for _ in 0..3 {
        proxy.fetch(&format!("http://{}/", origin.address));
    }
    proxy.wait_records(3);
    proxy.signal(Signal::TERM);
    proxy.wait_exit(Duration::from_secs(10));
    let said = proxy.errors() + &proxy.output();
    assert!(said.contains("served 3 requests"), "{said}");
}
