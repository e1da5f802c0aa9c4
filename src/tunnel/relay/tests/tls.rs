//! A client that speaks TLS to us: what the relay writes waits in the session.

use std::sync::Arc;

use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::recorder::Recorder;
use super::support::{NEVER, outcome, pair, payload, reset, rest_of, within};
use crate::tunnel::{Ended, Socket, relay};

impl Socket for server::TlsStream<TcpStream> {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(self.get_ref().0)
    }
}

async fn tls_pair() -> (server::TlsStream<TcpStream>, client::TlsStream<TcpStream>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (near, far) = pair();
    let name = ServerName::try_from("localhost").unwrap();
    let (near, far) = tokio::join!(
        TlsAcceptor::from(Arc::new(server)).accept(near),
        TlsConnector::from(Arc::new(client)).connect(name, far),
    );
    (near.unwrap(), far.unwrap())
}

#[tokio::test]
async fn tls_on_one_side_carries_both_ways_and_both_ends() {
    let (near_client, client) = tls_pair().await;
    let (near_upstream, mut upstream) = pair();
    let relay = tokio::spawn(async move {
        let meter = Recorder::default();
        let cancelled = std::future::pending::<()>();
        relay(
            near_client,
            near_upstream,
            b"early ",
            NEVER,
            &meter,
            cancelled,
        )
        .await
    });
    let mut client = client;
    client.write_all(b"question").await.unwrap();
    client.flush().await.unwrap();
    let mut got = [0; 14];
    within("the question", upstream.read_exact(&mut got))
        .await
        .unwrap();
    assert_eq!(&got, b"early question");
    upstream.write_all(b"answer").await.unwrap();
    let mut got = [0; 6];
    within("the answer", client.read_exact(&mut got))
        .await
        .unwrap();
    assert_eq!(&got, b"answer");

    let bulk = payload(1, 3_000_000);
    let (mut client_reads, mut client_writes) = tokio::io::split(client);
    let (mut upstream_reads, mut upstream_writes) = upstream.split();
    let exchange = async {
        tokio::join!(
            async {
                client_writes.write_all(&bulk).await.unwrap();
                client_writes.shutdown().await.unwrap();
            },
            rest_of(&mut upstream_reads),
            async {
                upstream_writes.write_all(&bulk).await.unwrap();
                upstream_writes.shutdown().await.unwrap();
            },
            rest_of(&mut client_reads),
        )
    };
    let ((), (at_upstream, upstream_end), (), (at_client, client_end)) =
        within("the bulk", exchange).await;
    upstream_end.unwrap();
    client_end.expect("close_notify, and not a bare end");
    assert!(at_upstream == bulk);
    assert!(at_client == bulk);
    let (ended, traffic) = outcome(relay).await;
    assert_eq!(ended, Ended::Complete);
    assert_eq!(traffic.bytes_from_client, 3_000_014);
    assert_eq!(traffic.bytes_from_upstream, 3_000_006);
}

#[tokio::test]
async fn a_reset_under_tls_is_passed_on() {
    let (near_client, client) = tls_pair().await;
    let (near_upstream, mut upstream) = pair();
    let relay = tokio::spawn(async move {
        let meter = Recorder::default();
        let cancelled = std::future::pending::<()>();
        relay(near_client, near_upstream, b"x", NEVER, &meter, cancelled).await
    });
    let mut got = [0];
    within("the early byte", upstream.read_exact(&mut got))
        .await
        .unwrap();
    reset(client.into_inner().0);
    let (got, end) = rest_of(&mut upstream).await;
    assert!(got.is_empty());
    end.expect_err("an end, although the client broke");
    assert_eq!(outcome(relay).await.0, Ended::ClientReset);
}
