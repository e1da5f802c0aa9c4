//! What an explanation is of: a configuration that was read, or the running process.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::Context as _;
use tokio::runtime::{Builder, Handle};

use crate::access::auth::external::{Ask, External};
use crate::access::auth::tokens::Tokens;
use crate::access::auth::{Htpasswd, TrustedNetworks};
use crate::access::client::Client;
use crate::access::limits::Classes;
use crate::access::policy::{DecidedBy, Policy};
use crate::config::Config;
use crate::http::target::Authority;
use crate::request::admit::{Access, on_this_machine};
use crate::request::app;
use crate::script::Script;
use crate::upstream::dial::Dialer;

/// What decides about a request.
pub struct Subject<'a> {
    pub(super) users: &'a Htpasswd,
    pub(super) trusted: &'a TrustedNetworks,
    pub(super) tokens: Option<&'a Tokens>,
    pub(super) external: Option<&'a External>,
    /// Whether certificates of clients are users.
    pub(super) has_certificates: bool,
    /// Where the users were read from.
    pub(super) htpasswd: &'a Path,
    /// How many entries of lenient lists are left out.
    pub(super) left_out: usize,
    pub(super) policy: Cow<'a, Policy>,
    pub(super) scripts: &'a [Script],
    pub(super) classes: Option<&'a Classes>,
    names: Names<'a>,
}

/// What finds the addresses of names.
#[derive(Clone, Copy)]
enum Names<'a> {
    /// What the configuration describes.
    Configured(&'a Config),
    /// What the process has.
    Running(&'a Dialer),
}

impl<'a> Subject<'a> {
    /// A configuration.
    pub fn configured(config: &'a Config) -> Self {
        let auth = &config.auth;
        Self {
            users: &auth.users,
            trusted: &auth.trusted,
            tokens: auth.tokens.as_deref(),
            external: auth.external.as_deref(),
            has_certificates: auth.has_certificates,
            htpasswd: &auth.htpasswd,
            left_out: config.left_out,
            policy: Cow::Owned(on_this_machine(&config.policy)),
            scripts: &config.scripts,
            classes: config.classes.as_deref(),
            names: Names::Configured(config),
        }
    }

    /// What a process decides by now.
    pub(super) fn running(
        access: &'a Access,
        dialer: &'a Dialer,
        has_certificates: bool,
        htpasswd: &'a Path,
    ) -> Self {
        let authenticator = access.authenticator();
        Self {
            users: authenticator.users(),
            trusted: authenticator.trusted(),
            tokens: authenticator.tokens().map(AsRef::as_ref),
            external: access.external(),
            has_certificates,
            htpasswd,
            left_out: 0,
            policy: Cow::Borrowed(access.policy()),
            scripts: access.scripts(),
            classes: access.classes(),
            names: Names::Running(dialer),
        }
    }

    /// The configuration, where that is what is explained.
    pub(super) fn config(&self) -> Option<&'a Config> {
        match self.names {
            Names::Configured(config) => Some(config),
            Names::Running(_) => None,
        }
    }

    /// Every user that has a name here, some twice.
    pub(super) fn known_users(&self) -> impl Iterator<Item = &str> {
        let users = self.users.names().chain(self.trusted.names());
        users.chain(self.policy.named_users())
    }

    /// Whether an external authoriser makes users, of any name.
    pub(super) fn asks_who(&self) -> bool {
        self.external
            .is_some_and(|external| external.ask == Ask::UnknownUsers)
    }

    /// Whether a token or the external authoriser may say groups.
    pub(super) fn has_other_groups(&self) -> bool {
        self.external.is_some_and(External::gives_groups)
            || self.tokens.is_some_and(Tokens::have_groups)
    }

    /// All addresses of a name, as the proxy would find them. Blocks.
    pub(super) fn look_up(&self, authority: &Authority) -> anyhow::Result<Vec<IpAddr>> {
        let client = || Client::site(Ipv4Addr::LOCALHOST.into());
        let admit = |_| Ok(DecidedBy::Default);
        let all = match self.names {
            Names::Configured(config) => {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                let dialer = app::dialer(config);
                runtime.block_on(dialer.candidates(authority, client, &admit, &mut None))?
            }
            Names::Running(dialer) => {
                let runtime = Handle::try_current().context("no runtime")?;
                runtime.block_on(dialer.candidates(authority, client, &admit, &mut None))?
            }
        };
        Ok(all.candidates.iter().map(|address| address.ip()).collect())
    }
}
