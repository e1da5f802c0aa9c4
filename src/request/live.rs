//! What happens now, for the admin service: tunnels, requests, users, sites, upstreams and rules, and all of them at
//! once.
//!
//! What is here looks and closes. It decides about no request, and a request costs what it notes of itself in
//! [`InFlight`], where an admin service is configured.

mod in_flight;
mod look;
mod query;
mod rows;
mod snapshot;
mod views;

pub use self::in_flight::{InFlight, InFlightRequest, State};
pub use self::look::Look;
pub use self::query::{DEFAULT_LIMIT, MAX_LIMIT, Query, TunnelsBy};
pub use self::rows::UpstreamList;
// The description of the API names them.
#[cfg(test)]
pub use self::rows::{
    PolicyReport, RequestList, RequestRow, RuleRow, Snapshot, TunnelList, TunnelRow, UpstreamRow,
};
pub use self::snapshot::{keep_history, snapshot};
pub use self::views::{
    close_tunnel, close_tunnels_of, gauges, policy, requests, tunnels, upstreams,
};

#[cfg(test)]
mod tests;
