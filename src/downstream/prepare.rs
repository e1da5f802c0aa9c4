//! All that comes before HTTP on a connection: a PROXY header, and TLS.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::protocol::Door;
use super::proxy_protocol::{self, HeaderError};
use super::unprepared::Stage;
use crate::client::{ClientCertificate, Connection};
use crate::config::{ListenerTls, Senders};
use crate::tunnel::Tls;

/// A connection that begins HTTP.
pub(super) struct Prepared {
    pub(super) connection: Connection,
    pub(super) client: SocketAddr,
    /// What the client has shown.
    pub(super) certificate: Option<Arc<ClientCertificate>>,
}

/// Why a connection did not get to HTTP.
pub(super) enum Unprepared {
    /// The header or the handshake is broken, or the connection is.
    Failed { stage: Stage, error: io::Error },
    /// It began with what its listener does not expect, or may not begin with it. Nothing was read.
    WrongProtocol {
        stream: TcpStream,
        client: SocketAddr,
        door: Door,
    },
}

impl Unprepared {
    fn of_tls(error: io::Error) -> Self {
        Self::Failed {
            stage: Stage::Tls,
            error,
        }
    }
}

/// Reads the header, does the handshake.
pub(super) async fn prepare(
    mut stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<ListenerTls>>,
    senders: Option<Senders>,
) -> Result<Prepared, Unprepared> {
    let client = if let Some(senders) = senders {
        if !senders.include(peer.ip()) {
            return Err(Unprepared::WrongProtocol {
                stream,
                client: peer,
                door: Door::Stranger,
            });
        }
        match proxy_protocol::read_header(&mut stream).await {
            Ok(client) => client.unwrap_or(peer),
            Err(HeaderError::Missing) => {
                return Err(Unprepared::WrongProtocol {
                    stream,
                    client: peer,
                    door: Door::ProxyHeader,
                });
            }
            Err(HeaderError::Broken(error)) => {
                return Err(Unprepared::Failed {
                    stage: Stage::ProxyHeader,
                    error,
                });
            }
        }
    } else {
        peer
    };
    let (connection, certificate) = match tls {
        Some(listener) => {
            let otherwise = begins_otherwise(&stream).await;
            if otherwise.map_err(Unprepared::of_tls)? {
                return Err(Unprepared::WrongProtocol {
                    stream,
                    client,
                    door: Door::Tls,
                });
            }
            let (session, certificate) = handshake(stream, &listener)
                .await
                .map_err(Unprepared::of_tls)?;
            (Connection::Right(Box::new(Tls(session))), certificate)
        }
        None => (Connection::Left(stream), None),
    };
    Ok(Prepared {
        connection,
        client,
        certificate,
    })
}

/// The handshake, with what the listener serves when it begins.
async fn handshake(
    stream: TcpStream,
    listener: &Arc<ListenerTls>,
) -> io::Result<(TlsStream<TcpStream>, Option<Arc<ClientCertificate>>)> {
    let served = listener.served();
    let acceptor = TlsAcceptor::from(Arc::clone(&served.config));
    let accepted = acceptor.accept(stream).await?;
    let certificate = ClientCertificate::of(accepted.get_ref().1, listener, &served);
    let certificate = certificate.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    Ok((accepted, certificate))
}

/// Whether the first byte is none that a TLS handshake begins with. One look at the socket, which the
/// handshake would have waited for as well; what it has read could not be answered in another protocol.
async fn begins_otherwise(stream: &TcpStream) -> io::Result<bool> {
    const HANDSHAKE: u8 = 0x16;
    let mut first = [0];
    Ok(stream.peek(&mut first).await? > 0 && first != [HANDSHAKE])
}
