//! Files in each other's place, and names that are written as if they were several: nothing of this is taken
//! for something else in silence, and the message says what the file is.

use crate::support::command::{Outcome, check, tollgate};
use crate::support::files::{EX_CONFIG, setup, users};
use crate::support::proxy::Setup;
use crate::support::request::{ALICE, BOB, sha_line};

const GROUPS: &str = "contractors: alice bob\nops: alice\n";
const LIST: &str = "listed.test\n.other.test\n";
const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n";
const ACCOUNTS: &str = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\n";

fn assert_refused(outcome: &Outcome, said: &str) {
    assert_eq!(outcome.code(), EX_CONFIG, "{}", outcome.output());
    let all = outcome.output();
    assert!(all.contains(said), "{said}: {all}");
    assert_eq!(all.matches("belongs").count(), 1, "{all}");
}

#[test]
fn a_file_of_another_kind_is_named_once() {
    let json = "{\n  \"users\": [\"alice\"]\n}\n".to_owned();
    for (name, wanted, others) in [
        (
            "users.htpasswd",
            "a file of users (htpasswd)",
            vec![
                (GROUPS.to_owned(), "a file of groups (htgroup)"),
                (LIST.to_owned(), "a list of domains"),
                (PEM.to_owned(), "a PEM file"),
                (ACCOUNTS.to_owned(), "a file of the accounts of a system"),
                (json.clone(), "a file of JSON"),
            ],
        ),
        (
            "groups.htgroup",
            "a file of groups (htgroup)",
            vec![
                (users(), "a file of users (htpasswd)"),
                (LIST.to_owned(), "a list of domains"),
                (PEM.to_owned(), "a PEM file"),
                (
                    "<html>\n<body>\n</body>\n</html>\n".to_owned(),
                    "a file of HTML or XML",
                ),
            ],
        ),
        (
            "list.txt",
            "a list of domains",
            vec![
                (users(), "a file of users (htpasswd)"),
                (GROUPS.to_owned(), "a file of groups (htgroup)"),
                (PEM.to_owned(), "a PEM file"),
                (
                    "version: 1\ntollgate:\n  listeners: []\n".to_owned(),
                    "a configuration of Tollgate",
                ),
            ],
        ),
    ] {
        for (text, found) in others {
            let setup = setup().file("users.htpasswd", users());
            let outcome = check(&setup.file(name, text.as_str()));
            let all = outcome.output();
            assert!(all.contains(&format!("{name}:1: ")), "{all}");
            assert!(
                all.contains(&format!("where {wanted} belongs; name {wanted} here")),
                "{all}"
            );
            assert_refused(&outcome, found);
        }
    }
}

#[test]
fn another_file_as_configuration_is_named() {
    for (text, found) in [
        (users(), "a file of users (htpasswd)"),
        (LIST.to_owned(), "a list of domains"),
        (PEM.to_owned(), "a PEM file"),
    ] {
        let setup = setup().file("other", text);
        let path = setup.path("other");
        let outcome = tollgate(["check".as_ref(), "-c".as_ref(), path.as_os_str()]);
        assert_refused(&outcome, found);
    }
}

#[test]
fn der_is_binary_and_not_of_another_encoding() {
    let der = b"0\x82\x03\x01\x02\x01\x03\xff\x00\x01";
    for name in ["users.htpasswd", "groups.htgroup", "list.txt"] {
        let setup = setup().file("users.htpasswd", users());
        let outcome = check(&setup.file(name, der.as_slice()));
        let all = outcome.output();
        assert_eq!(outcome.code(), EX_CONFIG, "{all}");
        assert!(
            all.contains("the file is binary, where text is expected; name a text file"),
            "{all}"
        );
        assert!(!all.contains("iconv"), "{all}");
    }
}

/// `alice/bob` is one name that no user has: a rule that denies it would deny neither.
#[test]
fn users_with_a_sign_between_are_an_error() {
    for sign in ["/", "&", "+", "=", "\u{b7}", "\u{ff1a}", "."] {
        let groups = format!("contractors: {}{sign}{}\n", ALICE.0, BOB.0);
        let setup = setup().file("users.htpasswd", users());
        let outcome = check(&setup.file("groups.htgroup", groups.as_str()));
        let all = outcome.output();
        assert_eq!(outcome.code(), EX_CONFIG, "{all}");
        assert!(
            all.contains("separate users by spaces only: `group: user user`"),
            "{all}"
        );
    }
    // A user whose name it is.
    let user = format!("{}/{}", ALICE.0, BOB.0);
    let setup = setup()
        .file("users.htpasswd", [users(), sha_line((&user, "x"))].concat())
        .file("groups.htgroup", format!("contractors: {user}\n"));
    let outcome = check(&setup);
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
}

fn rule(key: &str) -> Outcome {
    let policy = format!(
        "policy: {{ rules: [{{ name: a, action: deny, {key} }}, {{ name: b, action: admit, ports: [80] }}] }}"
    );
    check(&Setup::new().config(&policy).file("list.txt", LIST))
}

#[test]
fn entries_of_rules_that_mean_something_else_are_errors() {
    for (key, said) in [
        (
            "users: ['alice, bob']",
            "write each user as an entry of its own",
        ),
        (
            "users: ['alice;bob']",
            "write each user as an entry of its own",
        ),
        (
            "users: ['alice # bob']",
            "write comments outside of the quotes",
        ),
        ("users: ['*']", "remove the key to match every user"),
        ("users: ['{{ user }}']", "variables are not filled in here"),
        ("users: ['$USER']", "variables are not filled in here"),
        (
            "domains: ['{{ item }}']",
            "variables are not filled in here",
        ),
        ("domains: ['@']", "no file behind the @"),
        ("methods: ['*']", "remove the key to match every method"),
    ] {
        let outcome = rule(key);
        let all = outcome.output();
        assert_eq!(outcome.code(), EX_CONFIG, "{key}: {all}");
        assert!(all.contains(said), "{key}: {all}");
    }
    // Who was removed keeps nothing from being loaded.
    let outcome = rule("users: [carol]");
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
}

#[test]
fn a_list_file_without_its_sign_is_warned_about() {
    let outcome = rule("domains: ['list.txt']");
    let all = outcome.output();
    assert_eq!(outcome.code(), Some(0), "{all}");
    assert!(
        all.contains("read as a domain, though there is a file of this name; write \"@list.txt\""),
        "{all}"
    );
}
