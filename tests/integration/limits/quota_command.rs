//! `tollgate quota`: with the running process, and with the file alone.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::command::{Outcome, tollgate};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, request_of};
use crate::support::zone::steady_zone;
use crate::support::{DEADLINE, eventually};

fn quota(proxy: &Proxy, arguments: &[&str]) -> Outcome {
    let path = proxy.path("pingora.yaml");
    let mut all = vec!["quota", "-c", path.to_str().unwrap()];
    all.extend(arguments);
    tollgate(all)
}

fn rows(proxy: &Proxy, arguments: &[&str]) -> Vec<Value> {
    let outcome = quota(proxy, &[arguments, &["--json"]].concat());
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[test]
fn balances_are_shown_and_changed() {
    let mut proxy = Setup::new()
        .config(&format!(
            "limits: {{ time_zone: {}, store: {{ file: quota.redb }}, classes: [ \
             {{ name: all, quota: {{ week: 1GiB, month: 2MiB }} }} ] }}",
            steady_zone()
        ))
        .start();
    let origin = Origin::ok("in");
    for user in [ALICE, BOB] {
        let answer = proxy.exchange(request_of(
            user,
            "GET",
            &format!("http://{}/", origin.address),
        ));
        assert_eq!(answer.text(), "in");
    }
    eventually("both to count", || {
        (rows(&proxy, &[]).len() == 4).then_some(())
    });
    // The same with the process and without it.
    for is_running in [true, false] {
        if !is_running {
            proxy.signal(Signal::TERM);
            assert!(proxy.wait_exit(DEADLINE).success());
        }
        let table = quota(&proxy, &["--user", "bob"]);
        let lines: Vec<&str> = table.stdout.lines().collect();
        let head: Vec<&str> = lines[0].split_whitespace().collect();
        assert_eq!(
            head,
            ["class", "member", "period", "used", "limit", "resets", "at"]
        );
        assert_eq!(lines.len(), 3, "{}", table.stdout);
        assert!(
            lines[1].starts_with("all    bob     month"),
            "{}",
            table.stdout
        );
        assert!(
            lines[1].contains("2.0 MiB") && lines[2].contains("1.0 GiB"),
            "{}",
            table.stdout
        );
        assert!(lines.iter().skip(1).all(|line| line.ends_with("0:00Z")));
        let month = || {
            let rows = rows(&proxy, &["--user", "alice"]);
            rows.into_iter().find(|row| row["period"] == "month")
        };
        let number = |row: &Value, key: &str| row[key].as_u64().unwrap();
        let before = month().unwrap();
        assert!(number(&before, "used") > 0);
        let outcome = quota(&proxy, &["--user", "alice", "--grant", "1MiB"]);
        assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
        assert_eq!(outcome.output(), "granted: the quotas of 1 member\n");
        let row = month().unwrap();
        for key in ["limit", "granted"] {
            assert_eq!(number(&row, key), number(&before, key) + (1 << 20), "{row}");
        }
        let outcome = quota(&proxy, &["--class", "all", "--reset"]);
        // Carol has a grant by then.
        let members = if is_running { 2 } else { 3 };
        let expected = format!("reset: the quotas of {members} members\n");
        assert_eq!(outcome.output(), expected);
        assert_eq!(rows(&proxy, &[]), Vec::<Value>::new());
        // A member that has used nothing needs its class.
        let carol = quota(&proxy, &["--user", "carol", "--grant", "5MB"]);
        assert_eq!(carol.code(), Some(1));
        assert!(
            carol.stderr.contains("--class names the class"),
            "{}",
            carol.stderr
        );
        for user in ["carol", "alice"] {
            let granted = quota(
                &proxy,
                &["--user", user, "--class", "all", "--grant", "5MB", "--json"],
            );
            assert_eq!(
                granted.stdout.trim(),
                r#"{"changed":1,"saved":true}"#,
                "{}",
                granted.output()
            );
        }
        assert_eq!(rows(&proxy, &["--user", "carol"]).len(), 2);
        if is_running {
            for user in [ALICE, BOB] {
                let url = format!("http://{}/", origin.address);
                assert_eq!(proxy.exchange(request_of(user, "GET", &url)).text(), "in");
            }
            eventually("it to count", || {
                month().filter(|row| row["used"].as_u64() > Some(0))
            });
        }
    }
}

#[test]
fn mistakes_are_told() {
    let proxy = Setup::new()
        .config("limits: { store: { file: quota.redb }, classes: [{ name: all, quota: { week: 1GiB } }] }")
        .start();
    for (arguments, code, text) in [
        (&["--reset"][..], 64, "--user, --network or --class"),
        (
            &["--user", "a", "--grant", "much"],
            64,
            "is not a size; write one such as 10GiB",
        ),
        (&["--user", "a", "--grant", "0"], 64, "is not a size"),
        (
            &["--user", "a", "--reset", "--grant", "1GB"],
            64,
            "cannot be used with",
        ),
        (&["--network", "x"], 64, "Invalid"),
        (
            &["--user", "nobody", "--reset"],
            1,
            "there is no such balance",
        ),
        (
            &["--class", "none", "--grant", "1GB"],
            1,
            "there is no such balance",
        ),
    ] {
        let outcome = quota(&proxy, arguments);
        assert_eq!(outcome.code(), Some(code), "{}", outcome.output());
        assert!(
            outcome.output().contains(text),
            "{text}\n{}",
            outcome.output()
        );
    }
    let setup = Setup::new();
    let path = setup.write();
    let outcome = tollgate(["quota", "-c", path.to_str().unwrap()]);
    assert_eq!(outcome.code(), Some(78));
    assert!(
        outcome.stderr.contains("tollgate.limits.store: missing"),
        "{}",
        outcome.stderr
    );
    let setup = Setup::new().config("limits: { store: { file: quota.redb } }");
    let path = setup.write();
    // Nothing has counted yet: that is no error, and no file is made.
    let outcome = tollgate(["quota", "-c", path.to_str().unwrap()]);
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    assert!(!setup.path("quota.redb").exists());
    let outcome = tollgate([
        "quota",
        "-c",
        path.to_str().unwrap(),
        "--user",
        "a",
        "--reset",
    ]);
    assert_eq!(outcome.code(), Some(1));
    std::fs::write(setup.path("quota.redb"), [7; 5000]).unwrap();
    let outcome = tollgate(["quota", "-c", path.to_str().unwrap()]);
    assert_eq!(outcome.code(), Some(1));
    assert!(outcome.stderr.contains("damaged"), "{}", outcome.stderr);
}
