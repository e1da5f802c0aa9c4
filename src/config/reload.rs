//! What SIGHUP reads again: the users and the rules of the way out.

use std::path::PathBuf;
use std::sync::Arc;

use super::problem::Sink;
use super::{Config, ConfigError, Scope, read};
use crate::auth::Htpasswd;
use crate::policy::EgressRules;

/// Knows where the configuration of the running process is.
#[derive(Debug, Clone)]
pub struct Reloader {
    file: PathBuf,
    exposed: bool,
}

/// What a running process can take over.
#[derive(Debug)]
pub struct Reloaded {
    /// The users of the htpasswd file; at least one.
    pub users: Arc<Htpasswd>,
    /// The rules of `tollgate.egress`, with its list files.
    pub egress: EgressRules,
}

impl Config {
    /// Makes what reads the parts again that can change while the process runs.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader {
            file: self.file.clone(),
            exposed: self.is_exposed(),
        }
    }
}

impl Reloader {
    /// Reads the configuration file again, with `auth.htpasswd` and the lists of `egress`.
    ///
    /// The whole file is checked, so that a mistake does not wait for the next start; all other
    /// keys keep the values that the process was started with. Certificates, keys and
    /// directories are not looked at: a daemon may have given up the right to.
    ///
    /// Blocks, and may hash a password: not for a thread that serves connections.
    ///
    /// # Errors
    /// Every problem. Then the process keeps what it has.
    pub fn reload(&self) -> Result<Reloaded, ConfigError> {
        let sink = Sink::new(&self.file);
        let scope = Scope::Reload {
            exposed: self.exposed,
        };
        let reloaded = read(&self.file, &sink, scope).map(|config| Reloaded {
            users: config.auth.users,
            egress: config.egress,
        });
        sink.finish(reloaded)
    }
}
