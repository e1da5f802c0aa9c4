//! What a policy says without effect: `check`, the start and a reload name it with its line, and go on.

use crate::support::command::{Outcome, tollgate};
use crate::support::eventually;
use crate::support::proxy::Setup;

/// A policy, and what is warned of: the lines that end in `# !`, in their order.
struct Odd {
    policy: &'static str,
    said: &'static [&'static str],
}

const ODD: &[Odd] = &[
    // One rule before it decides all.
    Odd {
        policy: "
  policy:
    rules:
      - { name: staff, action: admit, users: [alice, bob], domains: [.a.test] }
      - { name: no-bob, action: deny, users: [bob], domains: [x.a.test] } # !
      - { name: bob-else, action: deny, users: [bob] }
      - { name: late, action: observe, users: [bob], ports: [443] } # !
",
        said: &[
            "tollgate.policy.rules[1]: rule no-bob never applies: rule staff above it decides every request that it matches; move rule no-bob above rule staff, or remove rule no-bob",
            "tollgate.policy.rules[3]: rule late never applies: rule bob-else above it decides",
        ],
    },
    // Several together do.
    Odd {
        policy: "
  policy:
    rules:
      - { name: tunnels, action: admit, roles: [tunnel], ports: [443] }
      - { name: other-tunnels, action: deny, roles: [tunnel] }
      - { name: web, action: admit, roles: [forward] }
      - { name: files, action: deny, domains: [.files.test], client_networks: [10.0.0.0/8] } # !
      - { name: gate, action: deny, roles: [gateway] }
      - { name: rest, action: deny } # !
",
        said: &[
            "tollgate.policy.rules[3]: rule files never applies: rules other-tunnels and web above it decide",
            "tollgate.policy.rules[5]: rule rest never applies: rules other-tunnels, web and gate above it decide",
        ],
    },
    // The guard does.
    Odd {
        policy: "
    deny_domains: [.bad.test]
    deny_networks: [10.0.0.0/8]
  policy:
    rules:
      - { name: one, action: admit, domains: [x.bad.test] } # !
      - { name: two, action: admit, networks: [10.1.0.0/16] } # !
",
        said: &[
            "tollgate.policy.rules[0]: rule one never applies: tollgate.egress.deny_domains denies",
            "tollgate.policy.rules[1]: rule two never applies: tollgate.egress.deny_networks denies",
        ],
    },
    // Nothing can match.
    Odd {
        policy: "
  policy:
    rules:
      - { name: old, action: admit, time: { not_after: 2020-01-31T18:00:00Z } } # !
      - { name: nobody, action: deny, groups: [empty] } # !
      - { name: gone, action: deny, groups: [strangers] } # !
      - { name: never, action: deny, when: '1 == 2 && request.port == 1' } # !
      - { name: all-ports, action: deny, users: [bob], when: 'true || request.port == 1' } # !
      - { name: missing, action: deny, users: [mallory] } # !
",
        said: &[
            "tollgate.policy.rules[0].time: rule old never applies: its time is over, not_after is 2020-01-31T18:00:00Z",
            "tollgate.policy.rules[1].groups: rule nobody never applies: no user is in its groups",
            "tollgate.policy.rules[2].groups: no user in the groups of this rule is in ",
            "tollgate.policy.rules[3].when: rule never never applies: its expression is always false",
            "tollgate.policy.rules[4].when: the expression is always true; remove the key",
            "tollgate.policy.rules[5].users[0]: rule missing names user \"mallory\"",
        ],
    },
    // A tunnel hides it.
    Odd {
        policy: "
  policy:
    rules:
      - { name: own, action: admit, users: [alice], roles: [tunnel], paths: [/v2/team-a] } # !
      - { name: connects, action: deny, methods: [CONNECT], paths: [/v2] } # !
      - { name: reads, action: deny, roles: [tunnel], when: 'request.path == \"/v2\" || request.query != \"\"' } # !
      - { name: under, action: deny, roles: [tunnel], when: 'path_under(\"/v2\")' } # !
      - { name: agent, action: deny, roles: [tunnel], when: 'field(\"user-agent\") == \"x\"' }
      - { name: paths, action: admit, paths: [/v2] }
      - { name: below, action: deny, paths: [/v2/team-a, /v2/team-b] }
      - { name: again, action: admit, paths: [/v2/team-c] } # !
",
        said: &[
            "tollgate.policy.rules[0].paths: rule own never applies: it has paths and matches tunnels only, and a tunnel hides the path; add forward or gateway to its roles, or remove the key `paths`",
            "tollgate.policy.rules[1].paths: rule connects never applies: it has paths and matches tunnels only",
            "tollgate.policy.rules[2].when: reads the path and the query, which a tunnel hides: always empty in this rule; add forward or gateway to its roles, or correct the expression",
            "tollgate.policy.rules[3].when: reads the path, which a tunnel hides",
            "tollgate.policy.rules[7]: rule again never applies: rule paths above it decides",
        ],
    },
    // A test of a URL says nothing of the tunnel.
    Odd {
        policy: "
    connect_ports: [443]
    http_ports: any
  policy_tests:
    - { user: alice, target: \"https://a.test:8443/\", expect: admit } # !
    - { user: bob, target: \"https://a.test:8443/\", expect: admit }
    - { user: bob, target: \"a.test:8443\", expect: deny }
    - { user: alice, target: \"https://a.test/\", expect: admit }
    - { user: alice, target: \"wss://a.test:9443/\", expect: deny, rule: connect_ports }
",
        said: &[
            "tollgate.policy_tests[0]: tests the URL as it is forwarded; most clients send CONNECT a.test:8443, and for that: expected admit, found deny by connect_ports; write `target: \"a.test:8443\"`",
        ],
    },
    Odd {
        policy: "
  policy:
    rules:
      - { name: ops, action: admit, groups: [ops] }
      - { name: bob, action: deny, users: [bob] }
",
        said: &[],
    },
];

fn setup() -> Setup {
    Setup::new()
        .file("groups.htgroup", "ops: alice\nempty:\nstrangers: eve\n")
        .config("auth: { groups: groups.htgroup }")
}

/// The configuration with a policy, which goes on under `egress`, as the last; and the line before it.
fn with(setup: &Setup, policy: &str) -> (String, usize) {
    let text = std::fs::read_to_string(setup.write()).unwrap();
    let (egress, rest): (Vec<&str>, Vec<&str>) = text
        .lines()
        .partition(|line| line.starts_with("  egress:") || line.starts_with("    connect_ports:"));
    assert_eq!(egress.len(), 2, "{text}");
    let is_network = |line: &&str| line.contains("127.0.0.0/8") || line.contains("::1/128");
    let ports = |line: &&str| {
        line.trim_start().starts_with("http_ports") || line.contains("allow_networks:")
    };
    let base: Vec<&str> = rest
        .into_iter()
        .filter(|line| !is_network(line) && !ports(line))
        .collect();
    let base = format!(
        "{}\n  egress:\n    allow_networks: [127.0.0.0/8]",
        base.join("\n")
    );
    (format!("{base}{policy}"), base.lines().count() - 1)
}

fn assert_said(outcome: &Outcome, odd: &Odd, before: usize) {
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    let marked = (1..)
        .zip(odd.policy.lines())
        .filter(|(_, line)| line.ends_with("# !"));
    let lines: Vec<usize> = marked.map(|(line, _)| before + line).collect();
    assert_eq!(lines.len(), odd.said.len(), "the table");
    let warnings: Vec<&str> = outcome
        .stderr
        .lines()
        .filter(|line| line.contains(": warning: tollgate.policy"))
        .collect();
    assert_eq!(warnings.len(), lines.len(), "{}", outcome.stderr);
    for ((line, said), warning) in lines.iter().zip(odd.said).zip(warnings) {
        let start = format!("pingora.yaml:{line}: warning: {said}");
        assert!(warning.contains(&start), "{start}\n{}", outcome.stderr);
    }
    // Those of other files, as that every user can read the passwords of the tests, count too.
    let end = match outcome.stderr.matches(": warning: ").count() {
        0 => "pingora.yaml: OK".to_owned(),
        1 => "pingora.yaml: OK, 1 warning".to_owned(),
        count => format!("pingora.yaml: OK, {count} warnings"),
    };
    assert!(
        outcome.stderr.trim_end().ends_with(&end),
        "{}",
        outcome.stderr
    );
}

#[test]
fn check_names_what_has_no_effect() {
    for odd in ODD {
        let setup = setup();
        let (text, before) = with(&setup, odd.policy);
        let file = setup.path("pingora.yaml");
        std::fs::write(&file, text).unwrap();
        for outcome in [
            tollgate(["check".as_ref(), "-c".as_ref(), file.as_os_str()]),
            tollgate(["-t".as_ref(), "-c".as_ref(), file.as_os_str()]),
        ] {
            assert_said(&outcome, odd, before);
        }
    }
}

#[test]
fn start_and_reload_log_what_has_no_effect() {
    let rule = |name: &str| format!("{{ name: {name}, action: deny, users: [bob] }}");
    let policy = |last: &str| format!("policy: {{ rules: [{}, {}] }}", rule("first"), rule(last));
    let proxy = setup().config(&policy("second")).start();
    let logged = |name: &str| {
        let words = format!("rule {name} never applies: rule first above it decides");
        eventually("the warning in the log", || {
            let errors = proxy.errors();
            let line = errors.lines().find(|line| line.contains(&words))?;
            assert!(
                line.contains("WARN") && line.contains("pingora.yaml:"),
                "{line}"
            );
            Some(())
        });
    };
    logged("second");
    proxy.rewrite(&policy("third"));
    assert_eq!(proxy.reload().status(), 200);
    logged("third");
}
