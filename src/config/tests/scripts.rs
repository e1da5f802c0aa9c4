//! `tollgate.scripts`, `tollgate.script_limits` and `tollgate.secrets`: what is taken over, and what is refused.

use std::time::Duration;

use super::{Setup, check, with};

const SECRET: &str = "s3cr3t-v4lu3-9d1f";

#[test]
fn scripts_are_compiled_in_their_order() {
    let setup = Setup::new();
    setup.file(
        "one.rhai",
        "fn upstream_request(r) { r.set_header(\"x-a\", secret(\"token\")); }",
    );
    setup.file("token", format!("{SECRET}\n"));
    let yaml = with(
        "  secrets: { token: { file: token }, other: { env: PATH } }\n  \
           script_limits: { time: 5ms }\n  \
           scripts:\n  \
             - { name: one, file: one.rhai, on_error: skip, roles: [forward] }\n  \
             - { name: two, source: 'fn log(r) { r.tag(\"a\", settings.list[1]); }', settings: { list: [a, 2], on: true } }\n",
    );
    let config = setup.load(&yaml).unwrap();
    let names: Vec<&str> = config.scripts.iter().map(|script| script.name()).collect();
    assert_eq!(names, ["one", "two"]);
    assert!(!format!("{config:?}").contains(SECRET));
    assert_eq!(
        crate::config::scripts::ScriptLimits::default().time,
        Duration::from_millis(2)
    );
}

#[test]
fn faults_of_scripts_have_their_places() {
    let setup = Setup::new();
    setup.file(
        "bad.rhai",
        "fn request(r) {\n  r.set_heder(\"a\", \"b\");\n}\nfn lgo(r) { }\n",
    );
    assert_eq!(
        setup.problems(&with("  scripts: [{ name: bad, file: bad.rhai }]\n")),
        "bad.rhai:2: tollgate.scripts[0].file: column 5: a request has no function `set_heder`; did you mean \
         `set_header`?\n\
         bad.rhai:4: tollgate.scripts[0].file: column 11: lgo is no phase, and no function calls it; did you mean `log`?"
    );
    check(
        "  scripts:\n    - name: bad\n      source: |\n        fn request(r) {\n          r.hots;\n        }\n",
        "f.yaml:9: tollgate.scripts[0].source: column 13: a request has no `hots`; did you mean `host`?",
    );
    check(
        "  scripts: [{ name: bad, source: 'fn request(r) { x }' }]\n",
        "f.yaml:5: tollgate.scripts[0].source: column 17: unknown variable `x`; correct the name; a function sees its \
         arguments and `settings` alone",
    );
}

#[test]
fn keys_of_scripts() {
    for (script, expected) in [
        (
            "{ source: 'fn log(r) {}' }",
            "f.yaml:5: tollgate.scripts[0].name: missing; write a name, such as `name: team-headers`",
        ),
        (
            "{ name: A b, source: 'fn log(r) {}' }",
            "f.yaml:5: tollgate.scripts[0].name: not the name of a script; write up to 64 of a-z, 0-9, - and _",
        ),
        (
            "{ name: a }",
            "f.yaml:5: tollgate.scripts[0].file: missing; name a file, as in `file: scripts/team.rhai`, or write `source: |`",
        ),
        (
            "{ name: a, file: b, source: c }",
            "f.yaml:5: tollgate.scripts[0].source: beside `file`; keep one of both",
        ),
        (
            "{ name: a, file: gone.rhai }",
            "f.yaml:5: tollgate.scripts[0].file: gone.rhai does not exist; make it, with a function such as `fn request(r) { .. }`",
        ),
        (
            "{ name: a, source: 'fn log(r) {}', roles: [] }",
            "f.yaml:5: tollgate.scripts[0].roles: an empty list, which no request is in; fill it, or remove the key for every role",
        ),
        (
            "{ name: a, source: 'fn log(r) {}', on_error: ignore }",
            "f.yaml:5: tollgate.scripts[0].on_error: neither deny nor skip; write deny or skip",
        ),
        (
            "{ name: a, source: 'fn log(r) {}', settings: { 1a: b } }",
            "f.yaml:5: tollgate.scripts[0].settings.1a: not the name of a setting; write up to 64 letters, digits and _, a letter first",
        ),
        (
            "{ name: a, source: 'fn log(r) {}', settings: { a: [[1]] } }",
            "f.yaml:5: tollgate.scripts[0].settings.a[0]: not a setting; write a text, a whole number, true, false or a list of them; a text may be in quotes",
        ),
    ] {
        check(&format!("  scripts: [{script}]\n"), expected);
    }
    check(
        "  scripts: [{ name: a, source: 'fn log(r) {}' }, { name: a, source: 'fn log(r) {}' }]\n",
        "f.yaml:5: tollgate.scripts[1].name: the name of another script; give each script a name of its own",
    );
}

#[test]
fn a_group_of_a_script_that_no_user_is_in_is_a_warning() {
    let setup = Setup::new();
    setup.file("groups", "agents: alice\n");
    let script = "  scripts: [{ name: a, roles: [tunnel], source: 'fn authorize(r) { if r.in_group(\"agnets\") { \
                  return deny(); } }' }]\n";
    let warnings = |auth: &str| {
        let yaml = with(script).replace("htpasswd: users", &format!("htpasswd: users{auth}"));
        let config = setup.load(&yaml).unwrap();
        config.warnings.to_string()
    };
    let expected = "tollgate.scripts[0].source: column 33: there is no group \"agnets\", and so no user is in it; did you \
                    mean \"agents\"?";
    let found = warnings(", groups: groups");
    assert!(found.contains(expected), "{found}");
    let found =
        warnings(", groups: groups, external: { url: \"http://127.0.0.1:9000/\", ask: always }");
    assert!(!found.contains("no group"), "{found}");
    // A hook of a program may know other groups, after a reload as well.
    setup.file(
        "f.yaml",
        with(script).replace("htpasswd: users", "htpasswd: users, groups: groups"),
    );
    let embedded = crate::config::Config::embedded(&setup.path()).unwrap();
    let reloaded = embedded.reloader().reload().unwrap();
    for warnings in [embedded.warnings, reloaded.warnings] {
        assert!(!warnings.to_string().contains("no group"), "{warnings}");
    }
}

#[test]
fn a_test_that_expects_a_hook_names_a_script() {
    let test = |name: &str| {
        with(&format!(
            "  scripts: [{{ name: team, source: 'fn authorize(r) {{ deny() }}' }}]\n  policy_tests: [{{ user: alice, \
             target: 'a.example:443', expect: deny, rule: \"hook:{name}\" }}]\n"
        ))
    };
    let problems = |name: &str| Setup::new().problems(&test(name));
    assert!(Setup::new().load(&test("team")).is_ok());
    assert_eq!(
        problems("taem"),
        "f.yaml:6: tollgate.policy_tests[0].rule: no script is named \"taem\", and hooks of a program are not tried; did \
         you mean hook:team?"
    );
    assert_eq!(
        problems("NoArchives"),
        "f.yaml:6: tollgate.policy_tests[0].rule: no script is named \"NoArchives\", and hooks of a program are not tried; \
         name a script, or test the hook in its program"
    );
    // One with a fault is named all the same.
    let faulty = test("team").replace("deny()", "dney()");
    let problems = Setup::new().problems(&faulty);
    assert!(
        problems.contains("unknown function") && !problems.contains("no script"),
        "{problems}"
    );
}

#[test]
fn secrets_are_read_and_never_shown() {
    let setup = Setup::new();
    setup.file("empty", "\n");
    setup.file("two-lines", format!("{SECRET}\n{SECRET}\n"));
    setup.file("long", SECRET.repeat(1000));
    for (secret, expected) in [
        (
            "{ file: gone }",
            "f.yaml:5: tollgate.secrets.s.file: gone does not exist; make it, with the secret alone in it",
        ),
        (
            "{ file: empty }",
            "f.yaml:5: tollgate.secrets.s.file: empty is empty; put the secret alone into it, one line of up to 4096 bytes",
        ),
        (
            "{ file: two-lines }",
            "f.yaml:5: tollgate.secrets.s.file: two-lines has a control character or a second line, which no field can have; put the secret alone into it, one line of up to 4096 bytes",
        ),
        (
            "{ env: TOLLGATE_GONE }",
            "f.yaml:5: tollgate.secrets.s.env: the environment has no TOLLGATE_GONE; set it where the process is started, or name a file",
        ),
        (
            "{ env: a b }",
            "f.yaml:5: tollgate.secrets.s.env: not the name of a variable; write letters, digits and _",
        ),
        (
            "{ credential: ../a }",
            "f.yaml:5: tollgate.secrets.s.credential: not the name of a credential; write letters, digits, -, _ and .",
        ),
        (
            "{ file: a, env: b }",
            "f.yaml:5: tollgate.secrets.s.file: more than one place; keep one of file, env and credential",
        ),
        (
            "{ }",
            "f.yaml:5: tollgate.secrets.s.file: missing: the secret is nowhere; write `file: PATH`, `env: NAME` or `credential: NAME`",
        ),
        (
            SECRET,
            "f.yaml:5: tollgate.secrets.s: a value, where a secret is only named; write where it is: `{ file: PATH }`, `{ env: NAME }` or `{ credential: NAME }`",
        ),
    ] {
        let found = setup.problems(&with(&format!("  secrets: {{ s: {secret} }}\n")));
        assert_eq!(found, expected);
        // What names the secret is right, and not told to add it.
        let named = setup.problems(&with(&format!(
            "  secrets: {{ s: {secret} }}\n  scripts: [{{ name: a, roles: [forward], source: 'fn request(r) {{ \
             r.set_header(\"x\", bearer(secret(\"s\"))); }}' }}]\n  policy: {{ rules: [{{ name: a, action: admit, \
             domains: [a.example], upgrade: https, inject: {{ bearer: s }} }}] }}\n"
        )));
        assert_eq!(named, expected);
    }
    let long = setup.problems(&with("  secrets: { s: { file: long } }\n"));
    assert!(
        long.contains("tollgate.secrets.s.file") && !long.contains(SECRET),
        "{long}"
    );
}

#[test]
fn tests_of_a_configuration_call_scripts() {
    let setup = Setup::new();
    setup.file("token", SECRET);
    let scripts = "  secrets: { token: { file: token, clear_text: true } }\n  \
        gateway: { pools: [{ name: api, path: /api, upstreams: ['127.0.0.1:80'] }] }\n  \
        scripts:\n    - name: s\n      source: |\n        \
          fn request(r) {\n          if (r.header(\"user-agent\") ?? \"\").contains(\"curl\") { return deny(451, \"no curl\"); }\n          \
          r.set_header(\"x-team\", \"blue\"); r.remove_header(\"cookie\"); r.set_header(\"x-token\", secret(\"token\"));\n          \
          if r.role == \"gateway\" { r.pool(\"api\"); }\n        }\n";
    let problem = |test: &str| {
        let yaml = with(&format!(
            "{scripts}  policy_tests:\n    - {{ user: alice, {test} }}\n"
        ));
        match setup.load(&yaml) {
            Ok(_) => String::new(),
            Err(error) => {
                let shown = setup.shown(&error);
                assert!(!shown.contains(SECRET));
                let text = shown.split("policy_tests[0]: ").nth(1).unwrap().to_owned();
                text.split("; correct the").next().unwrap().to_owned()
            }
        }
    };
    for (test, expected) in [
        (
            "target: 'http://a.example/', expect: admit, request_headers: { cookie: a }, expect_headers: { X-Team: blue, cookie: null, x-token: '***' }",
            "",
        ),
        (
            "target: 'http://a.example/', expect: deny, request_headers: { user-agent: curl/8 }, expect_status: 451, expect_message: no curl, rule: 'hook:s'",
            "",
        ),
        ("target: /x, expect: admit, expect_pool: api", ""),
        (
            "target: 'http://a.example/', expect: admit, request_headers: { user-agent: curl/8 }",
            "expected admit, found that script s denies with 451: no curl in request",
        ),
        (
            "target: 'http://a.example/', expect: deny, request_headers: { user-agent: curl/8 }, expect_status: 403",
            "expected the status 403, found 451",
        ),
        (
            "target: 'http://a.example/', expect: admit, expect_headers: { x-team: red }",
            "expected the field x-team \"red\", found \"blue\"",
        ),
        (
            "target: 'http://a.example/', expect: admit, expect_headers: { x-team: null }",
            "expected the field x-team none, found \"blue\"",
        ),
        (
            "target: /x, expect: admit, expect_pool: web",
            "expected the pool web, found api",
        ),
        (
            "target: 'http://a.example/', expect: admit, expect_status: 200",
            "expected an answer, found that the request goes on",
        ),
        (
            "target: 'http://10.0.0.1/', expect: deny, expect_headers: { x-team: blue }",
            "expected a request that goes upstream, and it is denied",
        ),
        (
            "target: 'http://10.0.0.1/', expect: deny, expect_status: 404",
            "expected the status 404, found 403",
        ),
    ] {
        assert_eq!(problem(test), expected, "{test}");
    }
}

#[test]
fn a_reload_names_what_changed_and_reads_secrets_again() {
    let setup = Setup::new();
    setup.file("token", SECRET);
    setup.file("one.rhai", "fn log(r) { r.tag(\"a\", \"b\"); }");
    let running = setup
        .load(&with("  secrets: { t: { file: token } }\n  scripts: [{ name: one, file: one.rhai, settings: { a: 1 } }]\n"))
        .unwrap();
    let changes = || {
        let reloaded = running.reloader().reload().unwrap();
        assert_eq!(reloaded.scripts.len(), 1);
        running.values().changes_to(&reloaded.values)
    };
    assert!(changes().applied.is_empty());
    setup.file("token", "another");
    assert_eq!(changes().applied, ["tollgate.secrets.t.file"]);
    setup.file("one.rhai", "fn log(r) { r.tag(\"a\", \"c\"); }");
    assert_eq!(
        changes().applied,
        ["tollgate.scripts", "tollgate.secrets.t.file"]
    );
    setup.file("one.rhai", "fn log(r) { nothing }");
    assert!(running.reloader().reload().is_err());
}
