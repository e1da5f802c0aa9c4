//! The table of Pingora's keys, which Pingora itself reads.
//!
//! The type is that of Pingora's field; a range is Tollgate's. No reload applies a key.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use pingora_core::server::configuration::{RuntimeMetricsPollTimeHistogramScale, ServerConf};
use serde_json::Value;

use super::super::keys::form::Absent::{self, Is, Means, Required};
#[cfg(test)]
use super::super::keys::shape::Key;

/// The version of the file format; Pingora's too.
const VERSION: u64 = 1;

const DAY_SECONDS: u64 = 86_400;

/// One of Pingora's keys.
pub(in super::super) struct ServerKey {
    pub(in super::super) name: &'static str,
    /// Outside of it Pingora takes a number and then panics on it, or does nothing with it.
    pub(in super::super) range: Option<RangeInclusive<u64>>,
    default: Absent,
    /// What to do about a key for what Tollgate does by itself in place of Pingora.
    pub(in super::super) without_effect: Option<&'static str>,
}

impl ServerKey {
    /// The value of a key that is left out, where it does not depend on anything else.
    pub(super) fn default(&self) -> Option<Value> {
        match self.default {
            // A value of JSON is one of YAML too.
            Is(value) => serde_json::from_str(value).ok(),
            _ => None,
        }
    }
}

macro_rules! server_keys {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $type:ty = $default:expr $(, within $range:expr)? $(, without effect: $remedy:literal)?;
    )+) => {
        /// Pingora's keys.
        pub(in super::super) const KEYS: &[ServerKey] = &[$(ServerKey {
            name: stringify!($name),
            default: $default,
            range: server_keys!(@option $($range)?),
            without_effect: server_keys!(@option $($remedy)?),
        },)+];

        // Each is a key of this version of Pingora.
        $(const _: fn(&ServerConf) -> &$type = |conf| &conf.$name;)+

        /// The keys, for the reference.
        #[cfg(test)]
        pub(in super::super) fn keys() -> Vec<Key> {
            vec![$(Key {
                name: stringify!($name),
                about: concat!($($doc),+).trim(),
                default: $default.into(),
                shape: super::shape::of(stringify!($type), server_keys!(@option $($range)?)),
                on_reload: false,
            },)+]
        }
    };
    (@option $value:expr) => { Some($value) };
    (@option) => { None };
}

server_keys! {
    /// The version of this format.
    version: usize = Required, within VERSION..=VERSION;
    /// Threads of each service.
    threads: usize = Means("processors of the machine"), within 1..=1024;
    /// The [PID file](operations.md#the-pid-file). Its directory must be one that the serving user can write to.
    pid_file: String = Means("`tollgate.pid` in the run directory");
    /// The socket of an [upgrade](operations.md#upgrade-without-downtime), in a directory as that of `pid_file`.
    upgrade_sock: String = Means("`upgrade.sock` in the run directory");
    /// Whether the program starts in the background, as with `-d`.
    daemon: bool = Is("false");
    /// The file that a daemon writes its own messages to, mode 0640 at most; in the foreground they go to standard
    /// error. A directory, FIFO or socket is refused.
    error_log: Option<String> = Means("none: messages of a daemon are lost");
    /// The user that serves after a start by root, with the user's supplementary groups; in the foreground too. See
    /// [serving as another user](operations.md#serving-as-another-user).
    user: Option<String> = Means("that of the caller");
    /// The group that serves after a start by root.
    group: Option<String> = Means("that of the user");
    /// The working directory of a daemon.
    working_directory: Option<PathBuf> = Means("`/`");
    /// Seconds that `-d` waits for the daemon to serve; then `-d` ends it.
    daemon_ready_timeout_seconds: Option<NonZeroU64> = Means("60"), within 1..=DAY_SECONDS;
    /// [PEM](#pem-files): what origins are verified with, certificates of authorities and origins' own certificates.
    ca_file: Option<String> = Means("certificates of the system");
    /// Idle connections to upstreams, for each thread. Pingora's 128 makes a busy proxy open new ones all the time.
    upstream_keepalive_pool_size: usize = Is("1024"), within 1..=1_000_000;
    /// Tries of a request, where trying again is safe.
    max_retries: usize = Is("16"), within 1..=64;
    /// Tasks that accept, for each listener. More help with many processors.
    listener_tasks_per_fd: usize = Is("1"), within 1..=64;
    /// Whether threads share their work, as is Pingora's default. Otherwise a connection stays on one thread, that with
    /// the fewest; [tuning](operations.md#threads) says what that gives and costs.
    work_stealing: bool = Is("false");
    /// IPv4 source addresses of connections to upstreams and origins, in turns.
    client_bind_to_ipv4: Vec<String> = Is("[]");
    /// IPv6 source addresses of connections to upstreams and origins, in turns.
    client_bind_to_ipv6: Vec<String> = Is("[]");
    /// Threads for calls that block, of each runtime.
    max_blocking_threads: Option<usize> = Means("512"), within 1..=65_536;
    /// Seconds after which an idle one of these threads ends.
    blocking_threads_ttl_seconds: Option<u64> = Means("10"), within 1..=DAY_SECONDS;
    /// Pools of threads that connect to upstreams in place of the threads of the service; together with the next key.
    upstream_connect_offload_threadpools: Option<usize> = Means("none"), within 0..=256;
    /// Threads of each such pool.
    upstream_connect_offload_thread_per_pool: Option<usize> = Means("none"), within 0..=256;
    /// Whether TLS keys of connections to upstreams are written to the file that `SSLKEYLOGFILE` in the environment
    /// names. A reader of the file can decrypt the connections.
    upstream_debug_ssl_keylog: bool = Is("false");
    /// Timeouts of more seconds use the timers of Tokio, and not the coarser ones of Pingora; `null`: none does.
    fast_timeout_to_tokio_threshold_seconds: Option<u64> = Is("900");
    /// Whether runtimes use the alternative timer of Tokio; only in a build with `--cfg tokio_unstable`.
    runtime_enable_alt_timer: bool = Is("false");
    /// Whether runtimes keep a histogram of the duration of polls; only in a build with `--cfg tokio_unstable`.
    runtime_metrics_poll_time_histogram: bool = Is("false");
    /// The widths of its buckets: all equal, or each twice the one before.
    runtime_metrics_poll_time_histogram_scale: Option<RuntimeMetricsPollTimeHistogramScale> = Means("that of Tokio");
    /// The width of its first bucket, in microseconds.
    runtime_metrics_poll_time_histogram_resolution_micros: Option<u64> = Means("that of Tokio");
    /// The number of its buckets.
    runtime_metrics_poll_time_histogram_buckets: Option<usize> = Means("that of Tokio");
    /// Without effect: TLS handshakes with clients run on the threads that serve.
    downstream_tls_offload_threadpools: Option<usize> = Means("none"), within 0..=256,
        without effect: "remove it; TLS handshakes with clients run on the threads that serve";
    /// Without effect, as the key before.
    downstream_tls_offload_thread_per_pool: Option<usize> = Means("none"), within 0..=256,
        without effect: "remove it; TLS handshakes with clients run on the threads that serve";
    /// Without effect: `timeouts.drain` bounds a shutdown.
    grace_period_seconds: Option<u64> = Means("none"), within 0..=7 * DAY_SECONDS,
        without effect: "remove it; tollgate.timeouts.drain bounds a shutdown";
    /// Without effect: `timeouts.drain` bounds a shutdown.
    graceful_shutdown_timeout_seconds: Option<u64> = Means("none"), within 0..=DAY_SECONDS,
        without effect: "remove it; tollgate.timeouts.drain bounds a shutdown";
    /// Without effect: `-d` always waits.
    daemon_wait_for_ready: bool = Is("false"),
        without effect: "remove it; a start in the background always waits until the daemon serves";
    /// Without effect: `daemon_ready_timeout_seconds` bounds a start in the background.
    daemon_notify_timeout_seconds: Option<NonZeroU64> = Means("none"), within 1..=DAY_SECONDS,
        without effect: "remove it; daemon_ready_timeout_seconds bounds a start in the background";
    /// Without effect: each side of an upgrade waits 15 seconds for the other.
    upgrade_sock_connect_accept_max_retries: Option<usize> = Means("none"),
        without effect: "remove it; each side of an upgrade waits 15 seconds for the other";
}
