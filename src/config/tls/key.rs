//! The private key of a listener: every form that OpenSSL writes, and what to do about those that cannot be
//! served with.

use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::sign::SigningKey;

use super::super::pem::{Block, Label};
use super::algorithm::Algorithm;
use super::file::PemFile;

/// Makes a key and a certificate for it; the name is to be replaced.
const NEW_KEY: &str = "make a new key and a certificate for it, for example with `openssl req -x509 -newkey rsa:2048 \
    -nodes -keyout NEWKEY -days 365 -subj /CN=proxy.example.org \
    -addext subjectAltName=DNS:proxy.example.org -out NEWFILE`";

/// The one private key of a file; `None` when it was reported. Certificates pass where the file is also theirs.
pub(super) fn private_key(
    file: &PemFile<'_, '_>,
    with_certificates: bool,
) -> Option<Arc<dyn SigningKey>> {
    let mut keys = file.private_keys();
    let Some(block) = keys.next() else {
        report_none(file);
        return None;
    };
    if let Some(second) = keys.next() {
        let message = format!(
            "a second private key; the first begins on line {}",
            block.line
        );
        file.report_at(second.line, message, "keep the one of the certificate");
        return None;
    }
    let belongs = |other: &Block| match other.label {
        Label::Certificate => with_certificates,
        Label::EcParameters => block.label == Label::EcPrivateKey,
        label => label.is_private_key(),
    };
    let unexpected: Vec<_> = file.blocks.iter().filter(|block| !belongs(block)).collect();
    for block in &unexpected {
        file.report_unexpected(block);
    }
    if !unexpected.is_empty() {
        return None;
    }
    let key = decode(file, block)?;
    let algorithm = Algorithm::of_private_key(&block.content);
    if algorithm == Algorithm::EcUnnamed {
        let file_name = file.name();
        let advice = format!(
            "write its name with `openssl ec -in {file_name} -param_enc named_curve -out NEWFILE`, \
             and make a certificate for it anew"
        );
        let message = "an EC key with the numbers of its curve, where its name is expected";
        file.report_at(block.line, message, advice);
        return None;
    }
    if let Some(message) = algorithm.unusable() {
        file.report_at(block.line, message, NEW_KEY);
        return None;
    }
    match any_supported_type(&key) {
        Ok(signing) => Some(signing),
        Err(_) => {
            report_unusable(file, block, algorithm);
            None
        }
    }
}

/// Reports a key that the crypto provider does not take, for a reason that it does not tell.
fn report_unusable(file: &PemFile<'_, '_>, block: &Block, algorithm: Algorithm) {
    let (message, advice) = match algorithm {
        Algorithm::Rsa(_) => (
            "the RSA key cannot be used: its exponent is 3, it has more than two primes, or its parts do not fit",
            NEW_KEY.to_owned(),
        ),
        Algorithm::Ec(_) => (
            "the EC key cannot be used: its public half is missing or does not fit, or its number is not as long as the curve wants",
            format!(
                "write it anew with `openssl ec -in {} -conv_form uncompressed -out NEWFILE`",
                file.name()
            ),
        ),
        _ => (
            "a key of an unknown kind, where RSA, ECDSA and Ed25519 are supported",
            NEW_KEY.to_owned(),
        ),
    };
    file.report_at(block.line, message, advice);
}

/// Reports a file without a private key.
fn report_none(file: &PemFile<'_, '_>) {
    let Some(block) = file.blocks.first() else {
        return;
    };
    let advice = match block.label {
        Label::EcParameters => format!(
            "make a key with `openssl ecparam -genkey -in {} -out NEWFILE`, and a certificate for it",
            file.name()
        ),
        _ => "name the file of the private key (BEGIN PRIVATE KEY)".to_owned(),
    };
    let message = format!("{}, where a private key is expected", block.label.noun());
    file.report_at(block.line, message, advice);
}

/// The key in a block, if it is not encrypted and of a form that is read.
fn decode(file: &PemFile<'_, '_>, block: &Block) -> Option<PrivateKeyDer<'static>> {
    let name = file.name();
    if block.is_encrypted || block.label == Label::EncryptedPrivateKey {
        let advice = format!(
            "decrypt it with `openssl pkey -in {name} -out NEWFILE`, then `chmod 600 NEWFILE`"
        );
        file.report_at(block.line, "the private key is encrypted", advice);
        return None;
    }
    let content = block.content.to_vec();
    match block.label {
        Label::PrivateKey => Some(PrivatePkcs8KeyDer::from(content).into()),
        Label::RsaPrivateKey => Some(PrivatePkcs1KeyDer::from(content).into()),
        Label::EcPrivateKey => Some(PrivateSec1KeyDer::from(content).into()),
        Label::OpensshPrivateKey => {
            let advice = format!(
                "convert a copy of it with `ssh-keygen -p -N '' -m PKCS8 -f COPY`, where COPY is a copy of {name}"
            );
            file.report_at(
                block.line,
                "a key in the format of OpenSSH, which is not read",
                advice,
            );
            None
        }
        _ => {
            let message = "a key of DSA, where RSA, ECDSA and Ed25519 are supported";
            file.report_at(block.line, message, NEW_KEY);
            None
        }
    }
}
