//! TLS listeners: what their files may be, and who gets through the handshake.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::{Identity, Setup, identity};

/// A file with one listener and this `tls`, on line 6.
fn tls(files: &str) -> String {
    format!(
        "version: 1\ntollgate:\n  auth: {{htpasswd: users}}\n  listeners:\n    \
         - address: 127.0.0.1:8443\n      tls: {{{files}}}\n"
    )
}

const BOTH: &str = "certificate: cert.pem, key: key.pem";

#[test]
fn tls_listeners() {
    let setup = Setup::new();
    let (ours, other) = (identity(), identity());
    setup.file("cert.pem", &ours.certificate);
    setup.file("key.pem", &ours.key);
    setup.file("ca.pem", &ours.authority);
    setup.file("other.pem", &other.key);
    setup.file(
        "locked.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    setup.file("cut.pem", &ours.key[..ours.key.len() - 40]);
    let text = ours.key.replace("\nM", "\n!hunter2!");
    setup.file("damaged.pem", text);
    let config = setup
        .load(&tls("certificate: cert.pem, key: key.pem"))
        .unwrap();
    let served = config.listeners[0].tls.as_ref().unwrap().served();
    let served = &served.config;
    assert_eq!(served.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
    assert_eq!(
        format!("{:?}", config.listeners[0]),
        "Listener { address: 127.0.0.1:8443, tls: true, proxy_protocol: false, http2: true, socks5: Never }"
    );
    let mutual = "certificate: cert.pem, key: key.pem, client_ca: ca.pem";
    assert!(setup.load(&tls(mutual)).unwrap().listeners[0].tls.is_some());

    setup.file("ec.pem", format!("{}{}", ours.key, other.key));
    setup.file(
        "chain.pem",
        format!("{}{}", other.certificate, ours.certificate),
    );
    let new_file = "name the file of the private key (BEGIN PRIVATE KEY)";
    let again = "copy the file again from where it was made";
    for (files, expected) in [
        (
            "certificate: cert.pem, key: other.pem",
            "f.yaml:6: KEY: other.pem is not the key of the certificate; name the key that the certificate was made for: \
             `openssl x509 -in cert.pem -noout -pubkey` and `openssl pkey -in other.pem -pubout` print the same for it"
                .to_owned(),
        ),
        (
            "certificate: cert.pem, key: cert.pem",
            format!("cert.pem:1: KEY: a certificate, where a private key is expected; {new_file}"),
        ),
        (
            "certificate: key.pem, key: key.pem",
            "key.pem:1: CERTIFICATE: a private key, where a certificate is expected; name the file of the certificate \
             (BEGIN CERTIFICATE)"
                .to_owned(),
        ),
        (
            "certificate: key.pem, key: cert.pem",
            "f.yaml:6: CERTIFICATE: key.pem has the key, and the file of `key` has the certificate; exchange the two names"
                .to_owned(),
        ),
        (
            "certificate: chain.pem, key: key.pem",
            format!(
                "chain.pem:{}: CERTIFICATE: the certificate of the key is not the first of the file; put it first, then \
                 the certificate of its issuer, and so on",
                other.certificate.lines().count() + 1
            ),
        ),
        (
            "certificate: cert.pem, key: ec.pem",
            "ec.pem:6: KEY: a second private key; the first begins on line 1; keep the one of the certificate".to_owned(),
        ),
        (
            "certificate: cert.pem, key: locked.pem",
            "locked.pem:1: KEY: the private key is encrypted; decrypt it with `openssl pkey -in locked.pem -out NEWFILE`, \
             then `chmod 600 NEWFILE`"
                .to_owned(),
        ),
        (
            "certificate: cert.pem, key: cut.pem",
            "cut.pem:1: KEY: the BEGIN line has no END line: the block is cut off; add the END line, such as \
             `-----END CERTIFICATE-----`, or copy the file again"
                .to_owned(),
        ),
        (
            "certificate: cert.pem, key: damaged.pem",
            format!("damaged.pem:2: KEY: the block is damaged: this line is not base64; {again}"),
        ),
        (
            "certificate: cert.pem, key: key.pem, client_ca: key.pem",
            "key.pem:1: CLIENT_CA: a private key, where a certificate is expected; name the file of the certificate \
             (BEGIN CERTIFICATE)"
                .to_owned(),
        ),
        (
            "certificate: cert.pem",
            "f.yaml:6: KEY: missing; name a PEM file, or remove `tls` for a plain listener".to_owned(),
        ),
    ] {
        let expected = ["KEY", "CERTIFICATE", "CLIENT_CA"].iter().fold(expected, |text, name| {
            let path = format!("tollgate.listeners[0].tls.{}: ", name.to_lowercase());
            text.replace(&format!(": {name}: "), &format!(": {path}"))
        });
        assert_eq!(setup.problems(&tls(files)), expected);
    }
}

/// Shakes hands in memory; the protocol that was agreed on, or why it failed.
fn shake_hands(
    server: &Arc<ServerConfig>,
    trusted: &Identity,
    shown: Option<&Identity>,
) -> Result<Option<Vec<u8>>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(trusted.authority.as_bytes()).unwrap();
    roots.add(authority).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut client = match shown {
        None => builder.with_no_client_auth(),
        Some(shown) => {
            let chain = CertificateDer::from_pem_slice(shown.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![chain], key)?
        }
    };
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from("proxy.example").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(server.alpn_protocol().map(<[u8]>::to_vec))
}

#[test]
fn handshakes() {
    let setup = Setup::new();
    let (ours, other) = (identity(), identity());
    setup.file("cert.pem", &ours.certificate);
    setup.file("key.pem", &ours.key);
    setup.file("ca.pem", &ours.authority);
    let served = |files: &str| {
        let mut config = setup.load(&tls(files)).unwrap();
        let tls = config.listeners.remove(0).tls.unwrap();
        Arc::clone(&tls.served().config)
    };
    let http2 = Ok(Some(b"h2".to_vec()));

    let open = served(BOTH);
    assert_eq!(shake_hands(&open, &ours, None), http2);
    let old = setup.load(&format!("{}      http2: false\n", tls(BOTH)));
    let old = old.unwrap().listeners.remove(0).tls.unwrap();
    let old = Arc::clone(&old.served().config);
    let http1 = Ok(Some(b"http/1.1".to_vec()));
    assert_eq!(shake_hands(&old, &ours, None), http1);

    let mutual = served("certificate: cert.pem, key: key.pem, client_ca: ca.pem");
    assert_eq!(shake_hands(&mutual, &ours, Some(&ours)), http2);
    assert!(shake_hands(&mutual, &ours, None).is_err());
    assert!(shake_hands(&mutual, &ours, Some(&other)).is_err());
}
