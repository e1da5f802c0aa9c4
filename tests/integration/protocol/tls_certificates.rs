//! The certificates of a TLS listener: several by server name, renewed while it serves, and told before they end.

use std::collections::HashSet;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::command::{run, tollgate};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{connect, fetch};
use crate::support::tls::{Authority, Identity};
use crate::support::{DEADLINE, eventually};

/// The certificate that OpenSSL is shown, in PEM.
fn shown(proxy: &Proxy, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    let address = proxy.secure_address().to_string();
    command
        .args(["s_client", "-connect", &address])
        .args(arguments);
    let outcome = run(&mut command, "");
    let begin = outcome.stdout.find("-----BEGIN CERTIFICATE-----");
    let end = outcome.stdout.find("-----END CERTIFICATE-----");
    match begin.zip(end) {
        Some((begin, end)) => outcome.stdout[begin..end].replace(['\r', '\n'], ""),
        None => panic!("no certificate: {}", outcome.output()),
    }
}

fn is_shown(proxy: &Proxy, arguments: &[&str], identity: &Identity) -> bool {
    let pem = identity.certificate_pem.replace(['\r', '\n'], "");
    pem.starts_with(&shown(proxy, arguments))
}

fn pair(setup: Setup, name: &str, identity: &Identity) -> Setup {
    setup
        .file(&format!("{name}.pem"), &identity.certificate_pem)
        .file(&format!("{name}.key"), &identity.key_pem)
}

/// Replaces a file in one step.
fn put(proxy: &Proxy, name: &str, content: &str) {
    let next = proxy.path("next");
    std::fs::write(&next, content).unwrap();
    std::fs::rename(next, proxy.path(name)).unwrap();
}

#[test]
fn the_server_name_chooses_the_certificate() {
    let authority = Authority::new();
    let first = authority.issue(&["first.test"]);
    let wide = authority.issue(&["*.wide.test", "wide.test"]);
    let edwards = authority.issue_of(&rcgen::PKCS_ED25519, &["wide.test"]);
    let setup = [("first", &first), ("wide", &wide), ("edwards", &edwards)]
        .into_iter()
        .fold(Setup::new(), |setup, (name, identity)| {
            pair(setup, name, identity)
        });
    let entry = |name: &str| format!("{{ certificate: {name}.pem, key: {name}.key }}");
    let entries = ["first", "wide", "edwards"].map(entry).join(", ");
    let proxy = setup
        .secure(&format!("{{ certificates: [{entries}] }}"))
        .start();
    let ed25519: &[&str] = &["-servername", "wide.test", "-sigalgs", "ed25519"];
    for (arguments, expected) in [
        (&["-noservername"][..], &first),
        (&["-servername", "other.test"], &first),
        (&["-servername", "first.test"], &first),
        (&["-servername", "FIRST.test"], &first),
        (&["-servername", "wide.test"], &wide),
        (&["-servername", "a.wide.test"], &wide),
        (&["-servername", "b.a.wide.test"], &first),
        (ed25519, &edwards),
        (&["-servername", "wide.test", "-tls1_2"], &wide),
    ] {
        assert!(is_shown(&proxy, arguments, expected), "{arguments:?}");
    }
    // A client that verifies names gets one for each.
    let origin = Origin::ok("page");
    for name in ["first.test", "wide.test", "x.wide.test"] {
        let socket = TcpStream::connect_timeout(&proxy.secure_address(), DEADLINE).unwrap();
        let mut wire = authority.wrap(socket, name);
        let answer = wire.exchange(fetch(&format!("http://{}/", origin.address)));
        assert_eq!(answer.text(), "page", "{name}");
    }
}

/// What `check` says of several certificates.
#[test]
fn certificates_are_checked_together() {
    let authority = Authority::new();
    let (one, same) = (
        authority.issue(&["one.test"]),
        authority.issue(&["one.test"]),
    );
    let setup = pair(pair(Setup::new(), "one", &one), "same", &same);
    let check = |tls: &str| {
        let yaml = format!(
            "version: 1\ntollgate:\n  auth: {{ htpasswd: users.htpasswd }}\n  listeners:\n    \
             - address: \"{}\"\n      tls: {tls}\n",
            setup.address()
        );
        let path = setup.path("checked.yaml");
        std::fs::write(&path, yaml).unwrap();
        let checked = tollgate(["check".as_ref(), path.as_os_str()]);
        (checked.code(), checked.output())
    };
    let one = "{ certificate: one.pem, key: one.key }";
    for (tls, code, text) in [
        (
            format!("{{ certificates: [{one}, {{ certificate: same.pem, key: same.key }}] }}"),
            0,
            "one.test is in certificates[0] too, with the same kind of key: that one is shown for it",
        ),
        (
            format!("{{ certificates: [{one}, {{ certificate: same.pem, key: one.key }}] }}"),
            78,
            "certificates[1].key: ",
        ),
        (
            format!("{{ certificate: one.pem, key: one.key, certificates: [{one}] }}"),
            78,
            "tls.certificates: beside `certificate` and `key`",
        ),
        (
            "{ certificates: [] }".to_owned(),
            78,
            "tls.certificates: no certificate",
        ),
        (
            "{ certificates: [{ key: one.key }] }".to_owned(),
            78,
            "certificates[0].certificate: missing",
        ),
        (
            "{ certificate: one.pem, key: one.key, certificate_user: cn }".to_owned(),
            78,
            "certificate_user: without `client_ca`",
        ),
        (
            "{ certificate: one.pem, key: one.key, client_crl: x }".to_owned(),
            78,
            "client_crl: without `client_ca`",
        ),
        (
            "{ certificate: one.pem, key: one.key, certificate_login: alone }".to_owned(),
            78,
            "certificate_login: without `certificate_user`",
        ),
    ] {
        let (found, output) = check(&tls);
        assert_eq!(found, Some(code), "{tls}: {output}");
        assert!(output.contains(text), "{tls}: {output}");
    }
}

/// A load of requests, each on a connection of its own, until it is dropped.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn new(proxy: &Proxy, authority: &Arc<Authority>, url: &str) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let threads = (0..3).map(|_| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            let (authority, url) = (Arc::clone(authority), url.to_owned());
            let address = proxy.secure_address();
            std::thread::spawn(move || {
                let served: &AtomicUsize = &served;
                while !stop.load(Ordering::Relaxed) {
                    let socket = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
                    let mut wire = authority.wrap(socket, "proxy.test");
                    for _ in 0..3 {
                        assert_eq!(wire.exchange(fetch(&url)).text(), "page");
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        });
        Self {
            threads: threads.collect(),
            stop,
            served,
        }
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.served.load(Ordering::Relaxed)
    }
}

/// A certificate and its key are renewed one after the other, as by certbot and by hand, under load.
#[test]
fn renewed_files_are_served_as_one_change_and_no_connection_ends() {
    let authority = Arc::new(Authority::new());
    let (old, new) = (
        authority.issue(&["proxy.test"]),
        authority.issue(&["proxy.test"]),
    );
    let proxy = Setup::new().tls(&old).start();
    let (origin, echo) = (Origin::ok("page"), Origin::echo());
    let url = format!("http://{}/", origin.address);
    let begin = || {
        let socket = TcpStream::connect_timeout(&proxy.secure_address(), DEADLINE).unwrap();
        authority.wrap(socket, "proxy.test")
    };
    let mut kept = begin();
    assert_eq!(kept.exchange(fetch(&url)).text(), "page");
    let mut tunnel = begin();
    assert_eq!(tunnel.exchange(connect(echo.address)).status(), 200);
    let load = Load::new(&proxy, &authority, &url);

    // Half of it: the old pair stays, and that is told, once.
    put(&proxy, "cert.pem", &new.certificate_pem);
    let complaint = "its files have changed and cannot be used; what it had stays in use";
    eventually("the complaint", || {
        proxy.errors().contains(complaint).then_some(())
    });
    assert!(
        proxy
            .errors()
            .contains("key.pem is not the key of the certificate")
    );
    assert!(is_shown(&proxy, &["-servername", "proxy.test"], &old));
    assert_eq!(
        proxy.metric("tollgate_certificate_reloads_total{result=\"failure\"}"),
        1
    );

    put(&proxy, "key.pem", &new.key_pem);
    eventually("the new certificate", || {
        is_shown(&proxy, &["-servername", "proxy.test"], &new).then_some(())
    });
    assert_eq!(proxy.errors().matches(complaint).count(), 1);
    assert_eq!(
        proxy.metric("tollgate_certificate_reloads_total{result=\"success\"}"),
        1
    );
    let line = "files have changed: listener ";
    assert!(proxy.errors().contains(line), "{}", proxy.errors());

    // By SIGHUP, and back, some times.
    for identity in [&old, &new, &old] {
        put(&proxy, "key.pem", &identity.key_pem);
        put(&proxy, "cert.pem", &identity.certificate_pem);
        proxy.signal(Signal::HUP);
        eventually("the certificate of the signal", || {
            is_shown(&proxy, &["-servername", "proxy.test"], identity).then_some(())
        });
    }
    // What was open before all of it still is.
    assert_eq!(kept.exchange(fetch(&url)).text(), "page");
    tunnel.send("ping").unwrap();
    assert_eq!(tunnel.read_bytes(4).unwrap(), b"ping");
    let served = load.end();
    assert!(served > 20, "{served} requests");
    let rejected = "tollgate_connections_rejected_total{reason=\"handshake_failed\"}";
    assert_eq!(proxy.metric(rejected), 0);
}

/// Kubernetes mounts a secret as links through `..data`, which it exchanges.
#[test]
fn a_link_that_is_exchanged_above_the_files_is_seen() {
    let authority = Authority::new();
    let (old, new) = (
        authority.issue(&["proxy.test"]),
        authority.issue(&["proxy.test"]),
    );
    let setup = Setup::new();
    let secret = |directory: &Path, identity: &Identity| {
        std::fs::create_dir(directory).unwrap();
        std::fs::write(directory.join("tls.crt"), &identity.certificate_pem).unwrap();
        std::fs::write(directory.join("tls.key"), &identity.key_pem).unwrap();
    };
    secret(&setup.path("..1"), &old);
    symlink("..1", setup.path("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), setup.path(name)).unwrap();
    }
    let proxy = setup
        .secure("{ certificate: tls.crt, key: tls.key }")
        .start();
    assert!(is_shown(&proxy, &["-noservername"], &old));
    secret(&proxy.path("..2"), &new);
    symlink("..2", proxy.path("..data_tmp")).unwrap();
    std::fs::rename(proxy.path("..data_tmp"), proxy.path("..data")).unwrap();
    eventually("the new secret", || {
        is_shown(&proxy, &["-noservername"], &new).then_some(())
    });
    assert!(
        !proxy.errors().contains("cannot be used"),
        "{}",
        proxy.errors()
    );
}

/// A reload reports each key of TLS that it has applied, and one with an error changes nothing.
#[test]
fn a_reload_applies_the_keys_of_tls() {
    let authority = Authority::new();
    let (old, new) = (
        authority.issue(&["proxy.test"]),
        authority.issue(&["new.test"]),
    );
    let other = authority.issue(&["new.test"]);
    let proxy = pair(Setup::new(), "new", &new).tls(&old).start();
    let listeners = |tls: &str| {
        format!(
            "listeners: [{{ address: \"{}\" }}, {{ address: \"{}\", tls: {tls} }}]",
            proxy.address,
            proxy.secure_address()
        )
    };
    proxy.rewrite(&listeners("{ certificate: new.pem, key: new.key }"));
    let body: Value = serde_json::from_str(&proxy.reload().text()).unwrap();
    assert_eq!(body["result"], "success", "{body}");
    let applied = ["certificate", "key"].map(|key| format!("tollgate.listeners[1].tls.{key}"));
    assert_eq!(body["applied"], serde_json::json!(applied), "{body}");
    assert!(is_shown(&proxy, &["-noservername"], &new));
    assert_eq!(
        proxy.metric(&format!(
            "tollgate_certificate_expiry_timestamp_seconds{{listener=\"{}\",name=\"proxy.test\"}}",
            proxy.secure_address()
        )),
        0
    );
    // What TLS offers goes with `http2`, which waits for a restart.
    put(&proxy, "new.pem", &other.certificate_pem);
    put(&proxy, "new.key", &other.key_pem);
    proxy.rewrite(&listeners(
        "{ certificate: new.pem, key: new.key }, http2: false",
    ));
    let body: Value = serde_json::from_str(&proxy.reload().text()).unwrap();
    let waits = ["tollgate.listeners[1].http2"];
    assert_eq!(body["restart_needed"], serde_json::json!(waits), "{body}");
    assert!(is_shown(&proxy, &["-noservername"], &other));
    let socket = TcpStream::connect_timeout(&proxy.secure_address(), DEADLINE).unwrap();
    let (_, agreed) = authority.wrap_offering(socket, "new.test", &["h2"]);
    assert_eq!(agreed.as_deref(), Some("h2"));
    proxy.rewrite(&listeners("{ certificate: new.pem, key: key.pem }"));
    let answer = proxy.reload();
    assert_eq!(answer.status(), 422, "{}", answer.text());
    assert!(
        answer
            .text()
            .contains("key.pem is not the key of the certificate")
    );
    assert!(is_shown(&proxy, &["-noservername"], &other));
}

#[test]
fn ends_of_certificates_are_told() {
    let authority = Authority::new();
    let (year, month, day) = date_in(10);
    let soon = authority.issue_with(&["soon.test"], |params| {
        params.not_after = rcgen::date_time_ymd(year, month, day);
    });
    let past = authority.issue_with(&["past.test"], |params| {
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    let setup = pair(pair(Setup::new(), "soon", &soon), "past", &past);
    let setup = setup.secure(
        "{ certificates: [{ certificate: soon.pem, key: soon.key }, { certificate: past.pem, key: past.key }] }",
    );
    let config = setup.write();
    let checked = tollgate(["check".as_ref(), config.as_os_str()]);
    assert_eq!(checked.code(), Some(0), "{}", checked.output());
    for line in [
        "soon.pem:1: warning: tollgate.listeners[1].tls.certificates[0].certificate: the certificate expires on ",
        "past.pem:1: warning: tollgate.listeners[1].tls.certificates[1].certificate: the certificate expired on 2001-01-01",
    ] {
        assert!(checked.output().contains(line), "{}", checked.output());
    }
    let proxy = setup.start();
    assert!(
        proxy.errors().contains("the certificate expires on "),
        "{}",
        proxy.errors()
    );
    let series = |name: &str| {
        format!(
            "tollgate_certificate_expiry_timestamp_seconds{{listener=\"{}\",name=\"{name}\"}}",
            proxy.secure_address()
        )
    };
    assert_eq!(proxy.metric(&series("past.test")), 978_307_200);
    let left = proxy.metric(&series("soon.test")) - now();
    assert!((8 * 86_400..=10 * 86_400).contains(&left), "{left}");
    let stats: Value = serde_json::from_str(&proxy.admin("/stats").text()).unwrap();
    let certificates = stats["certificates"].as_array().unwrap();
    assert_eq!(certificates.len(), 2, "{stats}");
    assert_eq!(certificates[1]["expires"], "2001-01-01T00:00:00Z");
    assert_eq!(certificates[0]["kind"], "certificate");
    assert!((8..=10).contains(&certificates[0]["days_left"].as_i64().unwrap()));
    let names: HashSet<&str> = certificates
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, HashSet::from(["soon.test", "past.test"]));
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// The date in so many days.
fn date_in(days: i64) -> (i32, u8, u8) {
    use chrono::Datelike;
    let date = chrono::Utc::now() + chrono::Duration::days(days);
    let part = |part: u32| u8::try_from(part).unwrap();
    (date.year(), part(date.month()), part(date.day()))
}
