//! The values of a rule that are read from their text.

use std::sync::Arc;

use http::StatusCode;

use super::super::super::egress::report_with;
use super::super::super::reader::{Item, nearest};
use crate::access::auth::parse_any_name;
use crate::access::policy::{Expression, ExpressionError, Name, NameError, Refusal};
use crate::http::path::Prefix;
use crate::http::role::Role;

pub(super) fn name(item: &Item<'_>) -> Option<Name> {
    let text = item.text()?;
    let report = |error: NameError| report_with(item, &error.to_string(), "");
    Name::parse(text).map_err(report).ok()
}

pub(super) fn status(item: &Item<'_>) -> Option<StatusCode> {
    let text = item.scalar()?;
    let found = Refusal::STATUSES
        .into_iter()
        .find(|status| status.as_str() == text);
    if found.is_none() {
        item.report(
            "not a status code that a rule can answer with",
            "write 403, 404, 429, 451 or 503",
        );
    }
    found
}

pub(super) fn message(item: &Item<'_>) -> Option<Arc<str>> {
    let text = item.text()?;
    if text.chars().count() > Refusal::MAX_MESSAGE {
        let message = format!("longer than {} characters", Refusal::MAX_MESSAGE);
        item.report(message, "shorten it, and name a page with the rest");
        return None;
    }
    Some(text.into())
}

pub(in super::super::super) fn user(item: &Item<'_>) -> Option<Box<str>> {
    let text = item.text()?;
    match parse_any_name(text) {
        Ok(_) => Some(text.into()),
        Err(error) => {
            item.report(error.to_string(), "write the name as in the htpasswd file");
            None
        }
    }
}

pub(in super::super::super) fn role(item: &Item<'_>) -> Option<Role> {
    let text = item.text()?;
    let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
    if found.is_none() {
        let remedy = match nearest(text, Role::ALL.iter().map(|role| role.as_str())) {
            Some(near) => format!("did you mean {near}?"),
            None => "write tunnel, forward or gateway".to_owned(),
        };
        item.report("not a role", remedy);
    }
    found
}

pub(super) fn path(item: &Item<'_>) -> Option<Prefix> {
    let text = item.text()?;
    let prefix = Prefix::parse(text);
    if prefix.is_none() {
        let remedy = match text.contains(['*', '?']) {
            true => {
                "write the path alone, such as /v2/team-a: it is for all below it, with any query"
            }
            false => "write segments of letters, digits, `-`, `.`, `_` and `~`, such as /v2/team-a",
        };
        item.report("not a path that has one spelling", remedy);
    }
    prefix
}

/// A token (RFC 9110 §5.6.2). Those that are defined are in capitals, and `get` is not GET.
pub(in super::super) fn method(item: &Item<'_>) -> Option<Box<str>> {
    let text = item.text()?;
    if text == "*" {
        let advice = "remove the key to match every method";
        item.report("not a method: methods have no wildcard", advice);
        return None;
    }
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.bytes().all(is_token) {
        item.report("not a method", "write one such as GET");
        return None;
    }
    // As the method of a request is, before anything decides by it.
    Some(text.to_ascii_uppercase().into())
}

pub(super) fn expression(item: &Item<'_>) -> Option<Expression> {
    let when = any_expression(item)?;
    if when.needs_hello() {
        let message =
            "reads the ClientHello of a tunnel, which is not there before the tunnel is admitted";
        item.report(message, "write it as `when` below `tunnel` of the rule");
        return None;
    }
    Some(when)
}

/// An expression that is evaluated when a tunnel is open.
pub(in super::super::super) fn tunnel_expression(item: &Item<'_>) -> Option<Expression> {
    let when = any_expression(item)?;
    if when.needs_head() {
        let message = "reads the path, the query or a field, which are gone when a tunnel is open";
        item.report(message, "write that as `when` of the rule itself");
        return None;
    }
    Some(when)
}

fn any_expression(item: &Item<'_>) -> Option<Expression> {
    let report = |error: ExpressionError| {
        let advice = "correct the expression";
        let place = error.at.and_then(|at| item.place(at.line, at.column));
        match place {
            Some((line, column)) => {
                let text = format!("column {column}: {}", error.problem);
                report_with(&item.on_line(line), &text, advice);
            }
            None => report_with(item, &error.to_string(), advice),
        }
    };
    Expression::parse(item.lines()?).map_err(report).ok()
}
