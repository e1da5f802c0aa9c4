//! `auth.lockout`: its defaults, and what is refused.

use std::time::Duration;

use super::Setup;

#[test]
fn lockout_is_on_unless_it_is_off() {
    let setup = Setup::new();
    let with = |lockout: &str| {
        let auth = format!("  auth:\n    htpasswd: users\n{lockout}");
        format!("version: 1\ntollgate:\n  listeners: [{{address: '127.0.0.1:8888'}}]\n{auth}")
    };
    let read = |lockout: &str| setup.load(&with(lockout)).unwrap().auth.lockout;
    let default = read("").unwrap();
    assert_eq!((default.failures, default.network_failures), (5, 50));
    assert_eq!(read("    lockout: {}\n"), Some(default.clone()));
    assert_eq!(read("    lockout: off\n"), None);
    let other = read("    lockout: { failures: 3, max: 2s, entries: 8 }\n").unwrap();
    assert_eq!((other.failures, other.entries), (3, 8));
    assert_eq!(other.max, Duration::from_secs(2));
    assert_eq!(other.window, default.window);
    for (lockout, expected) in [
        (
            "{ first: 2m, max: 1m }",
            "f.yaml:6: tollgate.auth.lockout.first: longer than `max`, the longest lock; write a shorter one, or a longer `max`",
        ),
        (
            "{ failures: 0, factor: 0.5, window: 1 }",
            "f.yaml:6: tollgate.auth.lockout.failures: out of range; write one from 1 to 1000000\n\
             f.yaml:6: tollgate.auth.lockout.window: a duration needs a unit; add one of ms, s, m, h, d, as in 30s\n\
             f.yaml:6: tollgate.auth.lockout.factor: not a whole number; write one from 1 to 100",
        ),
        (
            "on",
            "f.yaml:6: tollgate.auth.lockout: a single value, where a map of keys is expected; write `key: value` lines",
        ),
        (
            "",
            "f.yaml:6: tollgate.auth.lockout: has no value; write `key: value` lines",
        ),
    ] {
        let text = with(&format!("    lockout: {lockout}\n"));
        assert_eq!(setup.problems(&text), expected);
    }
}

/// A failed login of a user is one of its network as well.
#[test]
fn a_network_is_not_locked_before_its_users() {
    let setup = Setup::new();
    let with = |lockout: &str| {
        format!(
            "version: 1\ntollgate:\n  listeners: [{{address: '127.0.0.1:8888'}}]\n  auth:\n    htpasswd: users\n    \
             lockout: {{ {lockout} }}\n"
        )
    };
    let warnings = |lockout: &str| setup.load(&with(lockout)).unwrap().warnings.to_string();
    let said = warnings("failures: 10, network_failures: 9");
    let expected = "f.yaml:6: warning: tollgate.auth.lockout.network_failures: less than `failures`: failed logins of \
                    one user lock all users of the network, and never the user alone; write more than `failures`";
    assert!(said.ends_with(expected), "{said}");
    for lockout in ["failures: 10, network_failures: 10", "failures: 50", ""] {
        assert_eq!(warnings(lockout), "", "{lockout}");
    }
    assert!(warnings("failures: 51").contains("network_failures: less"));
    // A mistake is told once.
    for (lockout, expected) in [
        (
            "failures: many, network_failures: 2",
            "f.yaml:6: tollgate.auth.lockout.failures: not a whole number; write one from 1 to 1000000",
        ),
        (
            "first: 1h, max: 1hour",
            "f.yaml:6: tollgate.auth.lockout.max: not a duration; write a whole number and a unit, from 1s to 1d",
        ),
    ] {
        assert_eq!(setup.problems(&with(lockout)), expected);
    }
}
