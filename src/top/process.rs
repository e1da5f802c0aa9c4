//! The process and the classes of limits, as lines of a name and a text. Pure.

use super::facts::{Fact, Facts, human_count, human_seconds, short_bytes};
use super::notices::notices;

/// More lines than a process has.
const MAX_LINES: usize = 500;

/// What the service says of its process.
pub(super) fn lines(status: &Facts, snapshot: &Facts) -> Vec<(String, String)> {
    let mut lines = Lines(Vec::new());
    for notice in notices(status) {
        lines.add("attention", notice.text);
    }
    let text = |path: &str| status.at(path).text().unwrap_or_default().into_owned();
    lines.add("version", text("version"));
    lines.add("process", text("pid"));
    lines.add("state", text("state"));
    let uptime = status.at("uptime_seconds").count().map(human_seconds);
    lines.add(
        "started",
        format!("{}, {} ago", text("started_at"), uptime.unwrap_or_default()),
    );
    lines.add("threads", text("threads"));
    let of = |part: &str, whole: &str| match status.at(part).is_nothing() {
        true => text(whole),
        false => format!("{} of {}", text(part), text(whole)),
    };
    lines.add("descriptors", of("descriptors.open", "descriptors.limit"));
    let memory = status.at("memory_bytes").count().map(short_bytes);
    lines.add("memory", memory.unwrap_or_default());
    lines.add("processor", format!("{} s", text("cpu_seconds")));
    lines.add("log level", text("log_level"));
    lines.add("log records lost", text("log_dropped"));
    if !status.at("operator").is_nothing() {
        lines.add("you are", text("operator"));
    }
    let change = match status.at("can_change").is_true() {
        true => "yes",
        false => "no: it does not know its users (admin.users)",
    };
    lines.add("takes changes", change.to_owned());
    let reload = status.at("reload");
    if !reload.is_nothing() {
        let at = |name: &str| reload.at(name).text().unwrap_or_default();
        lines.add(
            "last reload",
            format!("{}, {}", at("last_at"), at("outcome")),
        );
        for key in reload.at("restart_needed").items() {
            lines.add(
                "needs a restart",
                key.text().unwrap_or_default().into_owned(),
            );
        }
    }
    for listener in status.at("listeners").items() {
        lines.add("listener", listener_text(listener));
    }
    for certificate in status.at("certificates").items() {
        let at = |name: &str| certificate.at(name).text().unwrap_or_default();
        let (kind, name, expires, days) = (at("kind"), at("name"), at("expires"), at("days_left"));
        lines.add(
            "certificate",
            format!(
                "{kind} {name} of {}: {expires}, {days} days",
                at("listener")
            ),
        );
    }
    let totals = status.at("totals");
    let counts = ["requests", "tunnels", "denials", "errors"].map(|name| {
        let count = totals.at(name).count().map(human_count);
        format!("{} {name}", count.unwrap_or_default())
    });
    lines.add("since the start", counts.join(", "));
    let bytes = |name: &str| totals.at(name).count().map(short_bytes).unwrap_or_default();
    let sent = (bytes("bytes_from_client"), bytes("bytes_to_client"));
    lines.add("", format!("{} from clients, {} to them", sent.0, sent.1));
    add_errors(status.at("recent_errors_by_kind"), &mut lines);
    for class in snapshot.at("classes").items() {
        add_class(class, &mut lines);
    }
    lines.0.truncate(MAX_LINES);
    lines.0
}

struct Lines(Vec<(String, String)>);

impl Lines {
    fn add(&mut self, name: &str, text: String) {
        self.0.push((name.to_owned(), text));
    }
}

fn listener_text(listener: Fact<'_>) -> String {
    let at = |name: &str| listener.at(name).text().unwrap_or_default();
    let mut text = format!("{} {}", at("address"), at("purpose"));
    for (name, shown) in [
        ("tls", ", TLS"),
        ("http2", ", HTTP/2"),
        ("proxy_protocol", ", PROXY protocol"),
    ] {
        if listener.at(name).is_true() {
            text.push_str(shown);
        }
    }
    match listener.at("socks5").raw() {
        None | Some("never") => {}
        Some(_) => text.push_str(&format!(", SOCKS5 {}", at("socks5"))),
    }
    text
}

/// The errors of the last 15 minutes, the most frequent first.
fn add_errors(kinds: Fact<'_>, lines: &mut Lines) {
    let kinds = kinds.members();
    let kinds = kinds.map(|(kind, count)| (count.count().unwrap_or_default(), kind));
    let mut kinds: Vec<_> = kinds.collect();
    kinds.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let mut name = "errors, 15 min";
    if kinds.is_empty() {
        lines.add(name, "none".to_owned());
    }
    for (count, kind) in kinds {
        lines.add(name, format!("{kind}: {}", human_count(count)));
        name = "";
    }
}

/// A class in lines that a narrow terminal has room for.
fn add_class(class: Fact<'_>, lines: &mut Lines) {
    let at = |name: &str| class.at(name).text().unwrap_or_default();
    let count = |name: &str| class.at(name).count().map(human_count).unwrap_or_default();
    let bytes = |name: &str| class.at(name).count().map(short_bytes).unwrap_or_default();
    let text = format!("{} per {}: {}", at("name"), at("per"), at("limits"));
    lines.add("class", text);
    let text = format!(
        "{} admitted, {} of them queued; {} limited; {} wait now",
        count("admitted"),
        count("queued"),
        count("limited"),
        count("waiting"),
    );
    lines.add("", text);
    let text = format!(
        "{} requests and {} tunnels now; {} members",
        count("requests"),
        count("tunnels"),
        count("members"),
    );
    lines.add("", text);
    let (from, to) = (bytes("bytes_from_client"), bytes("bytes_to_client"));
    lines.add("", format!("{from} from clients, {to} to them"));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_known_is_shown() {
        let status = Facts::new(json!({
            "version": "1.2.3", "pid": 7, "uptime_seconds": 61, "descriptors": {"open": 5, "limit": 1024},
            "reload": {"last_at": "T", "outcome": "partial", "restart_needed": ["threads"]},
            "listeners": [{"address": "127.0.0.1:1", "purpose": "proxy", "tls": true, "socks5": "also"}],
            "errors_by_kind": {"dns_error": 9, "too_late": 7}, "recent_errors_by_kind": {"a": 1, "dns_error": 3, "b": 1},
            "can_change": true,
        }));
        let snapshot = Facts::new(
            json!({"classes": [{"name": "slow", "per": "user", "limits": "5 requests", "admitted": 7, "queued": 1, "limited": 2,
                "waiting": 0, "requests": 3, "tunnels": 4, "members": 6, "bytes_from_client": 1024, "bytes_to_client": 2048}]}),
        );
        let lines = lines(&status, &snapshot);
        for (name, text) in [
            ("version", "1.2.3"),
            ("descriptors", "5 of 1024"),
            ("needs a restart", "threads"),
            ("listener", "127.0.0.1:1 proxy, TLS, SOCKS5 also"),
            ("errors, 15 min", "dns_error: 3"),
            ("", "a: 1"),
            ("", "b: 1"),
            ("takes changes", "yes"),
        ] {
            assert!(
                lines.contains(&(name.to_owned(), text.to_owned())),
                "{name}: {lines:?}"
            );
        }
        // Those since the start are not those of now.
        assert!(!lines.iter().any(|(_, text)| text.contains("too_late")));
        let class: Vec<&str> = lines.iter().rev().take(4).map(|it| &*it.1).collect();
        assert_eq!(class[3], "slow per user: 5 requests");
        assert_eq!(
            class[2],
            "7 admitted, 1 of them queued; 2 limited; 0 wait now"
        );
        assert_eq!(class[1], "3 requests and 4 tunnels now; 6 members");
        assert_eq!(class[0], "1.0K from clients, 2.0K to them");
        let nothing = super::lines(&Facts::default(), &Facts::default());
        assert!(nothing.contains(&("errors, 15 min".to_owned(), "none".to_owned())));
    }
}
