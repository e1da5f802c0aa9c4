//! docs/api/openapi.yaml from the table of routes: what each route takes and answers is written here, and the forms of answers come
//! from the `members!` tables. `make reference` writes the file; a test compares it.

mod explanation;
mod responses;
mod schemas;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::routes::{Guard, ROUTES, Route, Verb};

const DOCUMENT: &str = "docs/api/openapi.yaml";

/// What is said of a route.
struct About {
    summary: &'static str,
    /// The keys of its query, with their schemas and meanings.
    query: Vec<(&'static str, Value, &'static str)>,
    /// The schema of its body.
    body: Option<Value>,
    status: u16,
    content: Content,
    /// Further statuses, with when they come.
    others: Vec<(u16, &'static str)>,
}

/// What an answer has.
enum Content {
    Nothing,
    Text,
    File(&'static str),
    Json(Value),
    Events,
}

fn about(summary: &'static str, content: Content) -> About {
    About {
        summary,
        query: Vec::new(),
        body: None,
        status: 200,
        content,
        others: Vec::new(),
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn list(summary: &'static str, name: &str, query: &[&'static str], orders: &[&str]) -> About {
    let key = |key: &&'static str| match *key {
        "limit" => (
            "limit",
            json!({"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
            "The most rows of the answer.",
        ),
        "sort" => (
            "sort",
            json!({"type": "string", "enum": orders, "default": orders[0]}),
            "The order.",
        ),
        "user" => (
            "user",
            json!({"type": "string"}),
            "The rows of this user alone.",
        ),
        "q" => (
            "q",
            json!({"type": "string"}),
            "Only rows that have this text in one of their members, without regard to case.",
        ),
        other => panic!("{other}"),
    };
    About {
        query: query.iter().map(key).collect(),
        others: vec![(
            400,
            "A key of the query is unknown, or its value is out of range.",
        )],
        ..about(summary, Content::Json(reference(name)))
    }
}

/// What each route is for.
fn of(route: &Route) -> About {
    let top = ["requests", "bytes", "denials"];
    let balances = |summary| About {
        query: vec![
            (
                "class",
                json!({"type": "string"}),
                "Balances of this class alone.",
            ),
            (
                "user",
                json!({"type": "string"}),
                "Balances of this user alone.",
            ),
            (
                "network",
                json!({"type": "string"}),
                "Balances of the network of this address alone.",
            ),
        ],
        others: vec![
            (
                400,
                "A key of the query is unknown, or its value cannot be read.",
            ),
            (503, "The store of the balances does not work."),
        ],
        ..about(summary, Content::Json(reference("Quotas")))
    };
    let changed = |summary, with_bytes: bool| {
        let mut about = About {
            content: Content::Json(reference("QuotaChange")),
            ..balances(summary)
        };
        if with_bytes {
            about.query.push((
                "bytes",
                json!({"type": "string"}),
                "How much more, such as `10GiB`. Required.",
            ));
        }
        about.others.push((404, "There is no such balance."));
        about
    };
    let reload = || About {
        others: vec![
            (
                422,
                "The files have errors, and nothing was changed: `Reload` with `problems`.",
            ),
            (500, "The system gave an error, and nothing was changed."),
            (
                503,
                "The process has no file descriptor left, and nothing was changed.",
            ),
        ],
        ..about(
            "Reads users, policy and certificates again, as SIGHUP does.",
            Content::Json(reference("Reload")),
        )
    };
    match (route.method, route.path) {
        (_, "/") => about(
            "A page for browsers; with `dashboard`.",
            Content::File("text/html"),
        ),
        (_, "/assets/page.css") => about("The style sheet of the page.", Content::File("text/css")),
        (_, "/assets/page.js") => {
            about("The module of the page.", Content::File("text/javascript"))
        }
        (_, "/assets/uplot.js") => about(
            "The library for the charts of the page.",
            Content::File("text/javascript"),
        ),
        (_, "/assets/icon.svg") => about("The icon of the page.", Content::File("image/svg+xml")),
        (_, "/healthz") => About {
            others: vec![(503, "The process drains.")],
            ..about("Whether the process serves. Needs no user.", Content::Text)
        },
        (_, "/metrics") => about(
            "The metrics in the text format of Prometheus. Needs no user with `public_metrics`.",
            Content::Text,
        ),
        (_, "/stats") => about(
            "Statistics since the start: docs/observability.md.",
            Content::Json(json!({"type": "object"})),
        ),
        (_, "/reload" | "/api/v1/reload") => reload(),
        (_, "/quotas" | "/api/v1/quotas") => {
            let mut about = balances("What members have used of their quotas.");
            about.query.push((
                "limit",
                json!({"type": "integer", "minimum": 1, "maximum": 10_000}),
                "How many balances the list has at most, the largest first; 10,000 where it is left out.",
            ));
            about
        }
        (_, "/quotas/reset") => changed("Forgets what balances have used.", false),
        (_, "/quotas/grant") => changed("Lets the members of balances use more.", true),
        (_, "/api/v1/status") => about("The process.", Content::Json(reference("Status"))),
        (_, "/api/v1/history") => about(
            "The last 15 minutes, second by second.",
            Content::Json(reference("History")),
        ),
        (Verb::Get, "/api/v1/tunnels") => list(
            "Open tunnels.",
            "Tunnels",
            &["user", "q", "sort", "limit"],
            &["rate", "bytes", "age", "user", "target"],
        ),
        (Verb::Delete, "/api/v1/tunnels/{id}") => About {
            status: 204,
            others: vec![(404, "There is no tunnel of this id.")],
            ..about("Closes a tunnel.", Content::Nothing)
        },
        (_, "/api/v1/requests") => list(
            "Requests in flight, the oldest first.",
            "Requests",
            &["user", "q", "limit"],
            &[],
        ),
        (Verb::Get, "/api/v1/users") => list(
            "Users that have sent requests.",
            "Users",
            &["q", "sort", "limit"],
            &top,
        ),
        (Verb::Delete, "/api/v1/users/{user}/tunnels") => about(
            "Closes all tunnels of a user.",
            Content::Json(reference("Closed")),
        ),
        (_, "/api/v1/sites") => list("Sites.", "Sites", &["sort", "limit"], &top),
        (_, "/api/v1/denials") => list(
            "The last denials, the newest first.",
            "Denials",
            &["limit"],
            &[],
        ),
        (_, "/api/v1/upstreams") => about(
            "The pools of the gateway and the parents.",
            Content::Json(reference("Upstreams")),
        ),
        (_, "/api/v1/limits") => {
            about("The classes of limits.", Content::Json(reference("Limits")))
        }
        (_, "/api/v1/policy") => about(
            "The rules, and what they did.",
            Content::Json(reference("Policy")),
        ),
        (_, "/api/v1/config") => about(
            "The configuration, without secrets.",
            Content::Json(reference("Config")),
        ),
        (_, "/api/v1/events") => About {
            others: vec![(503, "Eight listen already, or six of this client.")],
            ..about(
                "Server-Sent Events: `snapshot` each second with a `Snapshot`, `denial` with a `Denial`, and \
                 `denials_skipped` with a `Skipped` where there were more than 20 in a second. It ends when the process \
                 drains, and after ten minutes.",
                Content::Events,
            )
        },
        (_, "/api/v1/drain") => About {
            status: 202,
            ..about(
                "Ends the process as SIGTERM does: nothing new begins, and what is open has `timeouts.drain` to end.",
                Content::Json(json!({
                    "type": "object",
                    "properties": {"state": {"type": "string", "enum": ["draining"]}},
                    "required": ["state"],
                    "additionalProperties": false,
                })),
            )
        },
        (_, "/api/v1/log-level") => About {
            body: Some(json!({
                "type": "object",
                "properties": {"level": {"type": "string", "enum": ["off", "error", "warn", "info", "debug", "trace"]}},
                "required": ["level"],
                "additionalProperties": false,
            })),
            others: vec![
                (400, "There is no such level."),
                (
                    409,
                    "The filter that the process was started with keeps messages of this level out.",
                ),
            ],
            ..about(
                "Sets the lowest level of messages in the error log: `info` at the start. Libraries log nothing below \
                 `info`. Where the process was started with `RUST_LOG`, no message that it keeps out can be had.",
                Content::Json(json!({
                    "type": "object",
                    "properties": {"level": {"type": "string"}, "before": {"type": "string"}},
                    "required": ["level", "before"],
                    "additionalProperties": false,
                })),
            )
        },
        (_, "/api/v1/explain") => About {
            body: Some(reference("Question")),
            others: vec![(400, "The question cannot be read.")],
            ..about(
                "Why the process would admit or deny a request: what `tollgate explain --json` prints, by the policy that is \
                 in use. Nothing is sent, and the external authoriser is not asked.",
                Content::Json(reference("Explanation")),
            )
        },
        (method, path) => panic!("{DOCUMENT}: say what {method:?} {path} is for"),
    }
}

fn operation(route: &Route) -> Value {
    let about = of(route);
    let mut parameters: Vec<Value> = Vec::new();
    if let Some(name) = route.path.split(['{', '}']).nth(1) {
        parameters.push(json!({
            "name": name, "in": "path", "required": true, "schema": {"type": "string"},
        }));
    }
    for (name, schema, meaning) in &about.query {
        let required = *name == "bytes";
        parameters.push(json!({
            "name": name, "in": "query", "required": required, "schema": schema, "description": meaning,
        }));
    }
    if Route::needs_field(route.effect, route.path) {
        parameters.push(json!({
            "name": "Tollgate-Request", "in": "header", "required": true, "schema": {"type": "string", "enum": ["1"]},
            "description": "Keeps out requests that a page of another site makes a browser send.",
        }));
    }
    let responses = responses::of(route, &about);
    let mut operation = json!({
        "summary": about.summary,
        "responses": responses,
        "security": match route.guard {
            Guard::Open => json!([{}]),
            _ => json!([{"password": []}, {"certificate": []}, {}]),
        },
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = about.body {
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": body}}});
    }
    operation
}

fn document() -> Value {
    let mut paths: BTreeMap<&str, BTreeMap<&str, Value>> = BTreeMap::new();
    for route in ROUTES {
        let methods = paths.entry(route.path).or_default();
        let method = match route.method {
            Verb::Get => "get",
            Verb::Post => "post",
            Verb::Delete => "delete",
        };
        methods.insert(method, operation(route));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tollgate's admin service",
            "version": "1",
            "description": "Written from the sources by `make reference`. docs/admin.md is for people. Each path with GET takes HEAD too.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:9188"}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "password": {"type": "http", "scheme": "basic", "description": "A user of `admin.users`."},
                "certificate": {"type": "mutualTLS", "description": "A certificate that `admin.tls.client_ca` accepts."},
            },
            "schemas": schemas::all(),
        },
    })
}

/// A test, so that `make reference` finds it by its name.
mod reference {
    use super::{DOCUMENT, document};
    use crate::admin::api::config::ConfigReport;
    use crate::admin::api::lists::{Closed, LimitReport};
    use crate::admin::api::status::Status;
    use crate::admin::events::Skipped;
    use crate::admin::problem::Problem;
    use crate::text::reference::{assert_part, table};

    #[test]
    fn the_members_are_in_the_document() {
        let rows = [
            ("status", Status::reference("")),
            ("config", ConfigReport::reference("")),
            ("limits", LimitReport::reference("")),
            ("DELETE users/U/tunnels", Closed::reference("")),
            ("denials_skipped", Skipped::reference("")),
        ];
        let rows = rows.map(|(of, rows)| {
            let named = rows.into_iter();
            let named =
                named.map(|[key, meaning]| [key.replacen('`', &format!("`{of}."), 1), meaning]);
            named.collect::<Vec<_>>()
        });
        let text = table(["member", "meaning"], rows.concat());
        assert_part("docs/admin.md", "members", &text);
    }

    #[test]
    fn the_problems_are_in_the_document() {
        let problem = |it: &Problem| {
            let (status, kind) = (it.status().as_u16(), it.kind());
            [
                status.to_string(),
                format!("`{kind}`"),
                it.when().to_owned(),
            ]
        };
        let rows = Problem::ALL.iter().map(problem).collect();
        let text = table(["status", "`error`", "when"], rows);
        assert_part("docs/admin.md", "problems", &text);
    }

    /// With quotes around words that YAML 1.1 takes for booleans, as many readers do.
    fn quoted(yaml: &str) -> String {
        let quote = |line: &str| {
            let (before, word) = line.rsplit_once(' ').unwrap_or(("", line));
            match word {
                "yes" | "no" | "on" | "off" | "y" | "n" if before.ends_with(['-', ':']) => {
                    format!("{before} '{word}'\n")
                }
                _ => format!("{line}\n"),
            }
        };
        yaml.lines().map(quote).collect()
    }

    #[test]
    fn the_document_is_that_of_the_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
        let wanted = quoted(&serde_yaml::to_string(&document()).unwrap());
        let read: serde_json::Value = serde_yaml::from_str(&wanted).unwrap();
        assert_eq!(read, document());
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "{DOCUMENT} is not what the sources say: run `make reference`"
        );
    }
}
