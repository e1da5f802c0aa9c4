//! Rules for the sources of the tests themselves.

use std::path::{Path, PathBuf};

/// The lines that may pause a thread, by file below `tests/` and text: the poll loop with a deadline.
const ALLOWED: [(&str, &str); 2] = [
    (
        "integration/support.rs",
        "std::thread::sleep(Duration::from_millis(5));",
    ),
    // The time of a phase is what these tests read.
    (
        "integration/operations/times.rs",
        "std::thread::sleep(PAUSE);",
    ),
];

/// Calls that let time pass without an event that ends them.
const PAUSES: [&str; 4] = ["sleep", "sleep_until", "sleep_ms", "park_timeout"];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// Whether a line calls one of [`PAUSES`], or imports it.
fn pauses(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or("");
    let mut words = code.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_'));
    let is_import = code.trim_start().starts_with("use ");
    words.any(|word| {
        let name = word.trim_end_matches(|c: char| !(c.is_alphanumeric() || c == '_'));
        PAUSES.contains(&name) && (is_import || word.ends_with('('))
    })
}

#[test]
fn pauses_are_found_in_every_spelling() {
    for line in [
        "    std::thread::sleep(PAUSE);",
        "use std::thread::sleep;",
        "    use tokio::time::{sleep, timeout};",
        "tokio::time::sleep_until(then).await;",
        "std::thread::park_timeout(x)",
    ] {
        assert!(pauses(line), "{line}");
    }
    for line in ["// sleep(1)", "let asleep = is_asleep(x);", "sleep.reset()"] {
        assert!(!pauses(line), "{line}");
    }
}

/// A test waits for an event with a deadline: a pause is too short on a busy machine and too long on others.
#[test]
fn tests_do_not_sleep() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    assert!(paths.len() > 70, "{paths:?}");
    let mut allowed = ALLOWED.to_vec();
    let mut wrong = Vec::new();
    for path in paths {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
        if name == "integration/sources.rs" {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| pauses(line)) {
            let is_this = |it: &(&str, &str)| *it == (name, line.trim());
            match allowed.iter().position(is_this) {
                Some(at) => drop(allowed.remove(at)),
                None => wrong.push(format!("{name}:{}: {}", number + 1, line.trim())),
            }
        }
    }
    assert!(wrong.is_empty(), "wait for an event:\n{}", wrong.join("\n"));
    assert!(allowed.is_empty(), "no longer there: {allowed:?}");
}
