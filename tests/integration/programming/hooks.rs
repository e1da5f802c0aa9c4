//! What hooks change, and what they cannot, in a proxy of this process.

use serde_json::Value;
use tollgate::hook::{Answer, Denial, Flow, Hook, Outcome, Phases, Request, Response};

use crate::support::client::Wire;
use crate::support::embedded::Embedded;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::request::{auth, connect, fetch};

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
                let denial = Denial::new().with_status(451)?;
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
            "\"a b\": not a field name"
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

/// Replaces each response of a server.
struct Replacing;

impl Hook for Replacing {
    type State = ();

    fn phases(&self) -> Phases {
        Phases::RESPONSE
    }

    fn response(&self, response: &mut Response<'_>, (): &mut ()) -> Outcome {
        let text = format!("in place of {}", response.status());
        Ok(Flow::Answer(Answer::new(502, text)?))
    }
}

#[test]
fn a_response_is_replaced_as_a_whole() {
    let proxy = Embedded::start("", Replacing);
    let origin = Origin::raw(|mut wire, _| {
        while let Some(request) = wire.request()? {
            match request.head.fields.has("upgrade") {
                true => wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nsecret")?,
                false => wire.send("HTTP/1.1 200 OK\r\nX-Own: secret\r\nContent-Length: 6\r\n\r\nsecret")?,
            }
        }
        Ok(())
    });
    let url = format!("http://{}/", origin.address);
    let mut wire = Wire::connect(proxy.address()).unwrap();
    for _ in 0..2 {
        let answer = wire.exchange(fetch(&url));
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (502, "in place of 200")
        );
        assert!(!answer.head.fields.has("x-own"));
    }
    let upgrade = fetch(&url).replace(
        "\r\n\r\n",
        "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    let answer = proxy.exchange(upgrade);
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (502, "in place of 101")
    );
}

#[test]
fn a_method_is_in_capitals_to_hooks_and_goes_on_as_it_came() {
    let proxy = Embedded::start(
        "",
        In(Phases::AUTHORIZE, |request: &mut Request<'_>| {
            Ok(match request.method() {
                "PUT" => Flow::Deny(Denial::new()),
                _ => Flow::Go,
            })
        }),
    );
    let origin = Origin::ok("in");
    let send = |method: &str| {
        proxy.exchange(format!(
            "{method} http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}\r\n",
            origin.address,
            auth()
        ))
    };
    for method in ["PUT", "put", "Put"] {
        assert_eq!(send(method).status(), 403, "{method}");
    }
    assert!(origin.requests().is_empty());
    assert_eq!(send("get").text(), "in");
    assert!(origin.request().head.start.starts_with("get "));
}

#[test]
fn a_path_that_a_hook_cannot_decide_about_is_the_client_s_fault() {
    let proxy = Embedded::start(
        "",
        In(Phases::AUTHORIZE, |request: &mut Request<'_>| {
            Ok(match request.path_under("/v2/team-a")? {
                true => Flow::Go,
                false => Flow::Deny(Denial::new()),
            })
        }),
    );
    let origin = Origin::ok("in");
    let get = |path: &str| proxy.exchange(fetch(&format!("http://{}{path}", origin.address)));
    assert_eq!(get("/v2/team-a/app").text(), "in");
    assert_eq!(get("/v2/team-b").status(), 403);
    let answer = get("/v2/team-a/..%2fteam-b");
    assert_eq!(answer.status(), 400, "{}", answer.text());
    assert!(
        answer.text().contains("ambiguous path"),
        "{}",
        answer.text()
    );
    assert_eq!(origin.requests().len(), 1);
    let record = proxy.record_with(|record| record["status"] == 400);
    assert_eq!(record["error"], "http_request_error", "{record}");
    let detail = record["error_detail"].as_str().unwrap_or_default();
    assert!(detail.starts_with("hook:test in authorize: "), "{record}");
}

/// Without `phases`, so that none can be forgotten.
struct NoPhases;

impl Hook for NoPhases {
    type State = ();

    fn authorize(&self, request: &mut Request<'_>, (): &mut ()) -> Outcome {
        let domains = ["Denied.Example", ".denied.example", "denied.example"];
        let is_under = domains.map(|domain| request.host_under(domain));
        assert!(is_under.iter().all(|other| *other == is_under[0]));
        assert!(!request.host_under("") && !request.host_under("nied.example"));
        Ok(match is_under[0] {
            true => Flow::Deny(Denial::new()),
            false => Flow::Go,
        })
    }
}

#[test]
fn a_hook_without_phases_is_called_in_each() {
    let proxy = Embedded::start("", NoPhases);
    let origin = Origin::ok("in");
    let answer = proxy.exchange(fetch("http://a.denied.example/"));
    assert_eq!(answer.status(), 403);
    let answer = proxy.exchange(fetch(&format!("http://{}/", origin.address)));
    assert_eq!(answer.text(), "in");
}

/// What a hook does with a request.
type Does = fn(&mut Request<'_>) -> Outcome;

#[test]
fn what_a_hook_does_wrong_names_the_hook_the_phase_and_the_field() {
    let wrong: [(Phases, Does, &str); 4] = [
        (
            Phases::AUTHORIZE,
            |request| {
                request.use_pool("gone")?;
                Ok(Flow::Go)
            },
            "hook:test in authorize: it chose the pool \"gone\", which is not configured",
        ),
        (
            Phases::ROUTE,
            |request| {
                request.use_pool("gone")?;
                Ok(Flow::Go)
            },
            "hook:test in route: it chose the pool \"gone\", which is not configured",
        ),
        (
            Phases::AUTHORIZE,
            |request| {
                request.set_field("Content-Length", "1")?;
                Ok(Flow::Go)
            },
            "hook:test in authorize: Content-Length: the field is written by the proxy alone",
        ),
        (
            Phases::AUTHORIZE,
            |_| Ok(Flow::Deny(Denial::new().with_status(200)?)),
            "hook:test in authorize: 200 is not the status of a denial; write 400 to 599, but not 401 or 407",
        ),
    ];
    for (phase, does, expected) in wrong {
        let admin = "  admin: { address: \"127.0.0.1:0\" }\n";
        let proxy = Embedded::start(admin, In(phase, does));
        let credentials = auth().replace("Proxy-", "");
        let answer = proxy.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\n{credentials}\r\n"));
        assert_eq!(answer.status(), 500, "{expected}");
        let record = proxy.record();
        assert_eq!(record["error_detail"], expected, "{record}");
        let failures = "tollgate_hook_failures_total{hook=\"test\"} 1";
        let mut admin = Wire::connect(proxy.running.addresses()[1]).unwrap();
        let metrics = admin.exchange("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let metrics = metrics.text();
        assert!(metrics.contains(failures), "{expected}: {metrics}");
    }
}
