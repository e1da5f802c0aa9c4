//! The errors of an expression, at load and when it is evaluated, with what to write instead.

use std::fmt;

use cel::{ExecutionError, ParseErrors};

use super::{
    MAX_DEPTH, MAX_FACT, MAX_GROUPS, MAX_HEAD_FACT, MAX_STRING, ValueType,
    facts::{Fact, Quoted},
};
use crate::access::policy::EntryError;

/// The characters that an error quotes: of a name, a text or the parser's message.
const MAX_QUOTE: usize = 120;

/// An expression that cannot be used.
///
/// Prints as `column 5: ...`, or `line 2, column 5: ...` after the first line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", At(.at))]
pub struct ExpressionError {
    /// The position of the error; absent for the expression as a whole.
    pub at: Option<Position>,
    /// What is wrong with it.
    pub problem: ExpressionProblem,
}

/// A position in the text of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// What is wrong with an expression, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionProblem {
    /// Nothing but white space and comments.
    #[error("the expression is empty; remove the key, or write an expression")]
    Empty,
    /// More bytes than an expression may have.
    #[error(
        "the expression is longer than {max} bytes; use lists of domains or networks, or several rules"
    )]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// More tokens than an expression may have.
    #[error(
        "the expression has more than {max} names, values and operators; use lists of domains or networks, or several rules"
    )]
    TooManyTokens {
        /// The limit.
        max: usize,
    },
    /// Brackets and conditionals nested too deep.
    #[error(
        "brackets and ? : are nested more than {max} deep; make several rules of the expression"
    )]
    TooNested {
        /// The limit.
        max: usize,
    },
    /// Operators and calls nested too deep.
    #[error(
        "operators are nested more than {MAX_DEPTH} deep; make several rules of the expression"
    )]
    TooDeep,
    /// The worst case takes too many steps.
    #[error(
        "an evaluation could take {cost} steps, more than {max}; loop over one list at a time, and write startsWith, endsWith or contains for matches"
    )]
    TooCostly {
        /// The steps of the worst case.
        cost: u64,
        /// The limit.
        max: u64,
    },
    /// A string could become too long.
    #[error(
        "the string could become {bytes} bytes long, more than {MAX_STRING}; join fewer strings"
    )]
    LongString {
        /// The bytes of the worst case.
        bytes: u64,
    },
    /// Not the grammar of CEL, with the parser's message.
    #[error("not an expression: {0}")]
    Syntax(Box<str>),
    /// A character with which no token begins.
    #[error("unexpected character {0:?}")]
    Character(char),
    /// An operator of another language.
    #[error("{0} is not an operator; write {1}")]
    Operator(&'static str, &'static str),
    /// `!!` or `--`.
    #[error("{0}{0} has no effect; write it once, or not at all")]
    Twice(&'static str),
    /// A bracket or quote without its other half.
    #[error("{0} is not closed; close it")]
    NotClosed(char),
    /// A closing bracket without a matching opening bracket.
    #[error("{0} closes no bracket; remove it, or open one before it")]
    NotOpened(char),
    /// A part of CEL that is not supported.
    #[error("{0}")]
    Unsupported(&'static str),
    /// A name that is not defined.
    #[error("unknown name {}{}", Quoted(.name, MAX_QUOTE), Write(.near))]
    UnknownName {
        /// The name.
        name: Box<str>,
        /// The known name that is most like it.
        near: Option<&'static str>,
    },
    /// `request`, `user` or `client` without a field.
    #[error("{name} alone has no value; write {fields}")]
    NeedsField {
        /// The name.
        name: &'static str,
        /// Its fields.
        fields: &'static str,
    },
    /// A field that `request`, `user` or `client` does not have.
    #[error("{name} has no field {}; write {fields}", Quoted(.field, MAX_QUOTE))]
    UnknownField {
        /// The name before the dot.
        name: &'static str,
        /// The name after the dot.
        field: Box<str>,
        /// The field that is most like it, or all.
        fields: &'static str,
    },
    /// A field of a value.
    #[error("{value_type} has no field {}{}", Quoted(.field, MAX_QUOTE), Write(.near))]
    NoFields {
        /// The type before the dot.
        value_type: ValueType,
        /// The name after the dot.
        field: Box<str>,
        /// How to use the function that is most like it.
        near: Option<&'static str>,
    },
    /// A function that does not exist.
    #[error("unknown function {}{}", Quoted(.name, MAX_QUOTE), Write(.near))]
    UnknownFunction {
        /// Its name.
        name: Box<str>,
        /// The known function that is most like it.
        near: Option<&'static str>,
    },
    /// A function with too many or too few arguments, or before a dot instead of after it.
    #[error("{function} is not used like this; write {usage}")]
    Usage {
        /// Its name.
        function: &'static str,
        /// How to use it.
        usage: &'static str,
    },
    /// A function on a type that it does not take.
    #[error("{function} does not take {value_type}; write {usage}")]
    Argument {
        /// Its name.
        function: &'static str,
        /// The type of the argument.
        value_type: ValueType,
        /// How to use it.
        usage: &'static str,
    },
    /// An argument that has to be known at load.
    #[error("{function} needs its argument in quotes, not computed; write {usage}")]
    NotLiteral {
        /// The function.
        function: &'static str,
        /// How to use it.
        usage: &'static str,
    },
    /// An operator between types that it does not take.
    #[error("{operator} does not take {left} and {right}{}", Hint(.hint))]
    Operands {
        /// As it is written.
        operator: &'static str,
        /// The type before it.
        left: ValueType,
        /// The type after it.
        right: ValueType,
        /// What to write.
        hint: Option<Box<str>>,
    },
    /// An operator before a type that it does not take.
    #[error("{operator} does not take {value_type}{}", Hint(.hint))]
    Operand {
        /// As it is written.
        operator: &'static str,
        /// The type after it.
        value_type: ValueType,
        /// What to write.
        hint: Option<Box<str>>,
    },
    /// `c ? a : b` with `a` and `b` of two types.
    #[error("the two results of ? : are {left} and {right}; give both the same type")]
    Branches {
        /// The type before the colon.
        left: ValueType,
        /// The type after it.
        right: ValueType,
    },
    /// Elements of several types in a list.
    #[error("the list holds {list} and {other}; give its elements one type")]
    MixedList {
        /// The type of the elements before.
        list: ValueType,
        /// The type that differs.
        other: ValueType,
    },
    /// The result is not a bool.
    #[error(
        "the expression is {0}, not a bool; compare it with something, as in request.port == 443"
    )]
    NotBool(ValueType),
    /// A loop that needs a bool for each element and gets another type.
    #[error("{function} needs a bool for each element, not {value_type}; write {usage}")]
    LoopBody {
        /// The loop.
        function: &'static str,
        /// What it gets.
        value_type: ValueType,
        /// How to use it.
        usage: &'static str,
    },
    /// The name of the elements in a loop is in use.
    #[error("{0} needs a new name for the elements; write user.groups.{0}(g, ...)")]
    LoopName(&'static str),
    /// A pattern that cannot be compiled.
    #[error("not a regular expression: {0}")]
    Pattern(Box<str>),
    /// A compiled pattern that is too large.
    #[error(
        "the pattern is too large once compiled; repeat less with {{n}}, write [0-9] for \\d and [0-9A-Za-z_] for \\w"
    )]
    LargePattern,
    /// A time that cannot be read.
    #[error("not a time of the years 1 to 9999; write timestamp(\"2026-11-24T10:00:00Z\")")]
    Timestamp,
    /// A duration that cannot be read.
    #[error("not a duration; write duration(\"1h30m\"), with h, m, s, ms, us or ns")]
    Duration,
    /// A time zone that does not exist.
    #[error("unknown time zone {}; write {near}", Literal(.name))]
    Zone {
        /// What was written.
        name: Box<str>,
        /// The zone that is most like it.
        near: &'static str,
    },
    /// Networks that cannot be read.
    #[error("{0}")]
    Network(#[source] EntryError),
    /// `field("user agent")`
    #[error("not the name of a field; write one such as field(\"user-agent\")")]
    FieldName,
    /// `field("proxy-authorization")`
    #[error(
        "credentials are not visible to rules; write user.name, user.groups or claim(\"name\")"
    )]
    Credentials,
    /// `claim("")`
    #[error("not the name of a claim; write one such as claim(\"repository\")")]
    ClaimName,
    /// `path_under("v2")`
    #[error(
        "not a path that has one spelling; write one such as path_under(\"/v2/team-a\"), of letters, digits, -, ., _ and ~ between slashes"
    )]
    Prefix,
    /// A constant part that fails.
    #[error("this always fails: {0}")]
    AlwaysFails(#[source] EvaluationError),
    /// A comparison that is never true.
    #[error("{} is never {}: {}", .fact.name(), Literal(.text), Quoted(.why, MAX_QUOTE))]
    Never {
        /// The fact that is compared.
        fact: Fact,
        /// The text that it is compared with.
        text: Box<str>,
        /// What to write.
        why: Box<str>,
    },
}

/// Why an evaluation failed. Callers must not treat it as `false`.
///
/// Never has a value of the request, since a client sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// A string of the request or the user above its limit.
    #[error("{} is longer than {} bytes", .0.name(), .0.size().bytes)]
    LongFact(Fact),
    /// The lines of a field together above [`MAX_HEAD_FACT`].
    #[error("a field that it reads is longer than {MAX_HEAD_FACT} bytes")]
    LongField,
    /// A claim above [`MAX_FACT`].
    #[error("a claim that it reads is longer than {MAX_FACT} bytes")]
    LongClaim,
    /// A path, a query or a field with other bytes than UTF-8.
    #[error("the path, the query or a field that it reads is not UTF-8")]
    NotText,
    /// Servers read the path in several ways, and not all of them are below the prefix of `path_under`.
    #[error(
        "servers may read the path in several ways, and only some of them are below that of path_under"
    )]
    AmbiguousPath,
    /// The head was not kept for this request.
    #[error("the path and the fields of this request are not known")]
    NoHead,
    /// There is no hello yet.
    #[error("the ClientHello of this tunnel is not known")]
    NoHello,
    /// More groups than [`MAX_GROUPS`].
    #[error("the user is in more than {MAX_GROUPS} groups")]
    ManyGroups,
    /// A time outside of the years 1 to 9999.
    #[error("the time is outside of the years 1 to 9999")]
    Time,
    /// An integer, a time or a duration out of range.
    #[error("a number, time or duration is out of range")]
    Overflow,
    /// A division or remainder by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// An element that a list does not have.
    #[error("the list has no such element")]
    NoElement,
    /// An error that the checker should have found.
    #[error("the expression cannot be evaluated")]
    Unexpected,
}

impl From<ExpressionProblem> for ExpressionError {
    fn from(problem: ExpressionProblem) -> ExpressionError {
        ExpressionError { at: None, problem }
    }
}

impl From<ExecutionError> for EvaluationError {
    fn from(error: ExecutionError) -> EvaluationError {
        match error {
            ExecutionError::Overflow(..) => EvaluationError::Overflow,
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                EvaluationError::DivisionByZero
            }
            ExecutionError::IndexOutOfBounds(_) => EvaluationError::NoElement,
            _ => EvaluationError::Unexpected,
        }
    }
}

impl Position {
    /// The position of the character with this index.
    pub(super) fn of(text: &str, index: usize) -> Position {
        let mut position = Position { line: 1, column: 1 };
        for c in text.chars().take(index) {
            position = match c {
                '\n' => Position {
                    line: position.line + 1,
                    column: 1,
                },
                _ => Position {
                    column: position.column + 1,
                    ..position
                },
            };
        }
        position
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 1 {
            write!(f, "line {}, ", self.line)?;
        }
        write!(f, "column {}", self.column)
    }
}

/// The first error of the parser, in one line.
pub(super) fn syntax(errors: &ParseErrors) -> ExpressionError {
    let Some(first) = errors.errors.first() else {
        let words = "the parser cannot read it";
        return ExpressionProblem::Syntax(words.into()).into();
    };
    let words = first.msg.strip_prefix("Syntax error: ");
    let words = words.unwrap_or(&first.msg);
    // The list of what it expected has every possible token.
    let words = words.split(" expecting {").next().unwrap_or(words);
    let words = match words.contains("'<EOF>'") {
        true => "it ends too early",
        false => words,
    };
    let at = usize::try_from(first.pos.0)
        .ok()
        .zip(usize::try_from(first.pos.1).ok())
        .filter(|&(line, column)| line > 0 && column > 0)
        .map(|(line, column)| Position { line, column });
    ExpressionError {
        at,
        problem: ExpressionProblem::Syntax(Quoted(words, MAX_QUOTE).to_string().into()),
    }
}

/// A text in quotes, as it is written in an expression: its start.
struct Literal<'a>(&'a str);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.char_indices().nth(MAX_QUOTE);
        let start = end.and_then(|(end, _)| self.0.get(..end));
        write!(f, "{:?}", start.unwrap_or(self.0))
    }
}

/// A position and a colon, if there is a position.
struct At<'a>(&'a Option<Position>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(position) => write!(f, "{position}: "),
            None => Ok(()),
        }
    }
}

/// What to write, if a similar name exists.
struct Write<'a>(&'a Option<&'static str>);

impl fmt::Display for Write<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(near) => write!(f, "; write {near}"),
            None => Ok(()),
        }
    }
}

/// Advice after a semicolon, if there is any.
struct Hint<'a>(&'a Option<Box<str>>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// The known name that is most similar to `name`, if one is similar.
pub(super) fn nearest(
    name: &str,
    known: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|&(distance, known)| distance <= 1 + known.len() / 3)
        .min()
        .map(|(_, known)| known)
}
