//! Every name that the telemetry shows to the outside. Dashboards, alerts and
//! log pipelines are built on them: a name is added, not changed.
//!
//! To add a metric: a constant here, in [`METRICS`], its making in
//! `metrics.rs`, and a line in `docs/observability.md`. A test compares the
//! three.

/// Counter: requests answered, by role and status code.
pub const REQUESTS_TOTAL: &str = "tollgate_requests_total";
/// Histogram: time from the first byte of a request to the end of its answer;
/// for a tunnel, to its establishment. By role.
pub const REQUEST_DURATION_SECONDS: &str = "tollgate_request_duration_seconds";
/// Counter: requests denied, by the rule that denied them.
pub const DENIED_TOTAL: &str = "tollgate_denied_total";
/// Counter: requests that a rule which only observes would have denied, by rule.
pub const OBSERVED_TOTAL: &str = "tollgate_observed_total";
/// Counter: requests and tunnels that failed, by error kind.
pub const ERRORS_TOTAL: &str = "tollgate_errors_total";
/// Counter: requests whose credentials were missing or wrong, by reason.
pub const AUTH_FAILURES_TOTAL: &str = "tollgate_auth_failures_total";
/// Counter: bytes of content, by role and direction.
pub const BYTES_TOTAL: &str = "tollgate_bytes_total";
/// Gauge: client connections that are open.
pub const OPEN_CONNECTIONS: &str = "tollgate_open_connections";
/// Counter: client connections accepted.
pub const CONNECTIONS_TOTAL: &str = "tollgate_connections_total";
/// Counter: client connections closed before a request was read, by reason.
pub const CONNECTIONS_REJECTED_TOTAL: &str = "tollgate_connections_rejected_total";
/// Gauge: tunnels that are open.
pub const OPEN_TUNNELS: &str = "tollgate_open_tunnels";
/// Counter: tunnels established.
pub const TUNNELS_TOTAL: &str = "tollgate_tunnels_total";
/// Counter: tunnels ended, by reason.
pub const TUNNELS_ENDED_TOTAL: &str = "tollgate_tunnels_ended_total";
/// Histogram: life of tunnels that ended.
pub const TUNNEL_DURATION_SECONDS: &str = "tollgate_tunnel_duration_seconds";
/// Histogram: time to connect to an upstream, name look-up included.
pub const CONNECT_DURATION_SECONDS: &str = "tollgate_connect_duration_seconds";
/// Gauge: requests that wait for a connection to the local pool.
pub const GATEWAY_QUEUE_DEPTH: &str = "tollgate_gateway_queue_depth";
/// Counter: requests that had to wait for a connection to the local pool.
pub const GATEWAY_QUEUED_TOTAL: &str = "tollgate_gateway_queued_total";
/// Histogram: how long those requests waited.
pub const GATEWAY_QUEUE_WAIT_SECONDS: &str = "tollgate_gateway_queue_wait_seconds";
/// Counter: requests, by user.
pub const USER_REQUESTS_TOTAL: &str = "tollgate_user_requests_total";
/// Counter: bytes of content, by user and direction.
pub const USER_BYTES_TOTAL: &str = "tollgate_user_bytes_total";
/// Gauge: tunnels that are open, by user.
pub const USER_OPEN_TUNNELS: &str = "tollgate_user_open_tunnels";
/// Counter: access-log records that were lost, by reason.
pub const LOG_DROPPED_TOTAL: &str = "tollgate_log_dropped_total";
/// Counter: reloads of files, by result.
pub const RELOADS_TOTAL: &str = "tollgate_reloads_total";
/// Gauge: always 1, with the version as a label.
pub const BUILD_INFO: &str = "tollgate_build_info";
/// Counter: processor time used, user and system.
pub const PROCESS_CPU_SECONDS_TOTAL: &str = "process_cpu_seconds_total";
/// Gauge: start of the process as Unix time.
pub const PROCESS_START_TIME_SECONDS: &str = "process_start_time_seconds";
/// Gauge: file descriptors that may be open.
pub const PROCESS_MAX_FDS: &str = "process_max_fds";
/// Gauge: file descriptors that are open (Linux).
pub const PROCESS_OPEN_FDS: &str = "process_open_fds";
/// Gauge: memory that is resident (Linux).
pub const PROCESS_RESIDENT_MEMORY_BYTES: &str = "process_resident_memory_bytes";
/// Gauge: memory that is mapped (Linux).
pub const PROCESS_VIRTUAL_MEMORY_BYTES: &str = "process_virtual_memory_bytes";
/// Gauge: threads of the process (Linux).
pub const PROCESS_THREADS: &str = "process_threads";

/// Every metric.
pub const METRICS: &[&str] = &[
    REQUESTS_TOTAL,
    REQUEST_DURATION_SECONDS,
    DENIED_TOTAL,
    OBSERVED_TOTAL,
    ERRORS_TOTAL,
    AUTH_FAILURES_TOTAL,
    BYTES_TOTAL,
    OPEN_CONNECTIONS,
    CONNECTIONS_TOTAL,
    CONNECTIONS_REJECTED_TOTAL,
    OPEN_TUNNELS,
    TUNNELS_TOTAL,
    TUNNELS_ENDED_TOTAL,
    TUNNEL_DURATION_SECONDS,
    CONNECT_DURATION_SECONDS,
    GATEWAY_QUEUE_DEPTH,
    GATEWAY_QUEUED_TOTAL,
    GATEWAY_QUEUE_WAIT_SECONDS,
    USER_REQUESTS_TOTAL,
    USER_BYTES_TOTAL,
    USER_OPEN_TUNNELS,
    LOG_DROPPED_TOTAL,
    RELOADS_TOTAL,
    BUILD_INFO,
    PROCESS_CPU_SECONDS_TOTAL,
    PROCESS_START_TIME_SECONDS,
    PROCESS_MAX_FDS,
    PROCESS_OPEN_FDS,
    PROCESS_RESIDENT_MEMORY_BYTES,
    PROCESS_VIRTUAL_MEMORY_BYTES,
    PROCESS_THREADS,
];

/// Every field of a JSON line of the access log, in the order written.
pub const LOG_FIELDS: &[&str] = &[
    "time",
    "event",
    "request_id",
    "role",
    "client",
    "user",
    "method",
    "target",
    "version",
    "status",
    "bytes_from_client",
    "bytes_to_client",
    "bytes_from_upstream",
    "duration_seconds",
    "connect_seconds",
    "first_byte_seconds",
    "upstream",
    "error",
    "error_detail",
    "rule",
    "observed",
    "end_reason",
    "referer",
    "user_agent",
];

/// Every key of the statistics; a dot stands between an object and its key.
pub const STATS_KEYS: &[&str] = &[
    "version",
    "uptime_seconds",
    "bandwidth_usage",
    "bandwidth_bytes.from_client",
    "bandwidth_bytes.to_client",
    "bandwidth_bytes.total",
    "total_requests",
    "successful_visits",
    "failed_visits",
    "challenges",
    "open_connections",
    "open_tunnels",
    "total_tunnels",
    "top_sites.url",
    "top_sites.visits",
    "top_sites.max_overcount",
    "users.NAME.requests",
    "users.NAME.bytes_from_client",
    "users.NAME.bytes_to_client",
    "users.NAME.open_tunnels",
    "other_users",
    "log_dropped",
];
