use super::*;
use crate::access::policy::Decision;
use crate::access::policy::tests::rule_text::{groups, rule};

fn errors(rules: &[&str]) -> Vec<String> {
    let rules = rules.iter().map(|text| rule(text)).collect();
    match Rules::new(rules, Decision::Deny, &groups()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn invalid_rules() {
    for (rules, expected) in [
        (
            &["a admit", "b observe"][..],
            "rule 1: never evaluated: rule a before it matches every request; move this rule up, or give rule a a matcher",
        ),
        (
            &["a admit users=x", "a deny users=y"],
            "rule 1: rule 0 has the same name; give each rule a name of its own",
        ),
        (
            &["a admit groups=ci,cj"],
            "rule 0: no such group in the group file",
        ),
        (
            &["a admit roles=gateway domains=a.example"],
            "rule 0: never matches: a request to the gateway has no domains",
        ),
        (
            &["a admit roles=gateway ports=1"],
            "rule 0: never matches: a request to the gateway has no ports",
        ),
        (
            &["a admit roles=gateway networks=::/0"],
            "rule 0: never matches: a request to the gateway has no networks",
        ),
        (
            &["a admit roles=tunnel methods=GET,PUT"],
            "rule 0: never matches: tunnels have the method CONNECT, and no other request has it",
        ),
        (
            &["a admit roles=forward,gateway methods=CONNECT"],
            "rule 0: never matches: tunnels have the method CONNECT, and no other request has it",
        ),
    ] {
        assert_eq!(errors(rules), [expected]);
    }
    for rules in [
        &["a observe", "b admit users=x"][..],
        &["a admit users=x", "b deny"],
        &["a admit roles=gateway,forward domains=a.example"],
        &["a admit roles=tunnel,forward methods=GET"],
        &["a admit methods=CONNECT"],
        &["a admit groups=ci,empty"],
    ] {
        assert_eq!(errors(rules), [""; 0], "{rules:?}");
    }
    // All at once, and of the rules that are never asked the first alone.
    let found = errors(&["a deny", "b admit groups=cj,ck", "a admit"]);
    assert_eq!(found.len(), 4, "{found:#?}");
}

#[test]
fn rules_beyond_the_limit_are_an_error() {
    let rules = |count: usize| {
        let rules = (0..count).map(|index| rule(&format!("r{index} deny users=u{index}")));
        Rules::new(rules.collect(), Decision::Admit, &groups())
    };
    let full = rules(MAX_RULES).unwrap();
    assert_eq!(full.len(), MAX_RULES);
    let last = full.class_of(&format!("u{}", MAX_RULES - 1)).unwrap();
    assert_eq!(last.rules.iter().collect::<Vec<_>>(), [MAX_RULES - 1]);
    let error = rules(MAX_RULES + 2).unwrap_err();
    let expected = RuleError {
        rule: MAX_RULES,
        problem: RuleProblem::TooMany,
    };
    assert_eq!(error, [expected]);
}

#[test]
fn users_are_put_into_classes() {
    let text = [
        "a admit users=alice,dave groups=ci",
        "b deny groups=ops",
        "c observe domains=a.example",
    ];
    let rules = Rules::new(text.map(rule).into(), Decision::Admit, &groups()).unwrap();
    for (user, about, member) in [
        ("alice", &[0, 1, 2][..], &["ci", "ops"][..]),
        ("bob", &[0, 2], &["ci"]),
        ("carol", &[2], &["others"]),
        ("dave", &[0, 2], &[]),
        ("nobody", &[2], &[]),
    ] {
        let class = rules.class_of(user).unwrap();
        assert_eq!(class.rules.iter().collect::<Vec<_>>(), about, "{user}");
        let groups: Vec<&str> = class.groups.iter().map(AsRef::as_ref).collect();
        assert_eq!(groups, member, "{user}");
    }
    // Users with the same groups and rules share a class.
    assert_eq!(rules.classes.len(), 5);
    assert_eq!(rules.default_decision(), Decision::Admit);
    assert!(!rules.is_empty() && Rules::default().is_empty());
}
