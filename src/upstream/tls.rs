//! TLS to a server of our own dial. Requests that Pingora carries have Pingora's TLS; tunnels that begin with a
//! request to an https origin have this one, with the same authorities and the same errors.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pingora_core::tls::{load_ca_file_into_store, load_platform_certs_incl_env_into_store};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::certificates::{Certificates, Flaw};
use super::handshake;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::target::Host;
use crate::tunnel::{MaybeTls, Tls};

/// A connection to a server, as a tunnel takes it: by TCP, or another one. With TLS, the certificate of the server is
/// verified.
pub type UpstreamStream = Either<MaybeTls<TlsStream<TcpStream>>, Box<OtherStream>>;

/// A connection to a socket of this machine, or TLS to a server inside of TLS to a parent.
pub type OtherStream = Either<UnixStream, Box<Tls<TlsStream<Box<Tls<TlsStream<TcpStream>>>>>>>;

/// The name of HTTP/2 in ALPN (RFC 9113 §3.2).
const HTTP2: &[u8] = b"h2";

/// Makes TLS connections to servers, with their certificates verified.
pub struct OriginTls {
    connector: TlsConnector,
    /// The same, offering HTTP/2 as well.
    with_http2: TlsConnector,
    handshake_timeout: Duration,
}

impl OriginTls {
    /// Trusts the authorities of `ca_file`, or those of the system, and `certificates` themselves.
    ///
    /// # Errors
    /// The authorities cannot be read.
    pub fn new(
        ca_file: Option<&Path>,
        certificates: &Certificates,
        handshake_timeout: Duration,
    ) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        match ca_file {
            Some(path) => load_ca_file_into_store(path, &mut roots)
                .with_context(|| format!("cannot read ca_file {}", path.display()))?,
            None => load_platform_certs_incl_env_into_store(&mut roots)
                .context("cannot read the certificate authorities of this system")?,
        }
        let provider = Arc::new(ring::default_provider());
        // Without authorities no chain verifies; rustls takes that for a mistake.
        let chain = (!roots.is_empty()).then(|| {
            WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build()
        });
        let verifier = Verifier {
            chain: chain.transpose()?,
            certificates: certificates.clone(),
            algorithms: provider.signature_verification_algorithms,
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut with_http2 = config.clone();
        with_http2.alpn_protocols.insert(0, HTTP2.to_vec());
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            with_http2: TlsConnector::from(Arc::new(with_http2)),
            handshake_timeout,
        })
    }

    /// Begins TLS on `stream` to a server of that name.
    ///
    /// # Errors
    /// The handshake failed, the certificate is not accepted, or the time for it is over.
    pub async fn connect(
        &self,
        stream: TcpStream,
        host: &Host,
    ) -> Result<UpstreamStream, RequestError> {
        let stream = self.handshake(stream, host).await?;
        Ok(Either::Left(MaybeTls::Right(Box::new(Tls(stream)))))
    }

    /// The same through a tunnel of a parent.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_through(
        &self,
        stream: MaybeTls<TlsStream<TcpStream>>,
        host: &Host,
    ) -> Result<UpstreamStream, RequestError> {
        match stream {
            Either::Left(stream) => self.connect(stream, host).await,
            Either::Right(stream) => {
                let stream = self.handshake(stream, host).await?;
                let inner = OtherStream::Right(Box::new(Tls(stream)));
                Ok(Either::Right(Box::new(inner)))
            }
        }
    }

    /// Begins TLS on any stream.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        host: &Host,
    ) -> Result<TlsStream<S>, RequestError> {
        self.begin(&self.connector, stream, host).await
    }

    /// Begins TLS, offering HTTP/2 beside HTTP/1.1, and says whether the server has chosen it.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_with_http2(
        &self,
        stream: TcpStream,
        host: &Host,
    ) -> Result<(UpstreamStream, bool), RequestError> {
        let stream = self.begin(&self.with_http2, stream, host).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
        let stream = Either::Left(MaybeTls::Right(Box::new(Tls(stream))));
        Ok((stream, is_http2))
    }

    async fn begin<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connector: &TlsConnector,
        stream: S,
        host: &Host,
    ) -> Result<TlsStream<S>, RequestError> {
        let handshake = connector.connect(server_name(host)?, stream);
        match timeout(self.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(handshake::of_io(&error)),
            Err(_elapsed) => Err(RequestError::new(ErrorKind::ConnectTimeout)
                .because("not connected within timeouts.connect and timeouts.tls_handshake")),
        }
    }
}

/// The name for which the certificate of a server has to be.
///
/// # Errors
/// [`ErrorKind::TlsCertificate`] for a name that no certificate can have.
pub fn server_name(host: &Host) -> Result<ServerName<'static>, RequestError> {
    let name = match host {
        Host::Name(name) => name.to_string(),
        Host::Ip(address) => address.to_string(),
    };
    ServerName::try_from(name).map_err(|_invalid| {
        RequestError::new(ErrorKind::TlsCertificate)
            .because("no certificate can be for a name like this")
            .told("wrong name")
    })
}

/// Verifies a certificate as a chain that ends at an authority, or as the very one that `ca_file` names.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    certificates: Certificates,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let refused = |flaw| Error::from(CertificateError::Other(OtherError(Arc::new(flaw))));
        let as_named = || {
            let digest = Sha256::digest(shown);
            self.certificates.evaluate(&digest, name, now)
        };
        if self.certificates.are_for(name) {
            match as_named() {
                Ok(()) => return Ok(ServerCertVerified::assertion()),
                Err(Flaw::Unknown) => {}
                Err(flaw) => return Err(refused(flaw)),
            }
        }
        let chain = self.chain.as_ref();
        let chain = chain.ok_or(Error::from(CertificateError::UnknownIssuer))?;
        chain
            .verify_server_cert(shown, intermediates, name, ocsp, now)
            .or_else(|error| {
                // An authority's own certificate verifies as no chain, whatever is trusted.
                if !handshake::is_authority(&handshake::of_rustls(&error.to_string())) {
                    return Err(error);
                }
                as_named().map_err(refused)?;
                Ok(ServerCertVerified::assertion())
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, shown, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, shown, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
