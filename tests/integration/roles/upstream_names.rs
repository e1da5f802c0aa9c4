//! Upstreams that the configuration has by name: each address is one of its own, and they change while the process runs.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use crate::support::dns::Dns;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::port::{Port, one_port_of};
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::auth;
use crate::support::{DEADLINE, eventually};

const HOSTS: [&str; 2] = ["127.0.0.1", "127.0.0.2"];

fn get() -> String {
    format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth())
}

/// A proxy in front of `app.test` on that port.
fn in_front(port: u16, dns: &Dns) -> Proxy {
    let yaml = format!("gateway: {{ upstreams: [\"app.test:{port}\"] }}\n");
    Setup::new().config(&yaml).config(&dns.config()).start()
}

fn named(listener: TcpListener, name: &'static str) -> Origin {
    Origin::over(listener, move |mut wire, _| {
        while wire.request()?.is_some() {
            wire.send(ok(name))?;
        }
        Ok(())
    })
}

fn pair() -> (u16, [Origin; 2]) {
    let [one, two] = one_port_of(HOSTS);
    let port = one.local_addr().unwrap().port();
    (port, [named(one, "one"), named(two, "two")])
}

/// Answers with the list at an index that the test sets; an empty one is NXDOMAIN.
fn changing(lists: &'static [&'static [&'static str]]) -> (Dns, Arc<AtomicUsize>) {
    let at = Arc::new(AtomicUsize::new(0));
    let index = Arc::clone(&at);
    let dns = Dns::with(1, move |_, _| {
        let list = lists[index.load(Ordering::SeqCst)];
        let ips: Vec<IpAddr> = list.iter().map(|text| text.parse().unwrap()).collect();
        (!ips.is_empty()).then_some(ips)
    });
    (dns, at)
}

fn up(proxy: &Proxy, host: &str, port: u16) -> u64 {
    proxy.metric(&format!(
        "tollgate_upstream_up{{upstream=\"{host}:{port}\"}}"
    ))
}

#[test]
fn every_address_of_a_name_gets_requests() {
    let (port, _origins) = pair();
    let dns = Dns::table(&[("app.test", &HOSTS)]);
    let proxy = in_front(port, &dns);
    let mut wire = proxy.connect();
    let answers: Vec<String> = (0..6).map(|_| wire.exchange(get()).text()).collect();
    for name in ["one", "two"] {
        let count = answers.iter().filter(|answer| *answer == name).count();
        assert_eq!(count, 3, "{answers:?}");
    }
    assert_eq!(HOSTS.map(|host| up(&proxy, host, port)), [1, 1]);
    let record = &proxy.wait_records(6)[0];
    let upstream = record["upstream"].as_str().unwrap();
    assert!(upstream.ends_with(&format!(":{port}")), "{upstream}");
}

#[test]
fn requests_follow_the_addresses_of_a_name() {
    let [one, two] = one_port_of(HOSTS);
    let port = one.local_addr().unwrap().port();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let old = Origin::over(one, move |mut wire, seen| {
        while let Some(request) = wire.request()? {
            seen.keep(request);
            let held = released.lock().unwrap().recv_timeout(DEADLINE);
            held.map_err(io::Error::other)?;
            wire.send(ok("old"))?;
        }
        Ok(())
    });
    let _new = named(two, "new");
    let (dns, at) = changing(&[&["127.0.0.1"], &["127.0.0.2"], &[]]);
    let proxy = in_front(port, &dns);
    let mut under_way = proxy.connect();
    under_way.send(get()).unwrap();
    eventually("the request at the old address", || {
        (old.requests().len() == 1).then_some(())
    });
    at.store(1, Ordering::SeqCst);
    eventually("the metric of the new address", || {
        (up(&proxy, "127.0.0.2", port) == 1).then_some(())
    });
    let metrics = proxy.admin("/metrics").text();
    assert!(!metrics.contains("upstream=\"127.0.0.1"), "{metrics}");
    let mut wire = proxy.connect();
    for _ in 0..4 {
        assert_eq!(wire.exchange(get()).text(), "new");
    }
    release.send(()).unwrap();
    assert_eq!(under_way.response("GET").unwrap().text(), "old");
    // The connection to the old address is not used again.
    assert_eq!(under_way.exchange(get()).text(), "new");
    assert_eq!(old.requests().len(), 1);

    // A look-up that fails changes nothing, and is told of once.
    at.store(2, Ordering::SeqCst);
    let line = format!("upstream app.test:{port} cannot be resolved: name_not_found");
    eventually("the failed look-up", || {
        proxy.errors().contains(&line).then_some(())
    });
    let asked = dns.asked();
    eventually("more look-ups", || (dns.asked() > asked + 1).then_some(()));
    assert_eq!(proxy.errors().matches(&line).count(), 1);
    assert!(
        proxy
            .errors()
            .contains("the last known addresses stay in use"),
        "{}",
        proxy.errors()
    );
    assert_eq!(wire.exchange(get()).text(), "new");
}

#[test]
fn a_name_that_does_not_resolve_does_not_keep_the_process_from_starting() {
    let origin = Origin::ok("here");
    let (dns, at) = changing(&[&[], &["127.0.0.1"]]);
    let port = origin.address.port();
    let proxy = in_front(port, &dns);
    let (answer, record) = proxy.ask(get());
    assert_eq!(answer.status(), 503, "{}", answer.text());
    assert_eq!(record["error"], "destination_unavailable");
    let detail = record["error_detail"].as_str().unwrap();
    let expected = format!("app.test:{port} has no address: name_not_found");
    assert!(detail.starts_with(&expected), "{detail}");
    assert!(!answer.text().contains("app.test"), "{}", answer.text());
    at.store(1, Ordering::SeqCst);
    eventually("an answer of the upstream", || {
        (proxy.exchange(get()).status() == 200).then_some(())
    });
    let line = format!("upstream app.test:{port} has the addresses: 127.0.0.1");
    assert!(proxy.errors().contains(&line), "{}", proxy.errors());
}

/// Health checks go to addresses of names as well, while a name server is silent about another name.
#[test]
fn a_silent_name_server_holds_nothing_up() {
    let origin = Origin::ok("fixed");
    let dns = Dns::silent();
    let gone = Port::reserve();
    let yaml = format!(
        "gateway:\n  upstreams: [\"app.test:80\", \"{}\", \"{}\"]\n  health_check: {{ interval: 50ms }}\n",
        origin.address, gone.address
    );
    let proxy = Setup::new().config(&yaml).config(&dns.config()).start();
    assert_eq!(proxy.exchange(get()).text(), "fixed");
    let line = format!("upstream {} is down", gone.address);
    eventually("the health check", || {
        proxy.errors().contains(&line).then_some(())
    });
}

#[test]
fn an_address_of_a_name_that_leads_here_is_never_used() {
    let setup = Setup::new();
    let port = setup.address().port();
    let dns = Dns::table(&[("app.test", &["127.0.0.1"])]);
    let yaml = format!("gateway: {{ upstreams: [\"app.test:{port}\"] }}\n");
    let proxy = setup.config(&yaml).config(&dns.config()).start();
    let (answer, record) = proxy.ask(get());
    assert_eq!(answer.status(), 503, "{}", answer.text());
    let expected =
        format!("app.test:{port} has no address: it leads to one of tollgate's own listeners");
    assert_eq!(record["error_detail"], expected);
    let line = format!("upstream app.test:{port} leads to one of tollgate's own listeners");
    assert_eq!(
        proxy.errors().matches(&line).count(),
        1,
        "{}",
        proxy.errors()
    );
}

/// Each address has its own state: one that refuses is taken out, and the name goes on.
#[test]
fn one_address_of_a_name_may_be_down() {
    let [one, two] = one_port_of(HOSTS);
    let port = one.local_addr().unwrap().port();
    let _one = named(one, "one");
    drop(two);
    let dns = Dns::table(&[("app.test", &HOSTS)]);
    let yaml = format!(
        "gateway:\n  upstreams: [\"app.test:{port}\"]\n  health_check: {{ interval: 50ms }}\n"
    );
    let proxy = Setup::new().config(&yaml).config(&dns.config()).start();
    let mut wire = proxy.connect();
    for _ in 0..6 {
        assert_eq!(wire.exchange(get()).text(), "one");
    }
    let line = format!("upstream 127.0.0.2:{port} is down");
    eventually("the health check", || {
        proxy.errors().contains(&line).then_some(())
    });
    assert_eq!(HOSTS.map(|host| up(&proxy, host, port)), [1, 0]);
}
