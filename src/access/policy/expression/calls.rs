//! The functions of the language: their operands and results.

use std::{ops::RangeInclusive, sync::Arc};

use cel::{
    IdedExpr,
    common::{
        ast::{CallExpr, Expr, LiteralValue},
        types::{CelDuration, CelTimestamp},
    },
};

use super::{
    Scalar, ValueType,
    check::{At, Checker, Node, call, literal_texts, member},
    error::{ExpressionError, ExpressionProblem, nearest},
    evaluate::{IN_ZONE, Opaque},
    facts::{ADDRESS, Compared},
    literals::{MATCH_BYTES, compile, parse_duration, parse_timestamp, parse_zone},
    value_type::Size,
};
use crate::access::policy::Networks;

/// A function of the language.
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) usage: &'static str,
    /// The number of operands when it is called after a dot, the operand before the dot included.
    after_dot: RangeInclusive<usize>,
    /// The number of operands otherwise.
    alone: RangeInclusive<usize>,
}

/// Every call has an operand, so this form never matches.
const NEVER: RangeInclusive<usize> = 0..=0;

macro_rules! functions {
    ($($name:literal $usage:literal $after_dot:expr, $alone:expr;)*) => {
        [$(Function { name: $name, usage: $usage, after_dot: $after_dot, alone: $alone }),*]
    };
}

const FUNCTIONS: [Function; 28] = functions! {
    "startsWith" "text.startsWith(\"text\")" 2..=2, NEVER;
    "endsWith" "text.endsWith(\"text\")" 2..=2, NEVER;
    "contains" "text.contains(\"text\")" 2..=2, NEVER;
    "matches" "text.matches(\"^pattern$\")" 2..=2, 2..=2;
    "size" "size(text) or size(list)" 1..=1, 1..=1;
    "string" "string(443)" NEVER, 1..=1;
    "ip_in" "ip_in(client.ip, [\"10.0.0.0/8\"])" NEVER, 2..=2;
    "path_under" "path_under(\"/v2/team-a\")" NEVER, 1..=1;
    "field" "field(\"user-agent\")" NEVER, 1..=1;
    "claim" "claim(\"repository\")" NEVER, 1..=1;
    "timestamp" "timestamp(\"2026-11-24T10:00:00Z\")" NEVER, 1..=1;
    "duration" "duration(\"1h30m\")" NEVER, 1..=1;
    "getFullYear" "time.getFullYear(\"Europe/Berlin\")" 1..=2, NEVER;
    "getMonth" "time.getMonth(\"Europe/Berlin\")" 1..=2, NEVER;
    "getDayOfYear" "time.getDayOfYear(\"Europe/Berlin\")" 1..=2, NEVER;
    "getDayOfMonth" "time.getDayOfMonth(\"Europe/Berlin\")" 1..=2, NEVER;
    "getDate" "time.getDate(\"Europe/Berlin\")" 1..=2, NEVER;
    "getDayOfWeek" "time.getDayOfWeek(\"Europe/Berlin\")" 1..=2, NEVER;
    "getHours" "time.getHours(\"Europe/Berlin\")" 1..=2, NEVER;
    "getMinutes" "time.getMinutes(\"Europe/Berlin\")" 1..=2, NEVER;
    "getSeconds" "time.getSeconds()" 1..=2, NEVER;
    "getMilliseconds" "time.getMilliseconds()" 1..=2, NEVER;
    "exists" "list.exists(x, x == \"text\")" 3..=3, NEVER;
    "all" "list.all(x, x == \"text\")" 3..=3, NEVER;
    "exists_one" "list.exists_one(x, x == \"text\")" 3..=3, NEVER;
    "existsOne" "list.existsOne(x, x == \"text\")" 3..=3, NEVER;
    "filter" "list.filter(x, x != \"text\")" 3..=3, NEVER;
    "map" "list.map(x, x + \"text\")" 3..=3, NEVER;
};

impl Checker<'_> {
    /// Checks a function with its operands.
    pub(super) fn call(&mut self, at: At, written: CallExpr) -> Result<Node, ExpressionError> {
        let Some(function) = FUNCTIONS.iter().find(|f| f.name == written.func_name) else {
            if written.func_name == "has" {
                return Err(self.unsupported(at, "every name has a value; remove has()"));
            }
            let near = nearest(&written.func_name, FUNCTIONS.iter().map(|f| f.name));
            let name = written.func_name.into();
            return Err(self.error(at, ExpressionProblem::UnknownFunction { name, near }));
        };
        let counts = match written.target {
            Some(_) => &function.after_dot,
            None => &function.alone,
        };
        let mut operands: Vec<IdedExpr> =
            written.target.map(|target| *target).into_iter().collect();
        operands.extend(written.args);
        if !counts.contains(&operands.len()) {
            return Err(self.usage(at, function));
        }
        let mut operands = operands.into_iter();
        let mut next = || operands.next().unwrap_or_default();
        match function.name {
            "startsWith" | "endsWith" | "contains" => self.part(at, function, next(), next()),
            "matches" => self.pattern(at, function, next(), next()),
            "size" => self.size(at, function, next()),
            "string" => self.string(at, function, next()),
            "ip_in" => self.ip_in(at, function, &next(), &next()),
            "path_under" | "field" | "claim" => self.reading(at, function, &next()),
            "timestamp" => self.timestamp(at, function, &next()),
            "duration" => self.duration(at, function, &next()),
            "exists" | "all" | "exists_one" | "existsOne" | "filter" | "map" => {
                self.list_loop(at, function, next(), next(), next())
            }
            _ => {
                let target = next();
                self.accessor(at, function, target, operands.next())
            }
        }
    }

    fn usage(&self, at: At, function: &Function) -> ExpressionError {
        let (function, usage) = (function.name, function.usage);
        self.error(at, ExpressionProblem::Usage { function, usage })
    }

    pub(super) fn argument(
        &self,
        at: At,
        function: &Function,
        value_type: ValueType,
    ) -> ExpressionError {
        let (function, usage) = (function.name, function.usage);
        self.error(
            at,
            ExpressionProblem::Argument {
                function,
                value_type,
                usage,
            },
        )
    }

    /// Checks an operand that has to be a string.
    fn text(
        &mut self,
        at: At,
        function: &Function,
        operand: IdedExpr,
    ) -> Result<Node, ExpressionError> {
        let node = self.check(operand)?;
        match node.value_type {
            ValueType::One(Scalar::String) => Ok(node),
            value_type => Err(self.argument(at, function, value_type)),
        }
    }

    /// Reads an operand that has to be a string in quotes.
    fn quoted(
        &self,
        at: At,
        function: &Function,
        operand: &IdedExpr,
    ) -> Result<String, ExpressionError> {
        match &operand.expr {
            Expr::Literal(LiteralValue::String(text)) => Ok(text.inner().to_owned()),
            _ => {
                let (function, usage) = (function.name, function.usage);
                Err(self.error(at, ExpressionProblem::NotLiteral { function, usage }))
            }
        }
    }

    fn part(
        &mut self,
        at: At,
        function: &Function,
        whole: IdedExpr,
        part: IdedExpr,
    ) -> Result<Node, ExpressionError> {
        let texts = literal_texts(&part);
        let whole = self.text(at, function, whole)?;
        let part = self.text(at, function, part)?;
        let compared = match function.name {
            "endsWith" => Compared::End,
            _ => Compared::Part,
        };
        self.possible(at, whole.fact, &texts, compared)?;
        // A search reads each byte a few times, a comparison reads vectors.
        let touch = match function.name {
            "contains" => whole.size.bytes.saturating_add(part.size.bytes) / 16,
            _ => part.size.touch(),
        };
        let cost = whole
            .cost
            .saturating_add(part.cost)
            .saturating_add(1 + touch);
        let constant = whole.constant && part.constant;
        let expr = member(whole.into_expr(), function.name, vec![part.into_expr()]);
        Ok(result(expr, Scalar::Bool, Size::default(), cost, constant))
    }

    fn pattern(
        &mut self,
        at: At,
        function: &Function,
        text: IdedExpr,
        pattern: IdedExpr,
    ) -> Result<Node, ExpressionError> {
        let text = self.text(at, function, text)?;
        let pattern_at = self.at(&pattern);
        let pattern = self.quoted(pattern_at, function, &pattern)?;
        let (pattern, size) =
            compile(&pattern).map_err(|problem| self.error(pattern_at, problem))?;
        let touch = (size as u64 / MATCH_BYTES).saturating_mul(1 + text.size.bytes);
        let cost = text.cost.saturating_add(touch).saturating_add(1);
        let constant = text.constant;
        let pattern = self.constant(Box::new(Opaque::Pattern(pattern)));
        let expr = call(function.name, vec![text.into_expr(), unplaced(pattern)]);
        Ok(result(expr, Scalar::Bool, Size::default(), cost, constant))
    }

    fn size(
        &mut self,
        at: At,
        function: &Function,
        operand: IdedExpr,
    ) -> Result<Node, ExpressionError> {
        let node = self.check(operand)?;
        let cost = match node.value_type {
            ValueType::List(_) => 1,
            ValueType::One(Scalar::String) => 1 + node.size.bytes / 16,
            value_type => return Err(self.argument(at, function, value_type)),
        };
        let cost = node.cost.saturating_add(cost);
        let constant = node.constant;
        let expr = call(function.name, vec![node.into_expr()]);
        Ok(result(expr, Scalar::Int, Size::default(), cost, constant))
    }

    fn string(
        &mut self,
        at: At,
        function: &Function,
        operand: IdedExpr,
    ) -> Result<Node, ExpressionError> {
        let node = self.check(operand)?;
        if node.value_type != ValueType::One(Scalar::Int) {
            return Err(self.argument(at, function, node.value_type));
        }
        let (cost, constant) = (node.cost.saturating_add(2), node.constant);
        let expr = call(function.name, vec![node.into_expr()]);
        Ok(result(
            expr,
            Scalar::String,
            Size::bytes(20),
            cost,
            constant,
        ))
    }

    fn ip_in(
        &mut self,
        at: At,
        function: &Function,
        address: &IdedExpr,
        networks: &IdedExpr,
    ) -> Result<Node, ExpressionError> {
        // A host is not accepted: a name is in no network, and a rule with "not in" would admit it.
        let client = matches!(&address.expr, Expr::Select(select)
            if select.field == "ip" && matches!(&select.operand.expr, Expr::Ident(name) if name == "client"));
        if !client {
            return Err(self.usage(at, function));
        }
        let entries = match &networks.expr {
            Expr::List(list) if list.elements.is_empty() => return Err(self.usage(at, function)),
            Expr::List(list) => {
                let entries = list.elements.iter();
                let quoted = entries.map(|entry| self.quoted(self.at(entry), function, entry));
                quoted.collect::<Result<Vec<_>, _>>()?
            }
            _ => vec![self.quoted(self.at(networks), function, networks)?],
        };
        let steps = 2 + entries.len() as u64;
        let networks = Networks::parse(entries).map_err(|errors| {
            let first = errors.into_iter().next();
            first.map_or_else(
                || self.usage(at, function),
                |error| self.error(at, ExpressionProblem::Network(error)),
            )
        })?;
        if networks.is_empty() {
            return Err(self.usage(at, function));
        }
        let networks = self.constant(Box::new(Opaque::Networks(Arc::new(networks))));
        let address = Expr::Ident(ADDRESS.to_owned());
        let expr = call(function.name, vec![unplaced(address), unplaced(networks)]);
        Ok(result(
            expr,
            Scalar::Bool,
            Size::default(),
            2 + steps,
            false,
        ))
    }

    fn timestamp(
        &mut self,
        at: At,
        function: &Function,
        operand: &IdedExpr,
    ) -> Result<Node, ExpressionError> {
        let text = self.quoted(at, function, operand)?;
        let time = parse_timestamp(&text)
            .ok_or_else(|| self.error(self.at(operand), ExpressionProblem::Timestamp))?;
        let expr = self.constant(Box::new(CelTimestamp::from(time)));
        Ok(result(expr, Scalar::Timestamp, Size::default(), 1, true))
    }

    fn duration(
        &mut self,
        at: At,
        function: &Function,
        operand: &IdedExpr,
    ) -> Result<Node, ExpressionError> {
        let text = self.quoted(at, function, operand)?;
        let duration = parse_duration(&text)
            .ok_or_else(|| self.error(self.at(operand), ExpressionProblem::Duration))?;
        let expr = self.constant(Box::new(CelDuration::from(duration)));
        Ok(result(expr, Scalar::Duration, Size::default(), 1, true))
    }

    fn accessor(
        &mut self,
        at: At,
        function: &Function,
        target: IdedExpr,
        zone: Option<IdedExpr>,
    ) -> Result<Node, ExpressionError> {
        let mut node = self.check(target)?;
        let of_duration = matches!(
            function.name,
            "getHours" | "getMinutes" | "getSeconds" | "getMilliseconds"
        );
        match node.value_type {
            ValueType::One(Scalar::Timestamp) => {}
            ValueType::One(Scalar::Duration) if of_duration && zone.is_none() => {}
            value_type => return Err(self.argument(at, function, value_type)),
        }
        let (mut cost, constant) = (node.cost.saturating_add(2), node.constant);
        if let Some(zone) = zone {
            let zone_at = self.at(&zone);
            let name = self.quoted(zone_at, function, &zone)?;
            let zone = parse_zone(&name).map_err(|problem| self.error(zone_at, problem))?;
            let zone = self.constant(Box::new(Opaque::Zone(zone)));
            node.expr = call(IN_ZONE, vec![unplaced(node.expr), unplaced(zone)]);
            cost = cost.saturating_add(4);
        }
        let expr = member(node.into_expr(), function.name, Vec::new());
        Ok(result(expr, Scalar::Int, Size::default(), cost, constant))
    }
}

/// The usage of a function whose name contains this name.
pub(super) fn like(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let like = |f: &&Function| f.name.to_ascii_lowercase().contains(&lower);
    FUNCTIONS
        .iter()
        .find(like)
        .filter(|_| lower.len() > 2)
        .map(|f| f.usage)
}

fn result(expr: Expr, scalar: Scalar, size: Size, cost: u64, constant: bool) -> Node {
    let mut node = Node::new(expr, ValueType::One(scalar), size, cost);
    node.constant = constant;
    node
}

/// A part without a position in the text.
pub(super) fn unplaced(expr: Expr) -> IdedExpr {
    IdedExpr { id: 0, expr }
}
