//! Requests that a rule with `ask` admits: the service is asked when the policy is through with them, and only denies.
//!
//! Before the look-up where the rule is known by then, so that no name server receives the name of a request that the
//! service denies. Else, where rules with `networks` come first, when the addresses are known.

use std::mem::take;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Asked;
use crate::access::auth::Identity;
use crate::access::auth::external::Ask;
use crate::access::client::Client;
use crate::access::policy::{Admission, Asks, Name};
use crate::http::credentials::Credentials;
use crate::http::error::RequestError;
use crate::http::http1::KeptHead;
use crate::request::admit::{Access, AccessControl, Admitted, of_role};
use crate::request::outcome::Exchange;
use crate::upstream::parent::Parents;

/// What a question says of an admitted request that may still have to be asked about.
#[derive(Debug)]
pub struct Unasked {
    access: Arc<Access>,
    identity: Identity,
    credentials: Credentials,
    head: Option<Arc<KeptHead>>,
}

impl AccessControl {
    /// Asks the service about a request, if a rule with `ask` admits the request.
    ///
    /// # Errors
    /// The service denies, or it has not answered where `on_failure` says deny.
    pub(in crate::request::admit) async fn ask_by_rule(
        &self,
        access: &Arc<Access>,
        admission: Admission,
        identity: Identity,
        head: Option<Arc<KeptHead>>,
        exchange: &mut Exchange,
    ) -> Result<Admitted, RequestError> {
        let credentials = take(&mut exchange.credentials);
        let rule = match admission.asks() {
            Asks::Never => return Ok(Admitted::asked(admission)),
            Asks::By(rule) => Some(rule.clone()),
            Asks::ByAddress => None,
        };
        let unasked = Unasked {
            access: Arc::clone(access),
            identity,
            credentials,
            head,
        };
        if let Some(rule) = rule {
            self.put(&unasked, &rule, exchange).await?;
            return Ok(Admitted::asked(admission));
        }
        Ok(Admitted {
            admission,
            unasked: Some(Box::new(unasked)),
            parents: None,
        })
    }

    /// Asks the service about a request of which the addresses are known, once for each rule with `ask` that admits one
    /// of them: the request may be sent to any of them.
    ///
    /// # Errors
    /// As of [`admit`](Self::admit), when the service denies or fails.
    pub async fn ask_by_address(
        &self,
        admitted: &Admitted,
        addresses: impl Iterator<Item = SocketAddr>,
        exchange: &mut Exchange,
    ) -> Result<(), RequestError> {
        let Some(unasked) = &admitted.unasked else {
            return Ok(());
        };
        let mut rules: Vec<&Name> = Vec::new();
        for rule in addresses.flat_map(|address| admitted.asks_at(address.ip())) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        for rule in rules {
            self.put(unasked, rule, exchange).await?;
        }
        Ok(())
    }

    async fn put(
        &self,
        unasked: &Unasked,
        rule: &Name,
        exchange: &mut Exchange,
    ) -> Result<(), RequestError> {
        let Unasked {
            access,
            identity,
            credentials,
            head,
        } = unasked;
        let Some(authorizer) = access.asked(Ask::Rule) else {
            return Ok(());
        };
        let user = identity.user();
        let asked = Asked {
            user: user.as_str(),
            groups: access.policy.groups_of(user.as_str(), identity.groups()),
            credentials,
            client: Client::new(Some(user), exchange.request.source.client.ip()),
            rule: Some(rule),
        };
        exchange.head.clone_from(head);
        let consulted = self.consult(authorizer, access, asked, exchange).await;
        exchange.head = None;
        match consulted {
            Ok(Some(_)) => exchange.outcome.terms().answered.push(rule.clone()),
            Ok(None) => {}
            Err(error) => return Err(of_role(error, credentials, &exchange.request)),
        }
        Ok(())
    }
}

impl Admitted {
    /// A request about which nothing more is asked.
    pub(in crate::request::admit) fn asked(admission: Admission) -> Self {
        Self {
            admission,
            unasked: None,
            parents: None,
        }
    }

    /// The proxies behind this one, if there are any.
    #[inline]
    pub fn parents(&self) -> Option<&Parents> {
        self.parents.as_deref()
    }

    /// Whether the addresses decide if the authoriser is asked.
    #[inline]
    pub fn is_unasked(&self) -> bool {
        self.unasked.is_some()
    }
}
