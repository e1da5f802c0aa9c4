//! Hooks: code of a program that embeds Tollgate, or a script, in the phases of a request.
//!
//! A [`Hook`] names its phases and has a function for each. It sees the facts of a request and changes what goes on:
//! fields, the target, the pool, tags of the log. It can deny a request or answer it. It cannot admit one: the policy
//! and the guard decide after `request` and before `authorize`, and each address is evaluated after `route`.
//!
//! No hook sees `Proxy-Authorization`, nor an `Authorization` that the gateway uses. Framing and hop-by-hop fields
//! cannot be set ([`FieldError::Protected`]). A panic costs the request that caused it, which gets 500.
//!
//! Pure: no I/O, no Pingora types. The folder `request` calls it.

mod answer;
mod authentication;
mod connection;
mod detached;
mod erased;
mod facts;
mod fields;
mod notes;
mod request;
mod resolution;
mod response;
mod set;
mod stop;
mod tunnel;

use std::any::Any;
use std::fmt;
use std::time::Duration;

pub use self::answer::{Answer, Denial, StatusError};
pub use self::authentication::{Authentication, Credentials};
pub use self::connection::{Connection, ConnectionFlow};
pub(crate) use self::detached::{Detached, Plain, Wish};
pub(crate) use self::facts::{Facts, in_capitals};
pub(crate) use self::fields::{CheckedField, OutgoingFields, name_fault};
pub use self::fields::{FieldError, FieldName};
pub use self::notes::NoteError;
pub(crate) use self::notes::Tag;
pub(crate) use self::request::prefix_fault;
pub use self::request::{PathError, Request};
pub use self::resolution::Resolution;
pub use self::response::Response;
pub use self::set::HookSet;
pub(crate) use self::set::Run;
pub(crate) use self::stop::{How, Stop};
pub use self::tunnel::{ClientHello, Traffic, Tunnel};
pub use crate::http::role::Role;

/// What happens after a hook.
#[derive(Debug)]
pub enum Flow {
    /// The request goes on.
    Go,
    /// The request is denied.
    Deny(Denial),
    /// The client gets this answer, and no server the request.
    Answer(Answer),
}

/// What happens after a hook has seen traffic of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelFlow {
    /// The tunnel goes on.
    Go,
    /// The tunnel ends, and both sides are reset.
    Cut,
}

impl TunnelFlow {
    /// Cuts the tunnel under this condition.
    pub fn cut_if(condition: bool) -> Self {
        if condition {
            TunnelFlow::Cut
        } else {
            TunnelFlow::Go
        }
    }
}

/// How long the hooks of a request have for `authenticate`, and for `resolve`. A hook that takes longer fails.
pub const MAX_WAIT: Duration = Duration::from_secs(10);

/// Why a hook failed: any error. The request gets 500, and the log the reason. With [`PathError::Ambiguous`] it gets 400:
/// the client sent what the hook cannot decide about.
///
/// An `anyhow::Error` is no `std::error::Error`: `map_err(|error| HookError::new(format!("{error:#}")))`.
#[derive(Debug)]
pub struct HookError {
    reason: Box<str>,
    is_of_request: bool,
}

impl HookError {
    /// An error with this reason for the log.
    pub fn new(reason: impl Into<Box<str>>) -> Self {
        Self {
            reason: reason.into(),
            is_of_request: false,
        }
    }

    /// The same, where the request is at fault and no hook.
    pub(crate) fn of_request(reason: impl Into<Box<str>>) -> Self {
        Self {
            reason: reason.into(),
            is_of_request: true,
        }
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub(crate) fn is_of_request(&self) -> bool {
        self.is_of_request
    }
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl<E: std::error::Error + 'static> From<E> for HookError {
    fn from(error: E) -> Self {
        let path: Option<&PathError> = (&error as &dyn Any).downcast_ref();
        Self {
            is_of_request: path == Some(&PathError::Ambiguous),
            reason: error.to_string().into(),
        }
    }
}

/// What a phase returns.
pub type Outcome<T = Flow> = Result<T, HookError>;

/// A set of phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases(u16);

impl Phases {
    /// No phase.
    pub const NONE: Phases = Phases(0);
    /// The head is checked; the client is not authenticated. The target can be changed.
    pub const REQUEST: Phases = Phases(1);
    /// The policy admits the request.
    pub const AUTHORIZE: Phases = Phases(1 << 1);
    /// The way of the request is chosen.
    pub const ROUTE: Phases = Phases(1 << 2);
    /// The request is about to be sent upstream.
    pub const UPSTREAM_REQUEST: Phases = Phases(1 << 3);
    /// The head of the final response is here.
    pub const RESPONSE: Phases = Phases(1 << 4);
    /// The tunnel is connected; the client has no answer.
    pub const TUNNEL_OPEN: Phases = Phases(1 << 5);
    /// Bytes went through the tunnel.
    pub const TUNNEL_BYTES: Phases = Phases(1 << 6);
    /// The tunnel has ended.
    pub const TUNNEL_CLOSE: Phases = Phases(1 << 7);
    /// The record is about to be written.
    pub const LOG: Phases = Phases(1 << 8);
    /// A connection is accepted; no byte of HTTP is read.
    pub const CONNECTION: Phases = Phases(1 << 9);
    /// The addresses of the target's host are looked up.
    pub const RESOLVE: Phases = Phases(1 << 10);
    /// The client is authenticated.
    pub const AUTHENTICATE: Phases = Phases(1 << 11);
    /// The ClientHello in a tunnel is read.
    pub const TUNNEL_HELLO: Phases = Phases(1 << 12);

    /// The names of all phases, in the order in which they run.
    pub const NAMES: [(&'static str, Phases); 13] = [
        ("connection", Phases::CONNECTION),
        ("request", Phases::REQUEST),
        ("authenticate", Phases::AUTHENTICATE),
        ("authorize", Phases::AUTHORIZE),
        ("route", Phases::ROUTE),
        ("resolve", Phases::RESOLVE),
        ("upstream_request", Phases::UPSTREAM_REQUEST),
        ("response", Phases::RESPONSE),
        ("tunnel_open", Phases::TUNNEL_OPEN),
        ("tunnel_hello", Phases::TUNNEL_HELLO),
        ("tunnel_bytes", Phases::TUNNEL_BYTES),
        ("tunnel_close", Phases::TUNNEL_CLOSE),
        ("log", Phases::LOG),
    ];

    /// Every phase.
    pub const ALL: Phases = Phases((1 << Self::NAMES.len()) - 1);

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Phases) -> Phases {
        Phases(self.0 | other.0)
    }

    /// Whether a phase of `other` is in the set.
    pub const fn has(self, other: Phases) -> bool {
        self.0 & other.0 != 0
    }

    /// The name of a set of one phase.
    pub(crate) fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, phase)| *phase == self);
        named.map_or("phases", |(name, _)| name)
    }
}

/// Code in the phases of requests.
///
/// Each function gets the state of this hook for this request, which begins as the default. A phase that is not in
/// [`phases`](Hook::phases) is not called.
pub trait Hook: Send + Sync + 'static {
    /// What the hook keeps from one phase of a request to the next.
    type State: Default + Send + Sync + 'static;

    /// The name in the log and in metrics: that of the type, unless it is another one.
    fn name(&self) -> &str {
        let name = std::any::type_name::<Self>();
        let name = name.split('<').next().unwrap_or(name);
        name.rsplit("::").next().unwrap_or(name)
    }

    /// The phases in which it is called, read once. Those alone that it has functions for cost less; **a function whose
    /// phase is missing here is never called**, so that a denial in it never applies.
    fn phases(&self) -> Phases {
        Phases::ALL
    }

    /// A connection is accepted; PROXY header and TLS handshake are over. It has no state: there is no request yet.
    ///
    /// # Errors
    /// The connection is closed.
    fn connection(&self, _: &Connection) -> Outcome<ConnectionFlow> {
        Ok(ConnectionFlow::Go)
    }

    /// The head is checked, and the client is not authenticated. [`Request::set_target`] changes the target here.
    ///
    /// # Errors
    /// The request gets 500.
    fn request(&self, _: &mut Request<'_>, _: &mut Self::State) -> Outcome {
        Ok(Flow::Go)
    }

    /// The client is authenticated: before tokens, passwords and trusted networks of the configuration. The only phase
    /// that sees credentials. May take time, and is called for each request: it keeps a cache of its own where it needs
    /// one.
    ///
    /// # Errors
    /// The request gets 500.
    fn authenticate(
        &self,
        _: &Credentials<'_>,
        _: &Request<'_>,
        _: &mut Self::State,
    ) -> impl Future<Output = Outcome<Authentication>> + Send {
        async { Ok(Authentication::Unknown) }
    }

    /// The client is authenticated, and the policy admits the request. [`Flow::Deny`] tightens the decision.
    ///
    /// # Errors
    /// The request gets 500.
    fn authorize(&self, _: &mut Request<'_>, _: &mut Self::State) -> Outcome {
        Ok(Flow::Go)
    }

    /// The way is chosen: [`Request::use_pool`]. Names are resolved and addresses evaluated after it.
    ///
    /// # Errors
    /// The request gets 500.
    fn route(&self, _: &mut Request<'_>, _: &mut Self::State) -> Outcome {
        Ok(Flow::Go)
    }

    /// The addresses of the target's host are looked up: not in the role gateway, and not for a host that is an
    /// address. May take time: other requests do not wait for it.
    ///
    /// # Errors
    /// The request gets 500.
    fn resolve(
        &self,
        _: &Request<'_>,
        _: &mut Self::State,
    ) -> impl Future<Output = Outcome<Resolution>> + Send {
        async { Ok(Resolution::Default) }
    }

    /// The request is about to be sent. Not for CONNECT, which sends none.
    ///
    /// # Errors
    /// The request gets 500.
    fn upstream_request(&self, _: &mut Request<'_>, _: &mut Self::State) -> Outcome {
        Ok(Flow::Go)
    }

    /// The head of the final response of a server is here. An answer or a denial replaces the response as a whole.
    ///
    /// # Errors
    /// The request gets 500.
    fn response(&self, _: &mut Response<'_>, _: &mut Self::State) -> Outcome {
        Ok(Flow::Go)
    }

    /// The upstream of a tunnel is connected, and the client has no answer yet.
    ///
    /// # Errors
    /// The request gets 500.
    fn tunnel_open(&self, _: &mut Tunnel<'_>, _: &mut Self::State) -> Outcome {
        Ok(Flow::Go)
    }

    /// The ClientHello in a tunnel is read, and none of its bytes has gone upstream: [`Tunnel::hello`]. Only where the
    /// configuration has it read: `tunnel`, globally or of the rule.
    ///
    /// # Errors
    /// The tunnel is cut.
    fn tunnel_hello(&self, _: &mut Tunnel<'_>, _: &mut Self::State) -> Outcome<TunnelFlow> {
        Ok(TunnelFlow::Go)
    }

    /// Bytes went through a tunnel. Called from time to time; `moved` is what passed since the last call.
    ///
    /// # Errors
    /// The tunnel is cut.
    fn tunnel_bytes(
        &self,
        _: &mut Tunnel<'_>,
        _moved: Traffic,
        _: &mut Self::State,
    ) -> Outcome<TunnelFlow> {
        Ok(TunnelFlow::Go)
    }

    /// A tunnel has ended; `total` is what passed in all of its life.
    ///
    /// # Errors
    /// The log has the reason.
    fn tunnel_close(
        &self,
        _: &mut Tunnel<'_>,
        _total: Traffic,
        _: &mut Self::State,
    ) -> Outcome<()> {
        Ok(())
    }

    /// The record of the request is about to be written: tags can be added. `status` is that of the answer; none
    /// without one.
    ///
    /// # Errors
    /// The log has the reason.
    fn log(&self, _: &mut Request<'_>, _status: Option<u16>, _: &mut Self::State) -> Outcome<()> {
        Ok(())
    }
}
