//! YAML as people and templates write it: read as the core schema of YAML 1.2 has it, or refused with what to do.

use crate::support::command::{Outcome, tollgate};
use crate::support::proxy::Setup;

/// `tollgate check` of a text as it is, but for the port, which is one that is free.
fn check(text: impl AsRef<[u8]>) -> Outcome {
    let setup = Setup::new();
    let path = setup.path("tollgate.yaml");
    let text = match std::str::from_utf8(text.as_ref()) {
        Ok(text) => text
            .replace("127.0.0.1:8888", &setup.address().to_string())
            .into_bytes(),
        Err(_) => text.as_ref().to_vec(),
    };
    std::fs::write(&path, text).unwrap();
    let checked = tollgate(["check".as_ref(), "-c".as_ref(), path.as_os_str()]);
    assert!(
        !checked.output().contains("panicked"),
        "{}",
        checked.output()
    );
    checked
}

const WHOLE: &str = "version: 1
tollgate:
  listeners:
    - address: \"127.0.0.1:8888\"
      http2: true
  auth:
    htpasswd: users.htpasswd
";

/// The lines of a rule in [`WHOLE`]; the first is line 8.
fn with_rule(lines: &str) -> String {
    let indented: String = lines
        .lines()
        .map(|line| format!("        {line}\n"))
        .collect();
    format!("{WHOLE}  policy:\n    rules:\n      - name: r\n        action: deny\n{indented}")
}

#[test]
fn what_the_core_schema_allows_is_read() {
    let flow = "{\"version\": 1, \"tollgate\": {\"listeners\": [{\"address\":\"127.0.0.1:8888\"}],\n\
                \t\"auth\": {\"htpasswd\": \"users.htpasswd\"}}}";
    for (what, text) in [
        ("plain", WHOLE.to_owned()),
        ("start and end", format!("---\n{WHOLE}...\n")),
        ("directive", format!("%YAML 1.2\n---\n{WHOLE}")),
        (
            "comments",
            format!("# one\n\n--- # two\n{WHOLE}# three\n...\n# four\n"),
        ),
        ("byte order mark", format!("\u{feff}{WHOLE}")),
        ("CRLF", WHOLE.replace('\n', "\r\n")),
        ("blanks at line ends", WHOLE.replace('\n', "  \n")),
        ("no final line end", WHOLE.trim_end().to_owned()),
        ("JSON", flow.to_owned()),
        ("True", WHOLE.replace("true", "True")),
        ("TRUE", WHOLE.replace("true", "TRUE")),
        (
            "tags",
            WHOLE
                .replace("version: 1", "version: !!int 1")
                .replace(": users", ": !!str users"),
        ),
        ("hexadecimal", WHOLE.replace("version: 1", "version: 0x1")),
        ("octal", WHOLE.replace("version: 1", "version: 0o1")),
        (
            "quoted keys",
            WHOLE
                .replace("version", "\"version\"")
                .replace("auth", "'auth'"),
        ),
        (
            "block",
            WHOLE.replace(": users.htpasswd", ": |\n      users.htpasswd"),
        ),
        (
            "folded",
            WHOLE
                .replace(": users.htpasswd", ": >-\n\n      users.htpasswd\n\n")
                .replace(">-\n\n", ">-\n"),
        ),
        (
            "list at the key",
            WHOLE
                .replace("    - address", "  - address")
                .replace("      http2", "    http2"),
        ),
        (
            "null sections",
            format!("{WHOLE}  timeouts: ~\n  limits: null\n  log: Null\n  dns: NULL\n  gateway:\n"),
        ),
        (
            "anchors",
            format!("{WHOLE}  timeouts: {{ connect: &time 5s, response: *time }}\n"),
        ),
        (
            "merge keys",
            format!(
                "{WHOLE}  policy_tests:\n    - &t {{user: alice, target: 'a.test:443', expect: admit}}\n    - {{<<: *t, target: 'b.test:443'}}\n"
            ),
        ),
    ] {
        let outcome = check(&text);
        assert_eq!(
            outcome.code(),
            Some(0),
            "{what}: {}\n{text}",
            outcome.output()
        );
    }
}

#[test]
fn expressions_are_written_in_every_style() {
    for lines in [
        "when: user.name == \"alice\"",
        "when: 'user.name == \"alice\"'",
        "when: |\n  user.name == \"alice\"",
        "when: |-\n  user.name == \"alice\"\n  || user.name == \"bob\"",
        "when: |+\n  user.name == \"alice\" // a comment\n  && request.port == 443\n\n",
        "when: |2\n    user.name == \"alice\"",
        "when: >\n  user.name == \"alice\" ||\n  user.name == \"bob\"",
        "when: user.name == \"alice\" ||\n  user.name == \"bob\"",
        "when: \"user.name == \\\"alice\\\"\\n|| request.port == 443\"",
        "message: >\n  Ask the help desk\n  for access.\nwhen: true",
    ] {
        let outcome = check(with_rule(lines));
        assert_eq!(outcome.code(), Some(0), "{lines}: {}", outcome.output());
    }
}

/// The block's own lines count from the top of the file, and columns from its left edge.
#[test]
fn problems_in_blocks_have_their_line() {
    for (lines, place) in [
        (
            "when: |\n  usr.name == \"alice\"",
            ":13: tollgate.policy.rules[0].when: column 11: ",
        ),
        (
            "when: |\n  user.name == \"alice\"\n  && usr.name == \"b\"",
            ":14: tollgate.policy.rules[0].when: column 14: ",
        ),
        (
            "when: |\n\n  user.name == \"alice\"\n\n  && usr.name == \"b\"",
            ":16: tollgate.policy.rules[0].when: column 14: ",
        ),
        (
            "when: >-\n  user.name == \"alice\"\n  && usr.name == \"b\"",
            ":14: tollgate.policy.rules[0].when: column 14: ",
        ),
        (
            "when: user.name == \"alice\"\n  && usr.name == \"b\"",
            ":13: tollgate.policy.rules[0].when: column 14: ",
        ),
        (
            "when: usr.name == \"alice\"",
            ":12: tollgate.policy.rules[0].when: column 1: ",
        ),
        (
            "message: |\n  one\n  two",
            ":12: tollgate.policy.rules[0].message: has several lines; ",
        ),
        (
            "when: |\n",
            ":12: tollgate.policy.rules[0].when: is empty; ",
        ),
    ] {
        let outcome = check(with_rule(lines));
        assert_eq!(outcome.code(), Some(78), "{lines}: {}", outcome.output());
        assert!(
            outcome.stderr.contains(place),
            "{lines}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn what_is_not_read_is_refused_with_a_remedy() {
    let wide: Vec<u8> = WHOLE.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (what, text, words) in [
        (
            "two documents",
            format!("{WHOLE}---\na: 1\n").into_bytes(),
            [":8: ", "second document"],
        ),
        (
            "UTF-16",
            [vec![0xff, 0xfe], wide].concat(),
            ["UTF-16", "iconv"],
        ),
        (
            "NUL",
            WHOLE.replace("8888", "88\088").into_bytes(),
            [":4: ", "NUL"],
        ),
        (
            "empty",
            b"".to_vec(),
            ["no configuration", "conf/pingora.yaml"],
        ),
        (
            "only a start",
            b"---\n".to_vec(),
            ["no configuration", "conf/pingora.yaml"],
        ),
        (
            "only comments",
            b"# nothing\n".to_vec(),
            ["no configuration", "conf/pingora.yaml"],
        ),
        (
            "tab",
            WHOLE.replace("    - ", "\t- ").into_bytes(),
            [":4: ", "spaces"],
        ),
        (
            "tab after a colon",
            WHOLE.replace("version: ", "version:\t").into_bytes(),
            [":1: ", "space"],
        ),
        (
            "template",
            WHOLE
                .replace("\"127.0.0.1:8888\"", "{{ address }}")
                .into_bytes(),
            [":4: ", "template"],
        ),
        (
            "list file without quotes",
            format!("{WHOLE}  egress:\n    deny_domains: [@deny.txt]\n").into_bytes(),
            [":9: ", "quotes"],
        ),
        (
            "wildcard without quotes",
            format!("{WHOLE}  egress:\n    deny_domains: [*.example.org]\n").into_bytes(),
            [":9: ", "quotes"],
        ),
        (
            "IPv6 without quotes",
            WHOLE
                .replace("\"127.0.0.1:8888\"", "[::]:8888")
                .into_bytes(),
            [":4: ", "quotes"],
        ),
        (
            "tag of another program",
            WHOLE.replace(": users", ": !vault users").into_bytes(),
            [":7: ", "tag"],
        ),
        (
            "yes",
            WHOLE.replace("true", "yes").into_bytes(),
            [":5: ", "true or false"],
        ),
        (
            "key twice",
            format!("{WHOLE}  auth: {{}}\n").into_bytes(),
            [":8: ", "given twice, first on line 6"],
        ),
        (
            "alias of itself",
            WHOLE
                .replace("tollgate:", "tollgate: &a\n  x: *a")
                .into_bytes(),
            [":3: ", "write the value out"],
        ),
    ] {
        let outcome = check(&text);
        assert_eq!(outcome.code(), Some(78), "{what}: {}", outcome.output());
        for word in words {
            assert!(
                outcome.stderr.contains(word),
                "{what}: no {word:?} in {}",
                outcome.stderr
            );
        }
    }
}

/// One line that says what is missing, and no list of keys that are not the problem.
#[test]
fn a_forgotten_tollgate_is_one_line() {
    let text = WHOLE
        .replace("tollgate:\n", "")
        .lines()
        .map(|line| line.strip_prefix("  ").unwrap_or(line).to_owned() + "\n")
        .collect::<String>();
    let outcome = check(&text);
    assert_eq!(outcome.code(), Some(78));
    let lines: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{}", outcome.stderr);
    for word in [
        ":2: tollgate: missing",
        "`listeners`, `auth`",
        "write a line `tollgate:`",
    ] {
        assert!(lines[0].contains(word), "{}", outcome.stderr);
    }
    assert!(lines[0].len() < 300, "{}", outcome.stderr);
    // The other way round.
    let outcome = check(format!("{WHOLE}  threads: 2\n"));
    assert!(
        outcome
            .stderr
            .contains(":8: tollgate.threads: unknown key; write it at the top"),
        "{}",
        outcome.stderr
    );
    let outcome = check(format!("{WHOLE}log: {{}}\n"));
    assert!(
        outcome
            .stderr
            .contains(":8: log: unknown key; write it below `tollgate:`"),
        "{}",
        outcome.stderr
    );
}
