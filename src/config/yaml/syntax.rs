//! What is not YAML, and what is most likely meant.

use saphyr_parser::ScanError;

use super::super::problem::Diagnostics;

/// Reports what the parser stumbled over. The text of its errors is fixed, but for one character in
/// one of them.
pub(super) fn report(text: &str, error: &ScanError, diagnostics: &Diagnostics) {
    let line = error.marker().line();
    // A tab in front of a line is found by the parser where the line before began, or as something else.
    let tab = (1..)
        .zip(text.lines())
        .skip(line.saturating_sub(1))
        .find(|(_, text)| {
            let indentation = text.len() - text.trim_start().len();
            text.bytes().take(indentation).any(|byte| byte == b'\t')
        });
    if let Some((line, _)) = tab {
        let message = "not YAML: a tab in the indentation";
        diagnostics.report(
            Some(line),
            "",
            message,
            Some("indent with spaces".to_owned()),
        );
        return;
    }
    let written = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let (message, remedy) = explain(error.info(), written);
    diagnostics.report(
        Some(line),
        "",
        format!("not YAML: {message}"),
        Some(remedy.to_owned()),
    );
}

/// The message and the remedy. `info` is what the parser says of the line `written`.
fn explain<'i>(info: &'i str, written: &str) -> (&'i str, &'static str) {
    let value = written.split_once(": ").map_or(written, |(_, value)| value);
    let value = value.trim_start().trim_start_matches("- ").trim_start();
    let templates = ["{{", "{%", "<%", "${"];
    if templates.iter().any(|start| written.contains(start)) {
        (info, "fill in the template first")
    } else if written.contains(":\t") {
        ("a tab after a colon", "write a space there")
    } else if info.contains("unexpected character: `@'") {
        let message = "a value cannot begin with @ unless it is in quotes";
        (message, "put it into quotes, as in \"@allowed.txt\"")
    } else if info.contains("unexpected character: `%'")
        || info.contains("unexpected character: ``'")
    {
        (info, "put the value into quotes")
    } else if info.contains("unknown anchor") {
        let message = "an alias (a value that begins with *) without its anchor";
        (
            message,
            "put a value that begins with * into quotes, or write `&name` at the value that it stands for",
        )
    } else if value.starts_with('[') && written.contains("]:") {
        (info, "put IPv6 addresses into quotes, as in \"[::1]:8888\"")
    } else {
        (info, "check indentation, colons and quotes")
    }
}
