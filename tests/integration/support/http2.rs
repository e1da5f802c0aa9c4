//! A client that speaks HTTP/2, by the crate that serves it and with hands on each frame.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::DEADLINE;
use super::request::{ALICE, basic};

/// Runs a test to its end, in time. Its connections are served meanwhile, whatever it
/// waits for.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { timeout(4 * DEADLINE, test).await.expect("in time") })
}

/// Waits for what has to come.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("in time")
}

/// One connection.
pub(crate) struct Client {
    pub(crate) send: SendRequest<Bytes>,
    /// Ends with the connection.
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// A request with those fields besides what its target makes.
pub(crate) fn bare(method: &str, uri: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// The same by a user.
pub(crate) fn request_of(user: (&str, &str), method: &str, uri: &str) -> Request<()> {
    let credentials = basic(user.0, user.1);
    bare(method, uri, &[("proxy-authorization", &credentials)])
}

/// The same by Alice.
pub(crate) fn request(method: &str, uri: &str) -> Request<()> {
    request_of(ALICE, method, uri)
}

impl Client {
    /// With prior knowledge to a plain listener.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        let (send, connection) = within(h2::client::handshake(socket)).await.unwrap();
        Self::over(send, connection)
    }

    pub(crate) fn over<T>(send: SendRequest<Bytes>, connection: Connection<T, Bytes>) -> Self
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let connection = tokio::spawn(connection);
        Self { send, connection }
    }

    /// Opens a stream, when the server allows one more.
    pub(crate) async fn open(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let send = within(self.send.clone().ready()).await.unwrap();
        self.send = send;
        self.send.send_request(request, end).unwrap()
    }

    /// A request without a body, and its answer.
    pub(crate) async fn ask(&mut self, request: Request<()>) -> Answer {
        self.try_ask(request).await.unwrap()
    }

    pub(crate) async fn try_ask(&mut self, request: Request<()>) -> Result<Answer, h2::Error> {
        let (answer, _) = self.open(request, true).await;
        whole(within(answer).await?).await
    }

    /// A request with that body, sent as the windows allow.
    pub(crate) async fn post(&mut self, request: Request<()>, body: &[u8]) -> Answer {
        let (answer, mut send) = self.open(request, false).await;
        let (sent, answer) = tokio::join!(send_all(&mut send, body, true), async {
            whole(within(answer).await?).await
        });
        sent.unwrap();
        answer.unwrap()
    }

    /// Alice's tunnel, which has to open.
    pub(crate) async fn tunnel(
        &mut self,
        authority: impl std::fmt::Display,
    ) -> (SendStream<Bytes>, RecvStream) {
        let request = request("CONNECT", &authority.to_string());
        let (answer, send) = self.open(request, false).await;
        let answer = within(answer).await.unwrap();
        assert_eq!(answer.status(), 200, "{:?}", answer.headers());
        (send, answer.into_body())
    }
}

/// Reads an answer to its end.
pub(crate) async fn whole(answer: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (parts, mut receive) = answer.into_parts();
    let body = read_all(&mut receive).await?;
    Ok(Answer {
        status: parts.status,
        fields: parts.headers,
        body,
    })
}

pub(crate) async fn read_all(receive: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = within(receive.data()).await {
        let data = data?;
        receive.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(body)
}

/// Reads so many bytes at least.
pub(crate) async fn read_bytes(receive: &mut RecvStream, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let data = within(receive.data()).await.unwrap().unwrap();
        receive.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    bytes
}

/// Sends all of `bytes` as the window allows.
pub(crate) async fn send_all(
    send: &mut SendStream<Bytes>,
    mut bytes: &[u8],
    end: bool,
) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        let capacity = match within(poll_fn(|cx| send.poll_capacity(cx))).await {
            Some(capacity) => capacity?.min(bytes.len()),
            None => return Ok(()),
        };
        let (now, later) = bytes.split_at(capacity);
        send.send_data(Bytes::copy_from_slice(now), false)?;
        bytes = later;
    }
    if end {
        send.send_data(Bytes::new(), true)?;
    }
    Ok(())
}

/// Waits for the server to reset a stream.
pub(crate) async fn reset_of(receive: &mut RecvStream) -> Reason {
    match read_all(receive).await {
        Err(error) => error.reason().unwrap(),
        Ok(body) => panic!("ended after {} bytes", body.len()),
    }
}
