use proptest::prelude::*;

use super::*;
use crate::access::auth::NameError;
use crate::access::auth::UserError;

fn groups(text: &str) -> Groups {
    Groups::parse(text).unwrap()
}

fn of(groups: &Groups, user: &str) -> String {
    groups.of_user(user).collect::<Vec<_>>().join(",")
}

#[test]
fn members() {
    let groups = groups(
        "# who is who\r\n\
         ci: alice bob\r\n\
         \r\n\
         ops:\tcarol  alice\n\
         empty:\n\
         ci: dave alice\n\
         quoted : \"john doe\" 'it''s'x \n\
         odd: \"a \\\"b\\\" \\\\c\" o'hara bob\n\
         names: DOMAIN\\eve e-mail@example.org j\u{fc}rgen HOST$ \"doe, john\" '1x y' \"@ops\" _x"
            .replace("'it''s'x", "'it is'")
            .as_str(),
    );
    let names: Vec<_> = groups.names().collect();
    assert_eq!(names, ["ci", "ops", "empty", "quoted", "odd", "names"]);
    for (user, expected) in [
        ("alice", "ci,ops"),
        ("bob", "ci,odd"),
        ("carol", "ops"),
        ("dave", "ci"),
        ("john doe", "quoted"),
        ("it is", "quoted"),
        ("a \"b\" \\c", "odd"),
        ("o'hara", "odd"),
        ("DOMAIN\\eve", "names"),
        ("e-mail@example.org", "names"),
        ("j\u{fc}rgen", "names"),
        ("HOST$", "names"),
        ("doe, john", "names"),
        ("@ops", "names"),
        ("nobody", ""),
        ("", ""),
        ("Alice", ""),
    ] {
        assert_eq!(of(&groups, user), expected, "{user}");
    }
    assert!(groups.members().any(|user| user == "doe, john"));
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
        ("ci: alice, bob", GroupProblem::Divider),
        ("ci: alice ,bob", GroupProblem::Divider),
        ("ci: , bob", GroupProblem::Divider),
        ("contractors: alice,bob", GroupProblem::Divider),
        ("ci: alice;bob", GroupProblem::Divider),
        ("ci: alice | bob", GroupProblem::Divider),
        ("ci: alice\u{3001}bob", GroupProblem::Divider),
        ("admins: carol # bob left", GroupProblem::Comment),
        ("admins: carol #bob", GroupProblem::Comment),
        ("admins: carol# bob", GroupProblem::Comment),
        ("admins: carol // bob left", GroupProblem::Character('/')),
        ("admins: carol (bob left)", GroupProblem::Character('(')),
        ("admins: carol -- bob", GroupProblem::Character('-')),
        ("admins: carol \\", GroupProblem::Continuation),
        ("admins: carol\\", GroupProblem::Continuation),
        ("admins: john\\ doe", GroupProblem::Continuation),
        ("admins: @ops", GroupProblem::OtherGroup),
        ("admins: +ops", GroupProblem::OtherGroup),
        ("admins: %ops", GroupProblem::OtherGroup),
        ("admins: !bob", GroupProblem::Character('!')),
        ("admins: *", GroupProblem::Character('*')),
        ("admins: [alice bob]", GroupProblem::Character('[')),
        ("admins: {{ users }}", GroupProblem::Character('{')),
        ("admins: $USERS", GroupProblem::Character('$')),
        ("admins: <user>", GroupProblem::Character('<')),
        ("admins: = alice", GroupProblem::Character('=')),
        ("admins: al\"ice\"", GroupProblem::Character('"')),
        (
            "admins: \u{201c}alice\u{201d}",
            GroupProblem::Character('\u{201c}'),
        ),
        ("admins: alice\u{a0}bob", GroupProblem::Invisible('\u{a0}')),
        ("admins: alice\u{200b}", GroupProblem::Invisible('\u{200b}')),
        ("admins:\u{3000}alice", GroupProblem::Invisible('\u{3000}')),
        ("ad\u{ad}mins: alice", GroupProblem::Invisible('\u{ad}')),
        ("admins: \"DOMAIN\\alice\"", GroupProblem::Escape),
        ("admins: \" alice\"", GroupProblem::User(NameError::Space)),
        ("admins: '#alice'", GroupProblem::User(NameError::Comment)),
        ("admins: gh:a/b", GroupProblem::Colon),
        (
            "admins: 'a:b '",
            GroupProblem::User(NameError::User(UserError::Colon)),
        ),
        ("\"admins\": alice", GroupProblem::GroupInQuotes),
        ("ops,devs: alice", GroupProblem::GroupCharacter(',')),
        ("[ops]: alice", GroupProblem::GroupCharacter('[')),
        ("%ops: alice", GroupProblem::GroupCharacter('%')),
        ("ops := alice", GroupProblem::Character('=')),
        ("group = a b", GroupProblem::NoColon),
        ("ops:x:1000:alice,bob", GroupProblem::Colon),
        ("[ops]", GroupProblem::NoColon),
        ("; ops", GroupProblem::NoColon),
        ("ci: \"john doe", GroupProblem::Quote),
        ("ci: 'john\\", GroupProblem::Quote),
        ("ci: 'a'b", GroupProblem::BehindQuote),
        ("ci: \"\"", GroupProblem::NoUser),
        ("ci: al\u{7}ice", GroupProblem::ControlCharacter),
        (
            long.as_str(),
            GroupProblem::User(NameError::User(UserError::TooLong)),
        ),
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
            "line 1: no colon after the name of the group; write `group: user user`, and begin a comment with #",
            "line 3: no colon after the name of the group; write `group: user user`, and begin a comment with #",
        ]
    );
}

fn word() -> impl Strategy<Value = String> {
    "[^:\\p{Cc}]{1,12}".prop_filter("a name", |name| parse_name(name).is_ok())
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

    /// Every line other than a comment is read: each word without quotes is a member.
    #[test]
    fn no_word_is_skipped(lines in prop::collection::vec("[a-c]?:?[ \t]{0,2}([a-d#,;@'\"\\\\]{0,2}[ \t]{0,2}){0,4}", 0..6)) {
        let text = lines.join("\n");
        let is_counted = |line: &&str| {
            let line = line.trim_ascii();
            !line.is_empty() && !line.starts_with('#')
        };
        match Groups::parse(&text) {
            Ok(groups) => for line in text.lines().filter(is_counted).filter(|line| !line.contains(['"', '\''])) {
                let (group, members) = line.split_once(':').unwrap();
                let group = group.trim_ascii();
                prop_assert!(groups.contains(group));
                for member in members.split_ascii_whitespace() {
                    prop_assert!(groups.of_user(member).any(|name| name == group), "{}", line);
                }
            },
            Err(errors) => prop_assert!(errors.len() <= text.lines().filter(is_counted).count()),
        }
    }

    /// A written file is read again: every user is in exactly the groups that list the user.
    #[test]
    fn reads_what_is_written(
        lines in prop::collection::vec(("#?[a-z][a-z0-9_.-]{0,3}", prop::collection::vec(word(), 0..5)), 0..8),
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

/// The name of a token's user may have colons, and is written in quotes.
#[test]
fn users_of_tokens() {
    let groups =
        Groups::parse("ci: \"gh:org/repo\" 'k8s:system:serviceaccount:a:b' alice\n").unwrap();
    for user in ["gh:org/repo", "k8s:system:serviceaccount:a:b", "alice"] {
        assert_eq!(groups.of_user(user).collect::<Vec<_>>(), ["ci"], "{user}");
    }
    assert!(!groups.are_open() && groups.open().are_open());
}
