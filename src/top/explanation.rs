//! What is asked about a row, and the answer as lines for people. Pure.

use serde_json::{Value, json};

use super::facts::{Fact, Facts, clean};
use super::lists::Tab;

/// More lines than anyone reads.
const MAX_LINES: usize = 500;

/// The question about the request of a row; none where the row is of no request.
pub(super) fn question(tab: Tab, row: &Facts) -> Option<Value> {
    if !matches!(tab, Tab::Denials | Tab::Requests | Tab::Tunnels) {
        return None;
    }
    let member = |name: &str| row.at(name).raw();
    let target = member("target")?;
    let mut question = json!({"target": target});
    let mut add = |name: &str, value: Option<&str>| {
        if let (Some(value), Some(members)) = (value, question.as_object_mut()) {
            members.insert(name.to_owned(), value.into());
        }
    };
    add("user", member("user"));
    let client = member("client").and_then(|client| client.parse::<std::net::SocketAddr>().ok());
    add(
        "client",
        client.map(|client| client.ip().to_string()).as_deref(),
    );
    let method = match member("kind") {
        Some("connect" | "socks5") => Some("CONNECT"),
        Some(_) => Some("GET"),
        None => member("method"),
    };
    add("method", method);
    Some(question)
}

/// The answer in words: the decision first, then why.
pub(super) fn lines(answer: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    let text = |path: &str| answer.at(path).text().unwrap_or_default().into_owned();
    let decision = text("decision").replace('_', " ");
    let status = answer.at("status").count();
    let status = status.map_or_else(String::new, |status| format!(" (status {status})"));
    lines.push(format!("{decision} by {}{status}", text("rule")));
    if !answer.at("message").is_nothing() {
        lines.push(text("message"));
    }
    for note in answer.at("notes").items() {
        lines.push(format!("note: {}", note.text().unwrap_or_default()));
    }
    lines.push(String::new());
    for name in [
        "user", "groups", "client", "role", "method", "target", "path", "time", "via",
    ] {
        let value = answer.at(name);
        if let Some(shown) = inline(value) {
            lines.push(format!("{name:<8} {shown}"));
        }
    }
    rules(answer.at("rules"), "rules that were evaluated", &mut lines);
    for address in answer.at("addresses").items() {
        let member = |name: &str| address.at(name).text().unwrap_or_default();
        let (decision, rule) = (member("decision"), member("rule"));
        let title = format!("address {}: {decision} by {rule}", member("address"));
        lines.push(String::new());
        lines.push(title);
        for rule in address.at("rules").items() {
            lines.push(evaluated(rule));
        }
    }
    // What one way alone has, or a later version, as it is.
    const KNOWN: [&str; 18] = [
        "decision",
        "rule",
        "reason",
        "status",
        "message",
        "user",
        "groups",
        "client",
        "role",
        "method",
        "target",
        "path",
        "time",
        "via",
        "rules",
        "addresses",
        "notes",
        "ways",
    ];
    for (name, value) in answer.whole().members() {
        if !KNOWN.contains(&&*name) {
            tree(&name, value, 0, &mut lines);
        }
    }
    let ways: Vec<Fact<'_>> = answer.at("ways").items().collect();
    if ways.len() > 1 {
        lines.push(String::new());
        lines.push("ways in which clients send it".to_owned());
        for way in ways {
            let member = |name: &str| way.at(name).text().unwrap_or_default();
            let decision = member("decision").replace('_', " ");
            let (method, rule, by) = (member("method"), member("rule"), member("sent_by"));
            lines.push(format!("  {method}: {decision} by {rule}; sent by {by}"));
        }
    }
    lines.truncate(MAX_LINES);
    lines
}

fn rules(rules: Fact<'_>, title: &str, lines: &mut Vec<String>) {
    for (place, rule) in rules.items().enumerate() {
        if place == 0 {
            lines.push(String::new());
            lines.push(title.to_owned());
        }
        lines.push(evaluated(rule));
    }
}

/// One rule: what it does and whether it matched.
fn evaluated(rule: Fact<'_>) -> String {
    let member = |name: &str| rule.at(name).text();
    let name = member("rule").unwrap_or_default();
    let action = member("action").unwrap_or_default();
    let outcome = member("outcome").unwrap_or_default().replace('_', " ");
    let mut line = format!("  {name} ({action}): {outcome}");
    if let Some(matcher) = member("matcher") {
        line.push_str(&format!(", {matcher}"));
    }
    if let Some(value) = member("value") {
        line.push_str(&format!(" = {value}"));
    }
    if let Some(error) = member("error") {
        line.push_str(&format!(", {error}"));
    }
    line
}

/// A value on one line: a text, or a list of texts.
fn inline(value: Fact<'_>) -> Option<String> {
    if let Some(text) = value.text() {
        return Some(text.into_owned());
    }
    let items: Vec<_> = value.items().filter_map(Fact::text).collect();
    (!items.is_empty()).then(|| items.join(", "))
}

/// Any value, with what is in it indented.
fn tree(name: &str, value: Fact<'_>, depth: usize, lines: &mut Vec<String>) {
    const MAX_DEPTH: usize = 6;
    if depth > MAX_DEPTH || lines.len() > MAX_LINES || value.is_nothing() {
        return;
    }
    let name = name.replace('_', " ");
    let indent = "  ".repeat(depth);
    if let Some(shown) = inline(value) {
        lines.push(format!("{indent}{name}: {shown}"));
        return;
    }
    let (items, members) = (value.items().count(), value.members().count());
    if items + members == 0 {
        return;
    }
    lines.push(format!("{indent}{name}:"));
    for (place, item) in value.items().enumerate() {
        tree(&(place + 1).to_string(), item, depth + 1, lines);
    }
    for (name, member) in value.members() {
        tree(&name, member, depth + 1, lines);
    }
}

/// The lines of a refusal of the service.
pub(super) fn refused(message: &str) -> Vec<String> {
    vec![format!("no explanation: {}", clean(message))]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::facts::tests::hostile;
    use super::super::fuzz::is_harmless;
    use super::*;

    #[test]
    fn questions() {
        let row = |value| Facts::new(value);
        let denial = row(json!({
            "target": "example.org:443", "user": "alice", "client": "[2001:db8::1]:50000", "method": "CONNECT", "rule": "r",
        }));
        assert_eq!(
            question(Tab::Denials, &denial),
            Some(
                json!({"target": "example.org:443", "user": "alice", "client": "2001:db8::1", "method": "CONNECT"})
            )
        );
        let tunnel = row(json!({"target": "a:1", "kind": "socks5", "client": "127.0.0.1:5"}));
        assert_eq!(
            question(Tab::Tunnels, &tunnel),
            Some(json!({"target": "a:1", "client": "127.0.0.1", "method": "CONNECT"}))
        );
        assert_eq!(question(Tab::Users, &denial), None);
        assert_eq!(question(Tab::Requests, &row(json!({}))), None);
    }

    #[test]
    fn answers() {
        let answer = Facts::new(json!({
            "decision": "deny", "rule": "no-ads", "status": 403, "message": "no ads", "user": "alice", "groups": ["a", "b"],
            "rules": [
                {"rule": "first", "action": "admit", "outcome": "no_match", "matcher": "hosts", "value": "ads.example"},
                {"rule": "no-ads", "action": "deny", "outcome": "decides"},
            ],
            "addresses": [], "observed": ["later"], "upgrade": {"to": ["https"]},
            "ways": [{"method": "GET", "decision": "deny", "rule": "no-ads", "sent_by": "all"},
                     {"method": "CONNECT", "decision": "admit", "rule": "x", "sent_by": "some"}],
            "notes": ["a note"],
        }));
        assert_eq!(
            lines(&answer).join("\n"),
            "deny by no-ads (status 403)\nno ads\nnote: a note\n\nuser     alice\ngroups   a, b\n\nrules that were evaluated\n  \
             first (admit): no match, hosts = ads.example\n  no-ads (deny): decides\nobserved: later\nupgrade:\n  to: https\n\n\
             ways in which clients send it\n  GET: deny by no-ads; sent by all\n  CONNECT: admit by x; sent by some"
        );
    }

    proptest! {
        #[test]
        fn lines_are_harmless(a in hostile(), b in hostile()) {
            let answer = Facts::new(json!({
                "decision": &a, "rule": &b, "message": &a, "notes": [&b], "user": &b, "groups": [&a], &b: {&a: [&b]},
                "rules": [{"rule": &a, "action": &b, "outcome": &a, "matcher": &b, "value": &a, "error": &b}],
                "addresses": [{"address": &a, "rules": [{"rule": &b}]}], "ways": [{"method": &a}, {"sent_by": &b}],
            }));
            for line in lines(&answer).into_iter().chain(refused(&a)) {
                prop_assert!(is_harmless(&line), "{line:?}");
            }
        }
    }
}
