//! What is left of a request whose hook panics: the tags and the counts from before.

use serde_json::json;
use tollgate::hook::{Flow, Hook, Outcome, Phases, Request, Response, Traffic, Tunnel};

use crate::support::client::Wire;
use crate::support::embedded::Embedded;
use crate::support::origin::Origin;
use crate::support::port::Port;
use crate::support::request::{connect, fetch};

/// A hook that notes something in the first phase, more in one of its phases, and panics there.
struct Panics(Phases);

impl Panics {
    fn in_phase(&self, phase: Phases, request: &mut Request<'_>) -> Outcome {
        if phase == Phases::REQUEST {
            request.tag("first", "1")?;
            request.count("seen", "first")?;
        }
        if phase == self.0 {
            request.tag("last", "2")?;
            request.count("seen", "last")?;
            // As a panic, without a message of each in the output of the tests.
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        Ok(Flow::Go)
    }
}

impl Hook for Panics {
    type State = ();

    fn name(&self) -> &str {
        "panics"
    }

    fn phases(&self) -> Phases {
        Phases::REQUEST.and(self.0)
    }

    fn request(&self, request: &mut Request<'_>, (): &mut ()) -> Outcome {
        self.in_phase(Phases::REQUEST, request)
    }

    fn authorize(&self, request: &mut Request<'_>, (): &mut ()) -> Outcome {
        self.in_phase(Phases::AUTHORIZE, request)
    }

    fn route(&self, request: &mut Request<'_>, (): &mut ()) -> Outcome {
        self.in_phase(Phases::ROUTE, request)
    }

    fn upstream_request(&self, request: &mut Request<'_>, (): &mut ()) -> Outcome {
        self.in_phase(Phases::UPSTREAM_REQUEST, request)
    }

    fn response(&self, response: &mut Response<'_>, (): &mut ()) -> Outcome {
        self.in_phase(Phases::RESPONSE, &mut response.request)
    }

    fn tunnel_open(&self, tunnel: &mut Tunnel<'_>, (): &mut ()) -> Outcome {
        self.in_phase(Phases::TUNNEL_OPEN, &mut tunnel.request)
    }

    fn tunnel_close(&self, tunnel: &mut Tunnel<'_>, _: Traffic, (): &mut ()) -> Outcome<()> {
        self.in_phase(Phases::TUNNEL_CLOSE, &mut tunnel.request)?;
        Ok(())
    }

    fn log(&self, request: &mut Request<'_>, _: Option<u16>, (): &mut ()) -> Outcome<()> {
        self.in_phase(Phases::LOG, request)?;
        Ok(())
    }
}

#[test]
fn tags_and_counts_from_before_a_panic_are_kept() {
    for (phase, status) in [
        (Phases::REQUEST, 500),
        (Phases::AUTHORIZE, 500),
        (Phases::ROUTE, 500),
        (Phases::UPSTREAM_REQUEST, 500),
        (Phases::RESPONSE, 500),
        (Phases::TUNNEL_OPEN, 500),
        // The answer is sent by then.
        (Phases::TUNNEL_CLOSE, 200),
        (Phases::LOG, 200),
    ] {
        let admin = Port::reserve();
        let more = format!("  admin: {{ address: \"{}\" }}\n", admin.address);
        let proxy = Embedded::start(&more, Panics(phase));
        let origin = Origin::ok("in");
        let is_tunnel = [Phases::TUNNEL_OPEN, Phases::TUNNEL_CLOSE].contains(&phase);
        let request = match is_tunnel {
            true => connect(origin.address),
            false => fetch(&format!("http://{}/", origin.address)),
        };
        assert_eq!(proxy.exchange(request).status(), status, "{phase:?}");
        // The last record has them all.
        let record = proxy.record_with(|record| record["event"] != "tunnel_open");
        let tags = json!({ "first": "1", "last": "2" });
        assert_eq!(record["tags"], tags, "{phase:?}");
        let mut wire = Wire::connect(admin.address).unwrap();
        let metrics = wire.exchange("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let text = metrics.text();
        for line in [
            "tollgate_hook_events_total{label=\"first\",name=\"seen\"} 1",
            "tollgate_hook_events_total{label=\"last\",name=\"seen\"} 1",
            "tollgate_hook_failures_total{hook=\"panics\"} 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{phase:?} {line} {text}");
        }
    }
}
