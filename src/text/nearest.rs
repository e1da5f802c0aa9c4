//! "Did you mean": the name that another one is most likely a misspelling of. Pure.

/// Longer texts are not misspelt names, and the distance costs the product of the lengths.
const MAX: usize = 64;

/// The candidate that `name` is most likely a misspelling of. Case, and `-` for `_`, are no difference.
pub fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if name.len() > MAX {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_few_differences() {
        let known = ["allow", "user", "groups", "ttl"];
        for (name, expected) in [
            ("allowed", Some("allow")),
            ("Allow", Some("allow")),
            ("group", Some("groups")),
            ("usr", Some("user")),
            ("tll", Some("ttl")),
            ("ttls", Some("ttl")),
            ("time", None),
            ("email", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
        assert_eq!(
            nearest("send-pasword", ["send_password"]),
            Some("send_password")
        );
        assert_eq!(nearest(&"a".repeat(65), ["a"]), None);
    }
}
