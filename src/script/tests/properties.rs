//! Texts of random tokens: none panics, and none takes longer than its limits.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const TOKENS: [&str; 60] = [
    "r",
    ".",
    "host",
    "path",
    "header",
    "(",
    ")",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "\"a\"",
    "\"x-a\"",
    "1",
    "0",
    "-",
    "+",
    "*",
    "/",
    "%",
    "**",
    "<<",
    ">",
    "==",
    "&&",
    "||",
    "!",
    "??",
    "?.",
    "let",
    "x",
    "=",
    "+=",
    ";",
    ";",
    ",",
    "if",
    "else",
    "while",
    "loop",
    "for",
    "in",
    "switch",
    "=>",
    "_",
    "return",
    "throw",
    "try",
    "catch",
    "break",
    "|x|",
    "deny",
    "secret",
    "settings",
    "r.tag(\"a\", x)",
    "r.set_header(\"x\", `${x}`)",
    "fn f(x) { x }",
    "f(x)",
];

/// A statement that is most likely right, with others in it.
fn statement() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("r.tag(\"a\", `${x}`);".to_owned()),
        Just("x += \"abcdefgh\";".to_owned()),
        Just("x += x;".to_owned()),
        Just("y.push(y);".to_owned()),
        Just("y.push(x);".to_owned()),
        Just("x = x.replace(\"a\", x);".to_owned()),
        Just("y = y.map(|v| [v, v]);".to_owned()),
        Just("m[x] = y;".to_owned()),
        Just("x = f(x);".to_owned()),
        Just("return deny(403, x);".to_owned()),
        Just("r.set_header(\"x-a\", x);".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let block = proptest::collection::vec(inner, 1..4).prop_map(|all| all.join(" "));
        prop_oneof![
            block
                .clone()
                .prop_map(|block| format!("loop {{ {block} }}")),
            block
                .clone()
                .prop_map(|block| format!("for i in 0..300 {{ {block} }}")),
            block
                .clone()
                .prop_map(|block| format!("try {{ {block} }} catch {{ }}")),
            block.prop_map(|block| format!("if x != \"\" {{ {block} }}")),
        ]
    })
}

fn takes_part(text: &str) {
    let source = in_role(Role::Forward, text);
    if check::names(&source).is_err() {
        return;
    }
    let script = unchecked(source);
    let start = Instant::now();
    let mut trial = run(&script, Role::Forward, &[("x-a", "1")]);
    assert!(start.elapsed() < Duration::from_secs(2), "{text}");
    assert!(
        trial.steps.iter().all(|step| step.operations <= 50_001),
        "{text}"
    );
    let _ = trial.field("x-a");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn tokens(tokens in proptest::collection::vec(proptest::sample::select(&TOKENS[..]), 0..40)) {
        let body = tokens.join(" ");
        takes_part(&body);
        takes_part(&format!("fn request(r) {{ let x = 1; {body} }}"));
    }

    #[test]
    fn statements(body in proptest::collection::vec(statement(), 1..6)) {
        let body = body.join(" ");
        takes_part(&format!(
            "fn f(v) {{ f(v + \"x\") }} fn request(r) {{ let x = \"a\"; let y = [1]; let m = #{{}}; {body} }}"
        ));
    }

    #[test]
    fn any_text(text in ".{0,200}") {
        takes_part(&text);
    }
}
