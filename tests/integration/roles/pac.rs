//! The PAC file: where it is served and to which clients, and what JavaScript engines and a browser make of it.

use std::path::Path;
use std::process::Command;

use crate::support::command::{is_installed, program, python_with, run};
use crate::support::dns::Dns;
use crate::support::message::{Response, response};
use crate::support::origin::Origin;
use crate::support::programs::{self, assert_output, curl};
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, auth};

/// A pac section with these further keys.
fn pac(more: &str) -> String {
    format!("pac:\n  proxy: PROXY proxy.corp.example:8888\n{more}")
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: anything.example\r\n{fields}\r\n")
}

fn answer(proxy: &Proxy, path: &str, fields: &str) -> Response {
    proxy.exchange(get(path, fields))
}

#[test]
fn file_is_served_without_a_user_and_before_the_upstreams() {
    let origin = Origin::ok("upstream");
    let proxy = Proxy::start(&format!(
        "{}gateway: {{ upstreams: [\"{}\"] }}\npolicy: {{ default: deny }}\n",
        pac("  direct: [.corp.example]\n"),
        origin.address
    ));
    let file = answer(&proxy, "/proxy.pac", "");
    assert_eq!(file.status(), 200);
    let field = |name: &str| file.field(name).unwrap_or_default().to_owned();
    assert_eq!(field("content-type"), "application/x-ns-proxy-autoconfig");
    assert_eq!(field("cache-control"), "max-age=300");
    assert!(
        file.text()
            .starts_with("function FindProxyForURL(url, host) {")
    );
    assert!(file.text().contains("\"PROXY proxy.corp.example:8888\""));
    // Nothing of the request is in it.
    assert!(!file.text().contains("anything"));
    for (path, fields) in [
        ("/wpad.dat", ""),
        ("/proxy.pac?a=b", ""),
        ("/proxy.pac", "Authorization: Basic bm8tb25lOndyb25n\r\n"),
        (
            "/proxy.pac",
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ),
    ] {
        let same = answer(&proxy, path, fields);
        assert_eq!(
            (same.status(), same.text()),
            (200, file.text()),
            "{path} {fields}"
        );
    }
    let mut wire = proxy.connect();
    let head = wire.exchange(get("/proxy.pac", "").replacen("GET", "HEAD", 1));
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert_eq!(head.field("content-length"), file.field("content-length"));
    let tag = field("etag");
    let held = wire.exchange(get(
        "/proxy.pac",
        &format!("If-None-Match: \"x\", W/{tag}\r\n"),
    ));
    assert_eq!((held.status(), held.field("etag")), (304, Some(&*tag)));
    assert_eq!(held.field("content-length"), None);
    let post = "POST /proxy.pac HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    let post = wire.exchange(post);
    assert_eq!(
        (post.status(), post.field("allow")),
        (405, Some("GET, HEAD"))
    );
    // Everything else is what it was: authenticated, and evaluated by the policy.
    assert_eq!(wire.exchange(get("/%70roxy.pac", "")).status(), 401);
    assert_eq!(wire.exchange(get("/proxy.pac/", &auth())).status(), 403);
    let absolute = format!(
        "GET http://{}/proxy.pac HTTP/1.1\r\nHost: x\r\n\r\n",
        origin.address
    );
    assert_eq!(wire.exchange(absolute).status(), 407);
    assert_eq!(origin.requests().len(), 0);
    let record = proxy.record("the file", |record| record["target"] == "/wpad.dat");
    assert_eq!(
        (&record["status"], &record["user"]),
        (&200.into(), &serde_json::Value::Null)
    );
}

#[test]
fn file_is_for_users_and_at_one_path_where_the_operator_says_so() {
    let keys = "  path: /files/auto.pac\n  wpad: false\n  authentication: required\n";
    let proxy = Proxy::start(&pac(keys));
    assert_eq!(answer(&proxy, "/files/auto.pac", "").status(), 401);
    let file = answer(&proxy, "/files/auto.pac", &auth());
    assert_eq!(file.status(), 200);
    assert_eq!(file.field("cache-control"), Some("private, max-age=300"));
    for path in ["/wpad.dat", "/proxy.pac"] {
        let page = answer(&proxy, path, &auth());
        assert_eq!(page.status(), 404, "{path}");
    }
    let url = format!("http://{}/files/auto.pac", proxy.address);
    let user = format!("{}:{}", ALICE.0, ALICE.1);
    assert_output(
        &curl(&["--http2-prior-knowledge", "-u", &user, &url]),
        &file.text(),
    );
}

/// Without the section, the paths are like all others.
#[test]
fn no_file_without_the_section() {
    let proxy = Proxy::plain();
    for path in ["/proxy.pac", "/wpad.dat"] {
        assert_eq!(answer(&proxy, path, "").status(), 401, "{path}");
    }
}

/// What does not belong into the file is not in it, and what could leave a string stays in it.
#[test]
fn mistakes_are_told() {
    let check = |keys: &str| {
        let setup = Setup::new().config(&format!("pac:\n{keys}"));
        let file = setup.write();
        let outcome = run(Command::new(program()).arg("check").arg("-c").arg(file), "");
        (outcome.code(), outcome.output())
    };
    for (keys, told) in [
        ("  wpad: true\n", "tollgate.pac.proxy: missing"),
        (
            "  proxy: proxy.example:8888\n",
            "not a list of proxies as a PAC file has it",
        ),
        (
            "  proxy: 'PROXY a:1\"; alert(1) //'\n",
            "not a list of proxies as a PAC file has it",
        ),
        ("  proxy: DIRECT\n", "DIRECT is not behind all proxies"),
        (
            "  proxy: PROXY a:1; DIRECT; PROXY b:1\n",
            "DIRECT is not behind all proxies",
        ),
        ("  proxy: PROXY ${NAME}:1\n", "a variable of a template"),
        (
            "  proxy: PROXY a:1\n  direct: ['x\") || (\"']\n",
            "pac.direct[0]",
        ),
        (
            "  proxy: PROXY a:1\n  direct: ['http://a/']\n",
            "a URL, where a domain is expected",
        ),
        (
            "  proxy: PROXY a:1\n  path: /a b\n",
            "not the path of a file that has one spelling",
        ),
        (
            "  proxy: PROXY a:1\n  path: /.tollgate/x\n",
            "below /.tollgate",
        ),
        (
            "  proxy: PROXY a:1\n  path: /wpad.dat\n",
            "the path that `wpad` is for",
        ),
        (
            "  proxy: PROXY a:1\n  authentication: some\n",
            "another word",
        ),
    ] {
        let (code, output) = check(keys);
        assert_eq!(code, Some(78), "{keys}{output}");
        assert!(output.contains(told), "{keys}{output}");
    }
    let (code, output) = check("  proxy: PROXY a:1; HTTPS b:2; SOCKS5 c:3; DIRECT\n");
    assert_eq!(code, Some(0), "{output}");
}

const DIRECT: &str = "  direct: [.Corp.Example, '*.local', intranet, 10.0.0.0/8, 192.0.2.7, '2001:db8::/33', .bücher.example]\n";

/// URLs, the host as an engine gets it, and whether it is reached without a proxy.
const HOSTS: &[(&str, bool)] = &[
    ("corp.example", true),
    ("CORP.example", true),
    ("a.corp.example", true),
    ("a.b.Corp.Example.", true),
    ("notcorp.example", false),
    ("corp.example.org", false),
    ("corp.example.evil", false),
    ("printer.local", true),
    ("local", false),
    ("xlocal", false),
    ("intranet", true),
    ("a.intranet", false),
    ("10.255.0.1", true),
    ("11.0.0.1", false),
    ("192.0.2.7", true),
    ("192.0.2.8", false),
    ("10.0.0.1.example", false),
    ("10.0.0.999", false),
    ("2001:db8::1", true),
    ("2001:db8:7fff:0:0:0:0:1", true),
    ("2001:db8:8000::1", false),
    ("::1", false),
    ("2001:db8:::1", false),
    ("xn--bcher-kva.example", true),
    ("__proto__", false),
    ("constructor", false),
    ("", false),
];

fn expected() -> String {
    let line = |(host, direct): &(&str, bool)| {
        let way = if *direct {
            "DIRECT"
        } else {
            "PROXY proxy.corp.example:8888"
        };
        format!("{host} {way}\n")
    };
    HOSTS.iter().map(line).collect()
}

fn hosts() -> Vec<&'static str> {
    HOSTS.iter().map(|(host, _)| *host).collect()
}

/// The functions that resolve names fail: the file calls none.
#[test]
fn node_finds_the_proxy_and_resolves_nothing() {
    if !is_installed(&["node", "--version"]) {
        return;
    }
    let proxy = Proxy::start(&pac(DIRECT));
    let script = r#"
'use strict';
const vm = require('vm'), http = require('http'), [url, ...hosts] = process.argv.slice(1);
const number = text => text.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
const fail = name => () => { throw new Error(name + ' is called'); };
const world = {
    isInNet: (host, network, mask) => {
        if (!/^[0-9]+(\.[0-9]+){3}$/.test(host)) fail('dnsResolve')();
        return (number(host) & number(mask)) === (number(network) & number(mask));
    },
    dnsResolve: fail('dnsResolve'), isResolvable: fail('isResolvable'), myIpAddress: fail('myIpAddress'),
};
http.get(url, answer => {
    let text = '';
    answer.on('data', part => text += part).on('end', () => {
        vm.createContext(world);
        vm.runInContext(text, world);
        for (const host of hosts) {
            world.host = host;
            const way = vm.runInContext("FindProxyForURL('http://' + host + '/', host)", world);
            console.log(host + ' ' + way);
        }
    });
});"#;
    let mut node = programs::command("node");
    node.args([
        "-e",
        script,
        "--",
        &format!("http://{}/wpad.dat", proxy.address),
    ])
    .args(hosts());
    assert_output(&run(&mut node, ""), &expected());
}

/// The engine of Mozilla's PAC functions, as programs for desktops use it.
#[test]
fn pacparser_finds_the_proxy() {
    let Some(python) = python_with("pacparser") else {
        return;
    };
    let setup = Setup::new().config(&pac(DIRECT));
    let file = setup.path("file.pac");
    let proxy = setup.start();
    std::fs::write(&file, answer(&proxy, "/proxy.pac", "").body).unwrap();
    let script = "import sys, pacparser
pacparser.init()
pacparser.parse_pac_file(sys.argv[1])
for host in sys.argv[2:]:
    print(host, pacparser.find_proxy('http://x/', host))
";
    let mut python = programs::command(python);
    // It takes no call without a host.
    python
        .args(["-c", script])
        .arg(&file)
        .args(hosts().iter().filter(|it| !it.is_empty()));
    let all = expected();
    let named: String = all
        .split_inclusive('\n')
        .filter(|line| !line.starts_with(' '))
        .collect();
    assert_output(&run(&mut python, ""), &named);
}

/// A reload leaves the file as it is, and names the keys that wait for a restart; a restart serves the other one.
#[test]
fn another_file_comes_with_a_restart() {
    let proxy = Proxy::start(&pac(""));
    let before = answer(&proxy, "/proxy.pac", "").text();
    proxy.rewrite("pac: { proxy: 'PROXY other.test:3128', direct: [.near.test], path: /new.pac }");
    let said = proxy.reload();
    assert_eq!(said.status(), 200, "{}", said.text());
    for key in [
        "tollgate.pac.proxy",
        "tollgate.pac.direct",
        "tollgate.pac.path",
    ] {
        assert!(said.text().contains(key), "{key}: {}", said.text());
    }
    assert_eq!(answer(&proxy, "/proxy.pac", "").text(), before);
    assert_ne!(answer(&proxy, "/new.pac", "").text(), before);
    // A file that cannot be used changes nothing either.
    proxy.rewrite("pac: { proxy: \"PROXY 'x\" }");
    assert_ne!(proxy.reload().status(), 200);
    assert_eq!(answer(&proxy, "/proxy.pac", "").text(), before);
    let restarted = Proxy::start(
        "pac: { proxy: 'PROXY other.test:3128', direct: [.near.test], path: /new.pac }",
    );
    let file = answer(&restarted, "/new.pac", "").text();
    assert!(
        file.contains("PROXY other.test:3128") && file.contains("near.test"),
        "{file}"
    );
}

/// Chromium takes the file from the proxy itself: names of the list directly, all others by the proxy, also with TLS.
#[test]
fn chromium_goes_where_the_file_says() {
    let origin = Origin::http(|request| {
        let way = if request.head.fields.has("via") {
            "proxied"
        } else {
            "direct"
        };
        let page = format!("<title>page</title><p>{way} {}</p>", request.head.target());
        response("200 OK", "Content-Type: text/html\r\n", page)
    });
    let names = Dns::table(&[("other.test", &["127.0.0.1"])]);
    let setup = Setup::new().config(&names.config());
    let address = setup.address();
    let keys = format!(
        "pac:\n  proxy: PROXY {address}\n  direct: [.direct.test]\nauth:\n  trusted_networks: [{{ networks: [127.0.0.0/8], user: local }}]\n"
    );
    let setup = setup.config(&keys);
    let home = setup.path("chromium");
    std::fs::create_dir(&home).unwrap();
    let proxy = setup.start();
    let port = origin.address.port();
    for (name, way) in [("a.direct.test", "direct"), ("other.test", "proxied")] {
        let page = visit(&home, &proxy, &format!("http://{name}:{port}/{name}"));
        assert!(
            page.contains(&format!("<p>{way} /{name}</p>")),
            "{name}: {page}"
        );
    }
    let read = |record: &serde_json::Value| record["target"] == "/proxy.pac";
    assert_eq!(proxy.record("the file", read)["status"], 200);
}

/// Names lead to this machine, for Chromium and for the proxy.
fn visit(home: &Path, proxy: &Proxy, url: &str) -> String {
    let mut browser = programs::command("chromium");
    browser
        .env("HOME", home)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg("--host-resolver-rules=MAP *.test 127.0.0.1")
        .arg(format!(
            "--proxy-pac-url=http://{}/proxy.pac",
            proxy.address
        ))
        .arg(format!("--user-data-dir={}", home.display()))
        .arg(url);
    run(&mut browser, "").output()
}
