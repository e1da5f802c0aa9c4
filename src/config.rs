//! The checked configuration that the program runs on, read from one YAML file.
//!
//! Two levels: the file as written, which the private modules read, and [`Config`], whose values
//! can be used without another check. Nothing is started or written here, a port
//! is bound for a moment by a check alone, and no value of a file is ever repeated in a problem, paths
//! and addresses apart.
//!
//! ```text
//! pingora.yaml -> yaml (nodes with lines) -> reader (typed keys) -> one module per section -> Config
//!                                                                       |
//!                htpasswd, groups, list files, PEM files <- files ------+-> Problem, Problem, ...
//! ```
//!
//! `conf/production.yaml` has every key with its default; a test holds the two together.

mod auth;
mod egress;
mod exposure;
mod external;
mod files;
#[cfg(any(test, feature = "internals"))]
pub mod fuzz;
mod gateway;
mod host;
pub mod identity;
mod keys;
mod kind;
mod limits;
mod listeners;
mod lists;
mod load;
mod lockout;
mod pac;
mod parents;
mod pem;
mod pingora;
mod places;
mod policy;
mod ports;
mod problem;
mod reader;
#[cfg(test)]
mod reference;
mod reload;
mod rights;
mod roots;
mod scope;
mod scripts;
mod secrets;
mod sections;
mod senders;
#[cfg(test)]
mod tests;
mod threads;
mod tls;
mod tokens;
mod trusted;
mod tunnel;
mod values;
mod yaml;

use std::fs::{DirBuilder, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use pingora_core::server::configuration::ServerConf;
use rustix::fs::OFlags;

pub use self::auth::Auth;
#[cfg(test)]
pub use self::gateway::NamedPool;
pub use self::gateway::{
    Dns, EjectionRule, Forwarding, Gateway, HealthCheck, Http2, ProxyHeader, Upstream,
    UpstreamAddress,
};
pub use self::limits::{Limits, Timeouts};
use self::listeners::{Bindings, BoundSocket, TlsFiles};
pub use self::listeners::{Listener, Socks5, canonical};
pub use self::parents::{
    Choose, Fallback, Parent, ParentCredentials, ParentScheme, ParentUrl, Parents,
};
pub use self::ports::remedy as listen_remedy;
pub use self::problem::{ConfigError, Problems};
pub use self::reload::Reloader;
pub use self::senders::Senders;
pub use self::tls::{Clients, EXPIRY_WARNING, Expiry, ListenerTls, Reread, Served};
pub use self::units::parse_size;
pub use self::values::{Changes, Values};

use self::egress::Egress;
use self::files::Base;
use self::keys::form::Settings as _;
use self::kind::TextKind;
use self::limits::Log;
use self::lists::Lists;
use self::places::{Input, Place, Places, Purpose};
use self::policy::{GroupContext, RuleContext};
use self::problem::Diagnostics;
use self::reader::Section;
use self::scope::Scope;
use self::scripts::Surroundings;
use self::sections::Sections;
use self::tokens::TokenSection;
use self::trusted::Credulous;
use crate::access::auth::external::External;
use crate::access::limits::Classes;
use crate::access::policy::{Groups, Policy};
use crate::balances::StoreSettings;
use crate::config::identity::Identity;
use crate::http::pac::Pac;
use crate::script::Script;
use crate::telemetry::{self, Destination};
use crate::text::units;

/// The most that a configuration file may have.
const MAX_FILE: u64 = 1 << 20;

/// Everything that can be configured, checked.
#[derive(Debug)]
pub struct Config {
    /// The file that it was read from; absolute.
    pub(crate) file: PathBuf,
    /// Pingora's part, with Tollgate's defaults and absolute paths.
    pub(crate) server: ServerConf,
    /// Where clients connect; at least one, and none in the way of another.
    pub(crate) listeners: Vec<Listener>,
    /// Where metrics and statistics are served, if at all.
    pub(crate) admin: Option<SocketAddr>,
    /// Who may come in.
    pub(crate) auth: Auth,
    /// What is behind requests in origin-form.
    pub(crate) gateway: Gateway,
    /// The proxies behind this one.
    pub(crate) parents: Parents,
    /// Who may go where. Has the listeners and the admin service as own listeners; the machine's
    /// addresses are for the server to add. Its tests have passed.
    pub(crate) policy: Policy,
    /// The scripts, in the order in which they are called.
    pub(crate) scripts: Vec<Script>,
    /// How many entries of lenient lists of domains are left out, as they could not be used.
    pub(crate) left_out: usize,
    /// The file from which browsers learn of the proxy, if it is served.
    pub(crate) pac: Option<Arc<Pac>>,
    /// Whether requests to https origins go on in HTTP/2, where these offer it.
    pub(crate) origin_http2: bool,
    /// How names are resolved.
    pub(crate) dns: Dns,
    /// How long things may take.
    pub(crate) timeouts: Timeouts,
    /// How large and how many things may be.
    pub(crate) limits: Limits,
    /// The classes of limits, if there are any.
    pub(crate) classes: Option<Arc<Classes>>,
    /// Where balances of quotas are kept, if they are.
    pub(crate) store: Option<StoreSettings>,
    /// Destination and format of the access log; a path in it is absolute.
    pub(crate) log: telemetry::Settings,
    /// What is most likely not meant, although it can be used.
    pub(crate) warnings: Problems,
    /// The user that serves, when that is not the one that starts.
    pub(crate) identity: Option<Identity>,
    /// Whether `pid_file` is given; else it is a default.
    pub(crate) has_pid_file: bool,
    is_embedded: bool,
    /// What every key says, for a reload to compare.
    values: Values,
    /// The sockets of free ports, which are bound already.
    pub(crate) sockets: Vec<BoundSocket>,
    /// The directory of the default paths, when one of them is in use.
    run_directory: Option<PathBuf>,
}

impl Config {
    /// Whether anyone but programs on this machine can connect.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        is_exposed(&self.listeners)
    }

    /// The addresses to bind for `address`, that of a listener or of the admin service: `[::]` means every
    /// IPv4 address too, unless the file has 0.0.0.0 with that port as well.
    pub fn bound_addresses(&self, address: SocketAddr) -> impl Iterator<Item = SocketAddr> + use<> {
        listeners::bound_addresses(address, &configured_addresses(&self.listeners, self.admin))
    }

    /// Makes the directory of the default `pid_file` and `upgrade_sock`, for the user that serves alone.
    ///
    /// Does nothing when both are configured: their directories were checked.
    ///
    /// # Errors
    /// The directory is not there and cannot be made.
    pub fn create_run_directory(&self) -> io::Result<()> {
        let Some(directory) = &self.run_directory else {
            return Ok(());
        };
        if let Some(parent) = directory.parent() {
            DirBuilder::new().recursive(true).create(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => {}
            Err(_) if directory.is_dir() => return Ok(()),
            Err(error) => return Err(error),
        }
        if let Some(identity) = &self.identity {
            // By its descriptor: what was made is what is given away.
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let made = File::options()
                .read(true)
                .custom_flags(flags.bits().cast_signed())
                .open(directory)?;
            fchown(made, Some(identity.uid()), Some(identity.gid()))?;
        }
        Ok(())
    }
}

fn configured_addresses(listeners: &[Listener], admin: Option<SocketAddr>) -> Vec<SocketAddr> {
    let addresses = listeners.iter().map(|listener| listener.address);
    addresses.chain(admin).collect()
}

/// Where this program can be reached.
fn own_listeners(listeners: &[Listener], admin: Option<SocketAddr>) -> Vec<SocketAddr> {
    let all = configured_addresses(listeners, admin);
    let bound = all
        .iter()
        .flat_map(|address| listeners::bound_addresses(*address, &all));
    bound.collect()
}

fn is_exposed(listeners: &[Listener]) -> bool {
    listeners.iter().any(|listener| !listener.is_loopback())
}

/// What to do when the file is not a configuration.
const FILE_ADVICE: &str = "name a configuration file, as in `tollgate -c conf/pingora.yaml`";

/// Reads the text of the configuration `path`, whose directory is `base`.
fn interpret(
    path: &Path,
    text: &str,
    base: &Base,
    diagnostics: &Diagnostics,
    scope: Scope<'_>,
) -> Option<Config> {
    if let Some((kind, line)) = TextKind::of(text).filter(|(kind, _)| !kind.may_be_yaml()) {
        let wanted = TextKind::Configuration;
        let message = format!("{kind}, where {wanted} belongs");
        diagnostics.report(Some(line), "", message, FILE_ADVICE.to_owned());
        return None;
    }
    let document = yaml::parse(text, diagnostics)?;
    let mut root = Section::root(&document, diagnostics)?;
    let open = matches!(scope, Scope::Start | Scope::Check | Scope::Embedded);
    if !open {
        diagnostics.warn_of_reload_alone();
    }
    let server = pingora::Server::read(&mut root, base, open);
    root.declare(&["tollgate"], &[]);
    let mut tollgate = match root.item("tollgate") {
        Some(item) => item.section(),
        None => {
            sections::report_missing(root);
            return None;
        }
    };

    let sections = Sections::read(&mut tollgate);
    let tls_files = match scope {
        Scope::Start | Scope::Check | Scope::Embedded => TlsFiles::All,
        Scope::Reload { secure, .. } => TlsFiles::Of(secure),
        Scope::Explain => TlsFiles::Nothing,
    };
    let mut bound = Bindings::new(matches!(scope, Scope::Embedded));
    let listeners = listeners::read(
        &tollgate,
        sections.listeners.as_ref(),
        base,
        &tls_files,
        &mut bound,
    );
    let admin = sections.admin;
    let admin = admin.and_then(|item| listeners::read_admin(&item, &mut bound));
    let exposed = match scope {
        Scope::Start | Scope::Check | Scope::Embedded => is_exposed(&listeners),
        // Who could connect is not what is asked.
        Scope::Explain => false,
        Scope::Reload { exposed, .. } => exposed,
    };
    // The file may name others for the next start; those of now are still open.
    let listening = match scope {
        Scope::Reload { listening, .. } => listening,
        Scope::Start | Scope::Check | Scope::Embedded | Scope::Explain => &[],
    };
    let mut own_listeners = own_listeners(&listeners, admin);
    own_listeners.extend_from_slice(listening);
    let auth = auth::AuthSection::read(sections.auth);
    let gateway = Gateway::read(sections.gateway, &listeners);
    let mut lists = Lists::new(diagnostics, base);
    let guard = Egress::read(sections.egress, &mut lists, own_listeners);
    let credulous = match scope {
        Scope::Reload { credulous, .. } => credulous.map(Credulous::Running),
        Scope::Start | Scope::Check | Scope::Embedded | Scope::Explain => None,
    };
    let written = trusted::credulous(&listeners).map(Credulous::Written);
    let trusted = auth.trusted(written.or(credulous));
    let TokenSection {
        tokens,
        files: key_files,
        has_groups: has_token_groups,
    } = auth.tokens(base);
    let external = auth.external();
    if let (Some(item), Some(external)) = (auth.external_item(), &external) {
        external::check_address(item, external, admin, &guard.own_listeners);
    }
    let groups = auth.groups(diagnostics, base);
    // Of one that cannot be used it is not known.
    let has_other_groups =
        auth.external_item().is_some() && external.as_deref().is_none_or(External::gives_groups);
    let groups = match has_token_groups || has_other_groups {
        true => groups.map(Groups::open),
        false => groups,
    };
    let secrets = secrets::read(sections.secrets.as_ref(), base);
    let context = GroupContext {
        groups: groups.as_ref(),
        has_groups: auth.has_groups(),
    };
    let tunnel = tunnel::Keys::read(sections.tunnel);
    let parents = parents::read(sections.parents.as_ref(), &secrets, &listeners);
    let ways = parents.ways(sections.via.as_ref(), sections.no_proxy.as_ref());
    parents.warn();
    let around_rules = RuleContext {
        secrets: &secrets,
        tunnel,
        parents: parents.names(),
        groups: &context,
    };
    let mut written = policy::read(sections.policy, &mut lists, &around_rules);
    if let Some(ways) = &ways {
        written.check_ways(ways);
    }
    written.check_asks(auth.external_item(), external.as_deref());
    let script_files = scripts::files(sections.scripts.as_ref());
    let script_names = scripts::names(sections.scripts.as_ref());
    let secret_files = secrets::files(sections.secrets.as_ref());
    let around = Surroundings {
        base,
        limits: &sections.script_limits,
        secrets: &secrets,
        gateway: &gateway,
        parents: parents.names(),
        groups: groups
            .as_ref()
            .filter(|groups| !groups.are_open() && !scope.is_embedded()),
    };
    let scripts = scripts::read(sections.scripts, &around);
    let policy_tests = policy::read_tests(sections.policy_tests, &written, &script_names);
    let pac = sections.pac.and_then(|item| pac::read(&item));
    let dns = Dns::read(sections.dns.section());
    let timeouts = Timeouts::read(sections.timeouts.section());
    let (limits, classes, quotas) = Limits::read(sections.limits, base, &secrets, &context);
    let (log, access) = Log::read(sections.log, &base.directory);
    tollgate.finish_with(|key| {
        pingora::is_key(key)
            .then(|| "write it at the top of the file, without spaces before it".to_owned())
    });
    // What this machine has in the way does not keep the policy from being tried.
    let before = diagnostics.count();
    if open {
        let mut places = server.places();
        if let Destination::File(path) = &log.access {
            places.push(Place {
                purpose: Purpose::AccessLog,
                path: path.clone(),
                item: access,
            });
        }
        if let Some(store) = &quotas.store
            && store.redis().is_none()
        {
            places.push(Place {
                purpose: Purpose::Store,
                path: store.path().to_owned(),
                item: quotas.file.clone(),
            });
        }
        let mut inputs = vec![Input {
            path: base.directory.join(path.file_name()?),
            item: None,
        }];
        let named = auth
            .files()
            .chain(&key_files)
            .chain(server.ca_file())
            .chain(&script_files)
            .chain(&secret_files);
        inputs.extend(named.filter_map(|item| {
            Some(Input {
                path: item.file(&base.directory)?,
                item: Some(item.clone()),
            })
        }));
        inputs.extend(lists.paths().map(|path| Input { path, item: None }));
        let places = Places {
            diagnostics,
            base,
            places,
            inputs,
            run_directory: server.run_directory(),
            identity: server.identity(),
        };
        places.check();
    }
    if matches!(scope, Scope::Check) {
        ports::check(&bound.addresses, server.pid_file(), &document, diagnostics);
    }
    // Nothing binds these before there is a request.
    if open {
        ports::check_sources(&server.sources(), &document, diagnostics);
    }
    let of_machine = diagnostics.count() - before;
    let threads = server.threads();
    let mut server = server.finish();
    root.finish_with(|key| {
        Sections::NAMES
            .contains(&key)
            .then(|| "write it below `tollgate:`, with two spaces before it".to_owned())
    });
    if open {
        roots::settle(&mut server.conf, path, diagnostics);
    }

    let others = auth::Others {
        trusted,
        tokens,
        external,
        has_certificates: listeners.iter().any(|listener| listener.makes_users),
    };
    let auth = auth.open(threads, others, diagnostics, base, exposed)?;
    let policy = Policy::new(guard, written.rules()?)
        .with_names(written.rule_names)
        .with_tunnel_terms(tunnel.terms())
        .with_ways(ways);
    // Of a policy that is not whole they would only say so again.
    if diagnostics.count() == of_machine && !matches!(scope, Scope::Explain) {
        if let Some(groups) = &groups {
            auth.report_joined(groups, &document, diagnostics);
            auth.warn_of_strangers(groups, &document, diagnostics);
        }
        written.warn(&policy, &auth, SystemTime::now());
        exposure::warn(&policy, &auth, admin, &document, diagnostics);
        classes.warn(&auth);
        policy_tests.run(&policy, &scripts, classes.classes.as_deref(), &auth);
    }
    Some(Config {
        file: base.directory.join(path.file_name()?),
        server: server.conf,
        listeners,
        admin,
        auth,
        gateway,
        parents: parents.finish(),
        policy,
        scripts,
        left_out: lists.left_out(),
        pac: pac.map(Arc::new),
        origin_http2: sections.origin_http2,
        dns,
        timeouts,
        limits,
        classes: classes.classes,
        store: quotas.store,
        log,
        warnings: diagnostics.warnings(),
        identity: server.identity,
        has_pid_file: server.has_pid_file,
        is_embedded: scope.is_embedded(),
        values: diagnostics.values.take(),
        sockets: bound.sockets,
        run_directory: server.run_directory,
    })
}
