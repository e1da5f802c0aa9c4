//! `exists`, `all`, `exists_one`, `filter` and `map`: checked as calls, then expanded.
//!
//! The parser could expand them itself, as macros. Then the checker would see loops with accumulators, and
//! could not report errors in the terms of the operator.

use cel::{
    IdedExpr,
    common::ast::{ComprehensionExpr, Expr, ListExpr, LiteralValue, operators},
};

use super::{
    Scalar, ValueType,
    calls::{Function, unplaced},
    check::{At, Checker, LoopVariable, Node, call, root_names},
    error::{ExpressionError, ExpressionProblem},
    value_type::Size,
};

/// The accumulator of a loop, as the macros of CEL name it. No expression can use it.
const RESULT: &str = "@result";

impl Checker<'_> {
    /// Checks a loop and expands it, as the macros of CEL do.
    pub(super) fn list_loop(
        &mut self,
        at: At,
        function: &Function,
        list: IdedExpr,
        name: IdedExpr,
        body: IdedExpr,
    ) -> Result<Node, ExpressionError> {
        let list = self.check(list)?;
        let ValueType::List(Some(element)) = list.value_type else {
            return Err(self.argument(at, function, list.value_type));
        };
        let name = match name.expr {
            Expr::Ident(name)
                if !name.starts_with('.')
                    && !root_names().any(|root| root == name)
                    && !self.locals.iter().any(|local| local.name == name) =>
            {
                name
            }
            _ => return Err(self.error(at, ExpressionProblem::LoopName(function.name))),
        };
        let one = Size::bytes(list.size.bytes);
        self.locals.push(LoopVariable {
            name: name.clone(),
            value_type: ValueType::One(element),
            size: one,
        });
        let body_at = self.at(&body);
        // The step of the loop is a level of its own between the loop and its body.
        self.depth += 1;
        let body = self.check(body)?;
        self.depth -= 1;
        self.locals.pop();
        let of_body = match body.value_type {
            ValueType::One(scalar) if function.name == "map" || scalar == Scalar::Bool => scalar,
            _ if function.name == "map" => {
                return Err(self.unsupported(body_at, "a list cannot hold lists"));
            }
            value_type => {
                let (function, usage) = (function.name, function.usage);
                let problem = ExpressionProblem::LoopBody {
                    function,
                    value_type,
                    usage,
                };
                return Err(self.error(body_at, problem));
            }
        };
        // Each round copies the element, and its result twice at most.
        let copied = 6 + one.touch() + 2 * body.size.touch().max(one.touch());
        let round = body.cost.saturating_add(copied);
        let rounds = list.size.len.saturating_mul(round);
        let cost = list.cost.saturating_add(rounds).saturating_add(4);
        let (value_type, size) = match function.name {
            "map" => {
                let (bytes, len) = (body.size.bytes, list.size.len);
                (ValueType::List(Some(of_body)), Size { bytes, len })
            }
            "filter" => (list.value_type, list.size),
            _ => (ValueType::One(Scalar::Bool), Size::default()),
        };
        let expr = expand(function.name, list.into_expr(), name, body.into_expr());
        Ok(Node::new(expr, value_type, size, cost))
    }
}

/// The expansion of a macro of CEL.
fn expand(macro_name: &str, list: IdedExpr, name: String, body: IdedExpr) -> Expr {
    let accu = || unplaced(Expr::Ident(RESULT.to_owned()));
    let bool = |value: bool| unplaced(Expr::Literal(LiteralValue::Boolean(value.into())));
    let int = |value: i64| unplaced(Expr::Literal(LiteralValue::Int(value.into())));
    let call = |name: &str, args| unplaced(call(name, args));
    let list_of = |elements| unplaced(Expr::List(ListExpr::new(elements)));
    let until_true = |accu| {
        call(
            operators::NOT_STRICTLY_FALSE,
            vec![call(operators::LOGICAL_NOT, vec![accu])],
        )
    };
    let append = |element| call(operators::ADD, vec![accu(), list_of(vec![element])]);
    let (init, condition, step, result) = match macro_name {
        "exists" => (
            bool(false),
            until_true(accu()),
            call(operators::LOGICAL_OR, vec![accu(), body]),
            accu(),
        ),
        "all" => (
            bool(true),
            call(operators::NOT_STRICTLY_FALSE, vec![accu()]),
            call(operators::LOGICAL_AND, vec![accu(), body]),
            accu(),
        ),
        "filter" => {
            let kept = append(unplaced(Expr::Ident(name.clone())));
            let step = call(operators::CONDITIONAL, vec![body, kept, accu()]);
            (list_of(Vec::new()), bool(true), step, accu())
        }
        "map" => (list_of(Vec::new()), bool(true), append(body), accu()),
        _ => {
            let more = call(operators::ADD, vec![accu(), int(1)]);
            let step = call(operators::CONDITIONAL, vec![body, more, accu()]);
            let result = call(operators::EQUALS, vec![accu(), int(1)]);
            (int(0), bool(true), step, result)
        }
    };
    Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: list,
        iter_var: name,
        iter_var2: None,
        accu_var: RESULT.to_owned(),
        accu_init: init,
        loop_cond: condition,
        loop_step: step,
        result,
    }))
}
