//! What becomes of a request while it is served: what its record says beyond its facts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::admit::{Access, Admitted, EarlyLogin};
use super::facts::{Arrival, Request};
use super::live::InFlightRequest;
use super::tunnel::Demand;
use crate::access::auth::{AuthMethod, Identity, IdentityFacts, User};
use crate::access::limits::{Account, Exceeded, Flow, Ticket, Turn};
use crate::access::policy::{
    DecidedBy, Denied, HelloTerms, Name, Opening, Policy, RuleNames, Upgrade,
};
use crate::hello::Hello;
use crate::hook::Run;
use crate::http::credentials::Credentials;
use crate::http::denial::Denial;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::http1::KeptHead;
use crate::telemetry::traces::Trace;
use crate::telemetry::{Record, UpstreamAddress};
use crate::upstream::server::Address;

/// One request on its way: its facts, and what has become of it so far.
#[derive(Debug)]
pub struct Exchange {
    pub request: Request,
    /// What the client proves its identity with, until that is verified and, where a rule may ask an external authoriser
    /// with it, until the rules are evaluated.
    pub credentials: Credentials,
    pub outcome: Outcome,
    /// Users, policy and hooks with which the request began, until it is admitted.
    pub access: Option<Arc<Access>>,
    /// A copy of its head, where the policy reads it, until it is admitted.
    pub head: Option<Arc<KeptHead>>,
    /// Whether the client is told the name of what denies.
    pub rule_names: RuleNames,
    /// The hooks of the request; none where no hook is configured.
    pub run: Option<Box<Run>>,
    /// Who the client is, where its credentials were verified before the request.
    pub early: Option<Box<EarlyLogin>>,
    /// Its place among the requests in flight, where an admin service is configured.
    pub live: Option<InFlightRequest>,
}

/// What has become of a request so far.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The user, by credentials or by the network of the client.
    pub user: Option<User>,
    /// What the credentials, a hook or the authoriser say beside the user.
    facts: Option<Arc<IdentityFacts>>,
    /// What proved that.
    pub auth: Option<AuthMethod>,
    /// On which terms the request was admitted, where there are any.
    pub terms: Option<Box<Terms>>,
    /// What decided whether the request is admitted.
    pub decided_by: Option<DecidedBy>,
    /// Rules that only observe, and would have denied it.
    pub observed: Vec<Name>,
    /// The address that [`decided_by`](Self::decided_by) is about.
    decided_address: Option<SocketAddr>,
    /// How long the look-up of the target's name took; like the next ones, none for a phase that it did not have.
    pub resolve: Option<Duration>,
    /// Waiting for its turn: of a rate of its class, and for a permit of the upstream.
    pub queue: Option<Duration>,
    /// Connecting, with the TLS handshake where there is one.
    pub connect: Option<Duration>,
    /// From the first byte of the request to the first byte of the upstream's response.
    pub first_byte: Option<Duration>,
    /// The trace of the request, if it is recorded.
    pub trace: Option<Box<Trace>>,
    /// Where the request was connected to.
    pub upstream: Option<Address>,
    /// How it failed.
    pub error: Option<ErrorKind>,
    /// What the client is told of its denial, if the policy denied the request.
    pub denial: Option<Arc<Denial>>,
    /// Why, for the log.
    pub error_detail: Option<Box<str>>,
}

/// What few requests have: terms of their admission. Apart, since a request is moved several times.
#[derive(Debug, Default)]
pub struct Terms {
    /// When a tunnel ends, since the token of its user expires.
    pub expires: Option<SystemTime>,
    /// How the request is sent, where a rule says so.
    pub upgrade: Option<Arc<Upgrade>>,
    /// Whether the client asked for it over http, and it is sent over https.
    pub is_upgraded: bool,
    /// The parent that it goes through.
    pub parent: Option<Arc<str>>,
    /// The rules that put it to the external authoriser, which admitted it.
    pub answered: Vec<Name>,
    /// What is asked of the first bytes in its tunnel, until they are judged.
    pub demand: Option<Demand>,
    /// The hello in its tunnel, where that was read.
    pub hello: Option<SeenHello>,
    /// What the request has of the limits of its class, where one holds for it; or which limit it is over.
    pub class: Option<Result<Ticket, Exceeded>>,
}

/// A hello, and its protocols as one text for the log.
#[derive(Debug)]
pub struct SeenHello {
    hello: Arc<Hello>,
    alpn: Box<str>,
}

impl Outcome {
    /// Notes who the user is.
    pub fn identify(&mut self, identity: &Identity) {
        self.user = Some(identity.user().clone());
        self.facts = identity.facts();
    }

    /// The terms, to add one.
    pub fn terms(&mut self) -> &mut Terms {
        self.terms.get_or_insert_default()
    }

    /// Notes how the request failed.
    pub fn fail(&mut self, error: &RequestError) {
        self.error = Some(error.kind());
        self.denial = error.denial().cloned();
        self.error_detail = error.detail().map(String::into_boxed_str);
    }

    /// Notes what the request gets of the limits of its class.
    ///
    /// # Errors
    /// It is over one of them.
    pub fn limit(
        &mut self,
        got: Result<Ticket, Exceeded>,
        names: RuleNames,
    ) -> Result<(), RequestError> {
        let over = got.as_ref().err().map(|exceeded| exceeded.to_error(names));
        self.terms().class = Some(got);
        over.map_or(Ok(()), Err)
    }

    /// What is asked of the first bytes in the tunnel.
    pub fn take_demand(&mut self) -> Option<Demand> {
        self.terms.as_mut()?.demand.take()
    }

    /// Notes the hello in the tunnel.
    pub fn note_hello(&mut self, hello: Hello) -> Arc<Hello> {
        let hello = Arc::new(hello);
        let alpn = hello.alpn.join(",").into();
        let seen = Arc::clone(&hello);
        self.terms().hello = Some(SeenHello { hello: seen, alpn });
        hello
    }

    /// The turn for which the request has to wait before it is routed, where its class has it wait; once.
    pub fn take_turn(&mut self) -> Option<Turn> {
        let class = self.terms.as_mut()?.class.as_mut()?;
        class.as_mut().ok()?.take_turn()
    }

    /// What the bytes of the request are charged to, where a class holds for it.
    pub fn account(&self) -> Option<&Account> {
        let class = self.terms.as_ref()?.class.as_ref()?;
        Some(class.as_ref().ok()?.account())
    }

    /// How long the body of the request may have to wait for its turn. A client that waits is not slow, and neither is a
    /// server that waits for it.
    pub fn longest_wait(&self) -> Duration {
        let wait = |account: &Account| account.longest_wait(Flow::Upload);
        self.account().map_or(Duration::ZERO, wait)
    }

    /// Gives back what the request has of the limits of its class.
    pub fn leave_class(&mut self) {
        if let Some(terms) = &mut self.terms {
            terms.class = None;
        }
    }

    /// Notes what denied the request.
    pub fn deny(&mut self, denied: Denied, names: RuleNames) -> RequestError {
        self.decided_by = Some(denied.by.clone());
        denied.into_error(names)
    }

    /// Notes what admitted the request, and which rules would not have: to `address`, or as such.
    pub fn admit(
        &mut self,
        admitted: &Admitted,
        decided_by: DecidedBy,
        address: Option<SocketAddr>,
    ) {
        self.decided_by = Some(match decided_by {
            DecidedBy::Rule(rule) if self.is_answered(&rule) => DecidedBy::External(Some(rule)),
            other => other,
        });
        self.decided_address = address;
        let ip = address.map(|address| address.ip());
        self.observed.clear();
        self.observed.extend(admitted.observed(ip).cloned());
    }

    /// Whether the external authoriser has admitted the request, asked by this rule.
    fn is_answered(&self, rule: &Name) -> bool {
        let terms = self.terms.as_deref();
        terms.is_some_and(|terms| terms.answered.contains(rule))
    }

    /// Notes where the request went: a dial can end at another address than the first candidate.
    pub fn connected(&mut self, upstream: Address, admitted: Option<&Admitted>) {
        let tcp = match &upstream {
            Address::Tcp(address) => Some(*address),
            Address::Unix(_) => None,
        };
        self.upstream = Some(upstream);
        let Some(address) = tcp else {
            return;
        };
        if self.decided_address.is_some_and(|noted| noted != address)
            && let Some(admitted) = admitted
            && let Ok(decided_by) = admitted.admit_address(address)
        {
            self.admit(admitted, decided_by, Some(address));
        }
    }
}

impl Exchange {
    /// A request of which nothing but its facts is known.
    pub fn new(request: Request, credentials: Credentials) -> Self {
        Self {
            request,
            credentials,
            outcome: Outcome::default(),
            access: None,
            head: None,
            rule_names: RuleNames::default(),
            run: None,
            early: None,
            live: None,
        }
    }

    /// Judges the first bytes in its tunnel, which was admitted on these terms.
    ///
    /// # Errors
    /// They are denied.
    pub fn admit_opening(
        &mut self,
        policy: Option<&Policy>,
        terms: &HelloTerms,
        opening: Opening<'_>,
    ) -> Result<(), RequestError> {
        let Self {
            request, outcome, ..
        } = self;
        let facts = outcome.facts.as_deref();
        let user = outcome.user.as_ref().map_or("", User::as_str);
        let asked = request.in_tunnel(user, facts);
        let judged = terms.admit(policy, &asked, opening);
        judged.map_err(|denied| outcome.deny(denied, self.rule_names))
    }

    /// The record of this request, to be filled in with what only its end tells.
    pub fn record(&self) -> Record<'_> {
        let Self {
            request,
            outcome,
            run,
            ..
        } = self;
        let Arrival { started, completed } = request.arrival;
        let head_time = completed.saturating_duration_since(started);
        let mut record = Record::new(
            request.time.checked_sub(head_time).unwrap_or(request.time),
            request.id.as_str(),
            request.role,
            request.source.client,
        );
        record.user = outcome.user.as_ref().map(User::as_str);
        let facts = outcome.facts.as_deref();
        record.groups = facts.map_or(&[], IdentityFacts::groups);
        record.auth = outcome.auth.map(AuthMethod::as_str);
        record.version = request.version.as_str();
        record.duration = started.elapsed();
        record.upstream = outcome.upstream.as_ref().map(|address| match address {
            Address::Tcp(address) => UpstreamAddress::Tcp(*address),
            Address::Unix(path) => UpstreamAddress::Unix(path),
        });
        record.resolve = outcome.resolve;
        record.queue = outcome.queue;
        record.connect = outcome.connect;
        record.first_byte = outcome.first_byte;
        record.error = outcome.error.map(ErrorKind::name);
        record.error_detail = outcome.error_detail.as_deref();
        record.decided_by = outcome.decided_by.as_ref();
        record.observed = &outcome.observed;
        let terms = outcome.terms.as_deref();
        record.parent = terms.and_then(|terms| terms.parent.as_deref());
        let class = outcome
            .terms
            .as_ref()
            .and_then(|terms| terms.class.as_ref());
        match class {
            Some(Ok(ticket)) => record.class = Some(ticket.class().name()),
            Some(Err(exceeded)) => {
                record.class = Some(exceeded.class().name());
                record.limit = Some(exceeded.limit().as_str());
            }
            None => {}
        }
        if let Some(run) = run {
            record.failed_hook = run.notes.failed();
            record.tags = run.notes.tags();
        }
        record.denial = outcome.denial.as_deref();
        record.trace = outcome.trace.as_deref();
        let terms = outcome.terms.as_ref();
        if let Some(SeenHello { hello, alpn }) = terms.and_then(|terms| terms.hello.as_ref()) {
            record.sni = hello.sni.as_deref();
            record.alpn = Some(alpn)
                .filter(|alpn| !alpn.is_empty())
                .map(|alpn| &**alpn);
            record.ja4 = Some(&hello.ja4);
            record.ech = hello.ech.then_some("offered");
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An open tunnel keeps it for as long as it is open.
    #[test]
    fn an_exchange_is_small() {
        assert!(size_of::<Outcome>() <= 480, "{}", size_of::<Outcome>());
        assert!(size_of::<Exchange>() <= 1024, "{}", size_of::<Exchange>());
    }
}
