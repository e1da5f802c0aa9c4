//! Clients without a password.

use super::*;

const BASE: &str = "version: 1\ntollgate:\n";

fn auth(trusted: &str) -> String {
    listening("{address: \"127.0.0.1:8888\"}", trusted)
}

fn listening(listener: &str, trusted: &str) -> String {
    format!(
        "{BASE}  listeners: [{listener}]\n  auth:\n    htpasswd: users\n    trusted_networks:\n{trusted}"
    )
}

fn user(config: &Config, client: &str) -> Option<String> {
    let user = config.auth.trusted.user(client.parse().unwrap());
    user.map(|user| user.as_str().to_owned())
}

#[test]
fn networks_have_users() {
    let setup = Setup::new();
    let yaml = auth(
        "      - { networks: [10.1.0.0/16, '::1'], user: ci }\n      \
           - { networks: [10.1.2.3, '::1'], user: alice }\n",
    );
    assert_eq!(
        setup.problems(&yaml),
        "f.yaml:8: tollgate.auth.trusted_networks[1].networks[1]: the same network as \
         tollgate.auth.trusted_networks[0].networks[1], with another user; remove one of the two"
    );
    let config = setup.load(&yaml.replace(", '::1'], user: alice", "], user: alice"));
    let config = config.unwrap();
    assert!(config.warnings.is_empty(), "{}", config.warnings);
    assert_eq!(user(&config, "10.1.9.9").as_deref(), Some("ci"));
    assert_eq!(user(&config, "::1").as_deref(), Some("ci"));
    assert_eq!(user(&config, "10.1.2.3").as_deref(), Some("alice"));
    assert_eq!(user(&config, "10.2.0.0"), None);
    assert!(config.auth.knows("ci") && config.auth.knows("alice"));
    assert!(!config.auth.knows("bob"));
    // Off unless it is written, and one network may be there twice for one user.
    let config = setup.load(&with("")).unwrap();
    assert_eq!(user(&config, "127.0.0.1"), None);
    let twice = auth("      - { networks: [10.1.0.0/16, 10.1.0.0/16], user: ci }\n");
    assert!(setup.load(&twice).is_ok());
}

#[test]
fn entries_that_cannot_be_used() {
    let setup = Setup::new();
    for (entry, expected) in [
        (
            "{ user: ci }",
            ".networks: missing; write one such as [10.1.0.0/16]",
        ),
        (
            "{ networks: [10.1.0.0/16] }",
            ".user: missing; write the user that these clients are",
        ),
        (
            "{ networks: [], user: ci }",
            ".networks: an empty list, which no client is in; fill it, or remove the entry",
        ),
        (
            "{ networks: [10.1.0.0/8], user: ci }",
            ".networks[0]: has bits behind the prefix; write 10.0.0.0/8 for the network or a single address",
        ),
        (
            "{ networks: ['::ffff:10.1.0.0/112'], user: ci }",
            ".networks[0]: an IPv4-mapped network; write 10.1.0.0/16 for the IPv4 network",
        ),
        (
            "{ networks: [10.1.0.0/16], user: 'a:b' }",
            ".user: the user name has a colon; write a name as in the htpasswd file",
        ),
        (
            "{ networks: [10.1.0.0/16], user: '' }",
            ".user: is empty; write a value or remove the key",
        ),
        (
            "{ networks: [10.1.0.0/16], name: ci, user: ci }",
            ".name: unknown key; known here: networks, user",
        ),
    ] {
        let problems = setup.problems(&auth(&format!("      - {entry}\n")));
        let line = format!("f.yaml:7: tollgate.auth.trusted_networks[0]{expected}");
        assert_eq!(problems, line, "{entry}");
    }
}

#[test]
fn wide_networks_are_warned_of() {
    let setup = Setup::new();
    for (network, is_wide) in [
        ("0.0.0.0/0", true),
        ("::/0", true),
        ("10.0.0.0/7", true),
        ("203.0.112.0/23", true),
        ("2001:db8::/47", true),
        ("fc00::/6", true),
        ("10.0.0.0/8", false),
        ("192.168.0.0/16", false),
        ("203.0.113.0/24", false),
        ("203.0.113.7", false),
        ("2001:db8::/48", false),
        ("fd00::/8", false),
        ("::1", false),
    ] {
        let yaml = auth(&format!(
            "      - {{ networks: ['{network}'], user: ci }}\n"
        ));
        let config = setup.load(&yaml).unwrap();
        let expected = format!(
            "{}/f.yaml:7: warning: tollgate.auth.trusted_networks[0].networks[0]: a wide network: every \
             client in it is admitted without a password; write smaller networks, or networks of private addresses",
            setup.directory.path().display()
        );
        let expected = if is_wide { expected.as_str() } else { "" };
        assert_eq!(config.warnings.to_string(), expected, "{network}");
        let reloaded = config.reloader().reload().unwrap();
        assert_eq!(reloaded.warnings.to_string(), expected, "{network}");
    }
}

/// Whoever connects to such a listener could say that its client is in a trusted network.
#[test]
fn no_listener_may_believe_everyone() {
    let setup = Setup::new();
    let entry = "      - { networks: [10.1.0.0/16], user: ci }\n";
    let believes = "{address: \"127.0.0.1:8888\", proxy_protocol: true}";
    assert_eq!(
        setup.problems(&listening(believes, entry)),
        "f.yaml:6: tollgate.auth.trusted_networks: whoever connects to 127.0.0.1:8888 can claim any client \
         address, also a trusted one, in its PROXY protocol header; name the load balancers, as in \
         `proxy_protocol: { from: [192.0.2.7] }`"
    );
    let all = believes.replace("true", "{from: ['::/0']}");
    assert!(setup.load(&listening(&all, entry)).is_err());
    let named = listening(&believes.replace("true", "{from: [127.0.0.1]}"), entry);
    assert!(setup.load(&named).is_ok());
    let none = listening(believes, "      []\n");
    let running = setup.load(&none).unwrap();
    // The running process keeps its listener, whatever the file says by now.
    setup.file("f.yaml", &named);
    let error = running.reloader().reload().unwrap_err();
    assert_eq!(
        setup.shown(&error),
        "f.yaml:6: tollgate.auth.trusted_networks: whoever connects to 127.0.0.1:8888 of the running process \
         can claim any client address, also a trusted one, in its PROXY protocol header; name the load \
         balancers, as in `proxy_protocol: { from: [192.0.2.7] }`, and restart or upgrade"
    );
}

/// A user without a password is a user all the same.
#[test]
fn users_of_networks_are_no_strangers() {
    let setup = Setup::new();
    setup.file("groups", "team: ci alice\n");
    let yaml = auth("      - { networks: [10.1.0.0/16], user: ci }\n")
        + "    groups: groups\n  \
         policy:\n    default: deny\n    rules:\n      \
           - { name: r, action: admit, users: [ci], client_networks: [10.1.0.0/16] }\n  \
         policy_tests:\n    \
           - { user: ci, client: 10.1.0.9, target: 'a.example:443', expect: admit }\n";
    let config = setup.load(&yaml).unwrap();
    assert!(config.warnings.is_empty(), "{}", config.warnings);
}
