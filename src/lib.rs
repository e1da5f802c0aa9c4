//! Tollgate: an authenticated HTTP/HTTPS proxy on Pingora.
//!
//! One port takes absolute-form requests (forward proxy), CONNECT (tunnels) and
//! origin-form requests (gateway to local upstreams). The way of a request:
//!
//! ```text
//! client --> downstream   accept, limits, PROXY header, TLS; one head, read and checked
//!              |
//!            request      authenticate, evaluate the policy (access); then
//!              |            CONNECT, WebSocket     dial, and relay (tunnel)
//!              |            everything else        forward (ProxyHttp), with Pingora's connections
//!            upstream     look-up, dial, the pool of local upstreams, limits
//!              |
//! server <-----+          every request ends with one record (telemetry)
//! ```
//!
//! Folders use those below them only; `docs/architecture.md` has the list, and a
//! test holds it.

pub mod access;
pub mod admin;
pub mod cli;
pub mod client;
pub mod config;
pub mod downstream;
pub mod explain;
pub mod http;
pub mod request;
pub mod server;
pub mod telemetry;
pub mod text;
pub mod tunnel;
pub mod upstream;
