//! A certificate of a listener with its chain and its key, checked against each other.

use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::sign::{CertifiedKey, SigningKey};

use super::super::files::Base;
use super::super::pem::Label;
use super::super::reader::Item;
use super::certificate::{Certificate, Validity, check_chain, check_leaf};
use super::file::PemFile;
use super::key;

/// The longest name that metrics, statistics and the log show.
const MAX_NAME: usize = 253;

/// What TLS can be served with, for the names of the certificate.
pub(super) struct Identity {
    pub(super) served: Arc<CertifiedKey>,
    /// The DNS names of the certificate, in small letters.
    pub(super) names: Vec<String>,
    /// The one that stands for it: the first DNS name, the common name, or a word.
    pub(super) name: String,
    pub(super) validity: Option<Validity>,
    pub(super) algorithm: SignatureAlgorithm,
}

/// The certificate of a listener with its chain, and its key; `None` when something was reported.
pub(super) fn read(
    certificate: Option<&Item<'_>>,
    key: Option<&Item<'_>>,
    base: &Base,
) -> Option<Identity> {
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
    let ((certificate_file, chain), (key_file, signing)) = (chain?, private?);
    if !is_usable || !belong_together(certificate_file, &chain, key_file, &signing) {
        return None;
    }
    check_chain(certificate_file, &chain);
    let facts = chain.first().and_then(|leaf| leaf.facts.as_ref());
    let names = facts.map_or(&[][..], |facts| &facts.dns_names);
    let common_name = facts.and_then(|facts| facts.common_name.as_ref());
    let name = names.first().or(common_name);
    let name = name.map_or_else(|| "unnamed".to_owned(), |name| short(name));
    let names = names.iter().map(|name| name.to_ascii_lowercase());
    Some(Identity {
        names: names.collect(),
        name,
        validity: facts.map(|facts| facts.validity),
        algorithm: signing.algorithm(),
        served: Arc::new(CertifiedKey::new(
            chain.iter().map(|it| it.der.clone()).collect(),
            signing,
        )),
    })
}

fn short(name: &str) -> String {
    let name = name.chars().filter(|c| !c.is_control());
    name.take(MAX_NAME).collect()
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
