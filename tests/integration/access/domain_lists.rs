//! Lists of domains: what a line looks like that is none, and lists that may be lenient.

use std::process::Command;

use crate::support::command::{check, program, run};
use crate::support::files::{EX_CONFIG, setup, users};
use crate::support::proxy::Setup;
use crate::support::request::{ALICE, request_of};

#[test]
fn lists_say_what_a_line_looks_like() {
    for (line, said, inline) in [
        (
            "^ads\\.example$",
            "a regular expression, which is not read; write example.org",
            "a regular expression, where a domain is expected",
        ),
        (
            "/ads[0-9]+/",
            "a regular expression",
            "a regular expression, where a domain is expected",
        ),
        (
            "https://example.org/",
            "leave out the scheme",
            "a URL, where a domain is expected",
        ),
        (
            "example.org:443",
            "a port is not a part of a domain",
            "a domain with a port",
        ),
        (
            "example.org/path",
            "a path is not a part",
            "a domain with a path",
        ),
        (
            "10.0.0.0/8",
            "put it into a list of networks",
            "an address or a network is not a domain",
        ),
        (
            "192.0.2.1",
            "put it into a list of networks",
            "an address is not a domain",
        ),
        (
            "www.*.example",
            "wildcards are not read",
            "wildcards are not read",
        ),
        (
            "a.example, b.example",
            "one domain per line",
            "more than one domain",
        ),
        (
            "address=/ads.example/0.0.0.0",
            "dnsmasq",
            "a domain with a path",
        ),
        (
            "local-zone: \"ads.example\" static",
            "name server",
            "more than one domain",
        ),
        ("ads.example CNAME .", "a DNS zone", "more than one domain"),
        (
            "acl bad dstdomain .ads.example",
            "Squid",
            "more than one domain",
        ),
        ("<html>", "HTML", "HTML"),
    ] {
        let setup = setup()
            .file("users.htpasswd", users())
            .file("list.txt", format!("# first\n{line}\nok.example # note\n"));
        let outcome = check(&setup);
        assert_eq!(outcome.code(), EX_CONFIG, "{line}: {}", outcome.output());
        let place = format!("{}:2: ", setup.path("list.txt").display());
        let found = outcome.stderr.lines().find(|line| line.starts_with(&place));
        assert!(
            found.is_some_and(|found| found.contains(said)),
            "{line}: {}",
            outcome.stderr
        );
        // In the configuration itself, too.
        let setup = Setup::new().config(&format!("egress: {{ deny_domains: ['{line}'] }}"));
        let outcome = check(&setup);
        assert!(
            outcome
                .stderr
                .contains(&format!("deny_domains[0]: {inline}")),
            "{line}: {}",
            outcome.stderr
        );
    }
}

const LENIENT: &str = "{ list: list.txt, lenient: true }";

#[test]
fn a_deny_list_may_be_lenient() {
    let setup = setup()
        .config(&format!(
            "egress: {{ deny_domains: [{LENIENT}] }}\npolicy: {{ rules: [] }}"
        ))
        .file("users.htpasswd", users())
        .file("list.txt", "listed.test\n^ads\\.\nother.test\n/x/\n");
    let said = "list.txt:2: warning: 2 entries of this lenient list left out, this first: a regular expression";
    let outcome = check(&setup);
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    assert_eq!(
        outcome.stderr.matches("left out").count(),
        1,
        "{}",
        outcome.stderr
    );
    let config = setup.write();
    let mut explain = Command::new(program());
    explain.args(["explain".as_ref(), "-c".as_ref(), config.as_os_str()]);
    explain.args(["--user", "alice", "--target", "http://listed.test/"]);
    let outcome = run(&mut explain, "");
    assert!(
        outcome
            .stderr
            .contains("note: 2 entries of lenient lists left out"),
        "{}",
        outcome.output()
    );

    let proxy = setup.start();
    let listed = request_of(ALICE, "GET", "http://listed.test/");
    assert_eq!(proxy.exchange(&listed).status(), 403);
    std::fs::write(proxy.path("list.txt"), "a.test\n||b.test\nother.test\n").unwrap();
    let answer = proxy.reload();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(
        answer.text().contains("\"left_out\":1"),
        "{}",
        answer.text()
    );
    assert_ne!(proxy.exchange(&listed).status(), 403);
    // Too many: nothing is changed.
    for text in [
        "<html>\n".repeat(40),
        format!("a.test\n{}", "x y\n".repeat(11)),
        "x y\n".to_owned(),
    ] {
        std::fs::write(proxy.path("list.txt"), text).unwrap();
        let answer = proxy.reload();
        assert_eq!(answer.status(), 422, "{}", answer.text());
        assert!(answer.text().contains("list.txt"), "{}", answer.text());
    }
}

#[test]
fn only_a_deny_list_may_be_lenient() {
    for yaml in [
        format!("egress: {{ allow_domains: [{LENIENT}] }}"),
        format!("policy: {{ rules: [{{ name: a, action: admit, domains: [{LENIENT}] }}] }}"),
        format!("policy: {{ rules: [{{ name: a, action: observe, domains: [{LENIENT}] }}] }}"),
    ] {
        let setup = setup().file("users.htpasswd", users()).config(&yaml);
        let outcome = check(&setup);
        assert_eq!(outcome.code(), EX_CONFIG, "{yaml}: {}", outcome.output());
        let said = "lenient: only a list that denies can be lenient; remove it";
        assert!(outcome.stderr.contains(said), "{yaml}: {}", outcome.stderr);
    }
    for yaml in [
        "auth: { htpasswd: { list: users.htpasswd, lenient: true } }",
        "auth: { lenient: true }",
        "auth: { groups: { list: groups.htgroup, lenient: true } }",
    ] {
        let setup = setup().file("users.htpasswd", users()).config(yaml);
        assert_eq!(check(&setup).code(), EX_CONFIG, "{yaml}");
    }
    // Named without it, the same file is read strictly.
    let setup = setup()
        .file("users.htpasswd", users())
        .file("list.txt", "a.test\n^b\n")
        .config(&format!("egress: {{ deny_domains: [{LENIENT}] }}"));
    let outcome = check(&setup);
    assert_eq!(outcome.code(), EX_CONFIG, "{}", outcome.output());
    assert!(
        outcome.stderr.contains("list.txt:2: a regular expression"),
        "{}",
        outcome.stderr
    );
}
