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

/// What is on the wire of client, proxy and origin: TLS, PROXY headers, heads, targets, bodies, framing, HTTP/2.
mod protocol {
    mod bodies;
    mod forwarding_fields;
    mod http2_connection_end;
    mod http2_requests;
    mod http2_tunnels;
    mod http2_websockets;
    mod interim_responses;
    mod malformation_names;
    mod malformed_heads;
    mod proxy_protocol;
    mod proxy_protocol_out;
    mod rejected_heads;
    mod request_targets;
    mod response_fields;
    mod response_framing;
    mod response_streaming;
    mod smuggling;
    mod socks5_handshake;
    mod tls_certificates;
    mod tls_listeners;
    mod tls_sessions;
    mod trailers;
    mod wrong_protocol;
}

/// What each role does for a request: tunnel, forward, gateway, upgrades; and the origins and names that it needs.
mod roles {
    mod connect;
    mod connect_failures;
    mod connection_authentication;
    mod forward;
    mod gateway;
    mod gateway_authentication;
    mod gone_clients;
    mod http2_upstreams;
    mod name_servers;
    mod origin_certificates;
    mod origins;
    mod pac;
    mod real_servers;
    mod socks5;
    mod tunnel_hello;
    mod tunnel_hello_faults;
    mod tunnel_relay;
    mod upgrades;
    mod upstream_connections;
    mod upstream_health;
    mod upstream_health_log;
    mod upstream_kinds;
    mod upstream_names;
    mod upstream_pools;
}

/// Parents: proxies that requests go through.
mod parents {
    mod chain;
    mod choice;
    mod far;
    mod faults;
    mod real;
    mod together;
}

/// Who may do what: Basic authentication, password files, the policy and `tollgate explain`.
mod access {
    mod authorizer;
    mod authorizer_answers;
    mod authorizer_explained;
    mod authorizer_failures;
    mod authorizer_lockout;
    mod authorizer_rule_addresses;
    mod authorizer_rules;
    mod authorizer_rules_checked;
    mod authorizer_status;
    mod authorizer_tokens;
    mod basic_authentication;
    mod class_explanations;
    mod client_certificates;
    mod denial_answers;
    mod denials;
    mod dns_rebinding;
    mod domain_lists;
    mod egress;
    mod explain;
    mod explain_ways;
    mod hash_queue;
    mod injection;
    mod lockout;
    mod nginx_certificate;
    mod password_files;
    mod policy_errors;
    mod policy_warnings;
    mod revoked_certificates;
    mod rule_actions;
    mod rule_matchers;
    mod rule_networks;
    mod rule_paths;
    mod socks5_logins;
    mod token_examples;
    mod token_keys;
    mod token_tunnels;
    mod tokens;
    mod trusted_networks;
    mod users;
    mod verified_credentials;
}

/// Hooks: programs that embed Tollgate and change what it does.
mod programming {
    mod examples;
    mod hooks;
    mod hostile;
    mod panics;
    mod phases;
    mod resolution;
    mod script_commands;
    mod scripts;
    mod secrets;
    mod socks5;
    mod tunnel_hello;
}

/// Time-outs and bounds: what one client, one origin or one upstream can take, and what happens when the system has
/// no more.
mod limits {
    mod balances;
    mod bandwidth;
    mod bandwidth_pauses;
    mod body_size;
    mod class_bytes;
    mod class_configuration;
    mod classes;
    mod client_limits;
    mod client_shares;
    mod file_descriptors;
    mod fleet;
    mod fleet_data;
    mod fleet_failures;
    mod http2_limits;
    mod http2_many_tunnels;
    mod large_download;
    mod local_ports;
    mod quota_command;
    mod quota_store;
    mod quotas;
    mod rate_queue;
    mod real_clients;
    mod requests_per_origin;
    mod response_timeout;
    mod unread_downloads;
    mod unread_http2;
    mod unread_responses;
}

/// The life of the process: start, daemon, signals, drain, upgrade, reload, logs, metrics, the admin listener.
mod operations {
    /// The admin service: its door, its API, its events.
    mod admin {
        mod api;
        mod described;
        mod document;
        mod door;
        mod events;
        mod guarded;
        mod hashed;
        mod level;
        mod load;
    }
    mod admin_connections;
    mod daemon;
    mod daemon_environment;
    mod dashboards;
    mod dual_stack;
    mod instances;
    mod log_command;
    mod log_rotation;
    mod log_services;
    mod records_at_exit;
    mod reload;
    mod reload_reports;
    mod reload_under_load;
    mod signals;
    mod startup_checks;
    mod telemetry;
    mod threads;
    mod times;
    mod tls_commands;
    mod top;
    mod top_changes;
    mod top_once;
    mod traces;
    mod upgrade_under_load;
    mod work_stealing;
}

/// The page of the admin service, in a browser.
mod page {
    mod hostile;
    mod live;
    mod look;
    mod pictures;
}

/// The command line, the YAML file and the files that it names: what is read, and how an error is reported.
mod config {
    mod ca_bundles;
    mod command_line;
    mod misplaced_files;
    mod pem_files;
    mod schema;
    mod system_authorities;
    mod text_files;
    mod yaml;
}

/// Programs that people use, as clients of Tollgate: curl, git, languages, package managers, ssh, other proxies.
mod clients {
    mod child_proxies;
    mod grpc;
    mod haproxy;
    mod http2_websockets;
    mod languages;
    mod package_managers;
    mod programs;
    mod python;
    mod socks5;
    mod ssh;
    mod tokens;
    mod tunnel_hello;
}

mod document_links;
mod guards;
mod pingora;
mod sources;
mod support;
