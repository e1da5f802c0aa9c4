//! Other people's programs as clients: started without proxies of the environment, and with their output.

use std::process::Command;

use super::command::{Outcome, run};
use super::proxy::Proxy;
use super::request::ALICE;

/// A command without the environment's own proxies.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command
            .env_remove(name)
            .env_remove(name.to_ascii_uppercase());
    }
    command
}

/// How a program is told of the proxy, by its URL.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way<'a> {
    /// By its own option.
    Option(&'a str),
    /// By the variables that most programs read, in lower case.
    Environment(&'a str),
}

impl Way<'_> {
    /// The command with the variables or, by `option`, with the option.
    pub(crate) fn apply(self, command: &mut Command, option: impl FnOnce(&mut Command, &str)) {
        match self {
            Self::Option(url) => option(command, url),
            Self::Environment(url) => {
                command.env("http_proxy", url).env("https_proxy", url);
            }
        }
    }
}

pub(crate) fn proxy_url(proxy: &Proxy) -> String {
    format!("http://{}:{}@{}", ALICE.0, ALICE.1, proxy.address)
}

pub(crate) fn curl(arguments: &[&str]) -> Outcome {
    run(
        command("curl")
            .args(["-sS", "--max-time", "20"])
            .args(arguments),
        "",
    )
}

pub(crate) fn assert_output(outcome: &Outcome, expected: &str) {
    assert!(
        outcome.status.success(),
        "{}: {}",
        outcome.status,
        outcome.output()
    );
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
}
