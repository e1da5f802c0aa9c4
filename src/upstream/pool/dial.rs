//! The dial of upstreams, for tunnels, health checks and connections that begin with a PROXY header. All other
//! connections of Pingora's to them are Pingora's own, in `request::forward`.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_util::either::Either;

use crate::config::Http2;
use crate::http::error::{ErrorKind, RequestError};
use crate::tunnel::MaybeTls;
use crate::upstream::dial::{Sources, connect_any, connect_unix};
use crate::upstream::proxy_protocol::{self, Ends};
use crate::upstream::server::{Address, Server};
use crate::upstream::tls::{OriginTls, OtherStream, UpstreamStream};

/// A connection on which nothing but the PROXY header was sent.
pub type PlainStream = Either<TcpStream, UnixStream>;

/// Connects to upstreams.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) sources: Sources,
    pub(super) tls: Arc<OriginTls>,
}

impl Connector {
    /// Connects, within `limit`, and sends the PROXY header where the server has it: that of the client, or for none
    /// that of Tollgate's own connections.
    ///
    /// # Errors
    /// The connection is not made.
    pub(super) async fn open(
        &self,
        server: &Server,
        client: Option<Ends>,
        limit: Duration,
    ) -> Result<PlainStream, RequestError> {
        let end = Instant::now() + limit;
        let mut stream = match &server.address {
            Address::Tcp(address) => {
                Either::Left(connect_any([*address], &self.sources, limit).await?.stream)
            }
            Address::Unix(path) => Either::Right(connect_unix(path, limit).await?),
        };
        if let Some(version) = server.proxy_header() {
            let header = proxy_protocol::header(version, client);
            send(&mut stream, &header, end).await?;
        }
        Ok(stream)
    }

    /// Connects, within `limit`, and begins TLS where the server has it.
    ///
    /// # Errors
    /// The connection is not made, or the certificate is not accepted.
    pub(super) async fn connect(
        &self,
        server: &Server,
        client: Option<Ends>,
        limit: Duration,
    ) -> Result<UpstreamStream, RequestError> {
        let stream = match self.open(server, client, limit).await? {
            Either::Left(stream) => stream,
            Either::Right(stream) => {
                return Ok(UpstreamStream::Right(Box::new(OtherStream::Left(stream))));
            }
        };
        match server.tls() {
            // Boxed, since a handshake takes more room than an open tunnel.
            Some(host) => Box::pin(self.tls.connect(stream, host)).await,
            None => Ok(UpstreamStream::Left(MaybeTls::Left(stream))),
        }
    }
}

impl Connector {
    /// Connects as requests do, and says whether the server takes HTTP/2 on this connection: for a health check.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), or the server does not take HTTP/2 where it has to.
    pub(super) async fn connect_to_check(
        &self,
        server: &Server,
        limit: Duration,
    ) -> Result<(UpstreamStream, bool), RequestError> {
        let is_http2 = match (server.http2(), server.tls()) {
            (Http2::Off, _) => false,
            (_, None) => true,
            (http2, Some(host)) => {
                let Either::Left(stream) = self.open(server, None, limit).await? else {
                    return Err(ErrorKind::Internal.because("TLS at a socket"));
                };
                let connected = self.tls.connect_with_http2(stream, host).await?;
                return match connected {
                    (_, false) if http2 == Http2::Only => Err(ErrorKind::TlsProtocol
                        .because("HTTP/2 is not offered in the TLS handshake")),
                    connected => Ok(connected),
                };
            }
        };
        Ok((self.connect(server, None, limit).await?, is_http2))
    }
}

/// Sends the first bytes of a connection.
async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    end: Instant,
) -> Result<(), RequestError> {
    match timeout_at(end, stream.write_all(bytes)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(ErrorKind::ConnectionTerminated.because(error)),
        Err(_late) => {
            Err(ErrorKind::ConnectTimeout.because("the PROXY header is not sent in time"))
        }
    }
}
