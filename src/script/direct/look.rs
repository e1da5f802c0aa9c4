//! Values that are looked at where they are. What a comparison or a test of a text asks of the request makes no value of
//! its own: it is in the head already.

use std::cell::Ref;
use std::cmp::Ordering::{Equal, Greater, Less};

use rhai::{Dynamic, DynamicReadLock, ImmutableString, Token};

use super::{Call, Frame, Node, Quick, Stop};
use crate::hook::{Detached, Plain};

/// What is asked of the request, without an argument that has to be evaluated.
pub(super) enum Question {
    Field(Box<str>),
    User,
    Path,
}

/// A value in its place.
pub(super) enum Looked<'v> {
    /// `()`
    Nothing,
    /// A text of the request.
    Text(Ref<'v, str>),
    /// A text of the script.
    Own(DynamicReadLock<'v, ImmutableString>),
    /// No text.
    Value(&'v Dynamic),
}

impl Question {
    /// What a call asks, if it is of the request: the first parameter, which keeps its value.
    pub(super) fn of(name: &str, arguments: &[Node]) -> Option<Self> {
        match (name, arguments) {
            ("header", [Node::Variable(0), Node::Constant(field)]) => {
                let field = field.as_immutable_string_ref().ok()?;
                Some(Question::Field(field.as_str().into()))
            }
            ("get$user", [Node::Variable(0)]) => Some(Question::User),
            ("get$path", [Node::Variable(0)]) => Some(Question::Path),
            _ => None,
        }
    }

    fn answer<'d>(&self, detached: &'d Detached) -> Plain<'d> {
        match self {
            Question::Field(name) => detached.plain_field(name),
            Question::User => detached.plain_user(),
            Question::Path => detached.plain_path(),
        }
    }
}

impl<'v> Looked<'v> {
    pub(super) fn of(value: &'v Dynamic) -> Self {
        let text = value.read_lock();
        text.map_or(Looked::Value(value), Looked::Own)
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Looked::Text(text) => Some(text),
            Looked::Own(text) => Some(text),
            Looked::Nothing | Looked::Value(_) => None,
        }
    }

    /// The same as a value of its own.
    pub(super) fn into_value(self) -> Dynamic {
        match self {
            Looked::Nothing => Dynamic::UNIT,
            Looked::Text(text) => ImmutableString::from(&*text).into(),
            Looked::Own(text) => text.clone().into(),
            Looked::Value(value) => value.clone(),
        }
    }

    fn value(&self) -> Option<&Dynamic> {
        match self {
            Looked::Value(value) => Some(value),
            Looked::Nothing | Looked::Text(_) | Looked::Own(_) => None,
        }
    }

    fn is_unit(&self) -> bool {
        match self {
            Looked::Nothing => true,
            Looked::Text(_) | Looked::Own(_) => false,
            Looked::Value(value) => value.is_unit(),
        }
    }

    fn is_plain(&self) -> bool {
        self.value()
            .is_none_or(|value| value.is_unit() || value.is_bool() || value.is_int())
    }
}

impl Node {
    /// Whether [`Frame::look`] may see it, and changes nothing.
    pub(super) fn is_still(&self) -> bool {
        match self {
            Node::Constant(_) | Node::Variable(_) => true,
            Node::Call(call) => matches!(call.quick, Some(Quick::Asks(_))),
            _ => false,
        }
    }
}

impl Frame<'_> {
    /// The value of a node in its place. None: it has to be evaluated.
    pub(super) fn look<'v>(&'v self, node: &'v Node) -> Result<Option<Looked<'v>>, Stop> {
        match node {
            Node::Constant(value) => Ok(Some(Looked::of(value))),
            Node::Variable(place) => Ok(Some(Looked::of(self.variable(*place)))),
            Node::Call(call) => match &call.quick {
                Some(Quick::Asks(question)) => self.ask(call, question),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// Asks the request. None: the answer has to be put together, or is larger than a text may be.
    pub(super) fn ask(&self, call: &Call, question: &Question) -> Result<Option<Looked<'_>>, Stop> {
        self.count(call.position)?;
        let mut is_absent = false;
        let text = Ref::filter_map(self.handle.0.borrow(), |subject| {
            match question.answer(&subject.as_ref()?.detached) {
                Plain::Text(text) => Some(text).filter(|text| text.len() <= self.max_text()),
                Plain::Absent => {
                    is_absent = true;
                    None
                }
                Plain::Other => None,
            }
        });
        Ok(match text {
            Ok(text) => Some(Looked::Text(text)),
            Err(_) => is_absent.then_some(Looked::Nothing),
        })
    }
}

/// The comparison of texts, numbers, flags and `()`; none of other values.
pub(super) fn compare(operator: &Token, left: &Looked<'_>, right: &Looked<'_>) -> Option<bool> {
    let order = if let (Some(left), Some(right)) = (left.text(), right.text()) {
        left.cmp(right)
    } else if let (Some(left), Some(right)) = (left.value(), right.value())
        && let Some(order) = order_of_values(left, right)
    {
        order
    } else if left.is_plain() && right.is_plain() {
        // Of two types; or twice `()`, which is equal, and neither less nor greater.
        let is_same = left.is_unit() && right.is_unit();
        return match operator {
            Token::EqualsTo => Some(is_same),
            Token::NotEqualsTo => Some(!is_same),
            _ => Some(false),
        };
    } else {
        return None;
    };
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

fn order_of_values(left: &Dynamic, right: &Dynamic) -> Option<std::cmp::Ordering> {
    if let (Ok(left), Ok(right)) = (left.as_int(), right.as_int()) {
        Some(left.cmp(&right))
    } else if let (Ok(left), Ok(right)) = (left.as_bool(), right.as_bool()) {
        Some(left.cmp(&right))
    } else {
        None
    }
}
