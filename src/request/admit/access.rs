//! What decides about one request, and what it needs to know of the request.

use std::net::IpAddr;
use std::sync::Arc;

use super::external::Authorizer;
use super::logins::Logins;
use super::{Access, AccessControl, on_this_machine};
use crate::access::auth::external::{Ask, External};
use crate::access::auth::tokens::Tokens;
use crate::access::auth::{AuthMethod, Authenticator, Check, Clocks, Identity};
use crate::access::client::network_of;
use crate::access::limits::Classes;
use crate::access::policy::{Policy, RuleNames};
use crate::hook::HookSet;
use crate::http::credentials::Credentials;
use crate::http::http1::{KeptHead, RequestHead};
use crate::request::facts::Request;
use crate::request::outcome::Exchange;
use crate::script::Script;
use crate::telemetry::Levels;
use crate::upstream::parent::Parents;

impl AccessControl {
    /// How full the queue of the hashes and the cache of the verifications are.
    pub fn levels(&self) -> Levels {
        let (hashes, max_hashes) = self.hashing.load();
        Levels {
            hashes,
            max_hashes,
            cached_credentials: self.current().authenticator.count_cached(),
            cached_names: 0,
        }
    }
}

impl Access {
    pub(super) fn new(
        authenticator: Authenticator,
        policy: &Policy,
        hooks: Arc<HookSet>,
        external: Option<Arc<Authorizer>>,
        logins: Option<Arc<Logins>>,
        classes: Option<Arc<Classes>>,
        parents: Arc<Parents>,
        scripts: &[Script],
    ) -> Self {
        Self {
            scripts: scripts.into(),
            parents,
            external,
            logins,
            classes,
            authenticator: Arc::new(authenticator),
            policy: Arc::new(on_this_machine(policy)),
            hooks,
        }
    }

    /// The users and the tokens.
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// The guard and the rules.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// The scripts, in the order in which they are called.
    pub fn scripts(&self) -> &[Script] {
        &self.scripts
    }

    /// The settings of the external authoriser, if there is one.
    pub fn external(&self) -> Option<&External> {
        self.external.as_deref().map(Authorizer::settings)
    }

    /// The limits of classes, where there are any.
    pub fn classes(&self) -> Option<&Classes> {
        self.classes.as_deref()
    }

    /// Whether a client is told the name of what denies its request.
    pub fn rule_names(&self) -> RuleNames {
        self.policy.names()
    }

    /// The identity of a client that is known without waiting: its credentials are in the cache, or its network is a trusted
    /// one. None otherwise, and where a hook, the external authoriser or a certificate decides.
    pub(super) fn known(&self, exchange: &mut Exchange) -> Option<Identity> {
        let request = &exchange.request;
        if exchange.run.is_some() || self.asked(Ask::Always).is_some() {
            return None;
        }
        if let Some(certificate) = &request.source.certificate
            && !matches!(certificate.login(request.time), Ok(None))
        {
            return None;
        }
        let Some(value) = exchange.credentials.value() else {
            let trusted = self.authenticator.trusted();
            let user = trusted.user(request.source.client.ip())?;
            exchange.outcome.auth = Some(AuthMethod::Network);
            return Some(user.clone().into());
        };
        let now = Clocks {
            instant: request.arrival.completed,
            time: request.time,
        };
        let network = self.network(request.source.client.ip());
        match self.authenticator.check(value, network, now) {
            Ok(Check::Verified(identity)) => {
                if self.asked(Ask::Rule).is_none() {
                    exchange.credentials = Credentials::Missing;
                }
                exchange.outcome.auth = Some(AuthMethod::of_credentials(&identity));
                Some(identity)
            }
            _ => None,
        }
    }

    /// The network at which verified credentials count: where failed logins lock out, else they would be guessed from a
    /// network that is locked. Otherwise they count everywhere.
    pub(super) fn network(&self, client: IpAddr) -> Option<IpAddr> {
        self.logins.is_some().then(|| network_of(client))
    }

    /// A copy of the head of a request, where the policy, a hook or an external authoriser reads it: before Tollgate's own
    /// fields are in it.
    pub fn keep(&self, head: &RequestHead, request: &Request) -> Option<Arc<KeptHead>> {
        let is_for_hooks = !self.hooks.is_empty() && !request.is_own;
        let is_read = is_for_hooks || self.needs_head(request.is_own);
        is_read.then(|| Arc::new(KeptHead::of(head)))
    }

    /// Whether the head of a request is read: by the policy, to which requests that this proxy answers itself do not
    /// come, or for an external authoriser.
    pub fn needs_head(&self, is_own: bool) -> bool {
        self.external.is_some() || (self.policy.needs_head() && !is_own)
    }

    /// The authoriser, if it is asked about these requests.
    pub(super) fn asked(&self, ask: Ask) -> Option<&Authorizer> {
        let external = self.external.as_deref();
        external.filter(|external| external.settings().ask == ask)
    }

    /// The proxies behind this one, if there are any.
    #[inline]
    pub fn parents(&self) -> Option<Arc<Parents>> {
        (!self.parents.is_empty()).then(|| Arc::clone(&self.parents))
    }

    /// The hooks, if there are any.
    pub fn hooks(&self) -> Option<Arc<HookSet>> {
        (!self.hooks.is_empty()).then(|| Arc::clone(&self.hooks))
    }
}

impl AccessControl {
    /// The classes of limits, where there are any.
    pub fn classes(&self) -> Option<Arc<Classes>> {
        self.access.load().classes.clone()
    }

    /// The proxies behind this one.
    pub fn parents(&self) -> Arc<Parents> {
        Arc::clone(&self.access.load().parents)
    }

    /// The tokens, where some are accepted.
    pub fn tokens(&self) -> Option<Arc<Tokens>> {
        self.access.load().authenticator.tokens().cloned()
    }
}
