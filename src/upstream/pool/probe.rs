//! A health check by HTTP: one request, of whose answer the status counts.

use std::io;
use std::ops::RangeInclusive;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::config;
use crate::upstream::server::Server;

/// The largest head of an answer.
const MAX_HEAD: usize = 16 * 1024;
const MAX_FIELDS: usize = 128;

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
        let host = self.host.clone().unwrap_or_else(|| upstream.host_field());
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tollgate-health-check\r\nConnection: close\r\n\r\n",
            self.path
        );
        let failed = |error: io::Error| format!("GET {}: {error}", self.path);
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
        let mut bytes = BytesMut::new();
        loop {
            match status(&bytes) {
                Ok(Some(status)) if self.status.contains(&status) => return Ok(()),
                Ok(Some(status)) => return Err(format!("GET {}: status {status}", self.path)),
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
