//! A hook whose state has no type any more, so that hooks of different types are one list.

use std::any::Any;
use std::pin::Pin;

use super::{
    Authentication, Connection, ConnectionFlow, Credentials, Hook, HookError, Outcome, Phases,
    Request, Resolution, Response, Traffic, Tunnel, TunnelFlow,
};

/// A future of a hook.
pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = Outcome<T>> + Send + 'a>>;

/// A hook whose state has no type any more.
pub(super) trait Erased: Send + Sync {
    fn name(&self) -> &str;
    fn phases(&self) -> Phases;
    fn state(&self) -> Box<dyn Any + Send + Sync>;
    fn connection(&self, connection: &Connection) -> Outcome<ConnectionFlow>;
    fn request(&self, request: &mut Request<'_>, state: &mut dyn Any) -> Outcome;
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials<'a>,
        request: &'a Request<'a>,
        state: &'a mut (dyn Any + Send + Sync),
    ) -> Boxed<'a, Authentication>;
    fn resolve<'a>(
        &'a self,
        request: &'a Request<'a>,
        state: &'a mut (dyn Any + Send + Sync),
    ) -> Boxed<'a, Resolution>;
    fn authorize(&self, request: &mut Request<'_>, state: &mut dyn Any) -> Outcome;
    fn route(&self, request: &mut Request<'_>, state: &mut dyn Any) -> Outcome;
    fn upstream_request(&self, request: &mut Request<'_>, state: &mut dyn Any) -> Outcome;
    fn response(&self, response: &mut Response<'_>, state: &mut dyn Any) -> Outcome;
    fn tunnel_open(&self, tunnel: &mut Tunnel<'_>, state: &mut dyn Any) -> Outcome;
    fn tunnel_hello(&self, tunnel: &mut Tunnel<'_>, state: &mut dyn Any) -> Outcome<TunnelFlow>;
    fn tunnel_bytes(
        &self,
        tunnel: &mut Tunnel<'_>,
        moved: Traffic,
        state: &mut dyn Any,
    ) -> Outcome<TunnelFlow>;
    fn tunnel_close(
        &self,
        tunnel: &mut Tunnel<'_>,
        total: Traffic,
        state: &mut dyn Any,
    ) -> Outcome<()>;
    fn log(
        &self,
        request: &mut Request<'_>,
        status: Option<u16>,
        state: &mut dyn Any,
    ) -> Outcome<()>;
}

/// The state of a hook, in its type again.
fn state_of<H: Hook>(state: &mut dyn Any) -> Outcome<&mut H::State> {
    let state = state.downcast_mut();
    state.ok_or_else(|| HookError::new("it has the state of another hook"))
}

impl<H: Hook> Erased for H {
    fn name(&self) -> &str {
        Hook::name(self)
    }

    fn phases(&self) -> Phases {
        Hook::phases(self)
    }

    fn state(&self) -> Box<dyn Any + Send + Sync> {
        Box::new(H::State::default())
    }

    fn connection(&self, connection: &Connection) -> Outcome<ConnectionFlow> {
        Hook::connection(self, connection)
    }

    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials<'a>,
        request: &'a Request<'a>,
        state: &'a mut (dyn Any + Send + Sync),
    ) -> Boxed<'a, Authentication> {
        Box::pin(async move {
            Hook::authenticate(self, credentials, request, state_of::<H>(state)?).await
        })
    }

    fn resolve<'a>(
        &'a self,
        request: &'a Request<'a>,
        state: &'a mut (dyn Any + Send + Sync),
    ) -> Boxed<'a, Resolution> {
        Box::pin(async move { Hook::resolve(self, request, state_of::<H>(state)?).await })
    }

    fn request(&self, request: &mut Request<'_>, state: &mut dyn Any) -> Outcome {
        Hook::request(self, request, state_of::<H>(state)?)
    }

    fn authorize(&self, request: &mut Request<'_>, state: &mut dyn Any) -> Outcome {
        Hook::authorize(self, request, state_of::<H>(state)?)
    }

    fn route(&self, request: &mut Request<'_>, state: &mut dyn Any) -> Outcome {
        Hook::route(self, request, state_of::<H>(state)?)
    }

    fn upstream_request(&self, request: &mut Request<'_>, state: &mut dyn Any) -> Outcome {
        Hook::upstream_request(self, request, state_of::<H>(state)?)
    }

    fn response(&self, response: &mut Response<'_>, state: &mut dyn Any) -> Outcome {
        Hook::response(self, response, state_of::<H>(state)?)
    }

    fn tunnel_open(&self, tunnel: &mut Tunnel<'_>, state: &mut dyn Any) -> Outcome {
        Hook::tunnel_open(self, tunnel, state_of::<H>(state)?)
    }

    fn tunnel_hello(&self, tunnel: &mut Tunnel<'_>, state: &mut dyn Any) -> Outcome<TunnelFlow> {
        Hook::tunnel_hello(self, tunnel, state_of::<H>(state)?)
    }

    fn tunnel_bytes(
        &self,
        tunnel: &mut Tunnel<'_>,
        moved: Traffic,
        state: &mut dyn Any,
    ) -> Outcome<TunnelFlow> {
        Hook::tunnel_bytes(self, tunnel, moved, state_of::<H>(state)?)
    }

    fn tunnel_close(
        &self,
        tunnel: &mut Tunnel<'_>,
        total: Traffic,
        state: &mut dyn Any,
    ) -> Outcome<()> {
        Hook::tunnel_close(self, tunnel, total, state_of::<H>(state)?)
    }

    fn log(
        &self,
        request: &mut Request<'_>,
        status: Option<u16>,
        state: &mut dyn Any,
    ) -> Outcome<()> {
        Hook::log(self, request, status, state_of::<H>(state)?)
    }
}
