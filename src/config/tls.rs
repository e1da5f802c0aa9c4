//! Certificates and keys in PEM files to what rustls serves with.

mod algorithm;
mod certificate;
mod client;
mod file;
mod key;
mod roots;

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{RootCertStore, ServerConfig};

use self::certificate::{Certificate, check_chain, check_leaf};
use self::client::ClientVerifier;
use self::file::PemFile;
pub(super) use self::roots::check_ca_file;
use super::files::Base;
use super::keys::form::Absent::{Means, Required};
use super::keys::form::Raw;
use super::keys::keys;
use super::pem::Label;
use super::reader::Item;

keys! {
    /// What TLS is served with.
    pub(super) struct Keys<'d> {
        /// [PEM](#pem-files): the certificate, then those between it and the authority.
        certificate: Option<Item<'d>> = Required, Raw => Shape::path();
        /// [PEM](#pem-files): the key of the certificate, not encrypted: RSA of 2048 to 4096 bits, ECDSA on P-256 or
        /// P-384, Ed25519. It should not be readable for every user. It may be in the file of `certificate`.
        key: Option<Item<'d>> = Required, Raw => Shape::path();
        /// [PEM](#pem-files): certificates of authorities or of clients. A client must show a certificate that is in
        /// the file, or that an authority in the file issued. The client still needs a password.
        client_ca: Option<Item<'d>> = Means("none"), Raw => Shape::path();
    }
}

/// What is in the files of one TLS listener.
struct Files {
    certificate: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    client_ca: Option<Vec<Certificate>>,
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
    let mut section = item.section();
    let Keys {
        certificate,
        key,
        client_ca,
    } = Keys::take(&mut section);
    for (name, item) in [("certificate", &certificate), ("key", &key)] {
        if item.is_none() {
            section.report(
                name,
                "missing",
                "name a PEM file, or remove `tls` for a plain listener",
            );
        }
    }
    section.finish();
    for item in [&certificate, &key, &client_ca].into_iter().flatten() {
        item.note_file(&base.directory);
    }
    if !open {
        return None;
    }
    // Each file is looked at even when another one cannot be used.
    let identity = identity(certificate.as_ref(), key.as_ref(), base);
    let trusted = client_ca.as_ref().map(|item| roots::read(item, base));
    let (certificate, key) = identity?;
    let files = Files {
        certificate,
        key,
        client_ca: match trusted {
            None => None,
            Some(trusted) => Some(trusted?),
        },
    };
    match build(files) {
        Ok(mut config) => {
            config.alpn_protocols = alpn_protocols(http2);
            Some(Arc::new(config))
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

/// The certificate of a listener with its chain, and its key; `None` when something was reported.
fn identity(
    certificate: Option<&Item<'_>>,
    key: Option<&Item<'_>>,
    base: &Base,
) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let certificate_file = certificate.and_then(|item| PemFile::read(item, base));
    let key_file = key.and_then(|item| PemFile::read(item, base));
    let both = certificate_file.as_ref().zip(key_file.as_ref());
    if let Some((certificate, key)) = both
        && is_swapped(certificate, key)
    {
        let message = "has the key, and the file of `key` has the certificate";
        certificate.report(message, "exchange the two names");
        return None;
    }
    // Some programs want certificate and key in one file.
    let in_one = both.is_some_and(|(certificate, key)| certificate.is_same(key));
    let chain = certificate_file
        .as_ref()
        .and_then(|file| Certificate::all(file, in_one).map(|chain| (file, chain)));
    let private = key_file.as_ref().and_then(|file| {
        file.warn_if_world_readable();
        key::private_key(file, in_one).map(|key| (file, key))
    });
    let is_usable = chain
        .as_ref()
        .is_some_and(|(file, chain)| chain.first().is_some_and(|leaf| check_leaf(file, leaf)));
    let ((certificate_file, chain), (key_file, (key, signing))) = (chain?, private?);
    if !is_usable
        || !belong_together(certificate_file, &chain, key_file, &signing)
        || !check_chain(certificate_file, &chain)
    {
        return None;
    }
    let chain = chain.into_iter().map(|certificate| certificate.der);
    Some((chain.collect(), key))
}

fn is_swapped(certificate: &PemFile<'_, '_>, key: &PemFile<'_, '_>) -> bool {
    let has_key = |file: &PemFile<'_, '_>| file.private_keys().next().is_some();
    has_key(certificate)
        && !certificate.has(Label::Certificate)
        && key.has(Label::Certificate)
        && !has_key(key)
}

/// Whether the key is that of the first certificate; else reports what it is.
fn belong_together(
    certificate_file: &PemFile<'_, '_>,
    chain: &[Certificate],
    key_file: &PemFile<'_, '_>,
    signing: &Arc<dyn SigningKey>,
) -> bool {
    let is_of = |certificate: &Certificate| {
        let pair = CertifiedKey::new(vec![certificate.der.clone()], Arc::clone(signing));
        pair.keys_match().is_ok()
    };
    let place = chain.iter().position(is_of);
    match place.and_then(|place| chain.get(place).map(|certificate| (place, certificate))) {
        Some((0, _)) => true,
        Some((_, certificate)) => {
            let message = "the certificate of the key is not the first of the file";
            let advice = "put it first, then the certificate of its issuer, and so on";
            certificate_file.report_at(certificate.line, message, advice);
            false
        }
        None => {
            let (certificate, key) = (certificate_file.name(), key_file.name());
            let advice = format!(
                "name the key that the certificate was made for: `openssl x509 -in {certificate} -noout -pubkey` \
                 and `openssl pkey -in {key} -pubout` print the same for it"
            );
            key_file.report("is not the key of the certificate", advice);
            false
        }
    }
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
        Some(trusted) => {
            let mut roots = RootCertStore::empty();
            for certificate in &trusted {
                roots.add(certificate.der.clone())?;
            }
            let authorities =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|error| rustls::Error::General(error.to_string()))?;
            let trusted = trusted.into_iter().filter_map(|certificate| {
                let validity = certificate.facts?.validity;
                Some((certificate.der, validity))
            });
            let verifier = ClientVerifier {
                authorities,
                trusted: trusted.collect(),
            };
            builder
                .with_client_cert_verifier(Arc::new(verifier))
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
