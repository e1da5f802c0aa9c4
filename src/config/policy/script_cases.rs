//! What a test of `tollgate.policy_tests` expects of scripts: the answer of the client, and what goes upstream.

use std::fmt;

use super::super::reader::Item;
use crate::access::policy::{Decision, Denied, Policy, TestCase, TestFailure, Via};
use crate::script::{Decided, Script, Step, Trial, scenario_facts};

/// Names of fields, with the values that are expected; none for a field that is absent.
type Fields = Vec<(Box<str>, Option<Box<str>>)>;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct ScriptCase {
    /// The target as it is written.
    pub(super) target: Box<str>,
    /// The fields of the request.
    pub(super) fields: Vec<(Box<str>, Box<str>)>,
    pub(super) headers: Option<Fields>,
    pub(super) status: Option<u16>,
    pub(super) message: Option<Box<str>>,
    pub(super) pool: Option<Box<str>>,
}

/// What a test finds in place of what it expects.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The decision of the policy is another one.
    Policy(TestFailure),
    /// What becomes of the request behind the policy.
    Scripts(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Policy(failure) => write!(f, "{failure}"),
            Failure::Scripts(text) => f.write_str(text),
        }
    }
}

impl ScriptCase {
    /// Whether it expects something of scripts or of the answer.
    fn expects(&self) -> bool {
        let is_given = self.headers.is_some() || self.pool.is_some();
        is_given || self.status.is_some() || self.message.is_some()
    }

    /// Runs the test of the policy, and the scripts behind it.
    pub(super) fn run(
        &self,
        case: &TestCase,
        policy: &Policy,
        scripts: &[Script],
    ) -> Result<(), Failure> {
        if scripts.is_empty() && !self.expects() {
            return case.run(policy).map_err(Failure::Policy);
        }
        let admits = TestCase {
            expect: Decision::Admit,
            rule: None,
            via: None,
            ..case.clone()
        };
        match admits.run(policy) {
            Ok(()) => {}
            Err(TestFailure::Unexpected {
                found: Err(denied), ..
            }) => {
                case.run(policy).map_err(Failure::Policy)?;
                return self.denied(&denied);
            }
            Err(failure) => return Err(Failure::Policy(failure)),
        }
        let facts = scenario_facts(&case.scenario, &self.target, &self.fields);
        let facts = facts
            .map_err(|error| Failure::Scripts(format!("no client sends this request: {error}")))?;
        let user = &case.scenario.user;
        let groups = policy.groups_of(user, &case.scenario.groups).into_iter();
        let groups: Vec<Box<str>> = groups.map(Box::from).collect();
        let decided = Decided::admitted(policy, &case.scenario);
        let mut trial = Trial::run(scripts.iter(), facts, user, &groups, None, &decided);
        match trial.stop() {
            Some(step) => self.stopped(case, step),
            None => {
                let mut case = case.clone();
                case.scenario.via = trial.via().and_then(Via::named);
                case.run(policy).map_err(Failure::Policy)?;
                let injected = policy.injected(&case.scenario);
                self.went_on(&mut trial, &injected)
            }
        }
    }

    /// The policy denies, as is expected.
    fn denied(&self, denied: &Denied) -> Result<(), Failure> {
        self.answered(
            denied.refusal.status.as_u16(),
            denied.refusal.message.as_deref(),
        )?;
        self.nothing_sent()
    }

    /// A script ends the request.
    fn stopped(&self, case: &TestCase, step: &Step) -> Result<(), Failure> {
        let by = format!("hook:{}", step.script);
        let is_expected = case.expect == Decision::Deny
            && case
                .rule
                .as_deref()
                .is_none_or(|rule| rule == by || rule == "hook");
        if !is_expected {
            let rule = case.rule.as_deref().map(|rule| format!(" by {rule}"));
            return Err(Failure::Scripts(format!(
                "expected {}{}, found that script {} {} in {}",
                case.expect.as_str(),
                rule.unwrap_or_default(),
                step.script,
                step.verdict,
                step.phase
            )));
        }
        self.answered(
            step.verdict.status().unwrap_or_default(),
            step.verdict.message(),
        )?;
        self.nothing_sent()
    }

    fn answered(&self, status: u16, message: Option<&str>) -> Result<(), Failure> {
        if let Some(expected) = self.status
            && expected != status
        {
            let text = format!("expected the status {expected}, found {status}");
            return Err(Failure::Scripts(text));
        }
        if let Some(expected) = &self.message
            && Some(&**expected) != message
        {
            let found = message.unwrap_or("none");
            let text = format!("expected the message {expected:?}, found {found:?}");
            return Err(Failure::Scripts(text));
        }
        Ok(())
    }

    fn nothing_sent(&self) -> Result<(), Failure> {
        if self.headers.is_some() || self.pool.is_some() {
            let text = "expected a request that goes upstream, and it is denied";
            return Err(Failure::Scripts(text.to_owned()));
        }
        Ok(())
    }

    /// The request goes upstream.
    fn went_on(&self, trial: &mut Trial, injected: &[String]) -> Result<(), Failure> {
        if self.status.is_some() || self.message.is_some() {
            let text = "expected an answer, found that the request goes on";
            return Err(Failure::Scripts(text.to_owned()));
        }
        if let Some(expected) = &self.pool
            && trial.pool() != Some(&**expected)
        {
            let found = trial.pool().unwrap_or("none chosen by a script");
            let text = format!("expected the pool {expected}, found {found}");
            return Err(Failure::Scripts(text));
        }
        for (name, expected) in self.headers.iter().flatten() {
            let is_injected = injected
                .iter()
                .any(|other| other.eq_ignore_ascii_case(name));
            let found = match is_injected {
                true => Some("***".into()),
                false => trial.field(name),
            };
            if found.as_deref() != expected.as_deref() {
                let show = |value: Option<&str>| match value {
                    Some(value) => format!("{value:?}"),
                    None => "none".to_owned(),
                };
                let (expected, found) = (show(expected.as_deref()), show(found.as_deref()));
                let text = format!("expected the field {name} {expected}, found {found}");
                return Err(Failure::Scripts(text));
            }
        }
        Ok(())
    }
}

/// Reads `expect_headers`, where null says that a field is absent.
pub(super) fn expected_fields(item: &Item<'_>) -> Option<Fields> {
    let entries = item.entries()?.into_iter();
    let field = |(name, value): (&str, Item<'_>)| {
        let expected = if value.is_null() {
            None
        } else {
            Some(Box::from(value.scalar()?))
        };
        Some((name.into(), expected))
    };
    entries.map(field).collect()
}

/// Reads `expect_status`.
pub(super) fn status(item: &Item<'_>) -> Option<u16> {
    u16::try_from(item.count(200..=599)?).ok()
}
