//! Parents that misbehave at each step of each handshake: a proper answer within the deadline, and nothing leaks.

use std::io;
use std::time::{Duration, Instant};

use crate::support::DEADLINE;
use crate::support::client::Wire;
use crate::support::origin::Origin;
use crate::support::port::Port;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, auth, connect};

/// What a parent does instead of an answer.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Silence,
    Close,
    Reset,
    Garbage(&'static [u8]),
    Slow(&'static [u8]),
    Endless(&'static [u8]),
}

impl Fault {
    fn commit(self, mut wire: Wire) -> io::Result<()> {
        match self {
            Self::Silence => wire.read_to_end().map(drop),
            Self::Close => Ok(()),
            Self::Reset => {
                wire.reset();
                Ok(())
            }
            Self::Garbage(bytes) => {
                wire.send(bytes)?;
                wire.read_to_end().map(drop)
            }
            Self::Slow(bytes) => {
                for byte in bytes {
                    wire.send([*byte])?;
                    wire.stays_quiet(Duration::from_millis(20))?;
                }
                wire.read_to_end().map(drop)
            }
            Self::Endless(bytes) => loop {
                wire.send(bytes)?;
            },
        }
    }
}

/// Reads the message that a client of SOCKS5 sends at this step.
fn read_socks(wire: &mut Wire, step: usize) -> io::Result<()> {
    match step {
        0 => {
            let methods = wire.read_bytes(2)?[1];
            wire.read_bytes(usize::from(methods)).map(drop)
        }
        1 => {
            let user = wire.read_bytes(2)?[1];
            let password = wire.read_bytes(usize::from(user) + 1)?;
            wire.read_bytes(usize::from(*password.last().unwrap()))
                .map(drop)
        }
        _ => wire.read_bytes(10).map(drop),
    }
}

const SOCKS_ANSWERS: [&[u8]; 3] = [&[5, 2], &[1, 0], &[5, 0, 0, 1, 127, 0, 0, 1, 0, 80]];

fn near(url: &str, keys: &str) -> Proxy {
    Setup::new()
        .file("s", "canary-parent-77")
        .config(&format!(
            "secrets: {{ s: {{ file: s, clear_text: true }} }}
parents: {{ p: {{ urls: ['{url}'], user: u, password: s, timeout: 500ms, ejection: {{ failures: 0 }},
  health: {{ interval: 1h }}, {keys} }} }}
via: p"
        ))
        .start()
}

/// Every way in which a client asks.
fn asks() -> [String; 3] {
    let target = "127.0.0.1:9";
    [
        connect(target),
        format!(
            "GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n{}\r\n",
            auth()
        ),
        format!(
            "GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            auth()
        ),
    ]
}

fn assert_proper(proxy: &Proxy, what: &str) {
    for ask in asks() {
        let begun = Instant::now();
        let answer = proxy.exchange(&ask);
        assert_eq!(answer.status(), 502, "{what}: {}", answer.text());
        let status = answer.field("proxy-status").unwrap();
        assert!(
            status.contains("error=destination_unavailable; next-hop=\"p\""),
            "{what}: {status}"
        );
        assert!(begun.elapsed() < DEADLINE, "{what}");
    }
    let log = std::fs::read_to_string(proxy.path("access.log")).unwrap_or_default();
    for text in [proxy.errors(), log] {
        assert!(
            !text.contains("canary") && !text.contains(ALICE.1),
            "{what}: {text}"
        );
    }
}

#[test]
fn an_http_parent_fails_at_each_step() {
    for fault in [
        Fault::Silence,
        Fault::Close,
        Fault::Reset,
        Fault::Garbage(b"SSH-2.0-OpenSSH_9.2\r\n"),
        Fault::Garbage(b"HTTP/1.1 200 OK\r\nbroken line\r\n\r\n"),
        Fault::Garbage(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
        Fault::Garbage(b"\x15\x03\x01\x00\x02\x02\x46"),
        Fault::Slow(b"HTTP/1.1 200 Connection established, but for its en"),
        Fault::Endless(b"HTTP/1.1 200 OK\r\nA: b\r\n"),
        Fault::Endless(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ] {
        let parent = Origin::raw(move |mut wire, _| {
            wire.read_head()?;
            fault.commit(wire)
        });
        let proxy = near(&format!("http://{}", parent.address), "names: resolved");
        assert_proper(&proxy, &format!("{fault:?}"));
        parent.wait_all_closed();
    }
}

#[test]
fn a_socks_parent_fails_at_each_step() {
    for step in 0..3 {
        for fault in [
            Fault::Silence,
            Fault::Close,
            Fault::Reset,
            Fault::Garbage(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            Fault::Garbage(&[4, 0x5a, 0, 0, 0, 0, 0, 0]),
            Fault::Slow(&[5]),
        ] {
            let parent = Origin::raw(move |mut wire, _| {
                for (at, answer) in SOCKS_ANSWERS.iter().enumerate() {
                    read_socks(&mut wire, at)?;
                    if at == step {
                        return fault.commit(wire);
                    }
                    wire.send(answer)?;
                }
                Ok(())
            });
            let proxy = near(&format!("socks5://{}", parent.address), "names: resolved");
            assert_proper(&proxy, &format!("step {step}, {fault:?}"));
            parent.wait_all_closed();
        }
    }
}

#[test]
fn a_parent_that_is_not_there_or_speaks_no_tls() {
    let nothing = Port::reserve();
    let proxy = near(&format!("http://{}", nothing.address), "names: resolved");
    assert_proper(&proxy, "nothing");
    let plain = Origin::raw(|mut wire, _| {
        wire.read_bytes(5)?;
        wire.send("HTTP/1.1 400 Bad Request\r\n\r\n")
    });
    let proxy = near(&format!("https://{}", plain.address), "names: resolved");
    assert_proper(&proxy, "no TLS");
    // In absolute-form, TLS is Pingora's: its failure is the parent's too.
    let proxy = near(&format!("https://{}", plain.address), "names: client");
    assert_proper(&proxy, "no TLS, absolute-form");
}

/// The answer and the first bytes of the target in one segment, or byte by byte: the tunnel has each byte.
#[test]
fn the_first_bytes_of_the_target_come_with_the_answer() {
    for (size, scheme) in [(0, "http"), (1, "http"), (0, "socks5"), (1, "socks5")] {
        let parent = Origin::raw(move |mut wire, _| {
            if scheme == "http" {
                wire.read_head()?;
                let bytes = b"HTTP/1.1 103 x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n220 hello\r\n".to_vec();
                match size {
                    0 => wire.send(bytes)?,
                    size => bytes.chunks(size).try_for_each(|piece| wire.send(piece))?,
                }
            } else {
                for (at, answer) in SOCKS_ANSWERS.iter().enumerate() {
                    read_socks(&mut wire, at)?;
                    let mut bytes = answer.to_vec();
                    if at == 2 {
                        bytes.extend_from_slice(b"220 hello\r\n");
                    }
                    match size {
                        0 => wire.send(bytes)?,
                        size => bytes.chunks(size).try_for_each(|piece| wire.send(piece))?,
                    }
                }
            }
            let line = wire.read_until(b"\n")?;
            wire.send(line)
        });
        let proxy = near(&format!("{scheme}://{}", parent.address), "names: resolved");
        let mut wire = proxy.tunnel("127.0.0.1:9");
        assert_eq!(wire.read_until(b"\n").unwrap(), b"220 hello\r\n");
        wire.send("ping\n").unwrap();
        assert_eq!(wire.read_until(b"\n").unwrap(), b"ping\n");
        assert_eq!(wire.read_to_end().unwrap(), b"");
        drop(wire);
        let record = proxy.record("the tunnel", |it| it["event"] == "tunnel_close");
        assert_eq!(record["bytes_from_upstream"], 16, "{record}");
        // Where HTTP is spoken in the tunnel, a server that answers before it is asked is none.
        let answer = proxy.exchange(&asks()[1]);
        assert_eq!(answer.status(), 502, "{}", answer.text());
        assert!(!answer.text().contains("220"), "{}", answer.text());
    }
}

/// Statuses and codes of refusals.
#[test]
fn refusals_have_their_status() {
    for (answer, expected) in [
        (
            "407 Proxy Authentication Required",
            "error=http_protocol_error; next-hop=\"p\"; received-status=407",
        ),
        (
            "403 Forbidden",
            "error=http_protocol_error; next-hop=\"p\"; received-status=403",
        ),
        (
            "502 Bad Gateway",
            "error=http_protocol_error; next-hop=\"p\"; received-status=502",
        ),
        (
            "302 Found",
            "error=http_protocol_error; next-hop=\"p\"; received-status=302",
        ),
        (
            "508 Loop Detected",
            "error=proxy_loop_detected; next-hop=\"p\"; received-status=508",
        ),
    ] {
        let text = format!(
            "HTTP/1.1 {answer}\r\nProxy-Authenticate: Basic realm=\"theirs\"\r\nProxy-Status: theirs; error=x\r\nContent-Length: 6\r\n\r\nsecret"
        );
        let parent = Origin::raw(move |mut wire, _| {
            while wire.read_head()?.is_some() {
                wire.send(&text)?;
            }
            Ok(())
        });
        for names in ["resolved", "client"] {
            let proxy = near(
                &format!("http://{}", parent.address),
                &format!("names: {names}"),
            );
            for ask in asks() {
                let found = proxy.exchange(&ask);
                let code = if answer.starts_with("508") { 508 } else { 502 };
                assert_eq!(found.status(), code, "{answer} {names}: {}", found.text());
                assert_eq!(
                    found.field("proxy-status").unwrap(),
                    format!("tollgate; {expected}"),
                    "{names}"
                );
                assert!(
                    !found.head.fields.has("proxy-authenticate")
                        && !found.text().contains("secret")
                );
            }
        }
    }
    for (code, word) in [
        (2u8, "parent_refused"),
        (5, "parent_refused"),
        (0xf0, "parent_refused"),
    ] {
        let parent = Origin::raw(move |mut wire, _| {
            for (at, answer) in SOCKS_ANSWERS.iter().enumerate() {
                read_socks(&mut wire, at)?;
                match at {
                    2 => wire.send([5, code, 0, 1, 0, 0, 0, 0, 0, 0])?,
                    _ => wire.send(answer)?,
                }
            }
            Ok(())
        });
        let proxy = near(&format!("socks5://{}", parent.address), "names: resolved");
        for ask in asks() {
            let found = proxy.exchange(&ask);
            assert!(
                found.status() == 502 && found.text().contains(word),
                "{code}: {}",
                found.text()
            );
        }
    }
    // A login that is refused.
    let parent = Origin::raw(|mut wire, _| {
        read_socks(&mut wire, 0)?;
        wire.send([5, 2])?;
        read_socks(&mut wire, 1)?;
        wire.send([1, 1])
    });
    let proxy = near(&format!("socks5://{}", parent.address), "names: resolved");
    let found = proxy.exchange(&asks()[0]);
    assert!(
        found.status() == 502 && found.text().contains("parent_auth"),
        "{}",
        found.text()
    );
}
