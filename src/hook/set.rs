//! The hooks of a process, and their run over one request.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use http::{HeaderMap, StatusCode};
use smallvec::SmallVec;

use super::erased::{Boxed, Erased};
use super::facts::Facts;
use super::fields::{Edits, OutgoingFields};
use super::notes::Notes;
use super::stop::{How, Stop};
use super::{
    Authentication, Connection, ConnectionFlow, Credentials, Denial, Flow, Hook, HookError,
    MAX_WAIT, Outcome, Phases, Request, Resolution, Response, Traffic, Tunnel, TunnelFlow,
};
use crate::hello::Hello;

/// The hooks of a process, in the order in which they are called.
#[derive(Clone, Default)]
pub struct HookSet {
    hooks: Vec<(Phases, Arc<dyn Erased>)>,
    phases: Phases,
}

impl HookSet {
    /// The same hooks and `hook` behind them.
    #[must_use]
    pub fn with(mut self, hook: impl Hook) -> Self {
        let hook = Arc::new(hook) as Arc<dyn Erased>;
        let phases = hook.phases();
        self.phases = self.phases.and(phases);
        self.hooks.push((phases, hook));
        self
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    /// The phases of any of them.
    pub fn phases(&self) -> Phases {
        self.phases
    }

    /// The phase `connection`.
    ///
    /// # Errors
    /// The connection is closed; by this hook.
    pub(crate) fn connection(&self, connection: &Connection) -> Result<(), Stop> {
        for (phases, hook) in &self.hooks {
            if !phases.has(Phases::CONNECTION) {
                continue;
            }
            let called = AssertUnwindSafe(|| hook.connection(connection));
            let how = match catch_unwind(called).unwrap_or_else(|_panic| Err(panicked())) {
                Ok(ConnectionFlow::Go) => continue,
                Ok(ConnectionFlow::Close) => How::Denied(Denial::new()),
                Err(error) => How::of(&error),
            };
            return Err(Stop {
                by: hook.name().into(),
                phase: Phases::CONNECTION.name(),
                how,
            });
        }
        Ok(())
    }

    /// The names of the hooks.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.hooks.iter().map(|(_, hook)| hook.name())
    }
}

impl fmt::Debug for HookSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// The hooks of one request. It keeps the set with which it began, whatever a reload brings.
pub struct Run {
    set: Arc<HookSet>,
    facts: Arc<Facts>,
    user: Option<Arc<str>>,
    groups: Option<Arc<[Box<str>]>>,
    /// That of each hook.
    states: SmallVec<[Box<dyn Any + Send + Sync>; 2]>,
    /// How many edits there were before the phase `upstream_request`, which a request has once for each try.
    edits_before: Option<usize>,
    /// The bytes between two calls of `tunnel_bytes`.
    report_every: Option<u64>,
    /// What went through the tunnel so far.
    total: Traffic,
    /// The hello in the tunnel.
    hello: Option<Arc<Hello>>,
    /// What they want.
    pub notes: Notes,
}

impl Run {
    /// A run that begins.
    pub fn new(set: Arc<HookSet>, facts: Facts) -> Self {
        Self {
            states: set.hooks.iter().map(|(_, hook)| hook.state()).collect(),
            set,
            facts: Arc::new(facts),
            user: None,
            edits_before: None,
            report_every: None,
            total: Traffic::default(),
            hello: None,
            groups: None,
            notes: Notes::default(),
        }
    }

    /// Whether a hook has this phase.
    pub fn has(&self, phase: Phases) -> bool {
        self.set.phases.has(phase)
    }

    /// Tells the hooks who the user is.
    pub fn authenticated(&mut self, user: Arc<str>, groups: &[&str]) {
        self.user = Some(user);
        let is_in_some = !groups.is_empty();
        self.groups = is_in_some.then(|| groups.iter().copied().map(Box::from).collect());
    }

    /// The phase `request`.
    ///
    /// # Errors
    /// The request does not go on.
    pub fn request(&mut self) -> Result<(), Stop> {
        self.on_request(Phases::REQUEST, |hook, request, state| {
            hook.request(request, state)
        })
    }

    /// The phase `authorize`.
    ///
    /// # Errors
    /// The request does not go on.
    pub fn authorize(&mut self) -> Result<(), Stop> {
        self.on_request(Phases::AUTHORIZE, |hook, request, state| {
            hook.authorize(request, state)
        })
    }

    /// The phase `route`.
    ///
    /// # Errors
    /// The request does not go on.
    pub fn route(&mut self) -> Result<(), Stop> {
        self.on_request(Phases::ROUTE, |hook, request, state| {
            hook.route(request, state)
        })
    }

    /// The phase `authenticate`: what a hook says, if one knows. `limit` is ready when they have had [`MAX_WAIT`].
    ///
    /// # Errors
    /// The request does not go on.
    pub async fn authenticate(
        &mut self,
        credentials: &Credentials<'_>,
        mut limit: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Authentication, Stop> {
        let mut hooks = self.waiting(Phases::AUTHENTICATE);
        while let Some((hook, request, state)) = hooks.next() {
            let said = hook.authenticate(credentials, &request, state);
            match unless_panic(said, limit.as_mut()).await {
                Ok(Authentication::Unknown) => {}
                Ok(said) => return Ok(said),
                Err(error) => {
                    return Err(Stop::failed(hook.name(), Phases::AUTHENTICATE, &error));
                }
            }
        }
        Ok(Authentication::Unknown)
    }

    /// The phase `resolve`: the addresses that a hook gives. `limit` is ready when they have had [`MAX_WAIT`].
    ///
    /// # Errors
    /// The request does not go on.
    pub async fn resolve(
        &mut self,
        mut limit: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<Vec<IpAddr>>, Stop> {
        let mut hooks = self.waiting(Phases::RESOLVE);
        while let Some((hook, request, state)) = hooks.next() {
            let error = match unless_panic(hook.resolve(&request, state), limit.as_mut()).await {
                Ok(Resolution::Default) => continue,
                Ok(Resolution::Addresses(addresses)) if !addresses.is_empty() => {
                    return Ok(Some(addresses));
                }
                Ok(Resolution::Addresses(_)) => HookError::new("it gave no address"),
                Err(error) => error,
            };
            return Err(Stop::failed(hook.name(), Phases::RESOLVE, &error));
        }
        Ok(None)
    }

    /// The hooks of a phase that takes time, with what each is called with.
    fn waiting(&mut self, phase: Phases) -> Waiting<'_> {
        Waiting {
            run: self,
            phase,
            next: 0,
        }
    }

    /// The phase `upstream_request`; then all edits of the request are applied to `head`.
    ///
    /// # Errors
    /// The request does not go on.
    pub fn upstream_request(&mut self, head: &mut impl OutgoingFields) -> Result<(), Stop> {
        let edits = &mut self.notes.request;
        edits.truncate(*self.edits_before.get_or_insert(edits.len()));
        self.on_request(Phases::UPSTREAM_REQUEST, |hook, request, state| {
            hook.upstream_request(request, state)
        })?;
        self.notes.request.apply(head);
        Ok(())
    }

    /// The phase `response`; then its edits are in what is returned.
    ///
    /// # Errors
    /// The response is replaced.
    pub fn response(
        &mut self,
        status: StatusCode,
        fields: &HeaderMap,
    ) -> Result<ResponseEdits, Stop> {
        let mut edits = Edits::default();
        self.each(Phases::RESPONSE, |hook, request, state| {
            let mut response = Response {
                request,
                status,
                fields,
                edits: &mut edits,
            };
            hook.response(&mut response, state)
        })?;
        Ok(ResponseEdits(edits))
    }

    /// The phase `tunnel_open`.
    ///
    /// # Errors
    /// The tunnel is not opened.
    pub fn tunnel_open(&mut self) -> Result<(), Stop> {
        let mut report_every = None;
        self.each(Phases::TUNNEL_OPEN, |hook, request, state| {
            let mut tunnel = Tunnel {
                request,
                report_every: &mut report_every,
                total: Traffic::default(),
                hello: None,
            };
            hook.tunnel_open(&mut tunnel, state)
        })?;
        self.report_every = report_every;
        Ok(())
    }

    /// The bytes after which a hook wants `tunnel_bytes`.
    pub fn report_every(&self) -> Option<u64> {
        self.report_every
    }

    /// The phase `tunnel_hello`: the hook that cuts the tunnel, if one does. Later phases see the hello too.
    pub fn tunnel_hello(&mut self, hello: &Arc<Hello>) -> Option<Stop> {
        self.hello = Some(Arc::clone(hello));
        let mut report_every = None;
        let total = self.total;
        let stopped = self.each(Phases::TUNNEL_HELLO, |hook, request, state| {
            let mut tunnel = Tunnel {
                request,
                report_every: &mut report_every,
                total,
                hello: Some(hello),
            };
            Ok(flow(hook.tunnel_hello(&mut tunnel, state)?))
        });
        stopped.err()
    }

    /// The phase `tunnel_bytes`: the hook that cuts the tunnel, if one does.
    pub fn tunnel_bytes(&mut self, moved: Traffic) -> Option<Stop> {
        let mut report_every = None;
        self.total.bytes_from_client += moved.bytes_from_client;
        self.total.bytes_from_upstream += moved.bytes_from_upstream;
        let (total, hello) = (self.total, self.hello.clone());
        let stopped = self.each(Phases::TUNNEL_BYTES, |hook, request, state| {
            let mut tunnel = Tunnel {
                request,
                report_every: &mut report_every,
                total,
                hello: hello.as_ref(),
            };
            Ok(flow(hook.tunnel_bytes(&mut tunnel, moved, state)?))
        });
        stopped.err()
    }

    /// The phase `tunnel_close`. A hook that fails comes back.
    pub fn tunnel_close(&mut self, total: Traffic) -> Option<Stop> {
        let mut report_every = None;
        let hello = self.hello.clone();
        let closed = self.each(Phases::TUNNEL_CLOSE, |hook, request, state| {
            let mut tunnel = Tunnel {
                request,
                report_every: &mut report_every,
                total,
                hello: hello.as_ref(),
            };
            hook.tunnel_close(&mut tunnel, total, state)?;
            Ok(Flow::Go)
        });
        closed.err()
    }

    /// The phase `log`. A hook that fails comes back.
    pub fn log(&mut self, status: Option<u16>) -> Option<Stop> {
        let logged = self.on_request(Phases::LOG, |hook, request, state| {
            hook.log(request, status, state)?;
            Ok(Flow::Go)
        });
        logged.err()
    }

    fn on_request(
        &mut self,
        phase: Phases,
        call: impl Fn(&dyn Erased, &mut Request<'_>, &mut dyn Any) -> Outcome,
    ) -> Result<(), Stop> {
        self.each(phase, |hook, mut request, state| {
            call(hook, &mut request, state)
        })
    }

    /// Calls each hook that has the phase, until one stops the request. A panic is a failure.
    fn each(
        &mut self,
        phase: Phases,
        mut call: impl FnMut(&dyn Erased, Request<'_>, &mut dyn Any) -> Outcome,
    ) -> Result<(), Stop> {
        if !self.has(phase) {
            return Ok(());
        }
        let hooks = self.set.hooks.iter().zip(&mut self.states);
        for ((phases, hook), state) in hooks {
            if !phases.has(phase) {
                continue;
            }
            let request = Request {
                phase,
                facts: &self.facts,
                user: self.user.as_ref(),
                groups: self.groups.as_ref(),
                notes: &mut self.notes,
            };
            // What a hook that panics leaves behind is of this request alone, which ends.
            let called = AssertUnwindSafe(|| call(&**hook, request, state.as_mut()));
            let outcome = catch_unwind(called).unwrap_or_else(|_panic| Err(panicked()));
            self.notes.choices_are_of(hook.name(), phase.name());
            let how = match outcome {
                Ok(Flow::Go) => continue,
                Ok(Flow::Deny(denial)) => How::Denied(denial),
                Ok(Flow::Answer(answer)) => How::Answered(answer),
                Err(error) => How::of(&error),
            };
            return Err(Stop {
                by: hook.name().into(),
                phase: phase.name(),
                how,
            });
        }
        Ok(())
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("set", &self.set)
            .finish_non_exhaustive()
    }
}

/// A tunnel that is cut is denied.
fn flow(flow: TunnelFlow) -> Flow {
    match flow {
        TunnelFlow::Go => Flow::Go,
        TunnelFlow::Cut => Flow::Deny(Denial::new()),
    }
}

/// The edits of a response.
#[derive(Debug)]
pub struct ResponseEdits(Edits);

impl ResponseEdits {
    /// Applies them.
    pub fn apply(&self, head: &mut impl OutgoingFields) {
        self.0.apply(head);
    }
}

/// See [`Run::waiting`].
struct Waiting<'r> {
    run: &'r mut Run,
    phase: Phases,
    next: usize,
}

impl Waiting<'_> {
    fn next(&mut self) -> Option<(&dyn Erased, Request<'_>, &mut (dyn Any + Send + Sync))> {
        let hooks = self.run.set.hooks.iter().enumerate().skip(self.next);
        let phase = self.phase;
        let found = hooks.into_iter().find(|(_, (phases, _))| phases.has(phase));
        let (at, (_, hook)) = found?;
        self.next = at + 1;
        let request = Request {
            phase,
            facts: &self.run.facts,
            user: self.run.user.as_ref(),
            groups: self.run.groups.as_ref(),
            notes: &mut self.run.notes,
        };
        let state = self.run.states.get_mut(at)?;
        Some((&**hook, request, state.as_mut()))
    }
}

/// The result of a hook, whose panic is a failure, as is one that takes too long.
async fn unless_panic<T>(
    mut future: Boxed<'_, T>,
    mut limit: Pin<&mut impl Future<Output = ()>>,
) -> Outcome<T> {
    poll_fn(|cx| {
        let polled = AssertUnwindSafe(|| future.as_mut().poll(cx));
        let polled = catch_unwind(polled).unwrap_or_else(|_panic| Poll::Ready(Err(panicked())));
        if polled.is_pending() && limit.as_mut().poll(cx).is_ready() {
            let why = format!("no result in {} seconds", MAX_WAIT.as_secs());
            return Poll::Ready(Err(HookError::new(why)));
        }
        polled
    })
    .await
}

fn panicked() -> HookError {
    HookError::new("it panicked")
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_hook_that_never_answers_fails_when_its_time_is_over() {
        let late: Boxed<'_, ()> = Box::pin(pending());
        assert_eq!(
            at_the_limit(late).unwrap_err().reason(),
            "no result in 10 seconds"
        );
        // One that has its result in time has it.
        let done: Boxed<'_, u8> = Box::pin(async { Ok(7) });
        assert_eq!(at_the_limit(done).unwrap(), 7);
    }

    /// What comes of a future when its time is over.
    fn at_the_limit<T>(future: Boxed<'_, T>) -> Outcome<T> {
        let limit = pin!(ready(()));
        match pin!(unless_panic(future, limit)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("it waits"),
        }
    }
}
