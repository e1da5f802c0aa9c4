use proptest::prelude::*;

use super::*;

fn groups(text: &str) -> Groups {
    Groups::parse(text).unwrap()
}

fn of(groups: &Groups, user: &str) -> String {
    groups.of_user(user).collect::<Vec<_>>().join(",")
}

#[test]
fn members() {
    let groups = groups(
        "\u{feff}# who is who\r\n\
         ci: alice bob\r\n\
         \r\n\
         ops:\tcarol  alice\n\
         empty:\n\
         ci: dave alice\n\
         quoted : \"john doe\" 'it''s'x \n\
         odd: \"a \\\"b\\\" \\\\c\" o'hara bob"
            .replace("'it''s'x", "'it is'")
            .as_str(),
    );
    let names: Vec<_> = groups.names().collect();
    assert_eq!(names, ["ci", "ops", "empty", "quoted", "odd"]);
    for (user, expected) in [
        ("alice", "ci,ops"),
        ("bob", "ci,odd"),
        ("carol", "ops"),
        ("dave", "ci"),
        ("john doe", "quoted"),
        ("it is", "quoted"),
        ("a \"b\" \\c", "odd"),
        ("o'hara", "odd"),
        ("nobody", ""),
        ("", ""),
        ("Alice", ""),
    ] {
        assert_eq!(of(&groups, user), expected, "{user}");
    }
    assert!(groups.contains("empty") && !groups.contains("Empty") && !groups.contains(""));
}

#[test]
fn errors() {
    let long = format!("g: {}", "u".repeat(256));
    let long_group = format!("{}: u", "g".repeat(256));
    for (line, expected) in [
        ("alice", GroupProblem::NoColon),
        ("ci alice bob", GroupProblem::NoColon),
        (": alice", GroupProblem::NoGroup),
        ("ci alice: bob", GroupProblem::Space),
        ("alice:$2y$05$abc:x", GroupProblem::Colon),
        ("ci: alice, bob", GroupProblem::Comma),
        ("ci: alice ,bob", GroupProblem::Comma),
        ("ci: , bob", GroupProblem::Comma),
        ("ci: \"john doe", GroupProblem::Quote),
        ("ci: 'john\\", GroupProblem::Quote),
        ("ci: 'a'b", GroupProblem::Quote),
        ("ci: \"\"", GroupProblem::NoUser),
        ("ci: al\u{7}ice", GroupProblem::ControlCharacter),
        (long.as_str(), GroupProblem::TooLong),
        (long_group.as_str(), GroupProblem::TooLong),
    ] {
        let text = format!("a: b\n{line}\nc: d\n");
        let expected = vec![GroupError {
            line: 2,
            problem: expected,
        }];
        assert_eq!(Groups::parse(&text), Err(expected), "{line}");
    }
    let errors = Groups::parse("a\nb: c\nd\n").unwrap_err();
    let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "line 1: no colon after the name of the group; write `group: user user`",
            "line 3: no colon after the name of the group; write `group: user user`",
        ]
    );
}

fn word() -> impl Strategy<Value = String> {
    "[^:\\p{Cc}]{1,12}"
}

fn quote(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

proptest! {
    #[test]
    fn never_panics(text in "(?s).{0,200}") {
        let _ = Groups::parse(&text);
    }

    #[test]
    fn never_panics_on_lines(text in "([a-c]?:? ?[\"'\\\\, a-c]{0,8}\n){0,8}") {
        if let Err(errors) = Groups::parse(&text) {
            prop_assert!(errors.iter().all(|error| (1..=8).contains(&error.line)));
        }
    }

    /// What is written is read again: every user is in the groups that name them, and in no other.
    #[test]
    fn reads_what_is_written(
        lines in prop::collection::vec(("[a-z#0-9-]{0,3}x", prop::collection::vec(word(), 0..5)), 0..8),
        stranger in word(),
    ) {
        let mut text = String::new();
        for (group, members) in &lines {
            let members: Vec<String> = members.iter().map(|member| quote(member)).collect();
            text += &format!(" {group}: {}\n", members.join(" "));
        }
        let groups = Groups::parse(&text).unwrap();
        let read: Vec<_> = lines.iter().filter(|(group, _)| !group.starts_with('#')).collect();
        let mut users: Vec<&String> = read.iter().flat_map(|(_, members)| members).collect();
        users.push(&stranger);
        for user in users {
            for (group, _) in &read {
                let member = read.iter().any(|(name, members)| name == group && members.contains(user));
                prop_assert_eq!(groups.of_user(user).any(|name| name == group), member);
            }
            let mut names: Vec<_> = groups.of_user(user).collect();
            names.sort_unstable();
            names.dedup();
            prop_assert_eq!(names.len(), groups.of_user(user).count());
        }
    }
}
