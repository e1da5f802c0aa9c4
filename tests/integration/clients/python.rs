//! What people run with Python: its own HTTP client, and pip.

use std::path::Path;
use std::process::Command;

use crate::support::command::{is_installed, run};
use crate::support::message::{Request, ok, response};
use crate::support::origin::Origin;
use crate::support::programs::{assert_output, command, proxy_url};
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::ALICE;
use crate::support::tls::Authority;

/// What libraries above it do: a CONNECT with credentials, TLS inside, several requests over it,
/// and a refusal that is an exception.
#[test]
fn http_client_tunnels_to_a_tls_server() {
    let authority = Authority::new();
    let setup = Setup::new().file("ca.pem", authority.pem());
    let ca = setup.path("ca.pem");
    let proxy = setup.start();
    let origin = Origin::https(authority.issue(&["127.0.0.1"]).server(), |request| {
        ok([request.head.method().as_bytes(), b" ", &request.body].concat())
    });
    let script = format!(
        "import base64, http.client, ssl
context = ssl.create_default_context(cafile={ca:?})
def tunnel(password):
    token = base64.b64encode(('{user}:' + password).encode()).decode()
    connection = http.client.HTTPSConnection('{proxy_host}', {proxy_port}, timeout=20, context=context)
    connection.set_tunnel('{host}', {port}, headers={{'Proxy-Authorization': 'Basic ' + token}})
    return connection
connection = tunnel({password:?})
for method, body in (('GET', None), ('POST', b'x' * 100000), ('PUT', [b'in', b'chunks'])):
    connection.request(method, '/', body)
    answer = connection.getresponse()
    text = answer.read().decode()
    print(answer.status, text[:12], len(text))
try:
    tunnel('wrong').request('GET', '/')
except OSError as error:
    print(error)",
        user = ALICE.0,
        password = ALICE.1,
        proxy_host = proxy.address.ip(),
        proxy_port = proxy.port(),
        host = origin.address.ip(),
        port = origin.port(),
    );
    let outcome = run(command("python3").args(["-c", &script]), "");
    assert!(outcome.status.success(), "{}", outcome.output());
    let lines: Vec<_> = outcome.stdout.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "200 GET  4",
            "200 POST xxxxxxx 100005",
            "200 PUT inchunks 12"
        ]
    );
    assert!(lines[3].contains("407"), "{}", lines[3]);
    assert_eq!(origin.connections(), 1, "one tunnel for all three");
}

/// A package index with one tiny package, as static files would be.
fn index(wheel: &Path) -> impl Fn(&Request) -> Vec<u8> + Send + Sync + use<> {
    let name = wheel.file_name().unwrap().to_str().unwrap().to_owned();
    let content = std::fs::read(wheel).unwrap();
    move |request| match request.head.target().rsplit_once('/') {
        Some((_, file)) if file == name => ok(&content),
        Some(("/simple/tiny", "")) => response(
            "200 OK",
            "Content-Type: text/html\r\n",
            format!(
                "<!DOCTYPE html><html><body><a href=\"/files/{name}\">{name}</a></body></html>"
            ),
        ),
        _ => response("404 Not Found", "", "absent"),
    }
}

/// Makes a wheel with Python's own zip writer.
fn build_wheel(directory: &Path) -> std::path::PathBuf {
    let wheel = directory.join("tiny-1.0-py3-none-any.whl");
    let script = format!(
        "import zipfile
with zipfile.ZipFile({wheel:?}, 'w') as wheel:
    wheel.writestr('tiny.py', 'x = 1\\n')
    wheel.writestr('tiny-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n')
    wheel.writestr('tiny-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr('tiny-1.0.dist-info/RECORD', '')"
    );
    assert_output(&run(command("python3").args(["-c", &script]), ""), "");
    wheel
}

fn pip() -> Command {
    let mut pip = command("python3");
    // No configuration but our own.
    pip.env("PIP_CONFIG_FILE", "/dev/null")
        .args(["-m", "pip", "--isolated"]);
    pip
}

#[test]
fn pip_downloads_a_package_over_http_and_https() {
    // A package of its own on most systems.
    if !is_installed(&["python3", "-m", "pip", "--version"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let wheel = build_wheel(directory.path());
    let authority = Authority::new();
    let proxy: Proxy = Setup::new().file("ca.pem", authority.pem()).start();
    let plain = Origin::http(index(&wheel));
    let secure = Origin::https(authority.issue(&["127.0.0.1"]).server(), index(&wheel));
    for (scheme, origin) in [("http", &plain), ("https", &secure)] {
        let into = directory.path().join(scheme);
        let download = |through: &str| {
            let mut pip = pip();
            pip.args([
                "download",
                "--no-deps",
                "--no-cache-dir",
                "--no-input",
                "-q",
            ])
            .args([
                "--disable-pip-version-check",
                "--retries",
                "0",
                "--timeout",
                "20",
            ])
            .args(["--trusted-host", "127.0.0.1", "--proxy", through, "--cert"])
            .arg(proxy.path("ca.pem"))
            .arg("--index-url")
            .arg(format!("{scheme}://{}/simple/", origin.address))
            .arg("-d")
            .arg(&into)
            .arg("tiny");
            run(&mut pip, "")
        };
        let bare = format!("http://{}", proxy.address);
        assert!(
            !download(&bare).status.success(),
            "{scheme}: without credentials"
        );
        origin.assert_untouched();
        let outcome = download(&proxy_url(&proxy));
        assert!(outcome.status.success(), "{scheme}: {}", outcome.output());
        let got = std::fs::read(into.join(wheel.file_name().unwrap())).unwrap();
        assert_eq!(got, std::fs::read(&wheel).unwrap(), "{scheme}");
    }
    let all = proxy.records();
    assert!(all.iter().any(|record| record["event"] == "tunnel_close"));
}
