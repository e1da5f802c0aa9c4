//! What `tollgate explain` and `tollgate script run` show of scripts.

use serde_json::{Value, json};

use super::scripts::{ALL, SECRET, all};
use crate::support::command::tollgate;

#[test]
fn commands_show_what_scripts_do_and_no_secret() {
    let setup = all();
    let conf = setup.write();
    let conf = conf.to_str().unwrap();
    let explain = |arguments: &[&str]| {
        let before = [
            "explain",
            "-c",
            conf,
            "--user",
            "alice",
            "--resolve",
            "127.0.0.1",
        ];
        let outcome = tollgate(before.iter().chain(arguments));
        assert!(!outcome.output().contains(SECRET));
        outcome
    };
    let outcome = explain(&[
        "--target",
        "http://a.test/x",
        "--status",
        "200",
        "--header",
        "Cookie: a",
    ]);
    assert!(
        outcome
            .stdout
            .contains("script all, upstream_request: goes on"),
        "{}",
        outcome.output()
    );
    assert!(
        outcome.stdout.contains("sets authorization: ***"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stdout.contains("script all, response: goes on"),
        "{}",
        outcome.stdout
    );
    let outcome = explain(&["--target", "http://a.test/denied"]);
    assert!(
        outcome
            .stdout
            .contains("authorize: denies with 451: not for alice"),
        "{}",
        outcome.stdout
    );
    let headline = outcome.stdout.lines().next().unwrap_or_default();
    assert_eq!(
        headline,
        "deny, by hook:all (451, http_request_denied): not for alice"
    );
    let alone = "the policy alone: admit, by allow_networks:127.0.0.0/8";
    assert!(outcome.stdout.contains(alone), "{}", outcome.stdout);
    // The tunnel, which the script is not for, is decided otherwise.
    assert!(
        outcome
            .stdout
            .contains("admit, by allow_networks:127.0.0.0/8\n  for CONNECT"),
        "{}",
        outcome.stdout
    );
    for (path, code, expected) in [
        (
            "x",
            0,
            json!(["admit", "allow_networks:127.0.0.0/8", null, null, null]),
        ),
        (
            "denied",
            1,
            json!([
                "deny",
                "hook:all",
                "http_request_denied",
                451,
                "not for alice"
            ]),
        ),
        ("whoami", 1, json!(["answer", "hook:all", null, 200, null])),
        (
            "throws",
            1,
            json!([
                "fail",
                "hook:all",
                "proxy_internal_error",
                500,
                "throws odd (line 8)"
            ]),
        ),
    ] {
        let outcome = explain(&["--target", &format!("http://a.test/{path}"), "--json"]);
        assert_eq!(outcome.code(), Some(code), "{}", outcome.output());
        let answer: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let keys = ["decision", "rule", "reason", "status", "message"];
        assert_eq!(json!(keys.map(|key| &answer[key])), expected, "{answer:#}");
        assert_eq!(answer["ways"][0]["rule"], answer["rule"]);
        assert_eq!(answer["ways"][1]["rule"], "allow_networks:127.0.0.0/8");
        let alone = match path {
            "x" => Value::Null,
            _ => json!({ "decision": "admit", "rule": "allow_networks:127.0.0.0/8" }),
        };
        assert_eq!(answer["policy"], alone, "{answer:#}");
    }

    let file = setup.path("all.rhai");
    let run = |arguments: &[&str]| {
        let before = ["script", "run", file.to_str().unwrap(), "--user", "alice"];
        tollgate(before.iter().chain(arguments))
    };
    let given = ["--setting", "team=red", "--secret", "token"];
    let target = |url| [&["--target", url][..], &given].concat();
    for (url, code, expected) in [
        ("https://a.test/x", 0, "sets x-team: red"),
        ("https://a.test/denied", 1, "denies with 451: not for alice"),
        ("https://a.test/whoami", 1, "answers with 200"),
        ("https://a.test/throws", 78, "fails: throws odd (line 8)"),
    ] {
        let outcome = run(&target(url));
        assert_eq!(outcome.code(), Some(code), "{}", outcome.output());
        assert!(outcome.stdout.contains(expected), "{}", outcome.output());
    }
    let outcome = run(&["--target", "http://a.test/x"]);
    assert_eq!(outcome.code(), Some(78));
    for remedy in [
        "`--setting team=VALUE`",
        "`--secret token`",
        "from a configuration: `-c FILE`",
    ] {
        assert!(outcome.stderr.contains(remedy), "{}", outcome.stderr);
    }
    assert_eq!(run(&["--target", "a b"]).code(), Some(64));
}

/// Settings, secrets, roles and groups are those of the configuration, but for the settings that are given.
#[test]
fn a_script_is_run_with_its_configuration() {
    let setup = all()
        .file("other.rhai", ALL)
        .file("groups", "blue: alice\n")
        .file(
            "of_group.rhai",
            "fn authorize(r) { if r.in_group(\"blue\") { return deny(`for ${settings.whom}`); } }",
        )
        .config(
            "auth: { groups: groups }\nscripts: [\
             { name: all, file: all.rhai, roles: [forward], settings: { team: blue } },\
             { name: of_group, file: of_group.rhai, settings: { whom: them } }]",
        );
    let conf = setup.write();
    let conf = conf.to_str().unwrap();
    for (file, more, target, code, expected) in [
        ("all.rhai", "", "http://a.test/x", 0, "sets x-team: blue"),
        (
            "all.rhai",
            "",
            "http://a.test/x",
            0,
            "sets authorization: ***",
        ),
        (
            "all.rhai",
            "--setting team=red",
            "http://a.test/x",
            0,
            "sets x-team: red",
        ),
        (
            "all.rhai",
            "",
            "a.test:443",
            0,
            "note: the script has no function for a request of this role",
        ),
        (
            "of_group.rhai",
            "",
            "a.test:443",
            1,
            "script of_group, authorize: denies with 403: for them",
        ),
        (
            "other.rhai",
            "",
            "http://a.test/x",
            64,
            "add it to tollgate.scripts, or leave -c out and give --setting and --secret",
        ),
    ] {
        let file = setup.path(file);
        let arguments = ["script", "run", "-c", conf, "--user", "alice", "--target"];
        let arguments = arguments.into_iter().chain([target]);
        let outcome = tollgate(
            arguments
                .chain(more.split_whitespace())
                .chain([file.to_str().unwrap()]),
        );
        assert_eq!(outcome.code(), Some(code), "{}", outcome.output());
        assert!(outcome.output().contains(expected), "{}", outcome.output());
        assert!(!outcome.output().contains(SECRET));
    }
}
