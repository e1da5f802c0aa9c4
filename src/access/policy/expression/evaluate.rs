//! Evaluation by the crate's interpreter, with additional functions.
//!
//! The functions here get compiled patterns, networks and zones, which the checker stored as
//! constants. They fail when an argument has another type, and never panic.

use std::{
    any::Any,
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, ExecutionError, IdedExpr, Value,
    common::{
        types::{CelBool, CelString, CelTimestamp, STRING_TYPE, TIMESTAMP_TYPE, Type},
        value::{CowVal, StaticVal, Val},
    },
    context::VariableResolver,
};
use regex::Regex;

use super::error::EvaluationError;
use crate::access::policy::Networks;

/// A value that only functions of this module accept.
#[derive(Clone, Debug)]
pub(super) enum Opaque {
    /// For `matches`.
    Pattern(Regex),
    /// For `ip_in`.
    Networks(Arc<Networks>),
    /// For `ip_in`.
    Address(IpAddr),
    /// For the accessors of a timestamp.
    Zone(chrono_tz::Tz),
}

/// The function that puts a timestamp into a zone. No expression can write it.
pub(super) const IN_ZONE: &str = "in zone";

static OPAQUE_TYPE: Type = Type::new_unspecified_type("opaque");

/// The functions of the standard library, of which the checker accepts some, and those of this module.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let opaque = || Type::new_unspecified_type("opaque");
    let mut env = Env::default().with_optional_support(false).with_stdlib();
    let added = env
        .add_overload(
            "matches",
            "matches_pattern",
            vec![STRING_TYPE, opaque()],
            matches,
        )
        .and_then(|()| env.add_overload("ip_in", "ip_in", vec![opaque(), opaque()], ip_in))
        .and_then(|()| env.add_overload(IN_ZONE, IN_ZONE, vec![TIMESTAMP_TYPE, opaque()], in_zone));
    // Only two functions with the same signature could fail. Then calls fail, and the rules deny.
    debug_assert!(added.is_ok(), "{added:?}");
    Arc::new(env)
});

/// Evaluates an expression that the checker made.
pub(super) fn evaluate<'e>(
    expr: &IdedExpr,
    known: &'e (impl VariableResolver + 'e),
) -> Result<Box<dyn Val + 'e>, EvaluationError> {
    let mut context = Context::with_env(Arc::clone(&ENV));
    context.set_variable_resolver(known);
    let value = Value::resolve_val(expr, &context)?;
    Ok(value.into_owned())
}

impl Val for Opaque {
    fn get_type(&self) -> &Type {
        &OPAQUE_TYPE
    }

    fn cel_type() -> &'static Type {
        &OPAQUE_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Opaque {}

fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    if let [text, pattern] = &*args
        && let Some(text) = text.downcast_ref::<CelString<'_>>()
        && let Some(Opaque::Pattern(pattern)) = pattern.downcast_ref()
    {
        return Ok(CowVal::owned(CelBool::from(pattern.is_match(text.inner()))));
    }
    Err(unexpected())
}

fn ip_in<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    if let [address, networks] = &*args
        && let Some(Opaque::Address(address)) = address.downcast_ref()
        && let Some(Opaque::Networks(networks)) = networks.downcast_ref()
    {
        let inside = networks.matching(*address).is_some();
        return Ok(CowVal::owned(CelBool::from(inside)));
    }
    Err(unexpected())
}

fn in_zone<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    if let [time, zone] = &*args
        && let Some(time) = time.downcast_ref::<CelTimestamp>()
        && let Some(Opaque::Zone(zone)) = zone.downcast_ref()
    {
        let time = time.inner().with_timezone(zone).fixed_offset();
        return Ok(CowVal::owned(CelTimestamp::from(time)));
    }
    Err(unexpected())
}

fn unexpected() -> ExecutionError {
    ExecutionError::InternalError("the argument is not what the checker made".to_owned())
}
