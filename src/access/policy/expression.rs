//! Expressions in CEL, the Common Expression Language, for conditions that the fixed matchers cannot express.
//!
//! An expression is a text that is true or false for a request:
//!
//! ```text
//! request.host.endsWith(".internal") && "ops" in user.groups
//! request.host == user.name + ".dev.example.org"
//! request.method in ["GET", "HEAD"] || request.port >= 8000
//! user.groups.exists(g, g.startsWith("team-")) && !("interns" in user.groups)
//! request.host.matches("^build-[0-9]+[.]example[.]org$")
//! ip_in(client.ip, ["10.0.0.0/8", "fd00::/8"])
//! path_under("/v2/team-a") && field("user-agent").startsWith("curl/")
//! time.getDayOfWeek("Europe/Berlin") in [1, 2, 3, 4, 5]     // 0 is Sunday
//! time.getHours("Europe/Berlin") >= 8 && time.getHours("Europe/Berlin") < 18
//! time < timestamp("2027-01-01T00:00:00Z") - duration("48h")
//! request.role == "tunnel" ? request.port == 443 : request.method != "POST"
//! ```
//!
//! | name | type | value |
//! |---|---|---|
//! | `request.role` | string | `tunnel`, `forward` or `gateway` |
//! | `request.method` | string | as sent; `CONNECT` for a tunnel |
//! | `request.host` | string | lower case and in ASCII, no trailing dot, an IPv6 address without brackets; empty for `gateway` |
//! | `request.port` | int | 0 for `gateway` |
//! | `request.path` | string | as sent, percent-encoded; empty where there is none |
//! | `request.query` | string | as sent, without the `?`; empty where there is none |
//! | `user.name` | string | |
//! | `user.groups` | list of strings | |
//! | `client.ip` | string | canonical: `10.0.0.1`, `2001:db8::1`, never `::ffff:10.0.0.1` |
//! | `time` | timestamp | now; its accessors are in UTC unless they are given a time zone |
//! | `tls.sni` | string | the name of the host in the ClientHello of a tunnel, as `request.host`; empty where there is none |
//! | `tls.alpn` | list of strings | the protocols that it offers |
//! | `tls.ja4` | string | the fingerprint of the client |
//! | `tls.ech` | bool | whether it has an encrypted hello inside, or what looks like one |
//!
//! Operators: `&& || !`, `? :`, `== !=`, `< <= > >=`, `+ - * / %`, `in`, `[...]`. Functions: `startsWith`,
//! `endsWith`, `contains`, `matches`, `size`, `string` (of an int), `ip_in`, `path_under`, `field`, `claim`, `timestamp`, `duration`, the
//! accessors `getFullYear` to `getMilliseconds`, and `all`, `exists`, `exists_one`, `filter` and `map` on
//! lists. `matches` finds the pattern anywhere in the text, so patterns need `^` and `$`. Not supported:
//! doubles, unsigned ints, bytes, `null`, maps, messages, `has`, `dyn`, lists of lists.
//!
//! **Checked at load.** [`Expression::parse`] types every part. A checked expression has no unknown name, no
//! operand of a wrong type, no invalid pattern, time, zone or network, and no comparison that
//! is never true because of its spelling (`request.host == "Example.org"`). Parts that
//! do not depend on the request are computed there, once.
//!
//! **Limited.** Neither a request nor an operator's mistake can make an evaluation long or large:
//!
//! | limit | at | why |
//! |---|---|---|
//! | [`MAX_TEXT`] bytes, [`MAX_TOKENS`] tokens | load | the parser of the crate recurses along operator chains |
//! | [`MAX_NESTING`] brackets and conditionals, [`MAX_DEPTH`] operators in each other | load | parser and evaluation use the stack |
//! | [`MAX_COST`] steps in the worst case | load | time, and at most 64 bytes of memory a step |
//! | [`MAX_STRING`] bytes a string, patterns of [`MAX_PATTERN`] bytes once compiled | load | `x + x` in nested `map`s would double without end |
//! | [`MAX_FACT`] bytes a fact, [`MAX_HEAD_FACT`] bytes a path, a query or a field, [`MAX_GROUPS`] groups | evaluation | the worst case is computed with them |
//!
//! An evaluation that fails is an [`EvaluationError`], never `false`: the caller decides what
//! that means. As in CEL, `false && x` is false and `true || x` is true also when `x` fails, on either side:
//! the result would be the same for every value of `x`.
//!
//! This module evaluates; it has no clock and logs nothing.

use std::{fmt, net::IpAddr, time::SystemTime};

use cel::{
    IdedExpr,
    common::{ast::SourceInfo, types::CelBool},
};

mod always;
mod calls;
mod check;
mod error;
mod evaluate;
mod facts;
#[cfg(any(test, feature = "internals"))]
pub mod fuzz;
mod head;
mod literals;
mod loops;
mod operands;
mod scan;
#[cfg(test)]
mod tests;
mod value_type;

pub use error::{EvaluationError, ExpressionError};
pub use value_type::{Scalar, ValueType};

use self::facts::Fact;
use self::head::Reading;
use super::{Hidden, RequestPath};
use crate::hello::Hello;
use crate::http::http1::KeptHead;

/// The longest expression, in bytes.
pub const MAX_TEXT: usize = 4096;
/// The most tokens of an expression: names, literals, operators, brackets.
pub const MAX_TOKENS: usize = 512;
/// The deepest nesting of brackets and `? :`.
pub const MAX_NESTING: usize = 16;
/// The deepest nesting of operators and calls, where a loop counts twice. `&&`
/// and `||` hardly count: the parser balances a row of them to the logarithm of its length.
pub const MAX_DEPTH: usize = 16;
/// The most steps of one evaluation in the worst case. A step is an operand, an operator or a call, a
/// round of a loop, or up to 64 bytes compared or copied.
pub const MAX_COST: u64 = 50_000;
/// The longest string that an expression may make, in bytes.
pub const MAX_STRING: u64 = 4096;
/// The largest compiled pattern of `matches`, in bytes.
pub const MAX_PATTERN: usize = 12 * 1024;
/// The longest string of a request or a user, in bytes.
pub const MAX_FACT: usize = 256;
/// The longest path, query or field of a request, in bytes.
pub const MAX_HEAD_FACT: usize = 2048;
/// The most groups of a user.
pub const MAX_GROUPS: usize = 256;

/// The values of the names in an expression. The names are in the table of the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// `request.role`: `tunnel`, `forward` or `gateway`.
    pub role: &'a str,
    /// `request.method`.
    pub method: &'a str,
    /// `request.host`: a normalised name, or an address without brackets.
    pub host: &'a str,
    /// `request.port`.
    pub port: u16,
    /// `user.name`.
    pub user: &'a str,
    /// `user.groups`, in the order in which `user.groups[0]` counts.
    pub groups: &'a [&'a str],
    /// `client.ip`; an IPv4-mapped address counts as IPv4.
    pub client: IpAddr,
    /// `time`.
    pub time: SystemTime,
    /// The head, for `request.query` and `field`; none: they fail.
    pub head: Option<&'a KeptHead>,
    /// The path, for `request.path` and `path_under`.
    pub path: &'a RequestPath<'a>,
    /// The claims, for `claim`.
    pub claims: &'a [(Box<str>, Box<str>)],
    /// The hello in a tunnel, for `tls.sni` and the like; none: they fail.
    pub hello: Option<&'a Hello>,
}

/// A checked expression.
///
/// Immutable; threads can share it.
pub struct Expression {
    text: Box<str>,
    checked: check::Checked,
}

impl Expression {
    /// Reads an expression and checks it.
    ///
    /// # Errors
    /// The first error, its position, and what to write instead.
    pub fn parse(text: &str) -> Result<Expression, ExpressionError> {
        scan::scan(text)?;
        let checked = check::check(text, parse_syntax(text)?)?;
        Ok(Expression {
            text: text.into(),
            checked,
        })
    }

    /// Whether the expression is true for these facts.
    ///
    /// # Errors
    /// [`EvaluationError`] when the evaluation fails. Callers must not treat it as `false`: a rule that denies
    /// would then admit.
    pub fn matches(&self, facts: &Facts<'_>) -> Result<bool, EvaluationError> {
        let known = facts::FactValues::new(facts, &self.checked)?;
        let value = evaluate::evaluate(&self.checked.expr, &known)?;
        let result = value.downcast_ref::<CelBool>().map(|value| *value.inner());
        result.ok_or(EvaluationError::Unexpected)
    }

    /// The text that the expression was read from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it reads the path, the query or a field.
    pub fn needs_head(&self) -> bool {
        self.hidden_by_tunnel() != Hidden::default()
    }

    /// Whether it reads the hello in a tunnel.
    pub fn needs_hello(&self) -> bool {
        let of_hello = [Fact::Sni, Fact::Alpn, Fact::Ja4, Fact::Ech];
        let mut of_hello = of_hello.into_iter();
        of_hello.any(|fact| self.checked.used.contains(fact))
    }

    /// What it reads of a request and a tunnel hides.
    pub fn hidden_by_tunnel(&self) -> Hidden {
        let checked = &self.checked;
        let reads = |is: fn(&Reading) -> bool| checked.readings.iter().any(is);
        Hidden {
            path: checked.used.contains(Fact::Path)
                || reads(|reading| matches!(reading, Reading::PathUnder(_))),
            query: checked.used.contains(Fact::Query),
            fields: reads(|reading| matches!(reading, Reading::Field(_))),
        }
    }

    /// The steps of one evaluation in the worst case, at most [`MAX_COST`].
    pub fn cost(&self) -> u64 {
        self.checked.cost
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The syntax tree of a scanned text, with the position of each part.
struct Syntax {
    expr: IdedExpr,
    source: SourceInfo,
}

/// Parses the text with the parser of the crate. Macros are off: `exists` and similar functions remain calls, so
/// that the checker sees the original text.
fn parse_syntax(text: &str) -> Result<Syntax, ExpressionError> {
    let parse = || {
        cel::Env::default()
            .with_optional_support(false)
            .parser()
            .max_recursion_depth(MAX_NESTING as u16 + 2)
            .parse_with_source_info(text)
    };
    // The parser is generated code that continues after an error, with an incomplete tree. No text is known
    // that makes it panic; if there is one, it must not end a reload.
    let parsed = std::panic::catch_unwind(parse)
        .unwrap_or_else(|_| Err(cel::ParseErrors { errors: Vec::new() }));
    match parsed {
        Ok((expr, source)) => Ok(Syntax { expr, source }),
        Err(errors) => Err(error::syntax(&errors)),
    }
}
