//! `ServerConf`: its keys, and what is said of a wrong value.

use pingora_core::server::configuration::ServerConf;
use serde_json::{Map, Value, json};

/// The keys that src/config/pingora.rs knows and docs/configuration.md describes.
const KEYS: [&str; 34] = [
    "blocking_threads_ttl_seconds",
    "ca_file",
    "client_bind_to_ipv4",
    "client_bind_to_ipv6",
    "daemon",
    "daemon_notify_timeout_seconds",
    "daemon_ready_timeout_seconds",
    "daemon_wait_for_ready",
    "downstream_tls_offload_thread_per_pool",
    "downstream_tls_offload_threadpools",
    "error_log",
    "fast_timeout_to_tokio_threshold_seconds",
    "grace_period_seconds",
    "graceful_shutdown_timeout_seconds",
    "group",
    "listener_tasks_per_fd",
    "max_blocking_threads",
    "max_retries",
    "pid_file",
    "runtime_enable_alt_timer",
    "runtime_metrics_poll_time_histogram",
    "runtime_metrics_poll_time_histogram_buckets",
    "runtime_metrics_poll_time_histogram_resolution_micros",
    "runtime_metrics_poll_time_histogram_scale",
    "threads",
    "upgrade_sock",
    "upgrade_sock_connect_accept_max_retries",
    "upstream_connect_offload_thread_per_pool",
    "upstream_connect_offload_threadpools",
    "upstream_debug_ssl_keylog",
    "upstream_keepalive_pool_size",
    "user",
    "version",
    "work_stealing",
];

/// `config::pingora` takes them from the default value, serialised.
#[test]
fn keys_are_those_that_are_known() {
    let Value::Object(map) = serde_json::to_value(ServerConf::default()).unwrap() else {
        panic!("not a map");
    };
    let keys: Vec<_> = map.keys().map(String::as_str).collect();
    let mut known = KEYS.to_vec();
    known.push("working_directory");
    known.sort_unstable();
    assert_eq!(keys, known);
}

/// `config::pingora` reads each key alone, with the defaults for the rest.
#[test]
fn one_key_is_a_whole_configuration() {
    let conf: ServerConf = serde_json::from_value(json!({ "threads": 3 })).unwrap();
    assert_eq!(conf.threads, 3);
    assert_eq!(conf.max_retries, ServerConf::default().max_retries);
    conf.validate().unwrap();
}

/// `config::pingora` turns what serde expects into words.
#[test]
fn error_of_a_wrong_type_ends_with_what_is_expected() {
    for (key, expected) in [
        ("threads", "expected usize"),
        ("grace_period_seconds", "expected u64"),
        ("daemon_ready_timeout_seconds", "expected a nonzero u64"),
        ("work_stealing", "expected a boolean"),
        ("error_log", "expected a string"),
        ("working_directory", "expected path string"),
        ("client_bind_to_ipv4", "expected a sequence"),
    ] {
        let wrong = json!({ "a": "map" });
        let alone = Map::from_iter([(key.to_owned(), wrong)]);
        let error = serde_json::from_value::<ServerConf>(alone.into()).unwrap_err();
        assert!(error.to_string().ends_with(expected), "{key}: {error}");
    }
}
