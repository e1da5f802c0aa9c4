//! The dial of upstreams for tunnels and health checks. Pingora's own connections to them are those of
//! `request::forward`.

use std::sync::Arc;
use std::time::Duration;

use crate::http::error::RequestError;
use crate::tunnel::MaybeTls;
use crate::upstream::dial::{Sources, connect_any, connect_unix};
use crate::upstream::server::{Address, Server};
use crate::upstream::tls::{OriginTls, OtherStream, UpstreamStream};

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
                return Ok(UpstreamStream::Right(Box::new(OtherStream::Left(stream))));
            }
        };
        match &server.tls {
            // Boxed, since a handshake takes more room than an open tunnel.
            Some(host) => Box::pin(self.tls.connect(stream, host)).await,
            None => Ok(UpstreamStream::Left(MaybeTls::Left(stream))),
        }
    }
}
