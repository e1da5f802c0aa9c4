//! One section after the other: what is taken over, and what is refused.

use std::fs;
use std::time::Duration;

use super::{ALICE, DEMO, Setup, check, with};
use crate::config::Config;
use crate::telemetry::Destination;

#[test]
fn listeners_and_admin() {
    let one = |listeners: &str| {
        format!("version: 1\ntollgate:\n  auth: {{htpasswd: users}}\n  listeners: {listeners}\n")
    };
    let setup = Setup::new();
    for (listeners, expected) in [
        (
            "[]",
            "f.yaml:4: tollgate.listeners: no listener; write a list with `- address: \"127.0.0.1:8888\"`",
        ),
        (
            "127.0.0.1:8888",
            "f.yaml:4: tollgate.listeners: a single value, where a list is expected; write a list with `- address: \"127.0.0.1:8888\"`",
        ),
        (
            "[127.0.0.1:8888]",
            "f.yaml:4: tollgate.listeners[0]: a single value, where a map of keys is expected; write `address: ` before it, as in `- address: \"127.0.0.1:8888\"`",
        ),
        (
            "[{address: 127.0.0.1:65536}]",
            "f.yaml:4: tollgate.listeners[0].address: the port is out of range; write a port from 1 to 65535",
        ),
        (
            "[{address: 8888}]",
            "f.yaml:4: tollgate.listeners[0].address: a port without an address; write \"127.0.0.1:8888\" for programs on this machine, or \"0.0.0.0:8888\" for the network, with your port",
        ),
        (
            "[{address: '[::]:80'}, {address: '127.0.0.1:80'}]",
            "f.yaml:4: tollgate.listeners[1].address: in the way of tollgate.listeners[0].address: [::] takes the connections to every IPv4 address too; give each one its own port, or keep only the one on [::]",
        ),
        (
            "[{address: '[::1]:80', tls: }]",
            "f.yaml:4: tollgate.listeners[0].tls: has no value; write `key: value` lines\n\
             f.yaml:4: tollgate.listeners[0].tls.certificate: missing; name a PEM file, or remove `tls` for a plain listener\n\
             f.yaml:4: tollgate.listeners[0].tls.key: missing; name a PEM file, or remove `tls` for a plain listener",
        ),
    ] {
        assert_eq!(setup.problems(&one(listeners)), expected);
    }
    check(
        "  admin:\n",
        "f.yaml:5: tollgate.admin: has no value; write `key: value` lines\n\
         f.yaml:5: tollgate.admin.address: missing; write one such as \"127.0.0.1:8888\"",
    );
    let config = setup
        .load(&with("  admin: {address: '[::1]:9188'}\n"))
        .unwrap();
    assert_eq!(config.admin_address(), Some("[::1]:9188".parse().unwrap()));
    let own: Vec<_> = config
        .policy
        .guard()
        .own_listeners
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(own, ["127.0.0.1:8888", "[::1]:9188"]);
}

#[test]
fn values_within_their_sections() {
    let setup = Setup::new();
    let config = setup
        .load(&with(
            "  gateway:
    upstreams: [\"127.0.0.1:80\", \"[::1]:80\"]
    max_connections_per_upstream: 9
    queue_timeout: 1s
    health_check: {interval: 3s, timeout: 20ms}
  dns: {servers: [192.0.2.53, \"192.0.2.54:5353\", \"2001:db8::53\", \"[2001:db8::54]\"], timeout: 1s, cache_entries: 7}
  timeouts: {drain: 0s, tunnel_idle: 100ms}
  limits: {request_head: 8KiB, request_body: 1GiB, max_connections: 10}
  log: {access: access.log, format: combined, tunnel_open: true}
",
        ))
        .unwrap();
    assert_eq!(config.gateway.upstreams.len(), 2);
    assert_eq!(
        config.gateway.health_check.timeout,
        Duration::from_millis(20)
    );
    let servers: Vec<_> = config.dns.servers.iter().map(ToString::to_string).collect();
    assert_eq!(
        servers,
        [
            "192.0.2.53:53",
            "192.0.2.54:5353",
            "[2001:db8::53]:53",
            "[2001:db8::54]:53"
        ]
    );
    assert_eq!(config.timeouts.drain, Duration::ZERO);
    assert_eq!(config.timeouts.tunnel_idle, Duration::from_millis(100));
    // The default of a part does not exceed the whole.
    assert_eq!(
        (config.limits.request_head, config.limits.request_target),
        (8192, 8192)
    );
    assert_eq!(config.limits.request_body, Some(1 << 30));
    let log = setup.directory.path().join("access.log");
    assert_eq!(config.log.access, Destination::File(log));
    assert!(config.log.tunnel_open);
}

#[test]
fn values_that_contradict_each_other_or_mean_nothing() {
    check(
        "  limits: {request_head: 4KiB, request_target: 8KiB}\n",
        "f.yaml:5: tollgate.limits.request_target: larger than request_head, which it is a part of; raise request_head or lower this",
    );
    check(
        "  limits: {request_fields: 256, max_connections: 0, request_body: some}\n",
        "f.yaml:5: tollgate.limits.max_connections: out of range; write one from 1 to 10000000\n\
         f.yaml:5: tollgate.limits.request_fields: out of range; write one from 1 to 253\n\
         f.yaml:5: tollgate.limits.request_body: not a size; write one from 1B to 1TiB, in B, KiB, MiB, GiB or TiB",
    );
    check(
        "  log: {access: false}\n",
        "f.yaml:5: tollgate.log.access: not a destination; write a path, stdout, stderr or off",
    );
    check(
        "  gateway: {upstreams: [\"127.0.0.1:80\", \"127.0.0.1:80\"]}\n",
        "f.yaml:5: tollgate.gateway.upstreams[1]: given twice; keep one of the two",
    );
    check(
        "  gateway: {upstreams: [http://a, 'a:80', /run/a, 'unix:a', ftp://a, 'https://u:hunter2@a', a, 'unix:/a', 'unix:/a']}\n",
        &format!(
            "f.yaml:5: tollgate.gateway.upstreams[1]: given twice; keep one of the two\n\
             f.yaml:5: tollgate.gateway.upstreams[2]: a path, where an address is expected; {UPSTREAM}\n\
             f.yaml:5: tollgate.gateway.upstreams[3]: not an absolute path; write it as unix:/run/app.sock\n\
             f.yaml:5: tollgate.gateway.upstreams[4]: a scheme other than http and https; {UPSTREAM}\n\
             f.yaml:5: tollgate.gateway.upstreams[5]: has a user or a password; leave out everything up to `@`; \
             upstreams get no credentials from here\n\
             f.yaml:5: tollgate.gateway.upstreams[6]: a name without a port; {UPSTREAM}\n\
             f.yaml:5: tollgate.gateway.upstreams[8]: given twice; keep one of the two"
        ),
    );
    check(
        "  gateway:
    pools:
      - {name: a, path: /a/../b, upstreams: [127.0.0.1:8888]}
      - {name: b c, hosts: [], upstreams: []}
      - {upstreams: ['x:80'], hosts: ['a.test:80', 10.0.0.1, '*.a.test']}
      - {name: d}
      - {name: e, path: /, upstreams: ['x:80']}
      - {name: e, path: /, upstreams: ['x:80'], host: a.test}
",
        "f.yaml:7: tollgate.gateway.pools[0].upstreams[0]: one of tollgate's own listeners; name the server behind it\n\
         f.yaml:7: tollgate.gateway.pools[0].path: not a path that has one spelling; write segments of letters, digits, `-`, `.`, `_` and `~`, such as /api/v1\n\
         f.yaml:8: tollgate.gateway.pools[1].upstreams: no upstream; write one such as [\"backend:80\"], or remove the pool\n\
         f.yaml:8: tollgate.gateway.pools[1].name: not a name; write up to 64 letters, digits, `-`, `_` or `.`\n\
         f.yaml:8: tollgate.gateway.pools[1].hosts: an empty list, which no host is in; fill it, or remove the key for every host\n\
         f.yaml:9: tollgate.gateway.pools[2].name: missing; write a name, such as `name: api`\n\
         f.yaml:9: tollgate.gateway.pools[2].hosts[0]: a domain with a port; leave out the port, which does not count\n\
         f.yaml:9: tollgate.gateway.pools[2].hosts[1]: not the name of a host; write api.example.com for one host, or .example.com for it and all below it\n\
         f.yaml:9: tollgate.gateway.pools[2].hosts[2]: not the name of a host; write api.example.com for one host, or .example.com for it and all below it\n\
         f.yaml:10: tollgate.gateway.pools[3].hosts: no condition, neither hosts nor path; write `hosts` or `path`; the pool for all other requests is gateway.upstreams\n\
         f.yaml:10: tollgate.gateway.pools[3].upstreams: missing; write one such as [\"backend:80\"]\n\
         f.yaml:12: tollgate.gateway.pools[5].host: unknown key; did you mean \"hosts\"?\n\
         f.yaml:12: tollgate.gateway.pools[5].name: the name of another pool; give each pool a name of its own",
    );
    check(
        "  egress: {http_ports: 80, connect_ports: [any, 443]}\n",
        "f.yaml:5: tollgate.egress.connect_ports[1]: any cannot be combined with other entries; correct the entry or remove it\n\
         f.yaml:5: tollgate.egress.http_ports: not a list; write a list such as [443, 8000-8099], or any",
    );
    check(
        "  egress: {deny_networks: ['# 10.0.0.0/8']}\n",
        "f.yaml:5: tollgate.egress.deny_networks[0]: has a # in it; write comments outside of the quotes",
    );
}

#[test]
fn a_list_file_that_is_empty_is_a_problem() {
    let setup = Setup::new();
    for (content, problem) in [
        (
            " \n",
            Some(
                "f.yaml:5: tollgate.egress.deny_domains[0]: the list deny.txt is empty; fill it, or take it out of the configuration",
            ),
        ),
        ("# none today\n", None),
    ] {
        setup.file("deny.txt", content);
        let loaded = setup.load(&with("  egress: {deny_domains: ['@deny.txt']}\n"));
        let found = loaded.err().map(|error| setup.shown(&error));
        assert_eq!(found.as_deref(), problem, "{content:?}");
    }
}

#[test]
fn a_policy_whose_tests_fail_can_be_asked_why() {
    let setup = Setup::new();
    let tests = "  policy_tests:\n    - {user: alice, target: 'example.org:22', expect: admit}\n";
    let file = setup.path();
    fs::write(&file, with(tests)).unwrap();
    let error = Config::load(&file).unwrap_err().to_string();
    assert!(
        error.contains("expected admit, found deny by connect_ports"),
        "{error}"
    );
    assert!(Config::load_to_explain(&file).is_ok());
}

#[test]
fn a_list_of_what_is_allowed_never_becomes_empty_by_accident() {
    let setup = Setup::new();
    setup.file("allow.txt", "# nothing yet\n");
    let advice = "fill the list, or write [] to admit every domain";
    assert_eq!(
        setup.problems(&with(
            "  egress:\n    allow_domains:\n      - '@allow.txt'\n"
        )),
        format!(
            "f.yaml:7: tollgate.egress.allow_domains[0]: the list names no domain, which would admit every domain; {advice}"
        )
    );
    check(
        "  egress:\n    allow_domains:\n      # - example.org\n",
        "f.yaml:6: tollgate.egress.allow_domains: has no value; write [one, two], or [] for an empty one",
    );
    assert!(setup.load(&with("  egress: {allow_domains: []}\n")).is_ok());
}

#[test]
fn users() {
    let setup = Setup::new();
    let auth = |listener: &str| {
        format!(
            "version: 1\ntollgate:\n  listeners: [{{address: '{listener}'}}]\n  auth:\n    htpasswd: users\n"
        )
    };
    setup.file("users", "# nobody\n");
    assert_eq!(
        setup.problems(&auth("127.0.0.1:8888")),
        "f.yaml:5: tollgate.auth.htpasswd: users has no user: every request would get 407; add a user with `tollgate passwd users USER`"
    );
    fs::remove_file(setup.directory.path().join("users")).unwrap();
    assert_eq!(
        setup.problems(&auth("127.0.0.1:8888")),
        "f.yaml:5: tollgate.auth.htpasswd: users does not exist; make one with `tollgate passwd users USER`"
    );
    // What everyone knows is good enough for nobody but this machine.
    setup.file("users", format!("{ALICE}{DEMO}"));
    assert!(setup.load(&auth("127.0.0.1:8888")).is_ok());
    assert!(setup.load(&auth("[::1]:8888")).is_ok());
    for listener in [
        "0.0.0.0:8888",
        "[::]:8888",
        "192.0.2.1:8888",
        "0.0.0.0:8888', socks5: 'also",
        "0.0.0.0:8888', socks5: 'only",
    ] {
        assert_eq!(
            setup.problems(&auth(listener)),
            "f.yaml:5: tollgate.auth.htpasswd: the demo user with its well-known password, on a listener that is not loopback; change it with `tollgate passwd users username`, or listen on 127.0.0.1"
        );
    }
    // The name alone does no harm.
    setup.file("users", DEMO.replace("W6ph", "W6pi"));
    assert!(setup.load(&auth("0.0.0.0:8888")).is_ok());
}

/// What is said of an upstream that is in none of its forms.
const UPSTREAM: &str = "write it as \"127.0.0.1:80\", \"backend:80\", \"https://backend:8443\" or \"unix:/run/app.sock\"";

/// What `tollgate check` says of tokens.
#[test]
fn tokens_that_cannot_be_used() {
    let setup = Setup::new();
    let x = "A".repeat(43);
    let key = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
    setup.file("keys.json", format!("{{\"keys\":[{key}]}}"));
    setup.file("none.json", "{\"keys\":[]}");
    setup.file("text.json", "keys");
    let tokens = |issuers: &str| {
        format!("  auth:\n    htpasswd: users\n    tokens: {{issuers: [{issuers}]}}\n")
    };
    let load = |section: &str| {
        let yaml =
            format!("version: 1\ntollgate:\n  listeners: [{{address: '127.0.0.1:1'}}]\n{section}");
        match setup.load(&yaml) {
            Ok(config) => config.warnings.to_string(),
            Err(error) => error.to_string(),
        }
    };
    let whole = "{issuer: i, jwks: keys.json, audience: a, user_prefix: 'p:'}";
    assert_eq!(load(&tokens(whole)), "");
    for (issuers, expected) in [
        ("", "issuers: an empty list"),
        (
            "{}",
            "issuers[0].user_prefix: missing; write one such as \"gh:\"",
        ),
        ("{}", "issuers[0].audience: missing"),
        (
            &whole.replace("keys.json", "gone.json"),
            "gone.json does not exist; write the JWK Set",
        ),
        (
            &whole.replace("keys.json", "none.json"),
            "none.json cannot be used: no key for RS256",
        ),
        (
            &whole.replace("keys.json", "text.json"),
            "text.json cannot be used: not JSON",
        ),
        (
            &whole.replace("keys.json", "'https://u:canary@i.test/'"),
            "issuers[0].jwks: user information in the authority",
        ),
        (
            &whole.replace("keys.json", "'ftp://i.test/'"),
            "write an https:// URL, or a path",
        ),
        (
            &whole.replace("keys.json", "'http://i.test/'"),
            "warning: tollgate.auth.tokens.issuers[0].jwks: keys over http",
        ),
        (
            &format!("{whole}, {whole}"),
            "issuers[1].issuer: the same issuer as entry 1",
        ),
        (
            &format!(
                "{whole}, {}",
                whole
                    .replace("issuer: i", "issuer: j")
                    .replace("'p:'", "''")
            ),
            "warning: tollgate.auth.tokens.issuers[1].user_prefix: tokens of this issuer and of entry 1",
        ),
        (
            &whole.replace(": a,", ": [],"),
            "issuers[0].audience: no audience",
        ),
        (
            &whole.replace("}", ", user_claim: '/a~b'}"),
            "issuers[0].user_claim: not a claim",
        ),
        (
            &whole.replace("}", ", users_claim: sub}"),
            "users_claim: unknown key",
        ),
        (
            &whole.replace("'p:'", "\"a\\nb\""),
            "issuers[0].user_prefix: has",
        ),
        (&[whole; 33].join(", "), "more than 32 issuers"),
    ] {
        let said = load(&tokens(issuers));
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(!said.contains("canary"), "{said}");
    }
    // A user with a colon is one of a token.
    let policy = "  policy: {rules: [{name: r, action: admit, users: ['p:x', 'q:x']}]}\n";
    let said = load(&(tokens(whole) + policy));
    assert!(
        said.contains("names user \"q:x\"") && !said.contains("\"p:x\""),
        "{said}"
    );
    let said = load(&format!("  auth: {{htpasswd: users}}\n{policy}"));
    assert!(
        said.contains("users[0]: the user name has a colon"),
        "{said}"
    );
    // A group that no file has is one of a token, where tokens have groups.
    let policy = "  policy: {rules: [{name: r, action: admit, groups: [dev]}]}\n";
    let said = load(&(tokens(whole) + policy));
    assert!(said.contains("no such group"), "{said}");
    let with_groups = whole.replace("}", ", groups_claim: groups}");
    assert_eq!(load(&(tokens(&with_groups) + policy)), "");
}

/// What `tollgate check` says of an external authoriser.
#[test]
fn an_authorizer_that_cannot_be_used() {
    let setup = Setup::new();
    let load = |keys: &str, more: &str| {
        let yaml = format!(
            "version: 1\ntollgate:\n  listeners: [{{address: '127.0.0.1:1'}}]\n  auth: {{htpasswd: users, \
             external: {{{keys}}}}}\n{more}"
        );
        match setup.load(&yaml) {
            Ok(config) => config.warnings.to_string(),
            Err(error) => error.to_string(),
        }
    };
    let local = "url: 'http://127.0.0.1:9000/', send_password: true";
    assert_eq!(load(local, ""), "");
    for (keys, expected) in [
        (
            "",
            "external.url: missing; write one such as http://127.0.0.1:9000/check",
        ),
        (
            "url: 'http://u:canary@a.test/'",
            "external.url: user information in the authority",
        ),
        ("url: 'ftp://a.test/'", "write an http:// or https:// URL"),
        ("url: /canary", "external.url: "),
        (
            "url: 'http://127.0.0.1/', mode: xml",
            "mode: another word; write json or status",
        ),
        (
            "url: 'http://127.0.0.1/', ask: rules",
            "ask: another word; write always or rule or unknown_users",
        ),
        (
            "url: 'http://127.0.0.1/', ask: rule",
            "external.ask: no rule asks, so that the authoriser is asked about no request; write `ask: true` in a rule",
        ),
        (
            "url: 'http://127.0.0.1/', on_failure: no",
            "on_failure: another word; write deny or admit",
        ),
        (
            "url: 'http://127.0.0.1/', timeout: 1ms",
            "external.timeout: ",
        ),
        (
            "url: 'http://127.0.0.1/', concurrency: 0",
            "external.concurrency: ",
        ),
        (
            "url: 'http://127.0.0.1/', password: true",
            "external.password: unknown key",
        ),
        (
            "url: 'http://127.0.0.1/', send_password: true, on_failure: admit",
            "external.on_failure: admits users that nothing has authenticated; write deny, or `ask: always`",
        ),
        (
            "url: 'http://127.0.0.1/'",
            "warning: tollgate.auth.external: asks who unknown users are, and does not send their passwords",
        ),
        (
            "url: 'http://a.test/', ask: always",
            "warning: tollgate.auth.external.url: decisions over http",
        ),
        (
            "url: 'http://a.test/', send_password: true",
            "warning: tollgate.auth.external.url: passwords over http",
        ),
    ] {
        let said = load(keys, "");
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(!said.contains("canary"), "{said}");
    }
    // It makes users of any name, and groups.
    let policy =
        "  policy: {rules: [{name: r, action: admit, users: ['p:x', eve], groups: [dev]}]}\n";
    assert_eq!(load(local, policy), "");
    let said = load("url: 'https://a.test/', ask: always", policy);
    assert!(
        said.contains("users[0]: the user name has a colon") && !said.contains("no such group"),
        "{said}"
    );
}
