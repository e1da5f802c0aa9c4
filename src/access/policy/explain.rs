//! Why a request would be admitted or denied: the decision with every rule that was asked on the way.
//!
//! Made by the evaluator that serves requests, which here tells each of its steps.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::evaluate::{Course, Place};
use super::trace::Step;
use super::{DecidedBy, Denied, Matcher, Policy, Question, Request, Rule, Verdict};

mod text;

/// A decision with its reasons. Prints as text for people; serialises for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What is decided.
    pub decision: Outcome,
    /// Who decided, as in the log.
    pub rule: String,
    /// For a denial, its reason as in `Proxy-Status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// For a denial, the status code of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// For a denial, what the rule tells the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What a part of the guard goes by, for people.
    #[serde(skip)]
    because: Option<String>,
    /// Who asks.
    pub user: String,
    /// The groups of the user.
    pub groups: Vec<String>,
    /// From where.
    pub client: IpAddr,
    /// In which role the request is served.
    pub role: &'static str,
    /// With which method.
    pub method: String,
    /// For what, as it was understood.
    pub target: String,
    /// When (RFC 3339).
    pub time: String,
    /// The rules that were asked, in their order. Those after the one that decided were not.
    pub rules: Vec<Considered>,
    /// The addresses that would be dialled.
    pub addresses: Vec<Judged>,
    /// Rules that observe, and would have denied it.
    pub observed: Vec<String>,
}

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The request may be made. Where there are no addresses: if the guard admits those of the name.
    Admit,
    /// It may not.
    Deny,
    /// Who decides is only known with the addresses of the name.
    DependsOnAddress,
}

/// A rule that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Considered {
    /// Its name.
    pub rule: String,
    /// `admit`, `deny` or `observe`.
    pub action: &'static str,
    /// `no_match`, `needs_address`, `observes` or `decides`.
    pub outcome: &'static str,
    /// The first matcher that did not match, or the one that needs an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matcher: Option<&'static str>,
    /// What the matcher was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Why the rule's expression has no value, so that the rule denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An address that would be dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// The address.
    pub address: IpAddr,
    /// Whether it may be dialled.
    pub decision: Verdict,
    /// Who decided, as in the log.
    pub rule: String,
    /// The rules that go by networks, as far as they were asked.
    pub rules: Vec<Considered>,
}

impl Policy {
    /// Decides on a request that nobody sent, and says why.
    pub fn explain(&self, question: &Question) -> Explanation {
        let evaluated = self.evaluate(question);
        let request = question.request();
        let (decision, denied) = match &evaluated.result {
            Ok(_) if evaluated.awaited.is_some() => (Outcome::DependsOnAddress, None),
            Ok(_) => (Outcome::Admit, None),
            Err(denied) => (Outcome::Deny, Some(denied)),
        };
        let by = match &evaluated.result {
            Ok(by) => by,
            Err(denied) => &denied.by,
        };
        Explanation {
            decision,
            rule: by.to_string(),
            because: text::because(by, &request),
            reason: denied.map(|denied| denied.reason.kind()),
            status: denied.map(|denied| denied.refusal.status.as_u16()),
            message: denied
                .and_then(|denied| denied.refusal.message.as_deref())
                .map(str::to_owned),
            user: question.user.to_string(),
            groups: self.groups_of(&question.user),
            client: question.client,
            role: request.role().as_str(),
            method: request.method.to_owned(),
            target: question.target().to_owned(),
            time: question.time.to_string(),
            rules: self.considered(&evaluated.steps, &request, None),
            addresses: evaluated
                .judged
                .iter()
                .map(|(ip, steps, result)| Judged {
                    address: *ip,
                    decision: match result {
                        Ok(_) => Verdict::Admit,
                        Err(_) => Verdict::Deny,
                    },
                    rule: match result {
                        Ok(by) => by.to_string(),
                        Err(denied) => denied.by.to_string(),
                    },
                    rules: self.considered(steps, &request, Some(*ip)),
                })
                .collect(),
            observed: evaluated.observed,
        }
    }

    /// The evaluation of a question, step by step.
    pub(super) fn evaluate(&self, question: &Question) -> Evaluated {
        let request = question.request();
        let place = Place::of(&request);
        let mut steps = Vec::new();
        let course = match self.decide(&request, &mut steps) {
            Ok(course) => course,
            Err(denied) => return Evaluated::without_addresses(steps, Err(denied)),
        };
        let is_name = request.destination.address().is_none();
        let mut judged = Vec::new();
        for ip in question.addresses() {
            let mut steps = Vec::new();
            let address = SocketAddr::new(ip, place.port);
            let result = self.judge(place, &course, address, &mut steps);
            let result =
                result.map_err(|denied| if is_name { denied.of_address() } else { denied });
            judged.push((ip, steps, result));
        }
        // As the dialler has it: any address that is admitted will do, and the first denial is reported.
        let admitted = judged.iter().find(|(_, _, result)| result.is_ok());
        let Some((ip, _, result)) = admitted.or(judged.first()) else {
            let result = Ok(self.decided_by(&course));
            let awaited = self
                .awaits_address(&course)
                .map(|rule| rule.name.to_string());
            return Evaluated {
                awaited,
                observed: self.observed_by(&course, None),
                ..Evaluated::without_addresses(steps, result)
            };
        };
        let observed = match result {
            Ok(_) => self.observed_by(&course, Some(*ip)),
            Err(_) => Vec::new(),
        };
        Evaluated {
            result: result.clone(),
            awaited: None,
            observed,
            steps,
            judged,
        }
    }

    fn observed_by(&self, course: &Course, ip: Option<IpAddr>) -> Vec<String> {
        let observing = self.observing(course, ip);
        observing.map(|(_, rule)| rule.name.to_string()).collect()
    }

    fn groups_of(&self, user: &str) -> Vec<String> {
        let class = self.rules.class_of(user);
        let groups = class.into_iter().flat_map(|class| &class.groups);
        groups.map(|group| group.to_string()).collect()
    }

    fn considered(
        &self,
        steps: &[(usize, Step)],
        request: &Request<'_>,
        ip: Option<IpAddr>,
    ) -> Vec<Considered> {
        let mut considered: Vec<Considered> = Vec::new();
        let mut failure = None;
        for (index, step) in steps {
            let Some(rule) = self.rules.get(*index) else {
                continue;
            };
            let (outcome, matcher) = match step {
                Step::Skipped(matcher) => ("no_match", Some(*matcher)),
                Step::Pending => ("needs_address", Some(Matcher::Networks)),
                Step::Observed => ("observes", None),
                Step::Decides => ("decides", None),
                Step::Failed(error) => {
                    // The next step says what becomes of the rule.
                    failure = Some(error.to_string());
                    continue;
                }
            };
            considered.push(Considered {
                rule: rule.name.to_string(),
                action: rule.action.as_str(),
                outcome,
                matcher: matcher.map(|matcher| shown_key(rule, matcher)),
                value: matcher
                    .filter(|_| outcome == "no_match")
                    .map(|matcher| self.value_of(rule, matcher, request, ip)),
                error: failure.take(),
            });
        }
        considered
    }

    /// What a matcher was asked about.
    fn value_of(
        &self,
        rule: &Rule,
        matcher: Matcher,
        request: &Request<'_>,
        ip: Option<IpAddr>,
    ) -> String {
        let authority = request.destination.authority();
        let none = || "none, for the gateway".to_owned();
        match matcher {
            Matcher::Roles => request.role().as_str().to_owned(),
            Matcher::Users => {
                let groups = self.groups_of(request.user);
                match (&rule.matchers.groups, groups.is_empty()) {
                    (None, _) => request.user.to_owned(),
                    (Some(_), true) => format!("{}, who is in no group", request.user),
                    (Some(_), false) => {
                        format!("{}, who is in {}", request.user, groups.join(", "))
                    }
                }
            }
            Matcher::Ports => authority.map_or_else(none, |authority| authority.port.to_string()),
            Matcher::Methods => request.method.to_owned(),
            Matcher::ClientNetworks => request.client.to_string(),
            Matcher::Domains => authority.map_or_else(none, |authority| authority.host.to_string()),
            Matcher::Networks => ip.map_or_else(none, |ip| ip.to_string()),
            Matcher::Time => match &rule.matchers.time {
                Some(schedule) => schedule.show(request.time),
                None => String::new(),
            },
            Matcher::When => "false".to_owned(),
        }
    }
}

/// What came out of an evaluation, and how.
pub(super) struct Evaluated {
    pub(super) result: Result<DecidedBy, Denied>,
    /// A rule that may decide otherwise once there is an address.
    pub(super) awaited: Option<String>,
    pub(super) observed: Vec<String>,
    pub(super) steps: Vec<(usize, Step)>,
    judged: Vec<JudgedSteps>,
}

type JudgedSteps = (IpAddr, Vec<(usize, Step)>, Result<DecidedBy, Denied>);

impl Evaluated {
    fn without_addresses(
        steps: Vec<(usize, Step)>,
        result: Result<DecidedBy, Denied>,
    ) -> Evaluated {
        Evaluated {
            result,
            awaited: None,
            observed: Vec::new(),
            steps,
            judged: Vec::new(),
        }
    }
}

/// The key of a matcher as the rule has it.
fn shown_key(rule: &Rule, matcher: Matcher) -> &'static str {
    let matchers = &rule.matchers;
    match (matcher, &matchers.users, &matchers.groups) {
        (Matcher::Users, None, Some(_)) => "groups",
        (Matcher::Users, Some(_), Some(_)) => "users, groups",
        _ => matcher.key(),
    }
}

#[cfg(test)]
mod tests;
