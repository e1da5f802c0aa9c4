//! The scripts of docs/scripts.md and of conf/examples.

use super::*;

/// The blocks of the document: the words behind `rhai`, and the text.
fn blocks(text: &str) -> Vec<(Vec<Role>, String)> {
    let blocks = text.split("\n```rhai").skip(1);
    blocks
        .map(|block| {
            let (words, rest) = block.split_once('\n').unwrap();
            let roles = Role::ALL.into_iter();
            let roles =
                roles.filter(|role| words.split_whitespace().any(|word| word == role.as_str()));
            (
                roles.collect(),
                rest.split("\n```").next().unwrap().to_owned(),
            )
        })
        .collect()
}

#[test]
fn each_script_of_the_document_is_right_and_runs() {
    let read = |name| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        blocks(&std::fs::read_to_string(path).unwrap())
    };
    let [scripts, programming] = ["docs/scripts.md", "docs/programming.md"].map(read);
    assert!(scripts.len() >= 7, "{}", scripts.len());
    assert!(!programming.is_empty());
    for (roles, text) in scripts.into_iter().chain(programming) {
        assert!(!roles.is_empty(), "{text}");
        let secret = SecretText::parse(SECRET.as_bytes()).unwrap();
        let source = Source {
            roles: roles.clone(),
            secrets: [("github_readonly".into(), secret)].into_iter().collect(),
            ..source(&text)
        };
        match Script::new(source) {
            Ok((script, warnings)) => {
                assert_eq!(warnings, [], "{text}");
                for role in roles {
                    let trial = run(&script, role, &[]);
                    assert!(
                        trial
                            .steps
                            .iter()
                            .all(|step| !matches!(step.verdict, Verdict::Fails { .. })),
                        "{text}: {trial}"
                    );
                }
            }
            Err(faults) => panic!("{text}: {faults:?}"),
        }
    }
}

/// What the document says that the program says.
#[test]
fn the_mistakes_of_the_document_are_told_so() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scripts.md");
    let document = std::fs::read_to_string(path).unwrap();
    for text in [
        "fn request(r) {\n    r.set_heder(\"x-team\", \"blue\");\n}",
        "fn request(r) {\n    if r.tls {\n        deny(403);\n    }\n    r.tag(\"a\", \"b\");\n}",
        "fn request(r) {\n    if r.header(\"user-agent\").contains(\"curl\") { r.tag(\"a\", \"b\"); }\n}",
    ] {
        let faults = match Script::new(in_role(Role::Forward, text)) {
            Ok((_, warnings)) => warnings,
            Err(faults) => faults,
        };
        let fault = &faults[0];
        let told = format!(
            "column {}: {}; {}",
            fault.column.unwrap(),
            fault.message,
            fault.remedy
        );
        assert!(document.contains(&told), "{told}");
    }
}
