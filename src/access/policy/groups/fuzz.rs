//! Invariants of group files, for the fuzz target.

use super::Groups;
use crate::text::fuzz::{decode, shape};

/// Reads `data` as a group file.
///
/// Every group and every member of an accepted file is found, and the groups written out again are read as the
/// same. Errors name lines that exist, in order.
///
/// # Panics
/// An invariant does not hold.
pub fn htgroup(data: &[u8]) -> String {
    let text = match decode(data) {
        Ok(text) => text,
        Err(error) => return error,
    };
    let groups = match Groups::parse(&text) {
        Ok(groups) => groups,
        Err(errors) => {
            let lines = text.lines().count();
            assert!(errors.is_sorted_by_key(|error| error.line), "{text:?}");
            let exists = |line: usize| (1..=lines).contains(&line);
            assert!(errors.iter().all(|error| exists(error.line)), "{text:?}");
            let first = errors.first();
            return first.map(|error| shape(&error.problem)).unwrap_or_default();
        }
    };
    let mut written = String::new();
    for group in groups.names() {
        assert!(groups.contains(group), "{group:?}: {text:?}");
        written.push_str(group);
        written.push(':');
        for member in groups.members() {
            if groups.of_user(member).any(|of_user| of_user == group) {
                let escaped = member.replace('\\', "\\\\").replace('"', "\\\"");
                written.push_str(&format!(" \"{escaped}\""));
            }
        }
        written.push('\n');
    }
    for line in text.lines().map(str::trim_ascii) {
        if let Some((group, _)) = line.split_once(':')
            && !line.starts_with('#')
        {
            assert!(groups.contains(group.trim_ascii()), "{group:?}: {text:?}");
        }
    }
    assert_eq!(Groups::parse(&written), Ok(groups.clone()), "{text:?}");
    let (names, members) = (groups.names().count(), groups.members().count());
    format!("{} groups, {} members", names.min(3), members.min(3))
}
