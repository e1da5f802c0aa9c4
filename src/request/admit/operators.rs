//! The users of the admin service: passwords of a file of its own, verified as those of clients are, with a queue and
//! failures of their own, so that neither clients nor operators keep the others out.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::hashing::Hashing;
use super::logins::{Logins, Verifier};
use crate::access::auth::lockout::LockoutSettings;
use crate::access::auth::{
    Authenticator, Check, Clocks, EntropyError, Htpasswd, TrustedNetworks, User, VerifiedCache,
};
use crate::access::client::network_of;
use crate::http::error::{ErrorKind, RequestError};
use crate::telemetry::Telemetry;

/// Passwords that are hashed at once.
const THREADS: usize = 1;

/// Requests that wait for a hash, half of them of one client.
const QUEUE: usize = 32;

/// Verified credentials that are kept.
const CACHE_ENTRIES: usize = 1024;

/// How long a successful verification is kept.
const CACHE_TTL: Duration = Duration::from_secs(300);

/// The users of the admin service.
pub struct Operators {
    current: ArcSwap<Current>,
    hashing: Hashing,
    telemetry: Arc<Telemetry>,
}

/// What decides about one login.
struct Current {
    authenticator: Arc<Authenticator>,
    logins: Option<Arc<Logins>>,
}

impl Operators {
    /// These users. Failed logins lock out as `lockout` says.
    ///
    /// # Errors
    /// The system has no random numbers for the secret of the cache.
    pub fn new(
        users: Arc<Htpasswd>,
        lockout: Option<LockoutSettings>,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, EntropyError> {
        let verified = VerifiedCache::new(CACHE_ENTRIES, CACHE_TTL)?;
        let trusted = Arc::new(TrustedNetworks::default());
        let authenticator = Authenticator::new(users, trusted, None, verified);
        let logins = lockout.map(|settings| logins(settings, &telemetry));
        let current = Current {
            authenticator: Arc::new(authenticator),
            logins: logins.transpose()?,
        };
        Ok(Self {
            current: ArcSwap::from_pointee(current),
            hashing: Hashing::new(THREADS, QUEUE),
            telemetry,
        })
    }

    /// Replaces the users. What was verified counts where the hash is the same, and failed logins count on. Not for two
    /// callers at a time.
    ///
    /// # Errors
    /// The system has no random numbers for the secret of a lock-out that was off. Nothing is replaced.
    pub fn replace(
        &self,
        users: Arc<Htpasswd>,
        lockout: Option<LockoutSettings>,
    ) -> Result<(), EntropyError> {
        let former = self.current.load();
        let logins = match (&former.logins, lockout) {
            (Some(former), Some(settings)) => Some(former.succeeded_by(settings)),
            (None, Some(settings)) => Some(logins(settings, &self.telemetry)?),
            (_, None) => None,
        };
        let trusted = Arc::new(TrustedNetworks::default());
        let authenticator = former.authenticator.succeeded_by(users, trusted, None);
        self.current.store(Arc::new(Current {
            authenticator: Arc::new(authenticator),
            logins,
        }));
        Ok(())
    }

    /// The user whose credentials are in the value of an `Authorization` field.
    ///
    /// # Errors
    /// They are malformed or wrong, or the client is locked out, or too many wait to be verified.
    pub async fn verify(&self, value: &[u8], client: IpAddr) -> Result<User, RequestError> {
        let current = self.current.load_full();
        let authenticator = &current.authenticator;
        let network = current.logins.is_some().then(|| network_of(client));
        let now = Clocks::now();
        match authenticator.check(value, network, now)? {
            Check::Verified(identity) => Ok(identity.user().clone()),
            Check::Unverified(attempt) => {
                let verifier = Verifier {
                    authenticator,
                    hashing: &self.hashing,
                    logins: current.logins.as_ref(),
                };
                verifier.verify(attempt, client, now).await
            }
            // Without issuers of tokens there is none.
            Check::Token(_) => Err(ErrorKind::CredentialsWrong.into()),
        }
    }
}

fn logins(
    settings: LockoutSettings,
    telemetry: &Arc<Telemetry>,
) -> Result<Arc<Logins>, EntropyError> {
    let logins = Logins::new(settings, Arc::clone(telemetry))?;
    Ok(Arc::new(logins.of_admin()))
}

impl fmt::Debug for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operators").finish_non_exhaustive()
    }
}
