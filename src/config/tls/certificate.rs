//! What a certificate says, and what clients will make of it.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::super::pem::{Block, Label};
use super::algorithm::Algorithm;
use super::file::PemFile;

/// How long before the end of a certificate there are warnings, in seconds: 21 days.
pub const EXPIRY_WARNING: i64 = 21 * 86_400;

/// How a certificate for a listener is made, to be typed once the name is replaced.
const SELF_SIGNED: &str = "-days 365 -subj /CN=proxy.example.org -addext subjectAltName=DNS:proxy.example.org -out NEWFILE";

/// A certificate with its place in a file.
pub(super) struct Certificate {
    pub(super) der: CertificateDer<'static>,
    pub(super) line: usize,
    /// `None` where the parser does not read it; the verifier may read it all the same.
    pub(super) facts: Option<Facts>,
}

/// What a certificate says of itself.
pub(super) struct Facts {
    /// Counted from 1, as people do.
    pub(super) version: u32,
    pub(super) validity: Validity,
    pub(super) subject: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    /// As it is encoded.
    pub(super) serial: Vec<u8>,
    /// Whether it may sign others; absent in version 1.
    pub(super) is_authority: bool,
    has_names: bool,
    pub(super) dns_names: Vec<String>,
    pub(super) common_name: Option<String>,
    /// Whether it is for servers, where it says what it is for.
    for_servers: bool,
    /// The signature algorithm, where no client takes it any more.
    weak_signature: Option<&'static str>,
    pub(super) algorithm: Algorithm,
}

/// Seconds since 1970, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

impl Certificate {
    /// The certificates of a file; `None` when one of its blocks is something else, which is reported. A private
    /// key passes where the file is also that of the key.
    pub(super) fn all(file: &PemFile<'_, '_>, with_key: bool) -> Option<Vec<Certificate>> {
        let key = file.private_keys().next();
        if let Some(block) = key
            && !file.has(Label::Certificate)
        {
            let advice = "name the file of the certificate (BEGIN CERTIFICATE)";
            let message = "a private key, where a certificate is expected";
            file.report_at(block.line, message, advice);
            return None;
        }
        let belongs = |block: &Block| match block.label {
            Label::Certificate => true,
            Label::EcParameters => with_key && key.is_some(),
            label => with_key && label.is_private_key(),
        };
        let unexpected: Vec<_> = file.blocks.iter().filter(|block| !belongs(block)).collect();
        for block in &unexpected {
            file.report_unexpected(block);
        }
        if !unexpected.is_empty() {
            return None;
        }
        let certificates = file
            .blocks
            .iter()
            .filter(|block| block.label == Label::Certificate)
            .map(|block| Certificate {
                der: CertificateDer::from(block.content.to_vec()),
                line: block.line,
                facts: Facts::read(&block.content),
            });
        Some(certificates.collect())
    }
}

impl Facts {
    fn read(der: &[u8]) -> Option<Facts> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let constraints = certificate.basic_constraints().ok().flatten();
        let names = certificate.subject_alternative_name().ok().flatten();
        let usage = certificate.extended_key_usage().ok().flatten();
        let validity = certificate.validity();
        let alternatives = names.iter().flat_map(|names| &names.value.general_names);
        let dns_names = alternatives.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        let common_name = certificate.subject().iter_common_name().next();
        Some(Facts {
            dns_names: dns_names.collect(),
            common_name: common_name.and_then(|name| Some(name.as_str().ok()?.to_owned())),
            version: certificate.version().0.saturating_add(1),
            validity: Validity {
                not_before: validity.not_before.timestamp(),
                not_after: validity.not_after.timestamp(),
            },
            subject: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            serial: certificate.raw_serial().to_vec(),
            is_authority: constraints.is_some_and(|constraints| constraints.value.ca),
            has_names: names.is_some_and(|names| !names.value.general_names.is_empty()),
            for_servers: usage.is_none_or(|usage| usage.value.server_auth || usage.value.any),
            weak_signature: weak_signature(
                &certificate.signature_algorithm.algorithm.to_id_string(),
            ),
            algorithm: Algorithm::of_public_key(certificate.public_key().raw),
        })
    }

    /// Whether it names itself as its issuer, as roots do.
    pub(super) fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// Whether `issuer` may have signed it, by its name.
    fn names_as_issuer(&self, issuer: &Facts) -> bool {
        self.issuer == issuer.subject
    }
}

impl Validity {
    /// Why it does not hold now, with a remedy; `None` when it does.
    pub(super) fn problem(self) -> Option<(String, &'static str)> {
        self.problem_at(now())
    }

    /// That it will soon not hold, with a remedy; `None` while it holds for longer.
    fn soon(self) -> Option<(String, &'static str)> {
        let left = self.not_after.saturating_sub(now());
        if left > EXPIRY_WARNING {
            return None;
        }
        let (date, left) = (date(self.not_after), days(left));
        let message = format!("the certificate expires on {date}, in {left}");
        Some((message, "renew it"))
    }

    fn problem_at(self, now: i64) -> Option<(String, &'static str)> {
        if now > self.not_after {
            let (date, age) = (
                date(self.not_after),
                days(now.saturating_sub(self.not_after)),
            );
            let message = format!("the certificate expired on {date}, {age} ago");
            return Some((message, "renew it, and name the file of the new one"));
        }
        if now < self.not_before {
            let (date, now) = (date(self.not_before), self::date(now));
            let message =
                format!("the certificate is not valid before {date}, and it is {now} now");
            return Some((
                message,
                "correct the clock of this machine, or make the certificate anew",
            ));
        }
        None
    }
}

/// Checks the certificates of a listener, the first of which belongs to its key. All of it is only warned about, dates
/// too: the other listeners and certificates are served, and a reload of rules does not wait for a renewal.
pub(super) fn check_chain(file: &PemFile<'_, '_>, chain: &[Certificate]) {
    let Some((leaf, others)) = chain.split_first() else {
        return;
    };
    if let Some(facts) = &leaf.facts {
        let problem = facts.validity.problem();
        if let Some((message, remedy)) = problem.or_else(|| facts.validity.soon()) {
            file.warn_at(leaf.line, message, remedy);
        }
        warn_of_leaf(file, leaf.line, facts);
    }
    let mut issued = leaf.facts.as_ref();
    for certificate in others {
        let Some(facts) = &certificate.facts else {
            continue;
        };
        if let Some((message, _)) = facts.validity.problem() {
            let advice = "take it out of the file, or name the current chain of the authority";
            file.warn_at(certificate.line, message, advice);
        }
        if issued.is_some_and(|issued| !issued.names_as_issuer(facts)) {
            file.warn_at(
                certificate.line,
                "not the issuer of the certificate before it, so some clients refuse the chain",
                "put each certificate before that of its issuer",
            );
        }
        issued = Some(facts);
    }
}

/// What makes clients refuse a certificate that can be served.
fn warn_of_leaf(file: &PemFile<'_, '_>, line: usize, facts: &Facts) {
    if !facts.has_names {
        file.warn_at(
            line,
            "the certificate has no subjectAltName, so clients refuse it",
            "make one that has it, for example with \
             `openssl req -x509 -key KEYFILE -days 365 -subj /CN=proxy.example.org \
             -addext subjectAltName=DNS:proxy.example.org -out NEWFILE`",
        );
    }
    if facts.is_authority {
        file.warn_at(
            line,
            "the certificate is that of an authority (CA:TRUE), so some clients refuse it for a server",
            "make one with `-addext basicConstraints=critical,CA:FALSE`, or let the authority sign one",
        );
    }
    if !facts.for_servers {
        file.warn_at(
            line,
            "the certificate is not for servers, so clients refuse it",
            "make one with extendedKeyUsage=serverAuth",
        );
    }
    if let Some(algorithm) = facts.weak_signature {
        file.warn_at(
            line,
            format!("the certificate is signed with {algorithm}, which clients refuse"),
            "renew it with SHA-256",
        );
    }
}

/// Reports a first certificate that TLS cannot be served with, whatever its key. Whether it can.
pub(super) fn check_leaf(file: &PemFile<'_, '_>, leaf: &Certificate) -> bool {
    if let Some(facts) = &leaf.facts
        && facts.version < 3
    {
        let message = format!(
            "the certificate is X.509 version {}, where version 3 is expected",
            facts.version
        );
        let advice = if facts.is_self_issued() {
            format!(
                "make one of version 3 for the same key with `openssl req -x509 -key KEYFILE {SELF_SIGNED}`"
            )
        } else {
            "sign the request again with extensions, which make it version 3: \
             `echo subjectAltName=DNS:proxy.example.org > EXTENSIONS` and `openssl x509 -req -in REQUEST -CA CA.pem \
             -CAkey CA.key -CAcreateserial -days 365 -extfile EXTENSIONS -out NEWFILE`"
                .to_owned()
        };
        file.report_at(leaf.line, message, advice);
        return false;
    }
    if ParsedCertificate::try_from(&leaf.der).is_err() {
        let (message, advice) = match leaf.facts {
            Some(_) => (
                "the certificate has a critical extension or an encoding that is not supported",
                "make it anew; `openssl x509 -text` shows its extensions",
            ),
            None => (
                "the certificate is damaged: it is not X.509",
                "make it anew, or copy the file again",
            ),
        };
        file.report_at(leaf.line, message, advice);
        return false;
    }
    true
}

/// The old algorithms, by their object identifiers.
fn weak_signature(id: &str) -> Option<&'static str> {
    match id {
        "1.2.840.113549.1.1.4" => Some("MD5"),
        "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" | "1.3.14.3.2.29" => Some("SHA-1"),
        _ => None,
    }
}

pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

pub(super) fn date(seconds: i64) -> String {
    match DateTime::<Utc>::from_timestamp(seconds, 0) {
        Some(date) => date.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        None => "a date that is out of range".to_owned(),
    }
}

pub(super) fn days(seconds: i64) -> String {
    match seconds / 86_400 {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}
