//! First bytes of tunnels that come in pieces, late, broken or not at all.

use std::io;
use std::time::{Duration, Instant};

use crate::support::client::Wire;
use crate::support::hello::{
    DECODE_ERROR, MATCH, Server, UNRECOGNIZED_NAME, assert_carried, assert_refused, closed, hello,
    in_records, padded,
};
use crate::support::{DEADLINE, allow_many_connections};

use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::proxy::Proxy;

const MATCH_SLOWLY: &str = "tunnel: { sni: match }";

#[test]
fn any_fragmentation_is_carried_as_it_came() {
    let same = hello("a.localhost");
    let single: Vec<&[u8]> = same.chunks(1).collect();
    assert_carried(MATCH, "a.localhost", &single);
    assert_carried(MATCH, "a.localhost", &[in_records(&same, 7)]);
    assert_carried(
        MATCH,
        "a.localhost",
        &in_records(&same, 1).chunks(3).collect::<Vec<_>>(),
    );
    // Over 16 KiB, which is two records.
    let long = padded(&same, 18_000);
    assert!(long.len() > 16 * 1024 + 5);
    assert_carried(MATCH, "a.localhost", &long.chunks(1000).collect::<Vec<_>>());
    let other = in_records(&hello("b.localhost"), 1);
    assert_refused(
        MATCH,
        "a.localhost",
        &other,
        &UNRECOGNIZED_NAME,
        "sni_mismatch",
    );
}

#[test]
fn what_cannot_be_read_is_refused() {
    let same = hello("a.localhost");
    // A byte behind the message in its record.
    let behind = [&same[..], &[0]].concat();
    let behind = in_records(&behind, behind.len());
    for bytes in [
        &padded(&same, 40_000)[..],
        &[22, 3, 1, 0, 0],
        &[22, 3, 1, 0, 4, 2, 0, 0, 0],
        &behind,
        // The type of a record in the middle of it.
        &[&in_records(&same, 100)[..105], &[23, 3, 3, 0, 1, 0]].concat(),
    ] {
        assert_refused(
            MATCH,
            "a.localhost",
            bytes,
            &DECODE_ERROR,
            "hello_unreadable",
        );
    }
    // Another protocol gets no alert, and `non_tls` does not admit what begins as TLS.
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"SSH-2.0-x\r\n",
        &[0],
        &[0x80, 0x2e, 1, 3, 1],
    ] {
        assert_refused(MATCH, "a.localhost", bytes, b"", "not_tls");
    }
    let admit = "tunnel: { sni: match, non_tls: admit }";
    assert_carried(admit, "a.localhost", &[b"GET / HTTP/1.1\r\n\r\n"]);
    assert_refused(
        admit,
        "a.localhost",
        &[22, 3, 1, 0, 0],
        &DECODE_ERROR,
        "hello_unreadable",
    );
    let other = hello("b.localhost");
    assert_refused(
        admit,
        "a.localhost",
        &other,
        &UNRECOGNIZED_NAME,
        "sni_mismatch",
    );
}

#[test]
fn a_hello_has_its_time_from_its_first_byte_on() {
    let (proxy, server) = (Proxy::start(MATCH), Server::new(b""));
    let mut wire = proxy.tunnel(server.target("a.localhost"));
    // Silence is no hello that is late: the tunnel is idle.
    wire.stays_quiet(Duration::from_millis(600)).unwrap();
    let same = hello("a.localhost");
    wire.send(&same[..20]).unwrap();
    let begun = Instant::now();
    assert_eq!(wire.read_to_end().unwrap(), b"");
    let took = begun.elapsed();
    assert!(
        took > Duration::from_millis(300) && took < DEADLINE,
        "{took:?}"
    );
    let record = closed(&proxy);
    assert_eq!(record["error"], "hello_timeout", "{record}");
    assert_eq!(server.got(), b"");
    // A byte now and then does not prolong it.
    let mut wire = proxy.tunnel(Server::new(b"").target("a.localhost"));
    let begun = Instant::now();
    for byte in same.chunks(1) {
        if wire.send(byte).is_err() || wire.hears_within(Duration::from_millis(50)).unwrap() {
            break;
        }
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_silent_client_has_the_time_of_an_idle_tunnel() {
    let yaml = format!("{MATCH}\ntimeouts: {{ tunnel_idle: 300ms }}");
    let (proxy, server) = (Proxy::start(&yaml), Server::new(b""));
    let mut wire = proxy.tunnel(server.target("a.localhost"));
    wire.rest();
    assert_eq!(closed(&proxy)["end_reason"], "idle_timeout");
    assert_eq!(server.got(), b"");
}

#[test]
fn much_of_a_server_passes_to_a_client_that_is_slow_and_silent() {
    let length = 3_000_000;
    let proxy = Proxy::start(MATCH);
    let origin = Origin::raw(move |mut wire, _| {
        payload::generate(length, |part| wire.send(part))?;
        wire.read_to_end().map(drop)
    });
    let mut wire = proxy.tunnel(format!("a.localhost:{}", origin.port()));
    let first = wire.read_bytes(1000).unwrap();
    // The server cannot go on for ever while the client does not read.
    std::thread::yield_now();
    let rest = wire
        .read_bytes(usize::try_from(length).unwrap() - 1000)
        .unwrap();
    let all = [first, rest].concat();
    assert_eq!(blake3::hash(&all), payload::hash(length));
    wire.send(hello("b.localhost")).unwrap();
    assert_eq!(wire.read_to_end().unwrap(), UNRECOGNIZED_NAME);
    assert_eq!(closed(&proxy)["bytes_from_upstream"], length);
}

#[test]
fn ends_and_resets_before_a_verdict() {
    let same = hello("a.localhost");
    // The client ends its side without a byte: that end is passed on.
    let (proxy, server) = (Proxy::start(MATCH), Server::new(b"hi"));
    let mut wire = proxy.tunnel(server.target("a.localhost"));
    wire.finish().unwrap();
    assert_eq!(wire.read_to_end().unwrap(), b"hi");
    assert_eq!(closed(&proxy)["end_reason"], "complete");
    assert_eq!(server.got(), b"");
    // It ends within a hello.
    let (proxy, server) = (Proxy::start(MATCH), Server::new(b""));
    let mut wire = proxy.tunnel(server.target("a.localhost"));
    wire.send(&same[..50]).unwrap();
    wire.finish().unwrap();
    assert_eq!(wire.read_to_end().unwrap(), DECODE_ERROR);
    assert_eq!(closed(&proxy)["error"], "hello_unreadable");
    assert_eq!(server.got(), b"");
    // It is reset within a hello.
    let (proxy, server) = (Proxy::start(MATCH), Server::new(b""));
    let mut wire = proxy.tunnel(server.target("a.localhost"));
    wire.send(&same[..50]).unwrap();
    wire.reset();
    assert_eq!(closed(&proxy)["end_reason"], "client_reset");
    assert_eq!(server.got(), b"");
    // The server ends, or resets.
    for (is_reset, reason) in [(false, "complete"), (true, "upstream_reset")] {
        let proxy = Proxy::start(MATCH);
        let origin = Origin::raw(move |mut wire: Wire, _| -> io::Result<()> {
            wire.send("x")?;
            if is_reset {
                wire.stays_quiet(Duration::from_millis(200))?;
                wire.reset();
            }
            Ok(())
        });
        let mut wire = proxy.tunnel(format!("a.localhost:{}", origin.port()));
        assert!(wire.rest().len() <= 1);
        assert_eq!(closed(&proxy)["end_reason"], reason);
    }
}

#[test]
fn a_tunnel_that_waits_ends_with_the_process() {
    let mut proxy = Proxy::start(&format!("{MATCH}\ntimeouts: {{ drain: 0s }}"));
    let server = Server::new(b"x");
    let mut wire = proxy.tunnel(server.target("a.localhost"));
    assert_eq!(wire.read_bytes(1).unwrap(), b"x");
    proxy.signal(rustix::process::Signal::TERM);
    assert!(proxy.wait_exit(DEADLINE).success());
    wire.rest();
    assert_eq!(closed(&proxy)["end_reason"], "drained");
}

/// A silent client costs what a tunnel costs of which nothing is asked, and so does a tunnel that is judged.
#[test]
fn tunnels_that_wait_and_that_were_judged_hold_no_buffers() {
    const TUNNELS: u64 = 300;
    allow_many_connections();
    let grown = |yaml: &str, bytes: &[u8]| {
        let proxy = Proxy::start(yaml);
        let origin = Origin::deaf();
        let target = format!("a.localhost:{}", origin.port());
        let open = || {
            let mut wire = proxy.tunnel(&target);
            wire.send(bytes).unwrap();
            wire
        };
        // The pages of the program itself that first tunnels touch.
        let first: Vec<Wire> = (0..30).map(|_| open()).collect();
        let before = proxy.resident();
        let all: Vec<Wire> = (0..TUNNELS).map(|_| open()).collect();
        let grown = proxy.resident().saturating_sub(before);
        drop((first, all));
        grown
    };
    let same = hello("a.localhost");
    let usual = grown("{}", b"");
    for (bytes, more) in [(&b""[..], 4), (&same, 6)] {
        let found = grown(MATCH_SLOWLY, bytes);
        assert!(
            found < usual + TUNNELS * more,
            "{found} KiB for {TUNNELS} tunnels with {} bytes, and {usual} without",
            bytes.len()
        );
    }
}
