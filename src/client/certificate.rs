//! The certificate that a client has shown in its handshake: whether it is accepted still, and its user.
//!
//! A handshake verifies a certificate once, and a connection may last for days. So each request asks here, and a
//! change of the authorities or revocation lists has the certificate verified again: at the next request, or at once
//! for a tunnel, which has no next request.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::access::auth::{CertificateLogin, CertificateNameError, User};
use crate::config::{Clients, ListenerTls, Served};

/// The certificate of a client, on its connection.
#[derive(Debug)]
pub struct ClientCertificate {
    listener: Arc<ListenerTls>,
    chain: Vec<CertificateDer<'static>>,
    /// When it expires.
    end: SystemTime,
    standing: ArcSwap<Standing>,
}

/// What is thought of a certificate since a change.
#[derive(Debug)]
struct Standing {
    generation: u64,
    login: Result<Option<Login>, Refused>,
}

/// The user of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user, or why there is none.
    pub user: Result<User, CertificateNameError>,
    /// Whether the certificate is enough.
    pub needs: CertificateLogin,
}

/// Why a certificate is not accepted any more. Displays as a sentence about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is on a revocation list.
    #[error("the certificate of the client is revoked")]
    Revoked,
    /// It has come to its end.
    #[error("the certificate of the client has expired")]
    Expired,
    /// The listener takes no certificate of its authority, or cannot know whether it is revoked.
    #[error("the certificate of the client is not accepted any more: {0}")]
    Other(&'static str),
}

impl ClientCertificate {
    /// The certificate of a session of this listener. A resumed session is verified here: only a full handshake does so
    /// itself.
    ///
    /// # Errors
    /// The certificate of a resumed session is not accepted any more.
    pub fn of(
        session: &rustls::ServerConnection,
        listener: &Arc<ListenerTls>,
        served: &Served,
    ) -> Result<Option<Arc<Self>>, rustls::Error> {
        let (Some(clients), Some(chain)) = (&served.clients, session.peer_certificates()) else {
            return Ok(None);
        };
        if session.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
            clients.verify(chain, UnixTime::now())?;
        }
        Ok(Some(Arc::new(Self {
            listener: Arc::clone(listener),
            chain: chain.iter().map(|it| it.clone().into_owned()).collect(),
            end: end(chain),
            standing: ArcSwap::from_pointee(Standing {
                generation: served.generation,
                login: Ok(login(clients, chain)),
            }),
        })))
    }

    /// Whether the certificate is accepted at this time, and its user; none where a certificate is no user.
    ///
    /// # Errors
    /// [`Refused`]
    pub fn login(&self, at: SystemTime) -> Result<Option<Login>, Refused> {
        if at > self.end {
            return Err(Refused::Expired);
        }
        self.login_of_listener(at)
    }

    /// Ready when a change of the listener refuses the certificate. Its end alone does not.
    pub async fn refused(&self) {
        loop {
            // First: a change between the two is seen.
            let changed = self.listener.changed();
            if self
                .login_of_listener(SystemTime::now().min(self.end))
                .is_err()
            {
                return;
            }
            changed.await;
        }
    }

    fn login_of_listener(&self, at: SystemTime) -> Result<Option<Login>, Refused> {
        let standing = self.standing.load();
        if standing.generation == self.listener.generation() {
            return standing.login.clone();
        }
        let served = self.listener.served();
        let login = match &served.clients {
            // The listener asks for no certificates any more: this one means nothing.
            None => Ok(None),
            Some(clients) => self
                .verified(clients, at)
                .map(|()| login(clients, &self.chain)),
        };
        self.standing.store(Arc::new(Standing {
            generation: served.generation,
            login: login.clone(),
        }));
        login
    }

    fn verified(&self, clients: &Clients, at: SystemTime) -> Result<(), Refused> {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let verified = clients.verify(&self.chain, UnixTime::since_unix_epoch(since));
        verified.map_err(|error| match error {
            rustls::Error::InvalidCertificate(CertificateError::Revoked) => Refused::Revoked,
            rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => Refused::Expired,
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                Refused::Other("its authority is not in client_ca")
            }
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownRevocationStatus
                | CertificateError::ExpiredRevocationList
                | CertificateError::ExpiredRevocationListContext { .. },
            ) => Refused::Other("no valid list in client_crl is of its authority"),
            _ => Refused::Other("it does not verify"),
        })
    }
}

fn login(clients: &Clients, chain: &[CertificateDer<'_>]) -> Option<Login> {
    let (name, needs) = clients.login?;
    let leaf = chain.first().map(AsRef::as_ref).unwrap_or_default();
    Some(Login {
        user: name.user_of(leaf),
        needs,
    })
}

/// When the certificate of a client expires. One that cannot be read has expired.
fn end(chain: &[CertificateDer<'_>]) -> SystemTime {
    let leaf = chain.first().map(AsRef::as_ref).unwrap_or_default();
    let parsed = X509Certificate::from_der(leaf);
    let end = parsed.map_or(0, |(_, it)| it.validity().not_after.timestamp());
    let since = Duration::from_secs(u64::try_from(end).unwrap_or_default());
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}
