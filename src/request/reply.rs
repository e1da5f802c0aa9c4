//! Every answer that Tollgate makes itself: one shape for refusals of all three
//! roles, written to a Pingora session or to a bare connection.
//!
//! The client learns a status, a fixed sentence, the error type of RFC 9209 and
//! an id to quote; the cause stays in the log.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use pingora::http::ResponseHeader;
use pingora_core::Result as PingoraResult;
use pingora_proxy::Session;

use crate::http::answer::Answer;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::fields::push_line;
use crate::request::request_id::RequestId;

/// An answer, ready to be written.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    fields: Vec<(Cow<'static, str>, HeaderValue)>,
    body: Bytes,
}

impl Reply {
    /// The answer to a request that failed.
    ///
    /// `challenge` is the value of `Proxy-Authenticate` for a 407, of `WWW-Authenticate` for a 401. With `json` the
    /// body is a JSON object, else a line of text.
    pub fn to_error(
        error: &RequestError,
        id: RequestId,
        challenge: &HeaderValue,
        json: bool,
    ) -> Self {
        let kind = error.kind();
        let status = error.status();
        let text = error.text();
        let reason = status.canonical_reason().unwrap_or("Error");
        let mut body = String::with_capacity(256);
        // Writing to a String cannot fail.
        let _ = if json {
            writeln!(
                body,
                "{{\"status\":{},\"error\":\"{}\",\"message\":{},\"request_id\":\"{id}\"}}",
                status.as_u16(),
                kind.name(),
                serde_json::Value::from(text),
            )
        } else {
            writeln!(
                body,
                "{} {reason}\n\n{text}\n\n{} (request {id})",
                status.as_u16(),
                kind.name(),
            )
        };
        let content_type = if json {
            "application/json"
        } else {
            "text/plain; charset=utf-8"
        };
        let mut reply = Self::new(status, content_type, Bytes::from(body));
        // RFC 9209 §2.1.3 calls it details.
        let word = error.word().map(|word| format!("; details=\"{word}\""));
        reply.push(
            "Proxy-Status",
            &format!(
                "tollgate; error={}{}",
                kind.proxy_status(),
                word.unwrap_or_default()
            ),
        );
        reply.push("X-Request-Id", &id.to_string());
        if kind.is_challenge() {
            let name = match status {
                StatusCode::UNAUTHORIZED => "WWW-Authenticate",
                _ => "Proxy-Authenticate",
            };
            reply.fields.push((name.into(), challenge.clone()));
        }
        if kind == ErrorKind::MethodNotAllowed {
            // What the embedded origin knows: nothing else refuses a method.
            reply.push("Allow", "GET, HEAD");
        }
        if let Some(delay) = error.retry_delay() {
            reply.push("Retry-After", &delay.as_secs().max(1).to_string());
        }
        reply
    }

    /// The answer that a hook gives.
    pub fn of_hook(answer: &Answer, id: RequestId) -> Self {
        let mut reply = Self {
            status: answer.status,
            fields: vec![(
                "Content-Length".into(),
                HeaderValue::from(answer.body.len()),
            )],
            body: answer.body.clone(),
        };
        for (name, value) in &answer.fields {
            reply
                .fields
                .push((name.as_str().to_owned().into(), value.clone()));
        }
        reply.push("X-Request-Id", &id.to_string());
        reply
    }

    /// An answer with a body of its own.
    pub fn new(status: StatusCode, content_type: &'static str, body: Bytes) -> Self {
        Self {
            status,
            fields: vec![
                (
                    "Content-Type".into(),
                    HeaderValue::from_static(content_type),
                ),
                ("Content-Length".into(), HeaderValue::from(body.len())),
                ("Cache-Control".into(), HeaderValue::from_static("no-store")),
            ],
            body,
        }
    }

    pub fn body_len(&self) -> u64 {
        self.body.len() as u64
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Writes the answer to a request that is with Pingora. The connection stays
    /// open when the request allows it.
    ///
    /// # Errors
    /// Pingora's, when the client is gone.
    pub async fn write_to(self, session: &mut Session) -> PingoraResult<()> {
        let mut head = ResponseHeader::build(self.status, Some(self.fields.len() + 2))?;
        for (name, value) in self.fields {
            head.append_header(name.into_owned(), value)?;
        }
        session.write_response_header(Box::new(head), false).await?;
        let body = Some(self.body);
        session.write_response_body(body, true).await
    }

    /// The answer as bytes for a connection that is not with Pingora.
    pub fn to_bytes(&self, close: bool) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512 + self.body.len());
        let reason = self.status.canonical_reason().unwrap_or_default();
        bytes.extend_from_slice(
            format!("HTTP/1.1 {} {reason}\r\n", self.status.as_u16()).as_bytes(),
        );
        for (name, value) in &self.fields {
            push_line(&mut bytes, name.as_bytes(), value.as_bytes());
        }
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        push_line(&mut bytes, b"Date", date.as_bytes());
        let connection: &[u8] = if close { b"close" } else { b"keep-alive" };
        push_line(&mut bytes, b"Connection", connection);
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn push(&mut self, name: &'static str, value: &str) {
        // All values come from constants and numbers.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.fields.push((name.into(), value));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reply(error: RequestError, json: bool) -> String {
        let challenge = HeaderValue::from_static("Basic realm=\"r\", charset=\"UTF-8\"");
        let reply = Reply::to_error(&error, RequestId::new(7), &challenge, json);
        String::from_utf8(reply.to_bytes(true)).unwrap()
    }

    #[test]
    fn a_407_challenges_and_others_do_not() {
        let text = reply(ErrorKind::CredentialsMissing.into(), false);
        assert!(
            text.starts_with("HTTP/1.1 407 Proxy Authentication Required\r\n"),
            "{text}"
        );
        assert!(text.contains("Proxy-Authenticate: Basic realm=\"r\", charset=\"UTF-8\"\r\n"));
        assert!(text.contains("Proxy-Status: tollgate; error=http_request_denied\r\n"));
        assert!(!reply(ErrorKind::Denied.into(), false).contains("Proxy-Authenticate"));
    }

    #[test]
    fn the_length_is_that_of_the_body() {
        for json in [false, true] {
            for kind in ErrorKind::ALL {
                let text = reply((*kind).into(), json);
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                assert!(
                    head.contains(&format!("Content-Length: {}\r\n", body.len())),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn json_parses_and_names_the_kind() {
        for kind in ErrorKind::ALL {
            let text = reply((*kind).into(), true);
            let (_, body) = text.split_once("\r\n\r\n").unwrap();
            let json: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(json["error"], kind.name());
            assert_eq!(json["status"], kind.status().as_u16());
        }
    }

    #[test]
    fn an_operator_s_words_are_escaped() {
        let error = || {
            let message = Some("ask \"it\" \\ <it@example.org>".into());
            RequestError::new(ErrorKind::Denied).answered_with(StatusCode::NOT_FOUND, message)
        };
        let text = reply(error(), true);
        assert!(text.starts_with("HTTP/1.1 404 Not Found\r\n"), "{text}");
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(json["message"], "ask \"it\" \\ <it@example.org>");
        assert_eq!(
            (&json["status"], &json["error"]),
            (&404.into(), &"http_request_denied".into())
        );
        let text = reply(error(), false);
        assert!(
            text.contains("\n\nask \"it\" \\ <it@example.org>\n\n"),
            "{text}"
        );
    }

    #[test]
    fn the_cause_stays_here() {
        let error = RequestError::new(ErrorKind::DnsError)
            .because(std::io::Error::other("10.1.2.3 said secret"))
            .retry_after(Duration::from_millis(200));
        let text = reply(error, false);
        assert!(!text.contains("secret"), "{text}");
        assert!(text.contains("Retry-After: 1\r\n"), "{text}");
    }
}
