//! What the client's first bytes in a tunnel have to be: the key `tunnel`, of all tunnels and of a rule.
//!
//! A tunnel is admitted as a request, and judged once more when its ClientHello is there. Then nothing opens any more:
//! a hello only closes what the request has opened.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{
    Admission, DecidedBy, Denied, EvaluationError, Expression, Name, Policy, Request, Rules,
    decision::DenyReason, rule::goes_by_time,
};
use crate::hello::Hello;
use crate::http::target::Host;

/// What is asked of the name of the host in a hello.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SniDemand {
    /// Nothing.
    #[default]
    Off,
    /// That there is one.
    Present,
    /// That it is the host of the target. For a target that is an address: that there is none, or this address.
    Match,
}

/// The terms of a tunnel.
#[derive(Debug)]
pub struct HelloTerms {
    /// Of the name of the host.
    pub sni: SniDemand,
    /// Whether another protocol than TLS is admitted.
    pub non_tls: bool,
    /// Whether an encrypted hello is admitted, or what looks like one.
    pub ech: bool,
    /// Whether the hello is read where nothing is asked of it, for log and hooks.
    pub peek: bool,
    /// An expression that is true; of a rule alone.
    pub when: Option<Expression>,
    /// From its first byte to its last.
    pub timeout: Duration,
    /// The rule that has them; none: they are for all tunnels.
    pub rule: Option<Name>,
}

/// What a client sends first in a tunnel.
#[derive(Clone, Copy, Debug)]
pub enum Opening<'a> {
    /// A hello.
    Hello(&'a Hello),
    /// Another protocol.
    NotTls,
    /// It begins as TLS, and is no hello.
    Unreadable,
    /// It was not complete in time.
    Late,
}

impl HelloTerms {
    /// Whether there is something that a tunnel may be refused for.
    pub fn judges(&self) -> bool {
        self.sni != SniDemand::Off || !self.non_tls || !self.ech || self.when.is_some()
    }

    /// Whether the first bytes are read.
    pub fn reads(&self) -> bool {
        self.peek || self.judges()
    }

    /// Whether the judgement depends on the time.
    pub(super) fn go_by_time(&self) -> bool {
        self.when.as_ref().is_some_and(goes_by_time)
    }

    /// What refuses a tunnel of these terms.
    fn decided_by(&self) -> DecidedBy {
        match &self.rule {
            Some(name) => DecidedBy::Rule(name.clone()),
            None => DecidedBy::TunnelHello,
        }
    }

    /// Judges all but the expression.
    fn judge(&self, host: &Host, opening: Opening<'_>) -> Result<(), DenyReason> {
        let hello = match opening {
            Opening::NotTls if self.non_tls => return Ok(()),
            Opening::NotTls => return Err(DenyReason::NotTls),
            // Where nothing is asked, what cannot be read goes on unread.
            _ if !self.judges() => return Ok(()),
            Opening::Unreadable => return Err(DenyReason::HelloUnreadable),
            Opening::Late => return Err(DenyReason::HelloTimeout),
            Opening::Hello(hello) => hello,
        };
        if hello.ech && !self.ech {
            return Err(DenyReason::EchDenied);
        }
        let sni = hello.sni.as_deref();
        match (self.sni, host, sni) {
            (SniDemand::Off, ..) | (SniDemand::Present, _, Some(_)) => Ok(()),
            (SniDemand::Present, _, None) | (SniDemand::Match, Host::Name(_), None) => {
                Err(DenyReason::SniMissing)
            }
            // RFC 6066 §3 knows no addresses, so that clients send none.
            (SniDemand::Match, Host::Ip(_), None) => Ok(()),
            (SniDemand::Match, host, Some(sni)) if is_host(sni, host) => Ok(()),
            (SniDemand::Match, ..) => Err(DenyReason::SniMismatch),
        }
    }
}

/// Whether a name of a hello means this host, in whatever case and with a dot at its end or not.
fn is_host(sni: &str, host: &Host) -> bool {
    match host {
        Host::Name(name) => Host::parse(sni.as_bytes()).is_ok_and(|sni| sni.name() == Some(name)),
        Host::Ip(ip) => sni
            .parse::<IpAddr>()
            .is_ok_and(|sni| sni.to_canonical() == ip.to_canonical()),
    }
}

/// The name of a hello for expressions: as hosts are written, if it is one.
pub(super) fn normalised(sni: &str) -> String {
    match Host::parse(sni.as_bytes()) {
        Ok(Host::Name(name)) => name.into(),
        Ok(Host::Ip(ip)) => ip.to_string(),
        Err(_) => sni.to_ascii_lowercase(),
    }
}

impl Rules {
    /// Whether a rule reads the first bytes of tunnels.
    pub(super) fn read_hellos(&self) -> bool {
        let mut rules = self.iter();
        rules.any(|rule| rule.tunnel.as_ref().is_some_and(|terms| terms.reads()))
    }
}

impl HelloTerms {
    /// Judges the first bytes of a tunnel that was admitted on these terms. An expression needs the policy, for the groups of
    /// the user.
    ///
    /// # Errors
    /// [`Denied`], by the rule that has the terms.
    pub fn admit(
        &self,
        policy: Option<&Policy>,
        request: &Request<'_>,
        opening: Opening<'_>,
    ) -> Result<(), Denied> {
        let deny = |reason, failure| {
            Err(Denied {
                reason,
                failure,
                ..Denied::request(self.decided_by())
            })
        };
        let Some(host) = request.host() else {
            return Ok(());
        };
        if let Err(reason) = self.judge(host, opening) {
            return deny(reason, None);
        }
        let (Some(when), Opening::Hello(hello)) = (&self.when, opening) else {
            return Ok(());
        };
        let request = Request {
            hello: Some(hello),
            ..*request
        };
        let policy = policy.ok_or(EvaluationError::Unexpected);
        match policy.and_then(|policy| policy.is_true(when, &request)) {
            Ok(true) => Ok(()),
            Ok(false) => deny(DenyReason::HttpRequestDenied, None),
            Err(error) => deny(DenyReason::HttpRequestDenied, Some(error)),
        }
    }
}

impl Policy {
    /// The same policy, with these terms for tunnels whose rule has none of its own.
    #[must_use]
    pub fn with_tunnel_terms(self, terms: HelloTerms) -> Policy {
        Policy {
            reads_hellos: terms.reads() || self.rules.read_hellos(),
            tunnel: Some(Arc::new(terms)),
            ..self
        }
    }

    /// The terms of a tunnel that this rule admits; none: the default does.
    pub(super) fn terms_of(&self, rule: Option<usize>) -> Option<&Arc<HelloTerms>> {
        let of_rule = rule.and_then(|index| self.rules.get(index)?.tunnel.as_ref());
        of_rule.or(self.tunnel.as_ref())
    }

    /// Whether an expression is true for a request, outside of the matchers of a rule.
    fn is_true(&self, when: &Expression, request: &Request<'_>) -> Result<bool, EvaluationError> {
        when.matches(&self.evaluation(request).facts())
    }
}

impl Admission {
    /// The terms of a tunnel to this address that are to be judged; none: its bytes are not looked at. With the policy only
    /// where they have an expression: a silent client would keep it in memory after a reload.
    pub fn tunnel_terms(
        &self,
        ip: Option<IpAddr>,
    ) -> Option<(Option<Arc<Policy>>, Arc<HelloTerms>)> {
        if !self.policy.reads_hellos {
            return None;
        }
        let rule = match ip {
            Some(ip) => self.policy.deciding_at(&self.decision, ip),
            None => self.decision.decides,
        };
        let terms = self.policy.terms_of(rule).filter(|terms| terms.reads())?;
        let policy = terms.when.as_ref().map(|_| Arc::clone(&self.policy));
        Some((policy, Arc::clone(terms)))
    }
}
