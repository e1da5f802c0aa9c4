//! Pingora's keys.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pingora_core::server::configuration::ServerConf;

use super::{Setup, with};
use crate::config::pingora::keys::KEYS;
use crate::config::pingora::run_directory;

#[test]
fn pingoras_keys() {
    let setup = Setup::new();
    let top = |lines: &str| format!("{lines}{}", with(""));
    for (lines, expected) in [
        (
            "threads: two\n",
            "f.yaml:1: threads: wrong type; a whole number is expected; see docs/configuration.md",
        ),
        (
            "threads: 0\n",
            "f.yaml:1: threads: out of range; write one from 1 to 1024",
        ),
        (
            "threads: -1\n",
            "f.yaml:1: threads: wrong type; a whole number is expected; see docs/configuration.md",
        ),
        (
            "threads:\n",
            "f.yaml:1: threads: wrong type; a whole number is expected; see docs/configuration.md",
        ),
        (
            "daemon: yes\n",
            "f.yaml:1: daemon: wrong type; true or false is expected; see docs/configuration.md",
        ),
        (
            "pid_file: [a]\n",
            "f.yaml:1: pid_file: wrong type; text is expected; see docs/configuration.md",
        ),
        (
            "upgrade_sock: gone/x\n",
            "f.yaml:1: upgrade_sock: its directory does not exist; run `mkdir -p gone`, or name another",
        ),
        (
            "working_directory: gone\n",
            "f.yaml:1: working_directory: does not exist; name a directory that exists",
        ),
        (
            "pid_file: run/\n",
            "f.yaml:1: pid_file: names a directory; add the name of a file, without a slash behind it",
        ),
        (
            "pid_file: .\n",
            "f.yaml:1: pid_file: is a directory; add the name of a file",
        ),
        (
            "error_log: .\n",
            "f.yaml:1: error_log: is a directory; add the name of a file in it, such as access.log",
        ),
        (
            "error_log: users\n",
            "f.yaml:1: error_log: a file that this configuration reads; name another",
        ),
        (
            "upgrade_sock: users\n",
            "f.yaml:1: upgrade_sock: is there already, and is no socket; name a path where there is nothing yet\n\
             f.yaml:1: upgrade_sock: a file that this configuration reads; name another",
        ),
        (
            "pid_file: p\nupgrade_sock: p\n",
            "f.yaml:2: upgrade_sock: the file of another key too; give each its own",
        ),
        (
            "user: no-such-user\n",
            "f.yaml:1: user: no such user on this machine; name one that `getent passwd` shows, or make it with `useradd --system NAME`",
        ),
        (
            "group: no-such-group\n",
            "f.yaml:1: group: no such group on this machine; name one that `getent group` shows, or make it with `groupadd --system NAME`",
        ),
        (
            "ca_file: users\n",
            "f.yaml:1: ca_file: users is a file of users (htpasswd), where PEM is expected; give a file with lines such as `-----BEGIN CERTIFICATE-----` or `-----BEGIN PRIVATE KEY-----`",
        ),
        (
            "user: \"a\\0\"\n",
            "f.yaml:1: user: has a control character; remove it",
        ),
        (
            "client_bind_to_ipv4: [\"::1\"]\n",
            "f.yaml:1: client_bind_to_ipv4[0]: not an IPv4 address; write an address of this machine",
        ),
        (
            "runtime_metrics_poll_time_histogram_buckets: 4096\n",
            "f.yaml:1: runtime_metrics_poll_time_histogram_buckets: runtime_metrics_poll_time_histogram_buckets must be at most 1024; write another value",
        ),
        (
            "upgrade_socket: x\n",
            "f.yaml:1: upgrade_socket: unknown key; did you mean \"upgrade_sock\"?",
        ),
        (
            "tolgate: {}\n",
            "f.yaml:1: tolgate: unknown key; did you mean \"tollgate\"?",
        ),
        (
            "threads: 1\nthreads: 2\n",
            "f.yaml:2: threads: given twice, first on line 1; keep one of the two",
        ),
    ] {
        assert_eq!(setup.problems(&top(lines)), expected, "{lines}");
    }
    let config = setup
        .load(&top("threads: 3\npid_file: my.pid\nupgrade_sock: /tmp/my.sock\nerror_log: err.log\nupstream_keepalive_pool_size: 5\n"))
        .unwrap();
    let (server, directory) = (config.server, setup.directory.path());
    assert_eq!((server.threads, config.auth.hash_threads), (3, 3));
    assert_eq!(Path::new(&server.pid_file), directory.join("my.pid"));
    assert_eq!(server.upgrade_sock, "/tmp/my.sock");
    assert_eq!(
        server.error_log.map(PathBuf::from),
        Some(directory.join("err.log"))
    );
    assert_eq!(server.upstream_keepalive_pool_size, 5);
    assert_eq!(config.run_directory, None);

    let config = setup.load(&with("")).unwrap();
    assert_eq!(config.server.upstream_keepalive_pool_size, 1024);
    assert!(config.server.threads >= 1);
    let run = config.run_directory.unwrap();
    assert!(run.is_absolute());
    assert_eq!(Path::new(&config.server.pid_file), run.join("tollgate.pid"));
    assert_eq!(
        Path::new(&config.server.upgrade_sock),
        run.join("upgrade.sock")
    );
}

/// A new version of Pingora may have more.
#[test]
fn the_table_has_every_key_of_pingora() {
    let conf = serde_json::to_value(ServerConf::default()).unwrap();
    let conf = conf.as_object().unwrap();
    let names: BTreeSet<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(names, conf.keys().map(String::as_str).collect());
}

#[test]
fn the_run_directory_is_never_one_of_everyone() {
    let base = Path::new("/etc/tollgate");
    for (root, systemd, user, expected) in [
        (true, None, None, "/run/tollgate"),
        (true, None, Some("/run/user/0"), "/run/tollgate"),
        (true, Some("/run/gate:/run/other"), None, "/run/gate"),
        (false, Some("/run/gate"), Some("/run/user/7"), "/run/gate"),
        (false, None, Some("/run/user/7"), "/run/user/7/tollgate"),
        (false, None, Some("relative"), "/etc/tollgate/run"),
        (false, Some("relative"), None, "/etc/tollgate/run"),
        (false, Some(""), Some(""), "/etc/tollgate/run"),
        (false, None, None, "/etc/tollgate/run"),
    ] {
        let env = |name: &str| match name {
            "RUNTIME_DIRECTORY" => systemd.map(OsString::from),
            _ => user.map(OsString::from),
        };
        assert_eq!(run_directory(root, env, base), Path::new(expected));
    }
}

#[test]
fn the_run_directory_is_made_for_its_user_alone() {
    let setup = Setup::new();
    let mut config = setup.load(&with("")).unwrap();
    let directory = setup.directory.path().join("new/run");
    config.run_directory = Some(directory.clone());
    config.create_run_directory().unwrap();
    config.create_run_directory().unwrap();
    let mode = fs::metadata(&directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    config.run_directory = Some(setup.directory.path().join("users/run"));
    assert!(config.create_run_directory().is_err());
    config.run_directory = None;
    config.create_run_directory().unwrap();
}
