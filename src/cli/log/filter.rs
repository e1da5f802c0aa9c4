//! Which records are shown.

use std::time::Duration;

use chrono::{DateTime, Utc};
use memchr::memmem::Finder;

use super::entry::{Entry, Text};
use crate::telemetry::UserKey;
use crate::text::units::parse_duration;

/// The filters of the command line, each of which a record has to pass.
#[derive(Debug, Default)]
pub(super) struct Filter {
    user: Option<Sought>,
    site: Option<Site>,
    rule: Option<String>,
    statuses: Vec<Statuses>,
    since: Option<DateTime<Utc>>,
    errors: bool,
}

/// A user, by its name and where names are hashed by its hash.
#[derive(Debug)]
struct Sought {
    labels: Vec<String>,
    /// Finds the labels as they are written in a line; none where one is written with escapes.
    written: Option<Vec<Finder<'static>>>,
}

#[derive(Debug)]
struct Site {
    host: String,
    with_subdomains: bool,
    port: Option<String>,
}

/// One status, or a class of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Statuses {
    first: u16,
    last: u16,
}

/// What the command line has.
pub(in crate::cli) struct FilterTexts<'a> {
    pub(in crate::cli) user: Option<&'a str>,
    pub(in crate::cli) site: Option<&'a str>,
    pub(in crate::cli) rule: Option<&'a str>,
    pub(in crate::cli) statuses: &'a [String],
    pub(in crate::cli) since: Option<&'a str>,
    pub(in crate::cli) errors: bool,
}

impl Filter {
    /// Reads the filters. `key` is the key of hashed names, `now` the time that `since` counts back from.
    pub(super) fn parse(
        texts: &FilterTexts<'_>,
        key: Option<&UserKey>,
        now: DateTime<Utc>,
    ) -> Result<Filter, String> {
        let statuses: Option<Vec<Statuses>> = texts
            .statuses
            .iter()
            .map(|text| Statuses::parse(text))
            .collect();
        let statuses = statuses.ok_or(
            "tollgate: --status is not a status; write one such as 403, or a class such as 4xx",
        )?;
        let since = texts.since.map(|text| moment(text, now));
        let since = match since {
            Some(None) => {
                return Err("tollgate: --since is not a time; write one such as 10m, or 2026-11-30T17:00:00Z".to_owned());
            }
            other => other.flatten(),
        };
        Ok(Filter {
            user: texts.user.map(|user| Sought::new(user, key)),
            site: texts.site.map(Site::parse),
            rule: texts.rule.map(str::to_owned),
            statuses,
            since,
            errors: texts.errors,
        })
    }

    /// The time before which nothing is shown.
    pub(super) fn since(&self) -> Option<DateTime<Utc>> {
        self.since
    }

    /// Whether the record in this part of a line may pass: quick, and sometimes wrong where it says yes.
    pub(super) fn may_pass(&self, part: &[u8]) -> bool {
        let Some(written) = self.user.as_ref().and_then(|user| user.written.as_ref()) else {
            return true;
        };
        written.iter().any(|finder| finder.find(part).is_some())
    }

    pub(super) fn passes(&self, entry: &Entry<'_>) -> bool {
        let has = |wanted: &Sought| {
            let user = entry.user.as_ref().map(Text::as_str);
            user.is_some_and(|user| wanted.labels.iter().any(|label| label == user))
        };
        (!self.errors || entry.is_error())
            && self.passes_status(entry.status)
            && self.user.as_ref().is_none_or(has)
            && self.rule.as_ref().is_none_or(|rule| names(entry, rule))
            && self.site.as_ref().is_none_or(|site| site.is_of(entry))
            && self
                .since
                .is_none_or(|since| ended(entry).is_none_or(|end| end >= since))
    }

    fn passes_status(&self, status: Option<u16>) -> bool {
        let is_in = |status: u16| {
            let mut all = self.statuses.iter();
            all.any(|of| (of.first..=of.last).contains(&status))
        };
        self.statuses.is_empty() || status.is_some_and(is_in)
    }
}

impl Sought {
    fn new(user: &str, key: Option<&UserKey>) -> Sought {
        let mut labels = vec![user.to_owned()];
        // Lines from before names were hashed have the name.
        labels.extend(key.map(|key| key.show(user)));
        let is_plain = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
        let written = labels.iter().map(|label| {
            let is_plain = label.bytes().all(is_plain);
            is_plain.then(|| Finder::new(&format!("\"{label}\"")).into_owned())
        });
        let written = written.collect();
        Sought { labels, written }
    }
}

impl Site {
    /// `example.org`, `.example.org` with its subdomains, either with a port, or `gateway`.
    fn parse(text: &str) -> Site {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') && !host.is_empty() => {
                // An IPv6 address without brackets has no port.
                match host.contains(':') && !host.starts_with('[') {
                    true => (format!("[{text}]"), None),
                    false => (host.to_owned(), Some(port.to_owned())),
                }
            }
            _ => (text.to_owned(), None),
        };
        let with_subdomains = host.starts_with('.');
        Site {
            host: host.trim_start_matches('.').to_ascii_lowercase(),
            with_subdomains,
            port,
        }
    }

    fn is_of(&self, entry: &Entry<'_>) -> bool {
        let (host, port) = entry.site();
        let is_host = host.eq_ignore_ascii_case(&self.host);
        let is_below = || {
            let end = host.len().checked_sub(self.host.len());
            let split = end.and_then(|end| host.split_at_checked(end));
            split.is_some_and(|(above, below)| {
                above.ends_with('.') && below.eq_ignore_ascii_case(&self.host)
            })
        };
        (is_host || (self.with_subdomains && is_below()))
            && self
                .port
                .as_deref()
                .is_none_or(|wanted| port == Some(wanted))
    }
}

impl Statuses {
    fn parse(text: &str) -> Option<Statuses> {
        let (class, rest) = text.split_at_checked(1)?;
        if rest.eq_ignore_ascii_case("xx") {
            let class: u16 = class.parse().ok()?;
            let first = (1..=5).contains(&class).then_some(class * 100)?;
            return Some(Statuses {
                first,
                last: first + 99,
            });
        }
        let status = text.parse().ok()?;
        (100..=999).contains(&status).then_some(Statuses {
            first: status,
            last: status,
        })
    }
}

/// Whether the rule decided about the request, or observed it. Of a part of the guard the name before its colon is enough.
fn names(entry: &Entry<'_>, rule: &str) -> bool {
    let is_it = |name: &Text<'_>| {
        let rest = name.as_str().strip_prefix(rule);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    };
    entry.rule.as_ref().is_some_and(is_it) || entry.observed.iter().any(is_it)
}

/// When the line was written, about: the end of the request. None where it has no such time.
pub(super) fn ended(entry: &Entry<'_>) -> Option<DateTime<Utc>> {
    let began = DateTime::parse_from_rfc3339(entry.time.as_str()).ok()?;
    let duration = Duration::try_from_secs_f64(entry.duration_seconds).ok()?;
    began
        .to_utc()
        .checked_add_signed(chrono::Duration::from_std(duration).ok()?)
}

/// A duration back from now, or a moment.
fn moment(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Some(moment.to_utc());
    }
    let duration = parse_duration(text).ok()?;
    now.checked_sub_signed(chrono::Duration::from_std(duration).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: FilterTexts<'static> = FilterTexts {
        user: None,
        site: None,
        rule: None,
        statuses: &[],
        since: None,
        errors: false,
    };

    fn now() -> DateTime<Utc> {
        DateTime::parse_from_rfc3339("2026-11-30T12:00:00Z")
            .unwrap()
            .to_utc()
    }

    fn filter(texts: &FilterTexts<'_>) -> Filter {
        Filter::parse(texts, None, now()).unwrap()
    }

    fn passes(filter: &Filter, members: serde_json::Value) -> bool {
        let mut line = serde_json::json!({"time": "2026-11-30T11:00:00.000Z", "event": "request"});
        line.as_object_mut()
            .unwrap()
            .extend(members.as_object().unwrap().clone());
        let line = line.to_string();
        let passed = filter.passes(&Entry::read(line.as_bytes()).unwrap());
        assert!(!passed || filter.may_pass(line.as_bytes()), "{line}");
        passed
    }

    #[test]
    fn statuses() {
        for (text, status, expected) in [
            ("4xx", Some(404), true),
            ("4XX", Some(500), false),
            ("403", Some(403), true),
            ("403", Some(404), false),
            ("2xx", None, false),
        ] {
            let statuses = [text.to_owned()];
            let filter = filter(&FilterTexts {
                statuses: &statuses,
                ..NONE
            });
            let members = serde_json::json!({"status": status});
            assert_eq!(passes(&filter, members), expected, "{text} {status:?}");
        }
        for wrong in ["", "x", "6xx", "0xx", "99", "1000", "4x", "é"] {
            assert_eq!(Statuses::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sites() {
        for (site, target, expected) in [
            ("example.org", "example.org:443", true),
            ("Example.org", "http://example.org/", true),
            ("example.org", "www.example.org:443", false),
            (".example.org", "www.example.org:443", true),
            (".example.org", "example.org:443", true),
            (".example.org", "badexample.org:443", false),
            ("example.org:443", "example.org:443", true),
            ("example.org:443", "http://example.org/", false),
            ("2001:db8::1", "[2001:db8::1]:443", true),
            ("[2001:db8::1]:443", "[2001:db8::1]:443", true),
            ("gateway", "/path", true),
            ("gateway", "example.org:443", false),
        ] {
            let filter = filter(&FilterTexts {
                site: Some(site),
                ..NONE
            });
            let members = serde_json::json!({"target": target});
            assert_eq!(passes(&filter, members), expected, "{site} {target}");
        }
    }

    #[test]
    fn rules_and_errors() {
        let rule = filter(&FilterTexts {
            rule: Some("deny_domains"),
            ..NONE
        });
        for (members, expected) in [
            (
                serde_json::json!({"rule": "deny_domains:.example.org"}),
                true,
            ),
            (serde_json::json!({"rule": "deny_domains"}), true),
            (serde_json::json!({"rule": "deny_domains_too"}), false),
            (serde_json::json!({"observed": ["a", "deny_domains"]}), true),
            (serde_json::json!({}), false),
        ] {
            assert_eq!(passes(&rule, members.clone()), expected, "{members}");
        }
        let errors = filter(&FilterTexts {
            errors: true,
            ..NONE
        });
        assert!(passes(&errors, serde_json::json!({"status": 404})));
        assert!(passes(
            &errors,
            serde_json::json!({"status": 200, "error": "x"})
        ));
        assert!(!passes(&errors, serde_json::json!({"status": 302})));
    }

    #[test]
    fn users_by_name_and_by_hash() {
        let key = UserKey::of("a secret of the operator");
        for name in ["alice", "a\"b", "jos\u{e9}", "a\\"] {
            let texts = FilterTexts {
                user: Some(name),
                ..NONE
            };
            let filter = Filter::parse(&texts, Some(&key), now()).unwrap();
            assert!(passes(&filter, serde_json::json!({"user": name})));
            assert!(passes(&filter, serde_json::json!({"user": key.show(name)})));
            assert!(!passes(&filter, serde_json::json!({"user": "bob"})));
            // Found in the line, but not as the user.
            assert!(!passes(
                &filter,
                serde_json::json!({"user": "bob", "x": name})
            ));
            assert!(!passes(&filter, serde_json::json!({})));
        }
    }

    #[test]
    fn times_count_from_the_end_of_a_request() {
        for (since, duration, expected) in [
            ("2h", 0.0, true),
            ("30m", 0.0, false),
            ("30m", 3000.0, true),
            ("2026-11-30T11:00:00Z", 0.0, true),
            ("2026-11-30T13:00:00+02:00", 0.0, true),
            ("2026-11-30T11:00:01Z", 0.0, false),
        ] {
            let filter = filter(&FilterTexts {
                since: Some(since),
                ..NONE
            });
            let members = serde_json::json!({"duration_seconds": duration});
            assert_eq!(passes(&filter, members), expected, "{since} {duration}");
        }
        for wrong in ["", "10", "yesterday", "2026-11-30", "-5m"] {
            assert_eq!(moment(wrong, now()), None, "{wrong}");
        }
        // A line without a time that can be read is not hidden.
        let filter = filter(&FilterTexts {
            since: Some("1m"),
            ..NONE
        });
        let entry = Entry::read(br#"{"time":"t","event":"request"}"#).unwrap();
        assert!(filter.passes(&entry));
    }
}
