//! The type checker: from the syntax tree to the tree that is evaluated.
//!
//! It types every part from the leaves up, rejects parts without a type, and builds the tree for the
//! interpreter: facts under their full names, loops written out, constants computed. With each type it computes
//! the largest size of the value and the cost of the worst case, which limit an evaluation.

use cel::{
    IdedExpr, Value,
    common::{
        ast::{CallExpr, Expr, ListExpr, LiteralValue, SourceInfo},
        value::Val,
    },
};

use super::{
    MAX_COST, MAX_DEPTH, MAX_STRING, Scalar, Syntax, ValueType, calls,
    error::{EvaluationError, ExpressionError, ExpressionProblem, Position, nearest},
    evaluate::evaluate,
    facts::{Compared, Constants, Fact, UsedFacts, constant_name},
    head::{Reading, reading_name},
    operands,
    value_type::Size,
};

/// The names before the dot, with their fields.
const ROOTS: [(&str, &str); 4] = [
    (
        "request",
        "request.role, request.method, request.host, request.port, request.path or request.query",
    ),
    ("user", "user.name or user.groups"),
    ("client", "client.ip"),
    ("tls", "tls.sni, tls.alpn, tls.ja4 or tls.ech"),
];

/// A checked expression, with what its evaluation needs.
pub(super) struct Checked {
    pub(super) expr: IdedExpr,
    /// The constants that cannot be literals.
    pub(super) constants: Vec<Box<dyn Val>>,
    pub(super) used: UsedFacts,
    /// What calls read of the head and the token.
    pub(super) readings: Vec<Reading>,
    pub(super) cost: u64,
}

/// A part that was checked.
pub(super) struct Node {
    pub(super) expr: Expr,
    pub(super) value_type: ValueType,
    pub(super) size: Size,
    /// The most steps to evaluate it.
    pub(super) cost: u64,
    /// Whether it has the same value for every request.
    pub(super) constant: bool,
    /// The fact, when the part is a fact itself.
    pub(super) fact: Option<Fact>,
}

/// The name of the elements in a loop.
pub(super) struct LoopVariable {
    pub(super) name: String,
    pub(super) value_type: ValueType,
    pub(super) size: Size,
}

/// A position in the text: the index of a character.
pub(super) type At = usize;

pub(super) struct Checker<'t> {
    text: &'t str,
    source: SourceInfo,
    constants: Vec<Box<dyn Val>>,
    used: UsedFacts,
    readings: Vec<Reading>,
    pub(super) locals: Vec<LoopVariable>,
    pub(super) depth: usize,
}

/// Checks a syntax tree.
pub(super) fn check(text: &str, syntax: Syntax) -> Result<Checked, ExpressionError> {
    let mut checker = Checker {
        text,
        source: syntax.source,
        constants: Vec::new(),
        used: UsedFacts::default(),
        readings: Vec::new(),
        locals: Vec::new(),
        depth: 0,
    };
    let node = checker.check(syntax.expr)?;
    if node.value_type != ValueType::One(Scalar::Bool) {
        return Err(ExpressionProblem::NotBool(node.value_type).into());
    }
    // Their lists are made once.
    let lists = [Fact::Groups, Fact::Alpn].into_iter();
    let lists = lists.filter(|fact| checker.used.contains(*fact));
    let cost = lists.fold(node.cost, |cost, fact| cost.saturating_add(fact.size().len));
    if cost > MAX_COST {
        return Err(ExpressionProblem::TooCostly {
            cost,
            max: MAX_COST,
        }
        .into());
    }
    Ok(Checked {
        cost,
        expr: node.into_expr(),
        constants: checker.constants,
        used: checker.used,
        readings: checker.readings,
    })
}

impl Node {
    /// A part with its operands: it costs what they cost, and `cost` more.
    pub(super) fn new(expr: Expr, value_type: ValueType, size: Size, cost: u64) -> Node {
        Node {
            expr,
            value_type,
            size,
            cost,
            constant: false,
            fact: None,
        }
    }

    pub(super) fn into_expr(self) -> IdedExpr {
        IdedExpr {
            id: 0,
            expr: self.expr,
        }
    }
}

impl Checker<'_> {
    pub(super) fn check(&mut self, expr: IdedExpr) -> Result<Node, ExpressionError> {
        let at = self.at(&expr);
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(at, ExpressionProblem::TooDeep));
        }
        let node = match expr.expr {
            Expr::Literal(literal) => self.literal(at, literal),
            Expr::Ident(name) => self.name(at, name),
            Expr::Select(select) => self.field(at, *select.operand, select.field),
            Expr::List(list) => self.list(list),
            Expr::Call(call) => match operands::symbol(&call.func_name) {
                Some(symbol) => self.operator(at, symbol, call),
                None => self.call(at, call),
            },
            Expr::Map(_) => Err(self.unsupported(at, "maps are not supported")),
            Expr::Struct(_) => Err(self.unsupported(at, "messages are not supported")),
            // The parser makes these from macros, which are off, and from errors.
            Expr::Comprehension(_) | Expr::Unspecified => {
                Err(self.unsupported(at, "this cannot be evaluated"))
            }
        }?;
        self.depth -= 1;
        if node.size.bytes > MAX_STRING {
            let bytes = node.size.bytes;
            return Err(self.error(at, ExpressionProblem::LongString { bytes }));
        }
        if node.constant {
            return self.fold(at, node);
        }
        Ok(node)
    }

    pub(super) fn error(&self, at: At, problem: ExpressionProblem) -> ExpressionError {
        ExpressionError {
            at: Some(Position::of(self.text, at)),
            problem,
        }
    }

    pub(super) fn unsupported(&self, at: At, what: &'static str) -> ExpressionError {
        self.error(at, ExpressionProblem::Unsupported(what))
    }

    /// The position of a part: of an operator its sign, of a call its name, of any other part its start.
    pub(super) fn at(&self, expr: &IdedExpr) -> At {
        let at = self
            .source
            .offset_for(expr.id)
            .map_or(0, |(start, _)| start) as usize;
        let back = match &expr.expr {
            Expr::Call(call) if operands::symbol(&call.func_name).is_none() => {
                call.func_name.chars().count()
            }
            _ => 0,
        };
        at.saturating_sub(back)
    }

    /// Keeps a value for the evaluation.
    pub(super) fn constant(&mut self, value: Box<dyn Val>) -> Expr {
        self.constants.push(value);
        Expr::Ident(constant_name(self.constants.len() - 1))
    }

    /// Keeps what a call reads, once, and returns the name of its value.
    pub(super) fn note_reading(&mut self, reading: Reading) -> String {
        let known = self.readings.iter().position(|known| *known == reading);
        reading_name(known.unwrap_or_else(|| {
            self.readings.push(reading);
            self.readings.len() - 1
        }))
    }

    /// Rejects texts that the fact can never equal.
    pub(super) fn possible(
        &self,
        at: At,
        fact: Option<Fact>,
        texts: &[String],
        compared: Compared,
    ) -> Result<(), ExpressionError> {
        let Some(fact) = fact else { return Ok(()) };
        for text in texts {
            if let Some(why) = fact.never(text, compared) {
                let text = text.as_str().into();
                return Err(self.error(at, ExpressionProblem::Never { fact, text, why }));
            }
        }
        Ok(())
    }

    fn literal(&self, at: At, literal: LiteralValue) -> Result<Node, ExpressionError> {
        let (scalar, bytes) = match &literal {
            LiteralValue::Boolean(_) => (Scalar::Bool, 0),
            LiteralValue::Int(_) => (Scalar::Int, 0),
            LiteralValue::String(text) => (Scalar::String, text.inner().len() as u64),
            LiteralValue::UInt(_) => {
                return Err(self.unsupported(at, "unsigned ints are not supported; remove the u"));
            }
            LiteralValue::Double(_) => {
                return Err(self.unsupported(at, "doubles are not supported; write an int"));
            }
            LiteralValue::Bytes(_) => {
                return Err(self.unsupported(at, "bytes are not supported; remove the b"));
            }
            LiteralValue::Null => {
                return Err(self.unsupported(at, "null is not supported; compare with \"\" or 0"));
            }
        };
        let mut node = Node::new(
            Expr::Literal(literal),
            ValueType::One(scalar),
            Size::bytes(bytes),
            1,
        );
        node.constant = true;
        Ok(node)
    }

    fn name(&mut self, at: At, name: String) -> Result<Node, ExpressionError> {
        if let Some(local) = self.locals.iter().find(|local| local.name == name) {
            return Ok(Node::new(
                Expr::Ident(name),
                local.value_type,
                local.size,
                1,
            ));
        }
        if name == Fact::Time.name() {
            return Ok(self.fact(Fact::Time));
        }
        if let Some(&(name, fields)) = ROOTS.iter().find(|root| root.0 == name) {
            return Err(self.error(at, ExpressionProblem::NeedsField { name, fields }));
        }
        let mut fields = Fact::ALL.iter().map(|fact| fact.name());
        let of_field = |full: &&str| full.split('.').nth(1) == Some(&*name);
        let near = fields.find(of_field);
        let near = near.or_else(|| nearest(&name, root_names()));
        let name = name.into();
        Err(self.error(at, ExpressionProblem::UnknownName { name, near }))
    }

    fn fact(&mut self, fact: Fact) -> Node {
        self.used.insert(fact);
        let name = Expr::Ident(fact.name().to_owned());
        let mut node = Node::new(name, fact.value_type(), fact.size(), 1);
        node.fact = Some(fact);
        node
    }

    fn field(&mut self, at: At, operand: IdedExpr, field: String) -> Result<Node, ExpressionError> {
        let root = match &operand.expr {
            Expr::Ident(root) if !self.locals.iter().any(|local| local.name == *root) => root,
            _ => {
                return Err(self.no_fields(at, operand, field));
            }
        };
        let full = format!("{root}.{field}");
        if let Some(fact) = Fact::ALL.into_iter().find(|fact| fact.name() == full) {
            return Ok(self.fact(fact));
        }
        if let Some(&(name, fields)) = ROOTS.iter().find(|known| known.0 == root) {
            let known = |fact: &Fact| fact.name().strip_prefix(name)?.strip_prefix('.');
            let near = nearest(&field, Fact::ALL.iter().filter_map(known));
            let near = Fact::ALL
                .iter()
                .find(|fact| known(fact) == near && near.is_some());
            let problem = ExpressionProblem::UnknownField {
                name,
                field: field.into(),
                fields: near.map_or(fields, |fact| fact.name()),
            };
            return Err(self.error(at + 1, problem));
        }
        Err(self.no_fields(at, operand, field))
    }

    /// The error for a field of a value.
    fn no_fields(&mut self, at: At, operand: IdedExpr, field: String) -> ExpressionError {
        match self.check(operand) {
            Ok(Node { value_type, .. }) => {
                let near = calls::like(&field);
                let field = field.into();
                self.error(
                    at + 1,
                    ExpressionProblem::NoFields {
                        value_type,
                        field,
                        near,
                    },
                )
            }
            Err(error) => error,
        }
    }

    fn list(&mut self, list: ListExpr) -> Result<Node, ExpressionError> {
        let mut elements = Vec::with_capacity(list.elements.len());
        let mut element = None;
        let mut size = Size::default();
        let mut cost = 1_u64;
        let mut constant = true;
        for expr in list.elements {
            let at = self.at(&expr);
            let node = self.check(expr)?;
            let ValueType::One(scalar) = node.value_type else {
                return Err(self.unsupported(at, "a list cannot hold lists"));
            };
            match element {
                Some(list) if list != scalar => {
                    let problem = ExpressionProblem::MixedList {
                        list: ValueType::One(list),
                        other: node.value_type,
                    };
                    return Err(self.error(at, problem));
                }
                _ => element = Some(scalar),
            }
            size = size.max(node.size);
            cost = cost.saturating_add(node.cost + 1 + node.size.touch());
            constant &= node.constant;
            elements.push(node.into_expr());
        }
        size.len = elements.len() as u64;
        let list = Expr::List(ListExpr::new(elements));
        let mut node = Node::new(list, ValueType::List(element), size, cost);
        node.constant = constant;
        Ok(node)
    }

    /// Computes a part that has the same value for every request.
    fn fold(&mut self, at: At, mut node: Node) -> Result<Node, ExpressionError> {
        if matches!(node.expr, Expr::Literal(_) | Expr::Ident(_)) {
            return Ok(node);
        }
        let expr = IdedExpr {
            id: 0,
            expr: node.expr,
        };
        let value = evaluate(&expr, &Constants(&self.constants))
            .and_then(|value| Value::try_from(value.as_ref()).map_err(EvaluationError::from))
            .map_err(|error| self.error(at, ExpressionProblem::AlwaysFails(error)))?;
        node.expr = match value {
            Value::Bool(value) => Expr::Literal(LiteralValue::Boolean(value.into())),
            Value::Int(value) => Expr::Literal(LiteralValue::Int(value.into())),
            Value::String(value) => Expr::Literal(LiteralValue::String(value.into())),
            value => {
                let value = Box::<dyn Val>::try_from(value).map_err(|error| {
                    self.error(at, ExpressionProblem::AlwaysFails(error.into()))
                })?;
                self.constant(value)
            }
        };
        node.cost = 1;
        Ok(node)
    }
}

/// A call for the interpreter.
pub(super) fn call(name: &str, args: Vec<IdedExpr>) -> Expr {
    Expr::Call(CallExpr {
        func_name: name.to_owned(),
        target: None,
        args,
    })
}

/// A call after a dot.
pub(super) fn member(target: IdedExpr, name: &str, args: Vec<IdedExpr>) -> Expr {
    Expr::Call(CallExpr {
        func_name: name.to_owned(),
        target: Some(Box::new(target)),
        args,
    })
}

/// The strings of a literal, or of a list of literals.
pub(super) fn literal_texts(expr: &IdedExpr) -> Vec<String> {
    let text = |expr: &IdedExpr| match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_owned()),
        _ => None,
    };
    match &expr.expr {
        Expr::List(list) => list.elements.iter().filter_map(text).collect(),
        _ => text(expr).into_iter().collect(),
    }
}

/// The names that are used alone or before a dot.
pub(super) fn root_names() -> impl Iterator<Item = &'static str> {
    ROOTS.iter().map(|root| root.0).chain([Fact::Time.name()])
}
