//! What this proxy answers itself at its own port, below `/.tollgate/`: to a request in origin-form, authenticated
//! and not evaluated by the policy, since one that denies by default would hide why it denies.

use bytes::Bytes;
use http::{Method, StatusCode};
use memchr::memchr;

use super::app::App;
use super::outcome::Exchange;
use super::reply::Reply;
use crate::access::auth::User;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::path::ReadPath;

/// The first segment of the paths.
const SEGMENT: &[u8] = b".tollgate";
/// The list of the user's last denials.
const DENIALS: &str = "/.tollgate/denials";

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
