//! Certificates that are trusted: `client_ca` of a listener, and `ca_file`.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::super::files::Base;
use super::super::reader::Item;
use super::certificate::Certificate;
use super::file::PemFile;

/// Reads a bundle of certificates that are trusted; `None` when something was reported.
pub(super) fn read(item: &Item<'_>, base: &Base) -> Option<Vec<Certificate>> {
    trusted(&PemFile::read(item, base)?)
}

/// The certificates of a bundle, if it can be used.
///
/// An authority that has expired is trusted all the same, as its dates are not looked at when a certificate of
/// it is verified; there is a warning. A bundle in which all have expired is an error: it is forgotten.
fn trusted(file: &PemFile<'_, '_>) -> Option<Vec<Certificate>> {
    let certificates = Certificate::all(file, false)?;
    let outdated = |certificate: &Certificate| {
        let facts = certificate.facts.as_ref();
        facts.and_then(|facts| facts.validity.problem())
    };
    let is_forgotten = certificates
        .iter()
        .all(|certificate| outdated(certificate).is_some());
    let mut usable = !is_forgotten;
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        let line = certificate.line;
        if let Err(error) = store.add(certificate.der.clone()) {
            let message = format!("the certificate cannot be trusted: {}", reason(&error));
            let advice = "take it out of the file, or put the certificate of an authority there";
            file.report_at(line, message, advice);
            usable = false;
        }
        match outdated(certificate) {
            Some((message, remedy)) if is_forgotten => file.report_at(line, message, remedy),
            Some((message, _)) => {
                let advice =
                    "it is still trusted, so take it out of the file where that is not meant";
                file.warn_at(line, message, advice);
            }
            None => {}
        }
        let facts = certificate.facts.as_ref();
        if let Some(message) = facts.and_then(|facts| facts.algorithm.unverifiable()) {
            let advice = "take the certificate out of the file: what it signed is not accepted";
            file.warn_at(line, message, advice);
        }
    }
    usable.then_some(certificates)
}

/// Checks `ca_file`, which Pingora opens once more with its own reader. That one passes over what it does not
/// understand, so that both have to find the same.
pub(in super::super) fn check_ca_file(item: &Item<'_>, base: &Base) -> Option<()> {
    let file = PemFile::read(item, base)?;
    let certificates = trusted(&file)?;
    let mut of_pingora = CertificateDer::pem_slice_iter(&file.bytes).map(Result::ok);
    let lost = certificates
        .iter()
        .find(|certificate| of_pingora.next().flatten().as_ref() != Some(&certificate.der));
    let Some(certificate) = lost else {
        return Some(());
    };
    let advice = format!(
        "write BEGIN and END lines as OpenSSL does, with `tr '\\r' '\\n' < {} | \
         sed 's/^\\xef\\xbb\\xbf//; s/^[ \\t]*//; s/[ \\t]*$//; s/----------BEGIN/-----\\n-----BEGIN/; s/X509 CERT/CERT/' > NEWFILE`",
        file.name()
    );
    let message = "the certificate is not read for the verification of origins: a byte order mark, spaces, another \
                   BEGIN or END line on the same line, or an old name";
    file.report_at(certificate.line, message, advice);
    None
}

/// In words instead of the names of Rust types.
fn reason(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding) => {
            "it is not X.509"
        }
        _ => "it is not X.509 that can be an authority",
    }
}
