//! A git repository with one commit, served as static files, and git as its client.

use std::path::Path;
use std::process::Command;

use super::command::{Outcome, run};
use super::message::{Request, ok, response};
use super::payload;
use super::programs::{Way, command};

/// The repository, in a directory of its own.
pub(crate) struct Repository(tempfile::TempDir);

impl Repository {
    pub(crate) fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        let root = repository.0.path();
        let make = |directory: &Path, arguments: &[&str]| {
            let outcome = run(git(directory).args(arguments), "");
            assert!(
                outcome.status.success(),
                "{arguments:?}: {}",
                outcome.output()
            );
        };
        make(root, &["init", "-q", "work"]);
        std::fs::write(root.join("work/file"), content()).unwrap();
        make(&root.join("work"), &["add", "file"]);
        make(&root.join("work"), &["commit", "-q", "-m", "first"]);
        make(root, &["clone", "-q", "--bare", "work", "served.git"]);
        make(&root.join("served.git"), &["update-server-info"]);
        repository
    }

    /// What an origin answers that has it as `/served.git`.
    pub(crate) fn answer(&self) -> impl Fn(&Request) -> Vec<u8> + Clone + Send + Sync + use<> {
        let root = self.0.path().to_owned();
        move |request| {
            let path = request.head.target().split('?').next().unwrap_or("");
            match std::fs::read(root.join(path.trim_start_matches('/'))) {
                Ok(content) => ok(content),
                Err(_) => response("404 Not Found", "", "absent"),
            }
        }
    }

    /// `git clone` of what is at `url` as `name`, through the proxy, with this authority.
    pub(crate) fn clone_through(&self, way: Way<'_>, ca: &Path, url: &str, name: &str) -> Outcome {
        let mut git = git(self.0.path());
        way.apply(&mut git, |git, url| {
            git.args(["-c", &format!("http.proxy={url}")]);
        });
        git.args(["-c", &format!("http.sslCAInfo={}", ca.display())]);
        git.args(["clone", "-q", &format!("{url}/served.git"), name]);
        run(&mut git, "")
    }

    pub(crate) fn assert_cloned(&self, name: &str) {
        let cloned = std::fs::read(self.0.path().join(name).join("file")).unwrap();
        assert!(cloned == content(), "{name}: another file");
    }
}

fn content() -> Vec<u8> {
    payload::bytes(300_000)
}

fn git(directory: &Path) -> Command {
    let mut git = command("git");
    // Its variable would win over the option.
    git.env_remove("GIT_SSL_CAINFO")
        .env_remove("GIT_SSL_CAPATH");
    // No configuration but our own.
    git.env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.test"])
        .args(["-c", "init.defaultBranch=main"])
        .current_dir(directory);
    git
}
