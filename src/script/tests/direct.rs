//! Functions that are run directly do what they do in Rhai.

use proptest::prelude::*;

use super::*;
use crate::script::language::Language;

/// A condition, with what is no condition now and then.
fn flag() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        4 => Just("true".to_owned()),
        4 => Just("false".to_owned()),
        8 => Just("r.in_group(\"dev\")".to_owned()),
        8 => Just("r.path_under(\"/admin\")".to_owned()),
        4 => Just("r.host_under(\"example.org\")".to_owned()),
        4 => Just("r.tls".to_owned()),
        1 => Just("r.path_under(\"admin\")".to_owned()),
        1 => Just("r.host_under(\"A\")".to_owned()),
        1 => Just("x".to_owned()),
    ];
    let leaf = prop_oneof![
        3 => leaf,
        4 => (value(), prop::sample::select(&["==", "!=", "<", "<=", ">", ">="][..]), value())
            .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
        4 => (text(), prop::sample::select(&["contains", "starts_with", "ends_with"][..]), value())
            .prop_map(|(of, test, with)| format!("{of}.{test}({with})")),
    ];
    let tree = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.clone().prop_map(|a| format!("!{a}")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("(if {a} {{ {b} }} else {{ {c} }})")),
        ]
    });
    tree.boxed()
}

/// A text, most likely.
fn text() -> BoxedStrategy<String> {
    let names = prop::sample::select(&["x-a", "x-b", "host", "none", "user-agent", "a b", ""][..]);
    let leaf = prop_oneof![
        4 => Just("\"a\"".to_owned()),
        2 => Just("\"\"".to_owned()),
        4 => Just("r.user".to_owned()),
        4 => Just("r.path".to_owned()),
        4 => Just("r.host".to_owned()),
        2 => Just("r.query".to_owned()),
        2 => Just("r.method".to_owned()),
        4 => Just("x".to_owned()),
        3 => Just("settings[\"team\"]".to_owned()),
        1 => Just("settings[\"none\"]".to_owned()),
        6 => names.prop_map(|name| format!("r.header(\"{name}\")")),
        1 => Just("r.group()".to_owned()),
        1 => Just("header(r, \"x-a\")".to_owned()),
        1 => Just("r.header(r.user.contains(1))".to_owned()),
    ];
    prop_oneof![
        4 => leaf.clone(),
        2 => (leaf.clone(), leaf).prop_map(|(a, b)| format!("({a} ?? {b})")),
    ]
    .boxed()
}

/// Any value.
fn value() -> BoxedStrategy<String> {
    prop_oneof![
        6 => text(),
        1 => Just("()".to_owned()),
        1 => Just("3".to_owned()),
        1 => Just("settings[\"most\"]".to_owned()),
        1 => Just("settings[\"hosts\"]".to_owned()),
        1 => Just("true".to_owned()),
        1 => Just("'a'".to_owned()),
        1 => Just("r".to_owned()),
        1 => Just("r.port".to_owned()),
        1 => Just("r.none".to_owned()),
        1 => Just("secret(\"github\")".to_owned()),
        1 => Just("deny(403)".to_owned()),
    ]
    .boxed()
}

fn statement() -> BoxedStrategy<String> {
    let names = prop::sample::select(&["x-a", "x-b", "a b", "connection"][..]);
    let leaf = prop_oneof![
        4 => value().prop_map(|value| format!("let x = {value};")),
        6 => (names.clone(), value())
            .prop_map(|(name, value)| format!("r.set_header(\"{name}\", {value});")),
        2 => (names.clone(), value())
            .prop_map(|(name, value)| format!("r.add_header(\"{name}\", {value});")),
        1 => names.prop_map(|name| format!("r.remove_header(\"{name}\");")),
        2 => value().prop_map(|value| format!("r.tag(\"a\", {value});")),
        1 => value().prop_map(|value| format!("r.count({value});")),
        1 => value().prop_map(|value| format!("return deny(403, {value});")),
        1 => value().prop_map(|value| format!("return {value};")),
        1 => value().prop_map(|value| format!("return answer({value}, \"body\");")),
        1 => Just("return;".to_owned()),
    ];
    let tree = leaf.prop_recursive(2, 10, 3, |inner| {
        let block = prop::collection::vec(inner, 0..3).prop_map(|all| all.join(" "));
        prop_oneof![
            block.clone().prop_map(|block| format!("{{ {block} }}")),
            (flag(), block.clone()).prop_map(|(flag, then)| format!("if {flag} {{ {then} }}")),
            (flag(), block.clone(), block).prop_map(|(flag, then, other)| format!(
                "if {flag} {{ {then} }} else {{ {other} }}"
            )),
        ]
    });
    tree.boxed()
}

/// What the calls of a script decide and change.
fn outcome(role: Role, text: &str) -> Option<Vec<String>> {
    let source = in_role(role, text);
    check::names(&source).ok()?;
    let script = unchecked(source);
    let fields = [
        ("x-a", "1"),
        ("x-b", "2"),
        ("X-B", "3"),
        ("user-agent", "curl/8.5"),
    ];
    let trial = run(&script, role, &fields);
    let shown = trial
        .steps
        .iter()
        .map(|step| format!("{} {:?} {:?}", step.phase, step.verdict, step.effects));
    Some(shown.collect())
}

/// Runs the statements in both ways. Rhai alone has loops.
fn compare(role: Role, statements: &str) {
    for phase in ["authorize", "response"] {
        let directly = format!("fn {phase}(r) {{\nlet x = \"b\";\n{statements}\n}}");
        let by_rhai =
            format!("fn {phase}(r) {{ loop {{ break; }}\nlet x = \"b\";\n{statements}\n}}");
        assert!(!is_direct(&by_rhai));
        let (directly, by_rhai) = (outcome(role, &directly), outcome(role, &by_rhai));
        assert_eq!(directly, by_rhai, "{phase}: {statements}");
    }
}

fn is_direct(text: &str) -> bool {
    let language = Language::compile(&source(text));
    language.is_ok_and(|language| language.runs_directly())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn both_ways_are_the_same(statements in prop::collection::vec(statement(), 1..5)) {
        let statements = statements.join("\n");
        compare(Role::Forward, &statements);
        compare(Role::Tunnel, &statements);
    }
}

/// What is looked at in its place is what a call would have: whatever there is of it, and whatever changed it before.
#[test]
fn what_is_looked_at_is_what_is_read() {
    let before = [
        "",
        "r.set_header(\"x-a\", \"9\");",
        "r.set_header(\"X-B\", \"\");",
        "r.add_header(\"x-a\", \"9\");",
        "r.remove_header(\"x-b\");",
        "r.set_header(\"connection\", \"close\");",
        "let r = \"shadow\";",
    ];
    let read = [
        "r.header(\"x-a\")",
        "r.header(\"X-b\")",
        "r.header(\"none\")",
        "r.header(\"x-long\")",
        "r.user",
        "r.path",
        "x",
    ];
    let used = [
        "r.tag(\"t\", IT);",
        "r.set_header(\"x-c\", IT);",
        "let y = IT; if y != () && y == IT { r.tag(\"t\", y); }",
        "if IT == \"1\" { r.tag(\"t\", \"1\"); }",
        "if IT < \"2\" { r.tag(\"t\", \"<\"); }",
        "if () == IT { r.tag(\"t\", \"none\"); }",
        "if IT.contains(\"2\") { r.tag(\"t\", \"2\"); }",
        "if IT.ends_with(\"e\") { r.tag(\"t\", \"e\"); }",
        "if IT >= r.header(\"x-b\") { r.tag(\"t\", \">=\"); }",
        "if IT == true || IT != 3 { r.tag(\"t\", \"other\"); }",
    ];
    for before in before {
        for read in read {
            for used in used {
                let text = format!("{before} {}", used.replace("IT", read));
                compare(Role::Forward, &text);
                compare(Role::Tunnel, &text);
            }
        }
    }
}

#[test]
fn what_is_run_directly() {
    let direct = [
        "fn upstream_request(r) {
            if r.header(\"host\") != () && r.header(\"host\").ends_with(\".corp.example\") { r.set_header(\"x-team\", \"blue\"); }
            if r.path_under(\"/admin\") && r.user != \"root\" { return deny(403, \"no\"); }
            let ua = r.header(\"user-agent\");
            if ua != () && ua.contains(\"curl\") { r.set_header(\"x-cli\", \"1\"); }
        }",
        "fn upstream_request(r) { r.set_header(\"authorization\", bearer(secret(\"github\"))); }",
        "fn authorize(r) { if !(r.in_group(\"agents\") || r.user == \"a\") { deny(\"no\") } }",
        "fn tunnel_bytes(r, moved) { if moved.total_from_client > 1000 { cut() } }",
        "fn log(r) { r.tag(\"team\", settings[\"team\"]); }",
    ];
    for text in direct {
        assert!(is_direct(text), "{text}");
    }
    let by_rhai = [
        "fn log(r) { for g in r.groups { r.tag(\"a\", g); } }",
        "fn log(r) { let x = 1; x += 1; }",
        "fn header(r, name) { \"own\" } fn log(r) { header(r, \"a\") }",
        "fn log(r) { r.path.replace(\"a\", \"b\"); }",
        "fn log(r) { r?.path }",
        "fn log(r) { r.header(\"a\").contains(r.header(\"b\")) }",
        "fn log(r) { `${r.user}` }",
    ];
    for text in by_rhai {
        assert!(!is_direct(text), "{text}");
    }
}
