//! A connection of the admin service as Pingora's sessions take one: plain or with TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use crate::client;
use crate::tunnel::Socket as _;

/// How long, and for how many bytes, a connection is still read that this side closes: what arrives at a closed socket resets
/// it, and the client would lose the end of its answer.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// Bytes of events that the system may keep for a client.
const SEND_BUFFER: usize = 64 * 1024;

/// A connection of the admin service.
#[derive(Debug)]
pub(super) struct Connection(client::Connection);

impl Connection {
    pub(super) fn new(connection: client::Connection) -> Self {
        Self(connection)
    }

    /// Keeps what waits in the system for a client that reads slowly small, so that it is noticed early.
    pub(super) fn narrow(&self) {
        if let Some(socket) = self.0.tcp()
            && let Err(error) = SockRef::from(socket).set_send_buffer_size(SEND_BUFFER)
        {
            log::debug!("admin connection: {error}");
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await?;
        let mut rest = [0; 4096];
        let mut read = 0;
        while read < LINGER_BYTES {
            match self.0.read(&mut rest).await? {
                0 => break,
                more => read += more,
            }
        }
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        // A client that is gone, or does not close its side in time, has lost nothing.
        let _ended = tokio::time::timeout(LINGER_TIME, self.close()).await;
    }
}

impl UniqueID for Connection {
    /// Nothing pools these connections.
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl Ssl for Connection {}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for Connection {}
