//! Rhai as the language of scripts: the engine with its limits, and calls of functions.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage,
    BasicMathPackage, BasicStringPackage, LogicPackage, MoreStringPackage, Package,
};
use rhai::{AST, Dynamic, EvalAltResult, Module, OptimizationLevel, ParseError, Scope, Shared};
use rustix::time::{ClockId, clock_gettime};

use super::api::{self, Handle, Misuse};
use super::engine::{Called, Engine, Failure, Returned, Subject};
use super::{Limits, Source};
use crate::hook::Phases;

/// How many operations pass between two looks at the clock.
const CLOCK_EVERY: u64 = 8;

/// How deep an expression is.
const MAX_EXPRESSION: usize = 32;

/// Variables of one call at the same time, without those of the calls in it.
const MAX_VARIABLES: usize = 64;

/// Functions of one script.
const MAX_FUNCTIONS: usize = 128;

/// A script, compiled for one thread.
pub(super) struct Language {
    engine: rhai::Engine,
    ast: AST,
    meter: Rc<Meter>,
    handle: Handle,
}

/// What a call has taken so far.
struct Meter {
    /// Also those of functions that are given to `map`, `filter` and the like, which Rhai's own count forgets.
    operations: Cell<u64>,
    max_operations: u64,
    /// Set when the clock is read first, so that a short call never reads it.
    deadline: Cell<Option<Instant>>,
    /// The time of the processor when the deadline passed first.
    late_since: Cell<Option<Duration>>,
    time: Duration,
    /// Why the call was ended.
    ended: Cell<Option<Ended>>,
}

#[derive(Clone, Copy)]
enum Ended {
    Operations,
    Time,
}

impl Meter {
    fn reset(&self) {
        self.operations.set(0);
        self.deadline.set(None);
        self.late_since.set(None);
        self.ended.set(None);
    }

    /// Counts one operation. A value ends the call.
    fn count(&self) -> Option<Dynamic> {
        let operations = self.operations.get() + 1;
        self.operations.set(operations);
        if operations > self.max_operations {
            self.ended.set(Some(Ended::Operations));
            return Some(Dynamic::UNIT);
        }
        if operations.is_multiple_of(CLOCK_EVERY) {
            let now = Instant::now();
            match self.deadline.get() {
                None => self.deadline.set(Some(now + self.time)),
                Some(deadline) if now >= deadline => return self.late(now),
                Some(_) => {}
            }
        }
        None
    }

    /// The deadline has passed, perhaps because the thread had no turn: the call gets its time once more, of the processor.
    fn late(&self, now: Instant) -> Option<Dynamic> {
        let used = processor_time();
        let Some(start) = self.late_since.get() else {
            self.late_since.set(Some(used));
            self.deadline.set(Some(now + self.time));
            return None;
        };
        let left = self.time.saturating_sub(used.saturating_sub(start));
        if left.is_zero() {
            self.ended.set(Some(Ended::Time));
            return Some(Dynamic::UNIT);
        }
        self.deadline.set(Some(now + left));
        None
    }
}

/// The time that this thread has had a processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or_default(),
        time.tv_nsec.try_into().unwrap_or_default(),
    )
}

thread_local! {
    /// What all engines of a thread have in common.
    static LIBRARY: [Shared<Module>; 10] = [
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
        api::module().into(),
    ];
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

/// An engine with the limits, without functions.
pub(super) fn bare_engine(limits: &Limits) -> rhai::Engine {
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
            for module in library {
                engine.register_global_module(Shared::clone(module));
            }
        });
        let own = api::own_module(&source.settings, &source.secrets, limits.string);
        engine.register_global_module(own.into());
        let meter = Rc::new(Meter {
            operations: Cell::new(0),
            max_operations: limits.operations,
            deadline: Cell::new(None),
            late_since: Cell::new(None),
            time: limits.time,
            ended: Cell::new(None),
        });
        let counted = Rc::clone(&meter);
        engine.on_progress(move |_| counted.count());
        let ast = parse(&engine, &source.text).map_err(|error| syntax(&error))?;
        Ok(Self {
            engine,
            ast,
            meter,
            handle: Handle(Rc::new(RefCell::new(None))),
        })
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
        let max = self.meter.max_operations;
        let reason = match (self.meter.ended.get(), &error) {
            (Some(Ended::Operations), _) | (_, EvalAltResult::ErrorTooManyOperations(_)) => {
                format!("more than {max} operations")
            }
            (Some(Ended::Time), _) => format!("longer than {:?}", self.meter.time),
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

impl Engine for Language {
    fn call(&self, phase: Phases, subject: Subject) -> Called {
        self.meter.reset();
        let traffic = subject.traffic;
        self.handle.0.replace(Some(subject));
        let name = phase.name();
        let mut scope = Scope::new();
        let handle = Dynamic::from(self.handle.clone());
        let returned: Result<Dynamic, _> = match traffic {
            Some((moved, total)) => {
                let arguments = (handle, api::Moved { moved, total });
                self.engine.call_fn(&mut scope, &self.ast, name, arguments)
            }
            None => self.engine.call_fn(&mut scope, &self.ast, name, (handle,)),
        };
        let result = returned
            .map_err(|error| self.failure(*error))
            .and_then(|value| returned_in(phase, value));
        Called {
            subject: self.handle.0.take(),
            result,
            operations: self.meter.operations.get(),
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
    let found = value.type_name();
    let returned = value.try_cast::<api::Return>().map(|returned| returned.0);
    let wanted = if decides.has(phase) {
        "deny(..), answer(..) or nothing"
    } else if phase == Phases::TUNNEL_BYTES {
        "cut() or nothing"
    } else {
        "nothing"
    };
    let found = match returned {
        Some(Returned::Cut) if phase == Phases::TUNNEL_BYTES => return Ok(Returned::Cut),
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
