//! ssh in a tunnel, by each of the programs that people name in `ProxyCommand`.

use std::io::BufRead;
use std::sync::{Mutex, mpsc};

use crate::support::command::{is_installed, run};
use crate::support::origin::Origin;
use crate::support::programs::command;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB};
use crate::support::socks5;

/// Has ssh reach a server that shows its version, takes the client's and hangs up.
fn assert_reaches(probe: &[&str], proxy_command: impl Fn(&Proxy) -> String) {
    assert_reaches_by(&Proxy::plain(), probe, proxy_command);
}

fn assert_reaches_by(proxy: &Proxy, probe: &[&str], proxy_command: impl Fn(&Proxy) -> String) {
    if !is_installed(&["ssh", "-V"]) || !is_installed(probe) {
        return;
    }
    let (heard, versions) = mpsc::channel();
    let heard = Mutex::new(heard);
    let server = Origin::raw(move |mut wire, _| {
        wire.send("SSH-2.0-Tollgate_test\r\n")?;
        let version = wire.read_until(b"\r\n")?;
        let _gone = heard.lock().unwrap().send(version);
        Ok(())
    });
    let mut ssh = command("ssh");
    ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o"])
        .arg(format!("ProxyCommand={}", proxy_command(proxy)))
        .args([
            "-o",
            "ConnectTimeout=20",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(["-p", &server.port().to_string(), "alice@origin.localhost"])
        .env("HTTP_PROXY_PASSWORD", ALICE.1);
    let outcome = run(&mut ssh, "");
    let version = versions
        .try_recv()
        .unwrap_or_else(|_| panic!("ssh has not come: {}", outcome.output()));
    assert!(
        version
            .lines()
            .next()
            .unwrap()
            .unwrap()
            .starts_with("SSH-2.0-OpenSSH")
    );
    proxy.record("tunnel", |record| {
        record["user"] == ALICE.0 && record["status"] == 200
    });
}

#[test]
fn ncat() {
    assert_reaches(&["ncat", "--version"], |proxy| {
        let (user, password) = ALICE;
        format!(
            "ncat --proxy {} --proxy-type http --proxy-auth {user}:{password} %h %p",
            proxy.address
        )
    });
}

/// Through a second proxy behind this one, by each of its protocols.
#[test]
fn ncat_through_a_parent() {
    for (scheme, far) in [("http", Setup::new()), ("socks5", socks5::setup("only"))] {
        let far = far.config("log: { tunnel_open: true }").start();
        let near = Setup::new().file("p.secret", BOB.1).config(&format!(
            "secrets: {{ p: {{ file: p.secret, clear_text: true }} }}
parents: {{ p: {{ urls: ['{scheme}://{}'], user: bob, password: p }} }}
via: p",
            far.address
        ));
        let near = near.start();
        assert_reaches_by(&near, &["ncat", "--version"], |proxy| {
            let (user, password) = ALICE;
            format!(
                "ncat --proxy {} --proxy-type http --proxy-auth {user}:{password} %h %p",
                proxy.address
            )
        });
        near.record("its way", |record| record["parent"] == "p");
        far.record("the tunnel there", |record| record["user"] == BOB.0);
    }
}

#[test]
fn socat() {
    assert_reaches(&["socat", "-V"], |proxy| {
        let (user, password) = ALICE;
        format!(
            "socat - PROXY:127.0.0.1:%h:%p,proxyport={},proxyauth={user}:{password}",
            proxy.port()
        )
    });
}

/// The password is in the environment.
#[test]
fn connect_proxy() {
    assert_reaches(&["sh", "-c", "command -v connect-proxy"], |proxy| {
        format!("connect-proxy -H {}@{} %h %p", ALICE.0, proxy.address)
    });
}

#[test]
fn corkscrew() {
    assert_reaches(&["sh", "-c", "command -v corkscrew"], |proxy| {
        let file = proxy.path("corkscrew.auth");
        std::fs::write(&file, format!("{}:{}\n", ALICE.0, ALICE.1)).unwrap();
        format!(
            "corkscrew 127.0.0.1 {} %h %p {}",
            proxy.port(),
            file.display()
        )
    });
}
