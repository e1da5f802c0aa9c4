//! The form of an explanation: what `tollgate explain --json` prints.

use serde_json::{Map, Value, json};

/// The schema of the answer.
pub(super) fn schema() -> Value {
    let way = object(
        with(
            properties(),
            json!({
                "sent_by": {"type": "string", "description": "The clients that send it."},
                "class": class(),
            }),
        ),
        &with_required(&["sent_by"]),
    );
    let own = json!({
        "ways": {"type": "array", "items": way, "minItems": 1, "description": "Each way in which clients request the target, the usual one first."},
        "notes": texts("Facts beside the decision."),
    });
    let mut schema = object(with(properties(), own), &with_required(&["ways", "notes"]));
    schema["description"] = "The decision on the usual way, and on each way.".into();
    schema
}

/// Members that each decision has.
const REQUIRED: [&str; 11] = [
    "decision",
    "rule",
    "user",
    "groups",
    "client",
    "role",
    "method",
    "target",
    "time",
    "rules",
    "addresses",
];

fn with_required(more: &[&'static str]) -> Vec<&'static str> {
    [&REQUIRED[..], &["observed"], more].concat()
}

/// The members of a decision on one way.
fn properties() -> Value {
    let decision = || json!({"type": "string", "enum": ["admit", "deny", "depends_on_address", "answer", "fail"]});
    let status = || json!({"type": "integer", "description": "The status of the answer, unless the request goes upstream."});
    json!({
        "decision": decision(),
        "rule": text("What decides, as `rule` in the access log."),
        "reason": text("For a denial or a failure, its reason as in `Proxy-Status`."),
        "status": status(),
        "message": text("For a denial, its message; for a failure, why."),
        "policy": object(
            json!({
                "decision": decision(),
                "rule": text("What decides."),
                "reason": text("The reason."),
                "status": status(),
                "message": text("The message."),
            }),
            &["decision", "rule"],
        ),
        "user": text("The user."),
        "groups": texts("The groups of the user."),
        "client": text("The client's address."),
        "role": {"type": "string", "enum": ["forward", "tunnel", "gateway"]},
        "method": text("The method."),
        "target": text("The target as it was parsed."),
        "path": text("Path and query as sent, where rules read them."),
        "time": text("The time of the request (RFC 3339)."),
        "rules": {"type": "array", "items": rule(), "description": "The rules that were evaluated, in order."},
        "addresses": {"type": "array", "items": object(
            json!({
                "address": text("The address."),
                "decision": {"type": "string", "enum": ["admit", "deny"]},
                "rule": text("What decides about it."),
                "rules": {"type": "array", "items": rule()},
            }),
            &["address", "decision", "rule", "rules"],
        ), "description": "The addresses that would be dialled."},
        "upgrade": object(
            json!({
                "target": text("The target, over TLS."),
                "fields": {"type": "array", "items": object(
                    json!({"name": text("Its name."), "secret": text("The name of the secret that its value is made of.")}),
                    &["name", "secret"],
                )},
            }),
            &["target", "fields"],
        ),
        "tunnel": object(
            json!({
                "sni": {"type": "string", "enum": ["match", "present", "off"]},
                "non_tls": flag("Whether another protocol than TLS is admitted."),
                "ech": flag("Whether an encrypted ClientHello is admitted."),
                "when": text("The expression that has to be true; `***` where names of users are hashed."),
                "has_hello": flag("Whether the decision is that about a ClientHello."),
            }),
            &["sni", "non_tls", "ech", "has_hello"],
        ),
        "via": text("The parent that it goes through, or `direct`."),
        "is_resolved_by_parent": flag("Whether that parent resolves the name."),
        "asks": {"type": "string", "enum": ["yes", "depends_on_address"], "description": "Whether the external authoriser is asked."},
        "observed": texts("The `observe` rules that would have denied it."),
        "in_the_clear": texts("Of a tunnel: the rules that could decide otherwise if the request in it came in the clear."),
        "scripts": {"type": "array", "items": {"type": "object"}, "description": "The calls of scripts, in order, as `tollgate script run --json` prints them."},
    })
}

/// A rule that was evaluated.
fn rule() -> Value {
    object(
        json!({
            "rule": text("Its name."),
            "action": {"type": "string", "enum": ["admit", "deny", "observe"]},
            "outcome": {"type": "string", "enum": ["no_match", "needs_address", "observes", "decides"]},
            "matcher": text("The first matcher that did not match, or the one that needs an address."),
            "value": text("What it was compared with."),
            "error": text("Why its expression failed, so that the rule denies."),
            "hidden": texts("What the rule reads and this tunnel hides: `path`, `query`, `fields`."),
        }),
        &["rule", "action", "outcome"],
    )
}

/// The class of limits that holds.
fn class() -> Value {
    object(
        json!({
            "name": {"type": ["string", "null"], "description": "Its name; `null` where no class holds."},
            "per": text("What has the limits for itself."),
            "requests": text("Requests in a time."),
            "burst": {"type": "integer"},
            "concurrent_requests": {"type": "integer"},
            "new_tunnels": text("New tunnels in a time."),
            "tunnels": {"type": "integer"},
            "download": text("Bytes to clients in a second."),
            "upload": text("Bytes from clients in a second."),
            "quota": {"type": "object", "additionalProperties": {"type": "string"}, "description": "Bytes by period."},
            "on_quota": text("`cut` or `refuse_new`."),
        }),
        &["name"],
    )
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn with(mut properties: Value, more: Value) -> Value {
    let more: Map<String, Value> = serde_json::from_value(more).unwrap();
    properties.as_object_mut().unwrap().extend(more);
    properties
}

fn text(meaning: &str) -> Value {
    json!({"type": "string", "description": meaning})
}

fn texts(meaning: &str) -> Value {
    json!({"type": "array", "items": {"type": "string"}, "description": meaning})
}

fn flag(meaning: &str) -> Value {
    json!({"type": "boolean", "description": meaning})
}
