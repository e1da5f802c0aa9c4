//! A secret goes into fields of requests, and nowhere else.

use super::*;
use crate::hook::{HookSet, Run};

/// All that is shown of a run.
fn shown(text: &str) -> String {
    let source = in_role(Role::Forward, text);
    let script = unchecked(source);
    let trial = run(&script, Role::Forward, &[]);
    let json: Vec<String> = trial
        .steps
        .iter()
        .map(|step| serde_json::to_string(step).unwrap())
        .collect();
    let mut hooks = Run::new(
        Arc::new(HookSet::default().with(script.clone())),
        facts(Role::Forward, &[]),
    );
    let stop = hooks.authorize();
    format!(
        "{trial} {trial:?} {json:?} {script:?} {:?} {stop:?} {:?}",
        script.0.source, hooks.notes
    )
}

#[test]
fn nothing_shows_a_secret() {
    for text in [
        "fn authorize(r) { r.set_header(\"authorization\", secret(\"github\")); }",
        "fn authorize(r) { r.set_header(\"authorization\", bearer(secret(\"github\"))); r.tag(\"x\", r.header(\"authorization\")); }",
        "fn authorize(r) { r.set_header(\"authorization\", basic(\"u\", secret(\"github\"))); throw r.header(\"authorization\"); }",
        "fn authorize(r) { r.tag(\"x\", secret(\"github\")); }",
        "fn authorize(r) { r.tag(\"x\", `${secret(\"github\")}`); }",
        "fn authorize(r) { r.tag(\"x\", secret(\"github\").to_string()); }",
        "fn authorize(r) { r.tag(\"x\", secret(\"github\").to_debug()); }",
        "fn authorize(r) { r.tag(\"x\", \"\" + secret(\"github\")); }",
        "fn authorize(r) { let s = \"\"; s += secret(\"github\"); r.tag(\"x\", s); }",
        "fn authorize(r) { r.tag(\"x\", [secret(\"github\")].to_string()); }",
        "fn authorize(r) { r.tag(\"x\", #{ a: secret(\"github\") }.to_string()); }",
        "fn authorize(r) { throw secret(\"github\"); }",
        "fn authorize(r) { throw #{ a: secret(\"github\") }; }",
        "fn authorize(r) { deny(403, secret(\"github\")) }",
        "fn authorize(r) { answer(200, #{\"x\": secret(\"github\")}, \"\") }",
        "fn authorize(r) { secret(\"github\") }",
        "fn authorize(r) { r.add_header(\"x\", secret(\"github\")); }",
        "fn authorize(r) { secret(\"github\").len() }",
        "fn authorize(r) { for c in secret(\"github\") { r.tag(\"x\", c); } }",
    ] {
        let shown = shown(text);
        assert!(!shown.contains(SECRET), "{text}: {shown}");
        assert!(!shown.contains("czNjcjN0"), "{text}: {shown}");
    }
}

#[test]
fn a_secret_is_equal_to_nothing() {
    let text = format!(
        "fn authorize(r) {{ if secret(\"github\") == \"{SECRET}\" || \"{SECRET}\" == secret(\"github\") || secret(\"github\") in [\"{SECRET}\"] {{ r.tag(\"x\", \"equal\"); }} }}"
    );
    assert!(!shown(&text).contains("equal\""), "{}", shown(&text));
}

#[test]
fn it_goes_upstream() {
    let script = unchecked(in_role(
        Role::Forward,
        "fn upstream_request(r) { r.set_header(\"authorization\", bearer(secret(\"github\"))); \
         r.set_header(\"x-basic\", basic(\"u\", secret(\"github\"))); }",
    ));
    let mut run = Run::new(
        Arc::new(HookSet::default().with(script)),
        facts(Role::Forward, &[]),
    );
    #[derive(Default)]
    struct Lines(Vec<String>);
    impl crate::hook::OutgoingFields for Lines {
        fn set(&mut self, name: &http::HeaderName, value: &http::HeaderValue) {
            self.0.push(format!("{name}: {}", value.to_str().unwrap()));
        }
        fn add(&mut self, _: &http::HeaderName, _: &http::HeaderValue) {}
        fn remove(&mut self, _: &http::HeaderName) {}
    }
    let mut lines = Lines::default();
    run.upstream_request(&mut lines).unwrap();
    assert_eq!(
        lines.0,
        [
            format!("authorization: Bearer {SECRET}"),
            "x-basic: Basic dTpzM2NyM3QtdjRsdTMtOWQxZg==".to_owned()
        ]
    );
}

#[test]
fn it_does_not_go_downstream() {
    let script = unchecked(in_role(
        Role::Forward,
        "fn response(r) { r.set_header(\"x\", secret(\"github\")); }",
    ));
    let trial = run(&script, Role::Forward, &[]);
    assert_eq!(
        trial.steps[0].verdict.to_string(),
        "fails: set_header: x: a secret goes to servers alone, in the phase upstream_request or one before it (line 1)"
    );
}

/// What becomes of a request with this method and target, by a script with this secret.
fn verdict(secret: SecretText, text: &str, role: Role, request: (&str, &str)) -> String {
    let script = unchecked(Source {
        secrets: [("github".into(), secret)].into_iter().collect(),
        ..in_role(role, text)
    });
    let (method, target) = request;
    let request = RequestText {
        method,
        target,
        fields: &[],
        client: [127, 0, 0, 1].into(),
    };
    let facts = crate::script::samples::facts(&request).unwrap();
    let scripts = [&script].into_iter();
    let trial = Trial::run(scripts, facts, "alice", &[], None, &Decided::Admitted);
    trial.steps[0].verdict.to_string()
}

#[test]
fn it_goes_in_clear_text_by_choice_alone() {
    let secret = || SecretText::parse(SECRET.as_bytes()).unwrap();
    let late = "fn upstream_request(r) { r.set_header(\"x\", bearer(secret(\"github\"))); }";
    let early = "fn request(r) { r.set_header(\"x\", basic(\"u\", secret(\"github\"))); }";
    let plain = "http://api.example/";
    for (text, role, target, expected) in [
        (
            late,
            Role::Forward,
            plain,
            "fails: set_header: x: the request goes over http",
        ),
        (late, Role::Forward, "https://api.example/", "goes on"),
        (late, Role::Gateway, "/", "goes on"),
        (
            early,
            Role::Forward,
            "https://api.example/",
            "fails: set_header: x: a secret is set when",
        ),
        (early, Role::Gateway, "/", "goes on"),
    ] {
        let found = verdict(secret(), text, role, ("GET", target));
        assert!(found.starts_with(expected), "{text} {target}: {found}");
        let found = verdict(secret().with_clear_text(true), text, role, ("GET", target));
        assert_eq!(found, "goes on", "{text} {target}");
    }
}

/// A response to TRACE has the fields of the request.
#[test]
fn it_is_in_no_trace() {
    let text = "fn upstream_request(r) { r.set_header(\"x\", secret(\"github\")); }";
    for method in ["TRACE", "trace"] {
        let secret = SecretText::parse(SECRET.as_bytes()).unwrap();
        let request = (method, "https://api.example/");
        let found = verdict(secret, text, Role::Forward, request);
        assert!(found.contains("a secret in a request TRACE"), "{found}");
    }
}
