//! What this proxy answers itself at its own port, to a request in origin-form that the policy does not evaluate.
//!
//! Below `/.tollgate/` it is authenticated: a policy that denies by default would hide why it denies. A client reads the
//! PAC file before it knows that there is a proxy to authenticate at, so that this needs a user only where the operator
//! says so.

use bytes::Bytes;
use http::header::{HeaderValue, IF_NONE_MATCH};
use http::{Method, StatusCode};
use memchr::memchr;
use pingora::http::RequestHeader;

use super::app::App;
use super::facts::Request;
use super::outcome::Exchange;
use super::reply::Reply;
use crate::access::auth::User;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::pac::{self, Pac};
use crate::http::path::ReadPath;

/// The first segment of the paths.
const SEGMENT: &[u8] = b".tollgate";
/// The list of the user's last denials.
const DENIALS: &str = "/.tollgate/denials";

/// A change of the PAC file reaches clients within this time.
const FOR_ALL: HeaderValue = HeaderValue::from_static("max-age=300");
/// The same for a file that only users may read.
const FOR_ONE: HeaderValue = HeaderValue::from_static("private, max-age=300");

const NOT_FOUND: &str = "404 Not Found\n\n\
    Below /.tollgate/ this proxy answers itself. It has one page:\n\n\
    /.tollgate/denials  the last requests of yours that were denied, and why, as JSON\n";

/// Whether a server may read the path of this target as one below `/.tollgate/`. Such a request goes to no upstream.
pub fn is_own(target: &[u8]) -> bool {
    // Most are too short, or have neither the letters nor an encoded one.
    let may_be = || {
        let has_letters = |bytes: &[u8]| bytes.eq_ignore_ascii_case(b"tollgate");
        memchr(b'%', target).is_some() || target.windows(8).any(has_letters)
    };
    if target.len() <= SEGMENT.len() || !may_be() {
        return false;
    }
    ReadPath::readings(target).any(|path| path.begins_with(SEGMENT))
}

/// Whether a request that this proxy answers itself is for a user.
pub fn needs_user(app: &App, request: &Request) -> bool {
    let pac = app.pac.as_ref().filter(|_| request.is_pac);
    pac.is_none_or(|pac| pac.needs_user())
}

/// Answers a request for the PAC file. Nothing of the request is in the answer.
///
/// # Errors
/// The method is another one than GET and HEAD.
pub fn pac(pac: &Pac, head: &RequestHeader) -> Result<Reply, RequestError> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(ErrorKind::MethodNotAllowed.into());
    }
    let mut held = head.headers.get_all(IF_NONE_MATCH).iter();
    let reply = match held.any(|tags| pac.is_held(tags.as_bytes())) {
        true => Reply::not_modified(),
        false => Reply::new(StatusCode::OK, pac::CONTENT_TYPE, pac.script()),
    };
    let caching = if pac.needs_user() { FOR_ONE } else { FOR_ALL };
    Ok(reply.kept(caching, pac.tag()))
}

/// Answers a request for `path`, given without its query, to the user of the exchange.
///
/// # Errors
/// The method is another one than GET and HEAD, or the request was not authenticated: a defect.
pub fn answer(
    app: &App,
    exchange: &Exchange,
    method: &Method,
    path: &str,
) -> Result<Reply, RequestError> {
    let user = exchange.outcome.user.as_ref().map(User::as_str);
    let user = user.ok_or_else(|| ErrorKind::Internal.because("no user was authenticated"))?;
    if path != DENIALS {
        let body = Bytes::from_static(NOT_FOUND.as_bytes());
        let content_type = "text/plain; charset=utf-8";
        return Ok(Reply::new(StatusCode::NOT_FOUND, content_type, body));
    }
    if method != Method::GET && method != Method::HEAD {
        return Err(ErrorKind::MethodNotAllowed.into());
    }
    let list = Bytes::from(app.telemetry.render_denials(user));
    Ok(Reply::new(StatusCode::OK, "application/json", list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_path_is_own() {
        for target in [
            "/.tollgate",
            "/.tollgate/",
            "/.tollgate/denials?limit=1",
            "/%2etollgate/denials",
            "/%2Etollg%61te/denials",
            "/x/../.tollgate/denials",
            "/./.tollgate/x",
            "//.tollgate/denials",
            "/x%2f..%2f.tollgate/denials",
            "/.tollgate;a=b/denials",
            "\\.tollgate\\denials",
        ] {
            assert!(is_own(target.as_bytes()), "{target}");
        }
        for target in [
            "/",
            "*",
            "/.tollgates",
            "/tollgate/denials",
            "/x/.tollgate/denials",
            "/.tollgate/../x",
            "/?/.tollgate/denials",
            "/.Tollgate/denials",
            "/.well-known/x",
        ] {
            assert!(!is_own(target.as_bytes()), "{target}");
        }
    }
}
