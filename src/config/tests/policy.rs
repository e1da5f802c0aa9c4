//! Groups, rules and their tests.

use super::{ALICE, Setup, check, decision, with};

/// A complete file with a group file and `lines` below `tollgate:`; they begin on line 5.
fn with_groups(lines: &str) -> String {
    with(lines).replace("{htpasswd: users}", "{htpasswd: users, groups: groups}")
}

fn setup() -> Setup {
    let setup = Setup::new();
    setup.file("groups", "ci: alice\nops-team: bob\n");
    setup
}

fn check_rules(lines: &str, expected: &str) {
    assert_eq!(setup().problems(&with_groups(lines)), expected, "{lines}");
}

const ALL: &str = "
  policy:
    default: deny
    rules:
      - name: no-uploads
        action: deny
        status: 451
        message: ask it@example.org
        users: [bob, alice]
        groups: [ci, ops-team]
        roles: [forward, gateway]
        methods: [POST, PUT]
      - name: lists
        action: observe
        domains: ['@list.txt', a.example]
      - name: lab
        action: admit
        groups: [ci]
        networks: [10.1.0.0/16]
        ports: [22, 8000-8099]
        client_networks: [192.168.1.0/24, '::1']
        time: {days: [mon-fri, sun], from: 08:00, until: 18:00, zone: Europe/Berlin}
      - name: until
        action: admit
        time: {not_before: 2026-11-24T10:00:00Z, not_after: '2026-12-24T10:00:00+01:00'}
        domains: ['@list.txt']
        ports: any
      - name: cel
        action: admit
        when: 'request.host.endsWith(\".internal\") && \"ci\" in user.groups'
  policy_tests:
    - {user: alice, target: 'http://x.test/', method: POST, expect: deny, rule: no-uploads}
    - {user: alice, client: 192.168.1.9, target: 'h.test:22', resolve: [10.1.1.1], time: 2026-11-24T08:00:00+01:00, expect: admit, rule: lab}
    - {user: alice, client: 192.168.1.9, target: 'h.test:22', resolve: [10.1.1.1], time: 2026-11-24T07:59:59+01:00, expect: deny}
    - {user: carol, target: 'b.list.example:9', time: 2026-11-24T10:00:00Z, expect: admit, rule: until}
    - {user: alice, target: 'http://a.internal/', time: 2026-11-24T09:00:00Z, expect: admit, rule: cel}
    - {user: carol, target: 'http://a.internal/', time: 2026-11-24T09:00:00Z, expect: deny, rule: default}
    - {user: carol, target: /status, method: PUT, time: 2026-11-24T09:00:00Z, expect: deny}
    - {user: carol, target: '127.1:443', time: 2026-11-24T09:00:00Z, expect: deny, rule: default}
";

#[test]
fn every_key_is_taken_over() {
    let setup = setup();
    setup.file("list.txt", "0.0.0.0 ads.example\n||list.example^\n");
    let config = setup.load(&with_groups(ALL)).unwrap();
    let names: Vec<String> = config
        .policy
        .rules()
        .iter()
        .map(|rule| rule.name.to_string())
        .collect();
    assert_eq!(names, ["no-uploads", "lists", "lab", "until", "cel"]);
    // A list that two rules name is in memory once.
    let shown = format!("{:?}", config.policy);
    assert!(shown.contains("list.example"), "{shown}");
}

#[test]
fn wrong_tests_are_problems() {
    let lines = "  policy:
    rules:
      - {name: ci, action: admit, groups: [ci], domains: [.a.example]}
      - {name: lab, action: admit, groups: [ci], networks: [10.0.0.0/8]}
      - {name: late, action: deny, time: {from: 22:00}, domains: [.b.example]}
  policy_tests:
    - {user: alice, target: 'x.a.example:443', expect: deny}
    - {user: alice, target: 'x.a.example:443', expect: admit, rule: lab}
    - {user: alice, target: 'x.a.example:443', expect: admit, rule: ci}
    - {user: alice, target: 'x.c.example:443', expect: admit}
    - {user: bob, target: 'x.b.example:443', expect: admit}
    - {user: bob, target: 'x.a.example:22', expect: admit}
";
    check_rules(
        lines,
        "f.yaml:11: tollgate.policy_tests[0]: expected deny, found admit by ci; correct the rules or the test; `tollgate explain -c f.yaml --user alice --target x.a.example:443` says why\n\
         f.yaml:12: tollgate.policy_tests[1]: expected admit by lab, found admit by ci; correct the rules or the test; `tollgate explain -c f.yaml --user alice --target x.a.example:443` says why\n\
         f.yaml:14: tollgate.policy_tests[3]: rule lab depends on the address of the target; add what it resolves to, as in `resolve: [10.1.2.3]`\n\
         f.yaml:15: tollgate.policy_tests[4]: rule late depends on the time; add when, as in `time: 2027-01-31T18:00:00Z`\n\
         f.yaml:16: tollgate.policy_tests[5]: expected admit, found deny by connect_ports; correct the rules or the test; `tollgate explain -c f.yaml --user bob --target x.a.example:22` says why\n\
         f.yaml:4: warning: tollgate.auth.groups: 1 member without a line in users, such as \"bob\"; correct the name, add the user, or remove the member\n\
         f.yaml:15: warning: tollgate.policy_tests[4]: user \"bob\" is not in users; correct the name, or remove the test\n\
         f.yaml:16: warning: tollgate.policy_tests[5]: user \"bob\" is not in users; correct the name, or remove the test",
    );
}

/// The command for the request of a test that fails, with all that the test says of it. A method is in capitals.
#[test]
fn a_test_that_fails_is_told_with_the_command_that_explains_it() {
    let problems = |test: &str| {
        let lines =
            format!("  policy: {{default: deny}}\n  policy_tests: [{{expect: admit, {test}}}]\n");
        setup().problems(&with_groups(&lines))
    };
    for (test, expected) in [
        (
            "user: 'alice b', target: 'http://a.example/x?y=1', method: put, time: 2027-01-31T18:00:00Z",
            "--user 'alice b' --target 'http://a.example/x?y=1' --method PUT --time 2027-01-31T18:00:00Z`",
        ),
        (
            "user: alice, target: 'https://a.example/', client: 10.0.0.1, resolve: [10.1.2.3, '::1'], \
             request_headers: {User-Agent: curl/8, Authorization: 'Bearer 5ecret'}",
            "--user alice --target https://a.example/ --header 'User-Agent: curl/8' --header 'Authorization: ...' \
             --client 10.0.0.1 --resolve 10.1.2.3,::1`",
        ),
        (
            "user: alice, target: /x, groups: [ops, 'on call']",
            "--user alice --target /x --group ops --group 'on call'`",
        ),
    ] {
        let found = problems(test);
        let expected = format!("`tollgate explain -c f.yaml {expected} says why");
        assert!(found.contains(&expected), "{found}");
        assert!(!found.contains("5ecret"), "{found}");
    }
}

#[test]
fn tests_that_cannot_be_read() {
    let lines = "  policy: {rules: [{name: no-uploads, action: deny, methods: [POST]}]}
  policy_tests:
    - {}
    - {user: '#b', target: example.org, expect: allow, rule: no-upload}
    - {user: alice, target: example.org, expect: deny, client: localhost, resolve: [], time: now, method: a b}
    - {user: alice, target: example.org, expect: deny, rule: special_purpose:loopback, resolved: []}
";
    check_rules(
        lines,
        "f.yaml:7: tollgate.policy_tests[0].user: missing; write a user name\n\
         f.yaml:7: tollgate.policy_tests[0].target: missing; write one such as example.org:443, http://example.org/ or /path\n\
         f.yaml:7: tollgate.policy_tests[0].expect: missing; write admit or deny\n\
         f.yaml:8: tollgate.policy_tests[1].user: the user name begins with #, which starts a comment; write the name as in the htpasswd file\n\
         f.yaml:8: tollgate.policy_tests[1].expect: neither admit nor deny; write admit or deny\n\
         f.yaml:8: tollgate.policy_tests[1].rule: no such rule; did you mean no-uploads?\n\
         f.yaml:9: tollgate.policy_tests[2].client: not an IP address; write one such as 192.0.2.1 or 2001:db8::1\n\
         f.yaml:9: tollgate.policy_tests[2].method: not a method; write one such as GET\n\
         f.yaml:9: tollgate.policy_tests[2].time: not an RFC 3339 time; write it as 2027-01-31T18:00:00Z or 2027-01-31T18:00:00+01:00\n\
         f.yaml:9: tollgate.policy_tests[2].resolve: no address; write what the target resolves to, or remove the key\n\
         f.yaml:10: tollgate.policy_tests[3].resolved: unknown key; did you mean \"resolve\"?\n\
         f.yaml:10: tollgate.policy_tests[3].target: missing port; add it, as in example.org:443, or write a URL such as https://example.org/",
    );
}

#[test]
fn rules_that_cannot_be_read() {
    let lines = "  policy:
    default: allow
    rules:
      - {action: block, usres: [x]}
      - {name: Bad Name, action: admit, status: 404, message: m}
      - {name: default, action: deny, status: 418, message: ''}
      - {name: lists, action: deny, users: [], groups: ci, methods: ['*', 'A B'], domains: [], networks: [], ports: [], client_networks: []}
      - {name: values, action: deny, users: ['#b'], roles: [tunel, proxy], domains: ['*.x', '10.0.0.1', '@gone'], networks: [10.1.0.0/8], ports: [0], client_networks: [x]}
      - {name: time, action: deny, time: {days: [mo], from: '8:00', until: '25:00', zone: Berlin, not_before: x}}
      - {name: times, action: deny, time: {}}
      - {name: hours, action: deny, time: {from: 08:00, until: 08:00, zone: CEST}}
      - {name: cel, action: deny, when: 'requst.host == 1'}
      - 5
";
    check_rules(
        lines,
        "f.yaml:6: tollgate.policy.default: neither admit nor deny; write admit or deny\n\
         f.yaml:8: tollgate.policy.rules[0].name: missing; write a name for the log, such as `name: no-uploads`\n\
         f.yaml:8: tollgate.policy.rules[0].action: neither admit, deny nor observe; write admit, deny or observe\n\
         f.yaml:8: tollgate.policy.rules[0].usres: unknown key; did you mean \"users\"?\n\
         f.yaml:9: tollgate.policy.rules[1].name: not a name; write up to 64 of a-z, 0-9, - and _, beginning with a letter or a digit\n\
         f.yaml:9: tollgate.policy.rules[1].status: only for rules that deny; remove it, or write `action: deny`\n\
         f.yaml:9: tollgate.policy.rules[1].message: only for rules that deny; remove it, or write `action: deny`\n\
         f.yaml:10: tollgate.policy.rules[2].name: a reserved name of the guard; choose another\n\
         f.yaml:10: tollgate.policy.rules[2].status: not a status code that a rule can answer with; write 403, 404, 429, 451 or 503\n\
         f.yaml:10: tollgate.policy.rules[2].message: is empty; write a value or remove the key\n\
         f.yaml:11: tollgate.policy.rules[3].users: an empty list, which nothing matches; fill it, or remove the key to match everything\n\
         f.yaml:11: tollgate.policy.rules[3].groups: a single value, where a list is expected; write [one, two], or [] for an empty one\n\
         f.yaml:11: tollgate.policy.rules[3].methods[0]: not a method: methods have no wildcard; remove the key to match every method\n\
         f.yaml:11: tollgate.policy.rules[3].methods[1]: not a method; write one such as GET\n\
         f.yaml:11: tollgate.policy.rules[3].domains: an empty list, which nothing matches; fill it, or remove the key to match everything\n\
         f.yaml:11: tollgate.policy.rules[3].networks: an empty list, which nothing matches; fill it, or remove the key to match everything\n\
         f.yaml:11: tollgate.policy.rules[3].ports: an empty list, which nothing matches; fill it, or remove the key to match everything\n\
         f.yaml:11: tollgate.policy.rules[3].client_networks: an empty list, which nothing matches; fill it, or remove the key to match everything\n\
         f.yaml:12: tollgate.policy.rules[4].users[0]: the user name begins with #, which starts a comment; write the name as in the htpasswd file\n\
         f.yaml:12: tollgate.policy.rules[4].roles[0]: not a role; did you mean tunnel?\n\
         f.yaml:12: tollgate.policy.rules[4].roles[1]: not a role; write tunnel, forward or gateway\n\
         f.yaml:12: tollgate.policy.rules[4].domains[0]: wildcards are not read; write .example.org for a domain and all below it\n\
         f.yaml:12: tollgate.policy.rules[4].domains[1]: an address is not a domain; put it into a list of networks\n\
         f.yaml:12: tollgate.policy.rules[4].domains[2]: gone does not exist; name a list file, relative to this file: @allowed.txt\n\
         f.yaml:12: tollgate.policy.rules[4].networks[0]: has bits behind the prefix; write 10.0.0.0/8 for the network or a single address\n\
         f.yaml:12: tollgate.policy.rules[4].ports[0]: not a port; write 443, 8000-8099 or any\n\
         f.yaml:12: tollgate.policy.rules[4].client_networks[0]: a name, where a network is expected; write its IP address here, or the name into a list of domains\n\
         f.yaml:13: tollgate.policy.rules[5].time.days[0]: not a day; write mon, tue, wed, thu, fri, sat, sun, or a range such as mon-fri\n\
         f.yaml:13: tollgate.policy.rules[5].time.from: not a time of day; write it as \"08:00\", from \"00:00\" to \"24:00\"\n\
         f.yaml:13: tollgate.policy.rules[5].time.until: not a time of day; write it as \"08:00\", from \"00:00\" to \"24:00\"\n\
         f.yaml:13: tollgate.policy.rules[5].time.zone: not a time zone; did you mean Europe/Berlin?\n\
         f.yaml:13: tollgate.policy.rules[5].time.not_before: not an RFC 3339 time; write it as 2027-01-31T18:00:00Z or 2027-01-31T18:00:00+01:00\n\
         f.yaml:14: tollgate.policy.rules[6].time: has no condition; set days, from, until, not_before or not_after\n\
         f.yaml:15: tollgate.policy.rules[7].time.zone: not a time zone; write one such as Europe/Berlin, or UTC\n\
         f.yaml:16: tollgate.policy.rules[8].when: column 1: unknown name requst; write request\n\
         f.yaml:17: tollgate.policy.rules[9]: a single value, where a map of keys is expected; write `key: value` lines",
    );
}

#[test]
fn rules_that_cannot_stand() {
    let lines = "  policy:
    rules:
      - {name: a, action: admit, groups: [ci, ops_team, nobody]}
      - {name: gw, action: deny, roles: [gateway], domains: [x.example]}
      - {name: a, action: deny, roles: [tunnel], methods: [GET]}
      - {name: all, action: deny}
      - {name: late, action: admit, users: [alice]}
";
    check_rules(
        lines,
        "f.yaml:7: tollgate.policy.rules[0].groups[1]: no such group; did you mean \"ops-team\"?\n\
         f.yaml:7: tollgate.policy.rules[0].groups[2]: no such group; add the group to the file of auth.groups\n\
         f.yaml:8: tollgate.policy.rules[1].domains: never matches: a request to the gateway has no domains; correct the matcher or the roles\n\
         f.yaml:9: tollgate.policy.rules[2].name: tollgate.policy.rules[0] has the same name; give each rule a name of its own\n\
         f.yaml:9: tollgate.policy.rules[2].methods: never matches: tunnels have the method CONNECT, and no other request has it; correct the matcher or the roles\n\
         f.yaml:11: tollgate.policy.rules[4]: never evaluated: rule all before it matches every request; move this rule up, or give rule all a matcher",
    );
    check(
        "  policy: {rules: [{name: a, action: admit, groups: [ci]}]}\n",
        "f.yaml:5: tollgate.policy.rules[0].groups[0]: no such group; name a group file in auth.groups",
    );
}

#[test]
fn a_broken_group_file() {
    let setup = setup();
    setup.file("groups", "ci: alice\nops bob\nalice:$apr1$x:y\n");
    // Nothing is said of groups that the file may well have had.
    let lines = "  policy: {rules: [{name: a, action: admit, groups: [ops]}, {name: B}]}\n";
    assert_eq!(
        setup.problems(&with_groups(lines)),
        "f.yaml:5: tollgate.policy.rules[1].name: not a name; write up to 64 of a-z, 0-9, - and _, beginning with a letter or a digit\n\
         f.yaml:5: tollgate.policy.rules[1].action: missing; write admit, deny or observe\n\
         groups:2: no colon after the name of the group; write `group: user user`, and begin a comment with #\n\
         groups:3: a colon in the name of a user; this is a group file, with lines like `group: user user`, in which the user of a token is written in quotes"
    );
    let gone = with_groups("").replace("groups: groups", "groups: gone");
    assert_eq!(
        setup.problems(&gone),
        "f.yaml:4: tollgate.auth.groups: gone does not exist; make it, with lines like `group: user user`, or remove the key"
    );
}

#[test]
fn a_broken_list_is_told_once() {
    let setup = setup();
    setup.file("list.txt", "a.example\nx y z\n");
    let lines = "  egress: {deny_domains: ['@list.txt']}
  policy:
    rules:
      - {name: a, action: admit, domains: ['@list.txt']}
      - {name: b, action: deny, domains: ['@list.txt']}
";
    let problems = setup.problems(&with_groups(lines));
    assert_eq!(problems.lines().count(), 1, "{problems}");
    assert!(problems.starts_with("list.txt:2: "), "{problems}");
}

#[test]
fn users_who_are_gone_keep_nothing_from_being_loaded() {
    let setup = setup();
    let lines =
        "  policy: {default: deny, rules: [{name: a, action: admit, users: [alice, gone]}]}\n";
    let config = setup.load(&with_groups(lines)).unwrap();
    assert_eq!(decision(&config.policy, "a.example:443"), "admit a");
}

#[test]
fn a_reload_reads_groups_lists_and_tests_again() {
    let setup = setup();
    setup.file("list.txt", "a.example\n");
    let yaml = with_groups(
        "  policy:
    default: deny
    rules: [{name: ci, action: admit, groups: [ci], domains: ['@list.txt']}]
  policy_tests: [{user: alice, target: 'a.example:443', expect: admit}]
",
    );
    let reloader = setup.load(&yaml).unwrap().reloader();
    setup.file("list.txt", "a.example\nb.example\n");
    let reloaded = reloader.reload().unwrap();
    assert_eq!(decision(&reloaded.policy, "b.example:443"), "admit ci");

    // Tests fail for what is in other files too.
    for (name, content) in [("groups", "ci: bob\n"), ("list.txt", "b.example\n")] {
        setup.file("groups", "ci: alice\n");
        setup.file("list.txt", "a.example\n");
        assert!(reloader.reload().is_ok());
        setup.file(name, content);
        let error = reloader.reload().unwrap_err();
        let expected = "f.yaml:8: tollgate.policy_tests[0]: expected admit, found deny by default; correct the rules or the test; `tollgate explain -c f.yaml --user alice --target a.example:443` says why";
        let shown = setup.shown(&error);
        assert_eq!(shown.lines().next(), Some(expected), "{shown}");
    }
    // All that is wrong is told at once.
    setup.file("users", format!("{ALICE}x\n"));
    setup.file("groups", "x\n");
    let error = reloader.reload().unwrap_err();
    assert_eq!(error.problems().len(), 2, "{error}");
}
