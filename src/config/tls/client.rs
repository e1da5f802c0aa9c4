//! Verification of the certificates that clients show.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::certificate::Validity;

/// Takes a certificate that an authority of `client_ca` signed, and one that stands in `client_ca` itself.
///
/// The second is what `openssl req -x509` makes: a certificate that is its own authority, which a verifier of
/// chains refuses as the certificate of a client. Who has its key could sign any other, so taking it gives
/// nothing away.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    pub(super) authorities: Arc<dyn ClientCertVerifier>,
    pub(super) trusted: Vec<Listed>,
    /// Whether a client has to show a certificate.
    pub(super) is_mandatory: bool,
}

/// A certificate that stands in `client_ca`.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) validity: Validity,
    /// Whether a revocation list has it.
    pub(super) is_revoked: bool,
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.authorities.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory && self.authorities.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authorities.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let mut trusted = self.trusted.iter();
        let listed = trusted.find(|listed| listed.certificate == *end_entity);
        let Some(Listed {
            validity,
            is_revoked,
            ..
        }) = listed
        else {
            return self
                .authorities
                .verify_client_cert(end_entity, intermediates, now);
        };
        // An authority's own dates are not looked at in a chain; those of a client's certificate are.
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if *is_revoked {
            Err(CertificateError::Revoked.into())
        } else if now > validity.not_after {
            Err(CertificateError::Expired.into())
        } else if now < validity.not_before {
            Err(CertificateError::NotValidYet.into())
        } else {
            Ok(ClientCertVerified::assertion())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}
