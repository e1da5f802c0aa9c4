//! Lists of revoked certificates (RFC 5280 §5) for `client_crl`.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertRevocationListError, RootCertStore};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::super::files::Base;
use super::super::pem::{Block, Label};
use super::super::reader::Item;
use super::certificate::{Certificate, Facts, date, days, now};
use super::file::PemFile;

/// A list, as it is verified with.
pub(super) struct RevocationList {
    pub(super) der: CertificateRevocationListDer<'static>,
    /// The file that it is in, for metrics and the log.
    pub(super) name: String,
    issuer: Vec<u8>,
    /// Seconds since 1970.
    this_update: i64,
    pub(super) next_update: Option<i64>,
}

/// Reads the lists of one file or several, the newest first: of two of one authority the newer one holds. `None` when
/// something was reported.
pub(super) fn read(
    item: &Item<'_>,
    base: &Base,
    trusted: Option<&[Certificate]>,
) -> Option<Vec<RevocationList>> {
    let files = files(item)?;
    let mut lists = Some(Vec::new());
    for item in &files {
        let found = PemFile::read_lists(item, base).and_then(|file| in_file(&file, trusted));
        match (&mut lists, found) {
            (Some(lists), Some(found)) => lists.extend(found),
            _ => lists = None,
        }
    }
    let mut lists = lists?;
    lists.sort_by_key(|list| std::cmp::Reverse(list.this_update));
    if let Some(trusted) = trusted {
        warn_of_missing(item, trusted, &lists);
    }
    Some(lists)
}

/// The names of the files: one, or a list that is not empty.
pub(super) fn files<'d>(item: &Item<'d>) -> Option<Vec<Item<'d>>> {
    if !item.is_list() {
        return Some(vec![item.clone()]);
    }
    let files = item.list()?;
    if files.is_empty() {
        item.report("is empty", "name a file, or remove the key");
        return None;
    }
    Some(files)
}

fn in_file(file: &PemFile<'_, '_>, trusted: Option<&[Certificate]>) -> Option<Vec<RevocationList>> {
    let mut lists = Some(Vec::new());
    for block in &file.blocks {
        if block.label != Label::RevocationList {
            let message = format!(
                "{}, where a revocation list is expected",
                block.label.noun()
            );
            let advice = "name files of revocation lists (BEGIN X509 CRL) alone";
            file.report_at(block.line, message, advice);
            lists = None;
            continue;
        }
        match (&mut lists, list(file, block, trusted)) {
            (Some(lists), Some(list)) => lists.push(list),
            _ => lists = None,
        }
    }
    lists
}

fn list(
    file: &PemFile<'_, '_>,
    block: &Block,
    trusted: Option<&[Certificate]>,
) -> Option<RevocationList> {
    let parsed = CertificateRevocationList::from_der(&block.content);
    let Some((_, parsed)) = parsed.ok().filter(|(rest, _)| rest.is_empty()) else {
        let advice = "get it again from its authority";
        file.report_at(
            block.line,
            "the revocation list is damaged: it is not X.509",
            advice,
        );
        return None;
    };
    let list = RevocationList {
        der: CertificateRevocationListDer::from(block.content.to_vec()),
        name: file.file_name(),
        issuer: parsed.issuer().as_raw().to_vec(),
        this_update: parsed.last_update().timestamp(),
        next_update: parsed.next_update().map(|time| time.timestamp()),
    };
    if let Some(roots) = trusted.and_then(roots)
        && let Err(VerifierBuilderError::InvalidCrl(error)) = verifier(roots, [list.der.clone()])
    {
        let (message, advice) = unusable(&error);
        file.report_at(block.line, message, advice);
        return None;
    }
    if let Some(end) = list.next_update.filter(|end| *end < now()) {
        let (date, age) = (date(end), days(now().saturating_sub(end)));
        let message = format!(
            "the revocation list expired on {date}, {age} ago: no client with a certificate of its authority gets in"
        );
        file.warn_at(
            block.line,
            message,
            "get the current one from its authority",
        );
    }
    Some(list)
}

/// What to say of a list that the verifier does not take.
fn unusable(error: &CertRevocationListError) -> (&'static str, &'static str) {
    match error {
        CertRevocationListError::UnsupportedDeltaCrl => (
            "a delta list, which has changes alone",
            "name the complete list of the authority",
        ),
        CertRevocationListError::UnsupportedIndirectCrl => (
            "an indirect list, of an issuer that is not the authority of the certificates",
            "name the list of the authority itself",
        ),
        CertRevocationListError::UnsupportedCrlVersion => (
            "a revocation list of version 1, where version 2 is expected",
            "make it with extensions, such as `crl_extensions` with `authorityKeyIdentifier=keyid` in the \
             configuration of `openssl ca`",
        ),
        _ => (
            "the revocation list cannot be used: it has a critical extension or an encoding that is not supported",
            "make it anew; `openssl crl -text` shows what is in it",
        ),
    }
}

/// The authorities as the verifier takes them; none where one cannot be, which was reported.
pub(super) fn roots(trusted: &[Certificate]) -> Option<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.der.clone()).ok()?;
    }
    (!roots.is_empty()).then(|| Arc::new(roots))
}

/// What verifies certificates of these authorities. A list that has expired tells nothing, so that a certificate is
/// refused which it may have revoked; and so is one whose authority has no list, where there are lists.
pub(super) fn verifier(
    roots: Arc<RootCertStore>,
    lists: impl IntoIterator<Item = CertificateRevocationListDer<'static>>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, VerifierBuilderError> {
    let provider = Arc::new(ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(roots, provider)
        .with_crls(lists)
        .enforce_revocation_expiration()
        .build()
}

/// Warns of each authority of which there is no list: its certificates are refused.
fn warn_of_missing(item: &Item<'_>, trusted: &[Certificate], lists: &[RevocationList]) {
    let facts = trusted.iter().filter_map(|it| it.facts.as_ref());
    let missing = facts.filter(|facts| {
        let is_of = |list: &RevocationList| list.issuer == facts.subject;
        facts.is_authority && !lists.iter().any(is_of)
    });
    let missing = missing.count();
    if missing > 0 {
        let message = format!(
            "{missing} of the authorities in `client_ca` {} no revocation list here: certificates that {} issued are refused",
            if missing == 1 { "has" } else { "have" },
            if missing == 1 { "it has" } else { "they have" },
        );
        item.warn(message, "add the list of each authority");
    }
}

impl RevocationList {
    /// Whether a certificate is on the list.
    pub(super) fn has(&self, facts: &Facts) -> bool {
        if facts.issuer != self.issuer {
            return false;
        }
        let parsed = CertificateRevocationList::from_der(&self.der);
        parsed.is_ok_and(|(_, parsed)| {
            let mut revoked = parsed.iter_revoked_certificates();
            revoked.any(|it| it.raw_serial() == facts.serial)
        })
    }
}
