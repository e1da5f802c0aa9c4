//! Balances over the end of the process: a restart, a kill, and an upgrade with a tunnel that goes on.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::client::Wire;
use crate::support::command::{program, successor, tollgate};
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, connect, request_of};
use crate::support::zone::steady_zone;
use crate::support::{DEADLINE, eventually, within};

/// A further process of the same configuration.
struct Process(Child);

impl Process {
    fn start(proxy: &Proxy, upgrade: bool) -> Process {
        let (program, options) = match upgrade {
            true => (successor(), &["-u", "-c"][..]),
            false => (program(), &["-c"][..]),
        };
        let child = Command::new(program)
            .args(options)
            .arg(proxy.path("pingora.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Process(child.unwrap())
    }

    fn end(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
        let ended = within(DEADLINE, || self.0.try_wait().unwrap());
        assert!(ended.is_some(), "still running");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn setup(quota: &str) -> Setup {
    Setup::new().config(&format!(
        "limits: {{ time_zone: {}, store: {{ file: quota.redb }}, \
         classes: [{{ name: all, quota: {{ {quota} }} }}] }}",
        steady_zone()
    ))
}

/// What Alice has used, as the command shows it.
fn shown(proxy: &Proxy) -> Option<u64> {
    let path = proxy.path("pingora.yaml");
    let path = path.to_str().unwrap();
    let outcome = tollgate(["quota", "-c", path, "--user", "alice", "--json"]);
    if outcome.code() != Some(0) {
        return None;
    }
    let rows: Value = serde_json::from_str(&outcome.stdout).unwrap();
    Some(rows[0]["used"].as_u64().unwrap_or_default())
}

/// Sends bytes through a tunnel to an origin that returns each of them.
fn echo(tunnel: &mut Wire, bytes: usize) -> u64 {
    let bytes = payload::bytes(bytes);
    for part in bytes.chunks(50_000) {
        tunnel.send(part).unwrap();
        assert_eq!(tunnel.read_bytes(part.len()).unwrap(), part);
    }
    2 * bytes.len() as u64
}

fn open_tunnel(proxy: &Proxy, origin: &Origin) -> Wire {
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(connect(origin.address)).status(), 200);
    wire
}

fn wait_handed_over(proxy: &Proxy) {
    eventually("the new process to own the balances", || {
        let errors = proxy.errors();
        let is_owned = errors.contains("the new process has the balances");
        is_owned.then_some(())
    });
}

fn wait_serving(proxy: &Proxy) {
    eventually("the process to accept", || {
        Wire::connect(proxy.address).ok()
    });
}

#[test]
fn a_restart_loses_nothing() {
    let origin = Origin::echo();
    let mut proxy = setup("month: 1GiB").start();
    let mut sum = 0;
    let mut tunnel = proxy.tunnel(origin.address);
    sum += echo(&mut tunnel, 150_000);
    drop(tunnel);
    // At once, before a second has passed.
    proxy.signal(Signal::TERM);
    assert!(proxy.wait_exit(DEADLINE).success());
    assert_eq!(shown(&proxy), Some(sum));
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = Process::start(&proxy, false);
        wait_serving(&proxy);
        let mut tunnel = open_tunnel(&proxy, &origin);
        sum += echo(&mut tunnel, 100_000);
        drop(tunnel);
        process.end(signal);
        assert_eq!(shown(&proxy), Some(sum), "{signal:?}");
    }
    // What has ended stays ended.
    let path = proxy.path("pingora.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("1GiB", "100KB")).unwrap();
    let _process = Process::start(&proxy, false);
    wait_serving(&proxy);
    let mut wire = proxy.connect();
    let answer = wire.exchange(request_of(
        ALICE,
        "GET",
        &format!("http://{}/", origin.address),
    ));
    assert!(matches!(answer.status(), 403 | 429), "{}", answer.text());
    assert!(
        answer.head.start.ends_with("all.quota_month"),
        "{}",
        answer.head.start
    );
}

#[test]
fn a_killed_process_loses_a_second_at_most() {
    let origin = Origin::echo();
    let mut proxy = setup("month: 1GiB").start();
    let mut tunnel = proxy.tunnel(origin.address);
    let begun = Instant::now();
    let mut sent = Vec::new();
    let mut sum = 0;
    while begun.elapsed() < Duration::from_millis(2500) {
        sum += echo(&mut tunnel, 150_000);
        sent.push((begun.elapsed(), sum));
    }
    proxy.signal(Signal::KILL);
    let killed = begun.elapsed();
    proxy.wait_exit(DEADLINE);
    let known = shown(&proxy).unwrap();
    // A second of the writer; the report of a tunnel is of a second or of 256 KiB, which this one moves at once; and what
    // a slow machine takes to write.
    let least = sent
        .iter()
        .rev()
        .find(|(time, _)| *time + Duration::from_millis(1300) < killed)
        .map_or(0, |(_, sum)| *sum);
    assert!(known + 600_000 >= least, "{known} of {least}");
    assert!(known <= sum && known > 0, "{known} of {sum}");
    // The next process goes on from there.
    let mut process = Process::start(&proxy, false);
    wait_serving(&proxy);
    let mut tunnel = open_tunnel(&proxy, &origin);
    let more = echo(&mut tunnel, 10_000);
    drop(tunnel);
    process.end(Signal::TERM);
    assert_eq!(shown(&proxy), Some(known + more));
}

/// The tunnel of the old process counts in the new one, to the last byte.
#[test]
fn an_upgrade_counts_each_byte_once() {
    let origin = Origin::echo();
    let mut proxy = setup("month: 1GiB").start();
    let mut old = proxy.tunnel(origin.address);
    let mut sum = echo(&mut old, 200_000);
    proxy.signal(Signal::QUIT);
    let mut process = Process::start(&proxy, true);
    // The new process knows what was counted before it.
    wait_handed_over(&proxy);
    sum += echo(&mut old, 300_000);
    let mut new = open_tunnel(&proxy, &origin);
    sum += echo(&mut new, 100_000);
    sum += echo(&mut old, 50_000);
    drop(new);
    drop(old);
    assert!(proxy.wait_exit(DEADLINE).success(), "{}", proxy.errors());
    let known = eventually("every byte", || shown(&proxy).filter(|known| *known >= sum));
    assert_eq!(known, sum);
    process.end(Signal::TERM);
    assert_eq!(shown(&proxy), Some(sum));
}

/// Both processes cut when the sum of both is over.
#[test]
fn during_an_upgrade_a_quota_is_one() {
    let origin = Origin::echo();
    let proxy = setup("month: 1MB").start();
    let mut old = proxy.tunnel(origin.address);
    echo(&mut old, 100_000);
    proxy.signal(Signal::QUIT);
    let _process = Process::start(&proxy, true);
    wait_handed_over(&proxy);
    let mut new = open_tunnel(&proxy, &origin);
    echo(&mut new, 350_000);
    // Over together: the old process learns it with its next report.
    let bytes = payload::bytes(10_000);
    let cut = within(Duration::from_secs(10), || {
        let sent = old.send(&bytes).and_then(|()| old.read_bytes(bytes.len()));
        sent.is_err().then_some(())
    });
    assert!(cut.is_some(), "the tunnel of the old process goes on");
    let answer = eventually("the new process to know the sum", || {
        let answer = proxy.exchange(connect(origin.address));
        (answer.status() != 200).then_some(answer)
    });
    assert!(
        answer.head.start.ends_with("all.quota_month"),
        "{}",
        answer.head.start
    );
}

/// The new process is killed before the old one has ended: the old one writes the rest itself.
#[test]
fn the_last_process_writes_the_rest() {
    let origin = Origin::echo();
    let mut proxy = setup("month: 1GiB").start();
    let mut old = proxy.tunnel(origin.address);
    let mut sum = echo(&mut old, 100_000);
    proxy.signal(Signal::QUIT);
    let mut process = Process::start(&proxy, true);
    wait_handed_over(&proxy);
    process.end(Signal::KILL);
    sum += echo(&mut old, 60_000);
    drop(old);
    assert!(proxy.wait_exit(DEADLINE).success());
    assert_eq!(shown(&proxy), Some(sum), "{}", proxy.errors());
}
