//! Invariants of expressions, for the fuzz target and property tests.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use cel::{common::value::CowVal, context::VariableResolver};

use super::{
    EvaluationError, Expression, Facts, MAX_COST, MAX_GROUPS, evaluate, facts::FactValues,
};
use crate::access::policy::RequestPath;
use crate::http::http1::{HeadLimits, KeptHead, RequestHead};
use crate::text::fuzz::shape;

/// Reads `data` as an expression, and evaluates it for a fixed request.
///
/// An error prints as one short line, at a place in the text. An evaluation takes no more steps
/// than the expression was said to, and fails only where CEL fails.
///
/// # Panics
/// An invariant does not hold.
pub fn expression(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data);
    let expression = match Expression::parse(&text) {
        Ok(expression) => expression,
        Err(error) => {
            let printed = error.to_string();
            let is_line = printed.len() < 600 && !printed.contains(char::is_control);
            assert!(is_line, "{printed:?}: {text:?}");
            if let Some(at) = error.at {
                let line = text.split('\n').nth(at.line.wrapping_sub(1));
                let columns = line.map(|line| 1 + line.chars().count());
                let exists = columns.is_some_and(|columns| (1..=columns).contains(&at.column));
                assert!(exists, "{printed}: {text:?}");
            }
            return shape(&error.problem);
        }
    };
    assert_eq!(expression.as_str(), text);
    assert!(expression.cost() <= MAX_COST, "{text:?}");
    let facts = facts();
    let answer = check_cost(&expression, &facts);
    // The cost counts with as many groups as a user can have.
    let groups = &["team-b"; MAX_GROUPS];
    let _ = check_cost(&expression, &Facts { groups, ..facts });
    let cost = expression.cost().checked_ilog2().unwrap_or_default();
    format!("{} {}", shape(&answer), cost / 2)
}

/// Evaluates an expression, and checks that the evaluation costs no more than it was said to, and fails only
/// where CEL fails.
///
/// # Panics
/// It costs more, or fails by an error of the checker.
pub(super) fn check_cost(
    expression: &Expression,
    facts: &Facts<'_>,
) -> Result<bool, EvaluationError> {
    let answer = expression.matches(facts);
    assert_ne!(answer, Err(EvaluationError::Unexpected), "{expression}");
    let checked = &expression.checked;
    if let Ok(values) = FactValues::new(facts, checked) {
        let counting = Counting {
            values,
            lookups: AtomicU64::new(0),
        };
        let _ = evaluate::evaluate(&checked.expr, &counting);
        let lookups = counting.lookups.into_inner();
        assert!(
            lookups <= expression.cost(),
            "{lookups} steps: {expression}"
        );
    }
    answer
}

/// The facts of a tunnel at 2026-11-24T10:30:05.250Z, a Tuesday; half past eleven in Berlin.
pub(super) fn facts() -> Facts<'static> {
    Facts {
        role: "tunnel",
        method: "CONNECT",
        host: "build-7.example.org",
        port: 8443,
        user: "alice",
        groups: &["ci", "team-a"],
        client: [10, 1, 2, 3].into(),
        time: UNIX_EPOCH + Duration::from_millis(1_795_516_205_250),
        head: Some(connect_head()),
        path: &RequestPath::None,
        claims: &[],
        hello: None,
    }
}

/// The head of the tunnel.
fn connect_head() -> &'static KeptHead {
    static HEAD: OnceLock<KeptHead> = OnceLock::new();
    HEAD.get_or_init(|| {
        let head = "CONNECT build-7.example.org:8443 HTTP/1.1\r\nHost: build-7.example.org:8443\r\n\
            User-Agent: curl/8.5.0\r\nX-Team: a\r\nx-team: b\r\n\r\n";
        let head = RequestHead::parse(head.as_bytes().into(), &HeadLimits::default());
        #[expect(clippy::expect_used, reason = "a fixed head, read in every test")]
        KeptHead::of(&head.expect("a valid head"))
    })
}

/// Facts that count their look-ups.
struct Counting<'a> {
    values: FactValues<'a>,
    lookups: AtomicU64,
}

impl VariableResolver for Counting<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        self.values.resolve(variable)
    }
}
