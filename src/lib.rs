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
//!
//! A program that embeds Tollgate sees [`Proxy`], and [`hook`] to change what it does:
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let proxy = tollgate::Proxy::builder().config_file("conf/pingora.yaml")?;
//! proxy.build().run()
//! # }
//! ```

mod access;
mod admin;
mod balances;
pub mod cli;
mod client;
mod config;
mod downstream;
mod explain;
mod hello;
pub mod hook;
mod http;
#[cfg(any(test, feature = "internals"))]
#[doc(hidden)]
pub mod internals;
mod proxy;
mod request;
mod script;
mod server;
mod socks5;
mod telemetry;
mod text;
mod top;
mod tunnel;
mod upstream;

pub use config::{Config, ConfigError};
pub use proxy::{Builder, Configured, Proxy};
pub use server::Running;
