//! A wrong policy: `check`, the start and a reload say all that is wrong with it at once, with the
//! line, and none of them goes on.

use std::net::TcpStream;

use serde_json::Value;

use crate::support::command::{Outcome, tollgate};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, request_of};

const EX_CONFIG: Option<i32> = Some(78);

/// The policy of a proxy that runs well.
const GOOD: &str = "
  policy:
    default: deny
    rules:
      - { name: ops, action: admit, groups: [ops] }
      - { name: hours, action: admit, users: [bob], time: { days: [mon-fri], zone: Europe/Berlin } }
      - { name: lab, action: admit, users: [alice], networks: [127.0.0.0/8] }
  policy_tests:
    - { user: carol, target: \"example.org:443\", resolve: [192.0.2.1], expect: deny, rule: special_purpose }
    - { user: carol, target: /, expect: admit, rule: ops }
    - { user: bob, target: /, time: 2026-11-24T10:00:00Z, expect: admit, rule: hours }
    - { user: bob, target: /, time: 2026-11-22T10:00:00Z, expect: deny, rule: default }
    - { user: alice, target: \"http://a.test/\", resolve: [127.0.0.9], expect: admit, rule: lab }
    - { user: alice, method: POST, target: \"http://a.test/\", client: 10.0.0.1, resolve: [10.0.0.9], expect: deny }
";

/// What is wrong, and how its problem begins. The line is the one on which `!` stands.
struct Wrong {
    policy: &'static str,
    said: &'static [&'static str],
}

const WRONG: &[Wrong] = &[
    // Tests that fail: what was expected, and who decided.
    Wrong {
        policy: "
  policy:
    rules:
      - { name: first, action: admit, users: [alice] }
      - { name: second, action: deny }
  policy_tests:
    - { user: alice, target: /, expect: admit, rule: first }
    - { user: alice, target: /, expect: deny } # !
    - { user: bob, target: /, expect: deny, rule: first } # !
    - { user: bob, target: \"a.test:443\", expect: admit, rule: second } # !
",
        said: &[
            "tollgate.policy_tests[1]: expected deny, found admit by first",
            "tollgate.policy_tests[2]: expected deny by first, found deny by second",
            "tollgate.policy_tests[3]: expected admit by second, found deny by second",
        ],
    },
    // Tests that leave open what decides.
    Wrong {
        policy: "
  policy:
    rules:
      - { name: lab, action: admit, networks: [10.0.0.0/8] }
      - { name: hours, action: deny, time: { from: \"22:00\" } }
  policy_tests:
    - { user: alice, target: /, expect: admit } # !
    - { user: alice, target: \"a.test:443\", time: 2026-11-24T10:00:00Z, expect: admit } # !
",
        said: &[
            "tollgate.policy_tests[0]: rule hours depends on the time",
            "tollgate.policy_tests[1]: rule lab depends on the address",
        ],
    },
    // Tests that cannot be read.
    Wrong {
        policy: "
  policy:
    rules:
      - { name: first, action: deny }
  policy_tests:
    - { user: alice, target: /, expect: maybe } # !
    - { user: alice, target: /, expect: deny, rule: frist } # !
    - { user: alice, target: example.org, expect: deny } # !
    - { target: /, expect: deny } # !
    - { user: alice, target: /, expect: deny, resolve: [] } # !
    - { user: alice, target: /, expect: deny, client: here } # !
    - { user: alice, target: /, expect: deny, method: a b } # !
    - { user: alice, target: /, expect: deny, tiem: 1 } # !
",
        said: &[
            "tollgate.policy_tests[0].expect: neither admit nor deny",
            "tollgate.policy_tests[1].rule: no such rule; did you mean first?",
            "tollgate.policy_tests[2].target: ",
            "tollgate.policy_tests[3].user: missing",
            "tollgate.policy_tests[4].resolve: no address",
            "tollgate.policy_tests[5].client: not an IP address",
            "tollgate.policy_tests[6].method: not a method",
            "tollgate.policy_tests[7].tiem: ",
        ],
    },
    // Rules that stand in each other's way, or name what is not there.
    Wrong {
        policy: "
  policy:
    rules:
      - { name: twice, action: admit, users: [bob] }
      - { name: twice, action: admit, users: [alice] } # !
      - { name: people, action: admit, groups: [opps] } # !
      - { name: gate, action: admit, roles: [gateway], ports: [443] } # !
      - { name: tunnels, action: admit, roles: [tunnel], methods: [GET] } # !
      - { name: all, action: admit }
      - { name: late, action: deny, users: [carol] } # !
",
        said: &[
            "tollgate.policy.rules[1].name: tollgate.policy.rules[0] has the same name",
            "tollgate.policy.rules[2].groups[0]: no such group; did you mean \"ops\"?",
            "tollgate.policy.rules[3].ports: never matches",
            "tollgate.policy.rules[4].methods: never matches",
            "tollgate.policy.rules[6]: never evaluated: rule all before it matches every request",
        ],
    },
    // Values that are none.
    Wrong {
        policy: "
  policy:
    default: perhaps # !
    rules:
      - { action: admit, users: [alice] } # !
      - { name: Default, action: admit, users: [alice] } # !
      - { name: default, action: admit, users: [alice] } # !
      - { name: e1, users: [alice] } # !
      - { name: e2, action: allow, users: [alice] } # !
      - { name: e3, action: deny, users: [] } # !
      - { name: e4, action: deny, roles: [proxy] } # !
      - { name: e5, action: deny, methods: ['a b'] } # !
      - { name: e6, action: deny, domains: [\"*.test\"] } # !
      - { name: e7, action: deny, networks: [10.0.0.1/8] } # !
      - { name: e8, action: deny, ports: [70000] } # !
      - { name: e9, action: deny, status: 200, users: [alice] } # !
      - { name: f1, action: admit, message: hello, users: [alice] } # !
      - { name: f2, action: deny, message: \"a\\x07b\", users: [alice] } # !
      - { name: f3, action: deny, time: { zone: berlin, days: [mon] } } # !
      - { name: f4, action: deny, time: { from: \"8:00\" } } # !
      - { name: f5, action: deny, when: 'user.nam == \"x\"' } # !
      - { name: f6, action: deny, when: 'request.port' } # !
      - { name: f7, action: deny, domains: [\"@none.txt\"] } # !
      - { name: f8, action: deny, domain: [a.test] } # !
",
        said: &[
            "tollgate.policy.default: neither admit nor deny",
            "tollgate.policy.rules[0].name: missing",
            "tollgate.policy.rules[1].name: not a name",
            "tollgate.policy.rules[2].name: a reserved name of the guard",
            "tollgate.policy.rules[3].action: missing",
            "tollgate.policy.rules[4].action: neither admit, deny nor observe",
            "tollgate.policy.rules[5].users: an empty list",
            "tollgate.policy.rules[6].roles[0]: not a role",
            "tollgate.policy.rules[7].methods[0]: not a method",
            "tollgate.policy.rules[8].domains[0]: wildcards are not read",
            "tollgate.policy.rules[9].networks[0]: has bits behind the prefix",
            "tollgate.policy.rules[10].ports[0]: not a port",
            "tollgate.policy.rules[11].status: not a status code",
            "tollgate.policy.rules[12].message: only for rules that deny",
            "tollgate.policy.rules[13].message: ",
            "tollgate.policy.rules[14].time.zone: not a time zone; did you mean Europe/Berlin?",
            "tollgate.policy.rules[15].time.from: not a time of day",
            "tollgate.policy.rules[16].when: ",
            "tollgate.policy.rules[17].when: ",
            "tollgate.policy.rules[18].domains[0]: ",
            "tollgate.policy.rules[19].domain: ",
        ],
    },
];

fn setup() -> Setup {
    Setup::new()
        .file("groups.htgroup", "ops: carol\n")
        .config("auth: { groups: groups.htgroup }")
}

/// Appends a policy to the configuration, so that its lines stay what they are; gives the line before
/// it.
fn append(setup: &Setup, base: &str, policy: &str) -> usize {
    let text = format!("{}{policy}", base.trim_end());
    std::fs::write(setup.path("pingora.yaml"), text).unwrap();
    base.trim_end().lines().count() - 1
}

/// The configuration without a policy, `tollgate` last.
fn base(setup: &Setup) -> String {
    let text = std::fs::read_to_string(setup.write()).unwrap();
    assert!(
        text.contains("\n  log:"),
        "tollgate's keys have two blanks: {text}"
    );
    text
}

/// Checks that those problems are said and no other, each with its line.
fn assert_said(problems: &[String], wrong: &Wrong, before: usize) {
    let marked = (1..)
        .zip(wrong.policy.lines())
        .filter(|(_, line)| line.ends_with("# !"));
    let lines: Vec<usize> = marked.map(|(line, _)| before + line).collect();
    assert_eq!(lines.len(), wrong.said.len(), "the table");
    for (line, said) in lines.iter().zip(wrong.said) {
        let start = format!("pingora.yaml:{line}: {said}");
        let found = problems.iter().any(|problem| problem.contains(&start));
        assert!(found, "{start}\n{problems:#?}");
    }
    assert_eq!(problems.len(), lines.len(), "{problems:#?}");
}

fn problems(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.stderr.lines();
    let problems = lines.filter(|line| line.contains("pingora.yaml:"));
    problems.map(str::to_owned).collect()
}

#[test]
fn good_policy_passes() {
    let setup = setup();
    append(&setup, &base(&setup), GOOD);
    let file = setup.path("pingora.yaml");
    for outcome in [
        tollgate(["check".as_ref(), "-c".as_ref(), file.as_os_str()]),
        tollgate(["-t".as_ref(), "-c".as_ref(), file.as_os_str()]),
    ] {
        assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
        assert!(outcome.stderr.contains("OK"), "{}", outcome.output());
    }
}

#[test]
fn check_and_start_say_everything_that_is_wrong() {
    for wrong in WRONG {
        let setup = setup();
        let before = append(&setup, &base(&setup), wrong.policy);
        let file = setup.path("pingora.yaml");
        for outcome in [
            tollgate(["check".as_ref(), "-c".as_ref(), file.as_os_str()]),
            tollgate(["-t".as_ref(), "-c".as_ref(), file.as_os_str()]),
            tollgate(["-c".as_ref(), file.as_os_str()]),
        ] {
            assert_eq!(outcome.code(), EX_CONFIG, "{}", outcome.output());
            assert_said(&problems(&outcome), wrong, before);
        }
        assert!(
            TcpStream::connect(setup.address()).is_err(),
            "something was bound"
        );
    }
}

#[test]
fn reload_says_everything_that_is_wrong_and_changes_nothing() {
    let setup = setup();
    let base = base(&setup);
    let origin = Origin::ok("in");
    let proxy: Proxy = setup.config(&policy_of(GOOD)).start();
    let decisions = || {
        let url = format!("http://{}/", origin.address);
        [
            (ALICE, &url),
            (ALICE, &"/".to_owned()),
            (BOB, &"http://10.0.0.1/".to_owned()),
        ]
        .map(|(user, target)| {
            let (answer, record) = proxy.ask(request_of(user, "GET", target));
            (answer.status(), record["rule"].as_str().unwrap().to_owned())
        })
    };
    let old = decisions();
    assert_eq!(old[0], (200, "lab".to_owned()));
    for (count, wrong) in (1..).zip(WRONG) {
        let before = append(&proxy.setup, &base, wrong.policy);
        let answer = proxy.reload();
        assert_eq!(answer.status(), 422, "{}", answer.text());
        let said: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (&said["result"], &said["unlisted"]),
            (&"failure".into(), &0.into())
        );
        let problems = said["problems"].as_array().unwrap().iter();
        let problems: Vec<_> = problems
            .map(|one| one.as_str().unwrap().to_owned())
            .collect();
        assert_said(&problems, wrong, before);
        // The log has them as well.
        for problem in &problems {
            eventually("the problem in the log", || {
                proxy.errors().contains(problem).then_some(())
            });
        }
        assert_eq!(
            proxy.metric("tollgate_reloads_total{result=\"failure\"}"),
            count
        );
        assert_eq!(decisions(), old);
    }
    assert_eq!(
        proxy.metric("tollgate_reloads_total{result=\"success\"}"),
        0
    );
    append(&proxy.setup, &base, GOOD);
    assert_eq!(proxy.reload().status(), 200);
}

/// What is under `tollgate` as a configuration of its own.
fn policy_of(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.strip_prefix("  ").unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}
