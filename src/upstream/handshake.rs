//! Why a TLS handshake with an origin failed, in words.
//!
//! Pingora keeps the text of the error alone, which is that of rustls: half of it is names of
//! Rust. The tests make each text from the error itself.

use std::error::Error as _;
use std::io;

use rustls::{AlertDescription, CertificateError};

use crate::http::error::{ErrorKind, RequestError};
use crate::upstream::certificates::Flaw;

/// Reads what Pingora says of a handshake.
pub(crate) fn of_pingora(context: &str) -> RequestError {
    let cause = context
        .rsplit_once("tls connect error cause: ")
        .map_or(context, |(_, cause)| cause);
    let cause = cause
        .rsplit_once(", SNI: ")
        .map_or(cause, |(cause, _)| cause);
    of_rustls(cause)
}

/// Reads an error of a handshake of our own.
pub(super) fn of_io(error: &io::Error) -> RequestError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    if let Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) = inner
        && let Some(flaw) = other.0.downcast_ref::<Flaw>()
    {
        return flaw.clone().into();
    }
    of_rustls(&error.to_string())
}

/// Whether the origin shows the certificate of an authority as its own.
pub(crate) fn is_authority(failed: &RequestError) -> bool {
    failed
        .source()
        .is_some_and(|source| source.downcast_ref() == Some(&Flaw::Unknown))
}

/// Reads the text of an error of rustls, or of the socket below.
pub(crate) fn of_rustls(text: &str) -> RequestError {
    if let Some(complaint) = text.strip_prefix("invalid peer certificate: ") {
        return of_certificate(complaint);
    }
    if let Some(alert) = text.strip_prefix("received fatal alert: ") {
        return of_alert(alert);
    }
    if text.starts_with("received corrupt message of type") {
        return protocol(
            "not TLS",
            "what answers on this port does not speak TLS: is http:// meant, or another port?",
        );
    }
    if let Some(why) = text.strip_prefix("peer is incompatible: ") {
        return match identifier(why) {
            "ServerDoesNotSupportTls12Or13"
            | "ServerTlsVersionIsDisabledByOurConfig"
            | "Tls12NotOffered" => protocol(
                "protocol version",
                "the server speaks only versions of TLS before 1.2",
            ),
            why => {
                let why = words(why);
                let detail = format!("the server has no TLS parameters that can be used: {why}");
                protocol("no common parameters", detail)
            }
        };
    }
    if let Some(why) = text.strip_prefix("peer misbehaved: ") {
        let why = words(identifier(why));
        return protocol(
            "not TLS",
            format!("the server breaks the rules of TLS: {why}"),
        );
    }
    if text.contains("tls handshake eof") || text.contains("os error 104") {
        return protocol(
            "closed during the handshake",
            "the server closed the connection during the TLS handshake",
        );
    }
    protocol("handshake", format!("the TLS handshake failed: {text}"))
}

fn protocol(word: impl Into<Box<str>>, detail: impl Into<String>) -> RequestError {
    RequestError::new(ErrorKind::TlsProtocol)
        .told(word)
        .because(detail.into())
}

fn of_alert(alert: &str) -> RequestError {
    let name = words(alert).replace(' ', "_");
    let number = (0..=u8::MAX)
        .find(|number| format!("{:?}", AlertDescription::from(*number)) == alert)
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
    protocol(format!("alert {name}"), detail)
}

fn of_certificate(complaint: &str) -> RequestError {
    let after = |text: &str| -> Option<i64> {
        let (_, rest) = complaint.split_once(text)?;
        rest.split(' ').next()?.parse().ok()
    };
    if let Some(end) = after("certificate is not valid after ") {
        return Flaw::Expired(end).into();
    }
    if let Some(begin) = after("certificate is not valid before ") {
        return Flaw::NotYetValid(begin).into();
    }
    if let Some(names) = complaint.strip_prefix("certificate not valid for name ") {
        return of_names(names).into();
    }
    if complaint.starts_with("certificate does not allow extended key usage") {
        return Flaw::OtherPurpose.into();
    }
    let inner = complaint
        .strip_prefix("Other(OtherError(")
        .map_or(complaint, |inner| inner.trim_end_matches(')'));
    let (word, detail) = match identifier(inner) {
        _ if complaint == CertificateError::UnknownIssuer.to_string() => (
            "unknown issuer",
            "the certificate's issuer is not trusted: put the authority into ca_file, \
             or have the server send its intermediate certificates",
        ),
        "Expired" => ("expired", "the certificate has expired"),
        "NotValidYet" => ("not yet valid", "the certificate is not valid yet"),
        "NotValidForName" => ("wrong name", "the certificate is for another name"),
        "CaUsedAsEndEntity" => return Flaw::Unknown.into(),
        "UnsupportedCertVersion" => (
            "unsupported version",
            "the certificate is not X.509 version 3: make it again with extensions, such as \
             `-addext subjectAltName=DNS:NAME`",
        ),
        "BadSignature" => (
            "bad signature",
            "the certificate is not signed by the authority that it names: the one of that \
             name in ca_file has another key or an RSA key below 2048 bits, or the \
             certificate is damaged",
        ),
        "Revoked" => ("revoked", "the certificate is revoked"),
        "BadEncoding" => ("malformed", "the certificate is damaged: it is not X.509"),
        "UnhandledCriticalExtension" | "UnsupportedCriticalExtension" => (
            "unsupported extension",
            "the certificate has a critical extension that is not known",
        ),
        name if name.starts_with("UnsupportedSignatureAlgorithm") => (
            "unsupported signature",
            "the certificate or its issuer's is signed with an algorithm that is not \
             accepted, such as SHA-1 or MD5, or with a key that is too short",
        ),
        "NameConstraintViolation" => (
            "wrong name",
            "the certificate's authority may not issue for this name (name constraints)",
        ),
        name => {
            let why = words(name);
            return certificate("not accepted")
                .because(format!("the certificate is not accepted: {why}"));
        }
    };
    certificate(word).because(detail)
}

fn certificate(word: &'static str) -> RequestError {
    RequestError::new(ErrorKind::TlsCertificate).told(word)
}

/// `"wanted"; certificate is only valid for DnsName("a") or IpAddress(127.0.0.1)`
fn of_names(text: &str) -> Flaw {
    let (wanted, presented) = text.split_once("; certificate ").unwrap_or((text, ""));
    let names = match presented.strip_prefix("is only valid for ") {
        Some(names) => names
            .replace("DnsName(\"", "")
            .replace("IpAddress(", "")
            .replace("\")", "")
            .replace(')', ""),
        None => "no name, as it has no subjectAltName (its common name does not count)".into(),
    };
    let wanted = wanted.trim_matches('"').to_owned();
    Flaw::OtherNames { names, wanted }
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
