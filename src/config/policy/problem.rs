//! Reports of rules that contradict each other, or name what is not there.

use super::super::egress::report_with;
use super::super::reader::{Item, nearest};
use crate::access::policy::{Groups, RuleError, RuleProblem};

/// What problems with groups are explained with.
pub(in super::super) struct GroupContext<'c> {
    /// `None` when the file cannot be used, so that nothing is said of what it would have.
    pub(in super::super) groups: Option<&'c Groups>,
    /// Whether a group file is named at all.
    pub(in super::super) has_groups: bool,
}

impl GroupContext<'_> {
    /// Reports a group that is not in the group file.
    pub(in super::super) fn report_unknown(&self, item: &Item<'_>) {
        let Some(known) = self.groups else {
            return;
        };
        let near = item.text().and_then(|group| nearest(group, known.names()));
        let remedy = match near {
            Some(near) => format!("did you mean {near:?}?"),
            None if self.has_groups => "add the group to the file of auth.groups".to_owned(),
            None => "name a group file in auth.groups".to_owned(),
        };
        item.report("no such group", remedy);
    }

    pub(super) fn report(&self, rule: &Item<'_>, error: &RuleError, places: &[Item<'_>]) {
        let mut section = rule.section();
        match &error.problem {
            RuleProblem::UnknownGroup { at } => {
                if let Some(item) = section.list("groups").get(*at) {
                    self.report_unknown(item);
                }
            }
            RuleProblem::DuplicateName { first } => {
                if let (Some(name), Some(first)) = (section.item("name"), places.get(*first)) {
                    let message = format!("{} has the same name", first.path);
                    name.report(message, "give each rule a name of its own");
                }
            }
            problem => {
                let key = match problem {
                    RuleProblem::NoAuthority { key } => key.key(),
                    RuleProblem::MethodOfOtherRole => "methods",
                    _ => return report_with(rule, &problem.to_string(), "correct the rule"),
                };
                if let Some(item) = section.item(key) {
                    report_with(
                        &item,
                        &problem.to_string(),
                        "correct the matcher or the roles",
                    );
                }
            }
        }
    }
}
