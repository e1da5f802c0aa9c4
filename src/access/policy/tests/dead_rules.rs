//! Rules that are said to never apply: each that should be found, none that does apply.

use super::super::reach::DeadReason;
use std::time::SystemTime;

use super::rule_text::{policy, rule};
use super::{domains, networks};
use crate::access::policy::*;

mod generated;

/// The reports, one line for each dead rule.
fn dead(guard: Guard, rules: &[&str]) -> Vec<String> {
    let said = policy(guard, Decision::Deny, rules).dead_rules(SystemTime::now());
    said.iter().map(ToString::to_string).collect()
}

/// The names of the dead rules with those that decide before them, `name < other other`.
fn found(guard: Guard, rules: &[&str]) -> Vec<String> {
    let said = policy(guard, Decision::Deny, rules).dead_rules(SystemTime::now());
    said.iter()
        .map(|dead| match &dead.reason {
            DeadReason::Covered { rules, guard } => {
                let rules = rules.iter().map(Name::as_str);
                let all: Vec<&str> = guard.iter().copied().chain(rules).collect();
                format!("{} < {}", dead.name, all.join(" "))
            }
            reason => format!("{} {reason:?}", dead.name),
        })
        .collect()
}

#[test]
fn rules_that_one_rule_covers() {
    for (first, second) in [
        ("a deny users=alice,bob", "b admit users=bob"),
        ("a deny groups=ci", "b admit users=bob"),
        ("a deny groups=ci", "b admit groups=ops"),
        ("a admit users=carol groups=ci", "b deny groups=ci,others"),
        ("a deny roles=tunnel,forward", "b admit domains=a.example"),
        (
            "a deny roles=tunnel,forward",
            "b admit roles=tunnel users=bob",
        ),
        ("a deny methods=GET,POST", "b admit methods=POST"),
        ("a deny methods=CONNECT", "b admit roles=tunnel"),
        (
            "a deny domains=.example",
            "b admit domains=a.example,.b.example",
        ),
        (
            "a deny domains=.example",
            "b admit domains=.example users=bob",
        ),
        (
            "a deny ports=80-90,443",
            "b admit ports=85,443 domains=a.example",
        ),
        ("a deny ports=any", "b admit domains=a.example"),
        (
            "a deny client_networks=10.0.0.0/8",
            "b admit client_networks=10.1.0.0/16,10.2.3.4",
        ),
        ("a deny client_networks=0.0.0.0/0,::/0", "b admit users=bob"),
        (
            "a deny networks=10.0.0.0/8",
            "b admit networks=10.1.0.0/16 ports=22",
        ),
        (
            "a deny domains=.example",
            "b admit domains=a.example networks=10.1.0.0/16",
        ),
        ("a deny time=08:00-18:00", "b admit time=09:00-17:00"),
        (
            "a deny time=22:00-06:00",
            "b admit time=23:00-01:00 users=bob",
        ),
        (
            "a deny when=request.port == 22",
            "b admit ports=22 when=request.port == 22",
        ),
        ("a deny users=bob when=true", "b admit users=bob"),
        ("a deny users=bob", "b observe users=bob"),
        (
            "a deny users=bob",
            "b observe users=bob networks=10.0.0.0/8",
        ),
    ] {
        assert_eq!(
            found(Guard::default(), &[first, second]),
            ["b < a"],
            "{first}, {second}"
        );
    }
}

#[test]
fn rules_with_requests_left_over() {
    for (first, second) in [
        ("a observe users=bob", "b admit users=bob"),
        ("a deny users=bob", "b admit users=bob,alice"),
        ("a deny users=bob", "b admit groups=ci"),
        ("a deny groups=ci", "b admit users=stranger"),
        ("a deny roles=tunnel", "b admit users=bob"),
        // The gateway has no port, and no domain.
        ("a deny ports=any", "b admit users=bob"),
        ("a deny roles=tunnel,forward", "b admit methods=GET"),
        ("a deny methods=GET", "b admit users=bob"),
        ("a deny domains=.example", "b admit users=bob"),
        ("a deny domains=a.example", "b admit domains=.a.example"),
        ("a deny ports=80-90", "b admit ports=90-91"),
        ("a deny client_networks=0.0.0.0/0", "b admit users=bob"),
        ("a deny networks=10.0.0.0/8", "b admit networks=10.0.0.0/7"),
        // Where there is no address yet it decides.
        ("a deny networks=0.0.0.0/0,::/0", "b deny domains=a.example"),
        // It is noted for an address that carries another.
        (
            "a deny networks=10.0.0.0/8",
            "b observe networks=10.0.0.0/8",
        ),
        ("a deny time=08:00-18:00", "b admit time=08:00-18:01"),
        ("a deny when=request.port == 22", "b admit ports=22"),
        (
            "a deny when=request.port == 22",
            "b admit when=request.port == 23",
        ),
    ] {
        let found = found(Guard::default(), &[first, second]);
        assert_eq!(found, [""; 0], "{first}, {second}");
    }
}

#[test]
fn rules_that_several_rules_cover() {
    for (rules, expected) in [
        (
            &[
                "a deny users=alice",
                "b admit users=bob",
                "c deny users=alice,bob",
            ][..],
            "c < a b",
        ),
        (
            &[
                "a deny groups=ops",
                "b admit users=bob",
                "c admit groups=ci",
            ],
            "c < a b",
        ),
        (
            &[
                "a deny roles=tunnel",
                "b deny roles=forward",
                "c admit domains=.example",
            ],
            "c < a b",
        ),
        (
            &[
                "a deny methods=CONNECT",
                "b admit roles=forward",
                "c deny ports=443 users=bob",
            ],
            "c < a b",
        ),
        (
            &[
                "a admit roles=tunnel",
                "b admit roles=forward",
                "c deny roles=gateway",
                "d admit users=bob",
            ],
            "d < a b c",
        ),
        (
            &[
                "a deny ports=1-400",
                "b admit ports=401-65535",
                "c deny domains=.example",
            ],
            "c < a b",
        ),
        (
            &[
                "a deny domains=a.example",
                "b admit domains=.b.example",
                "c deny domains=a.example,x.b.example",
            ],
            "c < a b",
        ),
        (
            &[
                "a deny networks=10.0.0.0/9",
                "b admit networks=10.128.0.0/9",
                "c deny networks=10.0.0.0/8",
            ],
            "c < a b",
        ),
        (
            &[
                "a deny client_networks=0.0.0.0/0",
                "b admit client_networks=::/0",
                "c deny users=bob",
            ],
            "c < a b",
        ),
        (
            &[
                "a deny time=08:00-18:00",
                "b admit time=18:00-08:00",
                "c deny users=bob",
            ],
            "c < a b",
        ),
        // Each quarter by another.
        (
            &[
                "a deny users=alice ports=1-400",
                "b deny users=alice ports=400-999",
                "c deny users=bob ports=1-999",
                "d admit users=alice,bob ports=22,443,800",
            ],
            "d < a b c",
        ),
        // One alone is enough, and the clearer message.
        (
            &[
                "a deny users=alice",
                "b admit users=bob",
                "c deny users=alice,bob,x",
                "d admit users=alice,bob",
            ],
            "d < c",
        ),
    ] {
        assert_eq!(found(Guard::default(), rules), [expected], "{rules:?}");
    }
    for rules in [
        &[
            "a deny users=alice",
            "b observe users=bob",
            "c deny users=alice,bob",
        ][..],
        &[
            "a admit roles=tunnel",
            "b admit roles=forward",
            "d admit users=bob",
        ],
        &[
            "a deny users=alice ports=1-400",
            "b deny users=bob ports=401-65535",
            "c deny users=alice,bob domains=.a",
        ],
        &[
            "a deny networks=10.0.0.0/9",
            "b admit networks=10.128.0.0/9",
            "c deny domains=.example",
        ],
    ] {
        assert_eq!(found(Guard::default(), rules), [""; 0], "{rules:?}");
    }
}

#[test]
fn rules_behind_the_guard() {
    let guard = Guard {
        deny_domains: domains(&[".bad.example"]),
        deny_networks: networks(&["10.0.0.0/8", "11.0.0.0/8"]),
        allow_networks: networks(&["11.1.0.0/16"]),
        ..Guard::default()
    };
    let rules = [
        "a admit domains=bad.example,.x.bad.example",
        "b admit domains=bad.example,good.example",
        "c admit networks=10.1.0.0/16",
        "d admit networks=11.0.0.0/8",
        "e deny domains=.bad.example networks=1.0.0.0/8",
        // The rest of it is decided by b.
        "f admit domains=good.example,x.bad.example",
    ];
    let both = "tollgate.egress.deny_domains b";
    assert_eq!(
        found(guard, &rules),
        [
            "a < tollgate.egress.deny_domains",
            "c < tollgate.egress.deny_networks",
            "e < tollgate.egress.deny_domains",
            &format!("f < {both}"),
        ]
    );
    let guard = Guard {
        allow_domains: domains(&["a.example", ".b.example"]),
        ..Guard::default()
    };
    let rules = [
        "a admit domains=.c.example,x.a.example",
        "b admit domains=.example users=bob",
        "c admit domains=x.b.example",
        "d admit users=carol",
    ];
    assert_eq!(found(guard, &rules), ["a NotAllowed"]);
}

#[test]
fn rules_that_contradict_themselves() {
    let mut over = rule("a admit users=bob");
    let last = Moment::parse("2026-01-31T18:00:00Z").unwrap();
    let schedule = Schedule::new(None, None, None, Zone::UTC, None, Some(last));
    over.matchers.time = Some(schedule.unwrap());
    let rules = vec![
        over,
        rule("b admit groups=empty"),
        rule("c admit groups=empty users=x"),
        rule("d deny users=bob when=1 == 2"),
        rule("e deny when=request.port == 1"),
    ];
    let rules = Rules::new(rules, Decision::Deny, &super::rule_text::groups()).unwrap();
    let said: Vec<_> = Policy::new(Guard::default(), rules)
        .dead_rules(SystemTime::now())
        .iter()
        .map(|dead| format!("{} {}; {}", dead.key().unwrap(), dead, dead.remedy()))
        .collect();
    assert_eq!(
        said,
        [
            "time rule a never applies: its time is over, not_after is 2026-01-31T18:00:00Z; set a later not_after, or remove the rule",
            "groups rule b never applies: no user is in its groups; add a user to a group in the file of auth.groups, or remove the rule",
            "when rule d never applies: its expression is always false; correct the expression, or remove the rule",
        ]
    );
}

#[test]
fn messages_name_a_few_rules() {
    let mut rules: Vec<String> = (0..7).map(|n| format!("r{n} deny users=u{n}")).collect();
    rules.push("late admit users=u0,u1,u2,u3,u4,u5,u6".to_owned());
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    assert_eq!(
        dead(Guard::default(), &rules),
        [
            "rule late never applies: rules r0, r1, r2, r3 and 3 more above it decide every request that it matches"
        ]
    );
    assert_eq!(
        dead(Guard::default(), &["a deny users=bob", "b admit users=bob"]),
        ["rule b never applies: rule a above it decides every request that it matches"]
    );
}

/// As many rules as there can be, each with a list of its own, and lists of a million: no more than the
/// bounds is spent on them.
#[test]
fn the_work_is_bounded() {
    let names = |from: usize, to: usize| (from..to).map(|n| format!("n{n}.example"));
    let large: std::sync::Arc<Domains> = Domains::parse(names(0, 300_000)).unwrap().into();
    let other: std::sync::Arc<Domains> = Domains::parse(names(0, 300_001)).unwrap().into();
    let rules = (0..MAX_RULES).map(|index| {
        let mut rule = rule(&format!("r{index} deny users=u{index},u{}", index + 1));
        if index % 2 == 0 {
            let list = if index % 4 == 0 { &large } else { &other };
            rule.matchers.domains = Some([std::sync::Arc::clone(list)].into_iter().collect());
            rule.matchers.users = None;
        }
        rule
    });
    let rules = Rules::new(rules.collect(), Decision::Deny, &Groups::default()).unwrap();
    let policy = Policy::new(Guard::default(), rules);
    let start = std::time::Instant::now();
    let found = policy.dead_rules(SystemTime::now());
    // The same list again is recognised at once, however large it is.
    assert!(
        found.iter().any(|dead| dead.name.as_str() == "r4"),
        "{}",
        found.len()
    );
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
