//! Resumption of TLS sessions: it spares clients a handshake, and outlives nothing that took back what it stands on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use crate::support::command::run;
use crate::support::origin::Origin;
use crate::support::port::Port;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::fetch;
use crate::support::tls::Authority;
use crate::support::{DEADLINE, eventually};

/// One request on a connection of its own: the status, and which handshake it took. None when it is refused.
fn visit(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    url: &str,
) -> Option<(String, HandshakeKind)> {
    let socket = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let name = ServerName::try_from("proxy.test").unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    let request = fetch(url).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    // Tickets of TLS 1.3 come with the answer.
    stream.read_to_end(&mut answer).ok()?;
    let status = String::from_utf8_lossy(answer.get(9..12)?).into_owned();
    Some((status, stream.conn.handshake_kind()?))
}

fn resumes(proxy: &Proxy, config: &Arc<ClientConfig>, url: &str) -> HandshakeKind {
    let (status, kind) = visit(proxy.secure_address(), config, url).expect("an answer");
    assert_eq!(status, "200");
    kind
}

#[test]
fn sessions_are_resumed_at_each_listener_and_after_a_renewal() {
    let authority = Authority::new();
    let (old, new) = (
        authority.issue(&["proxy.test"]),
        authority.issue(&["proxy.test"]),
    );
    let second = Port::reserve();
    let setup = Setup::new().tls(&old);
    let listeners = setup.write();
    let mut yaml: serde_yaml::Value =
        serde_yaml::from_str(&std::fs::read_to_string(listeners).unwrap()).unwrap();
    let list = yaml["tollgate"]["listeners"].as_sequence_mut().unwrap();
    let more = format!(
        "{{ address: \"{}\", tls: {{ certificate: cert.pem, key: key.pem }} }}",
        second.address
    );
    list.push(serde_yaml::from_str(&more).unwrap());
    let proxy = setup.whole(&serde_yaml::to_string(&yaml).unwrap()).start();
    let origin = Origin::ok("page");
    let url = format!("http://{}/", origin.address);
    let configs = [&TLS12, &TLS13].map(|version| authority.client(&[version], None));
    for config in &configs {
        assert_eq!(resumes(&proxy, config, &url), HandshakeKind::Full);
        assert_eq!(resumes(&proxy, config, &url), HandshakeKind::Resumed);
        let (_, kind) = visit(second.address, config, &url).unwrap();
        assert_eq!(kind, HandshakeKind::Resumed);
    }
    for name in ["key.pem", "cert.pem"] {
        let content = if name == "key.pem" {
            &new.key_pem
        } else {
            &new.certificate_pem
        };
        std::fs::write(proxy.path("next"), content).unwrap();
        std::fs::rename(proxy.path("next"), proxy.path(name)).unwrap();
    }
    assert_eq!(proxy.reload().status(), 200);
    for config in &configs {
        assert_eq!(resumes(&proxy, config, &url), HandshakeKind::Resumed);
    }
}

#[test]
fn openssl_comes_back_without_a_full_handshake() {
    let authority = Authority::new();
    let proxy = Setup::new().tls(&authority.issue(&["proxy.test"])).start();
    let address = proxy.secure_address().to_string();
    for (more, reused) in [(&["-tls1_2"][..], 5), (&["-tls1_2", "-no_ticket"], 5)] {
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-reconnect", "-connect", &address])
            .args(more);
        let output = run(&mut command, "").output();
        assert_eq!(
            output.matches("Reused, TLSv1.2").count(),
            reused,
            "{more:?}: {output}"
        );
    }
}

/// A session of a listener with certificates of clients is resumed as long as nothing of it has changed. An authority
/// that is removed, or a list that has the certificate, ends it.
#[test]
fn no_session_outlives_a_change_of_authorities_or_lists() {
    let (ours, clients, others) = (
        Authority::new(),
        Authority::of_name("clients"),
        Authority::of_name("others"),
    );
    let shown = clients.issue(&["client.test"]);
    let setup = Setup::new()
        .file("clients.pem", clients.pem())
        .file("clients.crl", clients.list(&[]))
        .secure_listener(
            &ours.issue(&["proxy.test"]),
            "tls: { certificate: cert.pem, key: key.pem, client_ca: clients.pem, client_crl: clients.crl }",
        );
    let proxy = setup.start();
    let origin = Origin::ok("page");
    let url = format!("http://{}/", origin.address);
    let put = |name: &str, content: &str| {
        std::fs::write(proxy.path("next"), content).unwrap();
        std::fs::rename(proxy.path("next"), proxy.path(name)).unwrap();
    };
    let admits = [
        ("clients.crl", clients.list(&[])),
        ("clients.pem", clients.pem()),
    ];
    let refuses = [
        ("clients.crl", clients.list(&[&shown])),
        ("clients.pem", others.pem()),
    ];
    for version in [&TLS12, &TLS13] {
        for ((name, good), (_, bad)) in admits.iter().zip(&refuses) {
            let config = ours.client(&[version], Some(&shown));
            assert_eq!(
                resumes(&proxy, &config, &url),
                HandshakeKind::Full,
                "{name}"
            );
            assert_eq!(
                resumes(&proxy, &config, &url),
                HandshakeKind::Resumed,
                "{name}"
            );
            put(name, bad);
            eventually("the refusal", || {
                visit(proxy.secure_address(), &config, &url)
                    .is_none()
                    .then_some(())
            });
            put(name, good);
            eventually("the certificate to be accepted", || {
                visit(proxy.secure_address(), &config, &url).map(drop)
            });
        }
    }
    let log = proxy.errors();
    assert!(log.contains("is on a list in client_crl"), "{log}");
    assert!(log.contains("is from no authority in client_ca"), "{log}");
}
