//! The tests of a policy that its configuration carries: a request, and what has to come out.

use std::fmt;

use super::trace::Step;
use super::{DecidedBy, Denied, Matcher, Policy, Question, Rule, Verdict};

/// A request and what is expected of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestCase {
    /// The request. Its time is only a stand-in when `timed` is not set.
    pub question: Question,
    /// Whether the test says when; else it fails where the time of the day would tell.
    pub timed: bool,
    /// What has to be decided.
    pub expect: Verdict,
    /// Who has to decide, when that is to be tested too: as in the log, or without what follows the colon.
    pub rule: Option<Box<str>>,
}

/// Why a test fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TestFailure {
    /// Something else was decided, or somebody else decided.
    #[error("expected {}, found {}", Expected(.expect, .rule), Found(.found))]
    Unexpected {
        /// What was expected.
        expect: Verdict,
        /// Who was expected to decide.
        rule: Option<Box<str>>,
        /// What was decided.
        found: Result<DecidedBy, Denied>,
    },
    /// Without addresses it cannot be said who decides.
    #[error("rule {0} goes by the address of the target")]
    NeedsAddress(Box<str>),
    /// It may come out in another way at another time of the day.
    #[error("rule {0} goes by the time")]
    NeedsTime(Box<str>),
}

impl TestCase {
    /// Runs the test.
    ///
    /// # Errors
    /// [`TestFailure`]
    pub fn run(&self, policy: &Policy) -> Result<(), TestFailure> {
        let evaluated = policy.evaluate(&self.question);
        let rules = policy.rules();
        if !self.timed {
            let mut steps = evaluated.steps.iter();
            let by_time = steps.find_map(|(index, step)| {
                let rule = rules.get(*index)?;
                was_asked_the_time(rule, *step).then_some(rule)
            });
            if let Some(rule) = by_time {
                return Err(TestFailure::NeedsTime(rule.name.as_str().into()));
            }
        }
        if let Some(awaited) = evaluated.awaited {
            return Err(TestFailure::NeedsAddress(awaited.into()));
        }
        let (verdict, by) = match &evaluated.result {
            Ok(by) => (Verdict::Admit, by),
            Err(denied) => (Verdict::Deny, &denied.by),
        };
        let by_whom = self
            .rule
            .as_deref()
            .is_none_or(|rule| rule == by.label() || rule == by.to_string());
        if verdict == self.expect && by_whom {
            Ok(())
        } else {
            Err(TestFailure::Unexpected {
                expect: self.expect,
                rule: self.rule.clone(),
                found: evaluated.result,
            })
        }
    }
}

/// Whether the step was taken on what the clock said.
fn was_asked_the_time(rule: &Rule, step: Step) -> bool {
    [Matcher::Time, Matcher::When].into_iter().any(|matcher| {
        let asked = match step {
            Step::Skipped(first) => first >= matcher,
            Step::Pending | Step::Observed | Step::Decides | Step::Failed(_) => true,
        };
        asked && rule.matchers.goes_by_time(matcher)
    })
}

struct Expected<'a>(&'a Verdict, &'a Option<Box<str>>);

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
                    Some(error) => write!(f, ", whose expression has no value: {error}"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
