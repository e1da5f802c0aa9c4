//! What an operator changes: what is asked before, and what is said after. Pure.

use crate::top::facts::{Fact, Facts, clean, human_count};
use crate::top::lists::Tab;

/// What is done after a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) enum Change {
    Close(Closing),
    /// The process reads its files again.
    Reload,
    /// The process ends, once what is open has ended.
    Drain,
}

/// What is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) enum Closing {
    /// A tunnel, by its id, and in words.
    Tunnel(String, String),
    /// All tunnels of a user.
    User(String),
}

impl Change {
    /// The question before it is done.
    pub(in crate::top) fn question(&self) -> String {
        match self {
            Self::Close(Closing::Tunnel(_, what)) => format!("close the tunnel of {what}?"),
            Self::Close(Closing::User(user)) => format!("close all tunnels of {}?", clean(user)),
            Self::Reload => "read the configuration and its files again?".to_owned(),
            Self::Drain => "drain the process: it takes nothing new, and ends?".to_owned(),
        }
    }

    /// What is said while it is done.
    pub(super) fn begun(&self) -> &'static str {
        match self {
            Self::Close(_) => "closing…",
            Self::Reload => "reloading…",
            Self::Drain => "asking to drain…",
        }
    }

    /// What is said when the answer to the question is no.
    pub(super) fn left(&self) -> &'static str {
        match self {
            Self::Close(_) => "nothing was closed",
            Self::Reload => "nothing was reloaded",
            Self::Drain => "the process goes on",
        }
    }
}

impl Closing {
    /// What is closed of a row.
    pub(super) fn of(tab: Tab, row: &Facts) -> Option<Self> {
        match tab {
            Tab::Tunnels => {
                let id = row.at("id").raw()?;
                let user = row.at("user").text().unwrap_or("(no user)".into());
                let target = row.at("target").text().unwrap_or_default();
                Some(Self::Tunnel(id.to_owned(), format!("{user} to {target}")))
            }
            Tab::Users => Some(Self::User(row.at("user").raw()?.to_owned())),
            _ => None,
        }
    }

    /// What was done: `closed` tunnels, or none of this id.
    pub(in crate::top) fn outcome(&self, closed: u64) -> String {
        match self {
            Self::Tunnel(_, what) if closed > 0 => format!("closed: the tunnel of {what}"),
            Self::Tunnel(_, what) => format!("the tunnel of {what} had ended"),
            Self::User(user) => {
                let closed = counted(closed, "tunnel");
                format!("closed: {closed} of {}", clean(user))
            }
        }
    }
}

/// What became of a reload, a line for each part; the first says whether anything was changed.
pub(in crate::top) fn reloaded(answer: &Facts) -> Vec<String> {
    /// More than a person reads, of any list in the answer.
    const MAX_LINES: usize = 200;
    let texts = |name: &str| {
        let items = answer.at(name).items().filter_map(Fact::text);
        let items = items.take(MAX_LINES).map(|item| item.into_owned());
        items.collect::<Vec<_>>()
    };
    let count = |name: &str| answer.at(name).count().unwrap_or_default();
    if answer.at("result").raw() == Some("failure") {
        let mut lines = vec!["the reload failed, and changed nothing".to_owned()];
        lines.extend(texts("problems"));
        if count("unlisted") > 0 {
            lines.push(format!("and {} more", human_count(count("unlisted"))));
        }
        return lines;
    }
    let (users, rules) = (
        counted(count("users"), "user"),
        counted(count("rules"), "rule"),
    );
    let mut lines = vec![format!("reloaded: {users}, {rules}")];
    for (name, title) in [
        ("applied", "in effect now"),
        ("restart_needed", "without effect before a restart"),
        (
            "not_compared",
            "not compared, since the process cannot read the files",
        ),
    ] {
        let keys = texts(name);
        if !keys.is_empty() {
            lines.push(format!("{title}: {}", keys.join(", ")));
        }
    }
    if count("left_out") > 0 {
        let entries = human_count(count("left_out"));
        lines.push(format!(
            "entries of lenient lists that were left out: {entries}"
        ));
    }
    if let [only] = lines.as_mut_slice() {
        only.push_str("; no key changed that a reload applies");
    }
    lines
}

fn counted(count: u64, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {what}{s}", human_count(count))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::top::facts::tests::hostile;
    use crate::top::fuzz::is_harmless;

    #[test]
    fn reloads() {
        for (answer, lines) in [
            (
                json!({"result": "success", "users": 1, "rules": 2, "applied": [], "restart_needed": [], "not_compared": []}),
                &["reloaded: 1 user, 2 rules; no key changed that a reload applies"][..],
            ),
            (
                json!({"result": "partial", "users": 0, "rules": 1, "applied": ["a", "b"], "restart_needed": ["threads"],
                       "not_compared": ["c"], "left_out": 3}),
                &[
                    "reloaded: 0 users, 1 rule",
                    "in effect now: a, b",
                    "without effect before a restart: threads",
                    "not compared, since the process cannot read the files: c",
                    "entries of lenient lists that were left out: 3",
                ],
            ),
            (
                json!({"result": "failure", "problems": ["x.yaml: one", "two"], "unlisted": 4}),
                &[
                    "the reload failed, and changed nothing",
                    "x.yaml: one",
                    "two",
                    "and 4 more",
                ],
            ),
        ] {
            assert_eq!(reloaded(&Facts::new(answer)), lines);
        }
    }

    proptest! {
        #[test]
        fn lines_are_harmless(a in hostile(), count in any::<u64>(), has_failed in any::<bool>()) {
            let answer = Facts::new(json!({
                "result": if has_failed { "failure" } else { &a }, "problems": [&a], "applied": [&a], "restart_needed": [&a, 1],
                "not_compared": [&a], "unlisted": count, "users": count, "left_out": count,
            }));
            for line in reloaded(&answer) {
                prop_assert!(is_harmless(&line), "{line:?}");
            }
            let closing = Change::Close(Closing::User(a.clone()));
            prop_assert!(is_harmless(&closing.question()));
            prop_assert!(is_harmless(&Closing::User(a).outcome(count)));
        }
    }
}
