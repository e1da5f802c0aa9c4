//! The certificates of `ca_file` as what origins may show themselves: `openssl req -x509`
//! makes one that is an authority (CA:TRUE) and is used by the server all the same.
//!
//! A chain of such a certificate does not verify, whatever is trusted. It is trusted because
//! it is exactly the one that was named; its names, its dates and its purpose still count.
//! Pure, once the file is read.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::http::error::{ErrorKind, RequestError};

/// The certificates that `ca_file` names.
#[derive(Clone, Debug, Default)]
pub struct Certificates(Arc<[Certificate]>);

#[derive(Debug)]
struct Certificate {
    der: CertificateDer<'static>,
    digest: [u8; 32],
    names: Vec<String>,
    common_name: Option<String>,
    /// Seconds since 1970, both included.
    not_before: i64,
    not_after: i64,
    is_for_servers: bool,
}

/// Why a certificate is not accepted. Displays as a clause about it, for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error(
        "the certificate is an authority's own (CA:TRUE), as `openssl req -x509` makes them, \
         and it is not in ca_file: add it there, or give the server one that an authority signed"
    )]
    Unknown,
    #[error("the certificate expired on {}", date(*.0))]
    Expired(i64),
    #[error("the certificate is not valid before {}", date(*.0))]
    NotYetValid(i64),
    #[error("the certificate is for {names}, and not for {wanted}")]
    OtherNames { names: String, wanted: String },
    /// It is for no name. The common name counts for nothing (RFC 9110 §4.3.4).
    #[error(
        "the certificate has no subjectAltName, only the common name {common_name:?}: \
         make it again with `-addext subjectAltName=DNS:NAME` or `IP:ADDRESS`"
    )]
    NoNames { common_name: String },
    /// It says what it is for, and servers are not among it.
    #[error("the certificate is not for servers (extendedKeyUsage)")]
    OtherPurpose,
}

impl Flaw {
    /// The same for the client, who is told no names.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unknown => "self-signed",
            Self::Expired(_) => "expired",
            Self::NotYetValid(_) => "not yet valid",
            Self::OtherNames { .. } | Self::NoNames { .. } => "wrong name",
            Self::OtherPurpose => "wrong purpose",
        }
    }
}

impl From<Flaw> for RequestError {
    fn from(flaw: Flaw) -> Self {
        Self::new(ErrorKind::TlsCertificate)
            .told(flaw.word())
            .because(flaw)
    }
}

impl Certificates {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read; what is in it was checked with the configuration.
    pub fn read(path: &Path) -> io::Result<Self> {
        let text = std::fs::read(path)?;
        let certificates = CertificateDer::pem_slice_iter(&text).flatten();
        Ok(Self(certificates.filter_map(Certificate::read).collect()))
    }

    /// Whether one of them is for a server of this name.
    pub fn are_for(&self, name: &ServerName<'_>) -> bool {
        self.0.iter().any(|certificate| certificate.is_for(name))
    }

    /// Judges the certificate of this SHA-256 digest, which a server of this name has shown.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn evaluate(
        &self,
        digest: &[u8],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Flaw> {
        let shown = self.0.iter().find(|it| it.digest == digest);
        let shown = shown.ok_or(Flaw::Unknown)?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now > shown.not_after {
            return Err(Flaw::Expired(shown.not_after));
        }
        if now < shown.not_before {
            return Err(Flaw::NotYetValid(shown.not_before));
        }
        if !shown.is_for_servers {
            return Err(Flaw::OtherPurpose);
        }
        if shown.is_for(name) {
            return Ok(());
        }
        let names = match (shown.names.as_slice(), shown.common_name.clone()) {
            ([], Some(common_name)) => return Err(Flaw::NoNames { common_name }),
            ([], None) => "no name".to_owned(),
            (names, _) => names.join(", "),
        };
        let wanted = name.to_str().into_owned();
        Err(Flaw::OtherNames { names, wanted })
    }
}

impl Certificate {
    /// `None` for one that TLS cannot use, such as one of X.509 version 1.
    fn read(der: CertificateDer<'static>) -> Option<Self> {
        ParsedCertificate::try_from(&der).ok()?;
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        let constraints = parsed.basic_constraints().ok().flatten();
        let usage = parsed.extended_key_usage().ok().flatten();
        let alternatives = parsed.subject_alternative_name().ok().flatten();
        let names = alternatives.iter().flat_map(|it| &it.value.general_names);
        let common_name = parsed.subject().iter_common_name().next();
        let is_authority = constraints.is_some_and(|it| it.value.ca);
        // One that signed itself and is no authority verifies as a chain.
        if !is_authority && parsed.subject().as_raw() == parsed.issuer().as_raw() {
            return None;
        }
        Some(Self {
            digest: Sha256::digest(&der).into(),
            names: names.filter_map(show).collect(),
            common_name: common_name.and_then(|it| Some(it.as_str().ok()?.to_owned())),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            is_for_servers: usage.is_none_or(|it| it.value.server_auth || it.value.any),
            der: der.clone(),
        })
    }

    fn is_for(&self, name: &ServerName<'_>) -> bool {
        !self.names.is_empty()
            && ParsedCertificate::try_from(&self.der)
                .is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
    }
}

fn show(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            Some(address.ok()?.to_string())
        }
        _ => None,
    }
}

/// A time of a certificate, in seconds since 1970, for people.
fn date(seconds: i64) -> String {
    match DateTime::<Utc>::from_timestamp(seconds, 0) {
        Some(date) => date.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        None => "a date out of range".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    };

    use super::*;

    fn made(edit: impl FnOnce(&mut CertificateParams), names: &[&str]) -> rcgen::Certificate {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        edit(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    }

    fn evaluated(certificate: &rcgen::Certificate, name: &str) -> Result<(), Flaw> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, certificate.pem()).unwrap();
        let certificates = Certificates::read(file.path()).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let digest = Sha256::digest(certificate.der());
        certificates.evaluate(&digest, &name, UnixTime::now())
    }

    #[test]
    fn names_dates_and_purpose_count() {
        let names = &["origin.test", "*.wild.test", "127.0.0.1", "::1"];
        let one = made(|_| {}, names);
        for good in [
            "origin.test",
            "ORIGIN.test",
            "a.wild.test",
            "127.0.0.1",
            "::1",
        ] {
            assert_eq!(evaluated(&one, good), Ok(()), "{good}");
        }
        for other in ["other.test", "wild.test", "a.b.wild.test", "127.0.0.2"] {
            let expected = Err(Flaw::OtherNames {
                names: "origin.test, *.wild.test, 127.0.0.1, ::1".to_owned(),
                wanted: other.to_owned(),
            });
            assert_eq!(evaluated(&one, other), expected, "{other}");
        }
        let named = |params: &mut CertificateParams| {
            params
                .distinguished_name
                .push(DnType::CommonName, "origin.test");
        };
        let no_names = evaluated(&made(named, &[]), "origin.test").unwrap_err();
        assert_eq!(no_names.word(), "wrong name");
        assert!(
            no_names.to_string().contains("\"origin.test\""),
            "{no_names}"
        );

        let (past, future) = (
            rcgen::date_time_ymd(2020, 1, 2),
            rcgen::date_time_ymd(2090, 1, 2),
        );
        let expired = made(|params| params.not_after = past, names);
        let expired = evaluated(&expired, "origin.test").unwrap_err();
        assert_eq!(
            expired.to_string(),
            "the certificate expired on 2020-01-02 00:00:00 UTC"
        );
        let early = made(|params| params.not_before = future, names);
        let early = evaluated(&early, "origin.test").unwrap_err();
        assert_eq!(early.word(), "not yet valid");
        let for_clients = |params: &mut CertificateParams| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        };
        let flaw = evaluated(&made(for_clients, names), "origin.test");
        assert_eq!(flaw, Err(Flaw::OtherPurpose));
    }

    #[test]
    fn only_the_very_certificate_is_trusted() {
        let (one, other) = (
            made(|_| {}, &["origin.test"]),
            made(|_| {}, &["origin.test"]),
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, one.pem()).unwrap();
        let certificates = Certificates::read(file.path()).unwrap();
        let name = ServerName::try_from("origin.test").unwrap();
        assert!(certificates.are_for(&name));
        let now = UnixTime::now();
        for digest in [&Sha256::digest(other.der())[..], &[], &[0; 32]] {
            assert_eq!(
                certificates.evaluate(digest, &name, now),
                Err(Flaw::Unknown)
            );
        }
        let digest = Sha256::digest(one.der());
        assert_eq!(certificates.evaluate(&digest, &name, now), Ok(()));
        let later = Duration::from_secs(now.as_secs() + 5_000 * 365 * 86_400);
        let later = UnixTime::since_unix_epoch(later);
        assert!(matches!(
            certificates.evaluate(&digest, &name, later),
            Err(Flaw::Expired(_))
        ));
    }
}
