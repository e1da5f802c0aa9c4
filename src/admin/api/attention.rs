//! What an operator should know now: the page and `tollgate top` show it above all else.

use super::status::Status;
use crate::request::live::UpstreamList;
use crate::telemetry::{CertificateReport, members};

/// Names that one notice lists; more are counted.
const MAX_NAMES: usize = 20;

/// Days before its end from which a certificate, or a revocation list, is told.
const CERTIFICATE_DAYS: i64 = 21;
const LIST_DAYS: i64 = 2;
/// Days from which that is more than a warning.
const LAST_DAYS: i64 = 3;

members! {
    /// One thing that needs attention.
    pub(in crate::admin) struct Notice;
    severity: &'static str, "`bad` where clients notice it or soon will, else `warn`.";
    text: String, "What it is, as a sentence.";
}

/// All that needs attention, the bad first.
pub(super) fn notices(status: &Status, upstreams: &UpstreamList) -> Vec<Notice> {
    let mut found = Vec::new();
    let mut add = |is_bad, text| {
        let severity = if is_bad { "bad" } else { "warn" };
        found.push(Notice { severity, text });
    };
    if status.state == "draining" {
        let text = "Tollgate drains: it takes nothing new, and ends when what is open has ended.";
        add(false, text.to_owned());
    }
    if let Some(reload) = &status.reload {
        if reload.outcome == "failure" {
            let text =
                "The last reload failed, and changed nothing. The error log has the reasons.";
            add(true, text.to_owned());
        }
        if let Some(keys) = names(&reload.restart_needed) {
            add(false, format!("Changed keys wait for a restart: {keys}."));
        }
    }
    let (open, limit) = (status.descriptors.open, status.descriptors.limit);
    if let Some(open) = open.filter(|open| open.saturating_mul(5) > limit.saturating_mul(4)) {
        add(
            true,
            format!("{open} of {limit} file descriptors are open."),
        );
    }
    let pools = upstreams.pools.iter().flat_map(|pool| &pool.upstreams);
    let down = pools.filter(|upstream| upstream.state != "up");
    if let Some(addresses) = names(down.map(|upstream| &upstream.address)) {
        add(true, format!("Upstreams get no requests: {addresses}."));
    }
    let down = upstreams.parents.iter().filter(|parent| !parent.up);
    if let Some(urls) = names(down.map(|parent| &parent.url)) {
        add(true, format!("Parents get no requests: {urls}."));
    }
    if status.log_dropped > 0 {
        let lost = status.log_dropped;
        add(
            false,
            format!("Records of the access log were lost: {lost}."),
        );
    }
    for certificate in &status.certificates {
        if let Some((is_bad, text)) = end_of(certificate) {
            add(is_bad, text);
        }
    }
    // `bad` is before `warn`.
    found.sort_by_key(|notice| notice.severity);
    found
}

/// Whether the end of a certificate or a list is bad, and what is said of it; none while it is far.
fn end_of(certificate: &CertificateReport) -> Option<(bool, String)> {
    let (kind, days) = match certificate.kind {
        "crl" => ("revocation list", LIST_DAYS),
        _ => ("certificate", CERTIFICATE_DAYS),
    };
    let (name, left) = (&certificate.name, certificate.days_left);
    let end = match left {
        ..0 => "has ended".to_owned(),
        0 => "ends within a day".to_owned(),
        1 => "ends in 1 day".to_owned(),
        left if left < days => format!("ends in {left} days"),
        _ => return None,
    };
    Some((left < LAST_DAYS, format!("The {kind} {name} {end}.")))
}

/// Names in a row; none where there is none.
fn names<'a>(all: impl IntoIterator<Item = &'a String>) -> Option<String> {
    let mut all = all.into_iter();
    let first: Vec<&str> = all.by_ref().take(MAX_NAMES).map(String::as_str).collect();
    let more = all.count();
    if first.is_empty() {
        return None;
    }
    let shown = first.join(", ");
    Some(match more {
        0 => shown,
        more => format!("{shown} and {more} more"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_in_time() {
        let of = |kind, days_left| {
            let certificate = CertificateReport {
                listener: String::new(),
                kind,
                name: "a.example".to_owned(),
                expires: String::new(),
                days_left,
            };
            end_of(&certificate)
        };
        let told = |is_bad, text: &str| Some((is_bad, text.to_owned()));
        for (kind, left, expected) in [
            ("certificate", 21, None),
            (
                "certificate",
                20,
                told(false, "The certificate a.example ends in 20 days."),
            ),
            (
                "certificate",
                2,
                told(true, "The certificate a.example ends in 2 days."),
            ),
            ("crl", 2, None),
            (
                "crl",
                1,
                told(true, "The revocation list a.example ends in 1 day."),
            ),
            (
                "crl",
                0,
                told(true, "The revocation list a.example ends within a day."),
            ),
            (
                "crl",
                -1,
                told(true, "The revocation list a.example has ended."),
            ),
        ] {
            assert_eq!(of(kind, left), expected, "{kind} {left}");
        }
    }

    #[test]
    fn names_are_counted_beyond_a_bound() {
        let of = |count: usize| {
            let all: Vec<String> = (0..count).map(|number| number.to_string()).collect();
            names(&all)
        };
        assert_eq!(of(0), None);
        assert_eq!(of(2).as_deref(), Some("0, 1"));
        let many = of(22).unwrap();
        assert!(many.ends_with("18, 19 and 2 more"), "{many}");
    }
}
