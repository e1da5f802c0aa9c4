//! A client's connection as Tollgate lends it to Pingora.

use std::io;
use std::net::TcpStream as StdStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The other half of a [`LentStream`].
#[derive(Clone, Default)]
pub(super) struct Lent(Arc<Mutex<LentState>>);

#[derive(Default)]
struct LentState {
    /// What its reader gets from now on.
    failure: Option<io::ErrorKind>,
    reader: Option<std::task::Waker>,
    home: Option<TcpStream>,
}

impl Lent {
    /// Makes every read fail, also the one that waits.
    pub(super) fn fail(&self, kind: io::ErrorKind) {
        let mut state = self.0.lock().unwrap();
        state.failure = Some(kind);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    pub(super) fn is_back(&self) -> bool {
        self.0.lock().unwrap().home.is_some()
    }
}

/// A stream as Tollgate lends it: it says nothing of itself, can fail a read, and brings the socket back when it is
/// dropped.
pub(super) struct LentStream {
    socket: Option<TcpStream>,
    lent: Lent,
}

impl LentStream {
    pub(super) fn new(socket: StdStream) -> (Self, Lent) {
        let lent = Lent::default();
        let socket = Some(TcpStream::from_std(socket).unwrap());
        (
            Self {
                socket,
                lent: lent.clone(),
            },
            lent,
        )
    }

    fn socket(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.socket.as_mut().unwrap())
    }
}

impl Drop for LentStream {
    fn drop(&mut self) {
        self.lent.0.lock().unwrap().home = self.socket.take();
    }
}

impl std::fmt::Debug for LentStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LentStream").finish_non_exhaustive()
    }
}

impl AsyncRead for LentStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        {
            let mut state = this.lent.0.lock().unwrap();
            if let Some(kind) = state.failure {
                return Poll::Ready(Err(kind.into()));
            }
            state.reader = Some(cx.waker().clone());
        }
        this.socket().poll_read(cx, buf)
    }
}

impl AsyncWrite for LentStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().socket().poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[async_trait]
impl Shutdown for LentStream {
    async fn shutdown(&mut self) {}
}

impl UniqueID for LentStream {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl Ssl for LentStream {}

impl GetTimingDigest for LentStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for LentStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for LentStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for LentStream {}
