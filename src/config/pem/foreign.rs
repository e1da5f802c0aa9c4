//! Files that hold certificates or keys in another form than PEM: what they are, and how OpenSSL makes PEM
//! of them. Pure.

use std::borrow::Cow;

use super::der::{self, element};
use super::{BYTE_ORDER_MARK, DASHES, PemError, PemProblem, contains, is_base64};
use crate::config::kind::TextKind;
use crate::text::{self, TextProblem};

/// Base64 of `-----BEGIN`.
const BASE64_OF_PEM: &[u8] = b"LS0tLS1CRUdJTi";

/// Whether what the reader of PEM stumbled over is no damage, but another format.
pub(in crate::config) fn is_other_format(bytes: &[u8], error: PemError) -> bool {
    error.problem == PemProblem::Nul && !contains(bytes, DASHES)
}

/// What a file without a PEM block is, and what to do with it. `file` is its name as a shell takes it.
pub(in crate::config) fn identify(bytes: &[u8], file: &str) -> (Cow<'static, str>, String) {
    match identify_format(bytes, file) {
        Some((problem, remedy)) => (problem.into(), remedy),
        None => identify_text(bytes),
    }
}

/// What a file is that has none of the formats of certificates and keys.
fn identify_text(bytes: &[u8]) -> (Cow<'static, str>, String) {
    let advice = "give a file with lines such as `-----BEGIN CERTIFICATE-----` or `-----BEGIN PRIVATE KEY-----`";
    match text::check(bytes) {
        Ok(text) => {
            if let Some((kind, _)) = TextKind::of(text) {
                return (
                    format!("is {kind}, where PEM is expected").into(),
                    advice.to_owned(),
                );
            }
        }
        Err(error) => {
            if let TextProblem::Compressed(_) = error.problem {
                let remedy = error.problem.remedy();
                return (format!("is no PEM file: {error}").into(), remedy);
            }
        }
    }
    let problem = "is not a PEM file: it has no BEGIN line";
    (problem.into(), advice.to_owned())
}

fn identify_format(bytes: &[u8], file: &str) -> Option<(&'static str, String)> {
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let trimmed = text.trim_ascii();
    if trimmed.is_empty() {
        return Some(("is empty", "name a PEM file".to_owned()));
    }
    if bytes.starts_with(b"\xfe\xed\xfe\xed") || bytes.starts_with(b"\xce\xce\xce\xce") {
        let advice = format!(
            "convert it with `keytool -importkeystore -srckeystore {file} -destkeystore NEW.p12 \
             -deststoretype PKCS12`, then with `openssl pkcs12 -in NEW.p12 -nodes -out NEWFILE`"
        );
        return Some(("is a Java key store, where PEM is expected", advice));
    }
    if bytes.first() == Some(&der::SEQUENCE) {
        return Some(identify_der(bytes, file));
    }
    for (start, what) in [
        (
            &b"PuTTY-User-Key-File-"[..],
            "is a key of PuTTY, where PEM is expected",
        ),
        (b"ssh-", "is a public key of SSH, where PEM is expected"),
        (
            b"ecdsa-sha2-",
            "is a public key of SSH, where PEM is expected",
        ),
    ] {
        if trimmed.starts_with(start) {
            let advice =
                "name a PEM file; keys and certificates of TLS are made with `openssl req`";
            return Some((what, advice.to_owned()));
        }
    }
    let digits: Vec<u8> = trimmed
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    if digits.starts_with(super::BASE64_OF_DER) && is_base64(&digits) {
        let advice =
            "add lines such as `-----BEGIN CERTIFICATE-----` and `-----END CERTIFICATE-----`";
        return Some((
            "is base64 without its BEGIN and END lines",
            advice.to_owned(),
        ));
    }
    if digits.starts_with(BASE64_OF_PEM) {
        let advice = format!("decode it with `base64 -d {file} > NEWFILE`");
        return Some((
            "is base64 of a PEM file, as in a Secret of Kubernetes",
            advice,
        ));
    }
    None
}

fn identify_der(bytes: &[u8], file: &str) -> (&'static str, String) {
    // PKCS #12 may have an indefinite length (BER), so only its start is looked at.
    let content = element(bytes).map(|(_, content, _)| content);
    let start = content.or_else(|| bytes.get(2..)).unwrap_or_default();
    if start.starts_with(b"\x02\x01\x03") {
        let advice = format!(
            "convert it with `openssl pkcs12 -in {file} -nodes -out NEWFILE` (with `-legacy` for a file \
             of old programs), and name NEWFILE as `certificate` and as `key`"
        );
        return ("is PKCS #12 (.p12, .pfx), where PEM is expected", advice);
    }
    // OBJECT IDENTIFIER signedData.
    if start.starts_with(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02") {
        let advice = format!(
            "convert it with `openssl pkcs7 -inform DER -in {file} -print_certs -out NEWFILE`"
        );
        return ("is PKCS #7 (.p7b), where PEM is expected", advice);
    }
    // A key begins with the number of its version, a certificate with another sequence.
    if start.first() == Some(&der::INTEGER) {
        let advice = format!("convert it with `openssl pkey -inform DER -in {file} -out NEWFILE`");
        return ("is a key in DER, where PEM is expected", advice);
    }
    let advice = format!("convert it with `openssl x509 -inform DER -in {file} -out NEWFILE`");
    ("is DER, where PEM is expected", advice)
}
