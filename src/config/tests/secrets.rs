//! What a secret has too much of, as far as the place where it is written shows that.

use super::{Setup, with};

const CANARY: &str = "canary-7c1e";

#[test]
fn a_secret_has_not_what_is_written_before_it() {
    let rule = |inject: &str| {
        format!(
            "  policy: {{ rules: [{{ name: a, action: admit, domains: [a.example], upgrade: https, inject: {{ {inject} }} }}] }}\n"
        )
    };
    let script = "  scripts: [{ name: a, roles: [forward], source: 'fn authorize(r) { r.set_header(\"authorization\", \
                  bearer(secret(\"s\"))); }' }]\n";
    let at = "warning: tollgate.policy.rules[0].inject";
    let alone = "put the secret alone into it, or write it as `fields: { authorization: SECRET }`";
    for (secret, more, expected) in [
        ("", rule("bearer: s"), String::new()),
        (
            "Bearer ",
            rule("bearer: s"),
            format!("{at}.bearer: the secret begins with Bearer, and Bearer is written before it; {alone}"),
        ),
        (
            "basic ",
            rule("bearer: s"),
            format!("{at}.bearer: the secret begins with Basic, and Bearer is written before it; {alone}"),
        ),
        (
            "Authorization: Bearer ",
            rule("bearer: s"),
            format!(
                "{at}.bearer: the secret begins with the name of the field, and Bearer is written before it; {alone}"
            ),
        ),
        (
            "Basic ",
            rule("basic: { user: u, password: s }"),
            format!("{at}.basic.password: the secret begins with Basic, and Basic is written before it; {alone}"),
        ),
        (
            "u:",
            rule("basic: { user: u, password: s }"),
            format!(
                "{at}.basic.password: the secret begins with the user and a colon, which are written before it too; \
                 put the password alone into it"
            ),
        ),
        ("Bearer ", rule("fields: { authorization: s }"), String::new()),
        (
            "X-Api-Key: ",
            rule("fields: { x-api-key: s }"),
            format!(
                "{at}.fields.x-api-key: the secret begins with the name of the field, which is written before it too; \
                 put the value alone into it"
            ),
        ),
        (
            " ",
            rule("bearer: s"),
            "warning: tollgate.secrets.s.file: secret has a space or a byte order mark before or behind the secret; \
             remove it, unless it is a part of the secret"
                .to_owned(),
        ),
        ("", script.to_owned(), String::new()),
        (
            "bearer ",
            script.to_owned(),
            "warning: tollgate.scripts[0].source: column 63: the secret begins with Bearer, and bearer(..) writes Bearer before it; \
             put the token alone into it, or write it without bearer(..)"
                .to_owned(),
        ),
    ] {
        let setup = Setup::new();
        setup.file("secret", format!("{secret}{CANARY}\n"));
        let yaml = with(&format!("  secrets: {{ s: {{ file: secret }} }}\n{more}"));
        let said = setup.load(&yaml).unwrap().warnings.to_string();
        let (_, said) = said.split_once("f.yaml:").unwrap_or_default();
        let (_, said) = said.split_once(": ").unwrap_or_default();
        let directory = format!("{}/", setup.directory.path().display());
        let said = said.replace(&directory, "");
        assert_eq!(said, expected, "{secret:?} {more}");
        assert!(!said.contains(CANARY), "{said}");
    }
}
