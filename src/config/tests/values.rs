//! Every key is compared by a reload: each is changed alone, and that one is named.

use std::collections::BTreeSet;

use serde_yaml::Value;

use super::Setup;
use crate::config::keys::shape::{DefaultText, Key, Shape};
use crate::config::units::{show_duration, show_size};
use crate::config::{Changes, reference, yaml};

const BASE: &str = "
version: 1
tollgate:
  listeners:
    - { address: '127.0.0.1:8888', tls: { certificate: cert.pem, key: key.pem, client_ca: ca.pem, certificate_user: san_dns } }
    - { address: '127.0.0.1:8889' }
  admin: { address: '127.0.0.1:9188' }
  auth:
    htpasswd: users
    tokens: { issuers: [{ issuer: i, jwks: 'https://i.test/', audience: a, user_prefix: 'p:' }] }
    external: { url: 'http://127.0.0.1:9000/', ask: always }
  secrets: { NAME: { file: secret } }
  parents: { NAME: { urls: ['http://10.0.0.1:3128'] } }
  limits: { store: { file: quota.redb } }
  pac: { proxy: 'PROXY a.test:1' }
";

/// Where `reload` has no part.
const RESTART: [(&str, &str); 95] = [
    ("daemon", "true"),
    ("error_log", "error.log"),
    ("pid_file", "p"),
    ("upgrade_sock", "u"),
    ("user", "nobody"),
    ("group", "nogroup"),
    ("working_directory", "."),
    ("threads", "7"),
    ("listener_tasks_per_fd", "2"),
    ("work_stealing", "true"),
    ("runtime_enable_alt_timer", "true"),
    ("ca_file", "cert.pem"),
    ("grace_period_seconds", "3"),
    ("graceful_shutdown_timeout_seconds", "3"),
    ("client_bind_to_ipv4", "[127.0.0.1]"),
    ("client_bind_to_ipv6", "['::1']"),
    ("upstream_keepalive_pool_size", "9"),
    ("upstream_connect_offload_threadpools", "1"),
    ("upstream_connect_offload_thread_per_pool", "1"),
    ("downstream_tls_offload_threadpools", "1"),
    ("downstream_tls_offload_thread_per_pool", "1"),
    ("upstream_debug_ssl_keylog", "true"),
    ("max_retries", "3"),
    ("upgrade_sock_connect_accept_max_retries", "3"),
    ("max_blocking_threads", "3"),
    ("blocking_threads_ttl_seconds", "3"),
    ("fast_timeout_to_tokio_threshold_seconds", "3"),
    ("runtime_metrics_poll_time_histogram", "true"),
    ("runtime_metrics_poll_time_histogram_resolution_micros", "3"),
    ("runtime_metrics_poll_time_histogram_buckets", "3"),
    ("daemon_wait_for_ready", "true"),
    ("daemon_ready_timeout_seconds", "3"),
    ("daemon_notify_timeout_seconds", "3"),
    ("tollgate.listeners[0].address", "'127.0.0.1:8890'"),
    ("tollgate.listeners[1].proxy_protocol", "true"),
    ("tollgate.listeners[1].http2", "false"),
    ("tollgate.listeners[1].socks5", "also"),
    ("tollgate.admin.address", "'127.0.0.1:9189'"),
    ("tollgate.auth.realm", "other"),
    ("tollgate.auth.cache_ttl", "6m"),
    ("tollgate.auth.cache_entries", "7"),
    ("tollgate.auth.hash_threads", "7"),
    ("tollgate.auth.hash_queue", "7"),
    ("tollgate.gateway.upstreams", "['127.0.0.1:80']"),
    (
        "tollgate.gateway.pools",
        "[{ name: api, path: /api, upstreams: ['127.0.0.1:80'] }]",
    ),
    ("tollgate.gateway.max_connections_per_upstream", "7"),
    ("tollgate.gateway.queue_timeout", "7s"),
    ("tollgate.gateway.health_check.interval", "7s"),
    ("tollgate.gateway.health_check.timeout", "7s"),
    ("tollgate.gateway.health_check.path", "/up"),
    ("tollgate.gateway.health_check.host", "a.test"),
    ("tollgate.gateway.health_check.status", "200"),
    ("tollgate.gateway.user_field", "X-User"),
    ("tollgate.gateway.proxy_protocol", "v2"),
    ("tollgate.gateway.http2", "only"),
    ("tollgate.origin_http2", "auto"),
    ("tollgate.gateway.forwarded.forwarded", "replace"),
    ("tollgate.gateway.forwarded.x_forwarded_for", "remove"),
    ("tollgate.gateway.forwarded.trusted", "[192.0.2.7]"),
    ("tollgate.pac.path", "/auto.pac"),
    ("tollgate.pac.proxy", "PROXY b.test:1"),
    ("tollgate.pac.direct", "[.a.test]"),
    ("tollgate.pac.authentication", "required"),
    ("tollgate.dns.servers", "[127.0.0.1]"),
    ("tollgate.dns.timeout", "7s"),
    ("tollgate.dns.cache_entries", "7"),
    ("tollgate.timeouts.request_head", "7s"),
    ("tollgate.timeouts.request_body", "7s"),
    ("tollgate.timeouts.connect", "7s"),
    ("tollgate.timeouts.response", "7s"),
    ("tollgate.timeouts.send", "7s"),
    ("tollgate.timeouts.tunnel_idle", "7s"),
    ("tollgate.timeouts.keep_alive", "7s"),
    ("tollgate.timeouts.tls_handshake", "7s"),
    ("tollgate.timeouts.drain", "7s"),
    ("tollgate.timeouts.upstream_keep_alive", "7s"),
    ("tollgate.limits.max_connections", "7"),
    ("tollgate.limits.streams_per_connection", "7"),
    ("tollgate.limits.connections_per_origin", "7"),
    ("tollgate.limits.request_head", "32KiB"),
    ("tollgate.limits.request_target", "7KiB"),
    ("tollgate.limits.request_fields", "7"),
    ("tollgate.limits.request_body", "7MiB"),
    ("tollgate.limits.store.file", "other.redb"),
    ("tollgate.limits.store.on_failure", "deny"),
    ("tollgate.limits.store.prefix", "other"),
    ("tollgate.limits.store.timeout", "1s"),
    ("tollgate.log.access", "access.log"),
    ("tollgate.log.format", "combined"),
    ("tollgate.log.tunnel_open", "true"),
    // Other ways to say the same, or a default: no change at all.
    ("=tollgate.timeouts.drain", "30000ms"),
    ("=tollgate.limits.request_body", "none"),
    ("=tollgate.gateway.upstreams", "[]"),
    ("=tollgate.gateway.pools", "[]"),
    ("=tollgate.auth.lockout.window", "60s"),
];

const APPLIED: [(&str, &str); 41] = [
    ("tollgate.listeners[0].tls.certificate", "other.pem"),
    ("tollgate.listeners[0].tls.key", "same.pem"),
    ("tollgate.listeners[0].tls.client_ca", "cert.pem"),
    ("tollgate.listeners[0].tls.client_crl", "[list.crl]"),
    ("tollgate.listeners[0].tls.certificate_user", "cn"),
    (
        "tollgate.listeners[0].tls.certificate_login",
        "with_password",
    ),
    ("tollgate.limits.classes", "[{ name: c, requests: 1/s }]"),
    ("tollgate.limits.time_zone", "Europe/Berlin"),
    (
        "tollgate.scripts",
        "[{ name: s, source: 'fn request(r) { }' }]",
    ),
    ("tollgate.secrets.NAME.file", "other-secret"),
    ("tollgate.parents.NAME.urls", "['http://10.0.0.2:3128']"),
    ("tollgate.parents.NAME.choose", "least"),
    ("tollgate.parents.NAME.names", "client"),
    ("tollgate.parents.NAME.fallback", "direct"),
    ("tollgate.parents.NAME.health.connect", "'a.test:443'"),
    ("tollgate.via", "NAME"),
    ("tollgate.no_proxy", "[a.test]"),
    ("tollgate.auth.htpasswd", "others"),
    ("tollgate.auth.groups", "groups"),
    (
        "tollgate.auth.trusted_networks",
        "[{ networks: [10.1.0.0/16], user: ci }]",
    ),
    (
        "tollgate.auth.tokens.issuers",
        "[{ issuer: i, jwks: 'https://i.test/', audience: a, user_prefix: 'q:' }]",
    ),
    ("tollgate.auth.lockout", "off"),
    ("tollgate.auth.external.url", "'https://a.test/'"),
    ("tollgate.auth.external.mode", "status"),
    ("tollgate.auth.external.ask", "unknown_users"),
    ("tollgate.auth.external.on_failure", "admit"),
    ("tollgate.egress.connect_ports", "any"),
    ("tollgate.egress.http_ports", "[80]"),
    ("tollgate.egress.allow_networks", "[10.0.0.0/8]"),
    ("tollgate.egress.deny_networks", "[8.0.0.0/8]"),
    ("tollgate.egress.allow_domains", "[a.example]"),
    ("tollgate.egress.deny_domains", "[a.example]"),
    ("tollgate.tunnel.sni", "match"),
    ("tollgate.tunnel.non_tls", "deny"),
    ("tollgate.tunnel.ech", "deny"),
    ("tollgate.tunnel.peek", "true"),
    ("tollgate.tunnel.hello_timeout", "3s"),
    ("tollgate.policy.default", "deny"),
    ("tollgate.policy.show_rules", "false"),
    (
        "tollgate.policy.rules",
        "[{ name: r, action: deny, users: [alice], status: 404 }]",
    ),
    (
        "tollgate.policy_tests",
        "[{ user: alice, target: 'example.org:443', expect: admit }]",
    ),
];

/// Keys that cannot be changed alone, or to another value.
const EXCEPT: [&str; 12] = [
    // Both together.
    "tollgate.parents.NAME.user",
    "tollgate.parents.NAME.password",
    "version",
    "s2n_config_cache_size",
    "runtime_metrics_poll_time_histogram_scale",
    // In the place of `certificate` and `key`.
    "tollgate.listeners[0].tls.certificates",
    // In the place of `file`.
    "tollgate.secrets.NAME.env",
    "tollgate.secrets.NAME.credential",
    "tollgate.limits.store.redis",
    // Beside `redis` alone.
    "tollgate.limits.store.user",
    "tollgate.limits.store.password",
    "tollgate.limits.store.ca_file",
];

fn set(document: &mut Value, path: &str, value: Value) {
    let mut at = document;
    for part in path.split('.') {
        let (key, index) = match part.split_once('[') {
            Some((key, index)) => (key, index.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        if at.is_null() {
            *at = Value::Mapping(Default::default());
        }
        at = at
            .as_mapping_mut()
            .unwrap()
            .entry(key.into())
            .or_insert(Value::Null);
        if let Some(index) = index {
            at = &mut at[index];
        }
    }
    *at = value;
}

fn setup() -> Setup {
    let setup = Setup::new();
    setup.file("others", super::DEMO.replace("username", "bob"));
    setup.file("groups", "team: alice\n");
    setup.file("secret", "hunter2\n");
    setup.file("other-secret", "hunter3\n");
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = |name: &str| {
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.self_signed(&key).unwrap().pem()
    };
    setup.file("ca.pem", certificate("ca.test"));
    setup.file("list.crl", super::empty_list().pem().unwrap());
    setup.file("cert.pem", certificate("one.test"));
    setup.file("other.pem", certificate("two.test"));
    setup.file("key.pem", key.serialize_pem());
    setup.file("same.pem", key.serialize_pem());
    setup
}

/// What a reload says when only that key is another one.
fn changes(setup: &Setup, path: &str, value: &str) -> Changes {
    let running = setup.load(BASE).unwrap();
    let mut document: Value = serde_yaml::from_str(BASE).unwrap();
    set(&mut document, path, serde_yaml::from_str(value).unwrap());
    setup.file("f.yaml", serde_yaml::to_string(&document).unwrap());
    let reloaded = running.reloader().reload();
    let reloaded = reloaded.unwrap_or_else(|error| panic!("{path}: {error}"));
    running.values().changes_to(&reloaded.values)
}

#[test]
fn each_key_is_named_when_it_changes() {
    let setup = setup();
    for (path, value) in RESTART {
        let (path, expected) = match path.strip_prefix('=') {
            Some(path) => (path, vec![]),
            None => (path, vec![path.to_owned()]),
        };
        let changes = changes(&setup, path, value);
        assert_eq!(changes.restart_needed, expected, "{path}");
        assert!(changes.applied.is_empty(), "{path}: {changes:?}");
    }
    for (path, value) in APPLIED {
        let changes = changes(&setup, path, value);
        assert_eq!(changes.applied, [path], "{path}");
        assert!(changes.restart_needed.is_empty(), "{path}: {changes:?}");
    }
}

/// Another value for a key that is a number, a size, a duration or a flag.
fn other_value(key: &Key) -> Option<String> {
    let DefaultText::Value(default) = &key.default else {
        return None;
    };
    let (least, most) = match &key.shape {
        Shape::Flag => ("false".to_owned(), "true".to_owned()),
        Shape::Number(range) => (range.start().to_string(), range.end().to_string()),
        Shape::Size(range) => (show_size(*range.start()), show_size(*range.end())),
        Shape::Duration(range) => (show_duration(*range.start()), show_duration(*range.end())),
        _ => return None,
    };
    Some(if *default == least { most } else { least })
}

/// The keys of the tables that such a value is known for, in the maps that the base has.
fn settings() -> Vec<(String, String, bool)> {
    let tables = reference::tables().into_iter();
    let in_base = |path: &str| !path.contains("[]") || path.starts_with("tollgate.listeners[]");
    let keys = tables
        .filter(|table| in_base(&table.path))
        .flat_map(|table| {
            let (path, on_reload) = (table.path, table.on_reload);
            let keys = table.keys.into_iter();
            keys.filter_map(move |key| {
                let path = yaml::join(&path, key.name).replace("[]", "[0]");
                Some((path, other_value(&key)?, on_reload || key.on_reload))
            })
        });
    keys.collect()
}

#[test]
fn each_setting_is_named_when_it_changes() {
    let setup = setup();
    let settings = settings();
    for (path, value, on_reload) in &settings {
        let changes = changes(&setup, path, value);
        let (named, other) = match on_reload {
            true => (changes.applied, changes.restart_needed),
            false => (changes.restart_needed, changes.applied),
        };
        assert_eq!((named, other), (vec![path.clone()], vec![]), "{value}");
    }
    assert!(settings.len() > 25, "{settings:?}");
}

/// A new key that is no such setting needs a row above.
#[test]
fn the_table_has_every_key() {
    let values = setup().load(BASE).unwrap().values();
    let rows = RESTART.into_iter().chain(APPLIED).map(|(path, _)| path);
    let rows = rows.map(|path| path.replace("[1]", "[0]"));
    let settings = settings().into_iter().map(|(path, _, _)| path);
    let rows: BTreeSet<String> = rows.chain(settings).collect();
    let missing: Vec<&str> = values
        .keys()
        .filter(|key| !key.contains("[1]") && !EXCEPT.contains(key))
        // Entries of a list are named as the list.
        .filter(|key| !key.contains(".issuers["))
        .filter(|key| {
            let section = [format!("{key}."), format!("{key}[")];
            !rows
                .iter()
                .any(|row| row == key || section.iter().any(|it| row.starts_with(it)))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// A listener gets TLS with a restart, and loses it so.
#[test]
fn tls_that_begins_or_ends_waits_for_a_restart() {
    let setup = setup();
    let of_first = |names: &[&str]| -> Vec<String> {
        let name = |name: &&str| format!("tollgate.listeners[0].tls.{name}");
        names.iter().map(name).collect()
    };
    let plain = BASE.replace(
        ", tls: { certificate: cert.pem, key: key.pem, client_ca: ca.pem, certificate_user: san_dns }",
        "",
    );
    for (from, to) in [(BASE, &*plain), (&*plain, BASE)] {
        let running = setup.load(from).unwrap();
        setup.file("f.yaml", to);
        let reloaded = running.reloader().reload().unwrap();
        let mut values = running.values();
        // Later reloads say so too.
        for _ in 0..2 {
            let changes = values.changes_to(&reloaded.values);
            let expected = of_first(&["certificate", "certificate_user", "client_ca", "key"]);
            assert_eq!(changes.restart_needed, expected, "{changes:?}");
            assert!(changes.applied.is_empty(), "{changes:?}");
            values.apply(&reloaded.values);
        }
        assert!(reloaded.tls.is_empty());
    }
}

#[test]
fn what_is_in_a_file_counts() {
    let setup = setup();
    let running = setup.load(BASE).unwrap();
    let said = |running: &crate::config::Config| {
        let reloaded = running.reloader().reload().unwrap();
        running.values().changes_to(&reloaded.values)
    };
    assert_eq!(said(&running), Changes::default());
    let other = std::fs::read(setup.directory.path().join("other.pem")).unwrap();
    setup.file("cert.pem", other);
    setup.file(
        "users",
        format!("{}{}", super::ALICE, super::ALICE.replace("alice", "bob")),
    );
    let changes = said(&running);
    assert_eq!(
        changes.applied,
        [
            "tollgate.auth.htpasswd",
            "tollgate.listeners[0].tls.certificate"
        ]
    );
    assert!(changes.restart_needed.is_empty(), "{changes:?}");
    let listed = BASE.to_owned() + "  egress: { deny_domains: ['@list'] }\n";
    setup.file("list", "a.example\n");
    let running = setup.load(&listed).unwrap();
    setup.file("list", "b.example\n");
    let changes = said(&running);
    assert_eq!(changes.applied, ["tollgate.egress.deny_domains"]);
    assert!(changes.restart_needed.is_empty(), "{changes:?}");
    std::fs::remove_file(setup.directory.path().join("key.pem")).unwrap();
    assert_eq!(
        said(&running).not_compared,
        ["tollgate.listeners[0].tls.key"]
    );
}
