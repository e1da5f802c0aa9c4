//! In which phases a hook is called, for each kind of request.

use std::sync::{Arc, Mutex};

use tollgate::hook::{
    Authentication, Connection, ConnectionFlow, Credentials, Flow, Hook, Outcome, Phases, Request,
    Resolution, Response, Traffic, Tunnel, TunnelFlow,
};

use crate::support::client::Wire;
use crate::support::documents::{read, root};
use crate::support::embedded::Embedded;
use crate::support::http2;
use crate::support::message::response;
use crate::support::origin::Origin;
use crate::support::request::{ALICE, auth, connect, fetch, request_of};
use crate::support::socks5;

/// What a hook saw of each phase.
#[derive(Clone, Default)]
struct Watch(Arc<Mutex<Vec<String>>>);

impl Watch {
    fn saw(&self, phase: &str, request: &Request<'_>) {
        let seen = format!(
            "{phase} {} {} {}",
            request.role().as_str(),
            request.user().unwrap_or("-"),
            request.field("proxy-authorization").is_some()
                || request.field("authorization").is_some()
        );
        self.0.lock().unwrap().push(seen);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Hook for Watch {
    type State = u32;

    fn name(&self) -> &str {
        "watch"
    }

    fn phases(&self) -> Phases {
        let all = Phases::NAMES.iter().map(|(_, phase)| *phase);
        all.fold(Phases::NONE, Phases::and)
    }

    fn connection(&self, _: &Connection) -> Outcome<ConnectionFlow> {
        self.0.lock().unwrap().push("connection".to_owned());
        Ok(ConnectionFlow::Go)
    }

    async fn authenticate(
        &self,
        credentials: &Credentials<'_>,
        request: &Request<'_>,
        _: &mut u32,
    ) -> Outcome<Authentication> {
        assert!(!format!("{credentials:?}").contains(ALICE.1));
        self.saw("authenticate", request);
        Ok(Authentication::Unknown)
    }

    async fn resolve(&self, request: &Request<'_>, _: &mut u32) -> Outcome<Resolution> {
        self.saw("resolve", request);
        Ok(Resolution::Default)
    }

    fn request(&self, request: &mut Request<'_>, state: &mut u32) -> Outcome {
        *state += 1;
        self.saw("request", request);
        Ok(Flow::Go)
    }

    fn authorize(&self, request: &mut Request<'_>, state: &mut u32) -> Outcome {
        *state += 1;
        self.saw("authorize", request);
        Ok(Flow::Go)
    }

    fn route(&self, request: &mut Request<'_>, _: &mut u32) -> Outcome {
        self.saw("route", request);
        Ok(Flow::Go)
    }

    fn upstream_request(&self, request: &mut Request<'_>, _: &mut u32) -> Outcome {
        self.saw("upstream_request", request);
        Ok(Flow::Go)
    }

    fn response(&self, response: &mut Response<'_>, _: &mut u32) -> Outcome {
        self.saw("response", &response.request);
        response.set_field("X-Seen", &response.status().to_string())?;
        Ok(Flow::Go)
    }

    fn tunnel_open(&self, tunnel: &mut Tunnel<'_>, _: &mut u32) -> Outcome {
        self.saw("tunnel_open", &tunnel.request);
        tunnel.report_every(4096);
        Ok(Flow::Go)
    }

    fn tunnel_bytes(
        &self,
        tunnel: &mut Tunnel<'_>,
        moved: Traffic,
        state: &mut u32,
    ) -> Outcome<TunnelFlow> {
        self.saw("tunnel_bytes", &tunnel.request);
        *state += u32::try_from(moved.bytes_from_client)?;
        Ok(match *state > 10_000 {
            true => TunnelFlow::Cut,
            false => TunnelFlow::Go,
        })
    }

    fn tunnel_close(&self, tunnel: &mut Tunnel<'_>, _: Traffic, _: &mut u32) -> Outcome<()> {
        self.saw("tunnel_close", &tunnel.request);
        Ok(())
    }

    fn log(&self, request: &mut Request<'_>, status: Option<u16>, state: &mut u32) -> Outcome<()> {
        self.saw("log", request);
        request.tag("state", &format!("{state} {status:?}"))?;
        Ok(())
    }
}

#[test]
fn a_forwarded_request_has_its_phases_in_order() {
    let watch = Watch::default();
    let proxy = Embedded::start("", watch.clone());
    let origin = Origin::fixed(response("201 Created", "X-Own: 1\r\n", "in"));
    let answer = proxy.exchange(fetch(&format!("http://{}/", origin.address)));
    assert_eq!(answer.field("x-seen"), Some("201"));
    assert_eq!(proxy.record()["tags"]["state"], "2 Some(201)");
    assert_eq!(
        watch.take(),
        [
            "connection",
            "request forward - false",
            "authenticate forward - false",
            "authorize forward alice false",
            "route forward alice false",
            "upstream_request forward alice false",
            "response forward alice false",
            "log forward alice false",
        ]
    );
}

#[test]
fn a_tunnel_is_cut_by_its_bytes() {
    let watch = Watch::default();
    let proxy = Embedded::start("", watch.clone());
    let origin = Origin::raw(|mut wire, _| wire.read_to_end().map(drop));
    let mut wire = Wire::connect(proxy.address()).unwrap();
    assert_eq!(wire.exchange(connect(origin.address)).status(), 200);
    let sent = (0..1000).try_for_each(|_| wire.send([7; 4096]));
    let ended = sent.and_then(|()| wire.read_to_end().map(drop));
    assert!(ended.is_err(), "the tunnel goes on");
    let record = proxy.record();
    assert_eq!(
        (&record["end_reason"], &record["rule"]),
        (&"hook".into(), &"hook:watch".into()),
        "{record}"
    );
    let seen = watch.take();
    assert_eq!(
        seen[..6],
        [
            "connection",
            "request tunnel - false",
            "authenticate tunnel - false",
            "authorize tunnel alice false",
            "route tunnel alice false",
            "tunnel_open tunnel alice false",
        ]
    );
    assert_eq!(
        seen[seen.len() - 2..],
        ["tunnel_close tunnel alice false", "log tunnel alice false"]
    );
    assert!(
        seen[6..seen.len() - 2]
            .iter()
            .all(|it| it.starts_with("tunnel_bytes"))
    );
}

/// A kind of request of the table, and what its client does.
type Kind = (&'static str, fn(&Embedded, &Origin));

fn host(origin: &Origin) -> String {
    format!("localhost:{}", origin.port())
}

fn web_socket(proxy: &Embedded, origin: &Origin) {
    let mut wire = Wire::connect(proxy.address()).unwrap();
    let answer = wire.exchange(format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        host(origin),
        auth()
    ));
    assert_eq!(
        (answer.status(), answer.field("x-seen")),
        (101, Some("101"))
    );
    wire.send([7; 8192]).unwrap();
    assert_eq!(wire.read_bytes(8192).unwrap(), [7; 8192]);
}

fn tunnel(proxy: &Embedded, origin: &Origin) {
    let mut wire = Wire::connect(proxy.address()).unwrap();
    assert_eq!(wire.exchange(connect(host(origin))).status(), 200);
    echo(&mut wire);
}

fn tunnel_by_socks5(proxy: &Embedded, origin: &Origin) {
    let mut wire = Wire::connect(proxy.address()).unwrap();
    socks5::log_in(&mut wire, ALICE);
    let request = socks5::name(socks5::CONNECT, "localhost", origin.port());
    wire.send(request).unwrap();
    assert_eq!(socks5::reply(&mut wire).unwrap().0, 0);
    echo(&mut wire);
}

/// Has the origin echo bytes in another protocol.
fn echo(wire: &mut Wire) {
    wire.send("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n")
        .unwrap();
    wire.read_until(b"\r\n\r\n").unwrap();
    wire.send([7; 8192]).unwrap();
    assert_eq!(wire.read_bytes(8192).unwrap(), [7; 8192]);
}

fn tunnel_over_http2(proxy: &Embedded, origin: &Origin) {
    http2::run(async {
        let mut client = http2::Client::connect(proxy.address()).await;
        let request = http2::request_of(ALICE, "CONNECT", &host(origin));
        let (answer, mut send) = client.open(request, false).await;
        let answer = http2::within(answer).await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut receive = answer.into_body();
        let hello = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
        http2::send_all(&mut send, hello, false).await.unwrap();
        http2::send_all(&mut send, &[7; 8192], false).await.unwrap();
        http2::read_bytes(&mut receive, 8192).await;
    });
}

const KINDS: [Kind; 11] = [
    ("GET", |proxy, origin| {
        let answer = proxy.exchange(fetch(&format!("http://{}/", host(origin))));
        assert_eq!(answer.field("x-seen"), Some("200"));
    }),
    ("POST", |proxy, origin| {
        let request = request_of(ALICE, "POST", &format!("http://{}/", host(origin)));
        let request = request.replace("\r\n\r\n", "\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(proxy.exchange(request).status(), 200);
    }),
    ("gateway", |proxy, _| {
        let request = request_of(ALICE, "GET", "/x").replace("Proxy-", "");
        assert_eq!(proxy.exchange(request).field("x-seen"), Some("200"));
    }),
    ("CONNECT", tunnel),
    ("HTTP/2", |proxy, origin| {
        let url = format!("http://{}/", host(origin));
        http2::run(async {
            let mut client = http2::Client::connect(proxy.address()).await;
            let answer = client.ask(http2::request_of(ALICE, "GET", &url)).await;
            assert_eq!(answer.field("x-seen"), Some("200"));
        });
    }),
    ("CONNECT over HTTP/2", tunnel_over_http2),
    ("SOCKS5", tunnel_by_socks5),
    ("WebSocket", web_socket),
    ("OPTIONS *", |proxy, _| {
        let credentials = auth().replace("Proxy-", "");
        let request = format!("OPTIONS * HTTP/1.1\r\nHost: a\r\n{credentials}\r\n");
        assert_eq!(proxy.exchange(request).field("x-seen"), Some("200"));
    }),
    ("wrong credentials", |proxy, origin| {
        let url = format!("http://{}/", host(origin));
        let answer = proxy.exchange(request_of((ALICE.0, "wrong"), "GET", &url));
        assert_eq!(answer.status(), 407);
    }),
    ("malformed", |proxy, _| {
        assert_eq!(proxy.exchange("GET / HTTP/1.1\nHost: a\n\n").status(), 400);
    }),
];

/// An origin for all kinds: an answer, or the echo of another protocol.
fn origin() -> Origin {
    Origin::raw(|mut wire, _| {
        while let Some(request) = wire.request()? {
            if !request.head.fields.has("upgrade") {
                wire.send(response("200 OK", "", "in"))?;
                continue;
            }
            wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
            let sent = wire.read_bytes(8192)?;
            wire.send(sent)?;
            return wire.read_to_end().map(drop);
        }
        Ok(())
    })
}

/// The table of the document is what happens, in each of its cells.
#[test]
fn the_table_of_phases_is_true() {
    let document = read(&root().join("docs/programming.md"));
    let mut rows = document
        .lines()
        .skip_while(|line| !line.starts_with("| phase | GET |"));
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    let columns = cells(rows.next().unwrap());
    assert_eq!(columns[1..], KINDS.map(|(kind, _)| kind));
    let rows: Vec<Vec<String>> = rows
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect();
    let named: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    for (phase, _) in Phases::NAMES {
        assert!(named.contains(&phase), "the table has no {phase}");
    }
    for (column, (kind, ask)) in (1..).zip(KINDS) {
        let origin = origin();
        let more = format!("  gateway: {{ upstreams: [\"{}\"] }}\n", origin.address);
        let watch = Watch::default();
        let proxy = Embedded::start(&more, watch.clone());
        ask(&proxy, &origin);
        // The last record is behind the last phase.
        let is_tunnel = kind.contains("CONNECT") || ["SOCKS5", "WebSocket"].contains(&kind);
        proxy.record_with(|record| !is_tunnel || record["end_reason"].is_string());
        proxy.running.stop().unwrap();
        let seen = watch.take();
        let seen: Vec<_> = seen.iter().filter_map(|it| it.split(' ').next()).collect();
        for row in &rows {
            let is_expected = row[column] == "x";
            assert!(is_expected || row[column].is_empty(), "{row:?}");
            let has_run = seen.contains(&row[0].as_str());
            assert_eq!(has_run, is_expected, "{kind}, {}: {seen:?}", row[0]);
        }
    }
}
