//! The one admission: who sends a request, and whether the policy admits it.
//!
//! Pingora's `request_filter` and the opening of tunnels call [`AccessControl::admit`], so that the two cannot
//! differ. Whatever is sent upstream needs the [`Admitted`] that only it makes.

mod access;
mod certificate;
mod early;
mod external;
mod hashing;
pub mod key_refresh;
mod logins;
mod operators;
mod replace;
#[cfg(test)]
mod tests;
mod turns;

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;

pub use self::early::EarlyLogin;
pub use self::external::{AskedOnce, Asking, ask_once};
use self::external::{Authorizer, Unasked};
use self::hashing::Hashing;
use self::key_refresh::KeyRefresh;
use self::logins::Logins;
pub use self::operators::Operators;
pub use self::replace::NewAccess;
use super::facts::Request;
use super::hooks::{self, after_admission, before_admission, ended};
use super::outcome::Exchange;
use super::route::parent;
use crate::access::auth::external::Ask;
use crate::access::auth::tokens::{TokenError, Tokens};
use crate::access::auth::{
    AuthMethod, Authenticator, Check, Clocks, EntropyError, Identity, TokenAttempt, VerifiedCache,
};
use crate::access::limits::fleet::Pending;
use crate::access::limits::{Classes, Exceeded, Refused, Ticket};
use crate::access::policy::{self, Admission, Policy};
use crate::balances::Balances;
use crate::config::Config;
use crate::hook::{HookSet, How, Run, Stop};
use crate::http::credentials::Credentials;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::role::Role;
use crate::http::target::{Authority, Scheme};
use crate::script::Script;
use crate::upstream::parent::Parents;
use crate::upstream::pool::{Choice, PoolNumber};

/// The users, the credentials that were verified lately, and the policy.
#[derive(Debug)]
pub struct AccessControl {
    access: ArcSwap<Access>,
    hashing: Hashing,
    /// The hooks of the program that Tollgate is a part of.
    hooks: HookSet,
    /// By their names, for hooks that choose one.
    pools: Vec<(Box<str>, PoolNumber)>,
    /// What the external authoriser is asked with.
    asking: Asking,
    /// Where quotas are counted.
    balances: Arc<Balances>,
    /// What fetches the keys of tokens, off the way of requests.
    pub key_refresh: KeyRefresh,
}

/// All that decides about one request. A reload makes a new one, so that no request
/// meets the users of one file and the rules of another.
#[derive(Debug)]
pub struct Access {
    authenticator: Arc<Authenticator>,
    policy: Arc<Policy>,
    hooks: Arc<HookSet>,
    external: Option<Arc<Authorizer>>,
    /// The failed logins, where they lock out.
    logins: Option<Arc<Logins>>,
    /// The limits of classes, where there are any.
    classes: Option<Arc<Classes>>,
    /// The proxies behind this one.
    parents: Arc<Parents>,
    /// Those among the hooks, to be explained.
    scripts: Box<[Script]>,
}

/// A request whose user was authenticated and that the policy admits, as far as that is decided before its
/// name is resolved.
#[derive(Debug)]
pub struct Admitted {
    admission: Admission,
    /// What an external authoriser is asked with once the addresses are known; none where it is not asked then.
    unasked: Option<Box<Unasked>>,
    /// The parents, if there are any: those that the policy knows.
    parents: Option<Arc<Parents>>,
}

impl Deref for Admitted {
    type Target = Admission;

    fn deref(&self) -> &Admission {
        &self.admission
    }
}

impl AccessControl {
    /// The users, the policy and the scripts of `config`, with these hooks before the scripts. `pools` are those that a hook can choose.
    ///
    /// # Errors
    /// The system has no random numbers for the cache's secret.
    pub fn new(
        config: &Config,
        hooks: HookSet,
        pools: Vec<(Box<str>, PoolNumber)>,
        asking: Asking,
        balances: Arc<Balances>,
        parents: Arc<Parents>,
    ) -> Result<Self, EntropyError> {
        let auth = &config.auth;
        let verified = VerifiedCache::new(auth.cache_entries, auth.cache_ttl)?;
        let (users, trusted) = (Arc::clone(&auth.users), Arc::clone(&auth.trusted));
        let authenticator = Authenticator::new(users, trusted, auth.tokens.clone(), verified);
        let all = with_scripts(&hooks, &config.scripts);
        let external = auth.external.clone();
        let external = external.map(|external| Authorizer::new(external, asking.clone()));
        let external = external.map(Arc::new);
        let lockout = auth.lockout.clone();
        let logins = lockout.map(|settings| Logins::new(settings, asking.telemetry()));
        let logins = logins.transpose()?.map(Arc::new);
        let classes = config.classes.as_deref();
        let classes = classes.map(|classes| Arc::new(balances.counted(classes)));
        balances.set_classes(classes.clone());
        let access = Access::new(
            authenticator,
            &config.policy,
            all,
            external,
            logins,
            classes,
            parents,
        )
        .showing(&config.scripts);
        Ok(Self {
            access: ArcSwap::from_pointee(access),
            hashing: Hashing::new(auth.hash_threads, auth.hash_queue),
            hooks,
            pools,
            asking,
            balances,
            key_refresh: KeyRefresh::default(),
        })
    }

    /// What decides about a request that begins now.
    pub fn current(&self) -> Arc<Access> {
        self.access.load_full()
    }

    /// Authenticates the client, evaluates the policy, and asks the external authoriser where a rule says so. Notes in
    /// the exchange which user it is and what decided.
    ///
    /// # Errors
    /// A hook that ends the request, or an external authoriser that denies it or does not answer (503). Missing (where
    /// the client is in no trusted network), malformed or wrong credentials, or a token that is not accepted (407, or 401
    /// at the gateway), a user or a network that is locked out (429), too many that wait to be verified (503), a request
    /// that the policy denies (403, or the status of its rule), one over a limit of its class (429, or 403), or one that came
    /// through this proxy before (508).
    pub async fn admit(&self, exchange: &mut Exchange) -> Result<Admitted, RequestError> {
        let access = exchange.access.take().unwrap_or_else(|| self.current());
        let by_hook = match exchange.run {
            None => None,
            Some(_) => {
                before_admission(exchange)?;
                // Boxed: few requests have hooks, and none is to be larger for it.
                Box::pin(hooks::authenticate(exchange)).await?
            }
        };
        let identity = match access.known(exchange) {
            Some(identity) => identity,
            // Boxed, so that a request that does not wait is no larger.
            None => Box::pin(self.identity(&access, by_hook, exchange)).await?,
        };
        let Exchange {
            request,
            outcome,
            run,
            head,
            ..
        } = exchange;
        outcome.identify(&identity);
        if let Some(expires) = identity.expires() {
            let cuts = |tokens: &Arc<Tokens>| tokens.cut_at_expiry;
            let is_cut = access.authenticator.tokens().is_some_and(cuts);
            outcome.terms().expires = is_cut.then_some(expires);
        }
        if let Some(run) = run {
            let user = identity.user();
            let groups = access.policy.groups_of(user.as_str(), identity.groups());
            run.authenticated(user.shared(), &groups);
        }
        let head = head.take();
        let asked = request.for_policy(&identity, head.as_deref())?;
        let target = access.policy.upgraded(&asked);
        let admission = match &target {
            Some(target) => access.policy.admit_request(&asked.to_https(target)),
            None => access.policy.admit_request(&asked),
        };
        let admission = admission.map_err(|denied| outcome.deny(denied, access.policy.names()))?;
        if let Some(classes) = &access.classes {
            let is_tunnel = request.is_tunnel;
            if !self.balances.are_known() && classes.needs_store(&asked) {
                // Boxed: only the first requests of a process wait.
                Box::pin(self.balances.wait()).await?;
            }
            let got = match classes.admit(&asked, is_tunnel, None) {
                Some(Err(Refused::Ask(pending))) => {
                    // Boxed: few requests wait.
                    Some(Box::pin(self.ask_fleet(classes, &asked, is_tunnel, pending)).await?)
                }
                Some(Err(Refused::Over(exceeded))) => Some(Err(exceeded)),
                Some(Ok(ticket)) => Some(Ok(ticket)),
                None => None,
            };
            if let Some(got) = got {
                outcome.limit(got, access.policy.names())?;
            }
        }
        if let Some(upgrade) = admission.upgrade() {
            outcome.terms().upgrade = Some(Arc::clone(upgrade));
        }
        if let Some(target) = target {
            outcome.terms().is_upgraded = true;
            upgrade(request, run.as_deref_mut(), target);
        }
        if request.is_loop {
            return Err(ErrorKind::Loop.into());
        }
        let parents = access.parents();
        let mut admitted = match access.asked(Ask::Rule) {
            None => Admitted::asked(admission),
            // Boxed, so that a request is no larger where no authoriser is configured.
            Some(_) => {
                let asked = self.ask_by_rule(&access, admission, identity, head, exchange);
                Box::pin(asked).await?
            }
        };
        admitted.parents = parents;
        if exchange.request.authority.is_none() {
            // The gateway's upstreams are the operator's: there is no address to evaluate.
            (exchange.outcome).admit(&admitted, admitted.decided_by(), None);
        }
        exchange.show_decision();
        if exchange.run.is_some() {
            after_admission(exchange)?;
            self.choose_pool(exchange)?;
            parent::chosen(exchange, &access.parents)?;
        }
        Ok(admitted)
    }

    /// Waits for the store of the fleet, and asks again for what a request gets of its class.
    async fn ask_fleet(
        &self,
        classes: &Classes,
        asked: &policy::Request<'_>,
        is_tunnel: bool,
        mut pending: Pending,
    ) -> Result<Result<Ticket, Exceeded>, RequestError> {
        loop {
            self.balances.asked(&pending).await;
            if !self.balances.are_known() {
                self.balances.wait().await?;
            }
            match classes.admit(asked, is_tunnel, Some(pending)) {
                Some(Err(Refused::Ask(again))) => pending = again,
                Some(Err(Refused::Over(exceeded))) => return Ok(Err(exceeded)),
                Some(Ok(ticket)) => return Ok(Ok(ticket)),
                // The classes did not change, and so one of them has to hold again.
                None => return Err(ErrorKind::QuotaUnknown.into()),
            }
        }
    }

    /// Sends the request to the pool that a hook names.
    fn choose_pool(&self, exchange: &mut Exchange) -> Result<(), RequestError> {
        let Some(run) = &exchange.run else {
            return Ok(());
        };
        let Some(chosen) = run.notes.pool() else {
            return Ok(());
        };
        if let Some(pool) = self.pool(&chosen.name) {
            exchange.request.pool = Choice::Pool(pool);
            return Ok(());
        }
        let why = format!(
            "it chose the pool {:?}, which is not configured",
            chosen.name
        );
        let (by, phase) = chosen.by();
        let stop = Stop {
            by,
            phase,
            how: How::Failed(why.into()),
        };
        Err(ended(exchange, stop))
    }

    /// The pool of this name.
    fn pool(&self, name: &str) -> Option<PoolNumber> {
        let mut pools = self.pools.iter();
        let (_, pool) = pools.find(|(other, _)| **other == *name)?;
        Some(*pool)
    }

    /// Authenticates the client of a request that this proxy answers itself, and evaluates nothing. Notes in the
    /// exchange which user it is.
    ///
    /// # Errors
    /// Those of [`admit`](Self::admit) that are about credentials.
    pub async fn identify(&self, exchange: &mut Exchange) -> Result<(), RequestError> {
        let access = exchange.access.take().unwrap_or_else(|| self.current());
        let identity = self.identity(&access, None, exchange).await?;
        exchange.outcome.identify(&identity);
        Ok(())
    }

    /// Who sends a request. A client that asks an origin is answered by one.
    async fn identity(
        &self,
        access: &Access,
        by_hook: Option<Identity>,
        exchange: &mut Exchange,
    ) -> Result<Identity, RequestError> {
        let certificate = certificate::login(exchange)?;
        let credentials = std::mem::take(&mut exchange.credentials);
        let mut identity = match by_hook {
            Some(identity) => {
                exchange.outcome.auth = Some(AuthMethod::Hook);
                Ok(identity)
            }
            None => match certificate {
                None => self.authenticate(access, &credentials, exchange).await,
                // Boxed, so that a request is no larger where no certificate is a user.
                Some(login) => {
                    Box::pin(self.by_certificate(access, login, &credentials, exchange)).await
                }
            },
        };
        // What this proxy answers itself shows a user what is the user's own: there is nothing to deny.
        if let Some(external) = access
            .asked(Ask::Always)
            .filter(|_| !exchange.request.is_own)
            && let Ok(known) = identity
        {
            // Boxed, so that a request is no larger where no authoriser is configured.
            identity =
                Box::pin(self.tighten(external, access, known, &credentials, exchange)).await;
        }
        let identity = identity.map_err(|error| of_role(error, &credentials, &exchange.request))?;
        if access.asked(Ask::Rule).is_some() && !exchange.request.is_own {
            exchange.credentials = credentials;
        }
        Ok(identity)
    }

    async fn authenticate(
        &self,
        access: &Access,
        credentials: &Credentials,
        exchange: &mut Exchange,
    ) -> Result<Identity, RequestError> {
        if let Some(early) = exchange.early.take() {
            return Ok(early.into_identity(&mut exchange.outcome));
        }
        let request = &exchange.request;
        let client = request.source.client.ip();
        let authenticator = &access.authenticator;
        let Some(value) = credentials.value() else {
            let user = authenticator.trusted().user(client).cloned();
            let user = user.ok_or(ErrorKind::CredentialsMissing)?;
            exchange.outcome.auth = Some(AuthMethod::Network);
            return Ok(user.into());
        };
        let now = Clocks {
            instant: request.arrival.completed,
            time: request.time,
        };
        let (identity, method) = match authenticator.check(value, access.network(client), now)? {
            Check::Verified(identity) => {
                let method = AuthMethod::of_credentials(&identity);
                (identity, method)
            }
            Check::Token(attempt) => {
                // Boxed: it waits seldom, and is not to make every request larger.
                let verified = Box::pin(self.verify_token(authenticator, &attempt, now)).await?;
                (verified, AuthMethod::Token)
            }
            Check::Unverified(attempt) => {
                if let Some(external) = access.asked(Ask::UnknownUsers)
                    && !authenticator.is_taken(attempt.user().as_str())
                {
                    let asked =
                        self.authenticate_by(external, access, &attempt, credentials, exchange);
                    (Box::pin(asked).await?, AuthMethod::External)
                } else {
                    let verified = self.verify_password(access, attempt, client, now);
                    (Box::pin(verified).await?.into(), AuthMethod::Password)
                }
            }
        };
        exchange.outcome.auth = Some(method);
        Ok(identity)
    }

    /// Verifies a token, here and not where passwords are hashed: a signature costs less than the request that it is
    /// for, and in that queue it would wait for hashes that take a thousand times as long. A token that is refused gives
    /// other clients of the thread a turn before the next one.
    async fn verify_token(
        &self,
        authenticator: &Authenticator,
        attempt: &TokenAttempt,
        now: Clocks,
    ) -> Result<Identity, RequestError> {
        let mut verified = authenticator.verify_token(attempt, now);
        if let (Err(TokenError::Key { issuer, .. }), Some(tokens)) =
            (&verified, authenticator.tokens())
            && let Some(issuer) = tokens.issuers().get(*issuer)
            && self.key_refresh.fetched(issuer, tokens.min_refetch).await
        {
            verified = authenticator.verify_token(attempt, now);
        }
        if verified.is_err() {
            tokio::task::yield_now().await;
        }
        Ok(verified?)
    }
}

/// The error as a proxy answers, or as an origin: a client that sends `Proxy-Authorization` asks a proxy.
pub(super) fn of_role(
    error: RequestError,
    credentials: &Credentials,
    request: &Request,
) -> RequestError {
    let is_gateway = request.role == Some(Role::Gateway);
    if is_gateway && !matches!(credentials, Credentials::Proxy(_)) {
        error.of_an_origin()
    } else {
        error
    }
}

/// Has a request of http sent over https to `target`, as its hooks see it too.
fn upgrade(request: &mut Request, run: Option<&mut Run>, target: Authority) {
    request.scheme = Scheme::Https;
    if let Some(run) = run {
        run.notes.set_target(Scheme::Https, target.clone());
    }
    request.authority = Some(target);
}

/// The hooks of the program, and the scripts of the configuration behind them.
fn with_scripts(hooks: &HookSet, scripts: &[Script]) -> Arc<HookSet> {
    let scripts = scripts.iter().cloned();
    Arc::new(scripts.fold(hooks.clone(), HookSet::with))
}

/// The policy with the addresses of this machine, at which a listener on `0.0.0.0` or
/// `[::]` answers.
pub fn on_this_machine(policy: &Policy) -> Policy {
    let own: Vec<IpAddr> = match nix::ifaddrs::getifaddrs() {
        Ok(interfaces) => interfaces
            .filter_map(|interface| {
                let address = interface.address?;
                let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
            })
            .collect(),
        Err(error) => {
            log::warn!("the addresses of this machine cannot be read: {error}");
            Vec::new()
        }
    };
    policy.with_own_addresses(own)
}
