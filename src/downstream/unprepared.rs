//! Why a connection did not get to HTTP, in words for the log: what happened, and what to do.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::text::system_message;

/// What came before HTTP when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    ProxyHeader,
    Tls,
}

/// A line for the log. The same for the same cause, so that it tells causes apart: all of it is from here, and
/// nothing from the client.
pub(super) fn line(stage: Stage, error: &io::Error) -> String {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    if let Some(error) = of_tls {
        return tls(error);
    }
    match (stage, error.kind()) {
        (Stage::ProxyHeader, io::ErrorKind::InvalidData) => {
            format!("{error}; have the load balancer send version 1 or 2 of the PROXY protocol")
        }
        (Stage::ProxyHeader, io::ErrorKind::UnexpectedEof) => {
            "closed before its PROXY protocol header was complete; a check of the load balancer \
             sends one too, as with `send-proxy-v2` and `check-send-proxy`"
                .to_owned()
        }
        (
            Stage::Tls,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe,
        ) => "the client closed it during the TLS handshake, as some do that do not accept the \
             certificate; see what the client says"
            .to_owned(),
        _ => system_message(error),
    }
}

/// The line where nothing more came.
pub(super) fn timeout_line(stage: Stage) -> &'static str {
    match stage {
        Stage::ProxyHeader => {
            "its PROXY protocol header, and TLS behind it, did not arrive within \
             timeouts.tls_handshake; have the load balancer send the header at once"
        }
        Stage::Tls => {
            "its TLS handshake did not arrive within timeouts.tls_handshake; this client has the wrong \
             port, or a slow network"
        }
    }
}

fn tls(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::NoCertificatesPresented => {
            "the client sent no certificate; give it one that an authority in client_ca has signed, or \
             remove client_ca from the listener"
                .to_owned()
        }
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => of_parameters(error),
        Error::InvalidMessage(_)
        | Error::PeerMisbehaved(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::DecryptError
        | Error::PeerSentOversizedRecord => {
            "what it sent is not well-formed TLS; this client has the wrong port, or a defect".to_owned()
        }
        _ => "the TLS handshake failed".to_owned(),
    }
}

fn of_alert(alert: AlertDescription) -> String {
    let (complaint, remedy) = match alert {
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => (
            "the client does not accept the certificate of the listener",
            "give the client the authority that signed it, and use a name that is in it",
        ),
        AlertDescription::CertificateExpired => (
            "the client finds the certificate of the listener expired",
            "renew it, or correct the client's clock",
        ),
        AlertDescription::CertificateRevoked => (
            "the client finds the certificate of the listener revoked",
            "renew it",
        ),
        AlertDescription::ProtocolVersion => (
            "the client takes neither TLS 1.2 nor 1.3",
            "have it use one of these",
        ),
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => (
            "the client takes none of the TLS parameters",
            "have it use TLS 1.2 or 1.3 with AES-GCM or ChaCha20",
        ),
        _ => ("the client ended the TLS handshake", "see what it says"),
    };
    format!("{complaint} (TLS alert {}); {remedy}", u8::from(alert))
}

fn of_certificate(error: &CertificateError) -> String {
    let (flaw, remedy) = match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            "is from no authority in client_ca",
            "give the client one that such an authority has signed, or add its authority to client_ca",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("has expired", "renew it")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            "is not valid yet",
            "correct the clock of this host, or issue it again",
        ),
        CertificateError::Revoked => ("is on a list in client_crl", "give the client a new one"),
        CertificateError::UnknownRevocationStatus => (
            "is from an authority of which client_crl has no revocation list",
            "add the list of this authority",
        ),
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => (
            "cannot be checked: the revocation list of its authority has expired",
            "put the current list into client_crl",
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => (
            "is not for clients",
            "issue it again with `extendedKeyUsage=clientAuth`",
        ),
        CertificateError::Other(other)
            if format!("{other:?}").contains("UnsupportedCertVersion") =>
        {
            (
                "is not X.509 version 3",
                "issue it again with extensions, such as `basicConstraints=CA:FALSE`",
            )
        }
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => (
            "is an authority's own (CA:TRUE), as `openssl req -x509` makes them",
            "put it into client_ca itself, or issue one with `basicConstraints=CA:FALSE`",
        ),
        CertificateError::BadEncoding => ("is damaged", "give it another one"),
        _ => ("is not accepted", "check it with `openssl verify`"),
    };
    format!("the certificate of the client {flaw}; {remedy}")
}

fn of_parameters(error: &Error) -> String {
    use rustls::PeerIncompatible::{
        ServerDoesNotSupportTls12Or13, SignatureAlgorithmsExtensionRequired,
        SupportedVersionsExtensionRequired, Tls12NotOffered, Tls12NotOfferedOrEnabled,
        Tls13RequiredForQuic,
    };
    let (flaw, remedy) = match error {
        Error::NoApplicationProtocol => (
            "offers (ALPN) neither http/1.1 nor h2",
            "this client has the wrong port",
        ),
        Error::PeerIncompatible(
            ServerDoesNotSupportTls12Or13
            | SignatureAlgorithmsExtensionRequired
            | SupportedVersionsExtensionRequired
            | Tls12NotOffered
            | Tls12NotOfferedOrEnabled
            | Tls13RequiredForQuic,
        ) => ("speaks neither TLS 1.2 nor 1.3", "have it use one of these"),
        _ => (
            "has no cipher, key exchange or signature of TLS that is served",
            "have it use TLS 1.2 or 1.3 with AES-GCM or ChaCha20, and X25519, P-256 or P-384",
        ),
    };
    format!("the client {flaw}; {remedy}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{InvalidMessage, OtherError, PeerIncompatible, PeerMisbehaved};

    use super::*;

    /// Whether it has no name of Rust, and no number of the system.
    fn is_plain(line: &str) -> bool {
        const WORDS: [&str; 5] = [
            "basicConstraints",
            "extendedKeyUsage",
            "clientAuth",
            "ChaCha20",
            "keyUsage",
        ];
        let line = WORDS
            .iter()
            .fold(line.to_owned(), |line, word| line.replace(word, ""));
        let is_camel = |pair: &[u8]| matches!(pair, [b'a'..=b'z', b'A'..=b'Z']);
        !line.as_bytes().windows(2).any(is_camel) && !line.contains("os error")
    }

    fn of(error: Error) -> String {
        line(
            Stage::Tls,
            &io::Error::new(io::ErrorKind::InvalidData, error),
        )
    }

    #[test]
    fn every_failure_of_tls_is_told_in_words_with_a_remedy() {
        let alerts = (0..=u8::MAX).map(|code| Error::AlertReceived(code.into()));
        let certificates = [
            CertificateError::UnknownIssuer,
            CertificateError::Expired,
            CertificateError::NotValidYet,
            CertificateError::InvalidPurpose,
            CertificateError::BadSignature,
            CertificateError::BadEncoding,
            CertificateError::Revoked,
            CertificateError::Other(OtherError(Arc::new(io::Error::other(
                "UnsupportedCertVersion",
            )))),
            CertificateError::Other(OtherError(Arc::new(io::Error::other("CaUsedAsEndEntity")))),
        ];
        let others = [
            Error::NoCertificatesPresented,
            Error::NoApplicationProtocol,
            Error::DecryptError,
            Error::HandshakeNotComplete,
            Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon),
            Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered),
            Error::PeerMisbehaved(PeerMisbehaved::TooMuchEarlyDataReceived),
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
        ];
        let certificates = certificates.map(Error::InvalidCertificate);
        for error in alerts.chain(certificates).chain(others) {
            let name = format!("{error:?}");
            let line = of(error);
            assert!(is_plain(&line), "{name}: {line}");
            let has_remedy = line.contains("; ") || line == "the TLS handshake failed";
            assert!(has_remedy, "{name}: {line}");
        }
        assert!(
            of(Error::InvalidCertificate(CertificateError::Other(
                OtherError(Arc::new(io::Error::other("UnsupportedCertVersion")))
            )))
            .starts_with("the certificate of the client is not X.509 version 3; ")
        );
    }

    #[test]
    fn ends_of_the_connection_are_told_in_words() {
        let reset = line(Stage::Tls, &io::Error::from_raw_os_error(104));
        assert!(
            reset.starts_with("the client closed it during the TLS handshake"),
            "{reset}"
        );
        let header = line(Stage::ProxyHeader, &io::Error::from_raw_os_error(104));
        assert_eq!(header, "connection reset by peer");
        let eof = line(Stage::ProxyHeader, &io::ErrorKind::UnexpectedEof.into());
        assert!(eof.contains("PROXY protocol header"), "{eof}");
    }
}
