//! What calls read of a request's head and of the user's token: fields, claims, and whether the path is below a
//! prefix.
//!
//! The checker notes each call as a [`Reading`], whose value is read before an evaluation begins. So a field that is
//! too long fails the evaluation wherever the call stands, as a long fact does.

use std::borrow::Cow;

use cel::{
    IdedExpr,
    common::{
        ast::{Expr, LiteralValue},
        types::{CelBool, CelString},
        value::Val,
    },
};

use super::{
    Facts, MAX_FACT, MAX_HEAD_FACT, Scalar, ValueType,
    calls::Function,
    check::{At, Checker, Node},
    error::{EvaluationError, ExpressionError, ExpressionProblem},
    facts::Fact,
    value_type::Size,
};
use crate::access::policy::RequestPath;
use crate::http::http1::KeptHead;
use crate::http::path::Prefix;

/// The steps to find a field among all lines of a head.
const FIND_FIELD: u64 = 200;
/// The steps to find a claim.
const FIND_CLAIM: u64 = 50;
/// The steps to compare all readings of a path with a prefix.
const COMPARE_READINGS: u64 = 50;
/// The longest name of a field or a claim, in bytes.
const MAX_NAME: usize = 128;

/// What a call reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// `field("user-agent")`
    Field(Box<str>),
    /// `claim("repository")`
    Claim(Box<str>),
    /// `path_under("/v2/team-a")`
    PathUnder(Prefix),
}

/// The name of the value of a reading. No expression can use it.
pub(super) fn reading_name(index: usize) -> String {
    format!("@{index}")
}

/// The index of the reading that has this name.
pub(super) fn reading_index(name: &str) -> Option<usize> {
    name.strip_prefix('@')?.parse().ok()
}

impl Reading {
    /// The value for a request.
    pub(super) fn value<'a>(
        &self,
        facts: &Facts<'a>,
    ) -> Result<Box<dyn Val + 'a>, EvaluationError> {
        Ok(match self {
            Reading::Field(name) => {
                let head = facts.head.ok_or(EvaluationError::NoHead)?;
                Box::new(text_value(field(head, name)?))
            }
            Reading::Claim(name) => {
                let mut claims = facts.claims.iter();
                let claim = claims.find(|(found, _)| found == name);
                let text = claim.map_or("", |(_, text)| text);
                if text.len() > MAX_FACT {
                    return Err(EvaluationError::LongClaim);
                }
                Box::new(CelString::from(text))
            }
            Reading::PathUnder(prefix) => Box::new(CelBool::from(is_under(facts.path, prefix)?)),
        })
    }
}

impl Checker<'_> {
    /// Checks a call that reads the head or the token.
    pub(super) fn reading(
        &mut self,
        at: At,
        function: &Function,
        operand: &IdedExpr,
    ) -> Result<Node, ExpressionError> {
        let (name, usage) = (function.name, function.usage);
        let Expr::Literal(LiteralValue::String(text)) = &operand.expr else {
            let problem = ExpressionProblem::NotLiteral {
                function: name,
                usage,
            };
            return Err(self.error(at, problem));
        };
        let text = text.inner();
        let operand_at = self.at(operand);
        let refuse = |problem| Err(self.error(operand_at, problem));
        let (reading, scalar, bytes, cost) = match name {
            "field" => {
                if !is_field_name(text) {
                    return refuse(ExpressionProblem::FieldName);
                }
                if text.eq_ignore_ascii_case("proxy-authorization") {
                    return refuse(ExpressionProblem::Credentials);
                }
                let field = Reading::Field(text.to_ascii_lowercase().into());
                (field, Scalar::String, MAX_HEAD_FACT as u64, FIND_FIELD)
            }
            "claim" => {
                if text.is_empty() || text.len() > MAX_NAME || text.contains(char::is_control) {
                    return refuse(ExpressionProblem::ClaimName);
                }
                let claim = Reading::Claim(text.into());
                (claim, Scalar::String, MAX_FACT as u64, FIND_CLAIM)
            }
            _ => match Prefix::parse(text) {
                Some(prefix) => {
                    let under = Reading::PathUnder(prefix);
                    (under, Scalar::Bool, 0, COMPARE_READINGS)
                }
                None => return refuse(ExpressionProblem::Prefix),
            },
        };
        let size = Size::bytes(bytes);
        let cost = 1 + cost + size.touch();
        let expr = Expr::Ident(self.note_reading(reading));
        Ok(Node::new(expr, ValueType::One(scalar), size, cost))
    }
}

/// The path of the request, or its query, for a fact.
pub(super) fn fact<'a>(fact: Fact, facts: &Facts<'a>) -> Result<&'a str, EvaluationError> {
    let bytes: &[u8] = match (facts.path, fact) {
        (RequestPath::None, _) => b"",
        (RequestPath::Unknown, _) => return Err(EvaluationError::NoHead),
        (RequestPath::Sent(path, _), Fact::Path) => path,
        (RequestPath::Sent(..), _) => facts.head.and_then(KeptHead::query).unwrap_or_default(),
    };
    if bytes.len() > MAX_HEAD_FACT {
        return Err(EvaluationError::LongFact(fact));
    }
    std::str::from_utf8(bytes).or(Err(EvaluationError::NotText))
}

/// All lines of a field, joined as RFC 9110 §5.3 has it.
fn field<'a>(head: &'a KeptHead, name: &str) -> Result<Cow<'a, str>, EvaluationError> {
    let mut joined = Cow::Borrowed("");
    for (index, line) in head.values(name.as_bytes()).enumerate() {
        if joined.len() + line.len() > MAX_HEAD_FACT {
            return Err(EvaluationError::LongField);
        }
        let line = std::str::from_utf8(line).or(Err(EvaluationError::NotText))?;
        if index == 0 {
            joined = Cow::Borrowed(line);
        } else {
            let joined = joined.to_mut();
            joined.push_str(", ");
            joined.push_str(line);
        }
    }
    match joined.len() > MAX_HEAD_FACT {
        true => Err(EvaluationError::LongField),
        false => Ok(joined),
    }
}

fn is_under(path: &RequestPath<'_>, prefix: &Prefix) -> Result<bool, EvaluationError> {
    let RequestPath::Sent(_, readings) = path else {
        return match path {
            RequestPath::Unknown => Err(EvaluationError::NoHead),
            _ => Ok(false),
        };
    };
    let prefix = std::slice::from_ref(prefix);
    match (
        readings.are_all_below(prefix),
        readings.is_any_below(prefix),
    ) {
        (false, true) => Err(EvaluationError::AmbiguousPath),
        (all, _) => Ok(all),
    }
}

fn text_value(text: Cow<'_, str>) -> CelString<'_> {
    match text {
        Cow::Borrowed(text) => text.into(),
        Cow::Owned(text) => text.into(),
    }
}

/// A token (RFC 9110 §5.6.2).
fn is_field_name(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(is_token)
}
