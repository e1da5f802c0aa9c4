//! The pictures of README.md and docs/page.md: the page of a proxy with a day's work, both widths, light and dark.
//!
//! scripts/screenshots.sh runs this with a directory to write them to. Without one it only looks that they can be taken.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::browser::Browser;
use crate::support::client::Wire;
use crate::support::dashboard::{assert_quiet, open, with_operator};
use crate::support::dns::Dns;
use crate::support::load;
use crate::support::message::ok;
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

/// The load before the pictures and while they are taken: requests in a second, and for how many seconds.
const LONG: [(u32, u32); 6] = [
    (70, 80),
    (130, 50),
    (90, 60),
    (160, 30),
    (80, 60),
    (120, 75),
];
const SHORT: [(u32, u32); 2] = [(100, 3), (50, 12)];

/// The usual port for the documents, where it is free; else any.
fn listener(port: Option<u16>) -> TcpListener {
    let usual = port.and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    usual.unwrap_or_else(|| TcpListener::bind("127.0.0.1:0").unwrap())
}

/// One of a list, the first ones more often.
fn some<T: Copy>(list: &[T], number: usize) -> T {
    let spread = number.wrapping_mul(0x9e37_79b9) >> 7;
    list[(spread % list.len()).min((spread / 7) % list.len())]
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
    let user = some(&USERS, turn);
    let credentials = credentials(user);
    let host = some(&HOSTS, turn + 3);
    match turn % 97 {
        0 => {
            let host = some(&DENIED, turn / 97);
            format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{credentials}\r\n")
        }
        1 => format!("GET / HTTP/1.1\r\nHost: app.corp.example\r\n{credentials}\r\n"),
        2 if turn.is_multiple_of(5) => {
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
        if (number * 7 + round).is_multiple_of(3) {
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
    let load = if folder.is_some() {
        LONG.as_slice()
    } else {
        &SHORT
    };
    let body = ok("x".repeat(20_000));
    let web = listener(folder.as_ref().map(|_| 80));
    let pages = Origin::over(web, move |mut wire, _| {
        while wire.request()?.is_some() {
            wire.send(&body)?;
        }
        Ok(())
    });
    let echo = Origin::over(listener(folder.as_ref().map(|_| 443)), |wire, _| {
        let mut from = wire.socket().try_clone()?;
        let mut to = from.try_clone()?;
        std::io::copy(&mut from, &mut to)?;
        Ok(())
    });
    let (app, second) = (Origin::ok("app"), Origin::ok("app"));
    let dns = Dns::with(600, |_, _| Some(vec!["127.0.0.1".parse().unwrap()]));
    let proxy = busy_proxy(&dns, [&app, &second]);
    let mut wires = tunnels(&proxy, echo.address.port());
    let port = pages.address.port();
    std::thread::scope(|scope| {
        let (last, before) = load.split_last().unwrap();
        let send = |(rate, seconds): (u32, u32)| {
            let turns = 0..(rate * seconds) as usize;
            load::run(proxy.address, rate, turns, |turn| request(turn, port));
        };
        let first = scope.spawn(move || before.iter().copied().for_each(send));
        let mut round = 0;
        while !first.is_finished() {
            carry(&mut wires, round);
            wires[0].stays_quiet(Duration::from_millis(150)).unwrap();
            round += 1;
        }
        scope.spawn(move || send(*last));
        take(browser, &proxy, &mut wires, folder.as_deref());
    });
    assert_quiet(browser, &proxy);
}

/// Takes the pictures, while the load goes on.
fn take(browser: &mut Browser, proxy: &Proxy, wires: &mut [Wire], folder: Option<&Path>) {
    let keep = |name: String, picture: Vec<u8>| {
        assert!(picture.starts_with(b"\x89PNG\r\n"), "{name}");
        if let Some(folder) = folder {
            std::fs::write(folder.join(name), picture).unwrap();
        }
    };
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        for width in [1600, 390] {
            open(browser, proxy, width);
            for round in 0..2 {
                carry(wires, round);
                browser.evaluate("window.clock = document.getElementById('time').textContent");
                browser.wait("document.getElementById('time').textContent !== window.clock");
            }
            keep(format!("page-{scheme}-{width}.png"), browser.picture());
        }
    }
    browser.prefer("light");
    open(browser, proxy, 1600);
    browser.evaluate("document.querySelector('#denials [data-do=explain]').click()");
    browser.wait("document.querySelector('#denials .detail .verdict') !== null");
    browser.evaluate("document.getElementById('denials').scrollIntoView({ behavior: 'instant' })");
    keep("page-explain.png".to_owned(), browser.picture());
}
