//! What a reload reads again: the users, the trusted networks and the policy, with groups and lists.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::load::read;
use super::problem::Diagnostics;
use super::values::Values;
use super::{
    Config, ConfigError, ListenerTls, Parents, Problems, Scope, Shown, own_listeners, trusted,
};
use crate::access::auth::external::External;
use crate::access::auth::lockout::LockoutSettings;
use crate::access::auth::tokens::Tokens;
use crate::access::auth::{Htpasswd, TrustedNetworks};
use crate::access::limits::Classes;
use crate::access::policy::Policy;
use crate::script::Script;

/// Knows where the configuration of the running process is.
#[derive(Debug, Clone)]
pub struct Reloader {
    file: PathBuf,
    exposed: bool,
    listening: Vec<SocketAddr>,
    /// A listener that believes every PROXY header.
    credulous: Option<SocketAddr>,
    /// The listeners that have TLS.
    secure: Vec<SocketAddr>,
    has_admin_users: bool,
    is_embedded: bool,
}

/// What a running process can take over.
#[derive(Debug)]
pub struct Reloaded {
    /// The users of the htpasswd file; at least one.
    pub users: Arc<Htpasswd>,
    /// The users of the admin service, where it has any.
    pub admin_users: Option<Arc<Htpasswd>>,
    /// The users of clients without credentials.
    pub trusted: Arc<TrustedNetworks>,
    /// The tokens that are accepted, if any are.
    pub tokens: Option<Arc<Tokens>>,
    /// The external authoriser, if there is one.
    pub external: Option<Arc<External>>,
    /// When failed logins lock out; none where they do not.
    pub lockout: Option<LockoutSettings>,
    /// The guard of `tollgate.egress` and the rules of `tollgate.policy`, with list files and groups. Its tests
    /// have passed. The machine's addresses are for the server to add.
    pub policy: Policy,
    /// The proxies behind this one.
    pub parents: Parents,
    /// The classes of limits, if there are any.
    pub classes: Option<Arc<Classes>>,
    /// What TLS is served with from now on, by listener: of those that had TLS before, and whose files this process may
    /// still read.
    pub tls: Vec<(SocketAddr, Arc<ListenerTls>)>,
    /// The scripts, with the secrets as they are now.
    pub scripts: Vec<Script>,
    /// What is most likely not meant, although it can be used.
    pub warnings: Problems,
    /// How many entries of lenient lists of domains are left out.
    pub left_out: usize,
    /// What the file says now, without secrets.
    pub shown: Shown,
    /// What every key says now, those included that a running process cannot take over.
    pub values: Values,
}

impl Config {
    /// Makes what reads the parts again that can change while the process runs.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader {
            file: self.file.clone(),
            exposed: self.is_exposed(),
            listening: own_listeners(&self.listeners, self.admin_address()),
            credulous: trusted::credulous(&self.listeners),
            secure: self.tls().map(|(address, _)| address).collect(),
            has_admin_users: self.admin.as_ref().is_some_and(|it| it.users.is_some()),
            is_embedded: self.is_embedded,
        }
    }

    /// What TLS is served with, by listener.
    pub fn tls(&self) -> impl Iterator<Item = (SocketAddr, Arc<ListenerTls>)> {
        let listeners = self.listeners.iter();
        let listeners = listeners.map(|it| (it.address, it.tls.as_ref()));
        let admin = self.admin.iter().map(|it| (it.address, it.tls.as_ref()));
        let all = listeners.chain(admin);
        all.filter_map(|(address, tls)| Some((address, Arc::clone(tls?))))
    }

    /// What every key says, to be compared with what a reload reads.
    #[must_use]
    pub fn values(&self) -> Values {
        self.values.clone()
    }
}

impl Reloader {
    /// Reads the configuration file again, with `auth.htpasswd`, `auth.groups`, `auth.trusted_networks`, `auth.tokens`, `auth.lockout`, the classes of `limits` and the lists of
    /// `egress` and `policy`, and runs `policy_tests`.
    ///
    /// The whole file is checked, so that a mistake does not wait for the next start; all other
    /// keys keep the values that the process was started with. Certificates and keys of listeners are read as far as
    /// this process may: a daemon may have given up the right to.
    ///
    /// Blocks, and may hash a password: not for a thread that serves connections.
    ///
    /// # Errors
    /// Every problem. Then the process keeps what it has.
    pub fn reload(&self) -> Result<Reloaded, ConfigError> {
        let diagnostics = Diagnostics::new(&self.file);
        let scope = Scope::Reload {
            exposed: self.exposed,
            listening: &self.listening,
            credulous: self.credulous,
            secure: &self.secure,
            has_admin_users: self.has_admin_users,
            is_embedded: self.is_embedded,
        };
        let reloaded = read(&self.file, &diagnostics, scope).map(|config| Reloaded {
            tls: config.tls().collect(),
            admin_users: config.admin.and_then(|admin| admin.users),
            users: config.auth.users,
            trusted: config.auth.trusted,
            tokens: config.auth.tokens,
            external: config.auth.external,
            lockout: config.auth.lockout,
            policy: config.policy,
            parents: config.parents,
            classes: config.classes,
            scripts: config.scripts,
            warnings: config.warnings,
            left_out: config.left_out,
            values: config.values,
            shown: config.shown,
        });
        diagnostics.finish(reloaded)
    }
}
