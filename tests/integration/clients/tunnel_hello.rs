//! Real clients of TLS in tunnels that are bound to their host, with the recipes of docs/tunnels.md.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::client::Wire;
use crate::support::command::{is_installed, run};
use crate::support::documents::{read, root, yaml_blocks};
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::programs::{assert_output, command, curl, proxy_url};
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::ALICE;
use crate::support::tls::Authority;

/// A server of https for two names, and the file with its authority.
struct Site {
    proxy: Proxy,
    origin: Origin,
    ca: String,
}

impl Site {
    fn new(yaml: &str) -> Self {
        let authority = Authority::new();
        let identity = authority.issue(&["a.localhost", "b.localhost", "127.0.0.1"]);
        let setup = Setup::new().file("ca.pem", authority.pem()).config(yaml);
        let ca = setup.path("ca.pem").display().to_string();
        Self {
            proxy: setup.start(),
            origin: Origin::https(identity.server(), |request| ok(&request.body)),
            ca,
        }
    }

    fn closed(&self, number: usize) -> Value {
        self.proxy.wait_records(number).remove(number - 1)
    }
}

#[test]
fn curl_reaches_the_host_of_its_tunnel_and_no_other() {
    let site = Site::new("tunnel: { sni: match }");
    let port = site.origin.port();
    let url = format!("https://a.localhost:{port}/");
    let proxy = proxy_url(&site.proxy);
    let base = ["--cacert", &site.ca, "-d", "secret", "-x", &proxy];
    assert_output(&curl(&[&base[..], &[&url]].concat()), "secret");
    let record = site.closed(1);
    assert_eq!(record["sni"], "a.localhost", "{record}");
    assert!(
        record["alpn"].as_str().unwrap().contains("http/1.1"),
        "{record}"
    );
    // The tunnel is for b, and the hello in it for a.
    let other = format!("a.localhost:{port}:b.localhost:{port}");
    let fronting = [&base[..], &["--connect-to", &other, &url]].concat();
    let refused = curl(&fronting);
    assert_eq!(refused.code(), Some(35), "{}", refused.output());
    assert!(
        refused.stderr.contains("unrecognized name"),
        "{}",
        refused.stderr
    );
    let record = site.closed(2);
    assert_eq!(record["target"], format!("b.localhost:{port}"), "{record}");
    assert_eq!(record["error"], "sni_mismatch", "{record}");
    // An address, and no name for it.
    let address = format!("https://127.0.0.1:{port}/");
    assert_output(&curl(&[&base[..], &[&address]].concat()), "secret");
    assert_eq!(site.closed(3)["sni"], Value::Null);
    let by_address = format!("a.localhost:{port}:127.0.0.1:{port}");
    let refused = curl(&[&base[..], &["--connect-to", &by_address, &url]].concat());
    assert_eq!(refused.code(), Some(35), "{}", refused.output());
    // http in a tunnel.
    let plain = format!("http://a.localhost:{port}/");
    let refused = curl(&["-p", "-x", &proxy, &plain]);
    assert_eq!(refused.code(), Some(52), "{}", refused.output());
    assert_eq!(site.closed(5)["error"], "not_tls");
}

#[test]
fn openssl_with_and_without_a_name() {
    let site = Site::new("tunnel: { sni: match }");
    let target = format!("a.localhost:{}", site.origin.port());
    let mut number = 0;
    let mut ask = |arguments: &[&str]| {
        let mut openssl = command("openssl");
        openssl
            .args(["s_client", "-connect", &target, "-CAfile", &site.ca])
            .args(["-proxy", &site.proxy.address.to_string()])
            .args(["-proxy_user", ALICE.0, "-proxy_pass"])
            .arg(format!("pass:{}", ALICE.1))
            .args(arguments);
        let outcome = run(&mut openssl, "");
        number += 1;
        (outcome, site.closed(number))
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let (outcome, record) = ask(&["-servername", "a.localhost", version]);
        assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
        assert_eq!(record["error"], Value::Null, "{record}");
        for (name, error) in [
            (&["-servername", "b.localhost"][..], "sni_mismatch"),
            (&["-noservername"], "sni_missing"),
        ] {
            let (outcome, record) = ask(&[name, &[version]].concat());
            assert_eq!(record["error"], error, "{record}");
            assert!(
                outcome.stderr.contains("unrecognized name"),
                "{}",
                outcome.output()
            );
        }
    }
}

#[test]
fn python_names_the_alert() {
    let site = Site::new("tunnel: { sni: match }");
    let target = format!("a.localhost:{}", site.origin.port());
    let script = "
import socket, ssl, sys, base64
proxy, target, name, ca = sys.argv[1:5]
host, port = proxy.split(':')
sock = socket.create_connection((host, int(port)), timeout=20)
word = base64.b64encode(sys.argv[5].encode()).decode()
sock.sendall(f'CONNECT {target} HTTP/1.1\\r\\nHost: {target}\\r\\nProxy-Authorization: Basic {word}\\r\\n\\r\\n'.encode())
assert b' 200 ' in sock.recv(4096)
try:
    tls = ssl.create_default_context(cafile=ca).wrap_socket(sock, server_hostname=name)
    print(tls.version())
except ssl.SSLError as error:
    print(error.reason)
";
    let user = format!("{}:{}", ALICE.0, ALICE.1);
    let proxy = site.proxy.address.to_string();
    for (name, expected) in [
        ("a.localhost", "TLSv1.3\n"),
        ("b.localhost", "TLSV1_UNRECOGNIZED_NAME\n"),
    ] {
        let mut python = command("python3");
        python.args(["-c", script, &proxy, &target, name, &site.ca, &user]);
        assert_output(&run(&mut python, ""), expected);
    }
    let is_refused = |record: &Value| record["error"] == "sni_mismatch";
    site.proxy.record("the refusal", is_refused);
}

/// The recipe that has a server which speaks first.
#[test]
fn ssh_by_the_recipe() {
    if !is_installed(&["ssh", "-V"]) || !is_installed(&["ncat", "--version"]) {
        return;
    }
    let server = Origin::raw(|mut wire, _| {
        wire.send("SSH-2.0-Tollgate_test\r\n")?;
        let version = wire.read_until(b"\r\n")?;
        assert!(version.starts_with(b"SSH-2.0-OpenSSH"));
        Ok(())
    });
    let recipe = recipe("- name: ssh")
        .replace("git.example.org", "git.localhost")
        .replace("[22]", &format!("[{}]", server.port()))
        .split("  policy_tests")
        .next()
        .unwrap()
        .to_owned();
    let proxy = start(&recipe);
    let mut ssh = command("ssh");
    ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o"])
        .arg(format!(
            "ProxyCommand=ncat --proxy {} --proxy-type http --proxy-auth {}:{} %h %p",
            proxy.address, ALICE.0, ALICE.1
        ))
        .args(["-p", &server.port().to_string(), "alice@git.localhost"]);
    run(&mut ssh, "");
    let record = proxy.record("ssh", |record| record["event"] == "tunnel_close");
    assert_eq!(
        (&record["rule"], &record["error"]),
        (&"ssh".into(), &Value::Null)
    );
    assert!(
        record["bytes_from_client"].as_u64().unwrap() > 20,
        "{record}"
    );
}

/// The first block of docs/tunnels.md with these words.
fn recipe(words: &str) -> String {
    let blocks = yaml_blocks(&read(&root().join("docs/tunnels.md")));
    let found = blocks.into_iter().find(|(_, block)| block.contains(words));
    found.expect(words).1
}

/// A proxy with a block of the document.
fn start(block: &str) -> Proxy {
    let value: serde_yaml::Value = serde_yaml::from_str(block).unwrap();
    Setup::new()
        .config(&serde_yaml::to_string(&value["tollgate"]).unwrap())
        .start()
}

#[test]
fn curl_by_the_recipe_for_agents() {
    let block = recipe("- name: agents");
    let (rules, _) = block.split_once("  policy_tests").unwrap();
    let value: serde_yaml::Value = serde_yaml::from_str(rules).unwrap();
    let site = Site::new(&serde_yaml::to_string(&value["tollgate"]).unwrap());
    let url = format!("https://a.localhost:{}/", site.origin.port());
    let proxy = proxy_url(&site.proxy);
    let base = ["--cacert", &site.ca, "-d", "secret", "-x", &proxy, &url];
    assert_output(&curl(&[&["--http1.1"], &base[..]].concat()), "secret");
    let refused = curl(&base);
    assert_eq!(refused.code(), Some(35), "{}", refused.output());
    assert!(
        refused.stderr.contains("access denied"),
        "{}",
        refused.stderr
    );
    let record = site.closed(2);
    assert_eq!(record["error"], "http_request_denied", "{record}");
    assert_eq!(record["rule"], "agents", "{record}");
}

/// A browser sends what looks like ECH, and key shares that take more than one segment.
#[test]
fn chromium() {
    if !Path::new("/usr/bin/chromium").exists() {
        return;
    }
    let site = Site::new(
        "tunnel: { sni: match }\nauth: { trusted_networks: [{ networks: [127.0.0.1], user: alice }] }",
    );
    let profile = tempfile::tempdir().unwrap();
    let port = site.origin.port();
    let visit = |by: std::net::SocketAddr| {
        let mut chromium: Command = command("chromium");
        chromium
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
            .args([
                "--ignore-certificate-errors",
                "--proxy-bypass-list=<-loopback>",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--proxy-server=http://{by}"))
            .arg(format!("https://a.localhost:{port}/"));
        run(&mut chromium, "")
    };
    let outcome = visit(site.proxy.address);
    let target = format!("a.localhost:{port}");
    let record = site
        .proxy
        .record("the page", |record| record["target"] == target);
    assert_eq!(
        record["error"],
        Value::Null,
        "{record} {}",
        outcome.output()
    );
    assert_eq!(record["sni"], "a.localhost", "{record}");
    assert_eq!(record["ech"], "offered", "{record}");
    // A proxy before this one that asks for a tunnel to b in the place of a.
    let next = site.proxy.address;
    let front = Origin::raw(move |mut wire, _| {
        let head = wire.read_head()?.unwrap();
        let target = head.target().replace("a.localhost", "b.localhost");
        let mut to = Wire::connect(next)?;
        to.send(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"
        ))?;
        if to.read_head()?.unwrap().status() != 200 {
            return Ok(());
        }
        wire.send("HTTP/1.1 200 OK\r\n\r\n")?;
        let (mut up, mut down) = (wire.socket().try_clone()?, to.socket().try_clone()?);
        let (mut from, mut back) = (up.try_clone()?, down.try_clone()?);
        std::thread::spawn(move || std::io::copy(&mut from, &mut back));
        std::io::copy(&mut down, &mut up)?;
        wire.finish()
    });
    let outcome = visit(front.address);
    let target = format!("b.localhost:{port}");
    let record = site
        .proxy
        .record("the tunnel to another host", |it| it["target"] == target);
    assert_eq!(record["sni"], "a.localhost", "{record}");
    assert_eq!(record["error"], "sni_mismatch", "{record}");
    let page = outcome.output();
    assert!(page.contains("UNRECOGNIZED_NAME"), "{page}");
}
