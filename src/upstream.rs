//! From an admitted request to a socket: name look-up and dial, the pool of local upstreams, limits.

pub mod certificates;
mod condition;
pub mod dial;
pub mod fetch;
pub(crate) mod handshake;
pub mod limit;
pub mod parent;
pub mod pool;
pub mod proxy_protocol;
pub mod server;
pub mod tls;
