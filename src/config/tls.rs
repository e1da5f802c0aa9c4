//! Certificates and keys in PEM files to what rustls serves with.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};

use super::files::{self, Base};
use super::reader::{Item, Section};

/// A chain has a few kilobytes, a bundle of roots a few hundred.
const MAX_PEM: u64 = 4 << 20;

/// What is in the files of one TLS listener.
struct Files {
    certificate: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    client_ca: Option<RootCertStore>,
}

/// Reads the `tls` map of a listener.
///
/// With `client_ca` only clients with a certificate from there get through the handshake. ALPN
/// offers HTTP/1.1, and HTTP/2 first with `http2`. On a reload (`open` is false) the files are left alone: a process that
/// has given up its privileges may not be able to read them again.
pub(super) fn read(
    item: &Item<'_>,
    base: &Base,
    open: bool,
    http2: bool,
) -> Option<Arc<ServerConfig>> {
    let mut tls = item.section();
    let certificate = required(&mut tls, "certificate");
    let key = required(&mut tls, "key");
    let client_ca = tls.item("client_ca");
    tls.finish();
    if !open {
        return None;
    }
    // Each file is looked at even when another one cannot be used.
    let chain = certificate
        .as_ref()
        .and_then(|item| certificates(item, base));
    let private = key.as_ref().and_then(|item| private_key(item, base));
    let roots = client_ca.as_ref().map(|item| roots(item, base));
    let files = Files {
        certificate: chain?,
        key: private?,
        client_ca: match roots {
            None => None,
            Some(roots) => Some(roots?),
        },
    };
    match build(files) {
        Ok(mut config) => {
            config.alpn_protocols = alpn_protocols(http2);
            Some(Arc::new(config))
        }
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let advice = "name the key that the certificate was made for";
            key?.report("is not the key of the certificate", advice);
            None
        }
        Err(error) => {
            let message = format!("cannot be used: {error}");
            item.report(
                message,
                "give a certificate chain in PEM and its RSA, ECDSA or Ed25519 key",
            );
            None
        }
    }
}

/// Reads a bundle of certificates that are trusted, and says whether it can be used.
pub(super) fn roots(item: &Item<'_>, base: &Base) -> Option<RootCertStore> {
    let certificates = certificates(item, base)?;
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(certificates) {
        if let Err(error) = roots.add(certificate) {
            let message = format!("certificate {number} cannot be trusted: {error}");
            item.report(message, "give X.509 certificates of authorities, in PEM");
            return None;
        }
    }
    Some(roots)
}

fn required<'d>(tls: &mut Section<'d>, key: &'static str) -> Option<Item<'d>> {
    let item = tls.item(key);
    if item.is_none() {
        tls.report(
            key,
            "missing",
            "name a PEM file, or remove `tls` for a plain listener",
        );
    }
    item
}

fn build(files: Files) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    Ok(match files.client_ca {
        None => {
            let mut config = builder
                .with_no_client_auth()
                .with_single_cert(files.certificate, files.key)?;
            // Clients come back without a full handshake, and nothing is kept for them here. A
            // ticket would carry a client's whole chain, so not with certificates of clients.
            config.ticketer = ring::Ticketer::new()?;
            config
        }
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
            builder
                .with_client_cert_verifier(verifier)
                .with_single_cert(files.certificate, files.key)?
        }
    })
}

/// What a TLS listener offers, best first.
fn alpn_protocols(http2: bool) -> Vec<Vec<u8>> {
    let offered: &[&[u8]] = if http2 {
        &[b"h2", b"http/1.1"]
    } else {
        &[b"http/1.1"]
    };
    offered.iter().map(|name| name.to_vec()).collect()
}

fn certificates(item: &Item<'_>, base: &Base) -> Option<Vec<CertificateDer<'static>>> {
    let bytes = pem_file(item, base, &item.file(&base.directory)?)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            item.report(
                "has no certificate",
                "give a file with BEGIN CERTIFICATE in it",
            );
            None
        }
        Ok(certificates) => Some(certificates),
        Err(error) => {
            item.report(show(&error), "give an undamaged PEM file");
            None
        }
    }
}

fn private_key(item: &Item<'_>, base: &Base) -> Option<PrivateKeyDer<'static>> {
    let path = item.file(&base.directory)?;
    let bytes = pem_file(item, base, &path)?;
    files::warn_if_world_readable(&path, "private key");
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Some(key),
        Err(pem::Error::NoItemsFound) => {
            let encrypted = b"ENCRYPTED PRIVATE KEY";
            if bytes
                .windows(encrypted.len())
                .any(|window| window == encrypted)
            {
                let advice = "decrypt it, as with `openssl pkey -in FILE -out FILE`";
                item.report("is an encrypted private key", advice);
            } else {
                item.report(
                    "has no private key",
                    "give a file with BEGIN PRIVATE KEY in it",
                );
            }
            None
        }
        Err(error) => {
            item.report(show(&error), "give an undamaged PEM file");
            None
        }
    }
}

fn pem_file(item: &Item<'_>, base: &Base, path: &Path) -> Option<Vec<u8>> {
    match files::read(path, MAX_PEM) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let missing = "name a PEM file, relative to this file";
            files::report(item, &base.show(path), &error, missing);
            None
        }
    }
}

/// The errors of the PEM parser quote lines of the file, which may be a key.
fn show(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "is cut off: an END line is missing",
        pem::Error::IllegalSectionStart { .. } => "has a damaged BEGIN line",
        pem::Error::Base64Decode(_) => "is damaged: not base64",
        _ => "is not PEM",
    }
}
