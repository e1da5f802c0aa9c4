//! A certificate authority of our own, and TLS on both ends.

use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, SignatureAlgorithm,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned,
    SupportedProtocolVersion,
};

use x509_parser::prelude::{FromDer, X509Certificate};

use super::client::Wire;
use super::command::run;

/// An authority that nobody knows unless told.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(crate) struct Identity {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::of_name("authority of the tests")
    }

    /// One of another name, which the verifier tells apart by it.
    pub(crate) fn of_name(common_name: &str) -> Self {
        Self::with(common_name, |_| {})
    }

    /// One whose certificate is no longer valid.
    pub(crate) fn expired() -> Self {
        Self::with("authority of the tests", |params| {
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        })
    }

    fn with(common_name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // The name must differ from that of what it signs, which is rcgen's own.
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, common_name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs a certificate for those names and addresses.
    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |_| {})
    }

    /// Signs a certificate for a key of this kind.
    pub(crate) fn issue_of(&self, kind: &'static SignatureAlgorithm, names: &[&str]) -> Identity {
        self.sign(KeyPair::generate_for(kind).unwrap(), names, |_| {})
    }

    /// Signs a certificate that has something special about it.
    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        edit: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        self.sign(KeyPair::generate().unwrap(), names, edit)
    }

    fn sign(
        &self,
        key: KeyPair,
        names: &[&str],
        edit: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        edit(&mut params);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
        }
    }

    /// A revocation list with these certificates, that holds for a year.
    pub(crate) fn list(&self, revoked: &[&Identity]) -> String {
        self.list_until(2090, revoked)
    }

    /// One that holds until the begin of a year.
    pub(crate) fn list_until(&self, year: i32, revoked: &[&Identity]) -> String {
        let begun = rcgen::date_time_ymd(2024, 1, 1);
        let revoked = revoked.iter().map(|identity| RevokedCertParams {
            serial_number: identity.serial(),
            revocation_time: begun,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: begun,
            next_update: rcgen::date_time_ymd(year, 1, 1),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }

    /// A client that trusts this authority alone, speaks those versions and shows what it is told.
    pub(crate) fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        shown: Option<&Identity>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match shown {
            None => config.with_no_client_auth(),
            Some(identity) => config
                .with_client_auth_cert(vec![identity.certificate.clone()], identity.private_key())
                .unwrap(),
        })
    }

    /// A client of HTTP/2 that trusts this authority alone and shows what it is told.
    pub(crate) fn http2_client(&self, shown: Option<&Identity>) -> Arc<ClientConfig> {
        self.offering(&["h2"], shown)
    }

    /// A client that offers those protocols (ALPN).
    fn offering(&self, protocols: &[&str], shown: Option<&Identity>) -> Arc<ClientConfig> {
        let mut config = (*self.client(rustls::ALL_VERSIONS, shown)).clone();
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec());
        config.alpn_protocols = protocols.collect();
        Arc::new(config)
    }

    /// As [`Authority::wrap`], offering those protocols; with the one that was agreed on.
    pub(crate) fn wrap_offering(
        &self,
        socket: TcpStream,
        name: &str,
        protocols: &[&str],
    ) -> (Wire, Option<String>) {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tls = ClientConnection::new(self.offering(protocols, None), name).unwrap();
        let mut stream = StreamOwned::new(tls, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        let agreed = stream.conn.alpn_protocol();
        let agreed = agreed.map(|name| String::from_utf8(name.to_vec()).unwrap());
        let socket = stream.sock.try_clone().unwrap();
        (Wire::over(Box::new(stream), socket).unwrap(), agreed)
    }

    /// Speaks TLS over a connected socket, trusting this authority alone.
    pub(crate) fn wrap(&self, socket: TcpStream, name: &str) -> Wire {
        let stream = self.session(socket, name, rustls::ALL_VERSIONS, None);
        let socket = stream.sock.try_clone().unwrap();
        Wire::over(Box::new(stream), socket).unwrap()
    }

    /// As [`Authority::wrap`], with everything of TLS at hand. The handshake is still to come.
    pub(crate) fn session(
        &self,
        socket: TcpStream,
        name: &str,
        versions: &[&'static SupportedProtocolVersion],
        shown: Option<&Identity>,
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tls = ClientConnection::new(self.client(versions, shown), name).unwrap();
        StreamOwned::new(tls, socket)
    }
}

impl Identity {
    /// A self-signed certificate as people make it, with an RSA key and those further
    /// arguments.
    pub(crate) fn of_openssl(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("openssl");
        command
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
            ])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .args(arguments)
            .current_dir(directory.path());
        let outcome = run(&mut command, "");
        assert!(outcome.status.success(), "{}", outcome.output());
        let read = |name| std::fs::read(directory.path().join(name)).unwrap();
        Self::from_pem(&read("cert.pem"), &read("key.pem"))
    }

    /// One that another program has made, with its key in PKCS #8.
    pub(crate) fn from_pem(certificate: &[u8], key: &[u8]) -> Self {
        let text = |pem: &[u8]| String::from_utf8(pem.to_vec()).unwrap();
        Self {
            certificate_pem: text(certificate),
            key_pem: text(key),
            certificate: CertificateDer::from_pem_slice(certificate).unwrap(),
            key: PrivatePkcs8KeyDer::from_pem_slice(key)
                .unwrap()
                .secret_pkcs8_der()
                .to_vec(),
        }
    }

    fn serial(&self) -> SerialNumber {
        let (_, parsed) = X509Certificate::from_der(&self.certificate).unwrap();
        parsed.raw_serial().to_vec().into()
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }

    /// A server that shows this certificate.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.private_key())
            .unwrap();
        Arc::new(config)
    }
}
