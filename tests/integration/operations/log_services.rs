//! The access log at services of logs: a real rsyslogd and a real journald, each on sockets of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::command::{is_installed, is_root, program, run};
use crate::support::eventually;
use crate::support::port::Port;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, request_of};

/// A program that is stopped when it is dropped.
struct Running(Child);

impl Running {
    fn stop(&mut self) {
        let id = Pid::from_child(&self.0);
        // It may have ended already.
        let _gone = kill_process(id, Signal::TERM);
        eventually("the end of a service", || self.0.try_wait().unwrap());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return self.stop();
        }
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn has_rsyslogd() -> bool {
    is_installed(&["rsyslogd", "-v"])
}

/// Starts rsyslogd with these inputs. Each message becomes a line of `messages`.
fn rsyslogd(directory: &Path, inputs: &str) -> Running {
    let conf = directory.join("rsyslog.conf");
    let messages = directory.join("messages");
    let content = format!(
        "global(workDirectory=\"{}\" maxMessageSize=\"64k\")\n\
         template(name=\"plain\" type=\"string\" string=\"%syslogfacility-text% %syslogseverity-text% %app-name% %msgid% %msg%\\n\")\n\
         {inputs}\n\
         action(type=\"omfile\" file=\"{}\" template=\"plain\")\n",
        directory.display(),
        messages.display(),
    );
    std::fs::write(&conf, content).unwrap();
    let child = Command::new("rsyslogd")
        .arg("-n")
        .arg("-f")
        .arg(&conf)
        .arg("-i")
        .arg(directory.join("rsyslogd.pid"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    Running(child)
}

/// What rsyslogd has received: the head of each message, and the record.
fn messages(directory: &Path) -> Vec<(String, Value)> {
    let text = std::fs::read_to_string(directory.join("messages")).unwrap_or_default();
    let of_records = text.lines().filter_map(|line| {
        let start = line.find('{')?;
        let record = serde_json::from_str(&line[start..]).ok()?;
        Some((line[..start].trim_end().to_owned(), record))
    });
    of_records.collect()
}

fn wait_messages(directory: &Path, count: usize) -> Vec<(String, Value)> {
    eventually(&format!("{count} messages"), || {
        let found = messages(directory);
        (found.len() >= count).then_some(found)
    })
}

fn ask(proxy: &Proxy, user: (&str, &str), name: &str) {
    proxy.exchange(request_of(user, "GET", &format!("http://10.0.0.1/{name}")));
}

fn quiet(setup: Setup, log: &str) -> Proxy {
    setup.config(&format!("log: {log}")).start()
}

#[test]
fn rsyslogd_reads_the_socket_of_the_machine() {
    if !has_rsyslogd() {
        return;
    }
    for (format, special) in [("rfc3164", "on"), ("rfc5424", "off")] {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("log");
        let inputs = format!(
            "module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             input(type=\"imuxsock\" Socket=\"{}\" UseSpecialParser=\"{special}\")",
            socket.display()
        );
        let mut service = rsyslogd(directory.path(), &inputs);
        let log = format!(
            "{{ access: syslog, syslog: {{ to: 'unix:{}', facility: local3, format: {format} }} }}",
            socket.display()
        );
        eventually("the socket", || socket.exists().then_some(()));
        let proxy = quiet(Setup::new(), &log);
        ask(&proxy, ALICE, "one");
        let found = wait_messages(directory.path(), 1);
        let (head, record) = &found[0];
        assert!(head.starts_with("local3 info tollgate"), "{head}");
        assert_eq!(record["target"], "http://10.0.0.1/one");
        assert_eq!(record["user"], ALICE.0);

        // A service that is started anew misses nothing.
        service.stop();
        let _gone = std::fs::remove_file(&socket);
        ask(&proxy, BOB, "two");
        eventually("the failure", || {
            proxy
                .errors()
                .contains("cannot write to syslog at")
                .then_some(())
        });
        let _service = rsyslogd(directory.path(), &inputs);
        let found = wait_messages(directory.path(), 2);
        assert_eq!(found[1].1["target"], "http://10.0.0.1/two", "{found:?}");
        assert_eq!(
            proxy.metric("tollgate_log_dropped_total{reason=\"write_error\"}"),
            0
        );
        // `tollgate log` reads what rsyslogd has written.
        let mut command = Command::new(program());
        command.arg("log").arg(directory.path().join("messages"));
        let shown = run(&mut command, "").stdout;
        assert!(shown.contains("/one") && shown.contains("/two"), "{shown}");
    }
}

#[test]
fn rsyslogd_reads_udp_and_tcp() {
    if !has_rsyslogd() {
        return;
    }
    for (scheme, module) in [("udp", "imudp"), ("tcp", "imtcp")] {
        let directory = tempfile::tempdir().unwrap();
        let port = Port::reserve();
        let address: SocketAddr = port.address;
        let inputs = format!(
            "module(load=\"{module}\")\ninput(type=\"{module}\" address=\"127.0.0.1\" port=\"{}\")",
            address.port()
        );
        let _service = rsyslogd(directory.path(), &inputs);
        let log = format!("{{ access: syslog, syslog: {{ to: '{scheme}://{address}' }} }}");
        let proxy = quiet(Setup::new(), &log);
        // A datagram to a port that is not open yet is lost.
        let mut sent = 0;
        eventually("the first message", || {
            sent += 1;
            ask(&proxy, ALICE, &format!("first-{sent}"));
            (!messages(directory.path()).is_empty()).then_some(())
        });
        for number in 0..50 {
            ask(&proxy, ALICE, &format!("next-{number}"));
        }
        let found = eventually("all messages", || {
            let found = messages(directory.path());
            let next = found
                .iter()
                .filter(|(_, record)| record["target"].as_str().unwrap().contains("/next-"));
            (next.count() == 50).then_some(found)
        });
        let (head, _) = &found[0];
        assert_eq!(head, "daemon info tollgate access", "{scheme}");
    }
}

#[test]
fn journald_has_the_members_as_fields() {
    const JOURNALD: &str = "/lib/systemd/systemd-journald";
    if !is_installed(&["journalctl", "--version"]) || !is_root("a journald of its own") {
        return;
    }
    if !Path::new(JOURNALD).exists() {
        assert!(std::env::var_os("CI").is_none(), "{JOURNALD} is missing");
        eprintln!("NOT TESTED: {JOURNALD} is missing");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (runtime, logs) = (directory.path().join("run"), directory.path().join("logs"));
    std::fs::create_dir(&runtime).unwrap();
    std::fs::create_dir(&logs).unwrap();
    let name = format!("tollgate{}", std::process::id());
    let service = Command::new(JOURNALD)
        .arg(name)
        .env("RUNTIME_DIRECTORY", &runtime)
        .env("LOGS_DIRECTORY", &logs)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _service = Running(service);
    let socket = runtime.join("socket");
    eventually("the journal", || socket.exists().then_some(()));
    let log = format!(
        "{{ access: journald, journal_socket: '{}' }}",
        socket.display()
    );
    let proxy = quiet(Setup::new(), &log);
    ask(&proxy, ALICE, "one");
    ask(&proxy, BOB, "two");
    let journal = |matches: &[&str], output: &str| {
        let mut command = Command::new("journalctl");
        command
            .arg("-D")
            .arg(&logs)
            .args(["-o", output])
            .args(matches);
        run(&mut command, "").stdout
    };
    let user = format!("TOLLGATE_USER={}", ALICE.0);
    let entry = eventually("the entry", || {
        let text = journal(&[&user, "TOLLGATE_STATUS=403"], "json");
        serde_json::from_str::<Value>(text.lines().next()?).ok()
    });
    assert_eq!(entry["SYSLOG_IDENTIFIER"], "tollgate");
    assert_eq!(entry["PRIORITY"], "6");
    assert_eq!(entry["TOLLGATE_TARGET"], "http://10.0.0.1/one");
    let record: Value = serde_json::from_str(entry["MESSAGE"].as_str().unwrap()).unwrap();
    assert_eq!(record["user"], ALICE.0);
    // The way that the documentation shows.
    let messages = eventually("both", || {
        let text = journal(&["-t", "tollgate"], "cat");
        (text.lines().count() == 2).then_some(text)
    });
    let mut command = Command::new(program());
    command.args(["log", "-"]);
    let shown = run(&mut command, &messages).stdout;
    assert!(shown.contains("/one") && shown.contains("/two"), "{shown}");
}
