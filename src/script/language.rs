//! Rhai as the language of scripts: the engine with its limits, and calls of functions.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;

use rhai::config::hashing::set_hashing_seed;
use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage,
    BasicMathPackage, BasicStringPackage, LogicPackage, MoreStringPackage, Package,
};
use rhai::{
    AST, ASTNode, Caches, Dynamic, EvalAltResult, ImmutableString, Module, OptimizationLevel,
    ParseError, Position, Scope, ScriptFuncDef, Shared, Stmt,
};

use super::api::{self, Handle, Misuse};
use super::direct::{Direct, Frame, Names};
use super::engine::{Called, Engine, Failure, Returned, Subject};
use super::meter::{Ended, Meter};
use super::natives::ByName;
use super::{Limits, Source, vocabulary};
use crate::hook::Phases;

/// How deep an expression is.
const MAX_EXPRESSION: usize = 32;

/// Variables of one call at the same time, without those of the calls in it.
const MAX_VARIABLES: usize = 64;

/// Functions of one script.
const MAX_FUNCTIONS: usize = 128;

/// The most functions that calls have resolved. A script calls some dozens, but can make names of functions from texts.
const MAX_RESOLVED: usize = 512;

/// A script, compiled for one thread.
pub(super) struct Language {
    engine: rhai::Engine,
    /// The module of the functions, for those that functions call.
    library: Shared<Module>,
    functions: Vec<Function>,
    meter: Rc<Meter>,
    handle: Handle,
    /// Taken by a call, and given back by one that succeeds: what a failure or a panic leaves is not used again.
    kept: Cell<Option<Kept>>,
    /// Memory for the variables of functions that are run directly.
    variables: Cell<Vec<Dynamic>>,
}

/// The function of a phase.
struct Function {
    phase: Phases,
    parameters: Vec<ImmutableString>,
    body: Vec<Stmt>,
    /// The same without Rhai's interpreter, where that is possible.
    direct: Option<Direct>,
}

/// What one call leaves to the next one: which functions the names are, and memory without a value.
struct Kept {
    caches: Caches,
    scope: Scope<'static>,
    /// The handle as a value of the script.
    handle: Dynamic,
}

/// What all engines of a thread have in common.
struct Library {
    modules: [Shared<Module>; 10],
    natives: ByName,
}

impl Library {
    fn new() -> Self {
        let (own, natives) = api::natives().finish();
        let modules = [
            ArithmeticPackage::new().as_shared_module(),
            LogicPackage::new().as_shared_module(),
            BasicStringPackage::new().as_shared_module(),
            MoreStringPackage::new().as_shared_module(),
            BasicIteratorPackage::new().as_shared_module(),
            BasicFnPackage::new().as_shared_module(),
            BasicArrayPackage::new().as_shared_module(),
            BasicMapPackage::new().as_shared_module(),
            BasicMathPackage::new().as_shared_module(),
            // The last one is asked first.
            own.into(),
        ];
        Self { modules, natives }
    }
}

thread_local! {
    static LIBRARY: Library = Library::new();
}

/// Compiles a text, with a variable `settings`. Without `optimized`, the tree has all that the text has.
///
/// # Errors
/// The text has a syntax error, or an unknown variable.
pub(super) fn parse(engine: &rhai::Engine, text: &str) -> Result<AST, ParseError> {
    let mut scope = Scope::new();
    // Not a constant, whose value would be put in its place.
    scope.push("settings", ());
    engine.compile_with_scope(&scope, text)
}

/// Has Rhai hash with a seed of this process. It finds the case of a `switch` by the hash of the value alone, and with its
/// own seed, which all programs have, a client could make a path or a field that leads to the case of another one.
fn seed() {
    static SEEDED: Once = Once::new();
    SEEDED.call_once(|| {
        let random = RandomState::new();
        let seed = [0, 1, 2, 3].map(|part: u8| random.hash_one(part));
        // Its only error is that a seed is set, and this is the one place that sets it.
        let _ = set_hashing_seed(Some(seed));
    });
}

/// An engine with the limits, without functions.
pub(super) fn bare_engine(limits: &Limits) -> rhai::Engine {
    seed();
    let mut engine = rhai::Engine::new_raw();
    engine
        .set_strict_variables(true)
        .set_optimization_level(OptimizationLevel::None)
        .set_max_operations(limits.operations)
        .set_max_string_size(limits.string)
        .set_max_array_size(limits.entries)
        .set_max_map_size(limits.entries)
        .set_max_call_levels(limits.depth)
        .set_max_expr_depths(MAX_EXPRESSION, MAX_EXPRESSION)
        .set_max_variables(MAX_VARIABLES)
        .set_max_functions(MAX_FUNCTIONS);
    engine
}

impl Language {
    /// Compiles a script.
    ///
    /// # Errors
    /// It has a syntax error.
    pub(super) fn compile(source: &Source) -> Result<Self, Failure> {
        let limits = &source.limits;
        let mut engine = bare_engine(limits);
        engine.set_optimization_level(OptimizationLevel::Simple);
        LIBRARY.with(|library| {
            for module in &library.modules {
                engine.register_global_module(Shared::clone(module));
            }
        });
        let settings = api::constants(&source.settings);
        let (mut own, natives) = api::own_natives(&source.secrets).finish();
        own.set_var("settings", settings.clone());
        engine.register_global_module(own.into());
        let meter = Rc::new(Meter::new(limits.operations, limits.time));
        let counted = Rc::clone(&meter);
        engine.on_progress(move |_| (!counted.count()).then_some(Dynamic::UNIT));
        let ast = parse(&engine, &source.text).map_err(|error| syntax(&error))?;
        // What a client sends is not to be kept, nor found by its hash.
        engine.set_max_strings_interned(0);
        let own: Vec<_> = ast.iter_fn_def().map(|it| it.name.clone()).collect();
        let functions = LIBRARY.with(|library| {
            let names = Names {
                natives: [&natives, &library.natives],
                own: &own,
                settings: &settings,
                max_variables: MAX_VARIABLES,
            };
            let functions = ast.iter_fn_def();
            let functions = functions.filter_map(|it| Function::of(&ast, it, &names));
            functions.collect()
        });
        Ok(Self {
            functions,
            library: Shared::clone(ast.shared_lib()),
            engine,
            meter,
            handle: Handle(Rc::new(RefCell::new(None))),
            kept: Cell::new(None),
            variables: Cell::default(),
        })
    }

    /// Whether all functions of phases are run without Rhai's interpreter.
    #[cfg(test)]
    pub(super) fn runs_directly(&self) -> bool {
        self.functions
            .iter()
            .all(|function| function.direct.is_some())
    }

    /// What is said of a value that is too large; `what` is Rhai's name of it.
    fn too_large(&self, what: &str) -> String {
        let what = what.to_lowercase();
        if what.contains("string") {
            return format!(
                "a text of more than {} bytes",
                self.engine.max_string_size()
            );
        }
        let what = if what.contains("map") {
            "a map"
        } else {
            "an array"
        };
        format!(
            "{what} of more than {} entries",
            self.engine.max_array_size()
        )
    }

    fn failure(&self, mut error: EvalAltResult) -> Failure {
        while let EvalAltResult::ErrorInFunctionCall(_, _, inner, _) = error {
            error = *inner;
        }
        let position = error.take_position();
        let max = self.engine.max_operations();
        let reason = match (self.meter.ended(), &error) {
            (Some(Ended::Operations), _) | (_, EvalAltResult::ErrorTooManyOperations(_)) => {
                format!("more than {max} operations")
            }
            (Some(Ended::Time), _) => format!("longer than {:?}", self.meter.time()),
            (_, EvalAltResult::ErrorStackOverflow(_)) => {
                format!(
                    "more than {} calls inside of calls",
                    self.engine.max_call_levels()
                )
            }
            (_, EvalAltResult::ErrorTooManyVariables(_)) => {
                format!("more than {MAX_VARIABLES} variables")
            }
            (_, EvalAltResult::ErrorDataTooLarge(what, _)) => self.too_large(what),
            (_, EvalAltResult::ErrorRuntime(thrown, _)) => {
                let misuse = thrown
                    .read_lock::<Misuse>()
                    .map(|misuse| misuse.to_string());
                misuse.unwrap_or_else(|| format!("throws {thrown}"))
            }
            (_, EvalAltResult::ErrorFunctionNotFound(signature, _)) => {
                format!(
                    "no function for {}",
                    signature.replace("&str | ImmutableString | String", "string")
                )
            }
            (_, error) => error.to_string(),
        };
        let misuse = match &error {
            EvalAltResult::ErrorRuntime(thrown, _) => thrown.read_lock::<Misuse>(),
            _ => None,
        };
        let is_thrown = matches!(&error, EvalAltResult::ErrorRuntime(..)) && misuse.is_none();
        let is_of_request = misuse.is_some_and(|misuse| misuse.is_of_request);
        Failure {
            reason: one_line(&reason),
            line: position.line(),
            column: position.position(),
            is_thrown,
            is_of_request,
        }
    }
}

impl Language {
    /// Runs the function of a phase. `Engine::call_fn` would look for each function that it calls anew.
    fn evaluate(
        &self,
        phase: Phases,
        moved: Option<api::Moved>,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let arity = 1 + usize::from(moved.is_some());
        let is_wanted = |other: &&Function| other.phase == phase && other.parameters.len() == arity;
        let Some(function) = self.functions.iter().find(is_wanted) else {
            let name = phase.name().to_owned();
            return Err(EvalAltResult::ErrorFunctionNotFound(name, Position::NONE).into());
        };
        if let Some(direct) = &function.direct {
            return self.run(direct, moved);
        }
        let kept = self.kept.take();
        let mut kept = kept.unwrap_or_else(|| Kept::new(&self.handle));
        let arguments = [
            Some(std::mem::take(&mut kept.handle)),
            moved.map(Dynamic::from),
        ];
        for (name, value) in function
            .parameters
            .iter()
            .zip(arguments.into_iter().flatten())
        {
            kept.scope.push_dynamic(name.clone(), value);
        }
        let mut global = self.engine.new_global_runtime_state();
        global.lib.push(Shared::clone(&self.library));
        #[expect(
            deprecated,
            reason = "no other call takes caches; a call by name would look for the function again"
        )]
        let returned = self.engine.eval_statements_raw(
            &mut global,
            &mut kept.caches,
            &mut kept.scope,
            &function.body,
        )?;
        self.kept.set(kept.cleared(function));
        Ok(returned)
    }

    fn run(
        &self,
        direct: &Direct,
        moved: Option<api::Moved>,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut variables = self.variables.take();
        variables.clear();
        variables.push(Dynamic::from(self.handle.clone()));
        variables.extend(moved.map(Dynamic::from));
        let mut frame = Frame {
            engine: &self.engine,
            meter: &self.meter,
            handle: &self.handle,
            variables: &mut variables,
        };
        let returned = direct.call(&mut frame);
        variables.clear();
        self.variables.set(variables);
        returned
    }
}

impl Function {
    /// The function of a phase, from the tree that has it.
    fn of(ast: &AST, function: &ScriptFuncDef, names: &Names<'_>) -> Option<Self> {
        let phase = vocabulary::phase(&function.name)?;
        let count = function.params.len();
        let mut one = ast.clone();
        one.retain_functions(|_, _, name, params| *name == *function.name && params == count);
        let mut body = Vec::new();
        one.walk(&mut |path| {
            if let [ASTNode::Stmt(statement)] = path {
                body.push((*statement).clone());
            }
            true
        });
        let parameters: Vec<_> = function.params.iter().cloned().collect();
        Some(Self {
            phase,
            direct: Direct::lower(names, &parameters, &body),
            parameters,
            body,
        })
    }
}

impl Kept {
    fn new(handle: &Handle) -> Self {
        Self {
            caches: Caches::new(),
            scope: Scope::new(),
            handle: Dynamic::from(handle.clone()),
        }
    }

    /// Takes out what is of the call that is over. None: it is not worth keeping.
    fn cleared(mut self, function: &Function) -> Option<Self> {
        self.scope.rewind(1);
        let handle = self.scope.get_mut(function.parameters.first()?)?;
        self.handle = std::mem::take(handle);
        self.scope.clear();
        // A function may give its parameter another value.
        let is_whole = self.handle.is::<Handle>();
        let is_small = self.caches.fn_resolution_caches_len() <= 1
            && self.caches.fn_resolution_cache_mut().dict.len() <= MAX_RESOLVED;
        (is_whole && is_small).then_some(self)
    }
}

impl Engine for Language {
    fn call(&self, phase: Phases, subject: Subject) -> Called {
        self.meter.reset();
        let moved = subject.traffic;
        let moved = moved.map(|(moved, total)| api::Moved { moved, total });
        self.handle.0.replace(Some(subject));
        // A panic ends this call alone: what hooks want so far comes back, and `on_error` holds.
        let evaluated = catch_unwind(AssertUnwindSafe(|| self.evaluate(phase, moved)));
        let result = match evaluated {
            Ok(result) => result.map_err(|error| self.failure(*error)),
            Err(_panic) => Err(Failure {
                reason: "it panicked".into(),
                line: None,
                column: None,
                is_thrown: false,
                is_of_request: false,
            }),
        };
        let result = result.and_then(|value| returned_in(phase, value));
        Called {
            subject: self.handle.0.take(),
            result,
            operations: self.meter.operations(),
        }
    }
}

/// What a function returns, if its phase has a use for it.
fn returned_in(phase: Phases, value: Dynamic) -> Result<Returned, Failure> {
    if value.is_unit() {
        return Ok(Returned::Nothing);
    }
    let decides = Phases::REQUEST
        .and(Phases::AUTHORIZE)
        .and(Phases::ROUTE)
        .and(Phases::UPSTREAM_REQUEST)
        .and(Phases::RESPONSE)
        .and(Phases::TUNNEL_OPEN);
    let cuts = Phases::TUNNEL_HELLO.and(Phases::TUNNEL_BYTES);
    let found = value.type_name();
    let returned = value.try_cast::<api::Return>().map(|returned| returned.0);
    let wanted = if decides.has(phase) {
        "deny(..), answer(..) or nothing"
    } else if cuts.has(phase) {
        "cut() or nothing"
    } else {
        "nothing"
    };
    let found = match returned {
        Some(Returned::Cut) if cuts.has(phase) => return Ok(Returned::Cut),
        Some(returned @ (Returned::Denial(_) | Returned::Answer(_))) if decides.has(phase) => {
            return Ok(returned);
        }
        Some(Returned::Cut) => "cut()",
        Some(Returned::Denial(_)) => "deny(..)",
        Some(Returned::Answer(_)) => "answer(..)",
        Some(Returned::Nothing) | None => api::type_name(found),
    };
    Err(Failure {
        reason: format!(
            "{} returns {found}, where {wanted} is expected",
            phase.name()
        )
        .into(),
        line: None,
        column: None,
        is_thrown: false,
        is_of_request: false,
    })
}

/// A syntax error.
pub(super) fn syntax(error: &ParseError) -> Failure {
    Failure {
        reason: one_line(&error.err_type().to_string()),
        line: error.position().line(),
        column: error.position().position(),
        is_thrown: false,
        is_of_request: false,
    }
}

/// The first characters of a text, as one line.
fn one_line(text: &str) -> Box<str> {
    const MAX: usize = 300;
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    shown.take(MAX).collect::<String>().into()
}

#[cfg(test)]
mod tests;
