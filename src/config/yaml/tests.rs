use std::path::Path;

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> (Option<Node>, String) {
    let diagnostics = Diagnostics::new(Path::new("f"));
    let node = parse(text, &diagnostics);
    let problems = diagnostics
        .finish(Some(()))
        .err()
        .map(|error| error.to_string());
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
        source: None,
    };
    assert_eq!(
        items[1],
        Node {
            line: 5,
            value: quoted
        }
    );
}

const EMPTY: &str = "f: the file has no configuration in it; write a configuration; conf/pingora.yaml is a short one";

#[test]
fn what_is_refused() {
    let deep = "[".repeat(40);
    let keys: String = (0..300).map(|key| format!("k{key}: 1\n")).collect();
    let cases: &[(&str, &str)] = &[
        ("", EMPTY),
        ("# only a comment\n", EMPTY),
        ("---\n", EMPTY),
        ("---\n...\n", EMPTY),
        ("~\n", EMPTY),
        ("a: 1\nb: \0 c", "f:2: a control character; remove it"),
        (
            "a:\n  b: 1\n  b: 2\n  c: 1\n  c: 2\n",
            "f:3: a.b: given twice, first on line 2; keep one of the two\n\
             f:5: a.c: given twice, first on line 4; keep one of the two",
        ),
        (
            "a: &x [1, *x]\n",
            "f:1: a[1]: an alias of the value that it stands in; write the value out",
        ),
        (
            "a: !!binary aGk=\nb: !vault x\nc: !!map [1]\nd: !!seq 5\n",
            &["a", "b", "c", "d"]
                .iter()
                .zip(1..)
                .map(|(key, line)| {
                    format!(
                        "f:{line}: {key}: a tag that is not of YAML's core schema; remove it, or put the value into \
                         quotes if it begins with `!`"
                    )
                })
                .collect::<Vec<_>>()
                .join("\n"),
        ),
        (
            "a: &x 1\nb: {<<: *x, c: 1}\n",
            "f:2: b.<<: not a map, which alone can be merged; write `<<: *name`, where `&name` stands at a map",
        ),
        (
            "a: 1\n---\nb: 2\n",
            "f:2: a second document; keep one, and remove `---` lines below it",
        ),
        (
            &keys,
            "f:257: too many keys; remove those that are not read",
        ),
        (
            "a: {{ x }}\n",
            "f:1: a: a key that is not text; write `key: value`; braces such as {{ }} are of a template that was not filled in",
        ),
        (
            "? [a]\n: b\n",
            "f:1: a key that is not text; write `key: value`; braces such as {{ }} are of a template that was not filled in",
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

fn scalar(text: &str) -> (String, bool) {
    let (node, problems) = read(text);
    assert_eq!(problems, "", "{text:?}");
    let Value::Map(entries) = node.unwrap().value else {
        panic!("{text:?} is no map");
    };
    match &entries.last().unwrap().node.value {
        Value::Scalar { text, plain, .. } => (text.clone(), *plain),
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn scalars_in_every_style() {
    for (text, expected, is_plain) in [
        ("k: v\n", "v", true),
        ("k:   v   # comment\n", "v", true),
        ("k: a\n  b\n", "a b", true),
        ("'k': 'it''s'\n", "it's", false),
        ("\"k\" : \"\\u00e9\\/\"\n", "\u{e9}/", false),
        ("{\"k\":\"v\"}", "v", false),
        ("{\n\t\"k\":\n\t\t\"v\"\n}\n", "v", false),
        ("%YAML 1.2\n---\nk: v\n...\n", "v", true),
        ("---\nk: v\n", "v", true),
        ("--- # comment\nk: v\n...\n# comment\n", "v", true),
        ("? k\n: v\n", "v", true),
        ("k: |\n  a\n  b\n", "a\nb", false),
        ("k: |2-\n    a\n   b\n", "  a\n b", false),
        ("k: |+ # comment\n  a\n\n\n", "a", false),
        ("k: >\n  a &&\n  b\n\n", "a && b", false),
        ("k: >-\n\n  a\n", "\na", false),
        ("k: !!str 5\n", "5", false),
        ("k: ! 5\n", "5", false),
        ("k: !!int \"5\"\n", "5", true),
        ("k: !<tag:yaml.org,2002:str> 5\n", "5", false),
        (
            "%TAG !y! tag:yaml.org,2002:\n---\nk: !y!str 5\n",
            "5",
            false,
        ),
        ("a: &x v\nk: *x\n", "v", true),
    ] {
        assert_eq!(scalar(text), (expected.to_owned(), is_plain), "{text:?}");
    }
}

#[test]
fn aliases_copy_and_merge() {
    let plain = |text: &str| read(text).0.unwrap();
    let values = |node: Node| {
        let Value::Map(entries) = node.value else {
            panic!("not a map");
        };
        let last = entries.into_iter().next_back().unwrap();
        let Value::Map(entries) = last.node.value else {
            panic!("not a map");
        };
        let mut found: Vec<_> = entries
            .into_iter()
            .map(|entry| match entry.node.value {
                Value::Scalar { text, .. } => (entry.key, text),
                other => panic!("{other:?}"),
            })
            .collect();
        found.sort();
        found
    };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let copied = values(plain("a: &x {b: 1, c: 2}\nd: *x\n"));
    assert_eq!(copied, [pair("b", "1"), pair("c", "2")]);
    let merged = values(plain("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\n"));
    assert_eq!(merged, [pair("b", "1"), pair("c", "3")]);
    let merged = values(plain(
        "a: &x {b: 1}\ne: &y {b: 2, c: 2}\nd: {c: 3, <<: [*x, *y]}\n",
    ));
    assert_eq!(merged, [pair("b", "1"), pair("c", "3")]);
}

/// Each alias names the one before twice: as text, two to the power of their number.
#[test]
fn aliases_of_aliases_are_bounded() {
    let mut text = "a0: &a0 [x]\n".to_owned();
    for number in 1..20 {
        let before = number - 1;
        text += &format!("a{number}: &a{number} [*a{before}, *a{before}]\n");
    }
    let problems = read(&text).1;
    assert!(problems.contains("nests values too deeply"), "{problems}");
    let long = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(100_000),
        "*a, ".repeat(20)
    );
    let problems = read(&long).1;
    // Where a value stands is not copied with it: indentation is no text.
    let indented = format!(
        "a: &a |\n{}x\nb: [{}]\n",
        " ".repeat(200_000),
        "*a, ".repeat(20_000)
    );
    assert_eq!(read(&indented).1, "");
    let expected = "f:2: b[10]: aliases that make the file larger than 1 MiB; write the value out";
    assert_eq!(problems, expected);
}

#[test]
fn places_of_a_value_of_several_lines() {
    for (text, line, column, expected) in [
        ("k: |\n  ab\n\n   cd e\n", 1, 1, (2, 3)),
        ("k: |\n  ab\n\n   cd e\n", 3, 2, (4, 4)),
        ("k: |\n  ab\n\n   cd e\n", 3, 5, (4, 7)),
        ("k: |2\n    ab\n", 1, 3, (2, 5)),
        ("k: >\n  ab &&\n  cd\n", 1, 7, (3, 3)),
        ("k: >\n  ab &&\n  cd\n", 1, 9, (3, 5)),
        ("k: >\n  ab\nl: 1\n", 1, 3, (2, 5)),
        ("k: |\n  ab\n\nl: 1\n", 1, 3, (2, 5)),
        ("k: [ab\n  cd, e]\n", 1, 6, (2, 5)),
        ("k: ab\n  cd\n", 1, 5, (2, 4)),
        ("k: 'ab\n  cd'\n", 1, 4, (2, 3)),
        ("k:\n  - |\n    \u{e9} b\n", 1, 3, (3, 7)),
    ] {
        let (node, problems) = read(text);
        assert_eq!(problems, "");
        let mut node = node.unwrap();
        let (text, source) = loop {
            node = match node.value {
                Value::Map(mut entries) => entries.remove(0).node,
                Value::List(mut nodes) => nodes.remove(0),
                Value::Scalar { text, source, .. } => break (text, source.unwrap()),
                Value::Refused => panic!("refused"),
            };
        };
        assert_eq!(source.place(&text, line, column), expected, "{text:?}");
    }
}

#[test]
fn usual_mistakes_have_a_remedy() {
    for (text, expected) in [
        (
            "a: @allowed.txt\n",
            "f:1: not YAML: a value cannot begin with @ unless it is in quotes; put it into quotes, as in \"@allowed.txt\"",
        ),
        (
            "a: [*.example.org]\n",
            "f:1: not YAML: an alias (a value that begins with *) without its anchor; put a value that begins with * \
             into quotes, or write `&name` at the value that it stands for",
        ),
        (
            "a:\t1\n",
            "f:1: not YAML: a tab after a colon; write a space there",
        ),
    ] {
        assert_eq!(read(text).1, expected, "{text:?}");
    }
    let bare = read("a: [::]:8888\n").1;
    assert!(
        bare.ends_with("put IPv6 addresses into quotes, as in \"[::1]:8888\""),
        "{bare}"
    );
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
