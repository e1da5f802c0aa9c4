//! What Pingora's hooks share for one request.

use std::sync::Arc;

use pingora_core::{Error, ErrorType, Result};

use super::verification::Verification;
use crate::client::ConnectionReturn;
use crate::request::admit::Admitted;
use crate::request::outcome::Exchange;
use crate::request::route::Route;
use crate::upstream::limit::Permit;
use crate::upstream::server::Server;

/// The request, once Pingora has called `on_connection_reuse`. It makes the context before.
#[derive(Debug, Default)]
pub struct Context(pub(super) Option<Box<Forwarded>>);

impl Context {
    /// # Errors
    /// There is none: the request did not come through `dispatch`.
    pub(super) fn forwarded(&mut self) -> Result<&mut Forwarded> {
        let forwarded = self.0.as_deref_mut();
        forwarded.ok_or_else(|| Error::explain(ErrorType::InternalError, "a request without facts"))
    }
}

/// One request in Pingora's hands.
#[derive(Debug)]
pub struct Forwarded {
    /// Its facts, and what has become of it.
    pub(in super::super) exchange: Exchange,
    /// Where the client's connection comes back.
    pub(super) connection: Arc<ConnectionReturn>,
    /// Made by `request_filter` alone: without it, `upstream_peer` refuses. Dropped with the first byte of the
    /// response, since there is no other address after that.
    pub(super) admitted: Option<Admitted>,
    /// Made by `upstream_peer`.
    pub(super) route: Option<Route>,
    /// What the request has at its upstream or origin.
    pub(super) permit: Option<Permit>,
    /// Upstreams that did not accept this request.
    pub(super) failed: Vec<Server>,
    /// The permit of a try that is repeated at the same server.
    pub(super) again: Option<Permit>,
    /// How the certificate of a server with TLS is verified; none before that is chosen.
    pub(super) verification: Option<Verification>,
    /// Whether it was verified the other way before.
    pub(super) is_verified_otherwise: bool,
    /// Whether the response is a refusal (4xx, 5xx).
    pub(super) is_error_response: bool,
    /// Interim responses so far.
    pub(super) interim: usize,
}

impl Forwarded {
    /// A request that comes on the connection that goes back to `connection`.
    pub fn new(exchange: Exchange, connection: Arc<ConnectionReturn>) -> Self {
        Self {
            exchange,
            connection,
            admitted: None,
            route: None,
            permit: None,
            again: None,
            failed: Vec::new(),
            verification: None,
            is_verified_otherwise: false,
            is_error_response: false,
            interim: 0,
        }
    }

    /// Before a try at an upstream, which may be another one, with another certificate or none.
    pub(super) fn forget_verification(&mut self) {
        if matches!(self.route, Some(Route::Pool(_) | Route::Parent(_))) {
            self.verification = None;
            self.is_verified_otherwise = false;
        }
    }

    /// Gives back what the request has at its server.
    pub(super) fn free_permits(&mut self) {
        self.permit = None;
        self.again = None;
    }
}
