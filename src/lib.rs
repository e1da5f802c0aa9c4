//! Tollgate: an authenticated HTTP/HTTPS proxy on Pingora.
//!
//! One port takes absolute-form requests (forward proxy), CONNECT (tunnels) and
//! origin-form requests (gateway to local upstreams). The way of a request:
//!
//! ```text
//!            accept, bounds, TLS        read and check one head
//! client --> listener ----------------> listener::connection, http1; http2
//!                                          |            |
//!                                   CONNECT|            |everything else
//!                                          v            v
//!                                       connect      forward (ProxyHttp)
//!                                          |            |
//!                          +---------------+------------+--------+
//!                          v               v                     v
//!                      authorize         dial                 gateway
//!                     auth, policy   resolve, race        pool, queue, origin
//!                          |               |                     |
//!                          v               v                     v
//!                        reply          tunnel           Pingora's connections
//!                          +---------------+---------------------+
//!                                          v
//!                                      telemetry
//! ```
//!
//! Modules use those below them only; `docs/architecture.md` has the list, and a
//! test holds it.

pub mod admin;
pub mod app;
pub mod auth;
pub mod authorize;
pub mod certificates;
pub mod cli;
pub mod client;
pub mod config;
pub mod connect;
pub mod descriptors;
pub mod dial;
pub mod error;
pub mod exchange;
pub mod explain;
pub mod fields;
pub mod forward;
pub mod gateway;
pub mod handover;
pub mod http1;
pub mod http2;
pub mod identity;
pub mod lifecycle;
pub mod listener;
pub mod log_file;
pub mod policy;
pub mod reload;
pub mod reply;
pub mod request_id;
pub mod server;
pub mod slots;
pub mod target;
pub mod telemetry;
pub mod text;
pub mod throttle;
pub mod tunnel;
pub mod upgrade;
