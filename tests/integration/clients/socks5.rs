//! Programs that people use, as clients of SOCKS5.

use std::io::BufRead;
use std::process::Command;
use std::sync::{Mutex, mpsc};

use crate::support::command::{Outcome, is_installed, python_with, run};
use crate::support::dns::Dns;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::programs::{Way, assert_output, command, curl};
use crate::support::proxy::Proxy;
use crate::support::repository::Repository;
use crate::support::request::ALICE;
use crate::support::socks5;
use crate::support::tls::Authority;

/// Where the client is known by its network: not all programs can log in.
const TRUSTED: &str = "auth: { trusted_networks: [{ networks: [127.0.0.0/8], user: office }] }";

fn url(scheme: &str, proxy: &Proxy) -> String {
    format!("{scheme}://{}:{}@{}", ALICE.0, ALICE.1, proxy.address)
}

fn assert_recorded(proxy: &Proxy, target: &str) {
    proxy.record(target, |record| {
        record["version"] == "SOCKS5"
            && record["target"] == target
            && record["user"] == ALICE.0
            && record["status"] == 200
    });
}

#[test]
fn curl_by_name_and_by_address() {
    let dns = Dns::table(&[("origin.test", &["127.0.0.1"])]);
    let proxy = socks5::setup("also").config(&dns.config()).start();
    let origin = Origin::fixed(ok("page"));
    let named = format!("http://origin.test:{}/", origin.port());
    let user = format!("{}:{}", ALICE.0, ALICE.1);
    let address = proxy.address.to_string();
    let hostname = ["--socks5-hostname", &address, "--proxy-user", &user];
    assert_output(&curl(&[&hostname[..], &[&named]].concat()), "page");
    assert_output(&curl(&["-x", &url("socks5h", &proxy), &named]), "page");
    let target = format!("origin.test:{}", origin.port());
    assert_recorded(&proxy, &target);

    // With --socks5 curl looks the name up itself.
    let numeric = format!("http://{}/", origin.address);
    let local = format!("origin.test:{}:127.0.0.1", origin.port());
    for (extra, url) in [(None, &numeric), (Some(["--resolve", &local]), &named)] {
        let extra = extra.unwrap_or(["--max-redirs", "0"]);
        let arguments = ["--socks5", &address, "--proxy-user", &user, url];
        assert_output(&curl(&[&extra[..], &arguments].concat()), "page");
    }
    assert_recorded(&proxy, &origin.address.to_string());

    let wrong = curl(&["-x", &format!("socks5h://alice:wrong@{address}"), &named]);
    assert_eq!(wrong.code(), Some(97), "{}", wrong.output());
    let denied = curl(&["-x", &url("socks5h", &proxy), "http://169.254.169.254/"]);
    assert_eq!(denied.code(), Some(97), "{}", denied.output());
    assert!(denied.stderr.contains("(2)"), "{}", denied.stderr);
}

#[test]
fn curl_with_tls_to_the_origin_and_a_proxy_behind_it() {
    let authority = Authority::new();
    let setup = socks5::setup("only").file("ca.pem", authority.pem());
    let ca = setup.path("ca.pem").display().to_string();
    let proxy = setup.start();
    let origin = Origin::https(authority.issue(&["127.0.0.1"]).server(), |_| ok("secret"));
    let target = format!("https://{}/", origin.address);
    let through = url("socks5h", &proxy);
    assert_output(&curl(&["--cacert", &ca, "-x", &through, &target]), "secret");
    // SOCKS5 first, then an HTTP proxy.
    let inner = Proxy::plain();
    let http = format!("http://{}:{}@{}", ALICE.0, ALICE.1, inner.address);
    let chain = [
        "--preproxy",
        &through,
        "-x",
        &http,
        "--cacert",
        &ca,
        &target,
    ];
    assert_output(&curl(&chain), "secret");
    assert_recorded(&proxy, &inner.address.to_string());
    inner.record("the inner tunnel", |record| {
        record["target"] == origin.address.to_string()
    });
}

#[test]
fn git_clones() {
    let authority = Authority::new();
    let setup = socks5::setup("only").file("ca.pem", authority.pem());
    let ca = setup.path("ca.pem");
    let proxy = setup.start();
    let repository = Repository::new();
    let origin = Origin::https(
        authority.issue(&["127.0.0.1"]).server(),
        repository.answer(),
    );
    let at = format!("https://{}", origin.address);
    let through = url("socks5h", &proxy);
    for (way, name) in [
        (Way::Option(&through), "by_option"),
        (Way::Environment(&through), "by_environment"),
    ] {
        let outcome = repository.clone_through(way, &ca, &at, name);
        assert!(outcome.status.success(), "{name}: {}", outcome.output());
        repository.assert_cloned(name);
    }
    assert_recorded(&proxy, &origin.address.to_string());
}

/// Has ssh reach a server by a command, and returns what became of it and the version that it showed.
fn ssh(proxy_command: &str) -> (Outcome, Option<String>) {
    let (heard, versions) = mpsc::channel();
    let heard = Mutex::new(heard);
    let server = Origin::raw(move |mut wire, _| {
        wire.send("SSH-2.0-Tollgate_test\r\n")?;
        let version = wire.read_until(b"\r\n")?;
        let _gone = heard.lock().unwrap().send(version);
        // At the end of the tunnel alone, `nc` waits for ssh, which waits for `nc`.
        wire.reset();
        Ok(())
    });
    let mut ssh = command("ssh");
    ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o"])
        .arg(format!("ProxyCommand={proxy_command}"))
        .args([
            "-o",
            "ConnectTimeout=20",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(["-p", &server.port().to_string(), "alice@127.0.0.1"])
        .env("SOCKS5_PASSWORD", ALICE.1);
    let outcome = run(&mut ssh, "");
    let version = versions.try_recv().ok();
    (
        outcome,
        version.map(|version| version.lines().next().unwrap().unwrap()),
    )
}

fn assert_ssh_reaches(
    probe: &[&str],
    yaml: &str,
    user: &str,
    proxy_command: impl Fn(&Proxy) -> String,
) {
    if !is_installed(&["ssh", "-V"]) || !is_installed(probe) {
        return;
    }
    let proxy = socks5::proxy(yaml);
    let (outcome, version) = ssh(&proxy_command(&proxy));
    let version = version.unwrap_or_else(|| panic!("ssh has not come: {}", outcome.output()));
    assert!(version.starts_with("SSH-2.0-OpenSSH"), "{version}");
    proxy.record("the tunnel", |record| {
        record["version"] == "SOCKS5" && record["user"] == user && record["status"] == 200
    });
}

#[test]
fn ssh_by_ncat() {
    assert_ssh_reaches(&["ncat", "--version"], "{}", ALICE.0, |proxy| {
        let (user, password) = ALICE;
        format!(
            "ncat --proxy {} --proxy-type socks5 --proxy-auth {user}:{password} %h %p",
            proxy.address
        )
    });
}

/// The password is in the environment.
#[test]
fn ssh_by_connect_proxy() {
    let probe = ["sh", "-c", "command -v connect-proxy"];
    assert_ssh_reaches(&probe, "{}", ALICE.0, |proxy| {
        format!("connect-proxy -5 -S {}@{} %h %p", ALICE.0, proxy.address)
    });
}

/// It cannot log in.
#[test]
fn ssh_by_nc() {
    let probe = ["sh", "-c", "nc -h 2>&1 | grep -q -e '-X'"];
    assert_ssh_reaches(&probe, TRUSTED, "office", |proxy| {
        format!("nc -X 5 -x {} %h %p", proxy.address)
    });
}

#[test]
fn chromium_where_its_network_is_known() {
    if !is_installed(&["sh", "-c", "command -v chromium"]) {
        return;
    }
    let dns = Dns::table(&[("page.test", &["127.0.0.1"])]);
    let proxy = socks5::proxy(&format!("{TRUSTED}\n{}", dns.config()));
    let origin = Origin::fixed(ok("<p>page by socks</p>"));
    let profile = tempfile::tempdir().unwrap();
    let mut browser: Command = command("chromium");
    browser
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .args(["--disable-background-networking", "--no-first-run"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--proxy-server=socks5://{}", proxy.address))
        .arg(format!("http://page.test:{}/", origin.port()));
    let outcome = run(&mut browser, "");
    assert!(
        outcome.stdout.contains("page by socks"),
        "{}",
        outcome.output()
    );
    let target = format!("page.test:{}", origin.port());
    proxy.record("the page", |record| {
        record["target"] == target.as_str() && record["user"] == "office"
    });
}

#[test]
fn proxychains() {
    if !is_installed(&["sh", "-c", "command -v proxychains4"]) {
        return;
    }
    let proxy = socks5::proxy("{}");
    let origin = Origin::fixed(ok("page"));
    let (user, password) = ALICE;
    let list = format!(
        "strict_chain\nquiet_mode\n[ProxyList]\nsocks5 127.0.0.1 {} {user} {password}\n",
        proxy.port()
    );
    let file = proxy.path("proxychains.conf");
    std::fs::write(&file, list).unwrap();
    let mut chained = command("proxychains4");
    chained
        .arg("-f")
        .arg(&file)
        .args(["curl", "-sS", "--max-time", "20"]);
    let outcome = run(chained.arg(format!("http://{}/", origin.address)), "");
    assert_output(&outcome, "page");
    assert_recorded(&proxy, &origin.address.to_string());
}

/// The library that requests and urllib3 use.
#[test]
fn python_by_pysocks() {
    let Some(python) = python_with("socks") else {
        return;
    };
    let proxy = socks5::proxy("{}");
    let echo = Origin::echo();
    let program = "import socks, sys
s = socks.socksocket()
s.set_proxy(socks.SOCKS5, '127.0.0.1', int(sys.argv[1]), True, sys.argv[2], sys.argv[3])
s.connect(('127.0.0.1', int(sys.argv[4])))
s.sendall(b'by python')
print(s.recv(100).decode(), end='')";
    let (own, port) = (proxy.port().to_string(), echo.port().to_string());
    let mut python = command(python);
    python.args(["-c", program, &own, ALICE.0, ALICE.1, &port]);
    assert_output(&run(&mut python, ""), "by python");
}
