//! An explanation for readers who do not see names of users.

use super::Explanation;

impl Explanation {
    /// What stands for an expression and for a text that a script makes: they may have names in them.
    pub const MASK: &str = "***";

    /// Puts `shown` in the place of the user's name: as the user, and where a rule compared it. Masks what may have names.
    pub fn hide_names(&mut self, shown: &str) {
        let of_addresses = self.addresses.iter_mut().flat_map(|it| &mut it.rules);
        let rules = self.rules.iter_mut().chain(of_addresses);
        for rule in rules.filter(|rule| rule.names_user) {
            let value = rule.value.as_deref();
            let rest = value.and_then(|value| value.strip_prefix(&self.user));
            rule.value = rest.map(|rest| format!("{shown}{rest}"));
        }
        shown.clone_into(&mut self.user);
        if let Some(when) = self.tunnel.as_mut().and_then(|terms| terms.when.as_mut()) {
            Self::MASK.clone_into(when);
        }
        // A script ended the request, and may have named the user.
        if let Some(message) = self.message.as_mut().filter(|_| self.policy.is_some()) {
            Self::MASK.clone_into(message);
        }
    }
}
