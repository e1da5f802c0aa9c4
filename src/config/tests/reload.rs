//! What a running process reads again.

use super::{ALICE, DEMO, Setup, decision, with};

#[test]
fn a_reload_reads_users_and_rules_again() {
    let setup = Setup::new();
    setup.file("deny.txt", "a.example\n");
    let yaml = with("  egress: {deny_domains: ['@deny.txt']}\n");
    let reloader = setup.load(&yaml).unwrap().reloader();

    setup.file("users", format!("{ALICE}{}", ALICE.replace("alice", "bob")));
    setup.file("deny.txt", "a.example\nb.example\n");
    // What a running process does not take over is not opened either.
    setup.file("f.yaml", format!("{yaml}  log: {{access: gone/log}}\n"));
    let reloaded = reloader.reload().unwrap();
    assert!(reloaded.users.contains("bob"));
    assert_eq!(
        decision(&reloaded.policy, "b.example:443"),
        "deny deny_domains:b.example"
    );

    setup.file("users", "alice\n");
    setup.file("f.yaml", format!("{yaml}  limit: {{}}\n"));
    let error = reloader.reload().unwrap_err();
    assert_eq!(
        setup.shown(&error),
        "f.yaml:6: tollgate.limit: unknown key; did you mean \"limits\"?\n\
         users:1: no colon after the user name; write lines with `tollgate passwd users USER`; a comment begins with #"
    );

    // The listeners of the process count, not those of a file that has changed since.
    setup.file("users", ALICE);
    let exposed = yaml.replace("127.0.0.1", "0.0.0.0");
    let reloader = setup.load(&exposed).unwrap().reloader();
    setup.file("users", DEMO);
    setup.file("f.yaml", &yaml);
    assert!(reloader.reload().is_err());
    assert!(setup.load(&yaml).is_ok());
}

/// A start warns of keys that a reload does not apply.
#[test]
fn a_reload_warns_of_what_it_applies() {
    let setup = Setup::new();
    let yaml = format!(
        "grace_period_seconds: 1\n{}",
        with(
            "  admin: {address: '192.0.2.1:9188'}\n  \
               policy: {rules: [{name: r, action: deny, users: [carol]}]}\n"
        )
    );
    let config = setup.load(&yaml).unwrap();
    let paths = |warnings: &crate::config::Problems| -> Vec<String> {
        warnings
            .iter()
            .map(|warning| warning.path.clone())
            .collect()
    };
    let rule = "tollgate.policy.rules[0].users[0]";
    assert_eq!(
        paths(&config.warnings),
        ["grace_period_seconds", "tollgate.admin", rule]
    );
    let reloaded = config.reloader().reload().unwrap();
    assert_eq!(paths(&reloaded.warnings), [rule]);
}

/// The file may name other listeners for the next start: those of now are still open,
/// and so is the admin service.
#[test]
fn a_reload_remembers_where_the_process_listens() {
    let setup = Setup::new();
    let egress = "  egress: {connect_ports: any, allow_networks: ['127.0.0.0/8']}\n";
    let yaml = with(&format!("  admin: {{address: '127.0.0.1:9188'}}\n{egress}"));
    let reloader = setup.load(&yaml).unwrap().reloader();
    setup.file("f.yaml", with(egress));
    let reloaded = reloader.reload().unwrap();
    for (target, expected) in [
        ("127.0.0.1:9188", "deny own_listener"),
        ("127.0.0.1:9189", "admit allow_networks:127.0.0.0/8"),
    ] {
        assert_eq!(decision(&reloaded.policy, target), expected, "{target}");
    }
}
