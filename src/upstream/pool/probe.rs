//! A health check by HTTP: one request, of whose answer the status counts. In HTTP/2 where requests are.

use std::io;
use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::config;
use crate::upstream::server::Server;

/// The largest head of an answer.
const MAX_HEAD: usize = 16 * 1024;
const MAX_FIELDS: usize = 128;
/// The same in HTTP/2, which counts 32 bytes more for each field (RFC 9113 §6.5.2).
const MAX_LIST: u32 = 16 * 1024 + 32 * 128;

const USER_AGENT: &str = "tollgate-health-check";

/// What is asked for, and what has to come.
pub(super) struct Probe {
    /// The target of the request.
    pub(super) path: String,
    /// The value of `Host`; none: the address of the upstream.
    host: Option<String>,
    /// The statuses of an upstream that is up.
    status: RangeInclusive<u16>,
}

impl Probe {
    /// The request of a health check; none where it is to connect alone.
    pub(super) fn new(rule: &config::HealthCheck) -> Option<Self> {
        Some(Self {
            path: rule.path.clone()?,
            host: rule.host.clone(),
            status: rule.status.clone(),
        })
    }

    /// Asks on a connection to `upstream`.
    ///
    /// # Errors
    /// Why the upstream is not up, in words.
    pub(super) async fn ask(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        upstream: &Server,
    ) -> Result<(), String> {
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {USER_AGENT}\r\nConnection: close\r\n\r\n",
            self.path,
            self.host_of(upstream)
        );
        let failed = |error: io::Error| format!("GET {}: {error}", self.path);
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
        let mut bytes = BytesMut::new();
        loop {
            match status(&bytes) {
                Ok(Some(status)) => return self.judge(status),
                Ok(None) if bytes.len() < MAX_HEAD => {}
                Ok(None) => {
                    return Err(format!(
                        "GET {}: the head of the answer is too long",
                        self.path
                    ));
                }
                Err(error) => return Err(format!("GET {}: {error}", self.path)),
            }
            if stream.read_buf(&mut bytes).await.map_err(failed)? == 0 {
                return Err(format!("GET {}: the connection was closed", self.path));
            }
        }
    }
}

impl Probe {
    /// Asks in HTTP/2 on a connection to `upstream`.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(super) async fn ask_in_http2(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        upstream: &Server,
    ) -> Result<(), String> {
        let failed = |error: String| format!("GET {}: {error}", self.path);
        let broken = |error: h2::Error| failed(error.to_string());
        let scheme = match upstream.tls() {
            Some(_) => "https",
            None => "http",
        };
        let uri = format!("{scheme}://{}{}", self.host_of(upstream), self.path);
        let request = http::Request::get(uri)
            .header(http::header::USER_AGENT, USER_AGENT)
            .body(())
            .map_err(|error| failed(error.to_string()))?;
        let mut settings = h2::client::Builder::new();
        settings.enable_push(false).max_header_list_size(MAX_LIST);
        let handshake = settings.handshake::<_, Bytes>(stream).await;
        let (send, connection) = handshake.map_err(broken)?;
        let asking = async {
            let (answer, _) = send.ready().await?.send_request(request, true)?;
            Ok(answer.await?.status().as_u16())
        };
        tokio::select! {
            biased;
            status = asking => self.judge(status.map_err(broken)?),
            ended = connection => Err(match ended {
                Err(error) => broken(error),
                Ok(()) => failed("the connection was closed".to_owned()),
            }),
        }
    }

    fn host_of(&self, upstream: &Server) -> String {
        self.host.clone().unwrap_or_else(|| upstream.host_field())
    }

    fn judge(&self, status: u16) -> Result<(), String> {
        match self.status.contains(&status) {
            true => Ok(()),
            false => Err(format!("GET {}: status {status}", self.path)),
        }
    }
}

/// The status of the final answer that begins `bytes`, once its head is there. Interim ones before it are passed over.
fn status(bytes: &[u8]) -> Result<Option<u16>, httparse::Error> {
    let mut rest = bytes;
    loop {
        let mut storage = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut storage);
        let httparse::Status::Complete(len) = response.parse(rest)? else {
            return Ok(None);
        };
        match response.code {
            Some(100..=199) => rest = rest.get(len..).unwrap_or_default(),
            code => return Ok(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(answer: &str) -> Result<(), String> {
        let probe = Probe {
            path: "/up".to_owned(),
            host: Some("a.test".to_owned()),
            status: 200..=299,
        };
        let (ours, mut theirs) = tokio::io::duplex(64);
        let answer = answer.to_owned();
        let serve = async move {
            let mut head = BytesMut::new();
            while !head.ends_with(b"\r\n\r\n") {
                theirs.read_buf(&mut head).await.unwrap();
            }
            assert!(head.starts_with(b"GET /up HTTP/1.1\r\nHost: a.test\r\n"));
            // One that has its answer does not read on.
            let _ = theirs.write_all(answer.as_bytes()).await;
        };
        let upstream = std::net::SocketAddr::from(([127, 0, 0, 1], 80)).into();
        let (asked, ()) = tokio::join!(probe.ask(ours, &upstream), serve);
        asked
    }

    #[tokio::test]
    async fn the_status_counts() {
        for up in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.0 204 x\r\nA: b\r\n\r\n",
            "HTTP/1.1 103 E\r\n\r\nHTTP/1.1 299 x\r\n\r\n",
        ] {
            assert_eq!(ask(up).await, Ok(()), "{up}");
        }
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(MAX_HEAD));
        for (down, why) in [
            ("HTTP/1.1 503 No\r\n\r\n", "status 503"),
            ("HTTP/1.1 301 x\r\n\r\n", "status 301"),
            ("HTTP/1.1 200 OK\r\n", "the connection was closed"),
            ("", "the connection was closed"),
            ("SSH-2.0-x\r\n\r\n", "invalid HTTP version"),
            (&long, "the head of the answer is too long"),
        ] {
            assert_eq!(ask(down).await, Err(format!("GET /up: {why}")), "{down}");
        }
    }
}
