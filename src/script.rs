//! Scripts of the operator: functions in the phases of a request, in the language Rhai.
//!
//! A [`Script`] is one [`Hook`](crate::hook::Hook). Each thread has its own engine and its own compiled script
//! ([`threads`]), since shared ones do not scale over threads; the language is behind [`engine::Engine`].
//!
//! A script sees its arguments, `settings` and `secret(name)`, and nothing else: no time, no file, no network and no
//! state of another call. So the same call has the same result, in [`Trial`] too. Limits end each call
//! ([`Limits`]); a call that fails costs its own request alone.
//!
//! Pure: no I/O, no Pingora types. `config` reads the files.

mod api;
#[cfg(any(test, feature = "internals"))]
pub mod bench;
mod check;
mod direct;
mod engine;
mod hook;
mod language;
mod meter;
mod natives;
mod samples;
mod scenario;
mod secret;
mod setting;
mod threads;
mod trial;
mod vocabulary;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use self::check::Fault;
use self::check::Names;
pub use self::scenario::scenario_facts;
pub use self::secret::{SecretText, Secrets};
pub use self::setting::{Setting, Settings};
pub use self::trial::{Decided, Step, Trial, Verdict};
use crate::hook::{Phases, Role};

/// How much one call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Operations: about one for each operator, call and statement.
    pub operations: u64,
    /// Time, for the operations that take long.
    pub time: Duration,
    /// Bytes of one string, and of all strings in one array or map.
    pub string: usize,
    /// Entries of one array or map, with those of the arrays and maps in it.
    pub entries: usize,
    /// Calls inside of calls.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            operations: 50_000,
            time: Duration::from_millis(2),
            string: 16 << 10,
            entries: 256,
            depth: 16,
        }
    }
}

/// What happens with a request when its script fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The request gets 500.
    #[default]
    Deny,
    /// The request goes on as if the script were not there.
    Skip,
}

/// What a script is made of.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name in the log and in metrics.
    pub name: Box<str>,
    /// The file of the text; none for a text in the configuration.
    pub file: Option<PathBuf>,
    /// The text.
    pub text: Box<str>,
    /// The roles in which it is called.
    pub roles: Vec<Role>,
    /// What a failure means.
    pub on_error: OnError,
    /// The constants of `settings`.
    pub settings: Settings,
    /// What `secret(name)` knows.
    pub secrets: Secrets,
    /// The limits of each call.
    pub limits: Limits,
    /// The names of the pools; none when they are not known, so that none is checked.
    pub pools: Option<Vec<Box<str>>>,
    /// The same of the parents.
    pub parents: Option<Vec<Box<str>>>,
    /// The names of the groups; none when credentials may say others, so that none is checked.
    pub groups: Option<Vec<Box<str>>>,
    /// Whether settings and secrets come from the command line, so that remedies name its options.
    pub is_alone: bool,
}

/// A script that can be called.
#[derive(Clone)]
pub struct Script(Arc<Compiled>);

/// What threads compile a script from.
struct Compiled {
    /// Another one for each script of the process's life.
    id: u64,
    source: Source,
    phases: Phases,
    /// Whether a function reads the fields of a response, so that they are copied for it.
    reads_fields: bool,
}

impl Script {
    /// The longest text of a script, in bytes.
    pub const MAX_TEXT: usize = 64 << 10;

    /// Compiles and checks a script: its syntax, its names, and a call of each function with sample requests.
    ///
    /// # Errors
    /// Every fault.
    pub fn new(source: Source) -> Result<(Script, Vec<Fault>), Vec<Fault>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Names {
            phases,
            reads_fields,
            mut warnings,
        } = check::names(&source)?;
        let script = Script(Arc::new(Compiled {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            source,
            phases,
            reads_fields,
        }));
        warnings.extend(samples::run(&script)?);
        Ok((script, warnings))
    }

    /// The name in the log and in metrics.
    pub fn name(&self) -> &str {
        &self.0.source.name
    }

    /// What it is made of.
    pub fn source(&self) -> &Source {
        &self.0.source
    }

    /// The phases that it has functions for.
    pub fn phases(&self) -> Phases {
        self.0.phases
    }

    /// Whether it is called in a role.
    pub fn has_role(&self, role: Role) -> bool {
        self.0.source.roles.contains(&role)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Script").field(&self.name()).finish()
    }
}

#[cfg(test)]
mod tests;
