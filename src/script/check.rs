//! What is wrong with a script before it is called: its syntax and its names.

mod calls;
mod walk;

use std::path::Path;

use rhai::{AST, Stmt};

use self::walk::{Function, Walk};
use super::language;
use super::vocabulary;
use super::{Source, engine::Failure};
use crate::hook::Phases;
use crate::text::nearest::nearest;

/// A fault of a script. `line` and `column` are those of its text, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, if it is known.
    pub line: Option<usize>,
    /// Where in the line.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

impl Fault {
    /// The fault as a line for people, as problems of a configuration are told.
    pub fn in_file(&self, file: &Path) -> String {
        let file = file.display();
        let (message, remedy) = (&self.message, &self.remedy);
        match (self.line, self.column) {
            (Some(line), Some(column)) => {
                format!("{file}:{line}: column {column}: {message}; {remedy}")
            }
            _ => format!("{file}: {message}; {remedy}"),
        }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Fault {
            line: failure.line,
            column: failure.column,
            remedy: "correct the script".to_owned(),
            message: failure.reason.into(),
        }
    }
}

/// What the names of a script say of it.
#[derive(Debug)]
pub(super) struct Names {
    /// The phases that it has functions for.
    pub phases: Phases,
    /// Whether a function reads fields of a response.
    pub reads_fields: bool,
    /// What is most likely not meant.
    pub warnings: Vec<Fault>,
}

/// Checks syntax and names.
///
/// # Errors
/// Every fault.
pub(super) fn names(source: &Source) -> Result<Names, Vec<Fault>> {
    let engine = language::bare_engine(&source.limits);
    let ast = language::parse(&engine, &source.text);
    let ast = ast.map_err(|error| vec![syntax(&language::syntax(&error))])?;
    let mut walk = Walk::new(source, functions(&ast));
    let mut outside = None;
    ast.clone_statements_only().walk(&mut |path| {
        if let [rhai::ASTNode::Stmt(statement)] = path
            && !matches!(statement, Stmt::Noop(_))
        {
            outside.get_or_insert(statement.position());
        }
        true
    });
    if let Some(position) = outside {
        let remedy = "move it into a function; constants of a script belong into `settings`";
        walk.report(position, "code outside of the functions never runs", remedy);
    }
    for function in walk.functions.clone() {
        walk.enter(&function);
        let one = only(&ast, &function);
        let mut statements = 0;
        top(&one, |_| statements += 1);
        let mut at = 0;
        top(&one, |statement| {
            at += 1;
            walk.statement(statement, at == statements);
        });
    }
    let phases = phases(&mut walk);
    let reads_fields = walk.reads_fields;
    let warnings = walk.finish()?;
    Ok(Names {
        phases,
        reads_fields,
        warnings,
    })
}

/// Runs with each statement of a tree that is not inside of another one.
fn top(ast: &AST, mut run: impl FnMut(&Stmt)) {
    ast.walk(&mut |path| {
        if let [rhai::ASTNode::Stmt(statement)] = path {
            run(statement);
        }
        true
    });
}

/// The tree with this function alone.
fn only(ast: &AST, function: &Function) -> AST {
    let mut one = ast.clone();
    one.clear_statements();
    one.retain_functions(|_, _, name, count| {
        *name == *function.name && count == function.parameters.len()
    });
    one
}

/// The functions of the text, in the order of their places.
fn functions(ast: &AST) -> Vec<Function> {
    let functions = ast.iter_fn_def().map(|function| Function {
        name: function.name.as_str().into(),
        parameters: function
            .params
            .iter()
            .map(|name| name.as_str().into())
            .collect(),
        place: function.body.start_position(),
    });
    let mut functions: Vec<Function> = functions.collect();
    functions.sort_by_key(|function| (function.place.line(), function.place.position()));
    functions
}

/// The phases of the functions. Reports a function that is none, and that none calls.
fn phases(walk: &mut Walk<'_>) -> Phases {
    let mut found = Phases::NONE;
    for function in walk.functions.clone() {
        let count = function.parameters.len();
        if let Some(phase) = vocabulary::phase(&function.name) {
            let (wanted, form) = vocabulary::arguments(phase);
            if count == wanted {
                found = found.and(phase);
                continue;
            }
            let form = match form {
                "" => format!("fn {}(r)", function.name),
                form => form.to_owned(),
            };
            let message = format!("the phase {} has {}", function.name, arguments(wanted));
            walk.report(function.place, message, format!("write `{form} {{ .. }}`"));
        } else if !function.is_anonymous() && !walk.is_called(&function) {
            let names = vocabulary::PHASES.map(|(name, _)| name);
            let remedy = match nearest(&function.name, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the phases are {}", names.join(", ")),
            };
            let message = format!("{} is no phase, and no function calls it", function.name);
            walk.report(function.place, message, remedy);
        }
    }
    let has_names = walk
        .functions
        .iter()
        .any(|f| vocabulary::phase(&f.name).is_some());
    if found == Phases::NONE && !has_names && walk.is_clean() {
        let names = vocabulary::PHASES.map(|(name, _)| name);
        let remedy = format!(
            "write a function such as `fn request(r) {{ .. }}`; the phases are {}",
            names.join(", ")
        );
        walk.report(rhai::Position::NONE, "no function", remedy);
    }
    found
}

/// How many arguments, in words.
fn arguments(count: usize) -> String {
    match count {
        0 => "no argument".to_owned(),
        1 => "1 argument".to_owned(),
        more => format!("{more} arguments"),
    }
}

/// A syntax error, with what helps.
fn syntax(failure: &Failure) -> Fault {
    let remedy = match failure.reason.strip_prefix("Undefined variable: ") {
        Some(_) => "correct the name; a function sees its arguments and `settings` alone",
        None => "correct the syntax",
    };
    let reason = match failure.reason.strip_prefix("Undefined variable: ") {
        Some(name) => format!("unknown variable `{name}`"),
        None => failure.reason.to_string(),
    };
    Fault {
        line: failure.line,
        column: failure.column,
        message: reason,
        remedy: remedy.to_owned(),
    }
}
