//! Certificates of clients that are taken back: by a revocation list, or with their authority.

use std::net::TcpStream;

use rcgen::DnType;
use rustls::ALL_VERSIONS;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::support::client::Wire;
use crate::support::command::tollgate;
use crate::support::http2::{Client, bare, run};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::tls::{Authority, Identity};
use crate::support::{DEADLINE, eventually};

fn named(authority: &Authority, name: &str) -> Identity {
    authority.issue_with(&[], |params| {
        params.distinguished_name.push(DnType::CommonName, name);
    })
}

fn listener(keys: &str) -> String {
    format!(
        "tls: {{ certificate: cert.pem, key: key.pem, client_ca: clients.pem, certificate_user: cn{keys} }}"
    )
}

fn wire(proxy: &Proxy, ours: &Authority, shown: &Identity) -> Wire {
    let socket = TcpStream::connect_timeout(&proxy.secure_address(), DEADLINE).unwrap();
    let session = ours.session(socket, "proxy.test", ALL_VERSIONS, Some(shown));
    let socket = session.sock.try_clone().unwrap();
    Wire::over(Box::new(session), socket).unwrap()
}

fn get(url: &str) -> String {
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

fn put(proxy: &Proxy, name: &str, content: impl AsRef<[u8]>) {
    std::fs::write(proxy.path("next"), content).unwrap();
    std::fs::rename(proxy.path("next"), proxy.path(name)).unwrap();
}

/// Whether a client gets through the handshake and has an answer.
fn is_served(proxy: &Proxy, ours: &Authority, shown: &Identity, url: &str) -> bool {
    let mut wire = wire(proxy, ours, shown);
    let _maybe_closed = wire.send(get(url));
    wire.response("GET")
        .is_ok_and(|answer| answer.status() == 200)
}

#[test]
fn a_revoked_certificate_ends_at_the_next_request_and_its_tunnels_at_once() {
    let (ours, clients) = (Authority::new(), Authority::of_name("clients"));
    let (alice, bob) = (named(&clients, "alice"), named(&clients, "bob"));
    let proxy = Setup::new()
        .file("clients.pem", clients.pem())
        .file("clients.crl", clients.list(&[]))
        .secure_listener(
            &ours.issue(&["proxy.test"]),
            &listener(", client_crl: [clients.crl]"),
        )
        .start();
    let (origin, echo) = (Origin::ok("page"), Origin::echo());
    let url = format!("http://{}/", origin.address);
    let open = |shown: &Identity| {
        let mut kept = wire(&proxy, &ours, shown);
        assert_eq!(kept.exchange(get(&url)).text(), "page");
        let mut tunnel = wire(&proxy, &ours, shown);
        let connect = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", echo.address);
        assert_eq!(tunnel.exchange(connect).status(), 200);
        (kept, tunnel)
    };
    let (mut kept, tunnel) = open(&alice);
    let (mut of_bob, mut tunnel_of_bob) = open(&bob);
    run(async {
        let connector = TlsConnector::from(ours.http2_client(Some(&alice)));
        let socket = tokio::net::TcpStream::connect(proxy.secure_address()).await;
        let name = ServerName::try_from("proxy.test").unwrap();
        let session = connector.connect(name, socket.unwrap()).await.unwrap();
        let (send, connection) = h2::client::handshake(session).await.unwrap();
        let mut streams = Client::over(send, connection);
        assert_eq!(streams.ask(bare("GET", &url, &[])).await.text(), "page");

        put(&proxy, "clients.crl", clients.list(&[&alice]));
        // No byte comes through the tunnel, which ends all the same.
        assert!(tunnel.hears_within(DEADLINE).unwrap());
        let record = proxy.record("the tunnel", |record| {
            record["event"] == "tunnel_close" && record["user"] == "alice"
        });
        assert_eq!(record["end_reason"], "certificate_refused", "{record}");
        let answer = streams.ask(bare("GET", &url, &[])).await;
        assert_eq!(answer.status, 403);
    });
    let answer = kept.exchange(get(&url));
    assert_eq!(answer.status(), 403, "{}", answer.text());
    assert_eq!(kept.read_to_end().unwrap(), b"", "the connection is closed");
    let record = proxy.record("the refusal", |record| record["status"] == 403);
    assert_eq!(record["error"], "client_certificate_refused", "{record}");
    assert_eq!(
        record["error_detail"], "the certificate of the client is revoked",
        "{record}"
    );
    assert_eq!(record.get("user"), None, "{record}");
    assert!(!is_served(&proxy, &ours, &alice, &url));
    // Others of the same authority are not touched.
    assert_eq!(of_bob.exchange(get(&url)).text(), "page");
    tunnel_of_bob.send("ping").unwrap();
    assert_eq!(tunnel_of_bob.read_bytes(4).unwrap(), b"ping");
    assert!(is_served(&proxy, &ours, &bob, &url));
}

#[test]
fn an_authority_that_is_removed_takes_its_clients_along() {
    let (ours, clients, others) = (
        Authority::new(),
        Authority::of_name("clients"),
        Authority::of_name("others"),
    );
    let (alice, bob) = (named(&clients, "alice"), named(&others, "bob"));
    let proxy = Setup::new()
        .file("clients.pem", clients.pem() + &others.pem())
        .secure_listener(&ours.issue(&["proxy.test"]), &listener(""))
        .start();
    let origin = Origin::ok("page");
    let url = format!("http://{}/", origin.address);
    let (mut of_alice, mut of_bob) = (wire(&proxy, &ours, &alice), wire(&proxy, &ours, &bob));
    assert_eq!(of_alice.exchange(get(&url)).text(), "page");
    assert_eq!(of_bob.exchange(get(&url)).text(), "page");
    put(&proxy, "clients.pem", others.pem());
    assert_eq!(proxy.reload().status(), 200);
    let answer = of_alice.exchange(get(&url));
    assert_eq!(answer.status(), 403);
    let record = proxy.record("the refusal", |record| record["status"] == 403);
    let detail =
        "the certificate of the client is not accepted any more: its authority is not in client_ca";
    assert_eq!(record["error_detail"], detail, "{record}");
    assert_eq!(of_bob.exchange(get(&url)).text(), "page");
    assert!(!is_served(&proxy, &ours, &alice, &url));
    assert!(is_served(&proxy, &ours, &bob, &url));
}

/// A list that has expired tells nothing, so that no client of its authority gets in; nor does one of an authority that
/// has no list. Lists are PEM or DER.
#[test]
fn without_a_current_list_no_client_gets_in() {
    let (ours, clients) = (Authority::new(), Authority::of_name("clients"));
    let others = Authority::of_name("others");
    let (alice, bob) = (named(&clients, "alice"), named(&others, "bob"));
    let setup = Setup::new()
        .file("clients.pem", clients.pem() + &others.pem())
        .file("clients.crl", clients.list_until(2025, &[]))
        .secure_listener(
            &ours.issue(&["proxy.test"]),
            &listener(", client_crl: clients.crl"),
        );
    let config = setup.write();
    let checked = tollgate(["check".as_ref(), config.as_os_str()]);
    assert_eq!(checked.code(), Some(0), "{}", checked.output());
    for line in [
        "clients.crl:1: warning: tollgate.listeners[1].tls.client_crl: the revocation list expired on 2025-01-01",
        "1 of the authorities in `client_ca` has no revocation list here",
    ] {
        assert!(checked.output().contains(line), "{}", checked.output());
    }
    let proxy = setup.start();
    let origin = Origin::ok("page");
    let url = format!("http://{}/", origin.address);
    assert!(!is_served(&proxy, &ours, &alice, &url));
    eventually("the cause", || {
        let cause = "the revocation list of its authority has expired";
        proxy.errors().contains(cause).then_some(())
    });
    // The current one, in DER.
    let pem = clients.list(&[]);
    put(&proxy, "clients.crl", pem_to_der(&pem));
    eventually("alice", || {
        is_served(&proxy, &ours, &alice, &url).then_some(())
    });
    assert!(!is_served(&proxy, &ours, &bob, &url));
    eventually("the cause", || {
        let cause = "is from an authority of which client_crl has no revocation list";
        proxy.errors().contains(cause).then_some(())
    });
    let series = format!(
        "tollgate_crl_expiry_timestamp_seconds{{listener=\"{}\",name=\"clients.crl\"}}",
        proxy.secure_address()
    );
    assert_eq!(proxy.metric(&series), 3_786_912_000);
    // Damaged: what is in use stays.
    put(&proxy, "clients.crl", "not a list");
    eventually("the complaint", || {
        proxy
            .errors()
            .contains("its files have changed and cannot be used")
            .then_some(())
    });
    assert!(is_served(&proxy, &ours, &alice, &url));
}

fn pem_to_der(pem: &str) -> Vec<u8> {
    use base64::Engine;
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    let text: String = lines.collect();
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}
