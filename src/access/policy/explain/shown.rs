//! An explanation for readers who see another name in the place of the user's.

use super::Explanation;

impl Explanation {
    /// Puts `shown` in the place of the user's name: as the user, and where a rule compared it.
    pub fn show_user(&mut self, shown: &str) {
        let of_addresses = self.addresses.iter_mut().flat_map(|it| &mut it.rules);
        let rules = self.rules.iter_mut().chain(of_addresses);
        for rule in rules.filter(|rule| rule.names_user) {
            let value = rule.value.as_deref();
            let rest = value.and_then(|value| value.strip_prefix(&self.user));
            rule.value = rest.map(|rest| format!("{shown}{rest}"));
        }
        shown.clone_into(&mut self.user);
    }
}
