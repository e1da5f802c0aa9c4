use std::path::Path;

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> (Option<Node>, String) {
    let sink = Sink::new(Path::new("f"));
    let node = parse(text, &sink);
    let problems = sink.finish(Some(())).err().map(|error| error.to_string());
    (node, problems.unwrap_or_default())
}

#[test]
fn nodes_know_their_lines() {
    let (node, problems) = read("\u{feff}# comment\na: 1\nb:\n  - x\n  - 'y'\nc:\n");
    assert_eq!(problems, "");
    let Value::Map(entries) = node.unwrap().value else {
        panic!("not a map");
    };
    let lines: Vec<_> = entries
        .iter()
        .map(|entry| (entry.key.as_str(), entry.line))
        .collect();
    assert_eq!(lines, [("a", 2), ("b", 3), ("c", 6)]);
    assert!(entries[2].node.is_null());
    let Value::List(items) = &entries[1].node.value else {
        panic!("not a list");
    };
    let quoted = Value::Scalar {
        text: "y".into(),
        plain: false,
    };
    assert_eq!(
        items[1],
        Node {
            line: 5,
            value: quoted
        }
    );
}

#[test]
fn what_is_refused() {
    let deep = "[".repeat(40);
    let keys: String = (0..300).map(|key| format!("k{key}: 1\n")).collect();
    let cases: &[(&str, &str)] = &[
        ("", "f: the file is empty; see conf/pingora.yaml"),
        (
            "# only a comment\n",
            "f: the file is empty; see conf/pingora.yaml",
        ),
        ("a: 1\nb: \0 c", "f:2: a control character; remove it"),
        (
            "a:\n  b: 1\n  b: 2\n  c: 1\n  c: 2\n",
            "f:3: a.b: given twice, first on line 2; keep one of the two\n\
             f:5: a.c: given twice, first on line 4; keep one of the two",
        ),
        (
            "a: &x [1]\nb: [2, *x]\n",
            "f:1: a: an anchor; anchors are not read; write the value out where it is used\n\
             f:2: b[1]: an alias; aliases are not read; write the value out",
        ),
        (
            "a: !!binary aGk=\n",
            "f:1: a: a tag; tags are not read; remove it",
        ),
        (
            "a: 1\n---\nb: 2\n",
            "f:2: a second document; keep one, without another `---`",
        ),
        (
            &keys,
            "f:257: too many keys; remove those that are not read",
        ),
        (
            "? [a]\n: b\n",
            "f:1: a key that is not text; write `key: value`",
        ),
        (
            &deep,
            "f:1: [0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: nested too deeply; check the indentation",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text).1, *expected, "{text:?}");
    }
}

#[test]
fn broken_syntax_has_its_line_and_no_text() {
    for (text, line) in [
        ("a: 1\n\tb: hunter2\n", 2),
        ("a: 1\nb: [hunter2\n", 3),
        ("a: 'hunter2\n", 1),
        ("a: 1\nhunter2\n", 3),
        ("a: 1\nb: *hunter2\n", 2),
        ("a: 1\n  b: hunter2\n", 2),
        ("%YAML 3\na: hunter2", 1),
    ] {
        let (node, problems) = read(text);
        assert_eq!(node, None, "{text:?}");
        let start = format!("f:{line}: not YAML: ");
        assert!(problems.starts_with(&start), "{text:?}: {problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}

#[test]
fn a_key_that_is_none_is_not_shown() {
    assert_eq!(join("a", "b-c"), "a.b-c");
    assert_eq!(join("", "b"), "b");
    for key in ["", "my secret", "\u{1b}[2J", &"x".repeat(65)] {
        assert_eq!(join("a", key), "a.?");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_text_never_panics(text in "(?s).{0,200}") {
        read(&text);
    }

    #[test]
    fn arbitrary_punctuation_never_panics(text in "[-\\[\\]{}:,#&*!|>'\"%@`?~<.a1 \t\n]{0,60}") {
        read(&text);
    }
}
