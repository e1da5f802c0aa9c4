//! The tests of a policy in its configuration: requests with the expected decisions.

use std::fmt;

use super::trace::Step;
use super::{DecidedBy, Decision, Denied, Matcher, Policy, Rule, Scenario, Via};

/// A request with the expected decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestCase {
    /// The request. Its time is a placeholder when `timed` is not set.
    pub scenario: Scenario,
    /// Whether the test has a time; else it fails when the decision depends on the time.
    pub timed: bool,
    /// The expected decision.
    pub expect: Decision,
    /// What is expected to decide, if the test has it: as in the log, or without what follows the colon.
    pub rule: Option<Box<str>>,
    /// Whether the request is expected to be put to the external authoriser, if the test has it.
    pub ask: Option<bool>,
    /// The way out that is expected, if the test has it.
    pub via: Option<Via>,
}

/// Why a test fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TestFailure {
    /// The decision, or what made it, is not the expected one.
    #[error("expected {}, found {}", Expected(.expect, .rule), Found(.found))]
    Unexpected {
        /// The expected decision.
        expect: Decision,
        /// What was expected to decide.
        rule: Option<Box<str>>,
        /// The decision.
        found: Result<DecidedBy, Denied>,
    },
    /// A rule puts the request to the authoriser, and is not expected to, or the other way round.
    #[error(
        "expected that the request is {}put to auth.external, found that it is{}",
        if *.expected { "" } else { "not " },
        if *.expected { " not" } else { "" }
    )]
    Asks {
        /// Whether it is expected.
        expected: bool,
    },
    /// The request takes another way out.
    #[error("expected that the request goes via {expected}, found that it goes via {found}")]
    Via {
        /// The expected way.
        expected: Via,
        /// The way that it takes.
        found: Via,
    },
    /// The decision depends on addresses, and the test has none.
    #[error("rule {0} depends on the address of the target")]
    NeedsAddress(Box<str>),
    /// The decision depends on the time, and the test has none.
    #[error("rule {0} depends on the time")]
    NeedsTime(Box<str>),
}

impl TestCase {
    /// Runs the test.
    ///
    /// # Errors
    /// [`TestFailure`]
    pub fn run(&self, policy: &Policy) -> Result<(), TestFailure> {
        let evaluated = policy.evaluate_scenario(&self.scenario);
        let rules = policy.rules();
        if !self.timed {
            let mut steps = evaluated.steps.iter();
            let by_time = steps.find_map(|(index, step)| {
                let rule = rules.get(*index)?;
                depends_on_time(rule, *step).then_some(rule)
            });
            if let Some(rule) = by_time {
                return Err(TestFailure::NeedsTime(rule.name.as_str().into()));
            }
        }
        let terms = evaluated
            .terms
            .as_ref()
            .filter(|_| self.scenario.hello.is_some());
        if !self.timed && terms.is_some_and(|terms| terms.go_by_time()) {
            let name = terms.and_then(|terms| terms.rule.as_ref());
            return Err(TestFailure::NeedsTime(
                name.map_or("", |name| name.as_str()).into(),
            ));
        }
        if let Some(awaited) = evaluated.awaited {
            return Err(TestFailure::NeedsAddress(awaited.into()));
        }
        let (verdict, by) = match &evaluated.result {
            Ok(by) => (Decision::Admit, by),
            Err(denied) => (Decision::Deny, &denied.by),
        };
        let by_whom = self
            .rule
            .as_deref()
            .is_none_or(|rule| rule == by.label() || rule == by.to_string());
        if verdict != self.expect || !by_whom {
            return Err(TestFailure::Unexpected {
                expect: self.expect,
                rule: self.rule.clone(),
                found: evaluated.result,
            });
        }
        match self.ask {
            Some(expected) if expected != evaluated.asks => Err(TestFailure::Asks { expected }),
            _ => Ok(()),
        }?;
        let found = evaluated.via.unwrap_or_default();
        match &self.via {
            Some(expected) if *expected != found => Err(TestFailure::Via {
                expected: expected.clone(),
                found,
            }),
            _ => Ok(()),
        }
    }
}

/// Whether the outcome of the step depends on the time.
fn depends_on_time(rule: &Rule, step: Step) -> bool {
    [Matcher::Time, Matcher::When].into_iter().any(|matcher| {
        let asked = match step {
            Step::Skipped(first) => first >= matcher,
            Step::Pending | Step::Observed | Step::Decides | Step::Failed(_) => true,
        };
        asked && rule.matchers.goes_by_time(matcher)
    })
}

struct Expected<'a>(&'a Decision, &'a Option<Box<str>>);

impl fmt::Display for Expected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())?;
        match self.1 {
            Some(rule) => write!(f, " by {rule}"),
            None => Ok(()),
        }
    }
}

struct Found<'a>(&'a Result<DecidedBy, Denied>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(by) => write!(f, "admit by {by}"),
            Err(denied) => {
                write!(f, "deny by {}", denied.by)?;
                match denied.failure {
                    Some(error) => write!(f, ", because its expression failed: {error}"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
