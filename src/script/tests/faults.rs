//! Each fault that a check finds, with its text.

use super::*;

/// The faults of a text as `line:column: message; remedy`.
fn faults(source: Source) -> Vec<String> {
    let shown = |fault: Fault| {
        let place = |number: Option<usize>| number.map_or_else(|| "-".into(), |n| n.to_string());
        format!(
            "{}:{}: {}; {}",
            place(fault.line),
            place(fault.column),
            fault.message,
            fault.remedy
        )
    };
    match Script::new(source) {
        Ok((_, warnings)) => warnings
            .into_iter()
            .map(|w| format!("warning {}", shown(w)))
            .collect(),
        Err(faults) => faults.into_iter().map(shown).collect(),
    }
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(faults(in_role(Role::Forward, text)), expected, "{text}");
}

#[test]
fn syntax_and_variables() {
    check(
        "fn request(r) {\n  let x = ;\n}",
        &["2:11: Unexpected ';'; correct the syntax"],
    );
    check(
        "fn request(r) { if hots == 1 { } }",
        &[
            "1:20: unknown variable `hots`; correct the name; a function sees its arguments and `settings` alone",
        ],
    );
    check(
        "",
        &[
            "-:-: no function; write a function such as `fn request(r) { .. }`; the phases are request, authorize, route, upstream_request, response, tunnel_open, tunnel_hello, tunnel_bytes, tunnel_close, log",
        ],
    );
}

#[test]
fn names_of_functions_and_values() {
    for (text, expected) in [
        (
            "fn reqest(r) { }",
            "1:14: reqest is no phase, and no function calls it; did you mean `request`?",
        ),
        (
            "fn request(r, x) { }",
            "1:18: the phase request has 1 argument; write `fn request(r) { .. }`",
        ),
        (
            "fn tunnel_bytes(t) { }",
            "1:20: the phase tunnel_bytes has 2 arguments; write `fn tunnel_bytes(t, moved) { .. }`",
        ),
        (
            "fn request(r) { r.set_heder(\"x\", \"y\"); }",
            "1:19: a request has no function `set_heder`; did you mean `set_header`?",
        ),
        (
            "fn request(r) { r.set_header(\"x\"); }",
            "1:19: set_header has 2 arguments, and is called with 1; correct the call",
        ),
        (
            "fn request(r) { if r.hots == \"a\" { r.tag(\"a\", \"b\"); } }",
            "1:22: a request has no `hots`; did you mean `host`?",
        ),
        (
            "fn request(r) { r.tag(\"a\", r.host()); }",
            "1:30: host is a value of a request, and no function; write `host` without parentheses",
        ),
        (
            "fn request(r) { if r.in_group { } }",
            "1:22: in_group is a function of a request, without its arguments; write `r.in_group(..)`",
        ),
        (
            "fn request(r) { r.host = \"a.example\"; }",
            "1:18: nothing is assigned to a request; use a function of it, such as set_header(name, value) or \
             set_target(\"host:port\")",
        ),
        (
            "fn request(r) { dney(403); }",
            "1:17: unknown function `dney`; did you mean `deny`?",
        ),
        (
            "fn request(r) { deny(403, \"no\"); r.tag(\"a\", \"b\"); }",
            "1:17: the value of deny is dropped, and the request goes on; write `return deny(..)`",
        ),
        (
            "fn request(r) { if r.tls { answer(200, \"\") } r.tag(\"a\", \"b\") }",
            "1:28: the value of answer is dropped, and the request goes on; write `return answer(..)`",
        ),
        (
            "fn request(r) { print(r.host); }",
            "1:17: scripts have no `print`; a script has no output; `r.tag(name, value)` writes into the log",
        ),
        (
            "fn request(r) { sleep(5); }",
            "1:17: scripts have no `sleep`; a script never waits",
        ),
        (
            "fn request(r) { eval(\"1\"); }",
            "1:17: scripts have no `eval`; a text is never run",
        ),
        (
            "fn request(r) { let x = r.path.strts_with(\"/a\"); }",
            "1:32: unknown function `strts_with`; did you mean `starts_with`?",
        ),
        (
            "fn request(r) { r.tag(\"team\", settings.taem); }",
            "1:40: settings has no `taem`; did you mean `team`?",
        ),
        (
            "fn upstream_request(r) { r.set_header(\"a\", secret(\"githup\")); }",
            "1:51: tollgate.secrets has no \"githup\"; did you mean \"github\"?",
        ),
        (
            "fn upstream_request(r) { r.set_header(\"a\", secret(\"other_one\")); }",
            "1:51: tollgate.secrets has no \"other_one\"; add it: `secrets: { other_one: { file: \
             /run/secrets/other_one } }`",
        ),
        (
            "fn route(r) { r.pool(\"wep\"); }",
            "1:22: there is no pool \"wep\"; did you mean \"web\"?",
        ),
        (
            "fn route(r) { r.via(\"crop\"); }",
            "1:21: there is no parent \"crop\"; did you mean \"corp\"?",
        ),
        (
            "fn upstream_request(r) { r.set_target(\"a:1\"); }",
            "1:28: set_target has no effect in the phase upstream_request; call it in request",
        ),
        (
            "fn request(r) { r.set_header(\"Content-Length\", \"1\"); }",
            "1:30: Content-Length: the field is written by the proxy alone; choose another field",
        ),
        (
            "fn request(r) { r.remove_header(\"a b\"); }",
            "1:33: \"a b\": not a field name; choose another field",
        ),
        (
            "fn request(r) { if r.host_under(\".Example\") { } }",
            "1:33: not a domain in lower case without a dot at its ends, such as corp.example; correct the argument",
        ),
        (
            "fn request(r) { if r.path_under(\"admin\") { } }",
            "1:33: not a path; write segments of A-Z, a-z, 0-9, -, ., _ and ~ with / before each; correct the argument",
        ),
        (
            "fn request(r) { } let x = 1;",
            "1:19: code outside of the functions never runs; move it into a function; constants of a script belong \
             into `settings`",
        ),
        (
            "fn helper(x, y) { x } fn request(r) { helper(1); }",
            "1:39: helper has 2 arguments, and is called with 1; correct the call",
        ),
        (
            "fn is_push(m) { m == \"PUT\" } fn request(r) { if is_pus(r.method) { r.tag(\"a\", \"b\"); } }",
            "1:49: unknown function `is_pus`; did you mean `is_push`?",
        ),
        (
            "fn request(r) { settings.team = \"x\"; }",
            "1:25: settings are constant; use a variable: `let x = settings.name`",
        ),
    ] {
        check(text, &[expected]);
    }
}

#[test]
fn every_fault_is_told_in_the_order_of_lines() {
    check(
        "fn request(r) {\n  r.hots;\n  r.set_heder(1, 2);\n}\nfn lgo(r) {}",
        &[
            "2:5: a request has no `hots`; did you mean `host`?",
            "3:5: a request has no function `set_heder`; did you mean `set_header`?",
            "5:11: lgo is no phase, and no function calls it; did you mean `log`?",
        ],
    );
}

#[test]
fn samples_find_errors_of_types() {
    check(
        "fn request(r) { r.set_header(\"x\", [1]); }",
        &[
            "1:19: request fails on a sample request in the role forward: set_header: x: the value is an array, where a \
           text is expected; correct the call",
        ],
    );
    check(
        "fn authorize(r) { r.user == \"root\" }",
        &[
            "-:-: authorize fails on a sample request in the role forward: authorize returns true or false, where \
           deny(..), answer(..) or nothing is expected; end the function with `return;` or a verdict",
        ],
    );
    check(
        "fn request(r) { if r.header(\"user-agent\").contains(\"curl\") { r.tag(\"a\", \"b\") } }",
        &[
            "warning 1:43: request fails on a sample request without fields in the role forward: no function for \
           contains ((), string); a field that is not there is (), and such requests get 500; write `?? \"\"` behind \
           it",
        ],
    );
    let gateway = in_role(Role::Gateway, "fn request(r) { if r.host.len() > 3 { } }");
    assert_eq!(
        faults(gateway),
        [
            "1:27: request fails on a sample request in the role gateway: no function for len (()); a request to the \
          gateway has no host and no port: they are (); write `?? \"\"` behind them, or leave the role out of `roles`"
        ]
    );
    // What the script throws itself, and a denial, are no faults.
    check("fn request(r) { throw \"no\"; }", &[]);
    check("fn request(r) { deny(451, \"no\") }", &[]);
}

#[test]
fn groups_that_no_user_is_in_are_warned_of() {
    let text = "fn authorize(r) { if r.in_group(\"agnets\") || r.in_group(\"robots\") { return deny(); } }";
    let warnings = |groups: Option<Vec<Box<str>>>| {
        let source = in_role(Role::Forward, text);
        faults(Source { groups, ..source })
    };
    let agnets = "warning 1:33: there is no group \"agnets\", and so no user is in it;";
    let robots = "warning 1:57: there is no group \"robots\", and so no user is in it;";
    assert_eq!(
        warnings(Some(vec!["agents".into()])),
        [
            format!("{agnets} did you mean \"agents\"?"),
            format!("{robots} add the group to the file of auth.groups"),
        ]
    );
    assert_eq!(
        warnings(Some(Vec::new())),
        [agnets, robots].map(|text| format!("{text} name a group file in auth.groups"))
    );
    // Credentials may say any group.
    assert!(warnings(None).is_empty());
    check(
        "fn request(r) { if r.in_group(\"agents\") || r.group() == \"x\" { return deny(); } }",
        &[
            "warning 1:22: in_group is always false in the phase request, which is before the user is known; call it in \
             authorize",
            "warning 1:46: group is always () in the phase request, which is before the user is known; call it in \
             authorize",
        ],
    );
}

/// What `tollgate script run` says without a configuration.
#[test]
fn remedies_for_a_script_alone_name_options() {
    let alone = |text: &str| {
        let source = Source {
            is_alone: true,
            ..in_role(Role::Forward, text)
        };
        faults(source)
    };
    assert_eq!(
        alone("fn request(r) { r.tag(\"a\", settings.other); }"),
        [
            "1:37: settings has no `other`; give it: `--setting other=VALUE`, or take all from a configuration: `-c FILE`"
        ]
    );
    assert_eq!(
        alone("fn request(r) { r.set_header(\"a\", secret(\"other_one\")); }"),
        [
            "1:42: the command line has no \"other_one\"; give a placeholder: `--secret other_one`, or take all from a \
             configuration: `-c FILE`"
        ]
    );
}

#[test]
fn what_is_right_has_no_fault() {
    for text in [
        "fn first(list) { list[0] } fn request(r) { r.tag(\"a\", first([1, 2])); }",
        "fn request(r) { let hosts = settings.hosts; if r.host in hosts { r.tag(\"a\", \"b\"); } }",
        "fn request(r) { for g in r.groups.filter(|g| g.starts_with(\"x\")) { r.tag(\"g\", g); } }",
        "fn request(r) { switch r.method { \"GET\" => (), \"PUT\" | \"POST\" => deny(405), _ => answer(400, #{\"x-a\": 1}, \"\") } }",
        "fn request(r) { try { if r.path_under(\"/a\") { r.tag(\"x\", \"y\"); } } catch (e) { r.tag(\"e\", `${e}`); } }",
        "fn request(r) { let q = r; q.set_header(\"x\", q.host); }",
    ] {
        check(text, &[]);
    }
}
