//! A store that fails: traffic goes on or is denied as configured, that is seen, and nothing is lost when it works again.

use std::process::Command;

use rustix::process::{Resource, Rlimit, Signal, prlimit};
use serde_json::Value;

use crate::support::command::program;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::fetch;
use crate::support::zone::steady_zone;
use crate::support::{DEADLINE, eventually};

fn setup(on_failure: &str) -> Setup {
    Setup::new().config(&format!(
        "limits: {{ time_zone: {}, store: {{ file: quota.redb, on_failure: {on_failure} }}, \
         classes: [{{ name: all, quota: {{ month: 1GiB }} }}] }}",
        steady_zone()
    ))
}

fn up(proxy: &Proxy) -> u64 {
    proxy.metric("tollgate_store_up{store=\"file\"}")
}

fn wait_up(proxy: &Proxy, expected: u64) {
    eventually("the state of the store", || {
        let metrics = proxy.admin("/metrics").text();
        let line = format!("tollgate_store_up{{store=\"file\"}} {expected}");
        metrics.contains(&line).then_some(())
    });
}

fn used(proxy: &Proxy) -> u64 {
    let body: Value = serde_json::from_str(&proxy.admin("/quotas").text()).unwrap();
    body["balances"][0]["used"].as_u64().unwrap_or_default()
}

/// A file that is no store.
#[test]
fn a_damaged_store_is_told_and_recovered_from() {
    for on_failure in ["admit", "deny"] {
        let setup = setup(on_failure).file("quota.redb", vec![7; 10_000]);
        let proxy = setup.start();
        let origin = Origin::ok("in");
        wait_up(&proxy, 0);
        let answer = proxy.fetch(&format!("http://{}/", origin.address));
        match on_failure {
            "admit" => assert_eq!(answer.text(), "in"),
            _ => {
                assert_eq!(answer.status(), 503);
                assert_eq!(answer.field("retry-after"), Some("1"));
                let record = proxy.record("a denied request", |it| it["status"] == 503);
                assert_eq!(record["error"], "quota_store_failed");
            }
        }
        let stats: Value = serde_json::from_str(&proxy.admin("/stats").text()).unwrap();
        let store = stats["quotas"]["store"].as_str().unwrap();
        assert!(
            store.starts_with("failed: it is damaged, or no store of balances"),
            "{store}"
        );
        let errors = proxy.errors();
        let so = match on_failure {
            "admit" => "bytes are counted in memory alone, and requests are admitted",
            _ => "requests of classes with a quota get 503",
        };
        assert!(
            errors.contains("quota.redb: it is damaged") && errors.contains(so),
            "{errors}"
        );
        // The file is left as it is, for its owner to look at.
        assert_eq!(
            std::fs::read(proxy.path("quota.redb")).unwrap().len(),
            10_000
        );
        std::fs::remove_file(proxy.path("quota.redb")).unwrap();
        wait_up(&proxy, 1);
        let answer = proxy.fetch(&format!("http://{}/", origin.address));
        assert_eq!(answer.text(), "in");
    }
}

/// A store that could be opened, and cannot be written.
#[test]
fn a_full_disk_is_told_and_recovered_from() {
    let setup = setup("admit");
    // The signal of a file that may not grow would end the process.
    let mut command = Command::new("sh");
    let program = program();
    command.args([
        "-c",
        "trap '' XFSZ; exec \"$0\" -c \"$1\"",
        program.to_str().unwrap(),
    ]);
    let proxy = setup.start_by(command);
    let origin = Origin::ok("in");
    wait_up(&proxy, 1);
    let limit = |bytes| {
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(Some(proxy.id()), Resource::Fsize, limit).unwrap();
    };
    limit(Some(4096));
    let ask = || proxy.exchange(fetch(&format!("http://{}/", origin.address)));
    assert_eq!(ask().text(), "in");
    wait_up(&proxy, 0);
    assert_eq!(ask().text(), "in");
    assert_eq!(up(&proxy), 0);
    assert!(
        proxy.errors().contains("bytes are counted in memory alone"),
        "{}",
        proxy.errors()
    );
    let before = eventually("the bytes in memory", || {
        Some(used(&proxy)).filter(|it| *it > 0)
    });
    limit(None);
    wait_up(&proxy, 1);
    assert_eq!(used(&proxy), before);
}

/// Another process has the file.
#[test]
fn a_store_is_for_one_process() {
    let mut first = setup("admit").start();
    wait_up(&first, 1);
    let file = first.path("quota.redb");
    let second = Setup::new().config(&format!(
        "limits: {{ store: {{ file: \"{}\", on_failure: deny }}, classes: [{{ name: all, quota: {{ month: 1GiB }} }}] }}",
        file.display()
    ));
    let second = second.start();
    let origin = Origin::ok("in");
    // It waits for the file as for the end of a former process, and then denies.
    let answer = second.fetch(&format!("http://{}/", origin.address));
    assert_eq!(answer.status(), 503);
    assert!(
        second.errors().contains("another process has it open"),
        "{}",
        second.errors()
    );
    assert_eq!(
        first.fetch(&format!("http://{}/", origin.address)).text(),
        "in"
    );
    // When that ends, this one has it.
    first.signal(Signal::KILL);
    first.wait_exit(DEADLINE);
    wait_up(&second, 1);
    assert_eq!(
        second.fetch(&format!("http://{}/", origin.address)).text(),
        "in"
    );
}
