//! From a file or a text to a configuration, for each of the things that it is read for.

use std::path::Path;

use super::files::{self, Base};
use super::problem::Diagnostics;
use super::{Config, ConfigError, FILE_ADVICE, MAX_FILE, Scope, interpret};

impl Config {
    /// [`load`](Self::load) for a part of another program: a port 0 is a free port.
    pub(crate) fn embedded(path: &Path) -> Result<Config, ConfigError> {
        let diagnostics = Diagnostics::new(path);
        let config = read(path, &diagnostics, Scope::Embedded);
        diagnostics.finish(config)
    }

    /// The same for a text. Paths in it are relative to `directory`.
    pub(crate) fn embedded_text(text: &str, directory: &Path) -> Result<Config, ConfigError> {
        let path = directory.join("tollgate.yaml");
        let diagnostics = Diagnostics::new(&path);
        let config = base(&path, &diagnostics)
            .and_then(|base| interpret(&path, text, &base, &diagnostics, Scope::Embedded));
        diagnostics.finish(config)
    }

    /// Reads the configuration and every file that it names.
    ///
    /// Blocks, and may hash a password: once, at the start.
    ///
    /// # Errors
    /// Every problem of all the files together.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let diagnostics = Diagnostics::new(path);
        let config = read(path, &diagnostics, Scope::Start);
        diagnostics.finish(config)
    }

    /// As [`Config::load`], and tries to bind the ports too. Nothing is made or changed.
    ///
    /// # Errors
    /// As [`Config::load`], and every address that cannot be listened on.
    pub fn check(path: &Path) -> Result<Config, ConfigError> {
        let diagnostics = Diagnostics::new(path);
        let config = read(path, &diagnostics, Scope::Check);
        diagnostics.finish(config)
    }

    /// Reads the configuration to ask its policy. Its tests are not run, so that why one of them fails can
    /// be asked too; directories and certificates are not looked at.
    ///
    /// # Errors
    /// As [`Config::load`], for what is looked at.
    pub fn load_to_explain(path: &Path) -> Result<Config, ConfigError> {
        let diagnostics = Diagnostics::new(path);
        let config = read(path, &diagnostics, Scope::Explain);
        diagnostics.finish(config)
    }
}

/// Reads a configuration; reports to `diagnostics`, and returns one only when it is whole.
pub(super) fn read(path: &Path, diagnostics: &Diagnostics, scope: Scope<'_>) -> Option<Config> {
    if path.as_os_str().is_empty() {
        let remedy = "give one, such as conf/pingora.yaml".to_owned();
        diagnostics.report(None, "", "no configuration file is named", remedy);
        return None;
    }
    let text = match files::read_text(path, MAX_FILE) {
        Ok(text) => text,
        Err(error) => {
            let remedy = error.remedy(path, FILE_ADVICE);
            diagnostics.report(error.line(), "", error.to_string(), remedy);
            return None;
        }
    };
    let base = base(path, diagnostics)?;
    interpret(path, &text, &base, diagnostics, scope)
}

/// The directory of a file, to which its paths are relative.
fn base(path: &Path, diagnostics: &Diagnostics) -> Option<Base> {
    match Base::of(path) {
        Ok(base) => Some(base),
        Err(error) => {
            let message = format!("the working directory cannot be read: {error}");
            diagnostics.report(None, "", message, FILE_ADVICE.to_owned());
            None
        }
    }
}
