//! A request that a script ends, whatever the policy decides about it.

use serde::Serialize;

use super::{ExplainedDecision, Explanation, text};

/// What becomes of a request, and by what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conclusion {
    /// The decision.
    pub decision: ExplainedDecision,
    /// What decides, as in the log.
    pub rule: String,
    /// For a denial or a failure, its reason as in `Proxy-Status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The status code of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The message of a denial, or why a script fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Conclusion {
    /// The decision and what made it, in one line. `asks` says whether the external authoriser is asked.
    pub(super) fn headline(&self, asks: bool) -> String {
        text::headline(
            (self.decision, asks),
            &self.rule,
            (self.status, self.reason),
            self.message.as_deref(),
        )
    }
}

impl Explanation {
    /// Makes the end by a script the decision, and keeps that of the policy beside it.
    pub fn end(&mut self, mut conclusion: Conclusion) {
        std::mem::swap(&mut self.decision, &mut conclusion.decision);
        std::mem::swap(&mut self.rule, &mut conclusion.rule);
        std::mem::swap(&mut self.reason, &mut conclusion.reason);
        std::mem::swap(&mut self.status, &mut conclusion.status);
        std::mem::swap(&mut self.message, &mut conclusion.message);
        self.policy = Some(conclusion);
    }
}
