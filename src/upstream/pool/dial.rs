//! The dial of upstreams, for both ways to them: connections of our own, for tunnels and health checks, and what
//! Pingora connects to for a request.

use std::sync::Arc;
use std::time::Duration;

use pingora_core::upstreams::peer::HttpPeer;

use crate::http::error::{ErrorKind, RequestError};
use crate::tunnel::MaybeTls;
use crate::upstream::dial::{Sources, connect_any, connect_unix};
use crate::upstream::server::{Address, Server};
use crate::upstream::tls::{OriginTls, UpstreamStream, server_name};

/// Connects to upstreams.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) sources: Sources,
    pub(super) tls: Arc<OriginTls>,
}

impl Connector {
    /// Connects, within `limit`, and begins TLS where the server has it.
    ///
    /// # Errors
    /// The connection is not made, or the certificate is not accepted.
    pub(super) async fn connect(
        &self,
        server: &Server,
        limit: Duration,
    ) -> Result<UpstreamStream, RequestError> {
        let stream = match &server.address {
            Address::Tcp(address) => connect_any([*address], &self.sources, limit).await?.stream,
            Address::Unix(path) => {
                let stream = connect_unix(path, limit).await?;
                return Ok(UpstreamStream::Right(Box::new(stream)));
            }
        };
        match &server.tls {
            // Boxed, since a handshake takes more room than an open tunnel.
            Some(host) => Box::pin(self.tls.connect(stream, host)).await,
            None => Ok(UpstreamStream::Left(MaybeTls::Left(stream))),
        }
    }
}

/// The server as Pingora connects to it. The connections to one are kept apart from those to another.
///
/// # Errors
/// No certificate can be for its name.
pub fn peer(server: &Server) -> Result<Box<HttpPeer>, RequestError> {
    let name = match &server.tls {
        // Never empty with TLS: Pingora takes an empty name for "do not verify".
        Some(host) => server_name(host)?.to_str().into_owned(),
        None => String::new(),
    };
    let is_tls = server.tls.is_some();
    match &server.address {
        Address::Tcp(address) => Ok(Box::new(HttpPeer::new(*address, is_tls, name))),
        Address::Unix(path) => {
            let path = path.to_str().ok_or(ErrorKind::Internal)?;
            match HttpPeer::new_uds(path, is_tls, name) {
                Ok(peer) => Ok(Box::new(peer)),
                Err(error) => Err(ErrorKind::Internal.because(error)),
            }
        }
    }
}
