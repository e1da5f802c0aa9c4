//! What goes on while bytes wait for their turn: ends, resets, the end of the process; and no time-out.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client::{Wire, is_reset};
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::proxy::Proxy;
use crate::support::request::{ALICE, BOB, credentials};

/// 16 KiB at once, and then 1 KiB in a second: the next part, of 2 KiB, takes two.
const SLOW: &str = "limits: { classes: [{ name: all, download: 1KiB/s, upload: 1KiB/s }] }";
const BURST: usize = 16 << 10;

/// A part later than the burst.
const MORE: usize = BURST + 2048;

/// What is not held up by a pause takes far less than the pause.
const SOON: Duration = Duration::from_millis(1500);

/// An origin that sends `bytes` and tells how its stream ends: how much came, and whether by a reset.
fn sending(bytes: usize) -> (Origin, mpsc::Receiver<(usize, bool)>) {
    let (told, ends) = mpsc::channel();
    let origin = Origin::raw(move |mut wire, _| {
        let mut writer = Wire::new(wire.socket().try_clone()?)?;
        let body = payload::bytes(bytes);
        let sending = std::thread::spawn(move || writer.send(body));
        let mut got = 0;
        let is_reset = loop {
            match wire.read_bytes(1) {
                Ok(_) => got += 1,
                Err(error) => break is_reset(&error),
            }
        };
        let _ = told.send((got, is_reset));
        let _ = sending.join();
        Ok(())
    });
    (origin, ends)
}

/// A tunnel whose download is in a pause that has just begun.
fn paused(proxy: &Proxy, origin: &Origin) -> Wire {
    let mut wire = proxy.tunnel(origin.address);
    wire.read_bytes(BURST - 1024).unwrap();
    wire
}

#[test]
fn an_end_and_bytes_of_the_other_direction_pass_in_a_pause() {
    let proxy = Proxy::start(SLOW);
    let (origin, ends) = sending(10 * MORE);
    let mut wire = paused(&proxy, &origin);
    let begun = Instant::now();
    wire.send("ping").unwrap();
    wire.finish().unwrap();
    let end = ends.recv_timeout(SOON);
    assert_eq!(end, Ok((4, false)), "{:?}", begun.elapsed());
}

#[test]
fn a_reset_passes_in_a_pause() {
    let proxy = Proxy::start(SLOW);
    let (origin, ends) = sending(10 * MORE);
    let wire = paused(&proxy, &origin);
    wire.reset();
    assert_eq!(ends.recv_timeout(SOON), Ok((0, true)));
    let record = proxy.record("the tunnel", |it| it["event"] == "tunnel_close");
    assert_eq!(record["end_reason"], "client_reset");
}

#[test]
fn a_pause_does_not_delay_the_end_of_the_process() {
    let mut proxy = Proxy::start(&format!("{{ timeouts: {{ drain: 1s }}, {SLOW} }}"));
    let (origin, _ends) = sending(10 * MORE);
    let mut tunnel = paused(&proxy, &origin);
    let endless = Origin::raw(|mut wire: Wire, _| {
        wire.read_head()?;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")?;
        wire.send(payload::bytes(100_000))
    });
    let mut wire = proxy.connect();
    let (host, fields) = (endless.address, credentials(ALICE));
    wire.send(format!(
        "GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"
    ))
    .unwrap();
    let begun = Instant::now();
    proxy.signal(Signal::TERM);
    proxy.wait_exit(Duration::from_secs(8));
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let end = tunnel.read_to_end();
    assert!(end.is_err_and(|error| is_reset(&error)));
}

/// Of all that Tollgate waits for, each here for less than a pause.
#[test]
fn a_pause_is_no_time_out() {
    let proxy = Proxy::start(&format!(
        "{{ timeouts: {{ tunnel_idle: 1s, request_body: 1s, send: 1s, response: 1s }}, {SLOW} }}"
    ));
    let (origin, _ends) = sending(MORE);
    let sized = Origin::raw(|mut wire: Wire, _| {
        while let Some(request) = wire.request()? {
            let length = if request.head.method() == "GET" {
                MORE
            } else {
                0
            };
            wire.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
            ))?;
            wire.send(payload::bytes(length))?;
        }
        Ok(())
    });
    let (host, fields) = (sized.address, credentials(ALICE));
    let head =
        |method: &str| format!("{method} http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{fields}");
    let post = format!("{}Content-Length: {MORE}\r\n\r\n", head("POST"));
    // Of another user: Alice's download is the tunnel.
    let get = head("GET").replace(&fields, &credentials(BOB));
    let mut tunnel = proxy.tunnel(origin.address);
    let [mut sending, mut getting] = [proxy.connect(), proxy.connect()];
    let least = Duration::from_millis(1900);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let begun = Instant::now();
            assert_eq!(tunnel.read_bytes(MORE).unwrap(), payload::bytes(MORE));
            assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
        });
        scope.spawn(move || {
            let begun = Instant::now();
            sending.send(post).unwrap();
            sending.send(payload::bytes(MORE)).unwrap();
            assert_eq!(sending.response("POST").unwrap().status(), 200);
            assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
        });
        scope.spawn(move || {
            let begun = Instant::now();
            let answer = getting.exchange(format!("{get}\r\n"));
            assert_eq!(answer.body, payload::bytes(MORE));
            assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
        });
    });
}

/// A client that leaves during a pause leaves nothing behind.
#[test]
fn a_client_that_leaves_gives_its_turn_back() {
    // A part takes a quarter of a second, and eight are a burst.
    let proxy = Proxy::start("limits: { classes: [{ name: all, download: 8KiB/s }] }");
    let (origin, _ends) = sending(10 * MORE);
    let mut wires: Vec<Wire> = (0..40).map(|_| proxy.tunnel(origin.address)).collect();
    wires[0].read_bytes(1).unwrap();
    for wire in wires {
        wire.reset();
    }
    proxy.wait_records(40);
    // A tunnel that comes then waits for its own turn, and not for those of thirty others.
    let begun = Instant::now();
    let mut wire = proxy.tunnel(origin.address);
    wire.read_bytes(1).unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}
