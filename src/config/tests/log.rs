//! `tollgate.log`: services of logs, and names of users.

use super::{Setup, check, with};
use crate::telemetry::{
    Destination, JournalTarget, SyslogForm, SyslogTarget, Transport, UserKey, UserNames,
};

#[test]
fn names_of_users_are_hashed_with_a_secret() {
    let setup = Setup::new();
    setup.file("key", "0123456789abcde\n");
    let yaml = with("  log: {users: hashed, users_key: key}\n");
    let error = setup.load(&yaml).unwrap_err().to_string();
    assert!(
        error.contains("tollgate.log.users_key: its secret has less than 16 bytes"),
        "{error}"
    );
    assert!(!error.contains("abcde"), "{error}");
    setup.file("key", "0123456789abcdef\n");
    let config = setup.load(&yaml).unwrap();
    let key = UserKey::of("0123456789abcdef");
    assert_eq!(config.log.users, UserNames::Hashed(key.clone()));
    assert_eq!(config.users_key, Some(key.clone()));
    // For a search in older logs.
    let config = setup
        .load(&with("  log: {users: plain, users_key: key}\n"))
        .unwrap();
    assert_eq!(config.log.users, UserNames::Plain);
    assert_eq!(config.users_key, Some(key));
}

#[test]
fn services_of_logs() {
    let setup = Setup::new();
    let load = |log: &str| {
        setup
            .load(&with(&format!("  log: {log}\n")))
            .unwrap()
            .log
            .access
    };
    let target = SyslogTarget {
        transport: Transport::Socket("/dev/log".into()),
        facility: 3,
        form: SyslogForm::Rfc3164,
        tag: "tollgate".to_owned(),
    };
    assert_eq!(
        load("{access: syslog}"),
        Destination::Syslog(target.clone())
    );
    let remote =
        "{access: syslog, syslog: {to: 'udp://[::1]:514', facility: local7, tag: proxy-1}}";
    let udp = SyslogTarget {
        transport: Transport::Udp("[::1]:514".parse().unwrap()),
        facility: 23,
        form: SyslogForm::Rfc5424,
        tag: "proxy-1".to_owned(),
    };
    assert_eq!(load(remote), Destination::Syslog(udp));
    let tcp = "{access: syslog, syslog: {to: 'tcp://127.0.0.1:601', format: rfc3164}}";
    let tcp_target = SyslogTarget {
        transport: Transport::Tcp("127.0.0.1:601".parse().unwrap()),
        ..target
    };
    assert_eq!(load(tcp), Destination::Syslog(tcp_target));
    let journal = |socket: &str| {
        Destination::Journal(JournalTarget {
            socket: socket.into(),
        })
    };
    assert_eq!(
        load("{access: journald}"),
        journal("/run/systemd/journal/socket")
    );
    assert_eq!(
        load("{access: journald, journal_socket: /j}"),
        journal("/j")
    );
    let file = setup.directory.path().join("syslog");
    assert_eq!(load("{access: ./syslog}"), Destination::File(file));

    for to in [
        "/dev/log",
        "unix:log",
        "udp://logs.test:514",
        "udp://127.0.0.1",
        "tcp://127.0.0.1:0",
        "x",
    ] {
        check(
            &format!("  log: {{access: syslog, syslog: {{to: '{to}'}}}}\n"),
            "f.yaml:5: tollgate.log.syslog.to: neither a socket nor an address with its port; \
             write one such as unix:/dev/log, udp://192.0.2.1:514 or tcp://192.0.2.1:601",
        );
    }
    check(
        "  log: {syslog: {tag: 'a: b'}}\n",
        "f.yaml:5: tollgate.log.syslog.tag: not the name of a program; write up to 48 letters, digits, -, _, . and /",
    );
    check(
        "  log: {access: journald, format: combined}\n",
        "f.yaml:5: tollgate.log.format: combined, for the journal; remove it: the journal has the members of the JSON format as fields",
    );
}
