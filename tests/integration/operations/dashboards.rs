//! The dashboard and the alerts in `contrib`: what they ask for exists in a scrape of the real program, and Prometheus' own
//! tools accept them.

use std::collections::BTreeSet;
use std::process::Command;

use regex::Regex;
use rustix::process::Signal;

use crate::support::client::Wire;
use crate::support::command::{is_installed, run};
use crate::support::documents::{read, root};
use crate::support::eventually;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::port::Port;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, connect, fetch, request_of};
use crate::support::tls::Authority;

const DASHBOARD: &str = "contrib/grafana/tollgate.json";
const RULES: &str = "contrib/prometheus/rules.yml";

fn has_promtool() -> bool {
    is_installed(&["promtool", "--version"])
}

/// A proxy in which everything has happened that the dashboard and the alerts show, and its scrape.
fn scrape() -> String {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost"]);
    let origin = Origin::fixed(ok("hello"));
    let address = origin.address;
    let nobody = Port::reserve();
    let setup = Setup::new()
        .file("clients.pem", authority.pem())
        .file("clients.crl", authority.list(&[]))
        .secure_listener(
            &identity,
            "tls: { certificate: cert.pem, key: key.pem, client_ca: clients.pem, client_crl: clients.crl }",
        );
    let proxy: Proxy = setup
        .config(&format!(
            "gateway: {{ upstreams: ['{address}'] }}
limits: {{ classes: [{{ name: all, requests: 1000/s, queue: 1s, tunnels: 1 }}] }}
parents: {{ far: {{ urls: ['http://{}'] }} }}
policy:
  rules:
    - {{ name: watch, action: observe, methods: [GET] }}
    - {{ name: no-delete, action: deny, methods: [DELETE] }}
    - {{ name: by-parent, action: admit, methods: [PUT], via: far }}
",
            nobody.address
        ))
        .start();
    assert_eq!(
        proxy
            .exchange(fetch(&format!("http://localhost:{}/", origin.port())))
            .status(),
        200
    );
    assert_eq!(proxy.exchange(request_of(ALICE, "GET", "/")).status(), 200);
    let url = format!("http://{address}/");
    assert_eq!(
        proxy.exchange(request_of(ALICE, "DELETE", &url)).status(),
        403
    );
    assert_eq!(proxy.exchange(request_of(ALICE, "PUT", &url)).status(), 502);
    let stranger = format!("GET {url} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    assert_eq!(proxy.exchange(stranger).status(), 407);
    assert_eq!(proxy.exchange("GET / HTTP/1.1\nHost: x\n\n").status(), 400);
    let tunnel = proxy.tunnel(address);
    assert_eq!(proxy.exchange(connect(address)).status(), 429);
    drop(tunnel);
    // No TLS where the listener has it.
    let mut wrong = Wire::connect(proxy.secure_address()).unwrap();
    wrong.send("GET / HTTP/1.1\r\n\r\n").unwrap();
    eventually("the end of the tunnel, and the wrong protocol", || {
        let text = proxy.admin("/metrics").text();
        let has = |name: &str| text.lines().any(|line| line.starts_with(name));
        (has("tollgate_tunnels_ended_total{") && has("tollgate_connections_rejected_total{"))
            .then_some(text)
    })
}

/// The names of metrics in a text, and of histograms without their suffix.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\b(?:tollgate|process)_[a-z0-9_]+").unwrap();
    let names = name.find_iter(text);
    names
        .map(|found| found.as_str().trim_end_matches("_bucket").to_owned())
        .collect()
}

#[test]
fn every_metric_of_the_dashboard_and_of_the_alerts_is_in_a_scrape() {
    let scrape = scrape();
    let shown: BTreeSet<&str> = scrape
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    for path in [DASHBOARD, RULES] {
        let asked = metrics_in(&read(&root().join(path)));
        assert!(asked.len() >= 10, "{path}: {asked:?}");
        let missing: Vec<_> = asked
            .iter()
            .filter(|name| !shown.contains(name.as_str()))
            .collect();
        assert!(missing.is_empty(), "{path} asks for {missing:?}\n{scrape}");
    }
}

#[test]
fn every_label_of_the_dashboard_is_in_a_scrape() {
    let scrape = scrape();
    let dashboard: serde_json::Value =
        serde_json::from_str(&read(&root().join(DASHBOARD))).unwrap();
    let by = Regex::new(r"\bby \(([a-z_, ]+)\)").unwrap();
    let metric = Regex::new(r"\b(?:tollgate|process)_[a-z0-9_]+").unwrap();
    let mut checked = 0;
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    for target in targets.flatten() {
        let expr = target["expr"].as_str().unwrap();
        let name = metric.find(expr).unwrap().as_str();
        for labels in by.captures_iter(expr) {
            for label in labels[1].split(", ").filter(|label| *label != "instance") {
                let series = format!("{name}{{");
                let has = scrape
                    .lines()
                    .filter(|line| line.starts_with(&series))
                    .any(|line| line.contains(&format!("{label}=\"")));
                assert!(has, "{name} has no label {label}: {expr}");
                checked += 1;
            }
        }
    }
    assert!(checked > 20, "{checked}");
}

#[test]
fn panels_of_the_dashboard_have_ids_of_their_own_and_do_not_overlap() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&read(&root().join(DASHBOARD))).unwrap();
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(x < 24 && cells.insert((x, y)), "{panel}");
            }
        }
    }
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() {
    if !has_promtool() {
        return;
    }
    let directory = root().join("contrib/prometheus");
    for arguments in [
        ["check", "rules", "rules.yml"],
        ["test", "rules", "rules_test.yml"],
    ] {
        let outcome = run(
            Command::new("promtool")
                .args(arguments)
                .current_dir(&directory),
            "",
        );
        assert_eq!(
            outcome.code(),
            Some(0),
            "{arguments:?}: {}",
            outcome.output()
        );
    }
}

#[test]
fn promtool_accepts_the_metrics() {
    if !has_promtool() {
        return;
    }
    let outcome = run(
        Command::new("promtool").args(["check", "metrics"]),
        &scrape(),
    );
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
}

#[test]
fn a_reload_shows_when_and_whether_it_succeeded() {
    let proxy = Proxy::plain();
    let succeeded = "tollgate_config_last_reload_successful";
    let time = "tollgate_config_last_reload_success_timestamp_seconds";
    assert_eq!(proxy.metric(succeeded), 1);
    let started = proxy.metric(time);
    assert!(started > 1_700_000_000);
    let users = std::fs::read_to_string(proxy.path("users.htpasswd")).unwrap();
    std::fs::write(proxy.path("users.htpasswd"), "no line of a password file\n").unwrap();
    proxy.signal(Signal::HUP);
    eventually("the failed reload", || {
        (proxy.metric(succeeded) == 0).then_some(())
    });
    assert_eq!(proxy.metric(time), started);
    std::fs::write(proxy.path("users.htpasswd"), users).unwrap();
    assert_eq!(proxy.reload().status(), 200);
    assert_eq!(proxy.metric(succeeded), 1);
    assert!(proxy.metric(time) >= started);
}
