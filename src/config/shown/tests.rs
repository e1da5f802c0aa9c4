use std::path::Path;

use super::*;
use crate::config::keys::shape::Shape;
use crate::config::problem::Diagnostics;
use crate::config::reference::tables;
use crate::config::yaml;
use crate::telemetry::UserKey;

fn shown_with(text: &str, names: &UserNames) -> String {
    let diagnostics = Diagnostics::new(Path::new("f.yaml"));
    Shown::of(&yaml::parse(text, &diagnostics).unwrap()).text(names)
}

fn shown(text: &str) -> String {
    shown_with(text, &UserNames::Plain)
}

#[test]
fn what_is_shown_is_read_as_the_same() {
    let text = "
a: 1
b: '1'   # a comment
c: [x, 'y: z', 10.0.0.0/8]
d:
  - name: one
    list: [{ a: 1 }, { b: [2] }]
  - two
e: {}
f: []
g:
h: |
  several
  lines
'odd key': \"tab\\t\"
i: [[1, 2], [3]]
j: true
k: '@list.txt'
";
    let read = |text: &str| serde_yaml::from_str::<serde_yaml::Value>(text).unwrap();
    let mut expected = read(text);
    // The line end at the end of a block is not kept.
    expected["h"] = "several\nlines".into();
    let once = shown(text);
    assert_eq!(read(&once), expected, "{once}");
    assert_eq!(shown(&once), once);
}

#[test]
fn secrets_are_masked() {
    let shown = shown(
        "
url: 'https://user:geheim@a.test/path?key=geheim#x'
urls: ['http://geheim@10.0.0.1:3128']
password: geheim
settings: { key: geheim, list: [geheim, { x: geheim }] }
scripts: [{ source: 'let key = geheim;' }]
inject: { fields: { X-Key: geheim }, basic: { user: u, password: geheim } }
request_headers: ['X: geheim']
path: /srv/file
",
    );
    assert!(!shown.contains("geheim"), "{shown}");
    assert!(shown.contains("https://***@a.test/path?***"), "{shown}");
    assert!(shown.contains("path: /srv/file"), "{shown}");
}

/// Every value of a key that names users, and their like in other places.
const WITH_USERS: &str = "
log: { users: hashed }
policy:
  rules:
    - { name: r, users: [alice, '1234'], when: 'user.name == \"alice\"', tunnel: { when: 'alice' } }
    - name: s
      users:
        - alice
limits: { classes: [{ name: c, users: [alice] }], store: { user: tollgate } }
auth: { trusted_networks: [{ networks: [10.0.0.0/8], user: alice }] }
policy_tests: [{ user: alice, claims: { sub: alice, list: [alice] }, expect: admit }]
";

#[test]
fn names_of_users_are_shown_as_everywhere() {
    let read = |text: &str| serde_yaml::from_str::<serde_yaml::Value>(text).unwrap();
    assert_eq!(read(&shown(WITH_USERS)), read(WITH_USERS));

    let key = UserKey::of("a secret of the operator");
    let hashed = shown_with(WITH_USERS, &UserNames::Hashed(key.clone()));
    assert!(!hashed.contains("alice"), "{hashed}");
    assert!(!hashed.contains("1234"), "{hashed}");
    let found = read(&hashed);
    let alice = serde_yaml::Value::from(key.show("alice"));
    let rule = &found["policy"]["rules"][0];
    assert_eq!(rule["users"][0], alice);
    assert_eq!(rule["users"][1], key.show("1234").as_str());
    assert_eq!(rule["name"], "r");
    assert_eq!(
        (&rule["when"], &rule["tunnel"]["when"]),
        (&MASK.into(), &MASK.into())
    );
    assert_eq!(found["policy"]["rules"][1]["users"][0], alice);
    assert_eq!(found["limits"]["classes"][0]["users"][0], alice);
    assert_eq!(found["auth"]["trusted_networks"][0]["user"], alice);
    assert_eq!(found["policy_tests"][0]["user"], alice);
    // What is no user of the proxy is shown.
    assert_eq!(found["log"]["users"], "hashed");
    assert_eq!(found["limits"]["store"]["user"], "tollgate");
}

/// Whether values in this form name users.
fn names_users(shape: &Shape) -> bool {
    match shape {
        Shape::Text(what, _) => ["the name of a user", "an expression"].contains(what),
        Shape::Texts(what) => what.contains("claims"),
        Shape::List { of, .. } => names_users(of),
        Shape::Either(shapes) => shapes.iter().any(names_users),
        _ => false,
    }
}

#[test]
fn every_key_that_names_users_is_known() {
    let mut count = 0;
    for table in tables() {
        for key in table.keys.iter().filter(|key| names_users(&key.shape)) {
            let path = table.path.trim_end_matches("[]");
            let parent = path.rsplit('.').next().unwrap_or(path);
            let treatment = treatment(parent, key.name);
            let is_known = matches!(treatment, Treatment::User | Treatment::Mention);
            assert!(is_known, "{}.{}", table.path, key.name);
            count += 1;
        }
    }
    assert!(count >= 7, "{count}");
}
