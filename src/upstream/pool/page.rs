//! The embedded origin: a page for a first run that needs no web server.

use http::{Method, StatusCode};

use crate::http::error::ErrorKind;

const INDEX: &str = "<!DOCTYPE html>\n\
    <html lang=\"en\">\n\
    <head><meta charset=\"utf-8\"><title>Tollgate</title></head>\n\
    <body>\n\
    <h1>Tollgate works</h1>\n\
    <p>This page comes from the proxy itself: no upstream is configured.\n\
    Name yours under <code>tollgate.gateway.upstreams</code>.</p>\n\
    </body>\n\
    </html>\n";

/// What the embedded origin answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: &'static str,
}

/// Answers a request for `path`, given without its query.
///
/// # Errors
/// [`ErrorKind::MethodNotAllowed`] for anything but GET and HEAD.
pub fn serve(method: &Method, path: &str) -> Result<Page, ErrorKind> {
    if method != Method::GET && method != Method::HEAD {
        return Err(ErrorKind::MethodNotAllowed);
    }
    Ok(match path {
        "/" | "/index.html" => Page {
            status: StatusCode::OK,
            content_type: "text/html; charset=utf-8",
            body: INDEX,
        },
        _ => Page {
            status: StatusCode::NOT_FOUND,
            content_type: "text/plain; charset=utf-8",
            body: "404 Not Found\n\nThe embedded origin has one page: /\n",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_page_two_methods() {
        assert_eq!(serve(&Method::GET, "/").unwrap().status, StatusCode::OK);
        assert_eq!(serve(&Method::HEAD, "/index.html").unwrap().body, INDEX);
        assert_eq!(
            serve(&Method::GET, "/x").unwrap().status,
            StatusCode::NOT_FOUND
        );
        assert_eq!(serve(&Method::POST, "/"), Err(ErrorKind::MethodNotAllowed));
    }
}
