//! Upgrades in a row while browsers open tunnels: CONNECT, 407, and CONNECT with credentials on the same connection.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::client::Wire;
use crate::support::command::{program, successor};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::proxy::Setup;
use crate::support::request::connect;

/// How often the program is replaced.
const UPGRADES: usize = 10;

const CLIENTS: usize = 8;

/// What each generation serves at least before the next one starts.
const SERVED: usize = 30;

/// What the clients saw.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    /// Tunnels that opened and gave each byte back.
    tunnels: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

/// A process of the program, ended with its value.
struct Generation(Child);

impl Generation {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// One dialogue of a browser. A challenge of a process that hands over may say that
/// its connection ends: the credentials then come on the next one, as a browser brings them.
fn open_tunnel(proxy: SocketAddr, origin: SocketAddr) -> Result<(), String> {
    let told = |what: &'static str| move |error| format!("{what}: {error}");
    let mut wire = Wire::connect(proxy).map_err(told("connection"))?;
    let bare = format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n");
    wire.send(&bare).map_err(told("sending CONNECT"))?;
    let asked = wire.response("CONNECT").map_err(told("the challenge"))?;
    if asked.status() != 407 {
        return Err(format!("in place of a challenge: {}", asked.head.start));
    }
    if asked.head.fields.lists("connection", "close") {
        wire = Wire::connect(proxy).map_err(told("connection after the challenge"))?;
    }
    let sent = wire.send(connect(origin));
    sent.map_err(told("sending credentials"))?;
    let opened = wire.response("CONNECT").map_err(told("the tunnel"))?;
    if opened.status() != 200 {
        return Err(format!("with credentials: {}", opened.head.start));
    }
    for part in ["hello", "again"] {
        wire.send(part).map_err(told("sending"))?;
        let back = wire.read_bytes(part.len()).map_err(told("the echo"))?;
        if back != part.as_bytes() {
            return Err(format!("echo of {part}: {back:?}"));
        }
    }
    wire.finish().map_err(told("closing"))?;
    match wire.read_to_end().map_err(told("the end"))? {
        rest if rest.is_empty() => Ok(()),
        rest => Err(format!("after the echo: {rest:?}")),
    }
}

/// Starts the next program, has the running one hand over, and waits until that has ended.
fn replace(setup: &Setup, running: &mut Generation) -> Generation {
    let child = Command::new(successor())
        .args(["-u", "-c"])
        .arg(setup.path("pingora.yaml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut next = Generation(child.unwrap());
    running.signal(Signal::QUIT);
    let status = eventually("the old process to end", || {
        let ended = next.0.try_wait().unwrap();
        assert!(ended.is_none(), "the new process ended: {ended:?}");
        running.0.try_wait().unwrap()
    });
    assert!(status.success(), "{status}");
    next
}

#[test]
fn ten_upgrades_refuse_no_browser() {
    let echo = Origin::echo();
    let setup = Setup::new().config("timeouts: { drain: 10s }");
    let config = setup.write();
    let child = Command::new(program())
        .arg("-c")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut running = Generation(child.unwrap());
    let proxy = setup.address();
    eventually("the proxy to accept", || Wire::connect(proxy).ok());

    let seen = Seen::default();
    let has_served = |more: usize| {
        let before = seen.tunnels.load(Ordering::SeqCst);
        eventually("tunnels", || {
            let failed = seen.failed.lock().unwrap().len();
            (failed > 0 || seen.tunnels.load(Ordering::SeqCst) >= before + more).then_some(())
        });
    };
    std::thread::scope(|scope| {
        // Ends the clients on a failed assertion, too.
        let _stop = Stop(&seen.stop);
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !seen.stop.load(Ordering::SeqCst) {
                    match open_tunnel(proxy, echo.address) {
                        Ok(()) => drop(seen.tunnels.fetch_add(1, Ordering::SeqCst)),
                        Err(text) => seen.failed.lock().unwrap().push(text),
                    }
                }
            });
        }
        has_served(SERVED);
        for _ in 0..UPGRADES {
            running = replace(&setup, &mut running);
            has_served(SERVED);
        }
    });
    let failed = seen.failed.lock().unwrap();
    let tunnels = seen.tunnels.load(Ordering::SeqCst);
    assert!(
        failed.is_empty(),
        "{} of {tunnels} failed: {:?}",
        failed.len(),
        &failed[..failed.len().min(8)]
    );
}

/// Has the clients stop.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
