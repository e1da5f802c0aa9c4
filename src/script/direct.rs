//! Functions of scripts that are run without Rhai's interpreter: those that ask about the request, decide and edit fields,
//! which is what nearly all do for each request.
//!
//! [`lower`] makes such a function of Rhai's tree, or leaves it to Rhai: loops, assignments, arrays, closures, functions
//! of the script. What a function does is the same in both ways; a property test holds one against the other. What is
//! rare, such as an argument of a wrong type, is given to Rhai as an expression of its own.

mod look;
mod lower;

use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString, Position, Scope, Token};

use self::look::{Looked, Question};
pub(super) use self::lower::Names;
use super::api::{Handle, TextTest};
use super::meter::Meter;
use super::natives::{MAX_PARAMETERS, Native};
use crate::hook::CheckedField;

/// A function.
pub(super) struct Direct {
    body: Vec<Node>,
    /// How many variables are there at the same time, with the parameters.
    variables: usize,
}

/// An expression or a statement.
enum Node {
    Constant(Dynamic),
    /// By its place among the variables.
    Variable(usize),
    Call(Box<Call>),
    Compare(Box<Compare>),
    Test(Box<Test>),
    Not(Box<Condition>, Position),
    /// `a && b`
    All(Vec<Condition>),
    /// `a || b`
    Any(Vec<Condition>),
    /// `a ?? b`
    FirstOf(Vec<Node>),
    If(Box<If>),
    Let(usize, Box<Node>),
    Block(Vec<Node>),
    Return(Box<Node>),
}

/// A node that has to be true or false, and its place in the text.
struct Condition {
    node: Node,
    position: Position,
}

struct If {
    condition: Condition,
    then: Vec<Node>,
    otherwise: Vec<Node>,
}

/// A call of a function of the host.
struct Call {
    /// What it may be, by the types of the arguments.
    natives: Vec<Native>,
    /// The first one of a method or a property is what it is of.
    arguments: Vec<Node>,
    /// Whether the first one comes last in time, as what a method is called on does.
    is_method: bool,
    /// The same call with the variables `a`, `b` and `c`, for Rhai.
    text: Box<str>,
    position: Position,
    /// What it does, where that is known before the call.
    quick: Option<Quick>,
}

/// A call that needs no values.
enum Quick {
    Asks(Question),
    Sets(CheckedField),
}

/// `text.contains("constant")` and the like.
struct Test {
    test: TextTest,
    found: ImmutableString,
    call: Call,
}

/// A comparison.
struct Compare {
    operator: Token,
    left: Node,
    right: Node,
    text: Box<str>,
    position: Position,
}

/// Why a function ends before its last statement.
enum Stop {
    Return(Dynamic),
    Error(Box<EvalAltResult>),
}

impl From<Box<EvalAltResult>> for Stop {
    fn from(error: Box<EvalAltResult>) -> Self {
        Stop::Error(error)
    }
}

/// What a call of a function has.
pub(super) struct Frame<'c> {
    pub(super) engine: &'c Engine,
    pub(super) meter: &'c Meter,
    pub(super) handle: &'c Handle,
    /// The parameters, and what `let` adds to them.
    pub(super) variables: &'c mut Vec<Dynamic>,
}

impl Direct {
    /// Calls it.
    ///
    /// # Errors
    /// Those of Rhai.
    pub(super) fn call(&self, frame: &mut Frame<'_>) -> Result<Dynamic, Box<EvalAltResult>> {
        frame.variables.resize(self.variables, Dynamic::UNIT);
        match frame.block(&self.body) {
            Ok(value) | Err(Stop::Return(value)) => Ok(value),
            Err(Stop::Error(error)) => Err(error),
        }
    }
}

impl Frame<'_> {
    fn block(&mut self, nodes: &[Node]) -> Result<Dynamic, Stop> {
        let mut last = Dynamic::UNIT;
        for node in nodes {
            last = self.value(node)?;
        }
        Ok(last)
    }

    fn count(&self, position: Position) -> Result<(), Stop> {
        match self.meter.count() {
            true => Ok(()),
            false => {
                let ended = EvalAltResult::ErrorTerminated(Dynamic::UNIT, position);
                Err(Stop::Error(ended.into()))
            }
        }
    }

    fn value(&mut self, node: &Node) -> Result<Dynamic, Stop> {
        match node {
            Node::Constant(value) => Ok(value.clone()),
            Node::Variable(place) => Ok(self.variable(*place).clone()),
            Node::Call(call) => self.call(call),
            Node::Compare(compare) => self.compare(compare),
            Node::Test(test) => self.test(test),
            Node::Not(inner, position) => self.not(inner, *position),
            Node::All(conditions) => {
                for condition in conditions {
                    if !self.is_true(condition)? {
                        return Ok(Dynamic::FALSE);
                    }
                }
                Ok(Dynamic::TRUE)
            }
            Node::Any(conditions) => {
                for condition in conditions {
                    if self.is_true(condition)? {
                        return Ok(Dynamic::TRUE);
                    }
                }
                Ok(Dynamic::FALSE)
            }
            Node::FirstOf(nodes) => {
                let mut value = Dynamic::UNIT;
                for node in nodes {
                    value = self.value(node)?;
                    if !value.is_unit() {
                        break;
                    }
                }
                Ok(value)
            }
            Node::If(branch) => {
                let is_true = self.is_true(&branch.condition)?;
                self.block(match is_true {
                    true => &branch.then,
                    false => &branch.otherwise,
                })
            }
            Node::Let(place, node) => {
                let value = self.value(node)?;
                if let Some(variable) = self.variables.get_mut(*place) {
                    *variable = value;
                }
                Ok(Dynamic::UNIT)
            }
            Node::Block(nodes) => self.block(nodes),
            Node::Return(node) => Err(Stop::Return(self.value(node)?)),
        }
    }

    fn variable(&self, place: usize) -> &Dynamic {
        self.variables.get(place).unwrap_or(&Dynamic::UNIT)
    }

    fn is_true(&mut self, condition: &Condition) -> Result<bool, Stop> {
        let value = match &condition.node {
            Node::Compare(compare) => self.compare(compare)?,
            Node::Test(test) => self.test(test)?,
            node => self.value(node)?,
        };
        value.as_bool().map_err(|found| {
            let (wanted, found) = ("bool".to_owned(), found.to_owned());
            let at = condition.position;
            Stop::Error(EvalAltResult::ErrorMismatchDataType(wanted, found, at).into())
        })
    }

    fn call(&mut self, call: &Call) -> Result<Dynamic, Stop> {
        match &call.quick {
            Some(Quick::Asks(question)) => {
                if let Some(looked) = self.ask(call, question)? {
                    return Ok(looked.into_value());
                }
            }
            Some(Quick::Sets(field)) => {
                self.count(call.position)?;
                if self.handle.set(field) {
                    return Ok(Dynamic::UNIT);
                }
            }
            None => {}
        }
        match call.arguments.len() {
            0 => self.call_with::<0>(call),
            1 => self.call_with::<1>(call),
            2 => self.call_with::<2>(call),
            _ => self.call_with::<MAX_PARAMETERS>(call),
        }
    }

    fn call_with<const N: usize>(&mut self, call: &Call) -> Result<Dynamic, Stop> {
        self.count(call.position)?;
        let mut values = [const { Dynamic::UNIT }; N];
        let in_order = values.iter_mut().zip(&call.arguments);
        for (value, node) in in_order.skip(usize::from(call.is_method)) {
            *value = self.value(node)?;
        }
        let mut lent = None;
        if call.is_method
            && let (Some(first), Some(of)) = (values.first_mut(), call.arguments.first())
        {
            *first = match of {
                // Not cloned, since a method may change it.
                Node::Variable(place) => {
                    lent = self.variables.get_mut(*place);
                    lent.as_deref_mut().map(std::mem::take).unwrap_or_default()
                }
                of => self.value(of)?,
            };
        }
        let found = call.natives.iter().find(|native| native.takes(&values));
        let result = match found {
            Some(native) => native.call(&mut values),
            None => ask_rhai(self.engine, &call.text, &values),
        };
        if let (Some(variable), Some(first)) = (lent, values.first_mut()) {
            *variable = std::mem::take(first);
        }
        let value = result.map_err(|error| at(error, call.position))?;
        self.check_size(value, call.position)
    }

    /// Tests a text with a constant one.
    fn test(&mut self, test: &Test) -> Result<Dynamic, Stop> {
        let call = &test.call;
        if let Some(of) = call.arguments.first().filter(|of| of.is_still()) {
            self.count(call.position)?;
            let looked = self.look(of)?;
            if let Some(text) = looked.as_ref().and_then(Looked::text) {
                return Ok((test.test)(text, &test.found).into());
            }
        }
        self.call(call)
    }

    fn compare(&mut self, compare: &Compare) -> Result<Dynamic, Stop> {
        let Compare { left, right, .. } = compare;
        self.count(compare.position)?;
        if left.is_still()
            && right.is_still()
            && let Some(left) = self.look(left)?
            && let Some(right) = self.look(right)?
            && let Some(outcome) = look::compare(&compare.operator, &left, &right)
        {
            return Ok(outcome.into());
        }
        let (left, right) = (self.value(left)?, self.value(right)?);
        let outcome = look::compare(&compare.operator, &Looked::of(&left), &Looked::of(&right));
        match outcome {
            Some(outcome) => Ok(outcome.into()),
            None => {
                let asked = ask_rhai(self.engine, &compare.text, &[left, right]);
                Ok(asked.map_err(|error| at(error, compare.position))?)
            }
        }
    }

    fn not(&mut self, inner: &Condition, position: Position) -> Result<Dynamic, Stop> {
        let value = self.value(&inner.node)?;
        match value.as_bool() {
            Ok(value) => Ok((!value).into()),
            Err(_) => {
                let asked = ask_rhai(self.engine, "!a", &[value]);
                Ok(asked.map_err(|error| at(error, position))?)
            }
        }
    }

    /// The longest text, in bytes.
    fn max_text(&self) -> usize {
        self.engine.max_string_size()
    }

    fn check_size(&self, value: Dynamic, position: Position) -> Result<Dynamic, Stop> {
        let length = value.as_immutable_string_ref().map_or(0, |text| text.len());
        if length > self.max_text() {
            let what = "Length of string".to_owned();
            return Err(Stop::Error(
                EvalAltResult::ErrorDataTooLarge(what, position).into(),
            ));
        }
        Ok(value)
    }
}

/// Evaluates an expression of the variables `a`, `b` and `c`.
fn ask_rhai(
    engine: &Engine,
    text: &str,
    values: &[Dynamic],
) -> Result<Dynamic, Box<EvalAltResult>> {
    let mut scope = Scope::new();
    for (name, value) in ["a", "b", "c"].into_iter().zip(values) {
        scope.push_dynamic(name, value.clone());
    }
    let result = engine.eval_expression_with_scope(&mut scope, text);
    result.map_err(|mut error| {
        error.set_position(Position::NONE);
        error
    })
}

/// An error without a place, at this one.
fn at(mut error: Box<EvalAltResult>, position: Position) -> Box<EvalAltResult> {
    if error.position().is_none() {
        error.set_position(position);
    }
    error
}
