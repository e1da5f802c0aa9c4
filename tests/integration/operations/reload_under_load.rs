//! Reloads while requests come in: a thousand of them, and some of large lists.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::Wire;
use crate::support::dns::Dns;
use crate::support::message::Response;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup, reload};
use crate::support::request::{ALICE, BOB, COLON, fetch, request_of, sha_line};

fn everywhere() -> Dns {
    Dns::with(60, |_, _| Some(vec!["127.0.0.1".parse().unwrap()]))
}

/// All of a state is in files of its own, so that one rename of the configuration changes it.
/// `default: admit` lets everything through that meets no rules at all.
fn state(name: &str, rest: u16) -> String {
    format!(
        "auth: {{ htpasswd: {name}.htpasswd, groups: {name}.htgroup }}
policy:
  default: admit
  rules:
    - {{ name: {name}, action: admit, groups: [team], domains: [\"@{name}.txt\"] }}
    - {{ name: {name}-rest, action: deny, status: {rest} }}
policy_tests:
  - {{ user: carol, target: \"http://{name}.test/\", resolve: [127.0.0.1], expect: admit, rule: {name} }}
  - {{ user: carol, target: /, expect: deny, rule: {name}-rest }}
"
    )
}

/// A request, and what it may be answered with in either state; 407 is for who is not there.
struct Ask {
    method: &'static str,
    request: String,
    in_a: u16,
    in_b: u16,
}

fn asks(port: u16) -> Vec<Ask> {
    let mut asks = Vec::new();
    for (user, host, in_a, in_b) in [
        (ALICE, "a.test", 200, 407),
        (ALICE, "b.test", 404, 407),
        (BOB, "a.test", 407, 429),
        (BOB, "b.test", 407, 200),
        (COLON, "a.test", 200, 429),
        (COLON, "b.test", 404, 200),
        (COLON, "other.test", 404, 429),
        (BOB, "", 407, 429),
        (ALICE, "", 404, 407),
    ] {
        let targets = match host {
            "" => vec![("GET", "/".to_owned())],
            _ => vec![
                ("GET", format!("http://{host}:{port}/")),
                ("CONNECT", format!("{host}:{port}")),
            ],
        };
        for (method, target) in targets {
            asks.push(Ask {
                method,
                request: request_of(user, method, &target),
                in_a,
                in_b,
            });
        }
    }
    asks
}

/// What the clients of a load have seen.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    wrong: Mutex<Vec<String>>,
    in_a: AtomicUsize,
    in_b: AtomicUsize,
}

impl Seen {
    /// Asks everything in turn until told to stop: GET on a kept connection, CONNECT on a new one.
    fn ask(&self, address: SocketAddr, asks: &[Ask], from: usize) {
        let mut kept: Option<Wire> = None;
        for ask in asks.iter().cycle().skip(from) {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let answer = exchange(address, &mut kept, ask);
            let (status, start) = match answer {
                Ok(answer) => (answer.status(), answer.head.start),
                Err(error) => {
                    self.fail(format!("{error} to {}", ask.request));
                    continue;
                }
            };
            if status == ask.in_a {
                self.in_a.fetch_add(1, Ordering::SeqCst);
            } else if status == ask.in_b {
                self.in_b.fetch_add(1, Ordering::SeqCst);
            } else {
                self.fail(format!("{start} to {}", ask.request));
            }
        }
    }

    fn fail(&self, text: String) {
        self.wrong.lock().unwrap().push(text);
    }
}

fn exchange(address: SocketAddr, kept: &mut Option<Wire>, ask: &Ask) -> std::io::Result<Response> {
    let mut wire = match kept.take() {
        Some(wire) if ask.method == "GET" => wire,
        _ => Wire::connect(address)?,
    };
    wire.send(&ask.request)?;
    let answer = wire.response(ask.method)?;
    if ask.method == "GET" && !answer.head.fields.lists("connection", "close") {
        *kept = Some(wire);
    }
    Ok(answer)
}

const RELOADS: u64 = 1000;
/// Of these as many as all who do not change the files ask for.
const ASKED_BY_OTHERS: u64 = 300;

/// Every request meets one state as a whole: users, groups, list and rules. Never two, never none.
#[test]
fn thousand_reloads_under_load_never_mix_two_states() {
    let dns = everywhere();
    let origin = Origin::http(|_| crate::support::message::ok("in"));
    let proxy = Setup::new()
        .file("a.htpasswd", sha_line(ALICE) + &sha_line(COLON))
        .file("b.htpasswd", sha_line(BOB) + &sha_line(COLON))
        .file("a.htgroup", "team: alice carol\n")
        .file("b.htgroup", "team: bob carol\n")
        .file("a.txt", "a.test\n")
        .file("b.txt", "b.test\n")
        .config(&dns.config())
        .config(&state("a", 404))
        .start();
    let seen = Arc::new(Seen::default());
    let (address, admin) = (proxy.address, proxy.admin_address());
    let mut clients = Vec::new();
    for from in 0..3 {
        let seen = Arc::clone(&seen);
        let asks = asks(origin.port());
        let from = from * asks.len() / 3;
        clients.push(std::thread::spawn(move || seen.ask(address, &asks, from)));
    }
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..ASKED_BY_OTHERS / 2 {
                    assert_eq!(reload(admin).status(), 200);
                }
            });
        }
        for round in 0..RELOADS - ASKED_BY_OTHERS {
            let (name, rest) = [("b", 429), ("a", 404)][(round % 2) as usize];
            proxy.rewrite(&state(name, rest));
            let answer = proxy.reload();
            assert_eq!(answer.status(), 200, "{}", answer.text());
        }
    });
    seen.stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().unwrap();
    }
    let wrong = seen.wrong.lock().unwrap();
    assert!(
        wrong.is_empty(),
        "{} wrong: {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    let (in_a, in_b) = (
        seen.in_a.load(Ordering::SeqCst),
        seen.in_b.load(Ordering::SeqCst),
    );
    assert!(
        in_a > 200 && in_b > 200,
        "{in_a} in one state, {in_b} in the other"
    );
    assert_eq!(
        proxy.metric("tollgate_reloads_total{result=\"success\"}"),
        RELOADS
    );
    assert_eq!(
        proxy.metric("tollgate_reloads_total{result=\"failure\"}"),
        0
    );
    assert_logged(&proxy, in_a + in_b);
}

/// The log has the same: each decision by a rule of the state in which the user is known.
fn assert_logged(proxy: &Proxy, count: usize) {
    let mut by_rule: BTreeMap<String, usize> = BTreeMap::new();
    for record in proxy.wait_records(count) {
        let word = |key: &str| record[key].as_str().unwrap_or("").to_owned();
        let status = record["status"].as_u64().unwrap();
        let expected: &[u64] = match (word("user").as_str(), word("rule").as_str()) {
            ("alice" | "carol", "a") | ("bob" | "carol", "b") => &[200],
            ("alice" | "carol", "a-rest") => &[404],
            ("bob" | "carol", "b-rest") => &[429],
            ("", "") => &[407],
            _ => &[],
        };
        assert!(expected.contains(&status), "{record}");
        *by_rule.entry(word("rule")).or_default() += 1;
    }
    assert_eq!(by_rule.len(), 5, "{by_rule:?}");
}

/// Names of a list file: exact ones, whole domains, and lines as hosts files have them.
fn long_list(count: usize, domain: &str) -> String {
    let mut text = String::new();
    for number in 0..count {
        let name = format!("host-{number}.site-{}.{domain}", number % 977);
        let _ = match number % 3 {
            0 => writeln!(text, "{name}"),
            1 => writeln!(text, "||{name}^"),
            _ => writeln!(text, "0.0.0.0 {name}"),
        };
    }
    text
}

#[test]
fn long_list_decides_and_its_reload_stalls_nobody() {
    const ENTRIES: usize = 200_000;
    /// What a request may take at the most, of those that come while lists are read.
    const LONGEST: Duration = Duration::from_secs(1);
    let dns = everywhere();
    let origin = Origin::http(|_| crate::support::message::ok("in"));
    let proxy = Setup::new()
        .file("long.txt", long_list(ENTRIES, "old.test"))
        // With one thread there is no other that could go on.
        .server("threads: 1")
        .config(&dns.config())
        .config("policy: { rules: [ { name: long, action: deny, domains: [\"@long.txt\"], status: 451 } ] }")
        .start();
    let port = origin.port();
    let status = |host: &str| proxy.fetch(&format!("http://{host}:{port}/")).status();
    let name =
        |number: usize, domain: &str| format!("host-{number}.site-{}.{domain}", number % 977);
    let assert_decides = |listed: &str, unlisted: &str| {
        for number in [0, 1, 2, 99_999, ENTRIES - 2, ENTRIES - 1] {
            assert_eq!(status(&name(number, listed)), 451, "{number}");
            assert_eq!(status(&name(number, unlisted)), 200, "{number}");
            // Only an adblock line holds what is below.
            let below = if number % 3 == 1 { 451 } else { 200 };
            assert_eq!(
                status(&format!("x.{}", name(number, listed))),
                below,
                "{number}"
            );
        }
        assert_eq!(status(&name(ENTRIES, listed)), 200);
        assert_eq!(status(listed), 200);
    };
    assert_decides("old.test", "new.test");

    let stop = Arc::new(AtomicBool::new(false));
    let address = proxy.address;
    let clients: Vec<_> = ["http://free.test", "http://host-0.site-0.old.test"]
        .into_iter()
        .map(|site| {
            let stop = Arc::clone(&stop);
            let request = fetch(&format!("{site}:{port}/"));
            std::thread::spawn(move || {
                let mut took = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let start = Instant::now();
                    let mut wire = Wire::connect(address).unwrap();
                    let answer = wire.exchange(&request);
                    assert!([200, 451].contains(&answer.status()));
                    took.push(start.elapsed());
                }
                took
            })
        })
        .collect();
    let reading = ["new.test", "old.test", "new.test"].map(|domain| {
        std::fs::write(proxy.path("long.txt"), long_list(ENTRIES, domain)).unwrap();
        let start = Instant::now();
        assert_eq!(proxy.reload().status(), 200);
        start.elapsed()
    });
    stop.store(true, Ordering::SeqCst);
    let mut took: Vec<Duration> = Vec::new();
    for client in clients {
        took.extend(client.join().unwrap());
    }
    took.sort();
    let count = took.len();
    assert!(count >= 100, "{count} requests in {reading:?}");
    let slow = took[count * 99 / 100];
    assert!(slow < LONGEST, "p99 {slow:?} of {count} in {reading:?}");
    // Nobody waits for a reload to end. Short ones say nothing: the machine has other work, too.
    let longest = took[count - 1];
    let bound = reading
        .into_iter()
        .min()
        .unwrap_or_default()
        .div_f64(2.0)
        .max(LONGEST / 4);
    assert!(longest < bound, "{longest:?} of {count} in {reading:?}");
    assert_decides("new.test", "old.test");
}
