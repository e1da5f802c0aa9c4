//! Who is believed about a client's address.

use super::*;

fn listener(address: &str, proxy_protocol: &str) -> String {
    format!(
        "version: 1\n\
         tollgate:\n  \
           auth: {{htpasswd: users}}\n  \
           listeners:\n    \
             - address: \"{address}\"\n      \
               proxy_protocol: {proxy_protocol}\n"
    )
}

#[test]
fn senders_are_anyone_or_networks() {
    let setup = Setup::new();
    let senders = |written: &str| {
        let config = setup.load(&listener("127.0.0.1:8888", written)).unwrap();
        assert!(config.warnings.is_empty(), "{}", config.warnings);
        config.listeners[0].proxy_protocol.clone()
    };
    assert_eq!(senders("false"), None);
    assert_eq!(senders("true"), Some(Senders::Anyone));
    let some = senders("{ from: [10.0.0.0/8, 192.0.2.7, '2001:db8::/32'] }").unwrap();
    for (peer, included) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("2001:db8::1", true),
        ("::1", false),
    ] {
        assert_eq!(some.include(peer.parse().unwrap()), included, "{peer}");
        assert!(Senders::Anyone.include(peer.parse().unwrap()));
    }
}

#[test]
fn senders_that_cannot_be_used() {
    let setup = Setup::new();
    for (written, expected) in [
        (
            "maybe",
            "proxy_protocol: neither true nor false; write true or false",
        ),
        (
            "[127.0.0.1]",
            "proxy_protocol: a list, where a value is expected; write one behind the colon",
        ),
        (
            "{}",
            "proxy_protocol.from: missing; write one such as [192.0.2.7]",
        ),
        (
            "{ form: [10.0.0.0/8] }",
            "proxy_protocol.form: unknown key; did you mean \"from\"?",
        ),
        (
            "{ from: 10.0.0.0/8 }",
            "proxy_protocol.from: a single value, where a list is expected; write [one, two], or [] for an empty one",
        ),
        (
            "{ from: [] }",
            "proxy_protocol.from: an empty list, which refuses every connection; write the addresses of the load balancers, such as [192.0.2.7]",
        ),
        (
            "{ from: [10.1.2.3/8] }",
            "proxy_protocol.from[0]: has bits behind the prefix; write 10.0.0.0/8 for the network or a single address",
        ),
    ] {
        let problems = setup.problems(&listener("127.0.0.1:8888", written));
        let line = format!("f.yaml:6: tollgate.listeners[0].{expected}");
        assert!(
            problems.lines().any(|problem| problem == line),
            "{problems}"
        );
    }
}

#[test]
fn headers_of_whoever_connects_are_warned_of_unless_the_listener_is_on_loopback() {
    let setup = Setup::new();
    let warnings = |address: &str, written: &str| {
        let config = setup.load(&listener(address, written)).unwrap();
        let shown = config.warnings.to_string();
        shown.replace(&format!("{}/", setup.directory.path().display()), "")
    };
    let expected = "f.yaml:6: warning: tollgate.listeners[0].proxy_protocol: every peer of \
         0.0.0.0:8888 can claim any client address in its PROXY protocol header; name the load \
         balancers, as in `proxy_protocol: { from: [192.0.2.7] }`";
    assert_eq!(warnings("0.0.0.0:8888", "true"), expected);
    assert_eq!(warnings("0.0.0.0:8888", "{ from: [0.0.0.0/0] }"), expected);
    assert_eq!(warnings("0.0.0.0:8888", "{ from: [10.0.0.0/8] }"), "");
    assert_eq!(warnings("0.0.0.0:8888", "false"), "");
    for loopback in ["127.0.0.1:8888", "[::1]:8888", "[::ffff:127.0.0.1]:8888"] {
        assert_eq!(warnings(loopback, "true"), "");
    }
    // It is nothing that a reload changes.
    let running = setup.load(&listener("0.0.0.0:8888", "true")).unwrap();
    let reloaded = running.reloader().reload().unwrap();
    assert!(reloaded.warnings.is_empty(), "{}", reloaded.warnings);
}
