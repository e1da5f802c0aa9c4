//! Which certificate a client is shown: by the server name of its handshake (SNI), and by the kinds of keys that it
//! takes. Names are compared as in RFC 9525 §6.3: a wildcard is the whole first label, and stands for one label.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::identity::Identity;

/// The certificates of a listener by the names that they have.
#[derive(Debug)]
pub(super) struct ByName {
    /// In the order of the configuration.
    all: Vec<Arc<CertifiedKey>>,
    exact: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    /// By what follows the first label.
    wildcards: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
}

/// A name that two certificates have, with keys of the same kind: the first holds.
pub(super) struct Twice {
    pub(super) name: String,
    /// Its place in the configuration, and that of the one that holds.
    pub(super) second: usize,
    pub(super) first: usize,
}

impl ByName {
    /// Puts certificates in order, and says which of their names the later ones are not shown for.
    pub(super) fn new(identities: &[Identity]) -> (ByName, Vec<Twice>) {
        let mut by_name = ByName {
            all: Vec::new(),
            exact: HashMap::new(),
            wildcards: HashMap::new(),
        };
        let mut seen: HashMap<(&str, KeyKind), usize> = HashMap::new();
        let mut twice = Vec::new();
        for (place, identity) in identities.iter().enumerate() {
            by_name.all.push(Arc::clone(&identity.served));
            for name in &identity.names {
                let kind = KeyKind(identity.algorithm);
                if let Some(&first) = seen.get(&(name.as_str(), kind)) {
                    if first != place {
                        twice.push(Twice {
                            name: name.clone(),
                            second: place,
                            first,
                        });
                    }
                    continue;
                }
                seen.insert((name, kind), place);
                let (map, key) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut by_name.wildcards, parent),
                    None => (&mut by_name.exact, name.as_str()),
                };
                let keys = map.entry(key.into()).or_default();
                keys.push(Arc::clone(&identity.served));
            }
        }
        (by_name, twice)
    }

    /// The certificate for a client with this name, if it sends one, that takes these signatures.
    fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<CertifiedKey>> {
        let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let mut named = name.iter().flat_map(|name| self.named(name));
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        named
            .find(fits)
            .or_else(|| self.all.iter().find(fits))
            .or_else(|| self.all.first())
    }

    /// Those for a name: with the very name, then with a wildcard.
    fn named(&self, name: &str) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let wildcards = parent.and_then(|parent| self.wildcards.get(parent));
        let exact = self.exact.get(name);
        exact.into_iter().chain(wildcards).flatten()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
            .cloned()
    }
}

/// The kind of a key, to be compared.
#[derive(Clone, Copy, PartialEq, Eq)]
struct KeyKind(SignatureAlgorithm);

impl std::hash::Hash for KeyKind {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        u8::from(self.0).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
    use rustls::crypto::ring::sign::any_supported_type;
    use rustls::pki_types::PrivatePkcs8KeyDer;

    use super::*;

    fn identity(names: &[&str], algorithm: &'static rcgen::SignatureAlgorithm) -> Identity {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = CertificateParams::new(names.clone()).unwrap();
        let made = made.self_signed(&key).unwrap();
        let signing = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let signing = any_supported_type(&signing).unwrap();
        Identity {
            name: names.first().cloned().unwrap_or_default(),
            algorithm: signing.algorithm(),
            names,
            validity: None,
            served: Arc::new(CertifiedKey::new(vec![made.der().clone()], signing)),
        }
    }

    #[test]
    fn the_name_chooses_then_the_kind_of_the_key_then_the_order() {
        const P256: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
        const ED: &[SignatureScheme] = &[SignatureScheme::ED25519];
        const ANY: &[SignatureScheme] = &[
            SignatureScheme::ED25519,
            SignatureScheme::ECDSA_NISTP256_SHA256,
        ];
        let identities = [
            identity(&["first.test"], &PKCS_ECDSA_P256_SHA256),
            identity(&["b.test", "*.b.test"], &PKCS_ECDSA_P256_SHA256),
            identity(&["b.test", "x.b.test"], &PKCS_ED25519),
            identity(&["b.test", "d.test"], &PKCS_ECDSA_P256_SHA256),
        ];
        let (by_name, twice) = ByName::new(&identities);
        let twice: Vec<_> = twice
            .iter()
            .map(|it| (&*it.name, it.second, it.first))
            .collect();
        assert_eq!(twice, [("b.test", 3, 1)]);
        for (name, schemes, expected) in [
            (None, ANY, 0),
            (Some("other.test"), ANY, 0),
            (Some("b.test"), ANY, 1),
            (Some("B.Test."), ANY, 1),
            (Some("b.test"), ED, 2),
            (Some("y.b.test"), ANY, 1),
            // The very name is before the wildcard, if its key fits.
            (Some("x.b.test"), ANY, 2),
            (Some("x.b.test"), P256, 1),
            (Some("y.x.b.test"), ANY, 0),
            (Some("test"), ANY, 0),
            (Some(""), ANY, 0),
            (Some("d.test"), P256, 3),
            (Some("b.test"), &[][..], 0),
        ] {
            let chosen = by_name.choose(name, schemes).unwrap();
            let place = by_name.all.iter().position(|key| Arc::ptr_eq(key, chosen));
            assert_eq!(place, Some(expected), "{name:?} {schemes:?}");
        }
    }
}
