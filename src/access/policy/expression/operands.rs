//! The operators of the language: their operands and results.

use cel::common::ast::{CallExpr, Expr, LiteralValue, operators};

use super::{
    Scalar, ValueType,
    check::{At, Checker, Node, call, literal_texts},
    error::{EvaluationError, ExpressionError, ExpressionProblem},
    facts::Compared,
    value_type::Size,
};

use Scalar::{Bool, Duration, Int, String as Text, Timestamp};
use ValueType::{List, One};

/// The symbol of an operator, by its name in the tree.
pub(super) fn symbol(name: &str) -> Option<&'static str> {
    Some(match name {
        operators::CONDITIONAL => "? :",
        operators::LOGICAL_AND => "&&",
        operators::LOGICAL_OR => "||",
        operators::LOGICAL_NOT => "!",
        operators::NEGATE | operators::SUBSTRACT => "-",
        operators::ADD => "+",
        operators::MULTIPLY => "*",
        operators::DIVIDE => "/",
        operators::MODULO => "%",
        operators::EQUALS => "==",
        operators::NOT_EQUALS => "!=",
        operators::LESS => "<",
        operators::LESS_EQUALS => "<=",
        operators::GREATER => ">",
        operators::GREATER_EQUALS => ">=",
        operators::IN => "in",
        operators::INDEX => "[]",
        _ => return None,
    })
}

impl Checker<'_> {
    /// Checks an operator with its operands.
    pub(super) fn operator(
        &mut self,
        at: At,
        symbol: &'static str,
        operator: CallExpr,
    ) -> Result<Node, ExpressionError> {
        let texts: Vec<_> = operator.args.iter().map(literal_texts).collect();
        let mut nodes = Vec::with_capacity(operator.args.len());
        for operand in operator.args {
            nodes.push(self.check(operand)?);
        }
        let mut facts = nodes.iter().map(|node| node.fact);
        if let (Some(left), Some(right)) = (facts.next(), facts.next())
            && let [left_texts, right_texts] = &*texts
            && matches!(symbol, "==" | "!=" | "in")
        {
            self.possible(at, left, right_texts, Compared::Whole)?;
            if symbol != "in" {
                self.possible(at, right, left_texts, Compared::Whole)?;
            }
        }
        let (value_type, size, cost) = match &*nodes {
            [operand] => self.unary(at, symbol, operand)?,
            [left, right] => self.binary(at, symbol, left, right)?,
            [condition, left, right] => self.conditional(at, condition, left, right)?,
            _ => return Err(self.unsupported(at, "this cannot be evaluated")),
        };
        let constant = nodes.iter().all(|node| node.constant);
        let cost = nodes
            .iter()
            .fold(cost, |cost, node| cost.saturating_add(node.cost));
        let args = nodes.into_iter().map(Node::into_expr).collect();
        let mut node = Node::new(call(&operator.func_name, args), value_type, size, cost);
        node.constant = constant;
        Ok(node)
    }

    fn unary(
        &self,
        at: At,
        operator: &'static str,
        operand: &Node,
    ) -> Result<(ValueType, Size, u64), ExpressionError> {
        let hint = match (operator, operand.value_type) {
            ("!", One(Bool)) | ("-", One(Int)) => {
                return Ok((operand.value_type, Size::default(), 1));
            }
            ("!", One(Int)) => Some("compare it, as in x != 0"),
            ("!", One(Text)) => Some("compare it, as in x != \"\""),
            ("!", List(_)) => Some("compare its size, as in size(x) == 0"),
            _ => None,
        };
        let problem = ExpressionProblem::Operand {
            operator,
            value_type: operand.value_type,
            hint: hint.map(Into::into),
        };
        Err(self.error(at, problem))
    }

    fn binary(
        &self,
        at: At,
        operator: &'static str,
        left: &Node,
        right: &Node,
    ) -> Result<(ValueType, Size, u64), ExpressionError> {
        let none = Size::default();
        let touch = left.size.touch().saturating_add(right.size.touch());
        let result = match (operator, left.value_type, right.value_type) {
            ("&&" | "||", One(Bool), One(Bool)) => (One(Bool), none, 1),
            ("==" | "!=", One(a), One(b)) if a == b => (One(Bool), none, 1 + touch),
            ("<" | "<=" | ">" | ">=", One(a), One(b)) if a == b && a != Bool => {
                (One(Bool), none, 1 + touch)
            }
            ("in", One(a), List(b)) if b.is_none_or(|b| a == b) => {
                let walk = right.size.walk().saturating_add(left.size.touch());
                (One(Bool), none, walk.saturating_add(1))
            }
            ("[]", List(Some(element)), One(Int)) => {
                if int_literal(right).is_some_and(|index| index < 0) {
                    let problem = ExpressionProblem::AlwaysFails(EvaluationError::NoElement);
                    return Err(self.error(at, problem));
                }
                let size = Size::bytes(left.size.bytes);
                (One(element), size, 1 + left.size.touch())
            }
            ("+" | "-" | "*", One(Int), One(Int)) => (One(Int), none, 1),
            ("/" | "%", One(Int), One(Int)) => {
                if int_literal(right) == Some(0) {
                    let problem = ExpressionProblem::AlwaysFails(EvaluationError::DivisionByZero);
                    return Err(self.error(at, problem));
                }
                (One(Int), none, 1)
            }
            ("+", One(Text), One(Text)) => {
                let bytes = left.size.bytes.saturating_add(right.size.bytes);
                (One(Text), Size::bytes(bytes), 1 + touch)
            }
            ("+" | "-", One(Timestamp), One(Duration)) | ("+", One(Duration), One(Timestamp)) => {
                (One(Timestamp), none, 1)
            }
            ("+" | "-", One(Duration), One(Duration)) | ("-", One(Timestamp), One(Timestamp)) => {
                (One(Duration), none, 1)
            }
            _ => {
                let problem = ExpressionProblem::Operands {
                    operator,
                    left: left.value_type,
                    right: right.value_type,
                    hint: hint(operator, left, right),
                };
                return Err(self.error(at, problem));
            }
        };
        Ok(result)
    }

    fn conditional(
        &self,
        at: At,
        condition: &Node,
        left: &Node,
        right: &Node,
    ) -> Result<(ValueType, Size, u64), ExpressionError> {
        if condition.value_type != One(Bool) {
            let problem = ExpressionProblem::Operand {
                operator: "? :",
                value_type: condition.value_type,
                hint: Some("write a bool before the ?".into()),
            };
            return Err(self.error(at, problem));
        }
        let Some(value_type) = left.value_type.unify(right.value_type) else {
            let problem = ExpressionProblem::Branches {
                left: left.value_type,
                right: right.value_type,
            };
            return Err(self.error(at, problem));
        };
        Ok((value_type, left.size.max(right.size), 1))
    }
}

fn int_literal(node: &Node) -> Option<i64> {
    match &node.expr {
        Expr::Literal(LiteralValue::Int(value)) => Some(*value.inner()),
        _ => None,
    }
}

/// What to write instead of an operator with types that it does not take.
fn hint(operator: &str, left: &Node, right: &Node) -> Option<Box<str>> {
    let number = |node: &Node| match &node.expr {
        Expr::Literal(LiteralValue::String(text)) => text.inner().parse::<i64>().ok(),
        _ => None,
    };
    match (operator, left.value_type, right.value_type) {
        ("[]", One(_), _) => Some("only lists have elements".into()),
        ("[]", _, _) => Some("elements are counted from 0, as in user.groups[0]".into()),
        ("in", One(Text), One(Text)) => Some("write text.contains(\"part\")".into()),
        ("in", List(_), One(_)) => Some("write the list after in".into()),
        ("==" | "!=", List(_), One(_)) | ("==" | "!=", One(_), List(_)) => {
            Some("write value in list".into())
        }
        ("==" | "!=", List(_), List(_)) => {
            Some("compare their elements with in, all or exists".into())
        }
        ("+", List(_), List(_)) => Some("write x in a || x in b".into()),
        (_, One(Int), One(Text)) | (_, One(Text), One(Int)) => {
            match number(left).or_else(|| number(right)) {
                Some(number) => Some(format!("write {number} without quotes").into()),
                None => Some("write string(...) around the int".into()),
            }
        }
        ("&&" | "||", _, _) => Some("write bools on both sides, as in x == 1 && y == 2".into()),
        (_, One(Timestamp), One(Text)) | (_, One(Text), One(Timestamp)) => {
            Some("write timestamp(\"2026-11-24T10:00:00Z\")".into())
        }
        (_, One(Duration), One(Text | Int))
        | (_, One(Text | Int), One(Duration))
        | (_, One(Timestamp), One(Int)) => Some("write duration(\"1h30m\")".into()),
        _ => None,
    }
}
