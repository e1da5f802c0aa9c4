//! The proxy as a part of another program: made from a file or from text, with hooks, and run as the binary runs it
//! or started in the background, as tests do.

use std::path::Path;

use crate::config::{Config, ConfigError};
use crate::hook::{Hook, HookSet};
use crate::server::{self, Running, StartMode};

/// A proxy that does not serve yet.
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// let proxy = tollgate::Proxy::builder()
///     .config_file("conf/pingora.yaml")?
///     .build();
/// proxy.run()
/// # }
/// ```
#[derive(Debug)]
pub struct Proxy {
    config: Config,
    hooks: HookSet,
}

/// Makes a [`Proxy`]: first its configuration.
#[derive(Debug, Default)]
pub struct Builder(());

/// A [`Builder`] with a configuration.
#[derive(Debug)]
pub struct Configured(Proxy);

impl Proxy {
    /// Begins to make a proxy.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Serves until a signal ends it, as the program `tollgate -c FILE` does: with its PID file, its signals, and the
    /// rights of the user that the file names.
    ///
    /// # Errors
    /// The process cannot serve: an address is in use, a log cannot be opened.
    pub fn run(self) -> anyhow::Result<()> {
        self.config.warnings.log();
        server::run(self.config, StartMode::default(), self.hooks)
    }

    /// Serves on threads of its own until it is stopped. Touches nothing of the process: no signal, no PID file, no
    /// rights. A process may have several.
    ///
    /// # Errors
    /// The proxy cannot serve: an address is in use, a log cannot be opened.
    pub fn start(self) -> anyhow::Result<Running> {
        self.config.warnings.log();
        server::start(self.config, self.hooks)
    }
}

impl Builder {
    /// Takes a configuration that is loaded already.
    pub fn config(self, config: Config) -> Configured {
        Configured::of(config)
    }

    /// Reads the configuration and every file that it names. A port 0 of a listener is a free port:
    /// [`Running::addresses`] has it.
    ///
    /// # Errors
    /// Every problem of all the files together.
    pub fn config_file(self, path: impl AsRef<Path>) -> Result<Configured, ConfigError> {
        Config::embedded(path.as_ref()).map(Configured::of)
    }

    /// The same for the text of a configuration. Relative paths in it are in `directory`.
    ///
    /// # Errors
    /// Every problem of the text and of the files that it names.
    pub fn config_text(
        self,
        text: &str,
        directory: impl AsRef<Path>,
    ) -> Result<Configured, ConfigError> {
        Config::embedded_text(text, directory.as_ref()).map(Configured::of)
    }
}

impl Configured {
    fn of(config: Config) -> Self {
        Self(Proxy {
            config,
            hooks: HookSet::default(),
        })
    }

    /// Adds a hook. Hooks are called in the order in which they are added, before the scripts of the configuration.
    #[must_use]
    pub fn hook(mut self, hook: impl Hook) -> Self {
        self.0.hooks = self.0.hooks.with(hook);
        self
    }

    /// The proxy.
    #[must_use]
    pub fn build(self) -> Proxy {
        self.0
    }
}
