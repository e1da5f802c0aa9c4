//! `tollgate.admin`: where the admin service is, and who may use it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::auth;
use super::files::Base;
use super::keys::form::Absent::{Is, Means, Required};
use super::keys::form::{Flag, Raw, RawList};
use super::keys::keys;
use super::listeners::{self, Bindings, TlsFiles};
use super::problem::Diagnostics;
use super::reader::Item;
use super::scope::Scope;
use super::tls::{self, ListenerTls};
use crate::access::auth::Htpasswd;

/// More names than a service has.
const MAX_HOSTS: usize = 64;

/// The longest name of a host (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;

/// The key of the users.
const USERS: &str = "tollgate.admin.users";

/// The admin service.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it is served.
    pub address: SocketAddr,
    /// Who may use it by password; none where it has no users.
    pub users: Option<Arc<Htpasswd>>,
    /// Where they were read from; absolute.
    pub users_file: Option<PathBuf>,
    /// Whether it has TLS.
    pub has_tls: bool,
    /// What TLS is served with; none for a plain service, and where no file is read.
    pub tls: Option<Arc<ListenerTls>>,
    /// Whether a certificate of a client is a way in.
    pub asks_certificates: bool,
    /// Names of this machine in a `Host` field, in lower case.
    pub allowed_hosts: Vec<String>,
    /// Whether `/metrics` needs no user.
    pub public_metrics: bool,
    /// Whether there is a page for browsers.
    pub dashboard: bool,
}

impl Admin {
    /// Whether its address is not loopback.
    pub fn is_exposed(&self) -> bool {
        !listeners::is_loopback(self.address)
    }

    /// Whether it knows who uses it.
    pub fn has_door(&self) -> bool {
        self.users_file.is_some() || self.asks_certificates
    }
}

keys! {
    /// The admin service.
    pub(super) struct AdminKeys<'d> {
        /// Where it is served. Beyond loopback it needs `users`, or `client_ca` in `tls`: without, it serves `/healthz` there, and
        /// `/metrics` with `public_metrics`, and nothing else.
        address: Option<Item<'d>> = Required, Raw => Shape::address();
        /// The users of the service, a [file](#text-files) like that of `auth.htpasswd`. With it every request needs a password,
        /// apart from `/healthz`; without it, and without `client_ca`, the service shows everything to everyone on this machine, and
        /// changes nothing but by a reload. Beyond loopback it requires `tls`. A reload reads it again; whether there is one changes with a
        /// restart.
        users: Option<Item<'d>> = Means("none: no users"), Raw => Shape::path(), on reload;
        /// TLS, with the keys of a listener. With `client_ca` a certificate is a way in, in place of a password; a client without
        /// one needs a password of `users`.
        tls: Option<Item<'d>> = Means("none: plain HTTP"), Raw => Shape::Map(tls::Keys::keys);
        /// Names that a `Host` field may have, beside IP addresses and `localhost`. Another name gets 421, since a page of any
        /// site can have a name that leads here (DNS rebinding).
        allowed_hosts: Option<Item<'d>> = Is("[]"), RawList => Shape::text("a host name").list(MAX_HOSTS);
        /// Whether `/metrics` needs no user.
        public_metrics: bool = false, Flag;
        /// Whether there is a page for browsers at `/`.
        dashboard: bool = true, Flag;
    }
}

/// What `admin` is read with.
pub(super) struct Around<'a> {
    pub(super) base: &'a Base,
    pub(super) files: &'a TlsFiles<'a>,
    pub(super) scope: Scope<'a>,
    pub(super) diagnostics: &'a Diagnostics,
}

/// Reads `admin`, and notes in `bound` what is to be bound.
pub(super) fn read(item: &Item<'_>, around: &Around<'_>, bound: &mut Bindings) -> Option<Admin> {
    // `admin:` without anything below it is a problem: it says neither on nor off.
    let mut section = item.section();
    let keys = AdminKeys::take(&mut section);
    let address = listeners::address(&section, keys.address.as_ref(), bound);
    section.finish();
    let base = around.base;
    let served = keys.tls.as_ref().map(|tls| {
        let reading = around.files.of(address);
        tls::read(tls, base, reading, tls::Use::Admin)
    });
    let served = served.unwrap_or_default();
    let has_tls = keys.tls.is_some();
    let users = keys.users.as_ref();
    note_presence(users.is_some(), around);
    let is_exposed = address.is_some_and(|address| !listeners::is_loopback(address));
    if is_exposed && let Some(users) = users.filter(|_| !has_tls) {
        users.report(
            "passwords in plain text, at an address that is not loopback",
            "name a certificate and its key with `tls` below `admin`, or write 127.0.0.1 or [::1]",
        );
    }
    let has_door = users.is_some() || served.asks_certificates;
    if is_exposed && !has_door && !keys.public_metrics {
        item.warn(
            "the admin service has no users, and its address is not loopback: it serves /healthz alone",
            "name a password file with `users`, write 127.0.0.1 or [::1], or serve /metrics to everyone with `public_metrics: true`",
        );
    }
    let hosts = keys.allowed_hosts.as_ref().map(hosts);
    let users_file = users.and_then(|item| item.file(&base.directory));
    // What is only explained has no users of the service.
    let users = users.filter(|_| !matches!(around.scope, Scope::Explain));
    let users = users.map(|item| read_users(item, around));
    Some(Admin {
        address: address?,
        users: match users {
            Some(users) => Some(users?),
            None => None,
        },
        users_file,
        has_tls,
        tls: served.listener,
        asks_certificates: served.asks_certificates,
        allowed_hosts: hosts.unwrap_or_default(),
        public_metrics: keys.public_metrics,
        dashboard: keys.dashboard,
    })
}

/// Passwords are for a service that was started with users, and a service with users does not go on without them: whether there
/// are any waits for a restart.
fn note_presence(has_users: bool, around: &Around<'_>) {
    if let Scope::Reload {
        has_admin_users, ..
    } = around.scope
        && has_admin_users != has_users
    {
        around.diagnostics.values.leave_key_for_restart(USERS);
    }
}

fn read_users(item: &Item<'_>, around: &Around<'_>) -> Option<Arc<Htpasswd>> {
    let path = item.file(&around.base.directory)?;
    let shown = around.base.show(&path);
    let users = auth::users(item, &path, &shown, around.diagnostics, "401");
    note_presence(true, around);
    users.map(Arc::new)
}

/// The names of hosts that can be read.
fn hosts(list: &Item<'_>) -> Vec<String> {
    let items = list.list().unwrap_or_default();
    if items.len() > MAX_HOSTS {
        list.report("too many names", format!("name at most {MAX_HOSTS}"));
        return Vec::new();
    }
    let host = |item: &Item<'_>| {
        let text = item.text()?;
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            let all = label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            all && !label.is_empty()
        };
        if name.len() <= MAX_HOST && name.split('.').all(is_label) {
            return Some(name.to_ascii_lowercase());
        }
        item.report(
            "not the name of a host",
            "write a name without a port, such as ops.example.org; one that is not ASCII as xn--…",
        );
        None
    };
    items.iter().filter_map(host).collect()
}
