//! Functions of scripts that are run without Rhai's interpreter: those that ask about the request, decide and edit fields,
//! which is what nearly all do for each request.
//!
//! [`lower`] makes such a function of Rhai's tree, or leaves it to Rhai: loops, assignments, arrays, closures, functions
//! of the script. What a function does is the same in both ways; a property test holds one against the other. What is
//! rare, such as an argument of a wrong type, is given to Rhai as an expression of its own.

mod lower;

use rhai::{Dynamic, Engine, EvalAltResult, Position, Scope, Token};

pub(super) use self::lower::Names;

use super::meter::Meter;
use super::natives::{MAX_PARAMETERS, Native};

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
        let value = self.value(&condition.node)?;
        value.as_bool().map_err(|found| {
            let (wanted, found) = ("bool".to_owned(), found.to_owned());
            let at = condition.position;
            Stop::Error(EvalAltResult::ErrorMismatchDataType(wanted, found, at).into())
        })
    }

    fn call(&mut self, call: &Call) -> Result<Dynamic, Stop> {
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

    fn compare(&mut self, compare: &Compare) -> Result<Dynamic, Stop> {
        self.count(compare.position)?;
        let left = self.owned(&compare.left)?;
        let right = self.owned(&compare.right)?;
        let outcome = {
            let left = self.seen(&compare.left, left.as_ref());
            let right = self.seen(&compare.right, right.as_ref());
            compare_plain(&compare.operator, left, right)
        };
        match outcome {
            Some(outcome) => Ok(outcome.into()),
            None => {
                let left = self.seen(&compare.left, left.as_ref()).clone();
                let right = self.seen(&compare.right, right.as_ref()).clone();
                let asked = ask_rhai(self.engine, &compare.text, &[left, right]);
                Ok(asked.map_err(|error| at(error, compare.position))?)
            }
        }
    }

    /// The value of a node, unless it is one that can be looked at in its place.
    fn owned(&mut self, node: &Node) -> Result<Option<Dynamic>, Stop> {
        match node {
            Node::Constant(_) | Node::Variable(_) => Ok(None),
            node => self.value(node).map(Some),
        }
    }

    fn seen<'v>(&'v self, node: &'v Node, owned: Option<&'v Dynamic>) -> &'v Dynamic {
        match (owned, node) {
            (Some(owned), _) => owned,
            (None, Node::Constant(value)) => value,
            (None, Node::Variable(place)) => self.variable(*place),
            (None, _) => &Dynamic::UNIT,
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

    fn check_size(&self, value: Dynamic, position: Position) -> Result<Dynamic, Stop> {
        let length = value.as_immutable_string_ref().map_or(0, |text| text.len());
        if length > self.engine.max_string_size() {
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

/// The comparison of texts, numbers, flags and `()`; none of other values.
fn compare_plain(operator: &Token, left: &Dynamic, right: &Dynamic) -> Option<bool> {
    use std::cmp::Ordering::{Equal, Greater, Less};

    let order = if let (Ok(left), Ok(right)) = (
        left.as_immutable_string_ref(),
        right.as_immutable_string_ref(),
    ) {
        Some(left.as_str().cmp(right.as_str()))
    } else if let (Ok(left), Ok(right)) = (left.as_int(), right.as_int()) {
        Some(left.cmp(&right))
    } else if let (Ok(left), Ok(right)) = (left.as_bool(), right.as_bool()) {
        Some(left.cmp(&right))
    } else if is_plain(left) && is_plain(right) {
        // Of two types; or twice `()`, which is equal, and neither less nor greater.
        let is_same = left.is_unit() && right.is_unit();
        return match operator {
            Token::EqualsTo => Some(is_same),
            Token::NotEqualsTo => Some(!is_same),
            _ => Some(false),
        };
    } else {
        None
    };
    let order = order?;
    match operator {
        Token::EqualsTo => Some(order == Equal),
        Token::NotEqualsTo => Some(order != Equal),
        Token::LessThan => Some(order == Less),
        Token::LessThanEqualsTo => Some(order != Greater),
        Token::GreaterThan => Some(order == Greater),
        Token::GreaterThanEqualsTo => Some(order != Less),
        _ => None,
    }
}

fn is_plain(value: &Dynamic) -> bool {
    value.is_unit() || value.is_bool() || value.is_int() || value.is_string()
}
