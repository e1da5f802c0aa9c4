use super::*;

#[test]
fn kinds() {
    let hash = "alice:$2y$05$abc\nbob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n";
    for (text, expected) in [
        ("", None),
        ("# a comment\n", None),
        (hash, Some((TextKind::Htpasswd, 1))),
        (
            "# of us\n\nadmins: alice bob\nops: carol\nidle:\n",
            Some((TextKind::Htgroup, 3)),
        ),
        // A password as it is, most likely.
        ("alice: secret\n", None),
        ("alice:secret\n", None),
        (
            "root:x:0:0:root:/root:/bin/sh\n",
            Some((TextKind::Accounts, 1)),
        ),
        (
            "staff:x:50:alice,bob\nadm:x:4:\n",
            Some((TextKind::Accounts, 1)),
        ),
        ("example.org\n.example.com\n", Some((TextKind::Domains, 1))),
        (
            "[Adblock Plus 2.0]\n! x\n||ads.example^\n",
            Some((TextKind::Domains, 1)),
        ),
        (
            "127.0.0.1 localhost\n0.0.0.0 ads.example\n",
            Some((TextKind::Domains, 1)),
        ),
        ("secret\n", None),
        (
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            Some((TextKind::Pem, 1)),
        ),
        (
            "subject: x\n-----BEGIN CERTIFICATE-----\n",
            Some((TextKind::Pem, 2)),
        ),
        ("<!DOCTYPE html>\n<html>", Some((TextKind::Markup, 1))),
        ("<<<<<<< HEAD\nversion: 1\n=======\n", None),
        ("{\n  \"a\": 1\n}\n", Some((TextKind::Json, 1))),
        (
            "version: 1\ntollgate:\n  listeners: []\n",
            Some((TextKind::Configuration, 1)),
        ),
        ("example.org\nalice:$2y$05$abc\n", None),
    ] {
        assert_eq!(TextKind::of(text), expected, "{text:?}");
    }
}

#[test]
fn each_names_what_is_wanted() {
    for kind in [
        TextKind::Pem,
        TextKind::Htgroup,
        TextKind::Markup,
        TextKind::Json,
    ] {
        assert!(
            kind.remedy(TextKind::Htpasswd)
                .contains("name a file of users")
        );
    }
}
