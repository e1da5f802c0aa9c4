//! Expressions that have the same value for every request.

use cel::common::ast::{Expr, LiteralValue, operators};

use super::{Expression, facts::Fact};

impl Expression {
    /// The value of the expression, when it is the same for every request.
    pub fn always(&self) -> Option<bool> {
        // A client or a user can make these facts too long, and then the expression fails.
        let may_fail = [
            Fact::Method,
            Fact::Path,
            Fact::Query,
            Fact::User,
            Fact::Groups,
            Fact::Time,
            Fact::Sni,
            Fact::Alpn,
            Fact::Ja4,
            Fact::Ech,
        ];
        let is_used = |fact: &Fact| self.checked.used.contains(*fact);
        if may_fail.iter().any(is_used) || !self.checked.readings.is_empty() {
            return None;
        }
        truth(&self.checked.expr.expr)
    }
}

/// `false && x` is false also when `x` fails, and `true || x` is true.
fn truth(expr: &Expr) -> Option<bool> {
    let call = match expr {
        Expr::Literal(LiteralValue::Boolean(value)) => return Some(*value.inner()),
        Expr::Call(call) => call,
        _ => return None,
    };
    let of = |index: usize| {
        call.args
            .get(index)
            .and_then(|operand| truth(&operand.expr))
    };
    match (&*call.func_name, of(0), of(1)) {
        (operators::LOGICAL_AND, Some(false), _) | (operators::LOGICAL_AND, _, Some(false)) => {
            Some(false)
        }
        (operators::LOGICAL_OR, Some(true), _) | (operators::LOGICAL_OR, _, Some(true)) => {
            Some(true)
        }
        (operators::LOGICAL_AND, Some(true), rest)
        | (operators::LOGICAL_AND, rest, Some(true))
        | (operators::LOGICAL_OR, Some(false), rest)
        | (operators::LOGICAL_OR, rest, Some(false)) => rest,
        (operators::LOGICAL_NOT, Some(value), _) => Some(!value),
        (operators::CONDITIONAL, Some(true), _) => of(1),
        (operators::CONDITIONAL, Some(false), _) => of(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_with_a_constant_value() {
        for (text, expected) in [
            ("true", Some(true)),
            ("1 == 2", Some(false)),
            ("false && request.port == 443", Some(false)),
            ("request.host == \"a.example\" && 1 > 2", Some(false)),
            ("true || request.port / 0 == 1 + request.port", None),
            ("true || request.port == 1", Some(true)),
            ("request.port == 1 || request.port == 2", None),
            ("!(false && request.port == 1)", Some(true)),
            ("true ? false : request.port == 1", Some(false)),
            ("request.port == 1 ? true : true", None),
            // A name that is too long makes it fail, which denies.
            ("false && user.name == \"x\"", None),
            ("\"ops\" in user.groups", None),
            ("false && request.path == \"/\"", None),
            ("false && request.query == \"\"", None),
            ("false && field(\"a\") == \"\"", None),
            ("false && path_under(\"/a\")", None),
        ] {
            let Ok(expression) = Expression::parse(text) else {
                assert_eq!(expected, None, "{text}");
                continue;
            };
            assert_eq!(expression.always(), expected, "{text}");
        }
    }
}
