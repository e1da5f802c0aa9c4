//! What a reload replaces of the admission, all at once.

use std::sync::Arc;

use super::external::Authorizer;
use super::logins::Logins;
use super::{Access, AccessControl, with_scripts};
use crate::access::auth::external::External;
use crate::access::auth::lockout::LockoutSettings;
use crate::access::auth::tokens::Tokens;
use crate::access::auth::{EntropyError, Htpasswd, TrustedNetworks};
use crate::access::limits::Classes;
use crate::access::policy::Policy;
use crate::config::Parent;
use crate::script::Script;
use crate::upstream::parent::Parents;

/// What a reload replaces.
#[derive(Debug)]
pub struct NewAccess<'a> {
    /// The users of the password file.
    pub users: Arc<Htpasswd>,
    /// The users of networks.
    pub trusted: Arc<TrustedNetworks>,
    /// The issuers of tokens.
    pub tokens: Option<Arc<Tokens>>,
    /// The external authoriser.
    pub external: Option<Arc<External>>,
    /// When failed logins lock out.
    pub lockout: Option<LockoutSettings>,
    /// The guard and the rules.
    pub policy: &'a Policy,
    /// The scripts.
    pub scripts: &'a [Script],
    /// The proxies behind this one.
    pub parents: &'a [Parent],
    /// The classes of limits.
    pub classes: Option<Arc<Classes>>,
}

impl AccessControl {
    /// Replaces users, trusted networks, tokens, policy and scripts at once. Credentials that were verified stay so where the
    /// user has the same hash as before, or the issuer the same settings and key, and nowhere else. Answers of an
    /// authoriser are kept where its settings are the same, and what members of a class have where its limits are; failed
    /// logins count on. Not for two callers at a time.
    ///
    /// # Errors
    /// The system has no random numbers for the secret of a lock-out that was off. Nothing is replaced.
    pub fn replace(&self, new: NewAccess<'_>) -> Result<(), EntropyError> {
        let access = self.access.load();
        let logins = match (&access.logins, new.lockout) {
            (Some(logins), Some(settings)) => Some(logins.succeeded_by(settings)),
            (None, Some(settings)) => {
                Some(Arc::new(Logins::new(settings, self.asking.telemetry())?))
            }
            (_, None) => None,
        };
        let authenticator = &access.authenticator;
        let authenticator = authenticator.succeeded_by(new.users, new.trusted, new.tokens);
        let hooks = with_scripts(&self.hooks, new.scripts);
        let external = new.external.map(|settings| match &access.external {
            Some(same) if *same.settings() == *settings => Arc::clone(same),
            _ => Arc::new(Authorizer::new(settings, self.asking.clone())),
        });
        let classes = new.classes.map(|classes| match &access.classes {
            Some(former) => Arc::new(classes.succeeding(former)),
            None => classes,
        });
        let classes = classes.map(|classes| Arc::new(self.balances.counted(&classes)));
        self.balances.set_classes(classes.clone());
        let parents = Parents::succeeding(&access.parents, new.parents);
        let access = Access::new(
            authenticator,
            new.policy,
            hooks,
            external,
            logins,
            classes,
            parents,
        )
        .showing(new.scripts);
        self.access.store(Arc::new(access));
        self.key_refresh.wake();
        Ok(())
    }
}
