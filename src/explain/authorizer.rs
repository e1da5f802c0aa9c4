//! `explain --ask`: the question that the authoriser would get, put to it, and what follows from the answer.

use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use crate::access::auth::external::{Answer, Ask, External, Grant, OnFailure, Verdict};
use crate::access::policy::{Conclusion, ExplainedDecision, Explanation, Policy, Scenario};
use crate::config::Config;
use crate::http::error::ErrorKind;
use crate::http::role::Role;
use crate::request::admit::{AskedOnce, ask_once};
use crate::request::app;
use crate::upstream::fetch::Fetcher;

/// What the service was asked about one way, and what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct AskedService {
    /// The question: a JSON object, or fields with a line each. Without a password.
    question: String,
    /// The answer as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    /// What it means.
    meaning: String,
    #[serde(skip)]
    authority: String,
}

/// What asks.
pub(super) struct Asker<'c> {
    config: &'c Config,
    external: &'c External,
    fetcher: Fetcher,
    runtime: Runtime,
}

impl<'c> Asker<'c> {
    /// For the authoriser of a configuration.
    ///
    /// # Errors
    /// The system gives no runtime.
    pub(super) fn new(config: &'c Config, external: &'c External) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok(Self {
            config,
            external,
            fetcher: app::fetcher(config, Arc::new(app::dialer(config))),
            runtime: runtime.context("--ask")?,
        })
    }

    /// Asks before the rules: what the service gives is in the scenario then. The end of the request, if it is one.
    pub(super) fn before_rules(
        &self,
        policy: &Policy,
        scenario: &mut Scenario,
    ) -> (AskedService, Option<Conclusion>) {
        let groups = match self.external.ask {
            Ask::Always | Ask::Rule => groups(policy, scenario),
            Ask::UnknownUsers => Vec::new(),
        };
        let asked = self.ask(scenario, &groups, (None, None));
        let mut end = self.end(&asked, scenario.request().role(), None);
        if let Ok(Answer {
            verdict: Verdict::Admit(grant),
            ..
        }) = &asked.answer
            && end.is_none()
        {
            end = self.grant(grant, scenario);
        }
        (self.tell(asked, end.as_ref()), end)
    }

    /// Asks about a request that a rule with `ask` admits.
    pub(super) fn by_rule(
        &self,
        policy: &Policy,
        scenario: &Scenario,
        explanation: &mut Explanation,
    ) -> (AskedService, Option<Conclusion>) {
        let rule = explanation.rule.clone();
        let upgraded = policy.upgraded(&scenario.request());
        let groups = groups(policy, scenario);
        let asked = self.ask(scenario, &groups, (Some(&rule), upgraded));
        let end = self.end(&asked, scenario.request().role(), Some(&rule));
        if end.is_none() {
            explanation.asks = None;
            if asked.answer.is_ok() {
                explanation.rule = format!("external:{rule}");
            }
        }
        (self.tell(asked, end.as_ref()), end)
    }

    fn ask(
        &self,
        scenario: &Scenario,
        groups: &[Box<str>],
        by: (Option<&str>, Option<crate::http::target::Authority>),
    ) -> AskedOnce {
        let asked = ask_once(self.external, &self.fetcher, scenario, groups, by);
        self.runtime.block_on(asked)
    }

    /// How the request ends, if the answer does not let it go on.
    fn end(&self, asked: &AskedOnce, role: Role, rule: Option<&str>) -> Option<Conclusion> {
        let (decision, kind, status, message) = match &asked.answer {
            Ok(answer) => match &answer.verdict {
                Verdict::Admit(_) => return None,
                Verdict::Challenge { message } => {
                    let status = if role == Role::Gateway { 401 } else { 407 };
                    let message = message.as_deref().map(str::to_owned);
                    (
                        ExplainedDecision::Deny,
                        ErrorKind::CredentialsWrong,
                        status,
                        message,
                    )
                }
                Verdict::Deny { refusal, .. } => {
                    let message = refusal.message.as_deref().map(str::to_owned);
                    let status = refusal.status.as_u16();
                    (ExplainedDecision::Deny, ErrorKind::Denied, status, message)
                }
            },
            Err(_) if self.external.on_failure == OnFailure::Admit => return None,
            Err(why) => return Some(failure(rule, why)),
        };
        Some(Conclusion {
            decision,
            rule: by(rule),
            reason: Some(kind.name()),
            status: Some(status),
            message,
        })
    }

    /// Takes over what an admission before the rules gives, or says why it is a failure.
    fn grant(&self, grant: &Grant, scenario: &mut Scenario) -> Option<Conclusion> {
        let auth = &self.config.auth;
        if self.external.ask == Ask::UnknownUsers {
            let user = grant
                .user
                .as_ref()
                .map_or(&*scenario.user, |user| user.as_str());
            if auth.users.contains(user) || auth.trusted.has(user) {
                let why = "it names a user of the password file or of a trusted network";
                return Some(failure(None, why));
            }
            scenario.user = user.into();
        }
        for group in &grant.groups {
            if !scenario.groups.contains(group) {
                scenario.groups.push(group.clone());
            }
        }
        None
    }

    fn tell(&self, asked: AskedOnce, end: Option<&Conclusion>) -> AskedService {
        let meaning = match (&asked.answer, end) {
            (Ok(answer), None) => match &answer.verdict {
                Verdict::Admit(grant) => admits(grant, self.external.ask),
                Verdict::Challenge { .. } | Verdict::Deny { .. } => "denies".to_owned(),
            },
            (Ok(answer), Some(end)) => match (&answer.verdict, &end.message) {
                (Verdict::Challenge { .. }, _) => "the credentials are wrong".to_owned(),
                (Verdict::Deny { .. }, _) => "denies".to_owned(),
                (Verdict::Admit(_), Some(why)) => format!("failed: {why}"),
                (Verdict::Admit(_), None) => "failed".to_owned(),
            },
            (Err(why), Some(_)) => format!("failed: {why}"),
            (Err(why), None) => {
                format!("failed: {why}; with `on_failure: admit` the request goes on without it")
            }
        };
        AskedService {
            question: asked.question,
            answer: asked.said,
            meaning,
            authority: self.external.url.authority.to_string(),
        }
    }
}

impl fmt::Display for AskedService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "auth.external at {} is asked", self.authority)?;
        for line in self.question.lines() {
            write!(f, "\n  {line}")?;
        }
        if let Some(answer) = &self.answer {
            write!(f, "\nand answers\n  {answer}")?;
        }
        write!(f, "\n=> {}", self.meaning)
    }
}

/// The groups of a user in a question.
fn groups(policy: &Policy, scenario: &Scenario) -> Vec<Box<str>> {
    let groups = policy.groups_of(&scenario.user, &scenario.groups);
    groups.into_iter().map(Box::from).collect()
}

/// What an admission says, as far as it counts.
fn admits(grant: &Grant, ask: Ask) -> String {
    let mut text = "admits".to_owned();
    if ask == Ask::UnknownUsers
        && let Some(user) = &grant.user
    {
        text += &format!(", as the user {:?}", user.as_str());
    }
    if ask != Ask::Rule && !grant.groups.is_empty() {
        text += &format!(", with the groups {}", grant.groups.join(", "));
    }
    if let Some(pool) = &grant.pool {
        text += &format!(", at the gateway to the pool {pool:?}");
    }
    text
}

fn by(rule: Option<&str>) -> String {
    match rule {
        Some(rule) => format!("external:{rule}"),
        None => "external".to_owned(),
    }
}

fn failure(rule: Option<&str>, why: &str) -> Conclusion {
    Conclusion {
        decision: ExplainedDecision::Fail,
        rule: by(rule),
        reason: Some(ErrorKind::AuthorizerFailed.name()),
        status: Some(ErrorKind::AuthorizerFailed.status().as_u16()),
        message: Some(why.to_owned()),
    }
}
