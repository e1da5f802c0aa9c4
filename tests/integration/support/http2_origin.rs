//! Origins that speak HTTP/2, with hands on each stream.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::tls::Identity;

/// One stream, to be answered.
pub(crate) struct Stream {
    pub(crate) request: Parts,
    pub(crate) receive: RecvStream,
    pub(crate) respond: SendResponse<Bytes>,
    /// Of its connection, from 0 on.
    pub(crate) number: usize,
}

type Answering = Pin<Box<dyn Future<Output = Result<(), h2::Error>> + Send>>;
type Handler = Arc<dyn Fn(Stream) -> Answering + Send + Sync>;

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Parts>>,
    connections: AtomicUsize,
}

/// A server of HTTP/2 on a loopback port, which ends with this.
pub(crate) struct Http2Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    _runtime: Runtime,
}

impl Http2Origin {
    /// One without TLS, by prior knowledge.
    pub(crate) fn plain<F>(handler: impl Fn(Stream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), h2::Error>> + Send + 'static,
    {
        Self::start(None, handler)
    }

    /// One with TLS that takes these protocols, the first one first. HTTP/1.1 gets an answer of its own.
    pub(crate) fn tls<F>(
        identity: &Identity,
        protocols: &[&str],
        handler: impl Fn(Stream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), h2::Error>> + Send + 'static,
    {
        let mut config = (*identity.server()).clone();
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec());
        config.alpn_protocols = protocols.collect();
        Self::start(Some(TlsAcceptor::from(Arc::new(config))), handler)
    }

    /// Answers each request with its method, target, and the length of its body.
    pub(crate) fn telling() -> impl Fn(Stream) -> Answering + Send + Sync {
        |stream| Box::pin(tell(stream))
    }

    fn start<F>(
        tls: Option<TlsAcceptor>,
        handler: impl Fn(Stream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), h2::Error>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |stream| Box::pin(handler(stream)));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (tls, handler, seen) = (tls.clone(), Arc::clone(&handler), Arc::clone(&shared));
                // An error here is the peer's doing; the client's side judges it.
                tokio::spawn(async move {
                    match tls {
                        None => serve(socket, handler, &seen).await,
                        Some(tls) => {
                            let Ok(socket) = tls.accept(socket).await else {
                                return;
                            };
                            match socket.get_ref().1.alpn_protocol() {
                                Some(b"h2") => serve(socket, handler, &seen).await,
                                _ => {
                                    let _answered = serve_http1(socket).await;
                                }
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            seen,
            _runtime: runtime,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request of HTTP/2 so far.
    pub(crate) fn requests(&self) -> Vec<Parts> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// Connections of HTTP/2 so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin, handler: Handler, seen: &Seen) {
    // One that only connects is a health check.
    let Ok(mut connection) = h2::server::handshake(socket).await else {
        return;
    };
    let number = seen.connections.fetch_add(1, Ordering::SeqCst);
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (request, receive) = Request::into_parts(request);
        seen.requests.lock().unwrap().push(request.clone());
        let stream = Stream {
            request,
            receive,
            respond,
            number,
        };
        tokio::spawn(handler(stream));
    }
}

/// Answers everything with one word; a handshake of a WebSocket is one.
async fn serve_http1(mut socket: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut head = Vec::new();
    while socket.read_buf(&mut head).await? > 0 {
        if head.ends_with(b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&head).to_lowercase();
            let answer = match text.contains("upgrade: websocket") {
                true => {
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst"
                }
                false => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none",
            };
            socket.write_all(answer.as_bytes()).await?;
            socket.flush().await?;
            head.clear();
        }
    }
    Ok(())
}

async fn tell(mut stream: Stream) -> Result<(), h2::Error> {
    let body = body_of(&mut stream.receive).await?;
    let request = &stream.request;
    let text = format!("{} {} {}", request.method, request.uri, body.len());
    stream.answer(200, &[], text.as_bytes(), None).await
}

/// The whole body of a request.
pub(crate) async fn body_of(receive: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = receive.data().await {
        let data = data?;
        receive.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(body)
}

/// Fields of a head or a trailer section.
pub(crate) fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        let name: http::HeaderName = name.parse().unwrap();
        fields.append(name, value.parse().unwrap());
    }
    fields
}

impl Stream {
    /// Begins the answer.
    pub(crate) fn begin(
        &mut self,
        status: u16,
        head: &[(&str, &str)],
        is_over: bool,
    ) -> Result<SendStream<Bytes>, h2::Error> {
        let mut response = Response::new(());
        *response.status_mut() = status.try_into().unwrap();
        *response.headers_mut() = fields(head);
        self.respond.send_response(response, is_over)
    }

    /// Sends a whole answer, with this trailer section behind the body.
    pub(crate) async fn answer(
        &mut self,
        status: u16,
        head: &[(&str, &str)],
        body: &[u8],
        trailers: Option<&[(&str, &str)]>,
    ) -> Result<(), h2::Error> {
        let mut send = self.begin(status, head, false)?;
        send_all(&mut send, body).await?;
        match trailers {
            Some(trailers) => send.send_trailers(fields(trailers)),
            None => send.send_data(Bytes::new(), true),
        }
    }
}

/// Sends a part of a body, as the window allows.
pub(crate) async fn send_all(
    send: &mut SendStream<Bytes>,
    mut bytes: &[u8],
) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        let Some(capacity) = poll_fn(|cx| send.poll_capacity(cx)).await else {
            return Ok(());
        };
        let (now, later) = bytes.split_at(capacity?.min(bytes.len()));
        send.send_data(Bytes::copy_from_slice(now), false)?;
        bytes = later;
    }
    Ok(())
}
