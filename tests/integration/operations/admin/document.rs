//! The commands of docs/admin.md, as they stand there.

use std::process::Command;

use crate::support::admin::{ROOT, with_users};
use crate::support::command::{is_installed, run};
use crate::support::documents::{read, root};

/// The commands between fences of `sh`, a line each.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("```sh\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap().lines());
    lines.map(str::to_owned).collect()
}

#[test]
fn every_command_does_what_it_says() {
    if !is_installed(&["curl", "--version"]) {
        return;
    }
    let mut proxy = with_users().start();
    let text = read(&root().join("docs/admin.md"));
    let commands = commands(&text);
    assert!(commands.len() > 10, "{commands:?}");
    for line in &commands {
        if line.starts_with("export ") {
            continue;
        }
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .env("ADMIN", format!("http://{}", proxy.admin_address()))
            .env("OPERATOR", format!("{}:{}", ROOT.0, ROOT.1));
        let outcome = run(&mut command, "");
        assert!(outcome.status.success(), "{line}: {}", outcome.output());
        let is_shown = !line.contains("DELETE");
        assert!(!is_shown || !outcome.stdout.is_empty(), "{line}");
    }
    assert!(commands.last().unwrap().contains("/drain"));
    assert!(proxy.wait_exit(crate::support::DEADLINE).success());
}
