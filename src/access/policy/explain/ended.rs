//! A request that a script ends, whatever the policy decides about it.

use serde::Serialize;

use super::{ExplainedDecision, Explanation, text};

/// How a script ends a request.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What becomes of the request.
    pub decision: ExplainedDecision,
    /// The script, as in the log.
    pub rule: String,
    /// For a denial or a failure, its reason as in `Proxy-Status`.
    pub reason: Option<&'static str>,
    /// The status code of the answer.
    pub status: Option<u16>,
    /// The message of a denial, or why the script fails.
    pub message: Option<String>,
}

/// What the policy alone decides about a request that a script ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyAlone {
    /// The decision.
    pub decision: ExplainedDecision,
    /// What decides, as in the log.
    pub rule: String,
    /// For a denial, its reason as in `Proxy-Status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// For a denial, the status code of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// For a denial, the message of the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl PolicyAlone {
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
    pub fn end(&mut self, ended: Ended) {
        let Ended {
            decision,
            rule,
            reason,
            status,
            message,
        } = ended;
        self.policy = Some(PolicyAlone {
            decision: std::mem::replace(&mut self.decision, decision),
            rule: std::mem::replace(&mut self.rule, rule),
            reason: std::mem::replace(&mut self.reason, reason),
            status: std::mem::replace(&mut self.status, status),
            message: std::mem::replace(&mut self.message, message),
        });
    }
}
