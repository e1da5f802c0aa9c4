//! Real proxies as parents: Squid with passwords, Dante, microsocks, sing-box and Envoy. The keys are those of
//! docs/parents.md.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::command::{is_installed, unpacked};
use crate::support::documents::{read, root, yaml_blocks};
use crate::support::eventually;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::port::Port;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, auth, fetch, request, sha_line};
use crate::support::tls::Authority;

/// A proxy of another make, which ends with this.
struct Other {
    process: Child,
    port: Port,
    directory: tempfile::TempDir,
}

impl Drop for Other {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        self.process.wait().unwrap();
    }
}

impl Other {
    /// Starts a program whose file `config` makes of its port and directory.
    fn start(
        name: &str,
        config: impl FnOnce(&Port, &Path) -> String,
        command: impl FnOnce(&Path, &Port) -> Command,
    ) -> Self {
        let (port, directory) = (Port::reserve(), tempfile::tempdir().unwrap());
        let file = directory.path().join("config");
        std::fs::write(&file, config(&port, directory.path())).unwrap();
        let output = std::fs::File::create(directory.path().join("output")).unwrap();
        let process = command(&file, &port)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut other = Self {
            process,
            port,
            directory,
        };
        eventually("the other proxy to accept", || {
            let ended = other.process.try_wait().unwrap();
            let said = || std::fs::read_to_string(other.directory.path().join("output"));
            assert!(ended.is_none(), "{name} ended: {:?}", said());
            TcpStream::connect(other.port.address).ok()
        });
        other
    }
}

/// Each kind of request goes through the parent of this URL.
fn assert_passes(what: &str, url: &str, keys: &str) {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost", "127.0.0.1"]);
    let plain =
        Origin::http(|request| ok(format!("{} {}", request.head.start, request.body.len())));
    let secure = Origin::https(identity.server(), |request| ok(&request.head.start));
    let talks_first = Origin::raw(|mut wire, _| {
        wire.send("220 ready\r\n")?;
        let line = wire.read_until(b"\n")?;
        wire.send(line)
    });
    let socket = Origin::raw(|mut wire, _| {
        wire.read_head()?;
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
    });
    let proxy = Setup::new()
        .file("p.secret", BOB.1)
        .file("ca.pem", authority.pem())
        .server("ca_file: ca.pem")
        .config(&format!(
            "secrets: {{ p: {{ file: p.secret, clear_text: true }} }}
parents: {{ p: {{ urls: ['{url}'], {keys} }} }}
via: p"
        ))
        .start();
    let say = |proxy: &Proxy| format!("{what}: {:?} {}", proxy.records(), proxy.errors());
    for _ in 0..5 {
        let answer = proxy.fetch(&format!("http://127.0.0.1:{}/a", plain.port()));
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "GET /a HTTP/1.1 0"),
            "{}",
            say(&proxy)
        );
    }
    let dials = "tollgate_parent_dials_total{parent=\"p\",result=\"success\"}";
    // The second one may come before the connection of the first one is free.
    assert!(proxy.metric(dials) <= 2, "{what}: not pooled");
    let host = plain
        .request()
        .head
        .fields
        .value("host")
        .unwrap()
        .to_owned();
    assert_eq!(host, format!("127.0.0.1:{}", plain.port()), "{what}");
    let body = "y".repeat(50_000);
    let length = format!("Content-Length: {}\r\n", body.len());
    let answer = proxy.exchange(request("POST", &plain, &length, &body));
    assert_eq!(
        answer.text(),
        "POST /path?query=1 HTTP/1.1 50000",
        "{}",
        say(&proxy)
    );
    let answer = proxy.fetch(&format!("https://localhost:{}/s", secure.port()));
    assert_eq!(answer.text(), "GET /s HTTP/1.1", "{}", say(&proxy));
    let mut wire = proxy.tunnel(format!("localhost:{}", talks_first.port()));
    assert_eq!(wire.read_until(b"\n").unwrap(), b"220 ready\r\n", "{what}");
    wire.send("ping\n").unwrap();
    assert_eq!(wire.read_until(b"\n").unwrap(), b"ping\n", "{what}");
    let mut wire = proxy.connect();
    let handshake = format!(
        "GET http://localhost:{0}/ HTTP/1.1\r\nHost: localhost:{0}\r\n{1}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        socket.port(),
        auth()
    );
    assert_eq!(wire.exchange(handshake).status(), 101, "{}", say(&proxy));
    assert_eq!(wire.read_bytes(5).unwrap(), b"first", "{what}");
    for seen in plain.requests().iter().chain(&secure.requests()) {
        let raw = String::from_utf8_lossy(&seen.head.raw).to_lowercase();
        assert!(!raw.contains("proxy-auth"), "{what}: {raw}");
    }
}

/// The block of docs/parents.md behind a heading.
fn recipe(heading: &str, fence: &str) -> String {
    let text = read(&root().join("docs/parents.md"));
    let (_, text) = text.split_once(heading).unwrap();
    let (_, text) = text.split_once(fence).unwrap();
    text.split_once("```").unwrap().0.to_owned()
}

fn squid() -> Option<Other> {
    let helper = [
        "/usr/lib/squid/basic_ncsa_auth",
        "/usr/lib64/squid/basic_ncsa_auth",
        "/usr/libexec/squid/basic_ncsa_auth",
    ];
    let helper = helper.into_iter().find(|path| Path::new(path).exists())?;
    if !is_installed(&["squid", "-v"]) {
        return None;
    }
    Some(Other::start(
        "squid",
        |port, at| {
            let users = at.join("squid.users");
            // As `openssl passwd -apr1`, of Bob's password.
            let hash = Command::new("openssl")
                .args(["passwd", "-apr1", BOB.1])
                .output()
                .unwrap();
            let hash = String::from_utf8(hash.stdout).unwrap();
            std::fs::write(&users, format!("bob:{hash}tollgate:{hash}")).unwrap();
            recipe("## Squid", "```text\n")
                .replace("127.0.0.1:3128", &port.address.to_string())
                .replace("/usr/lib/squid/basic_ncsa_auth", helper)
                .replace("/etc/squid/users", &users.display().to_string())
                // The ports of the tests.
                .replace("SSL_ports port 443 80", "SSL_ports port 1-65535")
                + &format!(
                    "pid_filename none\ncache_log {}/cache.log\naccess_log none\ncache deny all\nvisible_hostname squid.test\n\
                     hosts_file /etc/hosts\n",
                    at.display()
                )
        },
        |file, _| {
            // It gives up root's rights, and then reads the files of the helper.
            let directory = file.parent().unwrap();
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(directory, open).unwrap();
            let mut command = Command::new("squid");
            command.arg("-N").arg("-f").arg(file);
            command
        },
    ))
}

#[test]
fn squid_with_passwords() {
    let Some(squid) = squid() else { return };
    let url = format!("http://{}", squid.port.address);
    for names in ["resolved", "client"] {
        assert_passes(
            "squid",
            &url,
            &format!("user: bob, password: p, names: {names}"),
        );
    }
    // Its own 407 and 403 are a 502.
    for (keys, received) in [("", 407), ("user: bob, password: wrong, ", 407)] {
        for names in ["resolved", "client"] {
            let proxy = Setup::new()
                .file("w", "wrong")
                .config(&format!(
                    "secrets: {{ wrong: {{ file: w, clear_text: true }} }}
parents: {{ p: {{ urls: ['{url}'], {keys}names: {names} }} }}
via: p"
                ))
                .start();
            let origin = Origin::ok("never");
            let answer = proxy.exchange(fetch(&format!("http://localhost:{}/", origin.port())));
            assert_eq!(answer.status(), 502, "{}", answer.text());
            let status = answer.field("proxy-status").unwrap();
            assert!(
                status.ends_with(&format!("next-hop=\"p\"; received-status={received}")),
                "{status}"
            );
            assert!(
                !answer.head.fields.has("proxy-authenticate") && !answer.text().contains("quid")
            );
            origin.assert_untouched();
        }
    }
    // It cannot reach the target: an answer of its own too.
    let proxy = Setup::new()
        .file("p.secret", BOB.1)
        .config(&format!(
            "secrets: {{ p: {{ file: p.secret, clear_text: true }} }}
parents: {{ p: {{ urls: ['{url}'], user: bob, password: p, names: client }} }}
via: p"
        ))
        .start();
    let closed = Port::reserve();
    let answer = proxy.fetch(&format!("http://localhost:{}/", closed.address.port()));
    assert_eq!(answer.status(), 502);
    assert_eq!(
        answer.field("proxy-status"),
        Some("tollgate; error=http_protocol_error; next-hop=\"p\"; received-status=503")
    );
}

/// The recipes of docs/parents.md, with the ports of this test.
#[test]
fn the_recipes_work() {
    let text = read(&root().join("docs/parents.md"));
    let block = |word: &str| -> String {
        let mut blocks = yaml_blocks(&text).into_iter();
        let found = blocks.find(|(words, _)| words.split(' ').any(|it| it == word));
        found.unwrap().1
    };
    let users: String = [ALICE, BOB].map(sha_line).concat();
    let (parent, child) = (Setup::new(), Setup::new());
    let (at, to) = (child.address().to_string(), parent.address().to_string());
    let open = "egress: { http_ports: any, allow_networks: ['127.0.0.0/8', '::1/128'] }\nlog: { access: access.log, tunnel_open: true }";
    let parent_yaml = block("parent").replace("127.0.0.1:8888", &to);
    let parent = parent
        .whole(&parent_yaml)
        .without_admin()
        .config(open)
        .file("users.htpasswd", &users);
    let parent = parent.start();
    let child_yaml = block("child")
        .replace("127.0.0.1:8888", &to)
        .replace("127.0.0.1:8889", &at);
    let child = child
        .whole(&child_yaml)
        .without_admin()
        .config(&format!("{open}\n"))
        .file("next.secret", ALICE.1)
        .file("users.htpasswd", &users);
    let child = child.start();
    let page = Origin::ok("page");
    let answer = child.fetch(&format!("http://localhost:{}/", page.port()));
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (200, "page"),
        "{}",
        child.errors()
    );
    drop(parent.wait_records(1));

    let Some(squid) = squid() else { return };
    let yaml = block("squid").replace("127.0.0.1:3128", &squid.port.address.to_string());
    let fragment: serde_yaml::Value = serde_yaml::from_str(&yaml).unwrap();
    let fragment = serde_yaml::to_string(&fragment["tollgate"]).unwrap();
    let proxy = Setup::new()
        .file("squid.secret", BOB.1)
        .config(&fragment)
        .start();
    let answer = proxy.fetch(&format!("http://localhost:{}/", page.port()));
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (200, "page"),
        "{}",
        proxy.errors()
    );
}

#[test]
fn microsocks_with_a_password() {
    if !Path::new("/usr/bin/microsocks").exists() {
        return;
    }
    let microsocks = Other::start(
        "microsocks",
        |_, _| String::new(),
        |_, port| {
            let mut command = Command::new("microsocks");
            let number = port.address.port().to_string();
            command.args(["-i", "127.0.0.1", "-p", &number, "-u", BOB.0, "-P", BOB.1]);
            command
        },
    );
    let url = format!("socks5://{}", microsocks.port.address);
    for names in ["resolved", "client"] {
        assert_passes(
            "microsocks",
            &url,
            &format!("user: bob, password: p, names: {names}"),
        );
    }
}

#[test]
fn dante() {
    let program = ["danted", "/usr/sbin/danted", "/usr/sbin/sockd"];
    let Some(program) = program.into_iter().find(|it| is_installed(&[it, "-v"])) else {
        return;
    };
    let dante = Other::start(
        "danted",
        |port, at| {
            format!(
                "logoutput: {}/dante.log\ninternal: 127.0.0.1 port = {}\nexternal: lo\nsocksmethod: none\nclientmethod: none\n\
                 user.privileged: root\nuser.unprivileged: nobody\n\
                 client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}\nsocks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}\n",
                at.display(),
                port.address.port()
            )
        },
        |file, _| {
            let mut command = Command::new(program);
            command.arg("-f").arg(file);
            command
        },
    );
    let url = format!("socks5://{}", dante.port.address);
    for names in ["resolved", "client"] {
        assert_passes("dante", &url, &format!("names: {names}"));
    }
}

#[test]
fn sing_box_by_http_and_socks5() {
    let Some(program) = unpacked("sing-box", "version") else {
        return;
    };
    let sing_box = Other::start(
        "sing-box",
        |port, _| {
            format!(
                r#"{{ "log": {{ "level": "error" }},
  "inbounds": [ {{ "type": "mixed", "listen": "127.0.0.1", "listen_port": {}, "users": [ {{ "username": "bob", "password": "{}" }} ] }} ],
  "outbounds": [ {{ "type": "direct" }} ] }}"#,
                port.address.port(),
                BOB.1
            )
        },
        |file, _| {
            let mut command = Command::new(program);
            command.arg("run").arg("-c").arg(file);
            command
        },
    );
    for scheme in ["http", "socks5"] {
        let url = format!("{scheme}://{}", sing_box.port.address);
        assert_passes("sing-box", &url, "user: bob, password: p");
    }
}

#[test]
fn envoy() {
    let Some(program) = unpacked("envoy", "--version") else {
        return;
    };
    let envoy = Other::start(
        "envoy",
        |port, _| ENVOY.replace("PORT", &port.address.port().to_string()),
        |file, _| {
            let named = file.with_extension("yaml");
            std::fs::rename(file, &named).unwrap();
            let mut command = Command::new(program);
            command.arg("-c").arg(named).args([
                "--concurrency",
                "1",
                "-l",
                "error",
                "--disable-hot-restart",
            ]);
            command
        },
    );
    let url = format!("http://{}", envoy.port.address);
    for names in ["resolved", "client"] {
        assert_passes("envoy", &url, &format!("names: {names}"));
    }
}

const ENVOY: &str = "
static_resources:
  listeners:
    - address: { socket_address: { address: 127.0.0.1, port_value: PORT } }
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: s
                http_protocol_options: { allow_absolute_url: true }
                upgrade_configs: [ { upgrade_type: CONNECT }, { upgrade_type: websocket } ]
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ['*']
                      routes:
                        - match: { connect_matcher: {} }
                          route: { cluster: dynamic, upgrade_configs: [ { upgrade_type: CONNECT, connect_config: {} } ] }
                        - match: { prefix: / }
                          route: { cluster: dynamic }
                http_filters:
                  - name: envoy.filters.http.dynamic_forward_proxy
                    typed_config:
                      '@type': type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig
                      dns_cache_config: { name: c, dns_lookup_family: V4_ONLY }
                  - name: envoy.filters.http.router
                    typed_config: { '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters:
    - name: dynamic
      lb_policy: CLUSTER_PROVIDED
      cluster_type:
        name: envoy.clusters.dynamic_forward_proxy
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig
          dns_cache_config: { name: c, dns_lookup_family: V4_ONLY }
";
