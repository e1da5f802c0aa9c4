//! The access log is renamed and opened anew while requests come in: each has one line in one of
//! the files.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::request::auth;

const ROUNDS: usize = 8;

/// The records of one file, which must hold whole lines alone.
fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "a torn line: {path:?}"
    );
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{path:?} {line:?}: {e}")))
        .collect()
}

/// Asks for something that nobody else asks for; gives the target that its record must have.
fn ask(wire: &mut Wire, name: impl Display) -> String {
    let target = format!("/?{name}");
    let answer = wire.exchange(format!(
        "GET {target} HTTP/1.1\r\nHost: gate\r\n{}\r\n",
        auth()
    ));
    assert_eq!(answer.status(), 200);
    target
}

fn target(record: &Value) -> String {
    record["target"].as_str().unwrap().to_owned()
}

#[test]
fn rotation_under_load_loses_and_doubles_nothing() {
    let mut proxy = Proxy::plain();
    let stop = Arc::new(AtomicBool::new(false));
    let address = proxy.address;
    let clients: Vec<_> = (0..3)
        .map(|client| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut wire = Wire::connect(address).unwrap();
                let mut asked = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let name = format!("{client}-{}", asked.len());
                    asked.push(ask(&mut wire, name));
                }
                asked
            })
        })
        .collect();

    let live = proxy.path("access.log");
    let mut files = vec![live.clone()];
    for round in 0..ROUNDS {
        // Some lines go to each file.
        eventually("lines", || {
            let size = std::fs::metadata(&live).ok()?.len();
            (size > 5000).then_some(())
        });
        let old = proxy.path(&format!("access.log.{round}"));
        std::fs::rename(&live, &old).unwrap();
        files.push(old);
        proxy.signal(Signal::USR1);
        eventually("the new file", || live.exists().then_some(()));
        let mode = std::fs::metadata(&live).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}: 0640 at most");
    }
    stop.store(true, Ordering::SeqCst);
    let mut asked: Vec<String> = Vec::new();
    for client in clients {
        asked.extend(client.join().unwrap());
    }
    proxy.signal(Signal::TERM);
    assert!(proxy.wait_exit(crate::support::DEADLINE).success());

    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for file in &files {
        let found = records(file);
        assert!(!found.is_empty(), "{file:?}");
        for record in found {
            *seen.entry(target(&record)).or_default() += 1;
        }
    }
    let lost: Vec<_> = asked
        .iter()
        .filter(|target| !seen.contains_key(*target))
        .collect();
    assert!(lost.is_empty(), "{} of {} lost", lost.len(), asked.len());
    let doubled = seen.values().filter(|count| **count > 1).count();
    assert_eq!((doubled, seen.len()), (0, asked.len()));
}

#[test]
fn line_after_the_signal_goes_to_the_new_file() {
    let proxy = Proxy::plain();
    let live = proxy.path("access.log");
    let old = proxy.path("access.log.1");
    let mut wire = proxy.connect();
    let before = ask(&mut wire, "before");
    proxy.wait_records(1);
    std::fs::rename(&live, &old).unwrap();
    // Until it is told, it writes to the file that it has.
    let between = ask(&mut wire, "between");
    eventually("the second line", || {
        (records(&old).len() == 2).then_some(())
    });
    assert!(!live.exists());
    proxy.signal(Signal::USR1);
    eventually("the new file", || live.exists().then_some(()));
    let after = ask(&mut wire, "after");
    assert_eq!(
        proxy.wait_records(1).iter().map(target).collect::<Vec<_>>(),
        [after]
    );
    let old: Vec<_> = records(&old).iter().map(target).collect();
    assert_eq!(old, [before, between]);
}

#[test]
fn file_that_cannot_be_opened_anew_leaves_the_old_one_in_use() {
    let mut proxy = Proxy::plain();
    let live = proxy.path("access.log");
    let old = proxy.path("access.log.1");
    let mut wire = proxy.connect();
    ask(&mut wire, "first");
    proxy.wait_records(1);
    std::fs::rename(&live, &old).unwrap();
    std::fs::create_dir(&live).unwrap();
    proxy.signal(Signal::USR1);
    eventually("a complaint", || {
        let errors = proxy.errors();
        (errors.contains("ERROR") && errors.contains("access.log")).then_some(())
    });
    ask(&mut wire, "second");
    eventually("the line", || (records(&old).len() == 2).then_some(()));
    // Once the way is free, the signal works again.
    std::fs::remove_dir(&live).unwrap();
    proxy.signal(Signal::USR1);
    eventually("the new file", || live.is_file().then_some(()));
    ask(&mut wire, "third");
    proxy.wait_records(1);
    assert!(proxy.is_running());
}
