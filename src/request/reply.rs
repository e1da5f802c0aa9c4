//! Every answer that Tollgate makes itself: one shape for refusals of all three
//! roles, written to a Pingora session or to a bare connection.
//!
//! The client learns a status, a fixed sentence, the error type of RFC 9209 and
//! an id to quote; of a denial also the rule and its message, of a limit its name, in the reason phrase
//! too. The cause stays in the log.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use pingora::http::ResponseHeader;
use pingora_core::Result as PingoraResult;
use pingora_proxy::Session;

use crate::http::answer::Answer;
use crate::http::error::{ErrorKind, NextHop, RequestError};
use crate::http::fields::push_line;
use crate::request::request_id::RequestId;

/// An answer, ready to be written.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    /// The reason phrase, where it is another one than that of the status.
    reason: Option<String>,
    fields: Vec<(Cow<'static, str>, HeaderValue)>,
    body: Bytes,
}

impl Reply {
    /// The answer to a request that failed.
    ///
    /// `challenges` are the values of `Proxy-Authenticate` for a 407, of `WWW-Authenticate` for a 401. With `json` the
    /// body is a JSON object, else a line of text.
    pub fn to_error(
        error: &RequestError,
        id: RequestId,
        challenges: &[HeaderValue],
        json: bool,
    ) -> Self {
        let kind = error.kind();
        let status = error.status();
        let text = error.text();
        let reason = status.canonical_reason().unwrap_or("Error");
        let denial = error.denial();
        let rule = denial.and_then(|denial| denial.rule());
        let limit = error.word().filter(|_| kind == ErrorKind::LimitReached);
        let mut body = String::with_capacity(256);
        // Writing to a String cannot fail.
        let _ = if json {
            let named = rule.map(|rule| ("rule", rule));
            let named = named.or(limit.map(|limit| ("limit", limit)));
            let named =
                named.map(|(key, name)| format!("\"{key}\":{},", serde_json::Value::from(name)));
            let resets = error.reset_time();
            let resets =
                resets.map(|time| format!("\"resets_at\":{},", serde_json::Value::from(time)));
            writeln!(
                body,
                "{{\"status\":{},\"error\":\"{}\",{}{}\"message\":{},\"request_id\":\"{id}\"}}",
                status.as_u16(),
                kind.name(),
                named.unwrap_or_default(),
                resets.unwrap_or_default(),
                serde_json::Value::from(text),
            )
        } else {
            let named = rule.or(limit).map(|name| format!(" by {name}"));
            writeln!(
                body,
                "{} {reason}\n\n{text}\n\n{}{} (request {id})",
                status.as_u16(),
                kind.name(),
                named.unwrap_or_default(),
            )
        };
        let content_type = if json {
            "application/json"
        } else {
            "text/plain; charset=utf-8"
        };
        let mut reply = Self::new(status, content_type, Bytes::from(body));
        // RFC 9209 §2.1.3 calls it details.
        let rule = rule.map(|rule| format!("rule {rule}"));
        let details = rule.as_deref().or(error.word());
        let details = details.map(|text| format!("; details={}", quoted(text)));
        reply.push(
            "Proxy-Status",
            &format!(
                "tollgate; error={}{}{}",
                kind.proxy_status(),
                details.unwrap_or_default(),
                error.next_hop().map(shown).unwrap_or_default()
            ),
        );
        let over = limit.map(|limit| format!("{reason}: {limit}"));
        reply.reason = denial.map(|denial| denial.phrase()).or(over);
        reply.push("X-Request-Id", &id.to_string());
        if kind.is_challenge() {
            let name = match status {
                StatusCode::UNAUTHORIZED => "WWW-Authenticate",
                _ => "Proxy-Authenticate",
            };
            let lines = challenges.iter();
            let lines = lines.map(|challenge| (name.into(), challenge.clone()));
            reply.fields.extend(lines);
        }
        if kind == ErrorKind::MethodNotAllowed {
            // What the embedded origin and the list of denials know: nothing else refuses a method.
            reply.push("Allow", "GET, HEAD");
        }
        if let Some(delay) = error.retry_delay() {
            // One that comes a moment too early is refused again.
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            reply.push("Retry-After", &seconds.max(1).to_string());
        }
        reply
    }

    /// The answer that a hook gives.
    pub fn of_hook(answer: &Answer, id: RequestId) -> Self {
        let mut reply = Self {
            status: answer.status,
            reason: None,
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
            reason: None,
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

    /// The answer to a client that has what it asks for (RFC 9110 §15.4.5).
    pub fn not_modified() -> Self {
        Self {
            status: StatusCode::NOT_MODIFIED,
            reason: None,
            fields: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// The same for a client to keep, as `caching` says and with this entity tag.
    #[must_use]
    pub fn kept(mut self, caching: HeaderValue, tag: HeaderValue) -> Self {
        self.fields.retain(|(name, _)| name != "Cache-Control");
        self.fields.push(("Cache-Control".into(), caching));
        self.fields.push(("ETag".into(), tag));
        self
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
        if let Some(reason) = &self.reason {
            head.set_reason_phrase(Some(reason))?;
        }
        for (name, value) in self.fields {
            // A field may have several lines, as one of challenges.
            head.append_header(name.into_owned(), value)?;
        }
        session.write_response_header(Box::new(head), false).await?;
        let body = Some(self.body);
        session.write_response_body(body, true).await
    }

    /// The answer as bytes for a connection that is not with Pingora.
    pub fn to_bytes(&self, close: bool) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512 + self.body.len());
        let reason = self.reason.as_deref().or(self.status.canonical_reason());
        let reason = reason.unwrap_or_default();
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

/// The parameters of a proxy at which the request failed.
fn shown(hop: &NextHop) -> String {
    let received = hop.received.map(|status| status.as_u16());
    let received = received.map(|status| format!("; received-status={status}"));
    let name = quoted(&hop.name);
    format!("; next-hop={name}{}", received.unwrap_or_default())
}

/// A string of a structured field (RFC 8941 §3.3.3), which has printable ASCII only.
fn quoted(text: &str) -> String {
    let mut string = String::with_capacity(text.len() + 2);
    string.push('"');
    for c in text.chars().filter(|c| matches!(c, ' '..='~')) {
        if matches!(c, '"' | '\\') {
            string.push('\\');
        }
        string.push(c);
    }
    string.push('"');
    string
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http::denial::Denial;

    fn reply(error: RequestError, json: bool) -> String {
        let challenge = HeaderValue::from_static("Basic realm=\"r\", charset=\"UTF-8\"");
        let reply = Reply::to_error(&error, RequestId::new(7), &[challenge], json);
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
            let denial = Denial::new(ErrorKind::Denied, "r", message);
            RequestError::denied(denial, StatusCode::NOT_FOUND)
        };
        let text = reply(error(), true);
        let line = "HTTP/1.1 404 denied by r: ask \"it\" \\ <it@example.org>\r\n";
        assert!(text.starts_with(line), "{text}");
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
    fn a_denial_names_its_rule_unless_it_is_hidden() {
        let denial = |kind| Denial::new(kind, "special_purpose", None);
        let shown = denial(ErrorKind::AddressDenied);
        let hidden = denial(ErrorKind::AddressDenied).without_rule();
        for json in [false, true] {
            let text = reply(
                RequestError::denied(shown.clone(), StatusCode::FORBIDDEN),
                json,
            );
            assert!(
                text.starts_with("HTTP/1.1 403 denied by special_purpose\r\n"),
                "{text}"
            );
            let field = "Proxy-Status: tollgate; error=destination_ip_prohibited; details=\"rule special_purpose\"\r\n";
            assert!(text.contains(field), "{text}");
            let (_, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(body.contains(if json {
                "\"rule\":\"special_purpose\",\"message\":"
            } else {
                "destination_ip_prohibited by special_purpose (request "
            }));
            let text = reply(
                RequestError::denied(hidden.clone(), StatusCode::FORBIDDEN),
                json,
            );
            assert!(
                text.starts_with("HTTP/1.1 403 denied by policy\r\n"),
                "{text}"
            );
            assert!(
                text.contains("error=destination_ip_prohibited\r\n"),
                "{text}"
            );
            assert!(
                !text.contains("special_purpose") && !text.contains("\"rule\""),
                "{text}"
            );
        }
    }

    #[test]
    fn a_limit_is_named() {
        let error = || {
            let wait = Duration::from_millis(1001);
            RequestError::new(ErrorKind::LimitReached)
                .told("ci.requests")
                .retry_after(wait)
        };
        let text = reply(error(), false);
        assert!(
            text.starts_with("HTTP/1.1 429 Too Many Requests: ci.requests\r\n"),
            "{text}"
        );
        let field =
            "Proxy-Status: tollgate; error=connection_limit_reached; details=\"ci.requests\"\r\n";
        assert!(text.contains(field), "{text}");
        // One that comes a moment too early is refused again.
        assert!(text.contains("\r\nRetry-After: 2\r\n"), "{text}");
        assert!(
            text.contains("\n\nlimit_reached by ci.requests (request "),
            "{text}"
        );
        let text = reply(error(), true);
        assert!(text.contains("\"limit\":\"ci.requests\","), "{text}");
    }

    #[test]
    fn the_next_hop_is_named() {
        let error = RequestError::new(ErrorKind::ParentAuth);
        let error = error.at_next_hop("corp".into(), Some(StatusCode::FORBIDDEN));
        let field = "Proxy-Status: tollgate; error=http_protocol_error; next-hop=\"corp\"; received-status=403\r\n";
        let text = reply(error.repeat(), false);
        assert!(text.contains(field), "{text}");
        let text = reply(
            ErrorKind::ParentFailed
                .because("x")
                .at_next_hop("corp".into(), None),
            true,
        );
        let field = "Proxy-Status: tollgate; error=destination_unavailable; next-hop=\"corp\"\r\n";
        assert!(text.contains(field), "{text}");
    }

    #[test]
    fn a_string_of_a_structured_field_is_quoted() {
        assert_eq!(quoted("a \"b\" \\ c\r\nü"), "\"a \\\"b\\\" \\\\ c\"");
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
