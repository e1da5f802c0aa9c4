//! What an operator should know now: the same as the page has above all else. Pure.

use super::facts::{Fact, Facts, human_count};

/// Names that one notice lists; more are counted.
const MAX_NAMES: usize = 20;

/// Days before its end from which a certificate, or a revocation list, is told.
const CERTIFICATE_DAYS: f64 = 21.0;
const LIST_DAYS: f64 = 2.0;
/// Days from which that is more than a warning.
const LAST_DAYS: f64 = 3.0;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// Whether clients notice it, or soon will.
    pub(super) is_bad: bool,
    pub(super) text: String,
}

/// All of them, the bad ones first.
pub(super) fn notices(status: &Facts, snapshot: &Facts) -> Vec<Notice> {
    let mut found = Vec::new();
    let mut add = |is_bad, text| found.push(Notice { is_bad, text });
    if status.at("state").raw() == Some("draining") {
        let text = "Tollgate drains: it takes nothing new, and ends";
        add(false, text.to_owned());
    }
    if status.at("reload.outcome").raw() == Some("failure") {
        let text = "the last reload failed, and changed nothing; the error log has the reasons";
        add(true, text.to_owned());
    }
    if let Some(keys) = names(status.at("reload.restart_needed").items()) {
        add(false, format!("changed keys wait for a restart: {keys}"));
    }
    let descriptors = |name: &str| status.at("descriptors").at(name).count();
    if let (Some(open), Some(limit)) = (descriptors("open"), descriptors("limit"))
        && open as f64 > limit as f64 * 0.8
    {
        let (open, limit) = (human_count(open), human_count(limit));
        add(true, format!("{open} of {limit} file descriptors are open"));
    }
    let pools = snapshot.at("upstreams.pools").items();
    let upstreams = pools.flat_map(|pool| pool.at("upstreams").items());
    let down = upstreams.filter(|upstream| upstream.at("state").raw() != Some("up"));
    if let Some(addresses) = names(down.map(|upstream| upstream.at("address"))) {
        add(true, format!("upstreams get no requests: {addresses}"));
    }
    let parents = snapshot.at("upstreams.parents").items();
    let down = parents.filter(|parent| parent.at("up").is_false());
    if let Some(urls) = names(down.map(|parent| parent.at("url"))) {
        add(true, format!("parents get no requests: {urls}"));
    }
    if let Some(lost @ 1..) = status.at("log_dropped").count() {
        let lost = human_count(lost);
        add(
            false,
            format!("records of the access log were lost: {lost}"),
        );
    }
    for certificate in status.at("certificates").items() {
        let is_list = certificate.at("kind").raw() == Some("crl");
        let (kind, days) = match is_list {
            true => ("revocation list", LIST_DAYS),
            false => ("certificate", CERTIFICATE_DAYS),
        };
        let text = |name: &str| certificate.at(name).text().unwrap_or_default();
        if let Some(left) = certificate
            .at("days_left")
            .number()
            .filter(|left| *left < days)
        {
            let (name, shown) = (text("name"), text("days_left"));
            let text = match left < 0.0 {
                true => format!("the {kind} {name} has ended"),
                false => format!("the {kind} {name} ends in {shown} days"),
            };
            add(left < LAST_DAYS, text);
        }
    }
    found.sort_by_key(|notice| !notice.is_bad);
    found
}

/// Names in a row; none where there is none.
fn names<'a>(all: impl Iterator<Item = Fact<'a>>) -> Option<String> {
    let all: Vec<_> = all.filter_map(Fact::text).collect();
    let (first, more) = all.split_at(all.len().min(MAX_NAMES));
    if first.is_empty() {
        return None;
    }
    let shown = first.join(", ");
    Some(match more.len() {
        0 => shown,
        more => format!("{shown} and {more} more"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::facts::tests::{hostile, is_harmless};
    use super::*;

    #[test]
    fn what_is_well_is_no_notice() {
        let status = json!({
            "state": "running", "descriptors": {"open": 80, "limit": 100}, "log_dropped": 0,
            "reload": {"outcome": "success", "restart_needed": []},
            "certificates": [{"kind": "certificate", "days_left": 21}, {"kind": "crl", "days_left": 2}],
        });
        let snapshot = json!({"upstreams": {
            "pools": [{"upstreams": [{"address": "a", "state": "up"}]}], "parents": [{"url": "b", "up": true}],
        }});
        assert_eq!(notices(&Facts::new(status), &Facts::new(snapshot)), []);
        assert_eq!(notices(&Facts::default(), &Facts::default()), []);
    }

    #[test]
    fn what_needs_attention() {
        let status = json!({
            "state": "draining", "descriptors": {"open": 81, "limit": 100}, "log_dropped": 5,
            "reload": {"outcome": "failure", "restart_needed": ["threads", "grace"]},
            "certificates": [{"kind": "certificate", "name": "a.example", "days_left": 20}, {"kind": "crl", "name": "x.crl", "days_left": -1}],
        });
        let many: Vec<_> = (0..22)
            .map(|n| json!({"url": n.to_string(), "up": false}))
            .collect();
        let snapshot = json!({"upstreams": {
            "pools": [{"upstreams": [{"address": "1.1.1.1:1", "state": "down"}, {"address": "2.2.2.2:2", "state": "ejected"}]}],
            "parents": many,
        }});
        let found = notices(&Facts::new(status), &Facts::new(snapshot));
        let of = |is_bad: bool| {
            let found = found.iter().filter(move |notice| notice.is_bad == is_bad);
            found.map(|notice| &*notice.text).collect::<Vec<_>>()
        };
        assert_eq!(
            of(true),
            [
                "the last reload failed, and changed nothing; the error log has the reasons",
                "81 of 100 file descriptors are open",
                "upstreams get no requests: 1.1.1.1:1, 2.2.2.2:2",
                "parents get no requests: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19 and 2 more",
                "the revocation list x.crl has ended",
            ]
        );
        assert_eq!(
            of(false),
            [
                "Tollgate drains: it takes nothing new, and ends",
                "changed keys wait for a restart: threads, grace",
                "records of the access log were lost: 5",
                "the certificate a.example ends in 20 days",
            ]
        );
        assert!(found.first().is_some_and(|notice| notice.is_bad));
    }

    proptest! {
        #[test]
        fn notices_are_harmless(a in hostile(), number in any::<u64>()) {
            let status = json!({
                "reload": {"restart_needed": [&a]}, "descriptors": {"open": number, "limit": 1}, "log_dropped": number,
                "certificates": [{"kind": &a, "name": &a, "days_left": 1}, {"kind": "crl", "name": &a, "days_left": 1}],
            });
            let snapshot = json!({"upstreams": {
                "pools": [{"upstreams": [{"address": &a, "state": &a}]}], "parents": [{"url": &a, "up": false}],
            }});
            for notice in notices(&Facts::new(status), &Facts::new(snapshot)) {
                prop_assert!(is_harmless(&notice.text), "{:?}", notice.text);
            }
        }
    }
}
