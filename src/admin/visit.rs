//! One connection of the admin service: reads its requests, has them pass the door, and writes their answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use log::{Level, Record};
use percent_encoding::percent_decode_str;
use pingora::http::ResponseHeader;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;

use super::Admin;
use super::answer::{Answer, Body};
use super::connection::Connection;
use super::door::{Operator, Visitor};
use super::events::Feed;
use super::problem::Problem;
use super::routes::{self, Call, Effect, Found, Guard, Route};
use crate::access::client::Client;

/// How long a client may take to send a part of a request, in seconds for one that is idle.
const IDLE_SECONDS: u64 = 60;
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take nothing of its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a body is read that no route wants.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes that are written at once.
const PART: usize = 64 << 10;

/// The largest body of a request.
const MAX_BODY: usize = 64 << 10;

/// Characters of the log about what was changed.
const MAX_CHANGE: usize = 256;

/// What every answer has. Scripts and styles are those of the service, and none is inline.
const FIELDS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// A connection.
pub(super) struct Visit {
    pub(super) admin: Arc<Admin>,
    pub(super) visitor: Visitor,
}

#[async_trait]
impl HttpServerApp for Visit {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        draining: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        session.set_write_timeout(Some(WRITE_TIMEOUT));
        session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
        session.set_pipelining_enabled(true);
        let mut stopping = draining.clone();
        let read = tokio::select! {
            biased;
            // An idle scraper must not delay the end of the process.
            _ = stopping.wait_for(|draining| *draining) => return None,
            read = session.read_request() => read,
        };
        match read {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                log::debug!("admin connection from {}: {error}", self.visitor.address);
                let answer = Answer::malformed("the request cannot be read").rendered(false);
                self.refuse(session, answer).await;
                return None;
            }
        }
        session.set_read_timeout(Some(READ_TIMEOUT));
        // None where the client wants it closed, or where the end of its request could be read in two ways.
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(IDLE_SECONDS));
        }
        let answer = self.answer(&mut session).await;
        if *draining.borrow() {
            session.set_keepalive(None);
        }
        if let Err(error) = write(&mut session, answer).await {
            log::debug!("admin connection from {}: {error}", self.visitor.address);
            return None;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}

impl Visit {
    async fn answer(&self, session: &mut ServerSession) -> Answer {
        let is_api = Route::is_api(session.req_header().uri.path());
        let answer = self.pass(session).await.unwrap_or_else(|answer| answer);
        answer.rendered(is_api)
    }

    /// The way of a request through the door.
    ///
    /// # Errors
    /// The answer to one that does not pass.
    async fn pass(&self, session: &mut ServerSession) -> Result<Answer, Answer> {
        let door = &self.admin.door;
        let head = session.req_header();
        door.check_host(head.version, &head.headers)?;
        // Pingora leaves the authority of an absolute-form out of the URI.
        if !head.raw_path().starts_with(b"/") {
            return Err(Answer::malformed("the target of a request must be a path"));
        }
        let (method, uri) = (head.method.clone(), head.uri.clone());
        let found = routes::find(&method, uri.path(), door.has_page);
        let is_open = match &found {
            Found::Route(route, _) => match route.guard {
                Guard::Open => true,
                Guard::Metrics => door.has_public_metrics,
                Guard::Users | Guard::Page => false,
            },
            // What there is, is for users to know.
            Found::Methods(_) | Found::Nothing => false,
        };
        let operator = match is_open {
            true => Operator::Anyone,
            false => door.admit(&self.visitor, &head.headers).await?,
        };
        let (route, parameter) = match found {
            Found::Route(route, parameter) => (route, parameter),
            Found::Methods(allowed) => return Err(Answer::method_not_allowed(&allowed)),
            Found::Nothing => return Err(Answer::not_found(routes::hint())),
        };
        door.check_effect(route.effect, uri.path(), &head.headers)?;
        let body = match route.effect {
            Effect::Reads => Bytes::new(),
            Effect::Asks | Effect::Reloads | Effect::Changes => read_body(session).await?,
        };
        let parameter = percent_decode_str(parameter).decode_utf8();
        let Ok(parameter) = parameter else {
            return Err(Answer::malformed("the path is not UTF-8"));
        };
        let call = Call {
            admin: &self.admin,
            operator: &operator,
            client: Client::site(self.visitor.address.ip()),
            parameter: &parameter,
            query: uri.query(),
            fields: &session.req_header().headers,
            body,
        };
        let answer = (route.handler)(call).await;
        let may_change = matches!(route.effect, Effect::Reloads | Effect::Changes);
        if may_change && answer.status.is_success() {
            let (method, path) = (route.method.name(), route.path);
            let client = self.visitor.address;
            let operator = operator.shown(self.admin.app.telemetry.user_names());
            let change = answer.change.as_deref().unwrap_or_default();
            let colon = if change.is_empty() { "" } else { ": " };
            let change: String = change.chars().take(MAX_CHANGE).collect();
            log_always(format_args!(
                "admin: {method} {path} by {operator} at {client}{colon}{change}"
            ));
        }
        Ok(answer)
    }

    /// Answers what cannot be read as a request, and closes.
    async fn refuse(&self, mut session: ServerSession, answer: Answer) {
        let Body::Whole(body) = answer.body else {
            return;
        };
        let Ok(mut head) = head(answer.status, answer.fields) else {
            return;
        };
        let length = HeaderValue::from(body.len());
        if head.insert_header(CONTENT_LENGTH, length).is_ok() {
            // A client that is gone is not told.
            drop(session.write_error_response(head, body).await);
        }
    }
}

/// Logs a change at the level `info`, whatever level operators have set: none can hide what it does.
fn log_always(text: fmt::Arguments<'_>) {
    let mut record = Record::builder();
    let record = record.level(Level::Info).target(module_path!()).args(text);
    log::logger().log(&record.build());
}

/// The body of a request.
///
/// # Errors
/// It is too long, or does not come.
async fn read_body(session: &mut ServerSession) -> Result<Bytes, Answer> {
    let mut body = Vec::new();
    loop {
        match session.read_request_body().await {
            Ok(Some(part)) if body.len() + part.len() <= MAX_BODY => body.extend_from_slice(&part),
            Ok(Some(_)) => {
                return Err(Answer::problem(
                    Problem::TooLarge,
                    format!("the body may have {MAX_BODY} bytes"),
                ));
            }
            Ok(None) => return Ok(body.into()),
            Err(_) => return Err(Answer::malformed("the body cannot be read")),
        }
    }
}

async fn write(session: &mut ServerSession, answer: Answer) -> pingora_core::Result<()> {
    let is_head = session.req_header().method == Method::HEAD;
    let mut head = head(answer.status, answer.fields)?;
    match answer.body {
        Body::Whole(body) => {
            if answer.status != StatusCode::NO_CONTENT && answer.status != StatusCode::NOT_MODIFIED
            {
                head.insert_header(CONTENT_LENGTH, HeaderValue::from(body.len()))?;
            }
            session.write_response_header(Box::new(head)).await?;
            if !is_head {
                write_body(session, body).await?;
            }
        }
        Body::Events(feed) => {
            if session.req_header().version == Version::HTTP_11 {
                head.insert_header(TRANSFER_ENCODING, "chunked")?;
            } else {
                // Its end is that of the connection.
                session.set_keepalive(None);
            }
            session.write_response_header(Box::new(head)).await?;
            if !is_head {
                stream(session, feed).await?;
            }
        }
        // It was rendered.
        Body::Problem { .. } => {}
    }
    Ok(())
}

/// Writes a body in parts, so that a client has the time of a write for each of them.
async fn write_body(session: &mut ServerSession, mut body: Bytes) -> pingora_core::Result<()> {
    while !body.is_empty() {
        let part = body.split_to(PART.min(body.len()));
        session.write_response_body(part, body.is_empty()).await?;
    }
    Ok(())
}

/// Writes events until the feed ends, or the client takes none for too long.
async fn stream(session: &mut ServerSession, mut feed: Box<Feed>) -> pingora_core::Result<()> {
    if let Some(stream) = session.stream()
        && let Some(connection) = (**stream).as_any().downcast_ref::<Connection>()
    {
        connection.narrow();
    }
    while let Some(events) = feed.next().await {
        session.write_response_body(events, false).await?;
    }
    session.write_response_body(Bytes::new(), true).await
}

fn head(
    status: StatusCode,
    fields: Vec<(HeaderName, HeaderValue)>,
) -> pingora_core::Result<ResponseHeader> {
    let mut head = ResponseHeader::build(status, Some(fields.len() + FIELDS.len() + 4))?;
    for (name, value) in fields {
        head.append_header(name, value)?;
    }
    for (name, value) in FIELDS {
        head.append_header(name, value)?;
    }
    Ok(head)
}
