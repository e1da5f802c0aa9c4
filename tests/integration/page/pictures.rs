//! The pictures of README.md and docs/page.md: the page of a proxy with a day's work, both widths, light and dark.
//!
//! scripts/screenshots.sh runs this with a directory to write them to. Without one it only looks that they can be taken.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::browser::Browser;
use crate::support::client::Wire;
use crate::support::dashboard::{assert_quiet, open, with_operator};
use crate::support::dns::Dns;
use crate::support::load;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{credentials, sha_line};

const USERS: [(&str, &str); 6] = [
    ("alice", "p"),
    ("bob", "p"),
    ("ci-deploy", "p"),
    ("ci-linux", "p"),
    ("agent-7", "p"),
    ("crawler", "p"),
];

const HOSTS: [&str; 8] = [
    "github.com",
    "registry.npmjs.org",
    "pypi.org",
    "static.crates.io",
    "api.openai.com",
    "deb.debian.org",
    "slack.com",
    "storage.googleapis.com",
];

const DENIED: [&str; 3] = [
    "pastebin.com",
    "telemetry.vendor.example",
    "smtp.mail.example",
];

/// Seconds of requests before the pictures: `UPDATE_PICTURES` takes long ones, so that the charts have something.
fn seconds(is_for_documents: bool) -> u32 {
    if is_for_documents { 150 } else { 3 }
}

fn busy_proxy(dns: &Dns, upstreams: [&Origin; 2]) -> Proxy {
    let users: String = USERS.map(sha_line).concat();
    with_operator(Setup::new())
        .file("users.htpasswd", users)
        .file("groups.htgroup", "staff: alice bob\nci: ci-deploy ci-linux\n")
        .config(&format!(
            "auth: {{ groups: groups.htgroup }}
dns: {{ servers: [\"{}\"] }}
gateway: {{ upstreams: [\"{}\", \"{}\"] }}
limits:
  store: {{ file: balances.redb }}
  classes:
    - {{ name: staff, groups: [staff], per: user, requests: 400/s, burst: 800, quota: {{ day: 20GiB }} }}
    - {{ name: ci, groups: [ci], per: user, concurrent_requests: 200, tunnels: 100 }}
policy:
  rules:
    - {{ name: no-pastebins, domains: [pastebin.com], action: deny, message: \"ask it@corp.example\" }}
    - {{ name: no-mail, domains: [smtp.mail.example], action: deny }}
    - {{ name: no-telemetry, domains: [telemetry.vendor.example], action: deny }}
    - {{ name: try-no-slack, domains: [slack.com], action: observe }}
    - {{ name: ci-egress, groups: [ci], action: admit }}
    - {{ name: staff, groups: [staff], action: admit }}
    - {{ name: agents, users: [agent-7, crawler], action: admit }}",
            dns.address, upstreams[0].address, upstreams[1].address
        ))
        .start()
}

/// The request of a turn: most are answered, some are denied, a few fail.
fn request(turn: usize, port: u16) -> String {
    let user = USERS[turn * 7 % USERS.len()];
    let credentials = credentials(user);
    let host = HOSTS[turn * 5 % HOSTS.len()];
    match turn % 97 {
        0 => {
            let host = DENIED[turn / 97 % DENIED.len()];
            format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{credentials}\r\n")
        }
        1 => format!("GET / HTTP/1.1\r\nHost: app.corp.example\r\n{credentials}\r\n"),
        2 if turn % 5 == 0 => {
            format!("GET http://{host}:1/ HTTP/1.1\r\nHost: {host}:1\r\n{credentials}\r\n")
        }
        _ => format!(
            "GET http://{host}:{port}/packages/{turn} HTTP/1.1\r\nHost: {host}:{port}\r\n{credentials}\r\n"
        ),
    }
}

/// Open tunnels of all users, each with something carried.
fn tunnels(proxy: &Proxy, port: u16) -> Vec<Wire> {
    let mut wires = Vec::new();
    for number in 0..40 {
        let (user, host) = (USERS[number % USERS.len()], HOSTS[number * 3 % HOSTS.len()]);
        let mut wire = proxy.connect();
        let answer = wire.exchange(format!(
            "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{}\r\n",
            credentials(user)
        ));
        assert_eq!(answer.status(), 200);
        wires.push(wire);
    }
    wires
}

/// Has some tunnels carry something.
fn carry(wires: &mut [Wire], round: usize) {
    for (number, wire) in wires.iter_mut().enumerate() {
        if (number * 7 + round) % 3 == 0 {
            let bytes = vec![b'x'; 900 * (1 + (number * 13 + round * 5) % 37)];
            wire.send(&bytes).unwrap();
            wire.read_bytes(bytes.len()).unwrap();
        }
    }
}

#[test]
fn pictures() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let browser = &mut browser;
    let folder = std::env::var_os("UPDATE_PICTURES").map(PathBuf::from);
    let body = "x".repeat(20_000);
    let (pages, echo, app) = (Origin::ok(&body), Origin::echo(), Origin::ok("app"));
    let second = Origin::ok("app");
    let dns = Dns::with(600, |_, _| Some(vec!["127.0.0.1".parse().unwrap()]));
    let proxy = busy_proxy(&dns, [&app, &second]);
    let mut wires = tunnels(&proxy, echo.address.port());
    let port = pages.address.port();
    let rate = 100;
    std::thread::scope(|scope| {
        let turns = 0..(rate * seconds(folder.is_some())) as usize;
        let load =
            scope.spawn(|| load::run(proxy.address, rate, turns, |turn| request(turn, port)));
        let mut round = 0;
        while !load.is_finished() {
            carry(&mut wires, round);
            wires[0].stays_quiet(Duration::from_millis(150)).unwrap();
            round += 1;
        }
        load.join().unwrap();
    });
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        for width in [1600, 390] {
            open(browser, &proxy, width);
            carry(&mut wires, 1);
            browser.evaluate("window.clock = document.getElementById('time').textContent");
            browser.wait("document.getElementById('time').textContent !== window.clock");
            let whole = browser.picture();
            assert!(whole.starts_with(b"\x89PNG\r\n"));
            if let Some(folder) = &folder {
                std::fs::write(folder.join(format!("page-{scheme}-{width}.png")), whole).unwrap();
            }
        }
    }
    // One more for the documents: a denial with its explanation.
    browser.prefer("light");
    open(browser, &proxy, 1600);
    browser.evaluate("document.querySelector('#denials [data-do=explain]').click()");
    browser.wait("document.querySelector('#denials .detail .verdict') !== null");
    browser.evaluate("document.getElementById('denials').scrollIntoView({ behavior: 'instant' })");
    let explained = browser.picture();
    if let Some(folder) = &folder {
        std::fs::write(folder.join("page-explain.png"), explained).unwrap();
    }
    assert_quiet(browser, &proxy);
}
