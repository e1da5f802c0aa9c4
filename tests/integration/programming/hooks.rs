//! Hooks in a proxy of this process: what they see, what they change, and what they cannot.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tollgate::hook::{Answer, Denial, Flow, Hook, Outcome, Phases, Request, Response, Tunnel};
use tollgate::hook::{Traffic, TunnelFlow};

use crate::support::client::Wire;
use crate::support::message::{ok, response};
use crate::support::origin::Origin;
use crate::support::request::{ALICE, auth, connect, fetch, request_of, sha_line};
use crate::support::{eventually, http2};

/// A proxy in this process, with one hook.
struct Embedded {
    directory: tempfile::TempDir,
    running: tollgate::Running,
}

impl Embedded {
    fn start(more: &str, hook: impl Hook) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let users = directory.path().join("users.htpasswd");
        std::fs::write(users, sha_line(ALICE)).unwrap();
        let text = format!(
            "version: 1\nthreads: 1\ntollgate:\n  listeners: [{{ address: \"127.0.0.1:0\" }}]\n  \
             auth: {{ htpasswd: users.htpasswd }}\n  egress: {{ connect_ports: any, allow_networks: [127.0.0.0/8] }}\n  \
             log: {{ access: access.log }}\n{more}"
        );
        let proxy = tollgate::Proxy::builder().config_text(&text, directory.path());
        let running = proxy.unwrap().hook(hook).build().start().unwrap();
        Self { directory, running }
    }

    fn address(&self) -> SocketAddr {
        self.running.addresses()[0]
    }

    fn exchange(&self, request: impl AsRef<[u8]>) -> crate::support::message::Response {
        Wire::connect(self.address()).unwrap().exchange(request)
    }

    /// The record of the only request.
    fn record(&self) -> Value {
        record_in(self.directory.path())
    }
}

fn record_in(directory: &Path) -> Value {
    let path = directory.join("access.log");
    eventually("a record", || {
        let text = std::fs::read_to_string(&path).ok()?;
        let line = text.lines().last()?;
        serde_json::from_str(line).ok()
    })
}

/// A hook that is a function in some phases.
struct In<F>(Phases, F);

impl<F: Fn(&mut Request<'_>) -> Outcome + Send + Sync + 'static> Hook for In<F> {
    type State = ();

    fn name(&self) -> &str {
        "test"
    }

    fn phases(&self) -> Phases {
        self.0
    }

    fn request(&self, request: &mut Request<'_>, (): &mut ()) -> Outcome {
        self.1(request)
    }

    fn authorize(&self, request: &mut Request<'_>, (): &mut ()) -> Outcome {
        self.1(request)
    }

    fn route(&self, request: &mut Request<'_>, (): &mut ()) -> Outcome {
        self.1(request)
    }

    fn upstream_request(&self, request: &mut Request<'_>, (): &mut ()) -> Outcome {
        self.1(request)
    }
}

#[test]
fn a_field_is_set_and_the_client_s_own_is_gone() {
    let proxy = Embedded::start(
        "",
        In(Phases::UPSTREAM_REQUEST, |request: &mut Request<'_>| {
            request.set_field("X-Team", "blue")?;
            request.remove_field("cookie")?;
            request.add_field("X-More", "1")?;
            request.tag("team", "blue")?;
            Ok(Flow::Go)
        }),
    );
    let origin = Origin::ok("in");
    let request = format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}X-TEAM: red\r\nx-team: green\r\nCookie: a\r\nX-More: 0\r\n\r\n",
        origin.address,
        auth()
    );
    assert_eq!(proxy.exchange(request).text(), "in");
    let fields = origin.request().head.fields;
    assert_eq!(fields.all("x-team"), ["blue"]);
    assert_eq!(fields.all("x-more"), ["0", "1"]);
    assert!(!fields.has("cookie") && !fields.has("proxy-authorization"));
    assert_eq!(proxy.record()["tags"], serde_json::json!({"team": "blue"}));
}

#[test]
fn a_denial_has_its_status_and_message_and_is_in_the_log() {
    for phase in [
        Phases::REQUEST,
        Phases::AUTHORIZE,
        Phases::ROUTE,
        Phases::UPSTREAM_REQUEST,
    ] {
        let proxy = Embedded::start(
            "",
            In(phase, |_: &mut Request<'_>| {
                let denial = Denial::new().with_status(451);
                Ok(Flow::Deny(denial.with_message("ask\r\nit")))
            }),
        );
        let origin = Origin::ok("never");
        let answer = proxy.exchange(fetch(&format!("http://{}/", origin.address)));
        assert_eq!(answer.status(), 451, "{phase:?}");
        assert!(answer.text().contains("askit"), "{}", answer.text());
        assert!(origin.requests().is_empty());
        let record = proxy.record();
        assert_eq!(record["rule"], "hook:test", "{record}");
        assert_eq!(record["error"], "http_request_denied");
    }
}

#[test]
fn an_answer_takes_the_place_of_a_server_s() {
    for phase in [Phases::REQUEST, Phases::AUTHORIZE, Phases::UPSTREAM_REQUEST] {
        let proxy = Embedded::start(
            "",
            In(phase, |_: &mut Request<'_>| {
                let answer = Answer::new(200, "own")?;
                let answer = answer.with_field("Set-Cookie", "a=1")?;
                Ok(Flow::Answer(answer.with_field("Set-Cookie", "b=2")?))
            }),
        );
        let origin = Origin::ok("never");
        let mut wire = Wire::connect(proxy.address()).unwrap();
        for _ in 0..2 {
            let answer = wire.exchange(fetch(&format!("http://{}/", origin.address)));
            assert_eq!((answer.status(), answer.text().as_str()), (200, "own"));
            assert_eq!(answer.head.fields.all("set-cookie"), ["a=1", "b=2"]);
        }
        assert!(origin.requests().is_empty());
        let record = proxy.record();
        assert_eq!(
            (&record["status"], &record["error"]),
            (&200.into(), &Value::Null)
        );
        // A success would be a tunnel to the client.
        let answer = proxy.exchange(connect(origin.address));
        let expected = if phase == Phases::UPSTREAM_REQUEST {
            200
        } else {
            500
        };
        assert_eq!(answer.status(), expected);
    }
}

#[test]
fn a_failure_and_a_panic_cost_one_request() {
    for panics in [false, true] {
        let proxy = Embedded::start(
            "",
            In(Phases::AUTHORIZE, move |request: &mut Request<'_>| {
                if request.path().as_deref() == Some("/bad") {
                    assert!(!panics, "on purpose");
                    request.set_field("a b", "x")?;
                }
                Ok(Flow::Go)
            }),
        );
        let origin = Origin::ok("in");
        let mut wire = Wire::connect(proxy.address()).unwrap();
        let answer = wire.exchange(fetch(&format!("http://{}/bad", origin.address)));
        assert_eq!(answer.status(), 500);
        let record = proxy.record();
        assert_eq!(record["error"], "proxy_internal_error");
        let detail = record["error_detail"].as_str().unwrap();
        let why = if panics {
            "it panicked"
        } else {
            "not a field name"
        };
        assert_eq!(detail, format!("hook:test in authorize: {why}"));
        let answer = wire.exchange(fetch(&format!("http://{}/", origin.address)));
        assert_eq!(answer.text(), "in");
    }
}

#[test]
fn the_policy_evaluates_the_target_that_a_hook_gives() {
    let (open, closed) = (Origin::ok("open"), Origin::ok("closed"));
    let [to_open, to_closed] = [&open, &closed].map(|origin| origin.address.to_string());
    let more = format!(
        "  policy:\n    rules:\n      - {{ name: closed, action: deny, ports: [{}] }}\n",
        closed.port()
    );
    let there = to_open.clone();
    let hook = In(Phases::REQUEST, move |request: &mut Request<'_>| {
        let moved = match request.port() == there.rsplit(':').next().and_then(|p| p.parse().ok()) {
            true => &to_closed,
            false => &there,
        };
        request.set_target(moved)?;
        Ok(Flow::Go)
    });
    let proxy = Embedded::start(&more, hook);
    // Both ways: the policy sees where the request goes, not where the client wanted it to go.
    let answer = proxy.exchange(fetch(&format!("http://{}/", open.address)));
    assert_eq!(answer.status(), 403);
    let answer = proxy.exchange(fetch(&format!("http://{}/", closed.address)));
    assert_eq!(answer.text(), "open");
    let fields = open.request().head.fields;
    assert_eq!(fields.all("host"), [open.address.to_string()]);
    let answer = proxy.exchange(connect(open.address));
    assert_eq!(answer.status(), 403);
    closed.assert_untouched();
}

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

#[test]
fn a_gateway_request_goes_to_the_pool_that_a_hook_names() {
    let (blue, green) = (Origin::ok("blue"), Origin::ok("green"));
    let more = format!(
        "  gateway:\n    pools:\n      - {{ name: blue, hosts: [blue.test], upstreams: [\"{}\"] }}\n      \
         - {{ name: green, hosts: [green.test], upstreams: [\"{}\"] }}\n",
        blue.address, green.address
    );
    let hook = In(Phases::ROUTE, |request: &mut Request<'_>| {
        if let Some(pool) = request.field("x-pool") {
            let pool = pool.into_owned();
            request.use_pool(&pool)?;
        }
        Ok(Flow::Go)
    });
    let proxy = Embedded::start(&more, hook);
    let ask = |pool: &str| {
        let credentials = auth().replace("Proxy-", "");
        proxy.exchange(format!(
            "GET / HTTP/1.1\r\nHost: blue.test\r\n{credentials}X-Pool: {pool}\r\n\r\n"
        ))
    };
    assert_eq!(ask("green").text(), "green");
    assert_eq!(ask("blue").text(), "blue");
    assert_eq!(ask("none").status(), 500);
    assert!(!green.request().head.fields.has("authorization"));
}

#[test]
fn two_proxies_in_one_process_have_their_own_hooks() {
    let origin = Origin::http(|request| ok(request.head.fields.all("x-of").join(",")));
    let proxies = ["one", "two"].map(|name| {
        Embedded::start(
            "",
            In(
                Phases::UPSTREAM_REQUEST,
                move |request: &mut Request<'_>| {
                    request.set_field("x-of", name)?;
                    Ok(Flow::Go)
                },
            ),
        )
    });
    for (proxy, name) in proxies.iter().zip(["one", "two"]) {
        let answer = proxy.exchange(fetch(&format!("http://{}/", origin.address)));
        assert_eq!(answer.text(), name);
    }
    let [one, two] = proxies;
    one.running.stop().unwrap();
    let answer = two.exchange(fetch(&format!("http://{}/", origin.address)));
    assert_eq!(answer.text(), "two");
}
