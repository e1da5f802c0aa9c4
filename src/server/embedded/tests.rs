//! What `request::live` shows of a proxy that serves, and what it closes.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::request::live::{self, Query, TunnelsBy};
use crate::telemetry::{Schema, TopBy};

const DEADLINE: Duration = Duration::from_secs(30);
/// alice:password
const AUTH: &str = "Proxy-Authorization: Basic YWxpY2U6cGFzc3dvcmQ=\r\n";

struct Served {
    running: Running,
    directory: tempfile::TempDir,
}

impl Served {
    fn start(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let users = "alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n";
        std::fs::write(directory.path().join("users.htpasswd"), users).unwrap();
        let text = format!(
            "version: 1
threads: 2
tollgate:
  listeners: [{{ address: \"127.0.0.1:0\", socks5: also }}]
  admin: {{ address: \"127.0.0.1:0\" }}
  auth: {{ htpasswd: users.htpasswd }}
  egress: {{ connect_ports: any, http_ports: any, allow_networks: [\"127.0.0.0/8\"] }}
  log: {{ access: {}, format: json }}
{more}",
            directory.path().join("access.log").display()
        );
        let config = Config::embedded_text(&text, directory.path()).unwrap();
        Self {
            running: start(config, HookSet::default()).unwrap(),
            directory,
        }
    }

    fn app(&self) -> &App {
        &self.running.app
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.running.addresses()[0]).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    fn tunnel(&self, to: SocketAddr) -> TcpStream {
        let mut stream = self.connect();
        write!(stream, "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{AUTH}\r\n").unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 200"));
        stream
    }

    fn log(&self) -> String {
        assert!(self.app().telemetry.flush(DEADLINE));
        std::fs::read_to_string(self.directory.path().join("access.log")).unwrap()
    }
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "{what} does not come");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends back what it gets.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..read]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

fn all() -> Query<'static> {
    Query::default()
}

#[test]
fn tunnels_are_shown_and_closed_one_by_one_and_by_user() {
    let served = Served::start("");
    let app = served.app();
    let echo = echo();
    let mut first = served.tunnel(echo);
    let mut second = served.tunnel(echo);
    // SOCKS5 with the login of RFC 1929.
    let mut third = served.connect();
    third
        .write_all(b"\x05\x01\x02\x01\x05alice\x08password")
        .unwrap();
    let port = echo.port().to_be_bytes();
    third
        .write_all(&[5, 1, 0, 1, 127, 0, 0, 1, port[0], port[1]])
        .unwrap();
    let mut answer = [0; 14];
    third.read_exact(&mut answer).unwrap();
    assert_eq!(answer[5], 0, "{answer:?}");
    first.write_all(b"hello").unwrap();
    first.read_exact(&mut [0; 5]).unwrap();
    let list = eventually("the bytes of the tunnel", || {
        let list = live::tunnels(app, TunnelsBy::Bytes, &all());
        (list.total == 3 && list.tunnels[0].bytes_from_upstream == 5).then_some(list)
    });
    let row = &list.tunnels[0];
    assert_eq!(row.client, first.local_addr().unwrap().to_string());
    assert_eq!(
        (row.user.as_deref(), row.kind, row.state),
        (Some("alice"), "connect", "open")
    );
    assert_eq!((&row.target, row.bytes_from_client), (&echo.to_string(), 5));
    assert_eq!(row.upstream.as_deref(), Some(&*echo.to_string()));
    assert_eq!(row.rule.as_deref(), Some("allow_networks:127.0.0.0/8"));
    let kinds: Vec<_> = list.tunnels.iter().map(|it| it.kind).collect();
    assert!(kinds.contains(&"socks5"), "{kinds:?}");
    let of = |user| live::tunnels(app, TunnelsBy::Age, &Query { user, ..all() });
    assert_eq!((of(Some("alice")).total, of(Some("bob")).total), (3, 0));
    let one = Query { limit: 1, ..all() };
    let oldest = live::tunnels(app, TunnelsBy::Age, &one);
    assert_eq!((oldest.total, oldest.tunnels.len()), (3, 1));
    assert_eq!(oldest.tunnels[0].id, row.id);

    assert!(live::close_tunnel(app, &row.id));
    assert!(!live::close_tunnel(app, "0123"));
    // It is reset.
    assert!(first.read(&mut [0]).is_err());
    eventually("the end", || (of(None).total == 2).then_some(()));
    assert!(!live::close_tunnel(app, &row.id));
    let log = served.log();
    let line = log.lines().find(|line| line.contains(&*row.id)).unwrap();
    assert!(
        line.contains("\"end_reason\":\"closed_by_admin\""),
        "{line}"
    );
    assert!(line.contains("\"bytes_from_client\":5"), "{line}");

    assert_eq!(live::close_tunnels_of(app, "bob"), 0);
    second.write_all(b"x").unwrap();
    second.read_exact(&mut [0]).unwrap();
    assert_eq!(live::close_tunnels_of(app, "alice"), 2);
    assert!(second.read(&mut [0]).is_err());
    eventually("the end", || (of(None).total == 0).then_some(()));
    let metrics = app.telemetry.render_metrics();
    let series = "tollgate_tunnels_ended_total{reason=\"closed_by_admin\"} 3";
    assert!(metrics.contains(series), "{metrics}");
}

#[test]
fn requests_in_flight_are_shown_with_how_far_they_are() {
    let served = Served::start("");
    let app = served.app();
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = origin.local_addr().unwrap();
    let mut client = served.connect();
    let request = format!(
        "POST http://{address}/a?token=secret HTTP/1.1\r\nHost: {address}\r\n{AUTH}Content-Length: 9\r\n\r\nabc"
    );
    client.write_all(request.as_bytes()).unwrap();
    let (mut server, _) = origin.accept().unwrap();
    read_head(&mut server);
    let row = eventually("the request", || {
        let mut list = live::requests(app, &all());
        let row = list.requests.pop().filter(|row| row.state == "waiting")?;
        assert_eq!(list.total, 1);
        (row.bytes_from_client == 3).then_some(row)
    });
    assert_eq!(
        (row.user.as_deref(), row.role, &*row.method),
        (Some("alice"), "forward", "POST")
    );
    assert_eq!(row.target, format!("http://{address}/a"));
    assert_eq!(row.rule.as_deref(), Some("allow_networks:127.0.0.0/8"));
    assert_eq!(row.client, client.local_addr().unwrap().to_string());
    assert_eq!(row.bytes_from_upstream, 0);
    assert_eq!(live::gauges(app).requests_in_flight, 1);
    client.write_all(b"defghi").unwrap();
    eventually("the content", || {
        let list = live::requests(app, &all());
        (list.requests[0].bytes_from_client == 9).then_some(())
    });
    server
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        .unwrap();
    assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
    eventually("the answer", || {
        let list = live::requests(app, &all());
        let row = &list.requests[0];
        let is_begun = row.state == "answering" && row.bytes_from_upstream == 2;
        is_begun.then_some(())
    });
    server.write_all(b"cde").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
    eventually("the end", || {
        (live::requests(app, &all()).total == 0).then_some(())
    });
    // A connection that goes on has nothing in flight.
    let mut refused = served.connect();
    refused
        .write_all(b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
        .unwrap();
    assert!(read_head(&mut refused).starts_with("HTTP/1.1 407"));
    eventually("the end", || {
        (live::gauges(app).requests_in_flight == 0).then_some(())
    });
}

#[test]
fn a_snapshot_has_everything_and_is_what_its_schema_says() {
    let more = "  policy: { rules: [{ name: no-delete, action: deny, methods: [DELETE] }, { name: watch, action: observe }] }
  gateway: { upstreams: [\"127.0.0.1:9\"] }
  limits: { classes: [{ name: all, requests: 1000/s }] }
";
    let served = Served::start(more);
    let app = served.app();
    let echo = echo();
    let _tunnel = served.tunnel(echo);
    let mut denied = served.connect();
    write!(
        denied,
        "DELETE http://{echo}/ HTTP/1.1\r\nHost: {echo}\r\n{AUTH}\r\n"
    )
    .unwrap();
    assert!(read_head(&mut denied).starts_with("HTTP/1.1 403"));
    let snapshot = eventually("the counts", || {
        let snapshot = live::snapshot(app);
        // The user is counted last.
        let users = &snapshot.users.users;
        let are_counted = users.iter().any(|it| it.requests == 2);
        are_counted.then_some(snapshot)
    });
    let json = serde_json::to_value(&snapshot).unwrap();
    let validator = jsonschema::validator_for(&live::Snapshot::schema()).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(&json)
        .map(|it| it.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{json:#}");
    assert_eq!((snapshot.totals.tunnels, snapshot.totals.denials), (1, 1));
    assert_eq!((snapshot.tunnels.total, snapshot.now.open_tunnels), (1, 1));
    let user = &snapshot.users.users[0];
    assert_eq!((&*user.user, user.requests, user.denials), ("alice", 2, 1));
    assert_eq!(snapshot.sites.sites[0].site, echo.to_string());
    let rules = &snapshot.policy.rules;
    assert_eq!(
        (&*rules[0].name, rules[0].action, rules[0].hits),
        ("no-delete", "deny", 1)
    );
    assert_eq!((rules[1].action, rules[1].observed), ("observe", 1));
    assert_eq!(snapshot.policy.default, "admit");
    assert!(
        snapshot
            .policy
            .others
            .iter()
            .any(|it| it.rule == "allow_networks")
    );
    let pool = &snapshot.upstreams.pools[0];
    assert_eq!(
        (&*pool.pool, &*pool.upstreams[0].address),
        ("default", "127.0.0.1:9")
    );
    assert_eq!(snapshot.classes[0].admitted, 1);
    let denials = app.telemetry.last_denials(10);
    assert_eq!(denials.denials[0].rule.as_deref(), Some("no-delete"));
    // The sampler runs.
    eventually("a point", || {
        let points = app.telemetry.history().points;
        (!points.time.is_empty()).then_some(())
    });
    assert_eq!(
        app.telemetry.top_sites(TopBy::Denials, 5).sites[0].denials,
        1
    );
}

#[test]
fn the_last_spans_are_sent_before_it_has_stopped() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = collector.local_addr().unwrap();
    let posts = thread::spawn(move || {
        let (mut stream, _) = collector.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = read_head(&mut stream);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        head
    });
    let served = Served::start(&format!(
        "  telemetry: {{ otlp: {{ endpoint: \"http://{endpoint}\", sample: 100% }} }}\n"
    ));
    let mut client = served.connect();
    client
        .write_all(b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
        .unwrap();
    assert!(read_head(&mut client).starts_with("HTTP/1.1 407"));
    let app = Arc::clone(&served.running.app);
    served.running.stop().unwrap();
    assert!(posts.join().unwrap().starts_with("POST /v1/traces "));
    let metrics = app.telemetry.render_metrics();
    let exported = "tollgate_trace_spans_total{result=\"exported\"} 1\n";
    assert!(metrics.contains(exported), "{metrics}");
}
