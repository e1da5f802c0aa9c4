//! Files beside the configuration, for tests that damage them.

use super::proxy::Setup;
use super::request::{ALICE, BOB, sha_line};

/// The exit code for an error of the configuration.
pub(crate) const EX_CONFIG: Option<i32> = Some(78);

/// The id of a user without rights.
pub(crate) const NOBODY: u32 = 65_534;

/// Groups, a list and the two of them in rules.
const POLICY: &str = "
auth: { htpasswd: users.htpasswd, groups: groups.htgroup }
policy:
  rules:
    - { name: no-contractors, action: deny, groups: [contractors] }
    - { name: listed, action: deny, domains: [\"@list.txt\"] }
";

/// A proxy with a file of groups, a list, and rules that name them.
pub(crate) fn setup() -> Setup {
    Setup::new()
        .config(POLICY)
        .file("groups.htgroup", "contractors: bob\n")
        .file("list.txt", "listed.test\n")
}

/// A password file of Alice and Bob.
pub(crate) fn users() -> String {
    [ALICE, BOB].map(sha_line).concat()
}
