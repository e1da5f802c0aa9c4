//! Random texts, and random expressions against the crate's own interpreter.

use super::super::error::ExpressionProblem;
use std::collections::HashMap;

use cel::{Context, Program, Value, objects::Key};
use chrono::DateTime;
use proptest::prelude::*;

use super::*;

/// Pieces of the language, and of other languages.
const PIECES: &[&str] = &[
    "request",
    ".host",
    ".port",
    ".path",
    ".query",
    "field('x-team')",
    "field(",
    "claim('a')",
    "path_under('/v2')",
    "path_under(",
    "user.groups",
    "client.ip",
    "time",
    "g",
    "x",
    "1",
    "-",
    "443",
    "9223372036854775807",
    "0x",
    "1u",
    "1.5",
    "'a'",
    "\"b\"",
    "'''c'''",
    "r'\\'",
    "b'd'",
    "'",
    "\"\"\"",
    "\\",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "?",
    ".",
    "!",
    "+",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    "<=",
    "in",
    "&&",
    "||",
    "=",
    "&",
    "true",
    "null",
    "exists(g, ",
    ".all(x, ",
    ".map(x, ",
    "size(",
    ".matches(",
    "ip_in(",
    "timestamp(",
    "duration(",
    ".getHours(",
    "has(",
    "if",
    "`",
    "#",
    "@",
    "//",
    "\n",
    "\u{0}",
    "é",
    "日本",
    ".?",
    "[?",
    "request.host == 'x'",
];

/// A source of choices.
struct Choices(std::vec::IntoIter<u8>);

impl Choices {
    fn below(&mut self, n: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % n
    }

    fn of(&mut self, choices: &[&str]) -> String {
        choices[self.below(choices.len())].to_owned()
    }

    fn text(&mut self, depth: usize, local: bool) -> String {
        match self.below(if depth == 0 { 4 } else { 8 }) {
            0 => self.of(&[
                "request.host",
                "request.method",
                "request.role",
                "user.name",
                "client.ip",
            ]),
            1 if local => "g".to_owned(),
            1 | 2 => self.of(&["'a'", "\"x.org\"", "'''ci'''", "r'\\d'", "''", "'\\u00e9'"]),
            3 => "user.groups[0]".to_owned(),
            4 => format!("user.groups[{}]", self.int(depth - 1, local)),
            5 => format!(
                "({} ? {} : {})",
                self.bool(depth - 1, local),
                self.text(depth - 1, local),
                self.text(depth - 1, local)
            ),
            6 => format!(
                "({} + {})",
                self.text(depth - 1, local),
                self.text(depth - 1, local)
            ),
            _ => format!("string({})", self.int(depth - 1, local)),
        }
    }

    fn int(&mut self, depth: usize, local: bool) -> String {
        match self.below(if depth == 0 { 2 } else { 8 }) {
            0 => "request.port".to_owned(),
            1 => self.of(&[
                "0",
                "1",
                "443",
                "-7",
                "9223372036854775807",
                "-9223372036854775808",
                "0x1f",
            ]),
            2 => format!("size({})", self.text(depth - 1, local)),
            3 => format!("({}).size()", self.list(depth - 1, local)),
            4 => format!("-({})", self.int(depth - 1, local)),
            5 => {
                let zone = self.of(&["", "'UTC'", "'Europe/Berlin'", "'Asia/Kolkata'"]);
                let accessor = self.of(&[
                    "getHours",
                    "getMinutes",
                    "getDayOfWeek",
                    "getDayOfYear",
                    "getFullYear",
                    "getDate",
                    "getMilliseconds",
                ]);
                format!("({}).{accessor}({zone})", self.time(depth - 1))
            }
            _ => {
                let operator = self.of(&["+", "-", "*", "/", "%"]);
                format!(
                    "({} {operator} {})",
                    self.int(depth - 1, local),
                    self.int(depth - 1, local)
                )
            }
        }
    }

    fn time(&mut self, depth: usize) -> String {
        match self.below(if depth == 0 { 2 } else { 3 }) {
            0 => "time".to_owned(),
            1 => self.of(&[
                "timestamp('2026-11-24T10:00:00Z')",
                "timestamp('0001-01-01T00:00:00Z')",
                "timestamp('9999-12-31T23:59:59.9Z')",
            ]),
            _ => {
                let operator = self.of(&["+", "-"]);
                format!("({} {operator} {})", self.time(depth - 1), self.duration())
            }
        }
    }

    fn duration(&mut self) -> String {
        self.of(&[
            "duration('1h30m')",
            "duration('-1.5s')",
            "duration('2562047h')",
            "(duration('1h') + duration('1ms'))",
        ])
    }

    fn list(&mut self, depth: usize, local: bool) -> String {
        match self.below(if depth == 0 { 2 } else { 4 }) {
            0 => "user.groups".to_owned(),
            1 => self.of(&["['a', 'ci']", "['x']", "[request.host, user.name]"]),
            _ if local => "['g', g]".to_owned(),
            2 if depth > 1 => format!(
                "({}).map(g, {})",
                self.list(depth - 1, false),
                self.text(depth - 1, true)
            ),
            2 => format!(
                "({}).filter(g, {})",
                self.list(0, false),
                self.bool(depth - 1, true)
            ),
            _ => format!(
                "({}).map(g, {})",
                self.list(0, false),
                self.text(depth - 1, true)
            ),
        }
    }

    fn bool(&mut self, depth: usize, local: bool) -> String {
        match self.below(if depth == 0 { 3 } else { 12 }) {
            0 => self.of(&["true", "false"]),
            1 => format!("{} {} {}", self.text(0, local), "==", self.text(0, local)),
            2 => format!("{} in {}", self.text(0, local), self.list(0, local)),
            3 => format!("!({})", self.bool(depth - 1, local)),
            4 | 5 => {
                let operator = self.of(&["&&", "||"]);
                format!(
                    "({} {operator} {})",
                    self.bool(depth - 1, local),
                    self.bool(depth - 1, local)
                )
            }
            6 => {
                let operator = self.of(&["==", "!=", "<", "<=", ">", ">="]);
                format!(
                    "({} {operator} {})",
                    self.int(depth - 1, local),
                    self.int(depth - 1, local)
                )
            }
            7 => {
                let operator = self.of(&["<", "!=", ">="]);
                format!(
                    "({} {operator} {})",
                    self.text(depth - 1, local),
                    self.text(depth - 1, local)
                )
            }
            8 => {
                let call = self.of(&["startsWith", "endsWith", "contains"]);
                format!(
                    "({}).{call}({})",
                    self.text(depth - 1, local),
                    self.text(depth - 1, local)
                )
            }
            9 => {
                let operator = self.of(&["<", "==", ">="]);
                format!(
                    "({} {operator} {})",
                    self.time(depth - 1),
                    self.time(depth - 1)
                )
            }
            10 => format!(
                "{} in ({})",
                self.text(depth - 1, local),
                self.list(depth - 1, local)
            ),
            _ if local => "g.size() > 1".to_owned(),
            _ => {
                let all = self.of(&["all", "exists", "exists_one"]);
                format!(
                    "({}).{all}(g, {})",
                    self.list(depth - 1, false),
                    self.bool(depth - 1, true)
                )
            }
        }
    }
}

/// What the crate makes of an expression, without anything of this module.
fn by_the_crate(text: &str, facts: &Facts<'_>) -> Option<bool> {
    let map = |entries: Vec<(&str, Value)>| {
        let entries = entries
            .into_iter()
            .map(|(key, value)| (Key::from(key), value));
        Value::from(entries.collect::<HashMap<_, _>>())
    };
    let groups: Vec<Value> = facts.groups.iter().map(|group| (*group).into()).collect();
    let mut context = Context::default();
    let request = vec![
        ("role", facts.role.into()),
        ("method", facts.method.into()),
        ("host", facts.host.into()),
        ("port", i64::from(facts.port).into()),
    ];
    context.add_variable_from_value("request", map(request));
    context.add_variable_from_value(
        "user",
        map(vec![("name", facts.user.into()), ("groups", groups.into())]),
    );
    let ip = facts.client.to_canonical().to_string();
    context.add_variable_from_value("client", map(vec![("ip", ip.into())]));
    let time = DateTime::<chrono::Utc>::from(facts.time).fixed_offset();
    context.add_variable_from_value("time", Value::Timestamp(time));
    match Program::compile(text).unwrap().execute(&context) {
        Ok(Value::Bool(answer)) => Some(answer),
        Ok(value) => panic!("{text}: {value:?}"),
        Err(_) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = Expression::parse(&text);
    }

    #[test]
    fn no_pieces_panic(pieces in prop::collection::vec((0..PIECES.len(), any::<bool>()), 0..16)) {
        let text: String = pieces.iter().map(|&(piece, space)| format!("{}{}", PIECES[piece], if space { " " } else { "" })).collect();
        if let Err(error) = Expression::parse(&text) {
            let printed = error.to_string();
            prop_assert!(printed.len() < 600 && !printed.contains(char::is_control), "{printed:?}");
        }
    }

    /// Every well-typed expression has the answer that CEL has for it, or none where CEL has none, in no
    /// more steps than it was said to take.
    #[test]
    fn answers_as_cel(choices in prop::collection::vec(any::<u8>(), 1..80), host in "[a-z.]{0,12}", port: u16, groups in prop::collection::vec("[a-z]{0,4}", 0..4)) {
        let text = Choices(choices.into_iter()).bool(4, false);
        let groups: Vec<&str> = groups.iter().map(|group| &**group).collect();
        let facts = Facts { host: &host, port, groups: &groups, ..facts() };
        match Expression::parse(&text) {
            Ok(expression) => {
                let answer = fuzz::check_cost(&expression, &facts);
                prop_assert_eq!(answer.ok(), by_the_crate(&text, &facts), "{} {:?}", text, answer);
            }
            Err(error) => prop_assert!(
                matches!(
                    error.problem,
                    ExpressionProblem::AlwaysFails(_)
                        | ExpressionProblem::Never { .. }
                        | ExpressionProblem::TooCostly { .. }
                        | ExpressionProblem::LongString { .. }
                        | ExpressionProblem::TooNested { .. }
                        | ExpressionProblem::TooDeep
                        | ExpressionProblem::TooManyTokens { .. }
                ),
                "{}: {}", text, error
            ),
        }
    }
}
