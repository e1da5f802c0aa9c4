//! All that comes before HTTP on a connection: a PROXY header, and TLS.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::protocol::Door;
use super::proxy_protocol::{self, HeaderError};
use super::unprepared::Stage;
use crate::client::Connection;
use crate::config::Senders;
use crate::tunnel::Tls;

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
    tls: Option<TlsAcceptor>,
    senders: Option<Senders>,
) -> Result<(Connection, SocketAddr), Unprepared> {
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
    let connection = match tls {
        Some(acceptor) => {
            let otherwise = begins_otherwise(&stream).await;
            if otherwise.map_err(Unprepared::of_tls)? {
                return Err(Unprepared::WrongProtocol {
                    stream,
                    client,
                    door: Door::Tls,
                });
            }
            let accepted = acceptor.accept(stream).await;
            Connection::Right(Box::new(Tls(accepted.map_err(Unprepared::of_tls)?)))
        }
        None => Connection::Left(stream),
    };
    Ok((connection, client))
}

/// Whether the first byte is none that a TLS handshake begins with. One look at the socket, which the
/// handshake would have waited for as well; what it has read could not be answered in another protocol.
async fn begins_otherwise(stream: &TcpStream) -> io::Result<bool> {
    const HANDSHAKE: u8 = 0x16;
    let mut first = [0];
    Ok(stream.peek(&mut first).await? > 0 && first != [HANDSHAKE])
}
