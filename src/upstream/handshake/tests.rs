use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{Error, InvalidMessage, OtherError, PeerIncompatible, PeerMisbehaved};

use super::*;

/// As webpki's errors, which rustls shows by their names.
#[derive(Debug, thiserror::Error)]
#[error("not shown")]
enum Webpki {
    CaUsedAsEndEntity,
    UnsupportedCertVersion,
    MaximumPathDepthExceeded,
}

fn other(error: Webpki) -> Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

/// The kind, the word and the detail, from the text that Pingora makes of an error.
fn read(error: &dyn std::fmt::Display) -> (ErrorKind, String, String) {
    let context = format!(
        "TLS connect() failed:  TLSHandshakeFailure context: tls connect error cause: {error}, SNI: a.test"
    );
    let failed = of_pingora(&context);
    let word = failed.word().unwrap().to_owned();
    (failed.kind(), word, failed.detail().unwrap())
}

#[test]
fn certificates() {
    let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let cases: Vec<(Error, &str, &str)> = vec![
        (
            CertificateError::ExpiredContext {
                time: time(1_700_000_000),
                not_after: time(1_600_000_000),
            }
            .into(),
            "expired",
            "the certificate expired on 2020-09-13 12:26:40 UTC",
        ),
        (CertificateError::Expired.into(), "expired", "has expired"),
        (
            CertificateError::NotValidYetContext {
                time: time(1_600_000_000),
                not_before: time(1_700_000_000),
            }
            .into(),
            "not yet valid",
            "not valid before 2023-11-14 22:13:20 UTC",
        ),
        (
            CertificateError::NotValidForNameContext {
                expected: ServerName::try_from("a.test").unwrap(),
                presented: vec![
                    "DnsName(\"b.test\")".into(),
                    "DnsName(\"*.c.test\")".into(),
                    "IpAddress(127.0.0.1)".into(),
                ],
            }
            .into(),
            "wrong name",
            "the certificate is for b.test, *.c.test or 127.0.0.1, and not for a.test",
        ),
        (
            CertificateError::NotValidForNameContext {
                expected: ServerName::try_from("a.test").unwrap(),
                presented: vec![],
            }
            .into(),
            "wrong name",
            "has no subjectAltName",
        ),
        (
            CertificateError::UnknownIssuer.into(),
            "unknown issuer",
            "ca_file",
        ),
        (
            CertificateError::BadSignature.into(),
            "bad signature",
            "another key",
        ),
        (CertificateError::Revoked.into(), "revoked", "is revoked"),
        (
            CertificateError::BadEncoding.into(),
            "malformed",
            "not X.509",
        ),
        (
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: vec![1, 2],
                supported_algorithms: vec![],
            }
            .into(),
            "unsupported signature",
            "SHA-1",
        ),
        (
            CertificateError::InvalidPurpose.into(),
            "not accepted",
            "invalid purpose",
        ),
        (
            CertificateError::InvalidPurposeContext {
                required: rustls::ExtendedKeyPurpose::ServerAuth,
                presented: vec![rustls::ExtendedKeyPurpose::ClientAuth],
            }
            .into(),
            "wrong purpose",
            "not for servers",
        ),
        (
            other(Webpki::CaUsedAsEndEntity),
            "self-signed",
            "openssl req -x509",
        ),
        (
            other(Webpki::UnsupportedCertVersion),
            "unsupported version",
            "version 3",
        ),
        (
            other(Webpki::MaximumPathDepthExceeded),
            "not accepted",
            "the certificate is not accepted: maximum path depth exceeded",
        ),
    ];
    for (error, word, part) in cases {
        let (kind, read_word, detail) = read(&error);
        assert_eq!(
            (kind, read_word.as_str()),
            (ErrorKind::TlsCertificate, word),
            "{error}"
        );
        assert!(detail.contains(part), "{error}: {detail}");
        assert!(!detail.contains("Other("), "{detail}");
    }
    let text = other(Webpki::CaUsedAsEndEntity).to_string();
    assert!(is_authority(&of_rustls(&text)));
}

#[test]
fn other_failures() {
    let cases: Vec<(Error, &str, &str)> = vec![
        (
            Error::AlertReceived(AlertDescription::ProtocolVersion),
            "alert protocol_version",
            "protocol_version (70): it speaks none of TLS 1.2 and 1.3",
        ),
        (
            Error::AlertReceived(AlertDescription::HandshakeFailure),
            "alert handshake_failure",
            "handshake_failure (40)",
        ),
        (
            Error::AlertReceived(AlertDescription::UnknownCA),
            "alert unknown_ca",
            "unknown_ca (48)",
        ),
        (
            Error::AlertReceived(AlertDescription::CertificateRequired),
            "alert certificate_required",
            "certificate_required (116): it wants a client certificate",
        ),
        (
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            "not TLS",
            "does not speak TLS",
        ),
        (
            Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
            "protocol version",
            "before 1.2",
        ),
        (
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            "no common parameters",
            "no cipher suites in common",
        ),
        (
            Error::PeerMisbehaved(PeerMisbehaved::TooMuchEarlyDataReceived),
            "not TLS",
            "too much early data received",
        ),
        (
            Error::DecryptError,
            "handshake",
            "cannot decrypt peer's message",
        ),
    ];
    for (error, word, part) in cases {
        let (kind, read_word, detail) = read(&error);
        assert_eq!(
            (kind, read_word.as_str()),
            (ErrorKind::TlsProtocol, word),
            "{error}"
        );
        assert!(detail.contains(part), "{error}: {detail}");
    }
    for error in [
        "tls handshake eof",
        "Connection reset by peer (os error 104)",
    ] {
        assert_eq!(read(&error).1, "closed during the handshake");
    }
}

#[test]
fn every_alert_has_its_number() {
    for number in 0..=u8::MAX {
        let alert = AlertDescription::from(number);
        let (_, word, detail) = read(&Error::AlertReceived(alert));
        assert!(detail.contains(&format!("({number})")), "{detail}");
        assert!(
            word.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || " _()".contains(c)),
            "{word}"
        );
    }
}
