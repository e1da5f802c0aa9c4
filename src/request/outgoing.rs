//! What a server is told beyond what the client sent: the user, and what hooks write. The one place for the requests
//! that Pingora sends and for WebSocket handshakes.

use http::header::{HOST, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};

use super::app::App;
use super::hooks::settle;
use super::outcome::Exchange;
use crate::hook::OutgoingFields;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::target::{Scheme, Target};
use crate::http::trace_context::{TRACEPARENT, TRACESTATE};

/// A head whose fields have any names.
pub trait OutgoingHead: OutgoingFields {
    /// Removes all lines of the fields whose name is such a one.
    fn remove_all(&mut self, is: impl Fn(&[u8]) -> bool);
}

/// Writes the field for the user, and what hooks want, into a head that is about to be sent.
///
/// # Errors
/// A hook ends the request.
pub fn complete(
    app: &App,
    exchange: &mut Exchange,
    head: &mut impl OutgoingHead,
) -> Result<(), RequestError> {
    if let Some(field) = &app.user_field {
        head.remove_all(|name| field.is(name));
    }
    if let Some((field, user)) = app.user_for_upstream(exchange) {
        let name = HeaderName::from_bytes(field.name().as_bytes());
        let value = HeaderValue::from_bytes(user.as_str().as_bytes());
        // Both are checked: the name by the configuration, the user by its type.
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(ErrorKind::Internal.because("the user is no field value"));
        };
        head.set(&name, &value);
    }
    trace(exchange, head);
    if let Some(run) = &mut exchange.run {
        if let Some((scheme, authority)) = run.notes.target() {
            let host = authority.host_field(*scheme).to_string();
            let host = HeaderValue::from_str(&host);
            head.set(
                &HOST,
                &host.map_err(|error| ErrorKind::Internal.because(error))?,
            );
        }
        let done = run.upstream_request(head);
        settle(exchange, done)?;
    }
    inject(exchange, head);
    Ok(())
}

/// Writes the trace context, where the server is to learn of the trace.
fn trace(exchange: &Exchange, head: &mut impl OutgoingFields) {
    let trace = exchange.outcome.trace.as_ref();
    if let Some((parent, state)) = trace.and_then(|trace| trace.for_server()) {
        head.set(&HeaderName::from_static(TRACEPARENT), &parent);
        let name = HeaderName::from_static(TRACESTATE);
        match state {
            Some(state) => head.set(&name, &state),
            None => head.remove(&name),
        }
    }
}

/// Writes the fields of the rule that admitted the request: last, so that no hook sees or changes them, and over TLS
/// alone.
fn inject(exchange: &Exchange, head: &mut impl OutgoingFields) {
    if let Some(terms) = &exchange.outcome.terms
        && let Some(upgrade) = &terms.upgrade
        && exchange.request.scheme == Scheme::Https
    {
        for field in upgrade.fields() {
            head.set(field.name(), field.value());
        }
    }
}

/// Puts the scheme that the client knows back into a `Location` of the origin that was asked over TLS in its place: a
/// client would go there itself, and without the fields that are injected.
pub fn restore_location(exchange: &Exchange, response: &mut ResponseHeader) {
    let terms = exchange.outcome.terms.as_ref();
    if !terms.is_some_and(|terms| terms.is_upgraded) {
        return;
    }
    let location = response.headers.get(LOCATION);
    let location = location.and_then(|location| location.to_str().ok());
    let Some((location, authority)) = location.zip(exchange.request.authority.as_ref()) else {
        return;
    };
    let Ok(Target::Absolute {
        scheme: Scheme::Https,
        authority: named,
        ..
    }) = Target::parse(b"GET", location.as_bytes())
    else {
        return;
    };
    if named == *authority
        && let Some((_, rest)) = location.split_once("://")
        && let Some(path) = rest.find(['/', '?']).map_or(Some("/"), |at| rest.get(at..))
        && let host = match named.port == Scheme::Https.default_port() {
            true => named.host.to_string(),
            // Upgraded to the port that the client has asked for.
            false => named.to_string(),
        }
        && let Ok(value) = HeaderValue::from_str(&format!("http://{host}{path}"))
    {
        response.set(&LOCATION, &value);
    }
}

/// Implements the edits for a head with these three functions.
macro_rules! outgoing {
    ($head:ty) => {
        impl OutgoingFields for $head {
            fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
                // Its only error is a name or value that is none, and these are typed.
                let _ = self.insert_header(name, value.clone());
            }

            fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
                let _ = self.append_header(name, value.clone());
            }

            fn remove(&mut self, name: &HeaderName) {
                self.remove_header(name);
            }
        }
    };
}

outgoing!(RequestHeader);
outgoing!(ResponseHeader);

impl OutgoingHead for RequestHeader {
    fn remove_all(&mut self, is: impl Fn(&[u8]) -> bool) {
        let names = self.headers.keys();
        let names = names.filter(|name| is(name.as_str().as_bytes()));
        let names: Vec<_> = names.cloned().collect();
        for name in names {
            self.remove_header(&name);
        }
    }
}

impl OutgoingFields for HeaderMap {
    fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.insert(name, value.clone());
    }

    fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append(name, value.clone());
    }

    fn remove(&mut self, name: &HeaderName) {
        HeaderMap::remove(self, name);
    }
}
