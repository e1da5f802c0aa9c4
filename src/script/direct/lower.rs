//! A function as nodes, of Rhai's tree.

use rhai::{
    ASTFlags, BinaryExpr, Dynamic, Expr, FnCallExpr, ImmutableString, Position, Stmt, StmtBlock,
    Token,
};

use super::{Call, Compare, Condition, Direct, If, Node, Question, Quick, Test};
use crate::hook::CheckedField;
use crate::script::api::text_test;
use crate::script::natives::{ByName, MAX_PARAMETERS};

/// What a function can refer to.
pub(in crate::script) struct Names<'n> {
    /// The functions of the host that all scripts have, and those of this one.
    pub(in crate::script) natives: [&'n ByName; 2],
    /// The functions of the script, which it calls before those of the host.
    pub(in crate::script) own: &'n [ImmutableString],
    /// The value of `settings`.
    pub(in crate::script) settings: &'n Dynamic,
    /// The most variables at the same time.
    pub(in crate::script) max_variables: usize,
}

impl Direct {
    /// None: the function has something that is left to Rhai.
    pub(in crate::script) fn lower(
        names: &Names<'_>,
        parameters: &[ImmutableString],
        body: &[Stmt],
    ) -> Option<Self> {
        let mut lower = Lower {
            names,
            visible: parameters.to_vec(),
            most: parameters.len(),
        };
        let body = lower.statements(body)?;
        (lower.most <= names.max_variables).then_some(Self {
            body,
            variables: lower.most,
        })
    }
}

struct Lower<'n> {
    names: &'n Names<'n>,
    /// The variables at this place of the text, by their places.
    visible: Vec<ImmutableString>,
    most: usize,
}

impl Lower<'_> {
    fn block(&mut self, block: &StmtBlock) -> Option<Vec<Node>> {
        let before = self.visible.len();
        let nodes = self.statements(block.statements());
        self.visible.truncate(before);
        nodes
    }

    fn statements(&mut self, statements: &[Stmt]) -> Option<Vec<Node>> {
        statements.iter().map(|it| self.statement(it)).collect()
    }

    fn statement(&mut self, statement: &Stmt) -> Option<Node> {
        match statement {
            Stmt::Noop(_) => Some(Node::Constant(Dynamic::UNIT)),
            Stmt::Expr(expression) => self.expression(expression),
            Stmt::FnCall(call, position) => self.function(call, *position),
            Stmt::Block(block) => self.block(block).map(Node::Block),
            Stmt::If(branch, _) => Some(Node::If(Box::new(If {
                condition: self.condition(&branch.expr)?,
                then: self.block(&branch.body)?,
                otherwise: self.block(&branch.branch)?,
            }))),
            Stmt::Var(variable, flags, _) if flags.is_empty() => {
                let (name, value, _) = &**variable;
                let value = self.expression(value)?;
                let place = self.visible.len();
                self.visible.push(name.name.clone());
                self.most = self.most.max(self.visible.len());
                Some(Node::Let(place, Box::new(value)))
            }
            Stmt::Return(value, flags, _) if flags.is_empty() => {
                let value = match value {
                    Some(value) => self.expression(value)?,
                    None => Node::Constant(Dynamic::UNIT),
                };
                Some(Node::Return(Box::new(value)))
            }
            _ => None,
        }
    }

    fn condition(&mut self, expression: &Expr) -> Option<Condition> {
        Some(Condition {
            node: self.expression(expression)?,
            position: expression.position(),
        })
    }

    fn conditions(&mut self, expressions: &[Expr]) -> Option<Vec<Condition>> {
        expressions.iter().map(|it| self.condition(it)).collect()
    }

    fn expression(&mut self, expression: &Expr) -> Option<Node> {
        Some(match expression {
            Expr::Unit(_) => Node::Constant(Dynamic::UNIT),
            Expr::BoolConstant(value, _) => Node::Constant((*value).into()),
            Expr::IntegerConstant(value, _) => Node::Constant((*value).into()),
            Expr::StringConstant(value, _) => Node::Constant(value.clone().into()),
            Expr::Variable(variable, ..) => self.variable(&variable.1)?,
            Expr::And(all, _) => Node::All(self.conditions(all)?),
            Expr::Or(any, _) => Node::Any(self.conditions(any)?),
            Expr::Coalesce(values, _) => {
                let nodes = values.iter().map(|it| self.expression(it));
                Node::FirstOf(nodes.collect::<Option<_>>()?)
            }
            Expr::Stmt(block) => Node::Block(self.block(block)?),
            Expr::FnCall(call, position) => self.function(call, *position)?,
            Expr::Dot(chain, flags, _) => self.dots(chain, *flags)?,
            Expr::Index(chain, flags, position) => self.index(chain, *flags, *position)?,
            _ => return None,
        })
    }

    fn variable(&self, name: &str) -> Option<Node> {
        let place = self.visible.iter().rposition(|variable| variable == name);
        match place {
            Some(place) => Some(Node::Variable(place)),
            None => (name == "settings").then(|| Node::Constant(self.names.settings.clone())),
        }
    }

    /// An operator, or a function that is called by its name alone.
    fn function(&mut self, call: &FnCallExpr, position: Position) -> Option<Node> {
        if call.capture_parent_scope {
            return None;
        }
        match (&call.op_token, call.args.as_slice()) {
            (Some(Token::Bang), [inner]) => {
                let inner = self.condition(inner)?;
                Some(Node::Not(Box::new(inner), position))
            }
            (Some(operator), [left, right]) if is_comparison(operator) => {
                Some(Node::Compare(Box::new(Compare {
                    left: self.expression(left)?,
                    right: self.expression(right)?,
                    text: format!("a {} b", call.name).into(),
                    operator: operator.clone(),
                    position,
                })))
            }
            (Some(_), _) => None,
            (None, arguments) => {
                let text = format!("{}({})", call.name, list("a", arguments.len()));
                let arguments = arguments.iter().map(|it| self.expression(it));
                let arguments = arguments.collect::<Option<Vec<_>>>()?;
                self.call(&call.name, arguments, false, text, position)
            }
        }
    }

    /// `a.b.c(..)`, whose tree leans to the right.
    fn dots(&mut self, chain: &BinaryExpr, flags: ASTFlags) -> Option<Node> {
        let mut of = self.expression(&chain.lhs)?;
        let (mut link, mut flags) = (&chain.rhs, flags);
        // The arguments of all links come before the first call. It does not show where those of the later links are
        // constants or variables.
        let mut is_first = true;
        loop {
            // `?.`
            if flags.intersects(ASTFlags::NEGATED) {
                return None;
            }
            let (step, rest) = match link {
                Expr::Dot(next, next_flags, _) => (&next.lhs, Some((&next.rhs, *next_flags))),
                step => (step, None),
            };
            of = self.link(of, step, is_first)?;
            let Some((next, next_flags)) = rest else {
                return Some(of);
            };
            (link, flags, is_first) = (next, next_flags, false);
        }
    }

    fn link(&mut self, of: Node, step: &Expr, is_first: bool) -> Option<Node> {
        match step {
            Expr::Property(property, position) => {
                let ((getter, _), _, name) = &**property;
                self.call(getter, vec![of], true, format!("a.{name}"), *position)
            }
            Expr::MethodCall(call, position) => {
                let text = format!("a.{}({})", call.name, list("b", call.args.len()));
                let mut arguments = vec![of];
                for argument in &call.args {
                    let node = self.expression(argument)?;
                    let is_still = matches!(node, Node::Constant(_) | Node::Variable(_));
                    if !is_first && !is_still {
                        return None;
                    }
                    arguments.push(node);
                }
                self.call(&call.name, arguments, true, text, *position)
            }
            _ => None,
        }
    }

    /// `settings["name"]`
    fn index(&mut self, chain: &BinaryExpr, flags: ASTFlags, position: Position) -> Option<Node> {
        if flags.intersects(ASTFlags::NEGATED)
            || matches!(chain.rhs, Expr::Dot(..) | Expr::Index(..))
        {
            return None;
        }
        let of = self.expression(&chain.lhs)?;
        let arguments = vec![of, self.expression(&chain.rhs)?];
        self.call("index$get$", arguments, true, "a[b]".to_owned(), position)
    }

    fn call(
        &mut self,
        name: &str,
        arguments: Vec<Node>,
        is_method: bool,
        text: String,
        position: Position,
    ) -> Option<Node> {
        if arguments.len() > MAX_PARAMETERS || self.names.own.iter().any(|own| own == name) {
            return None;
        }
        let key = (name.into(), arguments.len());
        let mut natives = self.names.natives.iter().filter_map(|all| all.get(&key));
        let natives = natives.next()?.clone();
        let test = text_test(name).zip(constant_text(arguments.get(1)));
        let call = Call {
            quick: quick(name, &arguments),
            natives,
            arguments,
            is_method,
            text: text.into(),
            position,
        };
        Some(match test {
            Some((test, found)) => Node::Test(Box::new(Test { test, found, call })),
            None => Node::Call(Box::new(call)),
        })
    }
}

/// What a call does, where that is known before it. A field that cannot be written is an error of the call.
fn quick(name: &str, arguments: &[Node]) -> Option<Quick> {
    if let ("set_header", [Node::Variable(0), field, value]) = (name, arguments) {
        let (field, value) = (constant_text(Some(field))?, constant_text(Some(value))?);
        let checked = CheckedField::new(&field, &value);
        return checked.ok().map(Quick::Sets);
    }
    Question::of(name, arguments).map(Quick::Asks)
}

fn constant_text(node: Option<&Node>) -> Option<ImmutableString> {
    match node {
        Some(Node::Constant(value)) => value.as_immutable_string_ref().ok().map(|it| it.clone()),
        _ => None,
    }
}

/// The names of so many variables, from the first one on.
fn list(first: &str, count: usize) -> String {
    let names = ["a", "b", "c"]
        .into_iter()
        .skip_while(|name| *name != first);
    names.take(count).collect::<Vec<_>>().join(", ")
}

fn is_comparison(operator: &Token) -> bool {
    matches!(
        operator,
        Token::EqualsTo
            | Token::NotEqualsTo
            | Token::LessThan
            | Token::LessThanEqualsTo
            | Token::GreaterThan
            | Token::GreaterThanEqualsTo
    )
}
