//! `tollgate top` in a real terminal: what members have used, how long requests take, what has failed, a reload and a drain.

use rustix::process::Signal;

use crate::support::DEADLINE;
use crate::support::client::Wire;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::tmux::Tmux;
use crate::support::top::{POLICY, as_alice, has_tmux, line, once_json, with_users};
use crate::support::zone::steady_zone;

const SIZES: [(u16, u16); 2] = [(80, 24), (200, 50)];

/// With a quota for each user.
fn with_quotas() -> Setup {
    with_users().config(&format!(
        "limits: {{ time_zone: {}, store: {{ file: quota.redb }}, classes: [{{ name: all, quota: {{ day: 1GiB, month: 8GiB }} }}] }}",
        steady_zone()
    ))
}

/// Whether a line begins with these words.
fn has_line(screen: &str, words: &[&str]) -> bool {
    let mut lines = screen.lines();
    lines.any(|line| {
        line.split_whitespace()
            .take(words.len())
            .eq(words.iter().copied())
    })
}

#[test]
fn balances_durations_and_errors() {
    if !has_tmux() {
        return;
    }
    let proxy = with_quotas().start();
    let (origin, absent) = (Origin::ok("hello"), Setup::new().address());
    let url = format!("http://{}/", origin.address);
    assert_eq!(proxy.fetch(&url).status(), 200);
    let failed = proxy.fetch(&format!("http://{absent}/"));
    assert_eq!(failed.status(), 502);
    let all = once_json(&proxy);
    let balances = all["quotas"]["balances"].as_array().unwrap();
    let periods: Vec<&str> = balances
        .iter()
        .map(|balance| balance["period"].as_str().unwrap())
        .collect();
    assert_eq!(periods.len(), 2, "{balances:?}");
    let errors = all["status"]["recent_errors_by_kind"].as_object().unwrap();
    let (error, count) = errors.iter().next().unwrap();
    assert_eq!((errors.len(), count.as_u64()), (1, Some(1)), "{errors:?}");
    for (width, height) in SIZES {
        let tmux = Tmux::run((width, height), &as_alice(&proxy));
        tmux.wait(&["live", "p50 ", "p99 ", "connections "]);
        tmux.press(&["9"]);
        tmux.wait_until("the balances", |screen| {
            let is_there = |balance: &serde_json::Value| {
                let text = |name: &str| balance[name].as_str().unwrap().to_owned();
                let used = balance["used"].to_string();
                let limit = match balance["period"].as_str() {
                    Some("day") => "1.0G",
                    _ => "8.0G",
                };
                let words = [
                    &text("member"),
                    &text("class"),
                    &text("period"),
                    &used,
                    limit,
                ];
                has_line(screen, &words)
            };
            balances.iter().all(is_there)
        });
        tmux.wait(&["resets", "granted", "2  ? help"]);
        tmux.press(&["0"]);
        tmux.wait(&["threads", "descriptors", "R reload  D drain"]);
        tmux.press(&["End"]);
        let shown = format!("errors, 15 min   {error}: 1");
        tmux.wait(&["since the start", &shown, "all per user"]);
    }
}

#[test]
fn a_reload_tells_what_became_of_it() {
    if !has_tmux() {
        return;
    }
    let proxy = with_users().start();
    let whole = std::fs::read_to_string(proxy.path("pingora.yaml")).unwrap();
    let tmux = Tmux::run((80, 24), &as_alice(&proxy));
    tmux.wait(&["live"]);
    tmux.press(&["R"]);
    tmux.wait(&["read the configuration and its files again? y/n"]);
    tmux.press(&["n"]);
    tmux.wait(&["nothing was reloaded"]);
    tmux.press(&["R"]);
    tmux.press(&["y"]);
    tmux.wait(&["reloaded: 4 users, 2 rules; no key changed that a reload applies"]);
    // A rule more, and a key that needs a restart.
    let changed = whole.replace("name: no-ads", "name: no-more-ads");
    assert_ne!(changed, whole);
    std::fs::write(proxy.path("pingora.yaml"), &changed).unwrap();
    tmux.press(&["R"]);
    tmux.press(&["y"]);
    tmux.wait(&["reloaded: 4 users, 2 rules", "in effect now:", "policy"]);
    tmux.escape("in effect now:");
    tmux.press(&["8"]);
    tmux.wait(&["no-more-ads"]);
    // What cannot be used changes nothing, and its errors can be read.
    std::fs::write(
        proxy.path("pingora.yaml"),
        changed.replace("action: deny", "action: refuse"),
    )
    .unwrap();
    tmux.press(&["R"]);
    tmux.press(&["y"]);
    tmux.wait(&[
        "the reload failed, and changed nothing",
        "pingora.yaml:",
        "admit, deny nor observe",
    ]);
    tmux.escape("admit, deny nor observe");
    tmux.press(&["0"]);
    tmux.wait(&[
        "! The last reload failed",
        "attention",
        "last reload",
        "failure",
    ]);
}

#[test]
fn a_drain_asks_first_and_ends_the_process() {
    if !has_tmux() {
        return;
    }
    let mut proxy = with_users().start();
    let echo = Origin::echo();
    let mut tunnel = proxy.tunnel(echo.address);
    let tmux = Tmux::run((80, 24), &as_alice(&proxy));
    tmux.wait(&["open tunnels 1"]);
    tmux.press(&["D"]);
    tmux.wait(&["drain the process: it takes nothing new, and ends? y/n"]);
    tmux.press(&["Enter"]);
    tmux.wait(&["the process goes on"]);
    tunnel.send("ping").unwrap();
    assert_eq!(tunnel.read_bytes(4).unwrap(), b"ping");
    tmux.press(&["D"]);
    tmux.press(&["y"]);
    tmux.wait(&["the process drains, and ends"]);
    tmux.wait(&["draining"]);
    tunnel.send("pong").unwrap();
    assert_eq!(tunnel.read_bytes(4).unwrap(), b"pong");
    drop(tunnel);
    assert!(proxy.wait_exit(DEADLINE).success());
    tmux.wait(&["no connection, again in"]);
}

#[test]
fn without_users_the_service_refuses_a_drain() {
    if !has_tmux() {
        return;
    }
    let mut proxy = Setup::new().config(POLICY).start();
    let message = refusal_of_drain(&proxy);
    let tmux = Tmux::run((200, 50), &line(&proxy, ""));
    tmux.wait(&["live"]);
    tmux.press(&["D"]);
    tmux.press(&["y"]);
    tmux.wait(&["the process does not drain: ", &message, "(status 403)"]);
    // The files are the operator's: a reload needs no users.
    tmux.press(&["R"]);
    tmux.press(&["y"]);
    tmux.wait(&["reloaded: "]);
    assert!(proxy.is_running());
    proxy.signal(Signal::TERM);
    assert!(proxy.wait_exit(DEADLINE).success());
}

/// What the API answers.
fn refusal_of_drain(proxy: &Proxy) -> String {
    let address = proxy.admin_address();
    let answer = Wire::connect(address).unwrap().exchange(format!(
        "POST /api/v1/drain HTTP/1.1\r\nHost: {address}\r\nTollgate-Request: 1\r\nContent-Length: 0\r\n\r\n"
    ));
    assert_eq!(answer.status(), 403);
    let body: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!(body["error"], "read_only");
    body["message"].as_str().unwrap().to_owned()
}
