//! The forms of answers and bodies: of the `members!` tables, and of what has none.

use serde_json::{Value, json};

use super::explanation;
use crate::admin::api::config::ConfigReport;
use crate::admin::api::lists::{Closed, LimitReport};
use crate::admin::api::status::Status;
use crate::admin::events::Skipped;
use crate::admin::problem::Problem;
use crate::request::live::{PolicyReport, RequestList, Snapshot, TunnelList, UpstreamList};
use crate::telemetry::{DenialList, DenialRow, History, Schema, SiteList, UserList};

/// All of them, by their names.
pub(super) fn all() -> Value {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let balance = json!({
        "type": "object",
        "properties": {
            "class": {"type": "string"},
            "member": {"type": "string"},
            "period": {"type": "string"},
            "used": {"type": "integer"},
            "limit": {"type": ["integer", "null"]},
            "granted": {"type": "integer"},
            "resets_at": {"type": "string"},
        },
        "required": ["class", "member", "period", "used"],
    });
    let kinds: Vec<&str> = Problem::ALL.iter().map(|it| it.kind()).collect();
    json!({
        "Status": Status::schema(),
        "History": History::schema(),
        "Tunnels": TunnelList::schema(),
        "Requests": RequestList::schema(),
        "Users": UserList::schema(),
        "Sites": SiteList::schema(),
        "Denials": DenialList::schema(),
        "Denial": DenialRow::schema(),
        "Upstreams": UpstreamList::schema(),
        "Limits": LimitReport::schema(),
        "Policy": PolicyReport::schema(),
        "Config": ConfigReport::schema(),
        "Closed": Closed::schema(),
        "Snapshot": Snapshot::schema(),
        "Skipped": Skipped::schema(),
        "Problem": {
            "type": "object",
            "properties": {
                "error": {"type": "string", "enum": kinds, "description": "What is wrong, for programs."},
                "message": {"type": "string", "description": "The same for people."},
            },
            "required": ["error", "message"],
            "additionalProperties": false,
        },
        "Reload": {
            "type": "object",
            "properties": {
                "result": {"type": "string", "enum": ["success", "partial", "failure"],
                    "description": "`partial`: a changed key needs a restart."},
                "users": {"type": "integer", "description": "Users of the password file."},
                "rules": {"type": "integer", "description": "Rules of the policy."},
                "left_out": {"type": "integer", "description": "Entries of lenient lists that could not be used."},
                "applied": texts, "restart_needed": texts, "not_compared": texts, "problems": texts,
                "unlisted": {"type": "integer", "description": "Further problems."},
            },
            "required": ["result"],
            "additionalProperties": false,
        },
        "Quotas": {
            "type": "object",
            "properties": {
                "balances": {"type": "array", "items": balance},
                "unlisted": {"type": "integer", "description": "Further balances."},
            },
            "required": ["balances", "unlisted"],
            "additionalProperties": false,
        },
        "QuotaChange": {
            "type": "object",
            "properties": {"changed": {"type": "integer", "description": "Balances that were changed."}},
            "required": ["changed"],
        },
        "Question": {
            "type": "object",
            "properties": {
                "target": {"type": "string", "description": "A URL, `host:port` for a tunnel, or a path for the gateway."},
                "user": {"type": "string", "description": "The user; by default the one that the client is without credentials."},
                "client": {"type": "string", "description": "The client's address; by default 127.0.0.1."},
                "method": {"type": "string", "description": "The method of a forwarded request."},
                "fields": {"type": "array", "items": {"type": "string"}, "description": "Fields of the request, each as `name: value`."},
                "groups": {"type": "array", "items": {"type": "string"}, "description": "Groups that a token of the user says, or the authoriser."},
                "claims": {"type": "array", "items": {"type": "string"}, "description": "Claims of that token, each as `name=text`."},
                "resolve": {"type": "array", "items": {"type": "string"}, "description": "The addresses of the target's name; by default they are looked up."},
                "time": {"type": "string", "description": "The time of the request (RFC 3339); by default now."},
                "status": {"type": "integer", "description": "The status of a response, for which scripts are called too."},
                "sni": {"type": "string", "description": "The name of the host in a ClientHello in the tunnel; empty for none."},
                "alpn": {"type": "array", "items": {"type": "string"}, "description": "The protocols that the ClientHello offers."},
                "ja4": {"type": "string", "description": "The fingerprint of the client."},
                "ech": {"type": "boolean", "description": "Whether there is an encrypted ClientHello inside."},
            },
            "required": ["target"],
            "additionalProperties": false,
        },
        "Explanation": explanation::schema(),
    })
}
