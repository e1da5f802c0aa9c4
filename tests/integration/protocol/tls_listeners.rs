//! TLS listeners, with and without certificates of clients.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, ProtocolVersion, StreamOwned, SupportedProtocolVersion};
use serde_json::Value;
use tokio_rustls::TlsConnector;

use crate::support::DEADLINE;
use crate::support::client::Wire;
use crate::support::frames;
use crate::support::http2::{Client, bare, read_all, request, run, within};
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::programs::{assert_output, curl};
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, connect, fetch};
use crate::support::tls::{Authority, Identity};

type Session = StreamOwned<ClientConnection, TcpStream>;
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

fn session(
    proxy: &Proxy,
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    shown: Option<&Identity>,
) -> Session {
    let socket = TcpStream::connect_timeout(&proxy.secure_address(), DEADLINE).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.set_write_timeout(Some(DEADLINE)).unwrap();
    authority.session(socket, "proxy.test", &[version], shown)
}

/// The raw bytes on a session as a connection of the tests.
fn wire(session: Session) -> Wire {
    let socket = session.sock.try_clone().unwrap();
    Wire::over(Box::new(session), socket).unwrap()
}

#[test]
fn both_versions_are_served() {
    let authority = Authority::new();
    let proxy = Setup::new().tls(&authority.issue(&["proxy.test"])).start();
    let (web, echo) = (Origin::ok("page"), Origin::echo());
    for (version, spoken) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let mut session = session(&proxy, &authority, version, None);
        while session.conn.is_handshaking() {
            session.conn.complete_io(&mut session.sock).unwrap();
        }
        assert_eq!(session.conn.protocol_version(), Some(spoken));
        let mut wire = wire(session);
        let answer = wire.exchange(fetch(&format!("http://{}/", web.address)));
        assert_eq!(answer.text(), "page", "{spoken:?}");
        assert_eq!(wire.exchange(connect(echo.address)).status(), 200);
        wire.send("ping").unwrap();
        assert_eq!(wire.read_bytes(4).unwrap(), b"ping", "{spoken:?}");
    }
}

/// What the clients without a right certificate ask for, and no other.
const UNSERVED: &str = "http://10.0.0.1/";

/// Checks that nothing is answered on a session.
fn assert_refused(session: Session, what: &str) {
    let mut wire = wire(session);
    let _maybe_closed = wire.send(fetch(UNSERVED));
    let answer = wire.response("GET");
    assert!(answer.is_err(), "{what}: {answer:?}");
}

#[test]
fn only_clients_with_a_certificate_of_the_right_authority_get_in() {
    let (ours, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let proxy = Setup::new()
        .mutual_tls(&ours.issue(&["proxy.test"]), &clients)
        .start();
    let origin = Origin::ok("page");
    let (right, wrong) = (
        clients.issue(&["client.test"]),
        others.issue(&["client.test"]),
    );
    // The authority that the proxy's own certificate is from is none of clients.
    let near = ours.issue(&["client.test"]);
    for (admitted, version) in VERSIONS.into_iter().enumerate() {
        let what = format!("{:?}", version.version);
        // Those of the version before, which are written a little later.
        proxy.wait_records(2 * admitted);
        for (shown, name) in [
            (None, "none"),
            (Some(&wrong), "wrong"),
            (Some(&near), "near"),
        ] {
            let refused = session(&proxy, &ours, version, shown);
            assert_refused(refused, &format!("{what}, {name}"));
        }
        let mut wire = wire(session(&proxy, &ours, version, Some(&right)));
        let answer = wire.exchange(fetch(&format!("http://{}/", origin.address)));
        assert_eq!(answer.text(), "page", "{what}");
        // A certificate lets in; it is no user.
        let answer = wire.exchange("GET / HTTP/1.1\r\nHost: gate\r\n\r\n");
        assert_eq!(answer.status(), 401, "{what}");
    }
    let line = "tollgate_connections_rejected_total{reason=\"handshake_failed\"} ";
    let metrics = proxy.admin("/metrics").text();
    let rejected = metrics.lines().find_map(|found| found.strip_prefix(line));
    assert_eq!(rejected, Some("6"), "{metrics}");
    let log = proxy.errors();
    for cause in [
        "the client sent no certificate; ",
        "is from no authority in client_ca; ",
    ] {
        assert_eq!(log.matches(cause).count(), 1, "{cause}: {log}");
        let to = format!(
            " to {} ended before its first request: ",
            proxy.secure_address()
        );
        assert!(log.contains(&to), "{log}");
    }
    assert!(!log.contains("UnknownIssuer"), "{log}");
    // The plain listener beside it asks for none.
    assert_eq!(proxy.fetch("http://10.0.0.2/").status(), 403);
    // The log keeps the order of the requests, so one of a refused session would be there by now.
    proxy.record("the plain listener", |record| {
        record["target"] == "http://10.0.0.2/"
    });
    let unserved = |record: &Value| record["target"] == UNSERVED;
    assert!(!proxy.records().iter().any(unserved));
}

/// Go offers HTTP/2 to a proxy and then writes HTTP/1.1: the first bytes decide, whatever was agreed on.
#[test]
fn the_first_bytes_decide_and_not_what_was_agreed_on() {
    let authority = Authority::new();
    let proxy = Setup::new().tls(&authority.issue(&["proxy.test"])).start();
    let (web, echo) = (Origin::ok("page"), Origin::echo());
    let begin = |offered: &[&str]| {
        let socket = TcpStream::connect_timeout(&proxy.secure_address(), DEADLINE).unwrap();
        let (wire, agreed) = authority.wrap_offering(socket, "proxy.test", offered);
        assert_eq!(agreed.as_deref(), offered.first().copied());
        wire
    };
    let offers: [&[&str]; 4] = [&["h2", "http/1.1"], &["h2"], &["http/1.1"], &[]];
    for offered in offers {
        // A request and a CONNECT of HTTP/1.1; no frame comes before the answer.
        let mut wire = begin(offered);
        let answer = wire.exchange(fetch(&format!("http://{}/", web.address)));
        assert_eq!(answer.text(), "page", "{offered:?}");
        assert_eq!(wire.exchange(connect(echo.address)).status(), 200);
        wire.send("ping").unwrap();
        assert_eq!(wire.read_bytes(4).unwrap(), b"ping", "{offered:?}");
        // HTTP/2.
        let mut wire = begin(offered);
        wire.send(frames::opening(65_535)).unwrap();
        wire.send(frames::get(1, web.address, "/")).unwrap();
        let frame = frames::read_until(&mut wire, |frame| frame.kind == frames::DATA);
        assert_eq!(frame.payload, b"page", "{offered:?}");
        // What is neither of them is told so in HTTP/1.1.
        let mut wire = begin(offered);
        let answer = wire.exchange("GET / HTTP/1.1\nHost: h\n\n");
        assert_eq!(answer.status(), 400, "{offered:?}");
    }
}

/// The client ends its side with close_notify, in a tunnel: the other direction goes on, and its
/// end is told the same way.
#[test]
fn half_close_inside_tls_delivers_what_is_in_flight() {
    let authority = Authority::new();
    let proxy = Setup::new().tls(&authority.issue(&["proxy.test"])).start();
    // Says its bytes only when it has got the end of the client's.
    let origin = Origin::raw(|mut wire, _| {
        let got = wire.read_to_end()?;
        wire.send(format!("{} bytes, and\n", got.len()))?;
        wire.send(payload::bytes(300_000))?;
        wire.finish()
    });
    for version in VERSIONS {
        let mut session = session(&proxy, &authority, version, None);
        session
            .write_all(connect(origin.address).as_bytes())
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            session.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 200"), "{head:?}");
        session.write_all(&payload::bytes(100_000)).unwrap();
        session.conn.send_close_notify();
        session.flush().unwrap();
        let mut rest = Vec::new();
        // Fails with UnexpectedEof when the end comes without a close_notify.
        session.read_to_end(&mut rest).unwrap();
        let (said, body) = rest.split_at(18);
        assert_eq!(said, b"100000 bytes, and\n");
        assert_eq!(blake3::hash(body), payload::hash(300_000));
    }
    for record in proxy.wait_records(2) {
        assert_eq!(record["end_reason"], "complete", "{record}");
        assert_eq!(record["bytes_from_client"], 100_000, "{record}");
    }
}

#[test]
fn gateway_is_told_that_the_client_spoke_tls() {
    let authority = Authority::new();
    let origin = Origin::ok("behind");
    let proxy = Setup::new()
        .tls(&authority.issue(&["proxy.test"]))
        .config(&format!(
            "gateway: {{ upstreams: [\"{}\"] }}",
            origin.address
        ))
        .start();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: gate\r\nX-Forwarded-Proto: ftp\r\n{}\r\n",
        crate::support::request::auth()
    );
    let mut secure = wire(session(&proxy, &authority, &TLS13, None));
    let mut plain = proxy.connect();
    for (wire, scheme) in [(&mut secure, "https"), (&mut plain, "http")] {
        assert_eq!(wire.exchange(&request).text(), "behind");
        let fields = origin.requests().pop().unwrap().head.fields;
        assert_eq!(fields.all("x-forwarded-proto"), [scheme]);
    }
}

#[test]
fn curl_shows_its_certificate_to_the_proxy() {
    let (ours, clients) = (Authority::new(), Authority::new());
    let (right, wrong) = (
        clients.issue(&["client.test"]),
        ours.issue(&["client.test"]),
    );
    let setup = Setup::new()
        .mutual_tls(&ours.issue(&["127.0.0.1"]), &clients)
        .file("ca.pem", ours.pem())
        .file("right.pem", right.certificate_pem.clone() + &right.key_pem)
        .file("wrong.pem", wrong.certificate_pem.clone() + &wrong.key_pem);
    let path = |name: &str| setup.path(name).display().to_string();
    let (ca, right, wrong) = (path("ca.pem"), path("right.pem"), path("wrong.pem"));
    let proxy = setup.start();
    let plain = Origin::ok("plain");
    let secure = Origin::https(ours.issue(&["127.0.0.1"]).server(), |request| {
        ok(&request.body)
    });
    let through = format!("https://{}:{}@{}", ALICE.0, ALICE.1, proxy.secure_address());
    let base = ["--proxy-cacert", ca.as_str(), "-x", &through];
    let (http, https) = (
        format!("http://{}/", plain.address),
        format!("https://{}/", secure.address),
    );
    let requests: [(&[&str], &str); 3] = [
        (&[&http], "plain"),
        (&["--proxytunnel", &http], "plain"),
        (&["--cacert", &ca, "-d", "secret", &https], "secret"),
    ];
    for (request, body) in requests {
        for versions in [&["--tls-max", "1.2"][..], &[]] {
            let shown = |certificate| {
                [&base[..], versions, &["--proxy-cert", certificate], request].concat()
            };
            assert_output(&curl(&shown(&right)), body);
            for refused in [shown(&wrong), [&base[..], versions, request].concat()] {
                let outcome = curl(&refused);
                assert!(!outcome.status.success(), "{refused:?}");
                assert!(!outcome.stdout.contains(body), "{refused:?}");
            }
        }
    }
}

/// An HTTP/2 connection to the TLS listener, when the handshake succeeds on this side.
async fn http2(proxy: &Proxy, authority: &Authority, shown: Option<&Identity>) -> Option<Client> {
    let connector = TlsConnector::from(authority.http2_client(shown));
    let socket = tokio::net::TcpStream::connect(proxy.secure_address()).await;
    let name = ServerName::try_from("proxy.test").unwrap();
    let session = connector.connect(name, socket.unwrap()).await.ok()?;
    assert_eq!(session.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (send, connection) = h2::client::handshake(session).await.ok()?;
    Some(Client::over(send, connection))
}

#[test]
fn http2_clients_need_a_certificate_of_the_right_authority_too() {
    let (ours, clients) = (Authority::new(), Authority::new());
    let proxy = Setup::new()
        .mutual_tls(&ours.issue(&["proxy.test"]), &clients)
        .start();
    let (web, echo) = (Origin::ok("page"), Origin::echo());
    let (right, wrong) = (
        clients.issue(&["client.test"]),
        ours.issue(&["client.test"]),
    );
    run(async {
        for shown in [None, Some(&wrong)] {
            // TLS 1.3 tells a client only after its handshake.
            if let Some(client) = http2(&proxy, &ours, shown).await {
                assert!(within(client.connection).await.unwrap().is_err());
            }
        }
        let mut client = http2(&proxy, &ours, Some(&right)).await.unwrap();
        let url = format!("http://{}/", web.address);
        assert_eq!(client.ask(request("GET", &url)).await.text(), "page");
        // A certificate is no user.
        assert_eq!(client.ask(bare("GET", &url, &[])).await.status, 407);
        let (mut send, mut receive) = client.tunnel(echo.address).await;
        send.send_data("ping".into(), true).unwrap();
        assert_eq!(read_all(&mut receive).await.unwrap(), b"ping");
    });
    let refused = "tollgate_connections_rejected_total{reason=\"handshake_failed\"}";
    assert_eq!(proxy.metric(refused), 2);
}
