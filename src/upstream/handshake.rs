//! Why a TLS handshake with an origin failed, in words.
//!
//! Pingora keeps the text of the error alone, which is that of rustls: half of it is names of
//! Rust. The tests make each text from the error itself.

use std::borrow::Cow;
use std::io;

use rustls::{AlertDescription, CertificateError};

use crate::http::error::{ErrorKind, RequestError};
use crate::upstream::certificates::Flaw;

/// A failed handshake.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) kind: ErrorKind,
    /// For the client.
    pub(crate) word: Cow<'static, str>,
    /// For the log.
    pub(crate) detail: String,
    /// Whether the origin shows the certificate of an authority as its own.
    pub(crate) is_authority: bool,
}

impl Failed {
    fn new(kind: ErrorKind, word: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            word: word.into(),
            detail: detail.into(),
            is_authority: false,
        }
    }

    fn certificate(word: &'static str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::TlsCertificate, word, detail)
    }

    fn flaw(flaw: &Flaw) -> Self {
        Self::certificate(flaw.word(), flaw.to_string())
    }

    fn protocol(word: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::TlsProtocol, word, detail)
    }

    /// Reads what Pingora says of a handshake.
    pub(crate) fn of_pingora(context: &str) -> Self {
        let cause = context
            .rsplit_once("tls connect error cause: ")
            .map_or(context, |(_, cause)| cause);
        let cause = cause
            .rsplit_once(", SNI: ")
            .map_or(cause, |(cause, _)| cause);
        Self::of_rustls(cause)
    }

    /// Reads an error of a handshake of our own.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        if let Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) = inner
            && let Some(flaw) = other.0.downcast_ref::<Flaw>()
        {
            return Self::flaw(flaw);
        }
        Self::of_rustls(&error.to_string())
    }

    /// Reads the text of an error of rustls, or of the socket below.
    pub(crate) fn of_rustls(text: &str) -> Self {
        if let Some(complaint) = text.strip_prefix("invalid peer certificate: ") {
            return Self::of_certificate(complaint);
        }
        if let Some(alert) = text.strip_prefix("received fatal alert: ") {
            return Self::of_alert(alert);
        }
        if text.starts_with("received corrupt message of type") {
            return Self::protocol(
                "not TLS",
                "what answers on this port does not speak TLS: is http:// meant, or another port?",
            );
        }
        if let Some(why) = text.strip_prefix("peer is incompatible: ") {
            return match identifier(why) {
                "ServerDoesNotSupportTls12Or13"
                | "ServerTlsVersionIsDisabledByOurConfig"
                | "Tls12NotOffered" => Self::protocol(
                    "protocol version",
                    "the server speaks only versions of TLS before 1.2",
                ),
                why => Self::protocol(
                    "no common parameters",
                    format!(
                        "the server has no TLS parameters that can be used: {}",
                        words(why)
                    ),
                ),
            };
        }
        if let Some(why) = text.strip_prefix("peer misbehaved: ") {
            let why = words(identifier(why));
            return Self::protocol(
                "not TLS",
                format!("the server breaks the rules of TLS: {why}"),
            );
        }
        if text.contains("tls handshake eof") || text.contains("os error 104") {
            return Self::protocol(
                "closed during the handshake",
                "the server closed the connection during the TLS handshake",
            );
        }
        Self::protocol("handshake", format!("the TLS handshake failed: {text}"))
    }

    fn of_alert(alert: &str) -> Self {
        let (name, number) = match (0..=u8::MAX)
            .find(|number| format!("{:?}", AlertDescription::from(*number)) == alert)
        {
            Some(number) => (words(alert).replace(' ', "_"), Some(number)),
            None => (words(identifier(alert)), None),
        };
        let number = number
            .map(|number| format!(" ({number})"))
            .unwrap_or_default();
        let hint = match name.as_str() {
            "protocol_version" => ": it speaks none of TLS 1.2 and 1.3",
            "handshake_failure" | "insufficient_security" => {
                ": it has no cipher in common, or wants a client certificate"
            }
            "certificate_required" | "bad_certificate" | "unknown_ca" | "access_denied" => {
                ": it wants a client certificate, and Tollgate has none: use CONNECT"
            }
            "unrecognised_name" | "unrecognized_name" => ": it does not serve this name",
            _ => "",
        };
        let detail = format!("the server refused with the TLS alert {name}{number}{hint}");
        Self::protocol(format!("alert {name}"), detail)
    }

    fn of_certificate(complaint: &str) -> Self {
        let after = |text: &str| -> Option<i64> {
            let (_, rest) = complaint.split_once(text)?;
            rest.split(' ').next()?.parse().ok()
        };
        if let Some(end) = after("certificate is not valid after ") {
            return Self::flaw(&Flaw::Expired(end));
        }
        if let Some(begin) = after("certificate is not valid before ") {
            return Self::flaw(&Flaw::NotYetValid(begin));
        }
        if let Some(names) = complaint.strip_prefix("certificate not valid for name ") {
            return Self::of_names(names);
        }
        if complaint.starts_with("certificate does not allow extended key usage") {
            return Self::flaw(&Flaw::OtherPurpose);
        }
        let is = |error: CertificateError| complaint == error.to_string();
        if is(CertificateError::UnknownIssuer) {
            return Self::certificate(
                "unknown issuer",
                "the certificate's issuer is not trusted: put the authority into ca_file, \
                 or have the server send its intermediate certificates",
            );
        }
        let inner = complaint
            .strip_prefix("Other(OtherError(")
            .map_or(complaint, |inner| inner.trim_end_matches(')'));
        match identifier(inner) {
            "Expired" => Self::certificate("expired", "the certificate has expired"),
            "NotValidYet" => Self::certificate("not yet valid", "the certificate is not valid yet"),
            "NotValidForName" => {
                Self::certificate("wrong name", "the certificate is for another name")
            }
            "CaUsedAsEndEntity" => Self {
                is_authority: true,
                ..Self::flaw(&Flaw::Unknown)
            },
            "UnsupportedCertVersion" => Self::certificate(
                "unsupported version",
                "the certificate is not X.509 version 3: make it again with extensions, such as \
                 `-addext subjectAltName=DNS:NAME`",
            ),
            "BadSignature" => Self::certificate(
                "bad signature",
                "the certificate is not signed by the authority that it names: the one of that \
                 name in ca_file has another key or an RSA key below 2048 bits, or the \
                 certificate is damaged",
            ),
            "Revoked" => Self::certificate("revoked", "the certificate is revoked"),
            "BadEncoding" => {
                Self::certificate("malformed", "the certificate is damaged: it is not X.509")
            }
            "UnhandledCriticalExtension" | "UnsupportedCriticalExtension" => Self::certificate(
                "unsupported extension",
                "the certificate has a critical extension that is not known",
            ),
            name if name.starts_with("UnsupportedSignatureAlgorithm") => Self::certificate(
                "unsupported signature",
                "the certificate or its issuer's is signed with an algorithm that is not \
                 accepted, such as SHA-1 or MD5, or with a key that is too short",
            ),
            "NameConstraintViolation" => Self::certificate(
                "wrong name",
                "the certificate's authority may not issue for this name (name constraints)",
            ),
            name => Self::certificate(
                "not accepted",
                format!("the certificate is not accepted: {}", words(name)),
            ),
        }
    }

    /// `"wanted"; certificate is only valid for DnsName("a") or IpAddress(127.0.0.1)`
    fn of_names(text: &str) -> Self {
        let (wanted, presented) = text.split_once("; certificate ").unwrap_or((text, ""));
        let wanted = wanted.trim_matches('"').to_owned();
        let names = match presented.strip_prefix("is only valid for ") {
            Some(names) => names
                .replace("DnsName(\"", "")
                .replace("IpAddress(", "")
                .replace("\")", "")
                .replace(')', ""),
            None => "no name, as it has no subjectAltName (its common name does not count)".into(),
        };
        Self::flaw(&Flaw::OtherNames { names, wanted })
    }
}

impl From<Failed> for RequestError {
    fn from(failed: Failed) -> Self {
        Self::new(failed.kind)
            .because(failed.detail)
            .told(failed.word)
    }
}

/// The name of Rust that a text begins with.
fn identifier(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

/// A name of Rust as words: `UnknownCA` is "unknown ca".
pub(crate) fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    let mut before_is_lower = false;
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && before_is_lower {
            words.push(' ');
        }
        before_is_lower = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        words.push(letter.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests;
