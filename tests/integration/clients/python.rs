//! What people run with Python: its own HTTP client, and pip.

use crate::support::command::{is_installed, run};
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::package_index::{Index, PIP};
use crate::support::programs::{Way, command, proxy_url};
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

#[test]
fn pip_downloads_a_package_over_http_and_https() {
    // A package of its own on most systems.
    if !is_installed(&PIP) {
        return;
    }
    let index = Index::new();
    let authority = Authority::new();
    let proxy: Proxy = Setup::new().file("ca.pem", authority.pem()).start();
    let plain = Origin::http(index.answer());
    let secure = Origin::https(authority.issue(&["127.0.0.1"]).server(), index.answer());
    for (scheme, origin) in [("http", &plain), ("https", &secure)] {
        let url = format!("{scheme}://{}", origin.address);
        let download = |through: &str| {
            index.download(Way::Option(through), &proxy.path("ca.pem"), &url, scheme)
        };
        let bare = format!("http://{}", proxy.address);
        assert!(
            !download(&bare).status.success(),
            "{scheme}: without credentials"
        );
        origin.assert_untouched();
        let outcome = download(&proxy_url(&proxy));
        assert!(outcome.status.success(), "{scheme}: {}", outcome.output());
        index.assert_downloaded(scheme);
    }
    let all = proxy.records();
    assert!(all.iter().any(|record| record["event"] == "tunnel_close"));
}
