//! Passwords that are verified, and failed logins: what is locked out is refused before a hash and behind the queue of
//! hashes, and each lock that begins is counted and logged.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::hashing::{Hashing, Verified};
use super::{Access, AccessControl};
use crate::access::auth::lockout::{Begun, Lockout, LockoutSettings, Login, Standing, UnderWay};
use crate::access::auth::{Attempt, Authenticator, Clocks, EntropyError, User};
use crate::access::client::network_of;
use crate::http::error::{ErrorKind, RequestError};
use crate::telemetry::Telemetry;
use crate::telemetry::throttle::Throttle;

/// When a client may try again that has as many logins under way as may fail.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often a request joins the verification of another client that is locked out meanwhile.
const MAX_JOINS: usize = 8;

/// The failed logins that count, and where locks are told.
pub struct Logins {
    lockout: Lockout,
    /// Whose logins they are, for lines of the log: ` of the admin service`, or nothing.
    service: &'static str,
    telemetry: Arc<Telemetry>,
    told: Arc<Told>,
}

/// Lines about locks, of users and of networks.
#[derive(Default)]
struct Told {
    users: Throttle,
    networks: Throttle,
}

/// The attempt of a client, as it counts.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    logins: Arc<Logins>,
    login: Login,
    client: IpAddr,
    /// The name, if it is in the password file. Any other text may be a password in the wrong place.
    user: Option<User>,
}

/// A login under way.
#[derive(Debug)]
pub(super) struct Begins {
    counted: Counted,
    _place: UnderWay,
}

/// The logins of which one verification, or one answer, has counted: each counts once, whatever else fails in the moment
/// between the result and the request that waits for it.
#[derive(Clone, Debug, Default)]
pub(super) struct CountedOnce(Arc<Mutex<HashSet<Login>>>);

impl CountedOnce {
    /// Whether this is the first time for the login.
    pub(super) fn is_first(&self, counted: &Counted) -> bool {
        self.0.lock().insert(counted.login)
    }

    /// Counts a failure of the login, the first time.
    pub(super) fn failed(&self, counted: &Counted) {
        if self.is_first(counted) {
            counted.failed();
        }
    }
}

impl Logins {
    /// No login has failed yet.
    ///
    /// # Errors
    /// The system has no random numbers for the secret of the lock-out.
    pub fn new(settings: LockoutSettings, telemetry: Arc<Telemetry>) -> Result<Self, EntropyError> {
        Ok(Self {
            lockout: Lockout::new(settings)?,
            service: "",
            telemetry,
            told: Arc::default(),
        })
    }

    /// The same for the admin service.
    pub(super) fn of_admin(self) -> Self {
        Self {
            service: " of the admin service",
            ..self
        }
    }

    /// The same failures with the settings of the next configuration.
    pub fn succeeded_by(self: &Arc<Self>, settings: LockoutSettings) -> Arc<Self> {
        if *self.lockout.settings() == settings {
            return Arc::clone(self);
        }
        Arc::new(Self {
            lockout: self.lockout.succeeded_by(settings, Instant::now()),
            service: self.service,
            telemetry: Arc::clone(&self.telemetry),
            told: Arc::clone(&self.told),
        })
    }

    /// An attempt, as it counts.
    pub(super) fn of(self: &Arc<Self>, attempt: &Attempt, client: IpAddr) -> Counted {
        Counted {
            login: self.lockout.login(attempt, client),
            logins: Arc::clone(self),
            client,
            user: attempt.known_user().cloned(),
        }
    }

    fn tell(&self, begun: Begun, counted: &Counted) {
        let (network, service) = (Network(counted.client), self.service);
        if let Some(lock) = begun.user {
            self.telemetry.user_locked_out();
            if let Some(passed) = self.told.users.pass() {
                match &counted.user {
                    Some(user) => log::warn!(
                        "auth.lockout: the user {:?}{service} at {network} {lock}{passed}",
                        user.as_str()
                    ),
                    None => log::warn!(
                        "auth.lockout: a user that is not in the password file{service} at {network} {lock}{passed}"
                    ),
                }
            }
        }
        if let Some(lock) = begun.network {
            self.telemetry.network_locked_out();
            if let Some(passed) = self.told.networks.pass() {
                log::warn!("auth.lockout: the network {network}{service} {lock}{passed}");
            }
        }
    }

    fn locked(&self, left: Duration) -> RequestError {
        self.telemetry.lockout_refused();
        RequestError::new(ErrorKind::LockedOut).retry_after(left)
    }
}

impl Counted {
    /// What the login may do at this moment.
    pub(super) fn standing(&self) -> Standing {
        self.logins.lockout.standing(&self.login, Instant::now())
    }

    /// How many further failures its network may have.
    pub(super) fn network_left(&self) -> u32 {
        let lockout = &self.logins.lockout;
        lockout.network_left(&self.login, Instant::now())
    }

    /// The refusal of a login that has to wait.
    pub(super) fn locked(&self, left: Duration) -> RequestError {
        self.logins.locked(left)
    }

    /// Has the login under way until what it gives is dropped.
    ///
    /// # Errors
    /// As many are that may fail (429).
    pub(super) fn begin(&self, left: u32) -> Result<Begins, RequestError> {
        let place = self.logins.lockout.begin(&self.login, left);
        let place = place.ok_or_else(|| self.locked(RETRY_AFTER))?;
        Ok(Begins {
            counted: self.clone(),
            _place: place,
        })
    }

    /// Counts a failure.
    pub(super) fn failed(&self) {
        let begun = self.logins.lockout.failed(&self.login, Instant::now());
        self.logins.tell(begun, self);
    }

    /// Forgets the failures of the user at this network.
    pub(super) fn succeeded(&self) {
        self.logins.lockout.succeeded(&self.login);
    }
}

impl Begins {
    pub(super) fn counted(&self) -> &Counted {
        &self.counted
    }
}

/// What verifies the passwords of one file.
#[derive(Clone, Copy)]
pub(super) struct Verifier<'a> {
    pub(super) authenticator: &'a Arc<Authenticator>,
    pub(super) hashing: &'a Hashing,
    /// The failed logins, where they lock out.
    pub(super) logins: Option<&'a Arc<Logins>>,
}

impl AccessControl {
    /// Verifies a password, which is not in the cache for the network of its client.
    ///
    /// # Errors
    /// As [`Verifier::verify`].
    pub(super) async fn verify_password(
        &self,
        access: &Access,
        attempt: Attempt,
        client: IpAddr,
        now: Clocks,
    ) -> Result<User, RequestError> {
        let verifier = Verifier {
            authenticator: &access.authenticator,
            hashing: &self.hashing,
            logins: access.logins.as_ref(),
        };
        verifier.verify(attempt, client, now).await
    }
}

impl Verifier<'_> {
    /// Verifies a password, which is not in the cache for the network of its client.
    ///
    /// # Errors
    /// It is wrong (407), or the client is locked out (429), or too many wait (503).
    pub(super) async fn verify(
        self,
        attempt: Attempt,
        client: IpAddr,
        now: Clocks,
    ) -> Result<User, RequestError> {
        let Self {
            authenticator,
            hashing,
            logins,
        } = self;
        let attempt = Arc::new(attempt);
        let Some(logins) = logins else {
            let verified = hashing.verify(authenticator, &attempt, client, None);
            return match verified.await? {
                Verified::User(user) => Ok(user),
                Verified::Wrong(_) | Verified::Not => Err(ErrorKind::CredentialsWrong.into()),
            };
        };
        let here = attempt.here();
        let counted = logins.of(&attempt, client);
        for _ in 0..MAX_JOINS {
            // Credentials that were right at this network are so still: what others try does not lock them out.
            let is_known = authenticator.was_verified(here);
            let left = match counted.standing() {
                _ if is_known => u32::MAX,
                Standing::Locked { left } => return Err(counted.locked(left)),
                Standing::KnownWrong => return Err(ErrorKind::CredentialsWrong.into()),
                Standing::Open { left } => left,
            };
            let verified = match authenticator.recall(here, now) {
                Some(user) => Verified::User(user),
                None => {
                    let counted = Some((&counted, left));
                    hashing
                        .verify(authenticator, &attempt, client, counted)
                        .await?
                }
            };
            match verified {
                Verified::User(user) => {
                    authenticator.note_network(here);
                    // A user that was verified here before leaves the failures: a client at the same address may have made them.
                    if !is_known {
                        counted.succeeded();
                    }
                    return Ok(user);
                }
                // Here too: the verification may have been that of a request at another network.
                Verified::Wrong(once) => {
                    once.failed(&counted);
                    return Err(ErrorKind::CredentialsWrong.into());
                }
                Verified::Not => {}
            }
        }
        Err(counted.locked(RETRY_AFTER))
    }
}

/// The network that is locked, as people write it.
struct Network(IpAddr);

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match network_of(self.0) {
            IpAddr::V4(ip) => write!(f, "{ip}"),
            IpAddr::V6(ip) => write!(f, "{ip}/64"),
        }
    }
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logins")
            .field("lockout", &self.lockout)
            .finish_non_exhaustive()
    }
}
