//! Upstreams at sockets of this machine and upstreams with TLS: requests, WebSockets and health checks.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::client::Wire;
use crate::support::dns::Dns;
use crate::support::eventually;
use crate::support::message::ok;
use crate::support::nginx::Nginx;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::auth;
use crate::support::tls::{Authority, Identity};

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth())
}

fn handshake() -> String {
    format!(
        "GET /chat HTTP/1.1\r\nHost: gate\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        auth()
    )
}

/// A WebSocket that echoes, in words that are no frames: the proxy relays bytes.
fn assert_echo(proxy: &Proxy) {
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(handshake()).status(), 101);
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
    wire.finish().unwrap();
    assert_eq!(wire.read_to_end().unwrap(), b"");
}

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A server at a socket: answers with the value of `Host`, and echoes what follows a handshake.
fn at_socket(path: &Path, connections: Arc<AtomicUsize>) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            connections.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || serve(stream));
        }
    });
}

fn serve(stream: UnixStream) -> std::io::Result<()> {
    let mut to = stream.try_clone()?;
    let mut from = BufReader::new(stream);
    loop {
        let (mut host, mut upgrade) = (String::new(), false);
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let lower = line.to_ascii_lowercase();
            upgrade |= lower.starts_with("upgrade:");
            if let Some(value) = lower.strip_prefix("host:") {
                value.trim().clone_into(&mut host);
            }
            if line == "\r\n" {
                break;
            }
        }
        if upgrade {
            to.write_all(SWITCH.as_bytes())?;
            let mut bytes = [0; 64];
            loop {
                let count = from.read(&mut bytes)?;
                if count == 0 {
                    return to.shutdown(std::net::Shutdown::Write);
                }
                to.write_all(&bytes[..count])?;
            }
        }
        to.write_all(&ok(host))?;
    }
}

#[test]
fn a_socket_takes_requests_and_websockets() {
    let setup = Setup::new();
    let path = setup.path("app.sock");
    let connections = Arc::default();
    at_socket(&path, Arc::clone(&connections));
    let shown = format!("unix:{}", path.display());
    let yaml =
        format!("gateway:\n  upstreams: [\"{shown}\"]\n  health_check: {{ interval: 1h }}\n");
    let proxy = setup.config(&yaml).start();
    let mut wire = proxy.connect();
    for _ in 0..3 {
        assert_eq!(wire.exchange(get("/")).text(), "gate");
    }
    // Connections are kept, as any.
    assert!(connections.load(Ordering::SeqCst) <= 3);
    let old = format!("GET / HTTP/1.0\r\n{}\r\n", auth());
    assert_eq!(proxy.exchange(old).text(), "localhost");
    assert_echo(&proxy);
    for record in proxy.wait_records(5) {
        assert_eq!(record["upstream"], shown.as_str(), "{record}");
    }
    let series = format!("tollgate_upstream_up{{upstream=\"{shown}\"}}");
    assert_eq!(proxy.metric(&series), 1);
}

/// The kernel knows a socket by the path to which it was bound, which may be that of another container.
#[test]
fn connections_to_a_socket_are_kept_wherever_it_was_bound() {
    let setup = Setup::new();
    let (bound, path) = (setup.path("bound.sock"), setup.path("app.sock"));
    let connections = Arc::default();
    at_socket(&bound, Arc::clone(&connections));
    std::fs::rename(bound, &path).unwrap();
    let other = setup.path("other.sock");
    let others = Arc::default();
    at_socket(&other, Arc::clone(&others));
    let yaml = format!(
        "gateway:\n  upstreams: [\"unix:{}\", \"unix:{}\"]\n{CALM}",
        path.display(),
        other.display()
    );
    let proxy = setup.config(&yaml).start();
    let mut wire = proxy.connect();
    for _ in 0..10 {
        assert_eq!(wire.exchange(get("/")).text(), "gate");
    }
    // One for the requests, and one of the health check.
    for connections in [connections, others] {
        let count = connections.load(Ordering::SeqCst);
        assert!((1..=2).contains(&count), "{count}");
    }
    assert!(!proxy.errors().contains("mismatch"), "{}", proxy.errors());
}

#[test]
fn a_socket_is_checked() {
    let mut nginx = Nginx::start("behind");
    let (there, gone) = (nginx.socket(), nginx.path("gone.sock"));
    std::fs::write(nginx.path("up"), "").unwrap();
    let yaml = format!(
        "gateway:
  upstreams: [\"unix:{}\", \"unix:{}\"]
  health_check: {{ interval: 50ms, path: /up, status: 200 }}
  ejection: {{ failures: 0 }}
",
        there.display(),
        gone.display()
    );
    let proxy = Proxy::start(&yaml);
    // One that is not there is passed over at once, and found by the check.
    let mut wire = proxy.connect();
    for _ in 0..4 {
        assert_eq!(wire.exchange(get("/")).text(), "behind");
    }
    let down = |path: &Path| format!("upstream unix:{} is down", path.display());
    eventually("the socket that is not there", || {
        proxy.errors().contains(&down(&gone)).then_some(())
    });
    assert!(
        !proxy.errors().contains(&down(&there)),
        "{}",
        proxy.errors()
    );
    nginx.stop();
    eventually("the socket that refuses", || {
        proxy.errors().contains(&down(&there)).then_some(())
    });
    let (answer, record) = {
        proxy.wait_records(4);
        proxy.ask(get("/"))
    };
    assert_eq!(answer.status(), 502, "{record}");
}

/// A proxy that trusts these, in front of those upstreams; it knows `app.test` and `other.test`.
fn trusting(certificates: &[&str], upstreams: &str, more: &str) -> (Proxy, Dns) {
    let dns = Dns::table(&[("app.test", &["127.0.0.1"]), ("other.test", &["127.0.0.1"])]);
    let yaml = format!("gateway:\n  upstreams: [{upstreams}]\n{more}");
    let setup = Setup::new()
        .file("ca.pem", certificates.concat())
        .config(&yaml)
        .config(&dns.config());
    let ca_file = format!("ca_file: {}", setup.path("ca.pem").display());
    (setup.server(&ca_file).start(), dns)
}

fn https(identity: &Identity) -> Origin {
    Origin::https(identity.server(), |request| ok(request.head.target()))
}

const CALM: &str = "  health_check: { interval: 1h }\n";

#[test]
fn tls_upstreams_are_verified_for_their_name() {
    let authority = Authority::new();
    let origin = https(&authority.issue(&["app.test", "127.0.0.1"]));
    let port = origin.port();
    let upstreams = format!("\"https://app.test:{port}\", \"https://127.0.0.1:{port}\"");
    let (proxy, _dns) = trusting(&[&authority.pem()], &upstreams, CALM);
    let mut wire = proxy.connect();
    for _ in 0..6 {
        assert_eq!(wire.exchange(get("/a?b")).text(), "/a?b");
    }
    // Two servers at one address, whose connections are apart.
    assert!(origin.connections() >= 2, "{}", origin.connections());
    for upstream in [
        format!("https://127.0.0.1:{port}"),
        format!("https://127.0.0.1:{port} as app.test"),
    ] {
        let series = format!("tollgate_upstream_up{{upstream=\"{upstream}\"}}");
        assert_eq!(proxy.metric(&series), 1, "{upstream}");
    }
}

#[test]
fn a_tls_upstream_with_the_wrong_name_gets_nothing() {
    let authority = Authority::new();
    let own = Identity::of_openssl(&[
        "-subj",
        "/CN=app.test",
        "-addext",
        "subjectAltName=DNS:app.test",
    ]);
    for identity in [authority.issue(&["app.test"]), own] {
        let origin = https(&identity);
        let upstreams = format!("\"https://other.test:{}\"", origin.port());
        let trusted = [authority.pem(), identity.certificate_pem.clone()];
        let trusted: Vec<&str> = trusted.iter().map(String::as_str).collect();
        let (proxy, _dns) = trusting(&trusted, &upstreams, CALM);
        for request in [get("/"), handshake()] {
            let answer = proxy.exchange(request);
            assert_eq!(answer.status(), 502, "{}", answer.text());
            assert!(answer.text().contains("wrong name"), "{}", answer.text());
        }
        for record in proxy.wait_records(2) {
            assert_eq!(record["error"], "tls_certificate_error", "{record}");
        }
        assert_eq!(origin.requests().len(), 0);
    }
}

/// A certificate that `ca_file` names itself, and one that has taken its place.
#[test]
fn tls_upstreams_may_show_a_certificate_that_ca_file_names() {
    let own = Identity::of_openssl(&[
        "-subj",
        "/CN=app.test",
        "-addext",
        "subjectAltName=DNS:app.test",
    ]);
    let authority = Authority::new();
    let issued = authority.issue(&["app.test"]);
    let trusted = [own.certificate_pem.clone(), authority.pem()];
    let trusted: Vec<&str> = trusted.iter().map(String::as_str).collect();
    for identity in [&own, &issued] {
        let origin = https(identity);
        let upstreams = format!("\"https://app.test:{}\"", origin.port());
        let (proxy, _dns) = trusting(&trusted, &upstreams, CALM);
        let mut wire = proxy.connect();
        for _ in 0..3 {
            let answer = wire.exchange(get("/x"));
            assert_eq!((answer.status(), answer.text().as_str()), (200, "/x"));
        }
        assert!(
            !proxy.errors().contains("gets no requests"),
            "{}",
            proxy.errors()
        );
    }
}

#[test]
fn a_certificate_that_is_not_accepted_costs_the_upstream_and_not_the_request() {
    let authority = Authority::new();
    let bad = https(&Authority::of_name("another").issue(&["app.test"]));
    let good = Origin::ok("good");
    let upstreams = format!("\"https://app.test:{}\", \"{}\"", bad.port(), good.address);
    let (proxy, _dns) = trusting(
        &[&authority.pem()],
        &upstreams,
        "  health_check: { interval: 50ms, fall: 1 }\n",
    );
    let mut wire = proxy.connect();
    for _ in 0..4 {
        assert_eq!(wire.exchange(get("/")).text(), "good");
    }
    // The check makes the handshake as well.
    let line = format!(
        "upstream https://127.0.0.1:{} as app.test is down",
        bad.port()
    );
    eventually("the check of the certificate", || {
        proxy.errors().contains(&line).then_some(())
    });
    assert_eq!(bad.requests().len(), 0);
}

/// A try at the next upstream is verified as that one is.
#[test]
fn upstreams_of_all_kinds_take_turns() {
    let own = Identity::of_openssl(&[
        "-subj",
        "/CN=app.test",
        "-addext",
        "subjectAltName=DNS:app.test",
    ]);
    // Each ends its connections after an answer, and does not say so.
    let once = |mut wire: Wire, _: &_| match wire.request()? {
        Some(_) => wire.send(ok("one")),
        None => Ok(()),
    };
    let named = Origin::https_raw(own.server(), once);
    let plain = Origin::raw(once);
    let authority = Authority::new();
    let chained = https(&authority.issue(&["127.0.0.1"]));
    let upstreams = format!(
        "\"https://app.test:{}\", \"{}\", \"https://{}\"",
        named.port(),
        plain.address,
        chained.address
    );
    let trusted = [own.certificate_pem.as_str(), &authority.pem()];
    let (proxy, _dns) = trusting(&trusted, &upstreams, CALM);
    let mut wire = proxy.connect();
    for number in 0..30 {
        let answer = wire.exchange(get("/"));
        assert_eq!(answer.status(), 200, "{number}: {}", answer.text());
    }
    assert!(chained.requests().len() >= 8);
}

#[test]
fn tls_upstreams_take_websockets_and_checks() {
    let authority = Authority::new();
    let identity = authority.issue(&["app.test"]);
    let hosts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&hosts);
    let origin = Origin::https_raw(identity.server(), move |mut wire: Wire, _| {
        while let Some(request) = wire.request()? {
            if request.head.target() == "/up" {
                let host = request.head.fields.all("host").concat();
                seen.lock().unwrap().push(host);
                wire.send(ok(""))?;
                continue;
            }
            wire.send(SWITCH)?;
            let bytes = wire.read_bytes(4)?;
            return wire.send(bytes);
        }
        Ok(())
    });
    let upstreams = format!("\"https://app.test:{}\"", origin.port());
    let (proxy, _dns) = trusting(
        &[&authority.pem()],
        &upstreams,
        "  health_check: { interval: 50ms, path: /up }\n",
    );
    let expected = format!("app.test:{}", origin.port());
    eventually("a health check", || {
        hosts.lock().unwrap().contains(&expected).then_some(())
    });
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(handshake()).status(), 101);
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
    assert!(!proxy.errors().contains("is down"), "{}", proxy.errors());
}
