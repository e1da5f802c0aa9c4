//! What is known of a request from its head. Nothing here changes.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Method;

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
    pub(crate) method: Method,
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

/// The method in capitals.
pub fn in_capitals(method: &Method) -> Method {
    let text = method.as_str();
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return method.clone();
    }
    let capitals = Method::from_bytes(text.to_ascii_uppercase().as_bytes());
    capitals.unwrap_or_else(|_never| method.clone())
}
