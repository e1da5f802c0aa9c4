//! Certificates and keys in PEM files to what rustls serves with.

mod algorithm;
mod by_name;
mod certificate;
mod client;
mod file;
mod identity;
mod key;
mod listener;
mod revocation;
mod roots;
mod sessions;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;

use self::by_name::ByName;
use self::certificate::Certificate;
pub use self::certificate::EXPIRY_WARNING;
use self::client::{ClientVerifier, Listed};
use self::identity::Identity;
use self::listener::Source;
pub use self::listener::{Clients, Expiry, ListenerTls, Reread, Served};
use self::revocation::RevocationList;
pub(super) use self::roots::check_ca_file;
use super::files::{self, Base};
use super::keys::form::Absent::{Means, Required};
use super::keys::form::{Given, OneOf, Raw, RawList};
use super::keys::keys;
use super::reader::{Item, Section};
use crate::access::auth::{CertificateLogin, CertificateName};

/// More certificates than a listener has.
const MAX_CERTIFICATES: usize = 1024;

const PLAIN: &str = "name a PEM file, or remove `tls` for a plain listener";

keys! {
    /// What TLS is served with.
    pub(super) struct Keys<'d> {
        /// [PEM](#pem-files): the certificate, then those between it and the authority.
        certificate: Option<Item<'d>> = Means("required without `certificates`"), Raw => Shape::path(), on reload;
        /// [PEM](#pem-files): the key of the certificate, not encrypted: RSA of 2048 to 4096 bits, ECDSA on P-256 or
        /// P-384, Ed25519. It should not be readable for every user. It may be in the file of `certificate`.
        key: Option<Item<'d>> = Means("required without `certificates`"), Raw => Shape::path(), on reload;
        /// In place of `certificate` and `key`: several of both. A client is shown the first that is for the server name
        /// it asks for (SNI) and whose kind of key it takes; without such a name, or for another one, the first of all.
        certificates: Option<Item<'d>> = Means("`certificate` and `key`"), RawList => Shape::Map(PairKeys::keys).some(), on reload;
        /// [PEM](#pem-files): certificates of authorities or of clients. A client must show a certificate that is in
        /// the file, or that an authority in the file issued. Without `certificate_user` it still needs a password.
        client_ca: Option<Item<'d>> = Means("none"), Raw => Shape::path(), on reload;
        /// Files of revocation lists (CRL), in PEM or DER. With them, each authority of a client's certificate needs
        /// one that has not expired; else the client is refused, as with a certificate that is on a list.
        client_crl: Option<Item<'d>> = Means("none"), Raw => Shape::Either(vec![Shape::path(), Shape::path().some()]), on reload;
        /// The name in the certificate of a client that is the user of its requests: the common name, or the DNS name,
        /// e-mail address or URI in `subjectAltName`. A certificate has to have exactly one.
        certificate_user: Option<CertificateName> = Means("none: a certificate is no user"), Given(OneOf(&[
            ("cn", CertificateName::CommonName),
            ("san_dns", CertificateName::Dns),
            ("san_email", CertificateName::Email),
            ("san_uri", CertificateName::Uri),
        ])), on reload;
        /// Whether the certificate is enough, or the client sends a password or a token of the same user too.
        certificate_login: Option<CertificateLogin> = Means("`alone`"), Given(OneOf(&[
            ("alone", CertificateLogin::Alone),
            ("with_password", CertificateLogin::WithPassword),
        ])), on reload;
    }
}

keys! {
    /// One of several certificates.
    pub(super) struct PairKeys<'d> {
        /// [PEM](#pem-files): the certificate, then those between it and the authority.
        certificate: Option<Item<'d>> = Required, Raw => Shape::path();
        /// [PEM](#pem-files): its key, as above.
        key: Option<Item<'d>> = Required, Raw => Shape::path();
    }
}

/// What a `tls` map is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Clients of the proxy. With `client_ca` each shows a certificate.
    Proxy {
        /// Whether they may speak HTTP/2.
        http2: bool,
    },
    /// The admin service, with HTTP/1.1. With `client_ca` a client may show a certificate.
    Admin,
}

impl Use {
    fn has_http2(self) -> bool {
        self == Self::Proxy { http2: true }
    }
}

/// Which files of a configuration are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// All.
    All,
    /// All, if all are still there: this process may have given up the right to read keys.
    Readable,
    /// None.
    Nothing,
}

/// What a `tls` map says.
#[derive(Default)]
pub(super) struct Tls {
    /// Whether the certificates of clients are users.
    pub(super) makes_users: bool,
    /// Whether clients are asked for certificates.
    pub(super) asks_certificates: bool,
    pub(super) listener: Option<Arc<ListenerTls>>,
}

/// The certificate and the key of one pair, as they are written.
struct Pair<'d> {
    certificate: Option<Item<'d>>,
    key: Option<Item<'d>>,
}

/// What the `tls` map of a listener names.
struct Named<'d> {
    pairs: Vec<Pair<'d>>,
    client_ca: Option<Item<'d>>,
    client_crl: Option<Item<'d>>,
    login: Option<(CertificateName, CertificateLogin)>,
}

/// Reads the `tls` map of a listener.
///
/// With `client_ca` only clients with a certificate from there get through the handshake of a listener of the proxy. ALPN
/// offers HTTP/1.1, and HTTP/2 first with `http2`. Nothing to serve with when something was reported, when no file is read, and when this
/// process may not read one of them any more: then what is in use stays.
pub(super) fn read(item: &Item<'_>, base: &Base, reading: Reading, for_use: Use) -> Tls {
    let named = Named::read(item);
    for file in named.files() {
        file.note_file(&base.directory);
    }
    Tls {
        makes_users: named.login.is_some(),
        asks_certificates: named.client_ca.is_some(),
        listener: listener_tls(&named, item, base, reading, for_use),
    }
}

fn listener_tls(
    named: &Named<'_>,
    item: &Item<'_>,
    base: &Base,
    reading: Reading,
    for_use: Use,
) -> Option<Arc<ListenerTls>> {
    let paths = named.paths(base);
    match reading {
        Reading::Nothing => {
            item.leave_for_restart();
            return None;
        }
        Reading::Readable if !paths.iter().all(|path| files::is_still_there(path)) => {
            item.leave_for_restart();
            return None;
        }
        Reading::Readable | Reading::All => {}
    }
    let looks = listener::looks(&paths);
    let served = served(named, item, base, for_use)?;
    let source = Source {
        configuration: item.configuration().to_owned(),
        base: base.clone(),
        path: item.path.clone(),
        line: item.line,
        node: item.node().clone(),
        for_use,
        files: paths,
        looks,
        failing: None,
    };
    Some(Arc::new(ListenerTls::new(served, source)))
}

/// Reads the files that a `tls` map names.
fn serve(item: &Item<'_>, base: &Base, for_use: Use) -> Option<Served> {
    served(&Named::read(item), item, base, for_use)
}

impl<'d> Named<'d> {
    fn read(item: &Item<'d>) -> Named<'d> {
        let mut section = item.section();
        let keys = Keys::take(&mut section);
        let is_single = keys.certificate.is_some() || keys.key.is_some();
        let pairs = match &keys.certificates {
            Some(list) if is_single => {
                let advice =
                    "write all of them as `- { certificate: …, key: … }` below `certificates`";
                list.report("beside `certificate` and `key`", advice);
                Vec::new()
            }
            Some(list) => pairs(list),
            None => {
                for (name, item) in [("certificate", &keys.certificate), ("key", &keys.key)] {
                    if item.is_none() {
                        section.report(name, "missing", PLAIN);
                    }
                }
                vec![Pair {
                    certificate: keys.certificate,
                    key: keys.key,
                }]
            }
        };
        check_clients(
            &section,
            keys.client_ca.is_some(),
            keys.certificate_user.is_some(),
        );
        section.finish();
        let login = keys.certificate_login.unwrap_or(CertificateLogin::Alone);
        Named {
            pairs,
            client_ca: keys.client_ca,
            client_crl: keys.client_crl,
            login: keys.certificate_user.map(|name| (name, login)),
        }
    }

    /// The values that name files.
    fn files(&self) -> Vec<Item<'d>> {
        let pairs = self.pairs.iter();
        let mut files: Vec<Item<'d>> = pairs
            .flat_map(|pair| [&pair.certificate, &pair.key])
            .chain([&self.client_ca])
            .flatten()
            .cloned()
            .collect();
        // What is no list of files is reported where it is read.
        if let Some(item) = &self.client_crl {
            match item.is_list() {
                true => files.extend(item.list().into_iter().flatten()),
                false => files.push(item.clone()),
            }
        }
        files
    }

    /// The files, absolute.
    fn paths(&self, base: &Base) -> Vec<PathBuf> {
        let files = self.files();
        let paths = files.iter().filter_map(|item| item.written());
        paths.map(|path| base.directory.join(path)).collect()
    }
}

fn pairs<'d>(list: &Item<'d>) -> Vec<Pair<'d>> {
    let items = list.list().unwrap_or_default();
    if list.is_list() && items.is_empty() {
        list.report("no certificate", PLAIN);
    }
    if items.len() > MAX_CERTIFICATES {
        let advice = format!("name at most {MAX_CERTIFICATES}, or divide them among listeners");
        list.report("too many certificates", advice);
        return Vec::new();
    }
    let pair = |item: &Item<'d>| {
        let mut section = item.section();
        let PairKeys { certificate, key } = PairKeys::take(&mut section);
        for (name, item) in [("certificate", &certificate), ("key", &key)] {
            if item.is_none() {
                section.report(name, "missing", "name a PEM file");
            }
        }
        section.finish();
        Pair { certificate, key }
    };
    items.iter().map(pair).collect()
}

/// Reports keys that mean nothing without another one.
fn check_clients(section: &Section<'_>, has_authorities: bool, has_user: bool) {
    for key in ["client_crl", "certificate_user"] {
        if section.has(key) && !has_authorities {
            let advice = "name the authorities of the clients as `client_ca`, or remove the key";
            section.report(
                key,
                "without `client_ca`, which asks clients for certificates",
                advice,
            );
        }
    }
    if section.has("certificate_login") && !has_user {
        let advice = "say which name is the user with `certificate_user`, or remove the key";
        section.report(
            "certificate_login",
            "without `certificate_user`: a certificate is no user",
            advice,
        );
    }
}

fn served(named: &Named<'_>, item: &Item<'_>, base: &Base, for_use: Use) -> Option<Served> {
    // Each file is looked at even when another one cannot be used.
    let identities: Vec<Option<Identity>> = named
        .pairs
        .iter()
        .map(|pair| identity::read(pair.certificate.as_ref(), pair.key.as_ref(), base))
        .collect();
    let trusted = named.client_ca.as_ref().map(|item| roots::read(item, base));
    let lists = named.client_crl.as_ref();
    let known = trusted.as_ref().and_then(|it| it.as_deref());
    let lists = lists.map(|item| revocation::read(item, base, known));
    let identities: Vec<Identity> = identities.into_iter().collect::<Option<_>>()?;
    if identities.is_empty() {
        return None;
    }
    let trusted = match trusted {
        None => None,
        Some(trusted) => Some(trusted?),
    };
    let lists = match lists {
        None => Vec::new(),
        Some(lists) => lists?,
    };
    let digest = digest(
        &identities,
        trusted.as_deref(),
        &lists,
        named.login,
        for_use,
    );
    let expiries = expiries(&identities, &lists);
    match build(named, identities, trusted, lists, for_use) {
        Ok((mut config, clients)) => {
            config.alpn_protocols = alpn_protocols(for_use.has_http2());
            Some(Served {
                config: Arc::new(config),
                expiries,
                clients,
                generation: listener::next_generation(),
                digest,
            })
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

fn build(
    named: &Named<'_>,
    identities: Vec<Identity>,
    trusted: Option<Vec<Certificate>>,
    lists: Vec<RevocationList>,
    for_use: Use,
) -> Result<(ServerConfig, Option<Clients>), rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions()?;
    let (by_name, twice) = ByName::new(&identities);
    for twice in twice {
        let second = named.pairs.get(twice.second);
        if let Some(item) = second.and_then(|pair| pair.certificate.as_ref()) {
            let message = format!(
                "{} is in certificates[{}] too, with the same kind of key: that one is shown for it",
                twice.name, twice.first
            );
            item.warn(message, "remove one of the two certificates");
        }
    }
    let by_name = Arc::new(by_name);
    let Some(trusted) = trusted else {
        let mut config = builder.with_no_client_auth().with_cert_resolver(by_name);
        sessions::share(&mut config);
        return Ok((config, None));
    };
    let general = |error: String| rustls::Error::General(error);
    let roots = revocation::roots(&trusted);
    let roots = roots.ok_or_else(|| general("client_ca has no authority".to_owned()))?;
    let ders: Vec<_> = lists.iter().map(|list| list.der.clone()).collect();
    let authorities = revocation::verifier(roots, ders);
    let authorities = authorities.map_err(|error| general(error.to_string()))?;
    let listed = trusted.into_iter().filter_map(|certificate| {
        let facts = certificate.facts?;
        Some(Listed {
            certificate: certificate.der,
            validity: facts.validity,
            is_revoked: lists.iter().any(|list| list.has(&facts)),
        })
    });
    let verifier = Arc::new(ClientVerifier {
        authorities,
        trusted: listed.collect(),
        is_mandatory: for_use != Use::Admin,
    });
    let clients = Clients {
        verifier: Arc::clone(&verifier) as _,
        login: named.login,
    };
    let mut config = builder
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(by_name);
    sessions::keep_for_generation(&mut config);
    Ok((config, Some(clients)))
}

/// What tells what is served from what was served before. The certificates stand for their keys.
fn digest(
    identities: &[Identity],
    trusted: Option<&[Certificate]>,
    lists: &[RevocationList],
    login: Option<(CertificateName, CertificateLogin)>,
    for_use: Use,
) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut part = |kind: u8, bytes: &[u8]| {
        hasher.update(&[kind]);
        hasher.update(blake3::hash(bytes).as_bytes());
    };
    for identity in identities {
        part(0, identity.name.as_bytes());
        for certificate in &identity.served.cert {
            part(1, certificate);
        }
    }
    part(
        2,
        format!("{login:?} {for_use:?} {}", trusted.is_some()).as_bytes(),
    );
    for certificate in trusted.into_iter().flatten() {
        part(3, &certificate.der);
    }
    for list in lists {
        part(4, &list.der);
    }
    hasher.finalize()
}

/// What ends, each name once: of two certificates of one name, the one that ends first.
fn expiries(identities: &[Identity], lists: &[RevocationList]) -> Vec<Expiry> {
    let certificates = identities.iter().filter_map(|identity| {
        Some(Expiry {
            name: identity.name.clone(),
            at: identity.validity?.not_after,
            is_list: false,
        })
    });
    let lists = lists.iter().filter_map(|list| {
        Some(Expiry {
            name: list.name.clone(),
            at: list.next_update?,
            is_list: true,
        })
    });
    let mut found: Vec<Expiry> = Vec::new();
    for expiry in certificates.chain(lists) {
        let same =
            |other: &&mut Expiry| other.name == expiry.name && other.is_list == expiry.is_list;
        match found.iter_mut().find(same) {
            Some(other) => other.at = other.at.min(expiry.at),
            None => found.push(expiry),
        }
    }
    found
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
