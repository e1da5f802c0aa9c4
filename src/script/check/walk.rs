//! A walk over the tree of a script: statements, and the expressions in them.

use std::collections::BTreeSet;

use rhai::{ASTFlags, BinaryExpr, Expr, Position, Stmt, StmtBlock};

use super::Fault;
use crate::hook::Phases;
use crate::script::{Source, vocabulary};

/// A function of the text.
#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) name: Box<str>,
    pub(super) parameters: Vec<Box<str>>,
    pub(super) place: Position,
}

impl Function {
    /// Whether it is written as `|x| ..`.
    pub(super) fn is_anonymous(&self) -> bool {
        self.name.starts_with("anon$")
    }
}

/// See the module.
pub(super) struct Walk<'s> {
    pub(super) source: &'s Source,
    pub(super) functions: Vec<Function>,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    /// The function that is walked through.
    pub(super) inside: Box<str>,
    /// The name of the request in it, and its phase; none in a function that is no phase.
    pub(super) subject: Option<(Box<str>, Phases)>,
    pub(super) called: BTreeSet<(Box<str>, usize)>,
    pub(super) reads_fields: bool,
}

impl<'s> Walk<'s> {
    pub(super) fn new(source: &'s Source, functions: Vec<Function>) -> Self {
        Self {
            source,
            functions,
            faults: Vec::new(),
            warnings: Vec::new(),
            inside: Box::default(),
            subject: None,
            called: BTreeSet::new(),
            reads_fields: false,
        }
    }

    /// Goes on to another function.
    pub(super) fn enter(&mut self, function: &Function) {
        self.inside = function.name.clone();
        let phase = vocabulary::phase(&function.name);
        let subject = function.parameters.first().cloned();
        self.subject = subject.zip(phase);
    }

    pub(super) fn report(
        &mut self,
        at: Position,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let fault = fault(at, message, remedy);
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    pub(super) fn warn(
        &mut self,
        at: Position,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let warning = fault(at, message, remedy);
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether another function calls this one.
    pub(super) fn is_called(&self, function: &Function) -> bool {
        let count = function.parameters.len();
        self.called.contains(&(function.name.clone(), count))
    }

    /// Comes back with the warnings.
    ///
    /// # Errors
    /// The faults, in the order of their places.
    pub(super) fn finish(mut self) -> Result<Vec<Fault>, Vec<Fault>> {
        self.faults.sort_by_key(|fault| (fault.line, fault.column));
        if self.faults.is_empty() {
            Ok(self.warnings)
        } else {
            Err(self.faults)
        }
    }

    /// Whether an expression is the request of this function.
    pub(super) fn is_subject(&self, expression: &Expr) -> bool {
        let name = self.subject.as_ref().map(|(name, _)| name);
        matches!((expression, name), (Expr::Variable(variable, ..), Some(name)) if *variable.1 == **name)
    }

    fn block(&mut self, block: &StmtBlock, is_last: bool) {
        let statements = block.statements();
        for (index, statement) in statements.iter().enumerate() {
            self.statement(statement, is_last && index + 1 == statements.len());
        }
    }

    /// `is_last` says whether the value of the statement is that of the function.
    pub(super) fn statement(&mut self, statement: &Stmt, is_last: bool) {
        match statement {
            Stmt::If(flow, _) => {
                self.expression(&flow.expr);
                self.block(&flow.body, is_last);
                self.block(&flow.branch, is_last);
            }
            Stmt::Switch(switch, _) => {
                let (value, cases) = &**switch;
                self.expression(value);
                for case in &cases.expressions {
                    self.expression(&case.lhs);
                    self.value(&case.rhs, is_last);
                }
            }
            Stmt::While(flow, _) | Stmt::Do(flow, ..) => {
                self.expression(&flow.expr);
                self.block(&flow.body, false);
            }
            Stmt::For(each, _) => {
                self.expression(&each.2.expr);
                self.block(&each.2.body, false);
            }
            Stmt::Var(variable, ..) => self.expression(&variable.1),
            Stmt::Assignment(assignment) => {
                let BinaryExpr { lhs, rhs } = &assignment.1;
                self.assigned(lhs);
                self.expression(lhs);
                self.expression(rhs);
            }
            Stmt::FnCall(call, at) => {
                if !is_last && matches!(call.name.as_str(), "deny" | "answer" | "cut") {
                    let message = format!(
                        "the value of {} is dropped, and the request goes on",
                        call.name
                    );
                    self.report(*at, message, format!("write `return {}(..)`", call.name));
                }
                self.function(call, *at);
            }
            Stmt::Block(block) => self.block(block, is_last),
            Stmt::TryCatch(flow, _) => {
                self.block(&flow.body, is_last);
                self.block(&flow.branch, is_last);
            }
            Stmt::Expr(expression) => self.value(expression, is_last),
            Stmt::BreakLoop(Some(value), ..) | Stmt::Return(Some(value), ..) => {
                self.expression(value);
            }
            _ => {}
        }
    }

    /// An expression whose value may be that of the function.
    fn value(&mut self, expression: &Expr, is_last: bool) {
        match expression {
            Expr::Stmt(block) => self.block(block, is_last),
            Expr::FnCall(call, at) if !is_last => {
                if matches!(call.name.as_str(), "deny" | "answer" | "cut") {
                    let message = format!(
                        "the value of {} is dropped, and the request goes on",
                        call.name
                    );
                    self.report(*at, message, format!("write `return {}(..)`", call.name));
                }
                self.expression(expression);
            }
            other => self.expression(other),
        }
    }

    pub(super) fn expression(&mut self, expression: &Expr) {
        match expression {
            Expr::InterpolatedString(parts, _) | Expr::Array(parts, _) => {
                for part in parts {
                    self.expression(part);
                }
            }
            Expr::Map(map, _) => {
                for (_, value) in &map.0 {
                    self.expression(value);
                }
            }
            Expr::Stmt(block) => self.block(block, true),
            Expr::FnCall(call, at) => self.function(call, *at),
            Expr::MethodCall(call, at) => self.method(call, *at, false),
            Expr::Dot(pair, flags, _) => self.chain(pair, *flags),
            Expr::Index(pair, _, _) => {
                self.expression(&pair.lhs);
                self.expression(&pair.rhs);
            }
            Expr::And(parts, _) | Expr::Or(parts, _) | Expr::Coalesce(parts, _) => {
                for part in parts.iter() {
                    self.expression(part);
                }
            }
            _ => {}
        }
    }

    /// `lhs.rhs`, where `rhs` may go on.
    fn chain(&mut self, pair: &BinaryExpr, _: ASTFlags) {
        let is_subject = self.is_subject(&pair.lhs);
        let is_settings =
            matches!(&pair.lhs, Expr::Variable(variable, ..) if variable.1 == "settings");
        self.expression(&pair.lhs);
        let first = match &pair.rhs {
            Expr::Dot(rest, ..) | Expr::Index(rest, ..) => {
                self.expression(&rest.rhs);
                &rest.lhs
            }
            other => other,
        };
        match first {
            Expr::Property(property, at) if is_subject => self.property(&property.2, *at),
            Expr::Property(property, at) if is_settings => self.setting(&property.2, *at),
            Expr::MethodCall(call, at) => self.method(call, *at, is_subject),
            other => self.expression(other),
        }
    }
}

fn fault(at: Position, message: impl Into<String>, remedy: impl Into<String>) -> Fault {
    Fault {
        line: at.line(),
        column: at.position(),
        message: message.into(),
        remedy: remedy.into(),
    }
}
