use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::keys::form::{Bytes, BytesOrNone, Flag, Take, Within};
use crate::config::yaml;

const SECOND: Duration = Duration::from_secs(1);

/// Reads `text` and returns what was reported, without the name of the file.
fn problems(text: &str, read: impl FnOnce(&mut Section<'_>)) -> Vec<String> {
    let diagnostics = Diagnostics::new(Path::new("f"));
    if let Some(node) = yaml::parse(text, &diagnostics)
        && let Some(mut root) = Section::root(&node, &diagnostics)
    {
        let keys = "d s c f l t m e k h o p w n a".split(' ');
        root.declare(&keys.collect::<Vec<_>>(), &[]);
        read(&mut root);
        root.finish();
    }
    let problems = diagnostics
        .finish(Some(()))
        .err()
        .map(|error| error.problems().to_vec());
    let shown = problems.unwrap_or_default().into_iter();
    shown
        .map(|problem| problem.to_string().replacen("f:", "", 1))
        .collect()
}

#[test]
fn good_values() {
    let text = "d: 30s\ns: 64KiB\nc: 7\nf: true\nl: [a, 'b']\nt: text\nm: {x: 1}\ne:\n";
    let none = problems(text, |root| {
        assert_eq!(
            Within(SECOND..=60 * SECOND).take(root, "d", SECOND),
            30 * SECOND
        );
        assert_eq!(Bytes(1..=1 << 20).take(root, "s", 1), 65_536);
        assert_eq!(Within(1..=9).take(root, "c", 1_usize), 7);
        assert!(Flag.take(root, "f", false));
        let list = root.list("l");
        assert_eq!(list[1].text(), Some("b"));
        assert_eq!(list[1].path, "l[1]");
        let path = root.item("t").unwrap().file(Path::new("/base"));
        assert_eq!(path, Some("/base/text".into()));
        let mut map = root.part("m").section();
        map.declare(&["x"], &[]);
        assert_eq!(Within(0..=1).take(&mut map, "x", 9_usize), 1);
        map.finish();
        // A section whose keys are all commented out has the defaults.
        let mut empty = root.part("e").section();
        assert_eq!(Within(0..=1).take(&mut empty, "x", 9_usize), 9);
        empty.finish();
        let missing: Option<u64> = BytesOrNone(0..=1).take(root, "missing", None);
        assert_eq!(missing, None);
        assert!(root.list("gone").is_empty());
    });
    assert_eq!(none, [""; 0]);
}

#[test]
fn bad_values_report_and_give_the_default() {
    let duration = |text: &str| {
        problems(text, |root| {
            assert_eq!(Within(SECOND..=60 * SECOND).take(root, "k", SECOND), SECOND);
        })
    };
    let size = |text: &str| {
        problems(text, |root| {
            assert_eq!(Bytes(1024..=1 << 20).take(root, "k", 5), 5)
        })
    };
    let count = |text: &str| {
        problems(text, |root| {
            assert_eq!(Within(1..=9).take(root, "k", 5_usize), 5)
        })
    };
    let flag = |text: &str| problems(text, |root| assert!(Flag.take(root, "k", true)));
    let list = |text: &str| problems(text, |root| assert!(root.list("k").is_empty()));
    let section = |text: &str| problems(text, |root| root.part("k").section().finish());

    let range = "write one from 1s to 1m, such as 1m";
    let sizes = "write one from 1KiB to 1MiB, in B, KiB, MiB, GiB or TiB";
    let cases: &[(Vec<String>, String)] = &[
        (duration("k: 0s"), format!("1: k: out of range; {range}")),
        (duration("k: 2m"), format!("1: k: out of range; {range}")),
        (duration("k: 99999999999999999999s"), format!("1: k: out of range; {range}")),
        (duration("k: 30"), "1: k: a duration needs a unit; add one of ms, s, m, h, d, as in 30s".into()),
        (duration("k: soon"), "1: k: not a duration; write a whole number and a unit, from 1s to 1m".into()),
        (duration("k:"), "1: k: has no value; write one behind the colon".into()),
        (duration("\nk: [1s]"), "2: k: a list, where a value is expected; write one behind the colon".into()),
        (duration("k: {a: 1}"), "1: k: a map, where a value is expected; write one behind the colon".into()),
        (size("k: 1023"), format!("1: k: out of range; {sizes}")),
        (size("k: 64K"), format!("1: k: not a size; {sizes}")),
        (size("k: -1"), format!("1: k: not a size; {sizes}")),
        (count("k: 0"), "1: k: out of range; write one from 1 to 9".into()),
        (count("k: 10"), "1: k: out of range; write one from 1 to 9".into()),
        (count("k: 99999999999999999999"), "1: k: out of range; write one from 1 to 9".into()),
        (count("k: 1.0"), "1: k: not a whole number; write one from 1 to 9".into()),
        (count("k: -5"), "1: k: not a whole number; write one from 1 to 9".into()),
        (count("k: 0x"), "1: k: not a whole number; write one from 1 to 9".into()),
        (count("k: 1_0"), "1: k: not a whole number; write one from 1 to 9".into()),
        (count("k: 0x10"), "1: k: out of range; write one from 1 to 9".into()),
        (duration("k: |\n  1s\n  2s\n"), "1: k: has several lines; write it on one line".into()),
        (count("k: two"), "1: k: not a whole number; write one from 1 to 9".into()),
        (duration("k: \"1s\\0\""), "1: k: has a control character; remove it".into()),
        (flag("k: yes"), "1: k: neither true nor false; write true or false".into()),
        (list("k: a"), "1: k: a single value, where a list is expected; write [one, two], or [] for an empty one".into()),
        (list("k:"), "1: k: has no value; write [one, two], or [] for an empty one".into()),
        (section("k: 1"), "1: k: a single value, where a map of keys is expected; write `key: value` lines".into()),
        (section("k:\n - a"), "1: k: a list, where a map of keys is expected; write `key: value` lines".into()),
        (problems("- a", |_| ()), "1: a list, where a map of keys is expected; write `key: value` lines".into()),
    ];
    for (reported, expected) in cases {
        assert_eq!(reported.join("\n"), *expected);
    }
}

#[test]
fn unknown_keys_get_the_nearest_known_one() {
    let text = "m:\n  conect: 1\n  tunnel-idle: 1\n  Drain: 1\n  colour: 1\n  my secret: 1\n";
    let reported = problems(text, |root| {
        let mut map = root.part("m").section();
        map.declare(&["connect", "tunnel_idle", "drain"], &[]);
        map.finish();
    });
    assert_eq!(
        reported,
        [
            "2: m.conect: unknown key; did you mean \"connect\"?",
            "3: m.tunnel-idle: unknown key; did you mean \"tunnel_idle\"?",
            "4: m.Drain: unknown key; did you mean \"drain\"?",
            "5: m.colour: unknown key; known here: connect, tunnel_idle, drain",
            "6: m.?: unknown key; known here: connect, tunnel_idle, drain",
        ]
    );
}

#[test]
fn what_was_refused_is_reported_once() {
    let reported = problems("a: *b\n", |root| {
        root.part("a").section().finish();
    });
    assert_eq!(reported.len(), 1, "{reported:?}");
}

#[test]
fn the_forms_of_the_core_schema() {
    let text =
        "n: Null\nh: 0x1F\no: 0o17\np: +5\nt: True\nf: FALSE\nw: |\n  a\n  b\ns: >-\n  30s\n";
    let none = problems(text, |root| {
        assert_eq!(Within(0..=99).take(root, "h", 1_usize), 31);
        assert_eq!(Within(0..=99).take(root, "o", 1_usize), 15);
        assert_eq!(Within(0..=99).take(root, "p", 1_usize), 5);
        assert!(Flag.take(root, "t", false));
        assert!(!Flag.take(root, "f", true));
        assert_eq!(root.item("w").unwrap().lines(), Some("a\nb"));
        assert_eq!(
            Within(SECOND..=60 * SECOND).take(root, "s", SECOND),
            30 * SECOND
        );
        root.part("n").section().finish();
    });
    assert_eq!(none, [""; 0]);
}

#[test]
fn keys_that_belong_elsewhere() {
    let diagnostics = Diagnostics::new(Path::new("f"));
    let node = yaml::parse("\nauth: 1\nlog: 2\n", &diagnostics).unwrap();
    let root = Section::root(&node, &diagnostics).unwrap();
    let found = root.misplaced(&["listeners", "log", "auth"]);
    assert_eq!(found, Some((2, vec!["log", "auth"])));
    assert_eq!(root.misplaced(&["dns"]), None);
    root.finish_with(|key| (key == "auth").then(|| "elsewhere".to_owned()));
    let error = diagnostics.finish(Some(())).unwrap_err().to_string();
    assert_eq!(
        error,
        "f:2: auth: unknown key; elsewhere\nf:3: log: unknown key; known here: "
    );
}

#[test]
fn scalars_for_pingora() {
    for (text, expected) in [
        ("k: 2", serde_json::json!(2)),
        ("k: -2", serde_json::json!(-2)),
        ("k: '2'", serde_json::json!("2")),
        ("k: true", serde_json::json!(true)),
        ("k: null", serde_json::json!(null)),
        ("k: NULL", serde_json::json!(null)),
        ("k: True", serde_json::json!(true)),
        ("k: 0x10", serde_json::json!(16)),
        ("k: !!str 2", serde_json::json!("2")),
        ("k: 1.5", serde_json::json!("1.5")),
        ("k: [a, 1]", serde_json::json!(["a", 1])),
    ] {
        let none = problems(text, |root| {
            assert_eq!(root.item("k").unwrap().json(), Some(expected));
        });
        assert_eq!(none, [""; 0]);
    }
    let reported = problems("k: {a: 1}", |root| {
        assert_eq!(root.item("k").unwrap().json(), None);
    });
    assert_eq!(reported.len(), 1);
}
