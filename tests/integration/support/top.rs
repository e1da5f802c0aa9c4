//! `tollgate top` and what its tests need around it.

use std::path::Path;

use serde_json::Value;

use super::command::{is_installed, program, tollgate};
use super::proxy::{Proxy, Setup};
use super::request::{ALICE, sha_line};
use super::tmux::{Tmux, quoted};

/// Rules of which each request meets one.
pub(crate) const POLICY: &str = "policy:
  default: admit
  rules:
    - { name: no-ads, domains: [ads.example], action: deny, message: no ads here }
    - { name: work, users: [alice, bob], action: admit }
";

/// Whether tmux is here.
pub(crate) fn has_tmux() -> bool {
    is_installed(&["tmux", "-V"])
}

/// A proxy whose admin service knows alice.
pub(crate) fn with_users() -> Setup {
    let setup = Setup::new();
    let admin = format!(
        "admin: {{ address: \"{}\", users: operators }}",
        setup.admin_address()
    );
    setup
        .file("operators", sha_line(ALICE))
        .file("password", ALICE.1)
        .config(POLICY)
        .config(&admin)
}

/// The command line for it, with more options.
pub(crate) fn line(proxy: &Proxy, more: &str) -> String {
    let conf = quoted(&proxy.path("pingora.yaml"));
    format!("{} top -c {conf} {more}", quoted(&program()))
}

/// The same as alice.
pub(crate) fn as_alice(proxy: &Proxy) -> String {
    let password = quoted(&proxy.path("password"));
    line(proxy, &format!("--user alice --password-file {password}"))
}

/// Runs it in a shell that notes its exit code, and how the terminal was before and after.
pub(crate) fn in_shell(directory: &Path, size: (u16, u16), line: &str) -> Tmux {
    let directory = quoted(directory);
    Tmux::run(
        size,
        &format!(
            "cd {directory}; stty -g > before; echo first line; {line}; echo code=$?; stty -g > after; echo restored; cat"
        ),
    )
}

/// The program has ended, with this code, and the terminal is as it was.
pub(crate) fn assert_restored(tmux: &Tmux, directory: &Path, code: i32) {
    tmux.wait(&["first line", &format!("code={code}"), "restored"]);
    assert!(!tmux.is_alternate());
    let modes = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    assert_eq!(modes("before"), modes("after"));
}

/// What `--once --json` prints for alice.
pub(crate) fn once_json(proxy: &Proxy) -> Value {
    let conf = proxy.path("pingora.yaml");
    let password = proxy.path("password");
    let outcome = tollgate([
        "top".as_ref(),
        "-c".as_ref(),
        conf.as_os_str(),
        "--user".as_ref(),
        "alice".as_ref(),
        "--password-file".as_ref(),
        password.as_os_str(),
        "--once".as_ref(),
        "--json".as_ref(),
    ]);
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    serde_json::from_str(&outcome.stdout).unwrap()
}
