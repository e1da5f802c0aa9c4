//! In which phases a hook is called, for each kind of request.

use std::sync::{Arc, Mutex};

use tollgate::hook::{Flow, Hook, Outcome, Phases, Request, Response, Traffic, Tunnel, TunnelFlow};

use crate::support::client::Wire;
use crate::support::embedded::Embedded;
use crate::support::http2;
use crate::support::message::response;
use crate::support::origin::Origin;
use crate::support::request::{ALICE, auth, connect, fetch, request_of};

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
            "request forward - false",
            "authorize forward alice false",
            "route forward alice false",
            "upstream_request forward alice false",
            "response forward alice false",
            "log forward alice false",
        ]
    );
}

#[test]
fn a_request_of_http2_has_the_same_phases() {
    let watch = Watch::default();
    let proxy = Embedded::start("", watch.clone());
    let origin = Origin::ok("in");
    let url = format!("http://{}/", origin.address);
    http2::run(async {
        let mut client = http2::Client::connect(proxy.address()).await;
        let answer = client.ask(http2::request_of(ALICE, "GET", &url)).await;
        assert_eq!(answer.field("x-seen"), Some("200"));
    });
    proxy.record();
    let phases: Vec<String> = watch.take();
    let phases: Vec<_> = phases
        .iter()
        .filter_map(|it| it.split(' ').next())
        .collect();
    assert_eq!(
        phases,
        [
            "request",
            "authorize",
            "route",
            "upstream_request",
            "response",
            "log"
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
        seen[..4],
        [
            "request tunnel - false",
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
        seen[4..seen.len() - 2]
            .iter()
            .all(|it| it.starts_with("tunnel_bytes"))
    );
}

#[test]
fn a_websocket_has_the_phases_of_a_request_and_of_a_tunnel() {
    let watch = Watch::default();
    let proxy = Embedded::start("", watch.clone());
    let origin = Origin::raw(|mut wire, seen| {
        let head = wire.read_head()?.unwrap();
        seen.keep(crate::support::message::Request {
            head,
            body: Vec::new(),
        });
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )?;
        let sent = wire.read_bytes(4)?;
        wire.send(sent)
    });
    let mut wire = Wire::connect(proxy.address()).unwrap();
    let answer = wire.exchange(format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        origin.address,
        auth()
    ));
    assert_eq!(
        (answer.status(), answer.field("x-seen")),
        (101, Some("101"))
    );
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
    drop(wire);
    proxy.record();
    let seen = watch.take();
    let phases: Vec<_> = seen.iter().filter_map(|it| it.split(' ').next()).collect();
    assert_eq!(
        phases[..6],
        [
            "request",
            "authorize",
            "route",
            "upstream_request",
            "response",
            "tunnel_open"
        ]
    );
    assert_eq!(phases[phases.len() - 2..], ["tunnel_close", "log"]);
}

#[test]
fn a_request_that_is_refused_before_has_few_phases() {
    let watch = Watch::default();
    let proxy = Embedded::start("", watch.clone());
    let answer = proxy.exchange(request_of(("alice", "wrong"), "GET", "http://127.0.0.1:9/"));
    assert_eq!(answer.status(), 407);
    proxy.record();
    assert_eq!(
        watch.take(),
        ["request forward - false", "log forward - false"]
    );
    // No hook sees what is no request.
    let answer = proxy.exchange("GET / HTTP/1.1\nHost: a\n\n");
    assert_eq!(answer.status(), 400);
    assert!(watch.take().is_empty());
}
