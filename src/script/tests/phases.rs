//! What scripts see and want in each phase.

use super::*;
use crate::hook::{HookSet, How, Phases, Run, Traffic};

/// The calls of a text on a request to forward, with its effects.
fn steps(role: Role, text: &str, fields: &[(&str, &str)]) -> Vec<String> {
    let trial = run(&script(role, text), role, fields);
    let steps = trial.steps.iter().map(|step| {
        let effects: Vec<String> = step.effects.iter().map(ToString::to_string).collect();
        format!("{} {}: {}", step.phase, step.verdict, effects.join(", "))
    });
    steps.collect()
}

#[test]
fn the_facts_of_a_request() {
    let text = "fn authorize(r) { r.tag(\"all\", `${r.role} ${r.method} ${r.version} ${r.scheme} ${r.host} ${r.port} \
                ${r.path} ${r.query} ${r.client} ${r.tls} ${r.user} ${r.group()} ${r.groups} ${r.in_group(\"ops\")} \
                ${r.host_under(\"example.org\")} ${r.path_under(\"/admin\")} ${r.header(\"X-A\")} ${settings.team} \
                ${settings.most}`) }";
    assert_eq!(
        steps(Role::Forward, text, &[("x-a", "1"), ("X-A", "2")]),
        [
            "authorize goes on: tags all: forward GET HTTP/1.1 https api.example.org 443 /admin/x a=1 127.0.0.1 false \
          alice dev [\"dev\", \"ops\"] true true true 1, 2 blue 3"
        ]
    );
}

#[test]
fn effects_and_verdicts() {
    for (role, text, expected) in [
        (
            Role::Forward,
            "fn request(r) { r.set_header(\"X-A\", 1); r.add_header(\"x-a\", true); r.remove_header(\"cookie\"); \
             r.set_target(\"other.example:8080\"); r.count(\"n\", r.host); r.count(\"m\"); }",
            "request goes on: sets x-a: 1, adds x-a: true, removes cookie, changes the target to other.example:8080, \
             counts n: other.example, counts m",
        ),
        (
            Role::Gateway,
            "fn route(r) { if r.path_under(\"/admin\") { r.pool(\"api\") } else { r.pool(\"web\") } }",
            "route goes on: chooses the pool api",
        ),
        (
            Role::Forward,
            "fn request(r) { return deny(451, `no, ${r.host}`); }",
            "request denies with 451: no, api.example.org: ",
        ),
        (
            Role::Forward,
            "fn request(r) { deny() }",
            "request denies with 403: ",
        ),
        (
            Role::Tunnel,
            "fn tunnel_open(t) { t.report_every(65536); if t.port != 443 { return deny(403) } }",
            "tunnel_open goes on: ",
        ),
        (
            Role::Forward,
            "fn request(r) { answer(200, #{\"content-type\": \"text/plain\"}, \"hello\") }",
            "request answers with 200 and a body of 5 bytes: ",
        ),
        (
            Role::Forward,
            "fn response(r) { r.remove_header(\"server\"); if r.status == 200 { r.set_header(\"x-s\", r.status) } }",
            "response goes on: removes server, sets x-s: 200",
        ),
        (
            Role::Forward,
            "fn request(r) { throw \"odd\\nline\"; }",
            "request fails: throws odd line (line 1): ",
        ),
        (
            Role::Forward,
            "fn request(r) { r.set_header(\"te\" + \"st\", \"a\\nb\"); }",
            "request fails: set_header: test: not a field value: it has a control character (line 1): ",
        ),
        (
            Role::Forward,
            "fn request(r) { if r.tls { deny(200, \"\") } else { throw [1] } }",
            "request fails: throws [1] (line 1): ",
        ),
    ] {
        let script = unchecked(in_role(role, text));
        let trial = run(&script, role, &[]);
        let step = &trial.steps[0];
        let effects: Vec<String> = step.effects.iter().map(ToString::to_string).collect();
        let found = format!("{} {}: {}", step.phase, step.verdict, effects.join(", "));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn denials_end_a_trial() {
    let text = "fn request(r) { deny(404) } fn authorize(r) { r.tag(\"a\", \"b\") }";
    assert_eq!(
        steps(Role::Forward, text, &[]),
        ["request denies with 404: "]
    );
}

fn hooks(scripts: impl IntoIterator<Item = Script>, role: Role) -> Run {
    let set = scripts.into_iter().fold(HookSet::default(), HookSet::with);
    Run::new(Arc::new(set), facts(role, &[]))
}

#[test]
fn a_script_is_a_hook() {
    let text = "fn request(r) { if r.user != () { throw \"known\" } r.set_header(\"x-a\", \"1\"); }
                fn authorize(r) { if r.user == \"bob\" { return deny(403, \"not bob\") } }
                fn tunnel_bytes(t, moved) { if moved.total_from_client > 20 { cut() } }
                fn tunnel_close(t, total) { t.tag(\"sent\", total.bytes_from_client) }
                fn log(r) { r.tag(\"status\", r.status) }";
    let script = script(Role::Tunnel, text);
    let mut run = hooks([script.clone()], Role::Tunnel);
    assert!(run.has(Phases::REQUEST) && !run.has(Phases::ROUTE));
    run.request().unwrap();
    run.authenticated("bob".into(), &[]);
    let stop = run.authorize().unwrap_err();
    assert_eq!((&*stop.by, stop.phase), ("test", "authorize"));
    let How::Denied(denial) = stop.how else {
        panic!("{:?}", stop.how);
    };
    assert_eq!(denial.message(), Some("not bob"));
    let traffic = |bytes_from_client| Traffic {
        bytes_from_client,
        bytes_from_upstream: 0,
    };
    assert!(run.tunnel_bytes(traffic(10)).is_none());
    assert!(run.tunnel_bytes(traffic(11)).is_some());
    assert!(run.tunnel_close(traffic(21)).is_none());
    assert!(run.log(Some(200)).is_none());
    let tags: Vec<_> = run
        .notes
        .tags()
        .iter()
        .map(|tag| (&*tag.name, &*tag.value))
        .collect();
    assert_eq!(tags, [("sent", "21"), ("status", "200")]);
    // Another role than that of the script.
    let mut other = hooks([script], Role::Forward);
    other.authenticated("bob".into(), &[]);
    other.authorize().unwrap();
}

#[test]
fn a_failure_denies_or_is_undone_and_noted() {
    let text = "fn request(r) { r.tag(\"a\", \"b\"); r.set_header(\"x\", \"y\"); throw \"late\"; }";
    let mut run = hooks([unchecked(in_role(Role::Forward, text))], Role::Forward);
    let stop = run.request().unwrap_err();
    assert!(matches!(stop.how, How::Failed(reason) if &*reason == "throws late (line 1)"));
    let skipped = Source {
        on_error: OnError::Skip,
        ..in_role(Role::Forward, text)
    };
    let mut run = hooks([unchecked(skipped)], Role::Forward);
    run.request().unwrap();
    assert!(run.notes.tags().is_empty());
    let skipped = &run.notes.skipped()[0];
    assert_eq!(
        (&*skipped.by, skipped.phase, &*skipped.reason),
        ("test", "request", "throws late (line 1)")
    );
}

#[test]
fn what_earlier_scripts_want_is_seen_and_kept() {
    let one = script(
        Role::Forward,
        "fn request(r) { r.set_header(\"x-a\", \"1\"); r.tag(\"a\", \"1\"); }",
    );
    let two = script(
        Role::Forward,
        "fn request(r) { r.tag(\"seen\", r.header(\"x-a\")); }",
    );
    let mut run = hooks([one, two], Role::Forward);
    run.request().unwrap();
    let tags: Vec<_> = run
        .notes
        .tags()
        .iter()
        .map(|tag| (&*tag.name, &*tag.value))
        .collect();
    assert_eq!(tags, [("a", "1"), ("seen", "1")]);
}
