//! The compiled scripts of each thread.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use super::engine::{Called, Engine, Failure, Subject};
use super::language::Language;
use super::{Compiled, Script};
use crate::hook::Phases;

/// The most compiled scripts of one thread. Those of replaced configurations that open requests keep are among them.
const MAX_COMPILED: usize = 128;

/// A script as one thread has it.
struct Local {
    id: u64,
    /// Dead when no configuration and no request has the script any more.
    script: Weak<Compiled>,
    engine: Rc<dyn Engine>,
}

thread_local! {
    static LOCALS: RefCell<Vec<Local>> = const { RefCell::new(Vec::new()) };
}

/// Calls the function of a phase on this thread.
pub(super) fn call(script: &Script, phase: Phases, subject: Subject) -> Called {
    match engine(script) {
        Ok(engine) => engine.call(phase, subject),
        Err(failure) => Called {
            subject: Some(subject),
            result: Err(failure),
            operations: 0,
        },
    }
}

/// The engine of a script; compiled when it is called first.
fn engine(script: &Script) -> Result<Rc<dyn Engine>, Failure> {
    let id = script.0.id;
    LOCALS.with_borrow_mut(|locals| {
        if let Some(local) = locals.iter().find(|local| local.id == id) {
            return Ok(Rc::clone(&local.engine));
        }
        // It compiled when it was loaded, with the same limits.
        let engine = Language::compile(&script.0.source)?;
        let engine: Rc<dyn Engine> = Rc::new(engine);
        locals.retain(|local| local.script.strong_count() > 0);
        if locals.len() >= MAX_COMPILED {
            locals.remove(0);
        }
        locals.push(Local {
            id,
            script: Arc::downgrade(&script.0),
            engine: Rc::clone(&engine),
        });
        Ok(engine)
    })
}

/// Has this thread call the script with an engine of a test.
#[cfg(test)]
pub(super) fn put(script: &Script, engine: impl Engine + 'static) {
    LOCALS.with_borrow_mut(|locals| {
        locals.push(Local {
            id: script.0.id,
            script: Arc::downgrade(&script.0),
            engine: Rc::new(engine),
        });
    });
}

/// How many compiled scripts this thread has.
#[cfg(test)]
pub(super) fn count() -> usize {
    LOCALS.with_borrow(Vec::len)
}
