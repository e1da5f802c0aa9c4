//! A script as a hook.

use super::engine::{Called, Failure, Returned, Subject};
use super::{OnError, Script, threads};
use crate::hook::{
    Denial, Detached, Flow, Hook, HookError, Outcome, Phases, Request, Response, Traffic, Tunnel,
    TunnelFlow,
};

impl Hook for Script {
    type State = ();

    fn name(&self) -> &str {
        Script::name(self)
    }

    fn phases(&self) -> Phases {
        Script::phases(self)
    }

    fn request(&self, request: &mut Request<'_>, _: &mut ()) -> Outcome {
        self.on_request(Phases::REQUEST, request, None)
    }

    fn authorize(&self, request: &mut Request<'_>, _: &mut ()) -> Outcome {
        self.on_request(Phases::AUTHORIZE, request, None)
    }

    fn route(&self, request: &mut Request<'_>, _: &mut ()) -> Outcome {
        self.on_request(Phases::ROUTE, request, None)
    }

    fn upstream_request(&self, request: &mut Request<'_>, _: &mut ()) -> Outcome {
        self.on_request(Phases::UPSTREAM_REQUEST, request, None)
    }

    fn response(&self, response: &mut Response<'_>, _: &mut ()) -> Outcome {
        if !self.has_role(response.request.role()) {
            return Ok(Flow::Go);
        }
        let detached = response.detach(self.0.reads_fields);
        let (detached, outcome) = self.run(Phases::RESPONSE, detached, None, None);
        if let Some(detached) = detached {
            response.attach(detached);
        }
        outcome.map(flow)
    }

    fn tunnel_open(&self, tunnel: &mut Tunnel<'_>, _: &mut ()) -> Outcome {
        self.on_tunnel(Phases::TUNNEL_OPEN, tunnel, None).map(flow)
    }

    fn tunnel_hello(&self, tunnel: &mut Tunnel<'_>, _: &mut ()) -> Outcome<TunnelFlow> {
        let returned = self.on_tunnel(Phases::TUNNEL_HELLO, tunnel, None)?;
        Ok(cut(returned))
    }

    fn tunnel_bytes(
        &self,
        tunnel: &mut Tunnel<'_>,
        moved: Traffic,
        _: &mut (),
    ) -> Outcome<TunnelFlow> {
        let traffic = Some((moved, tunnel.total()));
        let returned = self.on_tunnel(Phases::TUNNEL_BYTES, tunnel, traffic)?;
        Ok(cut(returned))
    }

    fn tunnel_close(&self, tunnel: &mut Tunnel<'_>, total: Traffic, _: &mut ()) -> Outcome<()> {
        self.on_tunnel(Phases::TUNNEL_CLOSE, tunnel, Some((total, total)))?;
        Ok(())
    }

    fn log(&self, request: &mut Request<'_>, status: Option<u16>, _: &mut ()) -> Outcome<()> {
        self.on_request(Phases::LOG, request, status)?;
        Ok(())
    }
}

/// What happens with a tunnel after a function.
fn cut(returned: Returned) -> TunnelFlow {
    match returned {
        Returned::Nothing => TunnelFlow::Go,
        Returned::Cut | Returned::Denial(_) | Returned::Answer(_) => TunnelFlow::Cut,
    }
}

/// What happens with a request after a function. The engine refuses what a phase has no use for.
fn flow(returned: Returned) -> Flow {
    match returned {
        Returned::Nothing => Flow::Go,
        Returned::Denial(denial) => Flow::Deny(denial),
        Returned::Answer(answer) => Flow::Answer(answer),
        Returned::Cut => Flow::Deny(Denial::new()),
    }
}

impl Script {
    fn on_request(&self, phase: Phases, request: &mut Request<'_>, status: Option<u16>) -> Outcome {
        if !self.has_role(request.role()) {
            return Ok(Flow::Go);
        }
        let (detached, outcome) = self.run(phase, request.detach(), status, None);
        if let Some(detached) = detached {
            request.attach(detached);
        }
        outcome.map(flow)
    }

    fn on_tunnel(
        &self,
        phase: Phases,
        tunnel: &mut Tunnel<'_>,
        traffic: Option<(Traffic, Traffic)>,
    ) -> Outcome<Returned> {
        if !self.has_role(tunnel.request.role()) {
            return Ok(Returned::Nothing);
        }
        let (detached, outcome) = self.run(phase, tunnel.detach(), None, traffic);
        if let Some(detached) = detached {
            tunnel.attach(detached);
        }
        outcome
    }

    /// Calls the function, and undoes what it wants if it fails and is skipped.
    fn run(
        &self,
        phase: Phases,
        detached: Detached,
        status: Option<u16>,
        traffic: Option<(Traffic, Traffic)>,
    ) -> (Option<Detached>, Outcome<Returned>) {
        let is_skipped = self.0.source.on_error == OnError::Skip;
        let before = is_skipped.then(|| detached.clone());
        let Called {
            subject, result, ..
        } = self.call(phase, detached, status, traffic);
        let after = subject.map(|subject| subject.detached);
        match (result, before) {
            (Ok(returned), _) => (after, Ok(returned)),
            (Err(failure), Some(mut before)) => {
                before.skip(self.name(), phase, &failure.to_string());
                (Some(before), Ok(Returned::Nothing))
            }
            (Err(failure), None) => (after, Err(failure.into())),
        }
    }

    pub(super) fn call(
        &self,
        phase: Phases,
        detached: Detached,
        status: Option<u16>,
        traffic: Option<(Traffic, Traffic)>,
    ) -> Called {
        let subject = Subject {
            detached,
            status,
            traffic,
        };
        threads::call(self, phase, subject)
    }
}

impl From<Failure> for HookError {
    fn from(failure: Failure) -> Self {
        match failure.is_of_request {
            true => HookError::of_request(failure.to_string()),
            false => HookError::new(failure.to_string()),
        }
    }
}
