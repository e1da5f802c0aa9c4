//! Certificates of clients as users: in every role and version of HTTP, alone and with a password.

use std::net::TcpStream;

use rcgen::{DnType, SanType};
use rustls::ALL_VERSIONS;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::support::authorizer;
use crate::support::client::Wire;
use crate::support::command::tollgate;
use crate::support::http2::{Client, bare, read_all, request_of as request_of_http2, run};
use crate::support::origin::Origin;
use crate::support::programs::{assert_output, curl};
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, credentials};
use crate::support::tls::{Authority, Identity};
use crate::support::{DEADLINE, eventually};

/// Authorities of the proxy and of its clients.
struct Pki {
    ours: Authority,
    clients: Authority,
}

impl Pki {
    fn new() -> Self {
        Self {
            ours: Authority::new(),
            clients: Authority::of_name("clients"),
        }
    }

    /// A certificate of this common name.
    fn of(&self, common_name: &str) -> Identity {
        self.clients.issue_with(&[], |params| {
            let name = &mut params.distinguished_name;
            name.push(DnType::CommonName, common_name);
        })
    }

    /// A proxy whose TLS listener has these keys of `client_ca`.
    fn setup(&self, keys: &str) -> Setup {
        let tls = format!(
            "tls: {{ certificate: cert.pem, key: key.pem, client_ca: clients.pem, {keys} }}"
        );
        Setup::new()
            .file("clients.pem", self.clients.pem())
            .secure_listener(&self.ours.issue(&["proxy.test", "127.0.0.1"]), &tls)
    }

    fn wire(&self, proxy: &Proxy, shown: &Identity) -> Wire {
        let socket = TcpStream::connect_timeout(&proxy.secure_address(), DEADLINE).unwrap();
        let session = self
            .ours
            .session(socket, "proxy.test", ALL_VERSIONS, Some(shown));
        let socket = session.sock.try_clone().unwrap();
        Wire::over(Box::new(session), socket).unwrap()
    }

    async fn http2(&self, proxy: &Proxy, shown: &Identity) -> Client {
        let connector = TlsConnector::from(self.ours.http2_client(Some(shown)));
        let socket = tokio::net::TcpStream::connect(proxy.secure_address()).await;
        let name = ServerName::try_from("proxy.test").unwrap();
        let session = connector.connect(name, socket.unwrap()).await.unwrap();
        let (send, connection) = h2::client::handshake(session).await.unwrap();
        Client::over(send, connection)
    }
}

/// A request without credentials, or with those.
fn ask(method: &str, target: &str, user: Option<(&str, &str)>) -> String {
    let host = target
        .split("//")
        .last()
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    let host = if host.is_empty() { "gate" } else { host };
    let credentials = user.map(credentials).unwrap_or_default();
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{credentials}\r\n")
}

const STAFF: &str = "
auth: { groups: groups }
gateway: { upstreams: [\"UPSTREAM\"], user_field: X-User }
policy:
  default: deny
  rules:
    - { name: staff, action: admit, groups: [staff] }
";

#[test]
fn a_certificate_alone_is_the_user_in_every_role() {
    let pki = Pki::new();
    let (alice, other) = (pki.of("alice"), pki.of("mallory"));
    let (origin, echo, upstream) = (Origin::ok("page"), Origin::echo(), Origin::ok("behind"));
    let proxy = pki
        .setup("certificate_user: cn")
        .file("groups", "staff: alice\n")
        .config(&STAFF.replace("UPSTREAM", &upstream.address.to_string()))
        .start();
    let url = format!("http://{}/", origin.address);

    let mut wire = pki.wire(&proxy, &alice);
    assert_eq!(wire.exchange(ask("GET", &url, None)).text(), "page");
    assert_eq!(wire.exchange(ask("GET", "/", None)).text(), "behind");
    let told = upstream.requests().pop().unwrap().head.fields;
    assert_eq!(told.all("x-user"), ["alice"]);
    // Its own denials, of a path that is the proxy's.
    let own = wire.exchange(ask("GET", "/.tollgate/denials", None));
    assert_eq!(own.status(), 200, "{}", own.text());
    let authority = echo.address.to_string();
    assert_eq!(
        wire.exchange(ask("CONNECT", &authority, None)).status(),
        200
    );
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
    drop(wire);
    for record in proxy.wait_records(4) {
        assert_eq!(record["user"], "alice", "{record}");
        assert_eq!(record["auth"], "certificate", "{record}");
    }

    // The policy holds: another user is in no group.
    let mut wire = pki.wire(&proxy, &other);
    let answer = wire.exchange(ask("GET", &url, None));
    assert_eq!(answer.status(), 403);
    let record = proxy.record("mallory", |record| record["user"] == "mallory");
    assert_eq!(record["rule"], "default", "{record}");

    run(async {
        let mut client = pki.http2(&proxy, &alice).await;
        assert_eq!(client.ask(bare("GET", &url, &[])).await.text(), "page");
        let connect = bare("CONNECT", &authority, &[]);
        let (answer, mut send) = client.open(connect, false).await;
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        send.send_data("ping".into(), true).unwrap();
        let mut body = answer.into_body();
        assert_eq!(read_all(&mut body).await.unwrap(), b"ping");
        // Credentials of another user are none of this connection, in HTTP/2 as well.
        let bob = client.ask(request_of_http2(BOB, "GET", &url)).await;
        assert_eq!(bob.status, 407);
    });
}

#[test]
fn credentials_beside_a_certificate_are_of_the_same_user() {
    let pki = Pki::new();
    let alice = pki.of("alice");
    let origin = Origin::ok("page");
    let url = format!("http://{}/", origin.address);
    for (login, without) in [("alone", 200), ("with_password", 407)] {
        let keys = format!("certificate_user: cn, certificate_login: {login}");
        let networks = "auth: { trusted_networks: [{ networks: [127.0.0.0/8], user: ci }] }";
        let proxy = pki.setup(&keys).config(networks).start();
        let mut wire = pki.wire(&proxy, &alice);
        let mut asked = 0;
        for (user, status, auth) in [
            (None, without, "certificate"),
            (Some(ALICE), 200, "certificate+password"),
            // Once more, out of the cache.
            (Some(ALICE), 200, "certificate+password"),
            (Some(BOB), 407, ""),
            (Some(BOB), 407, ""),
            (Some(("alice", "wrong")), 407, ""),
            (Some(("nobody", "wrong")), 407, ""),
        ] {
            for target in [url.clone(), origin.address.to_string()] {
                let is_tunnel = !target.starts_with("http");
                if is_tunnel && status == 200 {
                    continue;
                }
                let method = if is_tunnel { "CONNECT" } else { "GET" };
                let answer = wire.exchange(ask(method, &target, user));
                assert_eq!(answer.status(), status, "{login} {user:?} {target}");
                asked += 1;
                let record = proxy.wait_records(asked).remove(asked - 1);
                if status == 200 {
                    assert_eq!(record["user"], "alice", "{record}");
                    assert_eq!(record["auth"], auth, "{record}");
                } else {
                    assert_eq!(record.get("user"), None, "{record}");
                    assert_eq!(record.get("auth"), None, "{record}");
                }
                if user == Some(BOB) {
                    let detail = "the certificate of the client is that of another user";
                    assert_eq!(record["error_detail"], detail, "{record}");
                    assert_eq!(record["error"], "credentials_wrong", "{record}");
                }
            }
        }
        // The plain listener beside it is as it was.
        let mut plain = proxy.connect();
        assert_eq!(plain.exchange(ask("GET", &url, Some(BOB))).text(), "page");
        let record = proxy.record("bob", |record| record["user"] == "bob");
        assert_eq!(record["auth"], "password", "{record}");
        assert_eq!(plain.exchange(ask("GET", &url, None)).text(), "page");
        let record = proxy.record("ci", |record| record["user"] == "ci");
        assert_eq!(record["auth"], "network", "{record}");
    }
}

#[test]
fn each_kind_of_name_is_a_user_and_what_is_unclear_is_none() {
    let pki = Pki::new();
    let ia5 = |text: &str| rcgen::string::Ia5String::try_from(text).unwrap();
    let uri = "spiffe://mesh.test/ns/ci/sa/build";
    let names = vec![
        SanType::DnsName(ia5("host.test")),
        SanType::Rfc822Name(ia5("ann@mail.test")),
        SanType::URI(ia5(uri)),
    ];
    let of = |names: Vec<SanType>| {
        pki.clients
            .issue_with(&[], |params| params.subject_alt_names = names)
    };
    let (one, two) = (of(names.clone()), of([names.clone(), names].concat()));
    let origin = Origin::ok("page");
    let url = format!("http://{}/", origin.address);
    for (key, user, flaw) in [
        (
            "san_dns",
            "host.test",
            "has more than one DNS name in subjectAltName",
        ),
        (
            "san_email",
            "ann@mail.test",
            "has more than one e-mail address in subjectAltName",
        ),
        ("san_uri", uri, "has more than one URI in subjectAltName"),
    ] {
        let proxy = pki.setup(&format!("certificate_user: {key}")).start();
        let answer = pki.wire(&proxy, &one).exchange(ask("GET", &url, None));
        assert_eq!(answer.text(), "page", "{key}");
        proxy.record(key, |record| record["user"] == user);
        let mut wire = pki.wire(&proxy, &two);
        for credentials in [None, Some(ALICE)] {
            assert_eq!(
                wire.exchange(ask("GET", &url, credentials)).status(),
                407,
                "{key}"
            );
        }
        let record = proxy.record(key, |record| record["status"] == 407);
        let detail = record["error_detail"].as_str().unwrap();
        assert!(detail.ends_with(flaw), "{record}");
        let line = format!("the certificate of the client {flaw}; its requests are refused");
        eventually("the line", || proxy.errors().contains(&line).then_some(()));
    }
}

#[test]
fn curl_needs_no_password_with_its_certificate() {
    let pki = Pki::new();
    let alice = pki.of("alice");
    let setup = pki
        .setup("certificate_user: cn")
        .file("ca.pem", pki.ours.pem())
        .file("alice.pem", alice.certificate_pem.clone() + &alice.key_pem);
    let path = |name: &str| setup.path(name).display().to_string();
    let (ca, shown) = (path("ca.pem"), path("alice.pem"));
    let proxy = setup.start();
    let origin = Origin::ok("page");
    let url = format!("http://{}/", origin.address);
    let at = format!("https://{}", proxy.secure_address());
    let base = ["--proxy-cacert", &ca, "--proxy-cert", &shown, "-x", &at];
    for more in [&[][..], &["--proxytunnel"]] {
        assert_output(&curl(&[&base[..], more, &[&url]].concat()), "page");
    }
    // The authoriser and the policy are told a user that no password file has.
    for record in proxy.wait_records(2) {
        assert_eq!(record["user"], "alice", "{record}");
    }
}

/// The external authoriser is told whose certificate it is, and `explain` that such a user may be one.
#[test]
fn the_authoriser_and_explain_know_users_of_certificates() {
    let pki = Pki::new();
    let carol = pki.of("certified-carol");
    let service = authorizer::admitting();
    let setup = pki
        .setup("certificate_user: cn")
        .config(&authorizer::config(&service, "ask: always"));
    let config = setup.write();
    let explained = tollgate([
        "explain".as_ref(),
        "-c".as_ref(),
        config.as_os_str(),
        "--user".as_ref(),
        "certified-carol".as_ref(),
        "--target".as_ref(),
        "127.0.0.1:443".as_ref(),
    ]);
    assert_eq!(explained.code(), Some(0), "{}", explained.output());
    let note = "\"certified-carol\" is the user of clients whose certificate names it";
    assert!(explained.output().contains(note), "{}", explained.output());
    let proxy = setup.start();
    let origin = Origin::ok("page");
    let url = format!("http://{}/", origin.address);
    let mut wire = pki.wire(&proxy, &carol);
    assert_eq!(wire.exchange(ask("GET", &url, None)).text(), "page");
    let question = authorizer::questions(&service).remove(0);
    assert_eq!(question["user"], "certified-carol", "{question}");
    assert_eq!(question["certificate"], "certified-carol", "{question}");
    assert_eq!(question["tls"], true, "{question}");
    // A client that shows none has none.
    let mut plain = proxy.connect();
    assert_eq!(plain.exchange(ask("GET", &url, Some(ALICE))).text(), "page");
    let question = authorizer::questions(&service).remove(1);
    assert_eq!(question.get("certificate"), None, "{question}");
}

/// A WebSocket is a tunnel of the certificate's user.
#[test]
fn a_websocket_is_of_the_user_of_the_certificate() {
    let pki = Pki::new();
    let (alice, nameless) = (pki.of("alice"), pki.of(" "));
    let origin = Origin::raw(|mut wire, _| {
        wire.request()?;
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello",
        )?;
        wire.read_to_end().map(drop)
    });
    let proxy = pki.setup("certificate_user: cn").start();
    let handshake = format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        origin.address
    );
    let mut wire = pki.wire(&proxy, &alice);
    assert_eq!(wire.exchange(&handshake).status(), 101);
    assert_eq!(wire.read_bytes(5).unwrap(), b"hello");
    drop(wire);
    let record = proxy.wait_records(1).remove(0);
    assert_eq!(record["user"], "alice", "{record}");
    assert_eq!(record["auth"], "certificate", "{record}");
    let refused = pki.wire(&proxy, &nameless).exchange(&handshake);
    assert_eq!(refused.status(), 407);
}

/// Another kind of name, with a reload, on the same connection.
#[test]
fn a_reload_of_the_name_holds_for_open_connections() {
    let pki = Pki::new();
    let shown = pki.clients.issue_with(&["host.test"], |params| {
        params.distinguished_name.push(DnType::CommonName, "alice");
    });
    let proxy = pki.setup("certificate_user: cn").start();
    let origin = Origin::ok("page");
    let url = format!("http://{}/", origin.address);
    let mut wire = pki.wire(&proxy, &shown);
    for (key, user) in [("cn", "alice"), ("san_dns", "host.test")] {
        let tls = format!(
            "{{ certificate: cert.pem, key: key.pem, client_ca: clients.pem, certificate_user: {key} }}"
        );
        proxy.rewrite(&format!(
            "listeners: [{{ address: \"{}\" }}, {{ address: \"{}\", tls: {tls} }}]",
            proxy.address,
            proxy.secure_address()
        ));
        assert_eq!(proxy.reload().status(), 200);
        assert_eq!(wire.exchange(ask("GET", &url, None)).text(), "page");
        proxy.record(key, |record| record["user"] == user);
    }
}
