//! `tollgate top` in a real terminal, against the real program and its traffic: what is shown is what the API says.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::command::{Capture, program};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::{BOB, connect, request_of};
use crate::support::tmux::Tmux;
use crate::support::top::{
    as_alice, assert_restored, has_tmux, in_shell, line, once_json, with_users,
};

const SIZES: [(u16, u16); 2] = [(80, 24), (200, 50)];

/// The number of the process that runs `top` with this configuration.
fn process_of(proxy: &Proxy) -> Pid {
    let conf = proxy.path("pingora.yaml");
    let conf = conf.to_str().unwrap();
    eventually("the process of `tollgate top`", || {
        let processes = std::fs::read_dir("/proc").unwrap();
        processes.flatten().find_map(|process| {
            let line = std::fs::read(process.path().join("cmdline")).ok()?;
            let line = String::from_utf8(line).ok()?;
            let mut words = line.split('\0').skip(1);
            let is_it = words.next() == Some("top") && words.any(|word| word == conf);
            let number = process.file_name().to_str()?.parse().ok()?;
            is_it.then(|| Pid::from_raw(number)).flatten()
        })
    })
}

#[test]
fn what_is_shown_is_what_the_api_says() {
    if !has_tmux() {
        return;
    }
    let proxy = with_users().start();
    let (origin, echo) = (Origin::ok("hello"), Origin::echo());
    let url = format!("http://{}/path?query=secret", origin.address);
    for _ in 0..3 {
        assert_eq!(proxy.fetch(&url).status(), 200);
    }
    let denied = proxy.fetch("http://ads.example/banner?query=secret");
    assert_eq!(denied.status(), 403);
    let mut tunnel = proxy.tunnel(echo.address);
    let mut bob = proxy.connect();
    let opened = bob.exchange(request_of(BOB, "CONNECT", &echo.address.to_string()));
    assert_eq!(opened.status(), 200);
    tunnel.send("ping").unwrap();
    let (target, site) = (echo.address.to_string(), origin.address.to_string());
    for (width, height) in SIZES {
        let tmux = in_shell(
            proxy.setup.directory.path(),
            (width, height),
            &as_alice(&proxy),
        );
        tmux.wait(&[
            "live",
            "open tunnels 2",
            "requests/s",
            "alice",
            "no-ads",
            &site,
        ]);
        tmux.press(&["2"]);
        let screen = tmux.wait(&["alice", "bob", &target, "work", "2  ? help"]);
        assert_eq!(screen.matches(&target).count() % 2, 0, "{screen}");
        tmux.press(&["4"]);
        let users = once_json(&proxy)["users"]["users"].clone();
        for user in users.as_array().unwrap() {
            let (name, count) = (user["user"].as_str().unwrap(), user["requests"].to_string());
            tmux.wait_until(&format!("{name} with {count}"), |screen| {
                let is_its = |line: &str| line.split_whitespace().take(2).eq([name, &count]);
                screen.lines().any(is_its)
            });
        }
        tmux.press(&["5"]);
        tmux.wait(&[&site, &target]);
        tmux.press(&["6"]);
        let screen = tmux.wait(&["alice", "GET", "http://ads.example/banner", "no-ads"]);
        assert!(!screen.contains("secret"), "{screen}");
        tmux.press(&["8"]);
        tmux.wait_until("the rules with their hits", |screen| {
            let has = |rule: &[&str]| {
                screen
                    .lines()
                    .any(|line| line.split_whitespace().take(4).eq(rule.iter().copied()))
            };
            has(&["1", "no-ads", "deny", "1"]) && has(&["2", "work", "admit", "5"])
        });
        tmux.press(&["0"]);
        let pid = proxy.id().as_raw_nonzero().to_string();
        tmux.wait(&[
            "version",
            &pid,
            "you are          alice",
            &proxy.address.to_string(),
        ]);
        tmux.press(&["?"]);
        tmux.wait(&["Shift-Tab", "quit"]);
        tmux.escape("Shift-Tab");
        tmux.press(&["q"]);
        assert_restored(&tmux, proxy.setup.directory.path(), 0);
    }
}

#[test]
fn filter_filters_and_close_closes() {
    if !has_tmux() {
        return;
    }
    let proxy = with_users().start();
    let (first, second) = (Origin::echo(), Origin::echo());
    let mut kept = proxy.tunnel(first.address);
    let mut closed = proxy.tunnel(second.address);
    let (kept_name, closed_name) = (first.address.to_string(), second.address.to_string());
    let tmux = Tmux::run((80, 24), &as_alice(&proxy));
    tmux.wait(&["open tunnels 2"]);
    tmux.press(&["2"]);
    tmux.wait(&[&kept_name, &closed_name]);
    let port = second.port().to_string();
    tmux.press(&["/", &port]);
    tmux.wait_until("one of the tunnels", |screen| {
        screen.contains(&closed_name) && !screen.contains(&kept_name)
    });
    tmux.press(&["Enter"]);
    tmux.press(&["x"]);
    tmux.wait(&[&format!("close the tunnel of alice to {closed_name}? y/n")]);
    tmux.press(&["n"]);
    tmux.wait(&["nothing was closed"]);
    closed.send("ping").unwrap();
    assert_eq!(closed.read_bytes(4).unwrap(), b"ping");
    tmux.press(&["x"]);
    tmux.press(&["y"]);
    closed.assert_closed();
    tmux.wait_until("no such tunnel", |screen| {
        !screen.contains(&format!("{closed_name} "))
    });
    tmux.press(&["Escape"]);
    tmux.wait(&[&kept_name]);
    kept.send("ping").unwrap();
    assert_eq!(kept.read_bytes(4).unwrap(), b"ping");
    // All of a user.
    tmux.press(&["4"]);
    tmux.wait_until("the user alice", |screen| {
        screen.contains("last seen") && screen.lines().any(|line| line.starts_with("alice "))
    });
    tmux.press(&["x"]);
    tmux.wait(&["close all tunnels of alice? y/n"]);
    tmux.press(&["y"]);
    kept.assert_closed();
    tmux.wait(&["closed: 1 tunnel of alice"]);
}

#[test]
fn a_denial_is_explained_in_place() {
    if !has_tmux() {
        return;
    }
    let proxy = with_users().start();
    let tmux = Tmux::run((80, 24), &as_alice(&proxy));
    tmux.wait(&["live"]);
    tmux.press(&["6"]);
    tmux.wait(&["no denials"]);
    assert_eq!(proxy.exchange(connect("ads.example:443")).status(), 403);
    tmux.wait(&["ads.example:443", "no-ads"]);
    tmux.press(&["Enter"]);
    tmux.wait(&[
        "deny by no-ads",
        "no ads here",
        "rules that were evaluated",
        "decides",
    ]);
    tmux.escape("decides");
}

#[test]
fn without_users_nothing_is_closed() {
    if !has_tmux() {
        return;
    }
    let proxy = Proxy::plain();
    let echo = Origin::echo();
    let mut tunnel = proxy.tunnel(echo.address);
    let tmux = Tmux::run((80, 24), &line(&proxy, ""));
    tmux.wait(&["live"]);
    tmux.press(&["2"]);
    tmux.wait(&[&echo.address.to_string()]);
    tmux.press(&["x"]);
    tmux.wait(&["this service changes nothing"]);
    tunnel.send("ping").unwrap();
    assert_eq!(tunnel.read_bytes(4).unwrap(), b"ping");
}

#[test]
fn sizes_pauses_and_colours() {
    if !has_tmux() {
        return;
    }
    let proxy = Proxy::plain();
    let echo = Origin::echo();
    let _first = proxy.tunnel(echo.address);
    let tmux = Tmux::run((80, 24), &line(&proxy, ""));
    tmux.wait(&["live", "open tunnels 1"]);
    assert!(
        tmux.coloured().contains("\u{1b}[38;5;2m"),
        "{:?}",
        tmux.coloured()
    );
    tmux.press(&["Space"]);
    tmux.wait(&["paused"]);
    let _second = proxy.tunnel(echo.address);
    tmux.resize(200, 50);
    let screen = tmux.wait(&["1 overview", "0 process", "open tunnels 1"]);
    assert!(screen.lines().count() >= 49, "{screen}");
    tmux.resize(30, 6);
    tmux.wait(&["too small"]);
    tmux.resize(80, 24);
    tmux.press(&["Space"]);
    tmux.wait(&["live", "open tunnels 2"]);
    let plain = Tmux::run((80, 24), &format!("NO_COLOR=1 {}", line(&proxy, "")));
    plain.wait(&["live", "open tunnels 2"]);
    let coloured = plain.coloured();
    let has_colour = ["[38;", ";38;", "[48;", ";48;"]
        .iter()
        .any(|colour| coloured.contains(colour));
    assert!(!has_colour, "{coloured:?}");
}

#[test]
fn a_lost_service_is_shown_and_found_again() {
    if !has_tmux() {
        return;
    }
    let mut proxy = Proxy::plain();
    let tmux = in_shell(proxy.setup.directory.path(), (80, 24), &line(&proxy, ""));
    tmux.wait(&["live"]);
    proxy.signal(Signal::INT);
    tmux.wait(&["no connection, again in", "cannot be reached"]);
    proxy.wait_exit(crate::support::DEADLINE);
    let mut next = Command::new(program())
        .arg("-c")
        .arg(proxy.path("pingora.yaml"))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let _errors = Capture::of(next.stderr.take());
    tmux.wait(&[" live"]);
    next.kill().unwrap();
    next.wait().unwrap();
    tmux.press(&["C-c"]);
    assert_restored(&tmux, proxy.setup.directory.path(), 0);
}

#[test]
fn signals_give_the_terminal_back() {
    if !has_tmux() {
        return;
    }
    let proxy = Proxy::plain();
    let directory = proxy.setup.directory.path();
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let tmux = in_shell(directory, (80, 24), &line(&proxy, ""));
        tmux.wait(&["live"]);
        assert!(tmux.is_alternate());
        kill_process(process_of(&proxy), signal).unwrap();
        assert_restored(&tmux, directory, code);
    }
}
