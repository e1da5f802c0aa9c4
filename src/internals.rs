//! What `bench/micro` measures and what the fuzz targets check. Not for programs: it changes without notice.
//!
//! A target is a function from bytes to a word for what the parser did. It panics when an invariant does not
//! hold. Each stands beside its parser, in a file `fuzz.rs`. Two drivers call the targets of [`TARGETS`]:
//! libFuzzer through `fuzz/fuzz_targets`, and [`Campaign`], which needs no other compiler. The seeds of a target
//! are in `fuzz/corpus/NAME`, its words in `fuzz/dictionaries/NAME.dict`.

mod campaign;
mod dictionary;
mod mutator;

use std::io;
use std::path::{Path, PathBuf};

pub use self::campaign::{Campaign, MAX_INPUT};
pub use crate::access::policy;
pub use crate::http::target;
pub use crate::script::bench as script;

/// The functions of the targets, by their names.
pub mod targets {
    pub use crate::access::auth::external::fuzz::authorizer_answer;
    pub use crate::access::auth::fuzz::{credentials, htpasswd};
    pub use crate::access::auth::tokens::fuzz::{key_set, token};
    pub use crate::access::policy::expression::fuzz::expression;
    pub use crate::access::policy::{htgroup, lists};
    pub use crate::config::fuzz::{configuration, pem, yaml};
    pub use crate::downstream::{first_bytes, proxy_header};
    pub use crate::hello::fuzz::client_hello;
    pub use crate::http::fields::forwarded::fuzz::forwarded;
    pub use crate::http::http1::fuzz::{chunked_body, head};
    pub use crate::http::response::fuzz::response;
    pub use crate::http::target::fuzz::authority;
    pub use crate::http::trace_context::fuzz::trace_context;
    pub use crate::socks5::fuzz::socks5;
    pub use crate::top::fuzz::top;
    pub use crate::upstream::parent::fuzz::parent_answer;
}

/// A parser and its invariants.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, in files and for `FUZZ_TARGET`.
    pub name: &'static str,
    /// Parses the bytes and checks the invariants. Returns what the parser did, in words: the same for all
    /// inputs that are alike.
    pub run: fn(&[u8]) -> String,
}

/// The list of the targets, for another macro.
macro_rules! each_target {
    ($with:ident) => {
        $with! {
            head,
            chunked_body,
            authority,
            credentials,
            response,
            parent_answer,
            first_bytes,
            client_hello,
            proxy_header,
            forwarded,
            htpasswd,
            token,
            key_set,
            authorizer_answer,
            htgroup,
            lists,
            pem,
            yaml,
            configuration,
            expression,
            socks5,
            trace_context,
            top,
        }
    };
}

macro_rules! table {
    ($($name:ident),* $(,)?) => {
        &[$(Target { name: stringify!($name), run: targets::$name }),*]
    };
}

/// Every target.
pub const TARGETS: &[Target] = each_target!(table);

impl Target {
    /// The target of this name.
    pub fn of(name: &str) -> Option<&'static Target> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// The inputs to begin with, and those that once broke an invariant; in the order of their names.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn seeds(&self) -> io::Result<Vec<Vec<u8>>> {
        let entries = std::fs::read_dir(folder().join("corpus").join(self.name))?;
        let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
        let mut paths = paths?;
        paths.sort();
        paths.iter().map(std::fs::read).collect()
    }

    /// The words of the input's language.
    ///
    /// # Errors
    /// The file cannot be read, or a line of it is not a word in quotes.
    pub fn dictionary(&self) -> io::Result<Vec<Vec<u8>>> {
        let name = format!("{}.dict", self.name);
        let text = std::fs::read_to_string(folder().join("dictionaries").join(&name))?;
        dictionary::parse(&text).map_err(|line| {
            let message = format!("{name}:{line}: not a word in quotes");
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    }
}

/// The folder of seeds, dictionaries and what was found.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

#[cfg(test)]
mod tests;
