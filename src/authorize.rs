//! Who may come in and where they may go: the one decision that all three roles
//! share. CONNECT and Pingora's requests both come here, so they cannot differ.

mod hashing;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use self::hashing::Hashing;
use crate::auth::{Authenticator, Check, CredentialsError, Htpasswd, Token68, User, VerifiedCache};
use crate::config::Config;
use crate::error::{Kind, RequestError};
use crate::exchange::Exchange;
use crate::policy::{self, EgressPolicy, EgressRules};
use crate::telemetry::Role;

/// The users, what was verified of them lately, and the egress policy.
#[derive(Debug)]
pub struct Gatekeeper {
    authenticator: Arc<Authenticator>,
    hashing: Hashing,
    policy: ArcSwap<EgressPolicy>,
}

impl Gatekeeper {
    /// A gatekeeper with the users and the policy of `config`.
    ///
    /// # Errors
    /// The system has no random numbers for the cache's secret.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let auth = &config.auth;
        let verified = VerifiedCache::new(auth.cache_entries, auth.cache_ttl)?;
        Ok(Self {
            authenticator: Arc::new(Authenticator::new(Arc::clone(&auth.users), verified)),
            hashing: Hashing::new(auth.hash_threads, auth.hash_queue),
            policy: ArcSwap::from_pointee(policy(config.egress.clone())),
        })
    }

    /// Decides whether an exchange may happen, as far as that can be said before
    /// a name is resolved; [`policy`](Self::policy) decides on the addresses.
    /// Notes the user in the exchange.
    ///
    /// # Errors
    /// Missing, malformed or wrong credentials (407), too many that wait to be
    /// verified (503), or a target that the policy denies (403).
    pub async fn authorize(
        &self,
        exchange: &mut Exchange,
        credentials: Option<&[u8]>,
    ) -> Result<(), RequestError> {
        exchange.user = Some(self.authenticate(credentials, exchange.client.ip()).await?);
        let kind = match exchange.role {
            Role::Tunnel => policy::Kind::Tunnel,
            Role::Forward => policy::Kind::Forward,
            Role::Gateway | Role::Unknown => return Ok(()),
        };
        if let Some(authority) = &exchange.authority {
            self.policy().admit_target(kind, authority)?;
        }
        Ok(())
    }

    /// The policy as it is now, to be used for one request.
    pub fn policy(&self) -> Arc<EgressPolicy> {
        self.policy.load_full()
    }

    /// Puts new users and a new policy in place of the old ones, and forgets what
    /// was verified with the old ones.
    pub fn replace(&self, users: Arc<Htpasswd>, rules: EgressRules) {
        self.policy.store(Arc::new(policy(rules)));
        self.authenticator.replace_users(users);
    }

    async fn authenticate(
        &self,
        credentials: Option<&[u8]>,
        client: IpAddr,
    ) -> Result<User, RequestError> {
        let field = credentials.ok_or(Kind::CredentialsMissing)?;
        let token = Token68::parse(field)?;
        match self.authenticator.check(token, Instant::now())? {
            Check::Verified(user) => Ok(user),
            Check::Unverified(attempt) => {
                let verified = self
                    .hashing
                    .verify(&self.authenticator, attempt, client)
                    .await?;
                verified.ok_or_else(|| Kind::CredentialsWrong.into())
            }
        }
    }
}

/// The policy of these rules on this machine, whose addresses a listener on
/// `0.0.0.0` or `[::]` answers at.
fn policy(mut rules: EgressRules) -> EgressPolicy {
    match nix::ifaddrs::getifaddrs() {
        Ok(interfaces) => {
            let addresses = interfaces.filter_map(|interface| {
                let address = interface.address?;
                let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
            });
            rules.own_addresses.extend(addresses);
        }
        Err(error) => log::warn!("the addresses of this machine cannot be read: {error}"),
    }
    EgressPolicy::new(rules)
}

impl From<CredentialsError> for RequestError {
    fn from(error: CredentialsError) -> Self {
        let kind = match error {
            CredentialsError::Missing => Kind::CredentialsMissing,
            _ => Kind::CredentialsMalformed,
        };
        Self::new(kind).because(error)
    }
}

impl From<policy::Denied> for RequestError {
    fn from(denied: policy::Denied) -> Self {
        let kind = match denied.reason {
            policy::DenyReason::DestinationIpProhibited => Kind::AddressDenied,
            policy::DenyReason::HttpRequestDenied => Kind::Denied,
        };
        Self::new(kind)
            .by_rule(denied.rule.to_string())
            .because(denied)
    }
}
