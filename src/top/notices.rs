//! What an operator should know now, as the service says it. Pure.

use super::facts::{Fact, Facts};

/// More than a person reads.
const MAX_NOTICES: usize = 100;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// Whether clients notice it, or soon will.
    pub(super) is_bad: bool,
    pub(super) text: String,
}

/// All of them, the bad ones first.
pub(super) fn notices(status: &Facts) -> Vec<Notice> {
    let notice = |it: Fact<'_>| {
        Some(Notice {
            is_bad: it.at("severity").raw() == Some("bad"),
            text: it.at("text").text()?.into_owned(),
        })
    };
    let all = status.at("attention").items().filter_map(notice);
    all.take(MAX_NOTICES).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::facts::tests::hostile;
    use super::super::fuzz::is_harmless;
    use super::*;

    #[test]
    fn as_the_service_says_it() {
        let status = json!({"attention": [
            {"severity": "bad", "text": "a"}, {"severity": "warn", "text": "b"}, {"severity": "bad"}, 7,
        ]});
        let all = notices(&Facts::new(status)).into_iter();
        let all: Vec<_> = all.map(|it| (it.is_bad, it.text)).collect();
        assert_eq!(all, [(true, "a".to_owned()), (false, "b".to_owned())]);
        assert_eq!(notices(&Facts::default()), []);
        let many = json!({"attention": vec![json!({"text": "c"}); 200]});
        assert_eq!(notices(&Facts::new(many)).len(), MAX_NOTICES);
    }

    proptest! {
        #[test]
        fn notices_are_harmless(a in hostile()) {
            let status = json!({"attention": [{"severity": &a, "text": &a}]});
            for notice in notices(&Facts::new(status)) {
                prop_assert!(is_harmless(&notice.text), "{:?}", notice.text);
            }
        }
    }
}
