//! What is known of a request from its head. Nothing here changes.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::http::http1::KeptHead;
use crate::http::role::Role;
use crate::http::target::{Authority, Scheme};

/// The facts of one request, made once and shared by all that look at it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The id that the client can quote.
    pub(crate) id: Box<str>,
    pub(crate) role: Role,
    /// In capitals: a server may take `put` for PUT.
    pub(crate) method: Box<str>,
    pub(crate) version: &'static str,
    /// That of the target, else of the connection.
    pub(crate) scheme: Scheme,
    /// None for the gateway.
    pub(crate) authority: Option<Authority>,
    pub(crate) client: SocketAddr,
    /// Whether the client's connection is encrypted.
    pub(crate) tls: bool,
    pub(crate) head: Arc<KeptHead>,
}
