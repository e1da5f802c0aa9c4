//! An explanation as text for people.

use std::fmt;

use super::{DecidedBy, EvaluatedRule, ExplainedDecision, Explanation, Request, Via};

impl Explanation {
    /// The decision and what made it, in one line.
    pub fn headline(&self) -> String {
        headline(
            (self.decision, self.asks.is_some()),
            &self.rule,
            (self.status, self.reason),
            self.message.as_deref(),
        )
    }

    /// The request as it is sent, `GET example.org:80 (forward)`.
    pub fn request_line(&self) -> String {
        format!("{} {} ({})", self.method, self.target, self.role)
    }

    /// User, client, request and time.
    pub fn circumstances(&self) -> String {
        let mut user = self.user.clone();
        if !self.groups.is_empty() {
            user += &format!(", in {}", self.groups.join(", "));
        }
        let path = match &self.path {
            Some(path) => format!("\npath     {path}"),
            None => String::new(),
        };
        format!(
            "user     {user}\nclient   {}\nrequest  {}{path}\ntime     {}",
            self.client,
            self.request_line(),
            self.time
        )
    }

    /// The reasons: what the policy alone decides where a script ends the request, the part of the guard that decided, the rules and the addresses. Each paragraph begins with
    /// an empty line.
    pub fn reasons(&self) -> String {
        let mut text = String::new();
        let (decision, rule) = match &self.policy {
            Some(alone) => (alone.decision, &alone.rule),
            None => (self.decision, &self.rule),
        };
        if let Some(alone) = &self.policy {
            text += &format!(
                "\n\nthe policy alone: {}",
                alone.headline(self.asks.is_some())
            );
        }
        if let Some(because) = &self.because {
            text += &format!("\n\n{rule}: {because}");
        }
        text += &table("\n\nrules in order", &self.rules);
        for judged in &self.addresses {
            let (decision, rule) = (judged.decision.as_str(), &judged.rule);
            text += &format!("\n\naddress {}: {decision}, by {rule}", judged.address);
            text += &table("", &judged.rules);
        }
        if self.addresses.is_empty()
            && self.role != "gateway"
            && !self.is_resolved_by_parent
            && decision != ExplainedDecision::Deny
        {
            text += "\n\nevery address of the name is evaluated too; give addresses with --resolve";
        }
        if let Some(via) = &self.via {
            text += &match (via.as_str(), self.is_resolved_by_parent) {
                (Via::DIRECT, _) => "\n\ngoes to the target itself".to_owned(),
                (parent, false) => format!("\n\ngoes through the parent {parent}"),
                (parent, true) => format!(
                    "\n\ngoes through the parent {parent}, which resolves the name: no rule and no part of the guard \
                     sees an address"
                ),
            };
        }
        if let Some(upgrade) = &self.upgrade {
            text += &format!("\n\n{upgrade}");
        }
        if let Some(terms) = &self.tunnel {
            text += &format!("\n\n{terms}");
        }
        if let Some(asks) = self.asks {
            text += match asks {
                "yes" => {
                    "\n\nauth.external is asked about this request, and is not asked here: it may deny; --ask asks it"
                }
                _ => {
                    "\n\nauth.external is asked about this request if a rule with `ask` has its address"
                }
            };
        }
        if !self.observed.is_empty() {
            let rules = self.observed.join(", ");
            text += &format!("\n\nwould be denied by rules that observe: {rules}");
        }
        if !self.in_the_clear.is_empty() {
            let rules = self.in_the_clear.join(", ");
            text += &format!(
                "\n\nrules that could decide otherwise if the request in the tunnel came in the clear, as a URL to \
                 forward: {rules}"
            );
        }
        text
    }
}

/// A decision, whether the external authoriser is asked, and what made it, in one line. Status and reason are those of an answer that is not a server's.
pub(super) fn headline(
    (decision, asks): (ExplainedDecision, bool),
    rule: &str,
    answer: (Option<u16>, Option<&str>),
    message: Option<&str>,
) -> String {
    let mut line = match decision {
        ExplainedDecision::Admit if asks => {
            format!("admit, by {rule}, if auth.external admits it")
        }
        ExplainedDecision::Admit => format!("admit, by {rule}"),
        ExplainedDecision::Deny => format!("deny, by {rule}"),
        ExplainedDecision::Answer => format!("answer, by {rule}"),
        ExplainedDecision::Fail => format!("fail, by {rule}"),
        ExplainedDecision::DependsOnAddress => {
            format!("depends on the address: by {rule} for addresses in no network below")
        }
    };
    match answer {
        (Some(status), Some(reason)) => line += &format!(" ({status}, {reason})"),
        (Some(status), None) => line += &format!(" ({status})"),
        (None, _) => {}
    }
    if let Some(message) = message {
        line += &format!(": {message}");
    }
    line
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (headline, circumstances) = (self.headline(), self.circumstances());
        write!(f, "{headline}\n\n{circumstances}{}", self.reasons())
    }
}

/// Why a part of the guard or the default decides, in the terms of the configuration.
pub(super) fn because(by: &DecidedBy, request: &Request<'_>) -> Option<String> {
    let port = || {
        request
            .destination
            .authority()
            .map_or(0, |authority| authority.port)
    };
    let not_in = |key: &str| {
        format!(
            "port {} is not in tollgate.egress.{key}, and no rule opens it by its ports",
            port()
        )
    };
    Some(match by {
        DecidedBy::Rule(_) => return None,
        DecidedBy::Default => "no rule decides, so tollgate.policy.default does".to_owned(),
        DecidedBy::ConnectPorts => not_in("connect_ports"),
        DecidedBy::HttpPorts => not_in("http_ports"),
        DecidedBy::AllowDomains => "the target is not in tollgate.egress.allow_domains".to_owned(),
        DecidedBy::DenyDomains(entry) => {
            format!("the target is in tollgate.egress.deny_domains, as {entry}")
        }
        DecidedBy::AllowNetworks(net) => {
            format!("no rule decides, and tollgate.egress.allow_networks has {net}")
        }
        DecidedBy::DenyNetworks(net) => {
            format!("the address is in tollgate.egress.deny_networks, as {net}")
        }
        DecidedBy::SpecialPurpose(block) => format!(
            "the address is special-purpose ({}), and neither the networks of a rule nor \
             tollgate.egress.allow_networks open it",
            block.name
        ),
        DecidedBy::TunnelHello => "the ClientHello is not as tollgate.tunnel has it".to_owned(),
        // Neither hooks nor the authoriser are a part of the policy.
        DecidedBy::Hook(_) => "a hook ends the request".to_owned(),
        DecidedBy::External(_) => "the external authoriser denies it".to_owned(),
        DecidedBy::OwnListener => "this program itself listens on the address".to_owned(),
    })
}

/// A table without a line end after the last line.
fn table(head: &str, rules: &[EvaluatedRule]) -> String {
    if rules.is_empty() {
        return String::new();
    }
    let mut text = head.to_owned();
    let width = rules.iter().map(|rule| rule.rule.len()).max().unwrap_or(0);
    for EvaluatedRule {
        rule,
        action,
        outcome,
        matcher,
        value,
        names_user: _,
        error,
        hidden,
    } in rules
    {
        text += &format!("\n  {rule:width$}  {action:7}  ");
        text += match *outcome {
            "no_match" => "no match",
            "needs_address" => "depends on the address",
            "observes" => "matches, and observes",
            _ => "decides",
        };
        if let (Some(matcher), Some(value)) = (matcher, value) {
            text += &format!(": {matcher}: {value}");
        }
        if let Some(error) = error {
            text += &format!(": its expression failed, so it denies: {error}");
        }
        if !hidden.is_empty() {
            let hidden = hidden.join(", ");
            text += &format!(
                "\n  {:width$}  {:7}  not visible in a tunnel: {hidden}",
                "", ""
            );
        }
    }
    text
}
