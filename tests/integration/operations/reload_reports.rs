//! What a reload says of each changed key: whether it took effect.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::admin::{self, ROOT};
use crate::support::command::tollgate;
use crate::support::eventually;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, sha_line};
use crate::support::tls::Authority;

fn said(proxy: &Proxy) -> Value {
    let answer = proxy.reload();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn keys_that_wait_for_a_restart_are_named_until_then() {
    let proxy = Proxy::plain();
    assert_eq!(said(&proxy)["result"], "success");
    proxy.rewrite(
        "{ timeouts: { drain: 7s }, limits: { request_target: 9KiB }, \
         gateway: { upstreams: [\"127.0.0.1:1\"] }, egress: { deny_domains: [secret.example] } }",
    );
    let waiting = json!([
        "tollgate.gateway.upstreams",
        "tollgate.limits.request_target",
        "tollgate.timeouts.drain",
    ]);
    let first = said(&proxy);
    assert_eq!(first["result"], "partial", "{first}");
    assert_eq!(
        first["applied"],
        json!(["tollgate.egress.deny_domains"]),
        "{first}"
    );
    assert_eq!(first["restart_needed"], waiting, "{first}");
    // The second one has nothing new, and what waits still waits.
    let second = said(&proxy);
    assert_eq!(
        (&second["result"], &second["applied"]),
        (&json!("partial"), &json!([]))
    );
    assert_eq!(second["restart_needed"], waiting, "{second}");
    assert_eq!(
        proxy.metric("tollgate_reloads_total{result=\"partial\"}"),
        2
    );
    // No value is shown, here or in the log.
    proxy.signal(Signal::HUP);
    let log = eventually("the log", || {
        let log = proxy.errors();
        log.contains("SIGHUP: changed").then_some(log)
    });
    assert!(
        log.contains(
            "SIGHUP: changed, but without effect until a restart or an upgrade (-u): \
             tollgate.gateway.upstreams, tollgate.limits.request_target, tollgate.timeouts.drain"
        ),
        "{log}"
    );
    assert!(!log.contains("secret.example"), "{log}");
    proxy.rewrite("{ timeouts: { drain: 30000ms }, limits: { request_target: 16384 }, gateway: { upstreams: [] } }");
    let last = said(&proxy);
    assert_eq!(
        (&last["result"], &last["restart_needed"]),
        (&json!("success"), &json!([])),
        "{last}"
    );
}

#[test]
fn keys_of_pingora_and_a_new_certificate_are_named() {
    let authority = Authority::new();
    let proxy = Setup::new().tls(&authority.issue(&["proxy.test"])).start();
    let renewed = authority.issue(&["proxy.test"]);
    std::fs::write(proxy.path("cert.pem"), &renewed.certificate_pem).unwrap();
    std::fs::write(proxy.path("key.pem"), &renewed.key_pem).unwrap();
    let file = proxy.path("pingora.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("threads: 2", "threads: 3")).unwrap();
    let first = said(&proxy);
    assert_eq!(first["restart_needed"], json!(["threads"]), "{first}");
    let applied = json!([
        "tollgate.listeners[1].tls.certificate",
        "tollgate.listeners[1].tls.key"
    ]);
    assert_eq!(first["applied"], applied, "{first}");
    std::fs::remove_file(proxy.path("key.pem")).unwrap();
    let second = said(&proxy);
    assert_eq!(
        second["not_compared"],
        json!(["tollgate.listeners[1].tls.key"]),
        "{second}"
    );
}

#[test]
fn one_user_is_one_user() {
    let proxy = Setup::new()
        .file("users.htpasswd", sha_line(ALICE) + &sha_line(BOB))
        .start();
    std::fs::write(proxy.path("users.htpasswd"), sha_line(ALICE)).unwrap();
    assert_eq!(said(&proxy)["applied"], json!(["tollgate.auth.htpasswd"]));
    eventually("the log", || {
        proxy
            .errors()
            .contains("reloaded; 1 user, 0 rules; in effect now: tollgate.auth.htpasswd")
            .then_some(())
    });
}

/// `tollgate reload`, with its exit code and what it prints.
fn asked(proxy: &Proxy) -> (Option<i32>, String) {
    let file = proxy.path("pingora.yaml");
    let outcome = tollgate(["reload".as_ref(), "-c".as_ref(), file.as_os_str()]);
    (outcome.code(), outcome.stderr)
}

#[test]
fn the_command_tells_by_its_exit_code_whether_all_took_effect() {
    let proxy = Proxy::plain();
    let (code, said) = asked(&proxy);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "reloaded: 4 users, 0 rules\n")
    );
    proxy.rewrite("{ timeouts: { drain: 7s }, egress: { deny_domains: [a.example] } }");
    let (code, said) = asked(&proxy);
    assert_eq!(code, Some(2), "{said}");
    for line in [
        "in effect now: tollgate.egress.deny_domains\n",
        "not in effect until a restart or an upgrade (-u): tollgate.timeouts.drain\n",
    ] {
        assert!(said.contains(line), "{line}{said}");
    }
    // Wrong only when its tests are run, which the process does.
    proxy.rewrite("{ policy_tests: [{ user: alice, target: 'b.example:443', expect: deny }] }");
    let (code, said) = asked(&proxy);
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("tollgate.policy_tests[0]: expected deny")
            && said.ends_with("tollgate: nothing was changed\n"),
        "{said}"
    );
    // Wrong at first sight.
    proxy.rewrite("{ timeouts: { drain: soon } }");
    let (code, said) = asked(&proxy);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("tollgate.timeouts.drain"), "{said}");
}

#[test]
fn the_command_says_why_nothing_can_be_asked() {
    let setup = Setup::new();
    let file = setup.write();
    let outcome = tollgate(["reload".as_ref(), "-c".as_ref(), file.as_os_str()]);
    assert_eq!(outcome.code(), Some(1), "{}", outcome.output());
    assert!(
        outcome.stderr.contains(
            "cannot be reached: connection refused; check that the process runs with this file"
        ),
        "{}",
        outcome.stderr
    );
    let text = std::fs::read_to_string(&file).unwrap();
    let mut config: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    config["tollgate"].as_mapping_mut().unwrap().remove("admin");
    std::fs::write(&file, serde_yaml::to_string(&config).unwrap()).unwrap();
    let outcome = tollgate(["reload".as_ref(), "-c".as_ref(), file.as_os_str()]);
    assert_eq!(outcome.code(), Some(78), "{}", outcome.output());
    assert!(outcome.stderr.contains("kill -HUP"), "{}", outcome.stderr);
}

#[test]
fn a_service_with_users_is_asked_by_one() {
    let proxy = admin::with_users()
        .file("password", ROOT.1)
        .file("wrong", "wrong")
        .start();
    let (conf, password, wrong) = (
        proxy.path("pingora.yaml"),
        proxy.path("password"),
        proxy.path("wrong"),
    );
    let conf = conf.to_str().unwrap();
    let (password, wrong) = (password.to_str().unwrap(), wrong.to_str().unwrap());
    for (login, code, said) in [
        (
            &["--user", "root", "--password-file", password][..],
            0,
            "reloaded: 4 users",
        ),
        (
            &["--user", "root", "--password-file", wrong],
            1,
            "does not know you; name a user with --user",
        ),
        (&[], 1, "does not know you; name a user with --user"),
    ] {
        let outcome = tollgate(["reload", "-c", conf].iter().chain(login));
        assert_eq!(outcome.code(), Some(code), "{}", outcome.output());
        assert!(outcome.output().contains(said), "{}", outcome.output());
    }
}
