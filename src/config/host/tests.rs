use super::*;
use crate::config::host::AddressUse::{Listener, NameServer, Upstream};

const UPSTREAM: &str = "write it as \"127.0.0.1:80\", \"backend:80\", \"https://backend:8443\" or \"unix:/run/app.sock\"";

#[test]
fn addresses() {
    let listener = "write it as \"127.0.0.1:8888\" or \"[::1]:8888\"";
    let for_port = "write \"127.0.0.1:8888\" for programs on this machine, or \"0.0.0.0:8888\" for the network, \
                    with your port";
    let port = "write a port from 1 to 65535";
    let own =
        "write an IP address of this machine, or 0.0.0.0 for all of them; `ip address` prints them";
    for (text, message, advice) in [
        ("127.0.0.1", "an address without a port", listener),
        ("::1", "an address without a port", listener),
        ("[::1]", "an address without a port", listener),
        ("127.0.0.1:65536", "the port is out of range", port),
        ("127.0.0.1:99999999999", "the port is out of range", port),
        ("[::1]:70000", "the port is out of range", port),
        ("127.0.0.1:http", "the port is not a number", port),
        ("127.0.0.1:", "the port is not a number", port),
        ("127.0.0.1:+80", "the port is not a number", port),
        (":8888", "a port without an address", for_port),
        ("8888", "a port without an address", for_port),
        (
            "*:8888",
            "a wildcard, where an address is expected",
            "write 0.0.0.0 for every IPv4 address, or [::] for IPv6 as well",
        ),
        (
            "localhost:80",
            "a name, where an address is expected",
            "write 127.0.0.1 or [::1] for localhost",
        ),
        (
            "localhost",
            "a name, where an address is expected",
            "write 127.0.0.1 or [::1] for localhost, and a port behind a colon",
        ),
        (
            "proxy.example.org:80",
            "a name, where an address is expected",
            own,
        ),
        (
            "fe80::1%eth0:80",
            "a name, where an address is expected",
            own,
        ),
        (
            "127.0.0.1@5353",
            "a port behind `@`",
            "write a colon before the port; write it as \"127.0.0.1:8888\" or \"[::1]:8888\"",
        ),
        (
            "http://127.0.0.1:80",
            "a URL, where an address is expected",
            "leave out `http://`",
        ),
        (
            "https://127.0.0.1:80/",
            "a URL, where an address is expected",
            "leave out `https://` and everything from the next `/` on",
        ),
        (
            "127.0.0.1:80/",
            "an address with a path or a prefix length",
            "leave out everything from `/` on",
        ),
        (
            "/run/proxy.sock",
            "a path, where an address is expected",
            listener,
        ),
        (
            "unix:/run/x",
            "a path, where an address is expected",
            listener,
        ),
        (
            "256.0.0.1:80",
            "not an IPv4 address",
            "write four numbers from 0 to 255, without zeros before them",
        ),
    ] {
        assert!(text.parse::<SocketAddr>().is_err());
        assert_eq!(
            address(text, Listener),
            (message, advice.to_owned()),
            "{text}"
        );
    }
    for (text, for_use, expected) in [
        (":80", Upstream, UPSTREAM),
        ("web.example", Upstream, UPSTREAM),
        ("/run/app.sock", Upstream, UPSTREAM),
        (
            "dns.example",
            NameServer,
            "write its IP address; `getent hosts NAME` prints it",
        ),
        (
            "https://192.0.2.1/dns-query",
            NameServer,
            "name servers are asked by UDP and TCP alone; write it as \"192.0.2.53\" or \"[2001:db8::53]:53\"",
        ),
        ("udp://192.0.2.1", NameServer, "leave out `udp://`"),
    ] {
        assert_eq!(address(text, for_use).1, expected, "{text}");
    }
}

#[test]
fn variables() {
    for text in [
        "${LISTEN}",
        "$LISTEN",
        "127.0.0.1:${PORT}",
        "http://${HOST}/",
    ] {
        let expected = "a variable of a template";
        assert_eq!(address(text, Listener).0, expected);
        assert_eq!(domain(text).unwrap().0, expected);
        assert_eq!(network(text).unwrap().0, expected);
    }
}

#[test]
fn addresses_with_secrets_are_not_repeated() {
    for text in [
        "http://alice:hunter2@127.0.0.1:80/",
        "hunter2://127.0.0.1",
        "alice:hunter2@127.0.0.1:80",
        "hunter2",
        "hunter2:80",
        "hunter2 127.0.0.1:80",
    ] {
        for for_use in [Listener, Upstream, NameServer] {
            let (message, advice) = address(text, for_use);
            assert!(!format!("{message}{advice}").contains("hunter2"), "{text}");
        }
        for (message, advice) in domain(text).into_iter().chain(network(text)) {
            assert!(!format!("{message}{advice}").contains("hunter2"), "{text}");
        }
    }
}

#[test]
fn domains() {
    for (text, expected) in [
        (
            "https://example.org/",
            "leave out `https://` and everything from the next `/` on",
        ),
        ("http://example.org:80", "leave out `http://`, and the port"),
        (
            "example.org:443",
            "leave out the port; ports have lists of their own, `connect_ports`, `http_ports` and `ports`",
        ),
        ("example.org/path", "leave out everything from `/` on"),
        ("alice@example.org", "leave out everything up to `@`"),
        ("exam ple", "write each domain as an entry of its own"),
        ("a.org,b.org", "write each domain as an entry of its own"),
    ] {
        assert_eq!(domain(text).unwrap().1, expected, "{text}");
    }
    for text in [
        "^.*\\.example\\.org$",
        "~example",
        "/ads?/",
        ".*\\.org",
        "(a|b).org",
        "ad[sx].org",
        "re:ads",
        "regex:ads",
    ] {
        let expected = "a regular expression, where a domain is expected";
        assert_eq!(domain(text).unwrap().0, expected, "{text}");
    }
    // These have messages of their own.
    for text in [
        "*.example.org",
        "a.*b",
        "10.0.0.0/8",
        ".*",
        "*",
        "[::1]",
        "127.0.0.1",
        "example.org",
        "",
    ] {
        assert_eq!(domain(text), None, "{text}");
    }
}

#[test]
fn networks() {
    for (text, expected) in [
        ("http://10.0.0.0/8", "a URL, where a network is expected"),
        ("10.0.0.1:80", "an address with a port"),
        ("[::1]:80", "an address with a port"),
        ("[::1]", "an address in brackets"),
        ("10.0.0.0/255.0.0.0", "a network with a netmask"),
        ("10.0.0.0/", "the length of the prefix is not a number"),
        ("::1/129", "the length of the prefix is out of range"),
        (
            "10.0.0.0-10.0.0.9",
            "a range of addresses, where a network is expected",
        ),
        ("10.*", "a wildcard, where a network is expected"),
        ("any", "not a network"),
        ("localhost", "a name, where a network is expected"),
        ("example.org:443", "a name, where a network is expected"),
        (
            "10.0.0.0/8, 10.1.0.0/16",
            "more than one network, or a space in one",
        ),
    ] {
        assert_eq!(
            network(text).map(|(message, _)| message),
            Some(expected),
            "{text}"
        );
    }
    // These have messages of their own.
    for text in ["10", "10.1.2.3/8", "10.1.2.3", "::/0", ""] {
        assert_eq!(network(text), None, "{text}");
    }
}
