//! Why an exchange failed, as one sentence with what to do: Pingora's own text repeats itself, with names of Rust in it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use pingora_core::{Error, ErrorType, ImmutStr};

use crate::http::url::HttpUrl;
use crate::text::system_message;
use crate::upstream::handshake;

/// Where it failed. The caller says which URL it is about.
pub(super) struct Place<'a> {
    pub(super) url: &'a HttpUrl,
    pub(super) address: SocketAddr,
    pub(super) connect_timeout: Duration,
}

impl Place<'_> {
    /// What an error of Pingora means.
    pub(super) fn explain(&self, error: &Error) -> String {
        use ErrorType::{
            ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, ConnectionClosed,
            HandshakeError, InvalidCert, InvalidHTTPHeader, ReadError, ReadTimedout,
            TLSHandshakeFailure, TLSHandshakeTimedout, WriteError, WriteTimedout,
        };
        let inner = innermost(error);
        let by = self.by();
        match inner.etype() {
            ConnectRefused => self.refused(),
            ConnectTimedout | TLSHandshakeTimedout => self.not_connected(),
            ConnectNoRoute => {
                format!("no route{by}; correct the URL, or the routes of this machine")
            }
            ConnectError => match cause(inner) {
                Some(error) => self.explain_connect(error),
                None => format!("no connection{by}; correct the URL, or let this host reach it"),
            },
            TLSHandshakeFailure | HandshakeError | InvalidCert => {
                let context = inner.context.as_ref().map_or("", ImmutStr::as_str);
                let failed = handshake::of_pingora(context);
                let why = failed.detail().unwrap_or_else(|| failed.to_string());
                format!("no TLS{by}: {why}")
            }
            _ if is_of_tls(inner) => {
                let why = inner.cause.as_ref().map(ToString::to_string);
                let failed = handshake::of_rustls(&why.unwrap_or_default());
                let why = failed.detail().unwrap_or_else(|| failed.to_string());
                format!("no TLS{by}: {why}")
            }
            ReadTimedout | WriteTimedout => {
                format!("silence{by}; see why the service does not answer")
            }
            ConnectionClosed | ReadError | WriteError => format!(
                "the connection was closed{by} before the end of an answer; see the log of the service, and whether \
                 http or https is right"
            ),
            InvalidHTTPHeader => {
                format!("not an answer of HTTP/1.1{by}; correct the URL, or the service")
            }
            other => format!("{}{by}", handshake::words(other.as_str())),
        }
    }

    /// What an error of the system means that is met by connecting.
    pub(super) fn explain_connect(&self, error: &io::Error) -> String {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            return self.refused();
        }
        let (by, why) = (self.by(), system_message(error));
        format!("cannot connect{by}: {why}; correct the URL, or let this host reach it")
    }

    /// What there is to say when no connection came in time.
    pub(super) fn not_connected(&self) -> String {
        let (by, within) = (self.by(), self.connect_timeout);
        format!(
            "not connected{by} within {within:?}; start the service, correct the URL, or let this host reach it"
        )
    }

    fn refused(&self) -> String {
        let by = self.by();
        format!(
            "connection refused{by}: nothing listens there; start the service, or correct the URL"
        )
    }

    /// The address, where the URL does not have it.
    fn by(&self) -> String {
        match self.url.authority.host {
            crate::http::target::Host::Ip(_) => String::new(),
            crate::http::target::Host::Name(_) => format!(" at {}", self.address),
        }
    }
}

/// The error of Pingora that all the others are about.
fn innermost(error: &Error) -> &Error {
    let inner = error.cause.as_deref();
    let inner = inner.and_then(|inner| inner.downcast_ref::<Box<Error>>());
    inner.map_or(error, |inner| innermost(inner))
}

/// What the system said, in whichever layer.
fn cause(error: &Error) -> Option<&io::Error> {
    let mut layer: Option<&(dyn std::error::Error + 'static)> = Some(error.cause.as_deref()?);
    while let Some(error) = layer {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error);
        }
        layer = error.source();
    }
    None
}

/// Whether an alert of TLS ended the connection.
fn is_of_tls(error: &Error) -> bool {
    let inner = cause(error).and_then(io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<rustls::Error>())
}
