//! The record of a request that Pingora has served.

use http::HeaderValue;
use http::header::{REFERER, USER_AGENT};
use pingora_proxy::Session;

use super::Forwarded;
use super::session::final_status;
use crate::request::app::App;
use crate::telemetry::GATEWAY_SITE;

/// Ends the request and writes its record.
pub(super) fn write(app: &App, session: &Session, forwarded: &mut Forwarded) {
    let status = final_status(session).map(|status| status.as_u16());
    forwarded.exchange.end(app, status);
    let exchange = &forwarded.exchange;
    let request = session.req_header();
    let site = exchange.request.authority.as_ref();
    let site = site.map(ToString::to_string);
    let (path, target);
    let mut record = exchange.record();
    if app.telemetry.logs() {
        path = String::from_utf8_lossy(request.raw_path());
        target = exchange.request.canonical_target(&path);
        let field = |name| request.headers.get(name).map(HeaderValue::as_bytes);
        record.method = request.method.as_str().as_bytes();
        record.target = target.as_bytes();
        record.referer = field(REFERER);
        record.user_agent = field(USER_AGENT);
    }
    record.site = Some(site.as_deref().unwrap_or(GATEWAY_SITE));
    record.status = status;
    record.bytes_from_client = session.body_bytes_read() as u64;
    record.bytes_to_client = session.body_bytes_sent() as u64;
    record.bytes_from_upstream = session.upstream_body_bytes_received() as u64;
    app.telemetry.record(&record);
}
