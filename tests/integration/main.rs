//! The integration suite: the real program, black box, byte by byte.
//!
//! `TOLLGATE_BIN` points it at another build than the one Cargo made.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod admin;
mod auth;
mod bodies;
mod bound;
mod bundles;
mod clients;
mod config;
mod connect;
mod cut;
mod daemon;
mod daemon_places;
mod denials;
mod domain_lists;
mod dual_stack;
mod exhausted;
mod explain;
mod explain_ways;
mod forward;
mod forwarding_fields;
mod framing;
mod gateway;
mod guards;
mod hashing;
mod heads;
mod http2;
mod http2_bounds;
mod http2_endings;
mod http2_tunnels;
mod interim;
mod languages;
mod large;
mod limits;
mod links;
mod mixed_files;
mod name_servers;
mod opened;
mod ops;
mod origin_certificates;
mod origin_slots;
mod origins;
mod out_of_ports;
mod packages;
mod parents;
mod password_files;
mod pem;
mod places;
mod policy;
mod policy_check;
mod proxy_protocol;
mod python;
mod rebinding;
mod refusals;
mod refused_heads;
mod regression;
mod reload;
mod reload_keys;
mod reload_load;
mod roots;
mod rotation;
mod rules;
mod silence;
mod smuggling;
mod ssh;
mod stalls;
mod support;
mod targets;
mod telemetry;
mod text_files;
mod threads;
mod timely;
mod tls;
mod tunnel;
mod upstream_messages;
mod users;
mod warnings;
mod wrong_protocol;
mod yaml;
