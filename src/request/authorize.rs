//! Who may come in and where they may go: the one decision that all three roles
//! share. CONNECT and Pingora's requests both come here, so they cannot differ.

mod hashing;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::Method;

use self::hashing::Hashing;
use crate::access::auth::{
    Authenticator, Check, CredentialsError, EntropyError, Htpasswd, Token68, User, VerifiedCache,
};
use crate::access::policy::{Destination, Policy, Request};
use crate::config::Config;
use crate::http::error::{Kind, RequestError};
use crate::request::exchange::Exchange;
use crate::telemetry::Role;

/// The users, what was verified of them lately, and the policy.
#[derive(Debug)]
pub struct Gatekeeper {
    access: ArcSwap<Access>,
    hashing: Hashing,
    cache_entries: usize,
    cache_ttl: Duration,
}

/// All that decides about one request. A reload makes a new one, so that no request
/// meets the users of one file and the rules of another.
#[derive(Debug)]
struct Access {
    authenticator: Arc<Authenticator>,
    policy: Arc<Policy>,
}

impl Gatekeeper {
    /// A gatekeeper with the users and the policy of `config`.
    ///
    /// # Errors
    /// The system has no random numbers for the cache's secret.
    pub fn new(config: &Config) -> Result<Self, EntropyError> {
        let auth = &config.auth;
        let access = Access::new(
            Arc::clone(&auth.users),
            &config.policy,
            VerifiedCache::new(auth.cache_entries, auth.cache_ttl)?,
        );
        Ok(Self {
            access: ArcSwap::from_pointee(access),
            hashing: Hashing::new(auth.hash_threads, auth.hash_queue),
            cache_entries: auth.cache_entries,
            cache_ttl: auth.cache_ttl,
        })
    }

    /// Decides whether an exchange may happen, as far as that can be said before
    /// a name is resolved; the [`Admission`](crate::access::policy::Admission), which is put into
    /// the exchange, decides on the addresses. Notes the user there, too, and who denied.
    ///
    /// # Errors
    /// Missing, malformed or wrong credentials (407), too many that wait to be
    /// verified (503), or a request that the policy denies (403, or as its rule says).
    pub async fn authorize(
        &self,
        exchange: &mut Exchange,
        method: &Method,
        credentials: Option<&[u8]>,
    ) -> Result<(), RequestError> {
        let access = self.access.load_full();
        let client = exchange.client.ip();
        let user = self
            .authenticate(&access.authenticator, credentials, client, exchange.started)
            .await?;
        let destination = match (exchange.role, &exchange.authority) {
            (Role::Tunnel, Some(authority)) => Destination::Tunnel(authority),
            (Role::Forward, Some(authority)) => Destination::Forward(authority),
            _ => Destination::Gateway,
        };
        let admitted = access.policy.admit_request(&Request {
            destination,
            method: method.as_str(),
            user: user.as_str(),
            client,
            time: exchange.time,
        });
        exchange.user = Some(user);
        // In its place at once: it is large, and every step on the way would copy it.
        match admitted {
            Ok(admission) => {
                exchange.admission = Some(admission);
                Ok(())
            }
            Err(denied) => Err(exchange.deny(denied)),
        }
    }

    /// Puts new users and a new policy in place of the old ones at once, and forgets
    /// what was verified with the old ones.
    ///
    /// # Errors
    /// As [`new`](Self::new); then nothing has changed.
    pub fn replace(&self, users: Arc<Htpasswd>, policy: &Policy) -> Result<(), EntropyError> {
        let verified = VerifiedCache::new(self.cache_entries, self.cache_ttl)?;
        self.access
            .store(Arc::new(Access::new(users, policy, verified)));
        Ok(())
    }

    async fn authenticate(
        &self,
        authenticator: &Arc<Authenticator>,
        credentials: Option<&[u8]>,
        client: IpAddr,
        now: Instant,
    ) -> Result<User, RequestError> {
        let field = credentials.ok_or(Kind::CredentialsMissing)?;
        let token = Token68::parse(field)?;
        match authenticator.check(token, now)? {
            Check::Verified(user) => Ok(user),
            Check::Unverified(attempt) => {
                let verified = self.hashing.verify(authenticator, attempt, client).await?;
                verified.ok_or_else(|| Kind::CredentialsWrong.into())
            }
        }
    }
}

impl Access {
    fn new(users: Arc<Htpasswd>, policy: &Policy, verified: VerifiedCache) -> Self {
        Self {
            authenticator: Arc::new(Authenticator::new(users, verified)),
            policy: Arc::new(on_this_machine(policy)),
        }
    }
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

impl From<CredentialsError> for RequestError {
    fn from(error: CredentialsError) -> Self {
        let kind = match error {
            CredentialsError::Missing => Kind::CredentialsMissing,
            _ => Kind::CredentialsMalformed,
        };
        Self::new(kind).because(error)
    }
}
