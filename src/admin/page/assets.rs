//! The files of the page, which are in the program.

use std::sync::LazyLock;

/// A file.
pub(in crate::admin) struct Asset {
    path: &'static str,
    /// Its `Content-Type`.
    pub(in crate::admin) content_type: &'static str,
    /// What it has.
    pub(in crate::admin) body: &'static [u8],
    etag: LazyLock<String>,
}

macro_rules! asset {
    ($path:literal, $content_type:literal, $body:expr) => {
        Asset {
            path: $path,
            content_type: $content_type,
            body: $body,
            etag: LazyLock::new(|| strong_etag($body)),
        }
    };
}

static ASSETS: [Asset; 4] = [
    asset!(
        "/assets/page.css",
        "text/css; charset=utf-8",
        // One style sheet for the browser, and uPlot's as it was published.
        concat!(
            include_str!("assets/uplot/uPlot.min.css"),
            "\n",
            include_str!("assets/page.css")
        )
        .as_bytes()
    ),
    asset!(
        "/assets/page.js",
        "text/javascript; charset=utf-8",
        include_bytes!("assets/page.js")
    ),
    asset!(
        "/assets/uplot.js",
        "text/javascript; charset=utf-8",
        include_bytes!("assets/uplot/uPlot.iife.min.js")
    ),
    asset!("/assets/icon.svg", "image/svg+xml", include_bytes!("assets/icon.svg")),
];

/// The file at a path.
pub(in crate::admin) fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Asset {
    /// Its strong validator (RFC 9110 §8.8.3): equal for equal bytes alone.
    pub(in crate::admin) fn etag(&self) -> &str {
        &self.etag
    }

    /// Whether a client has it already, by its `If-None-Match` (RFC 9110 §13.1.2).
    pub(in crate::admin) fn is_held(&self, if_none_match: &[u8]) -> bool {
        let Ok(listed) = std::str::from_utf8(if_none_match) else {
            return false;
        };
        let mut tags = listed.split(',').map(str::trim);
        // The comparison is weak: a cache between may have weakened the tag.
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.etag())
    }
}

fn strong_etag(body: &[u8]) -> String {
    let hash = blake3::hash(body).to_hex();
    format!("\"{}\"", hash.get(..32).unwrap_or_default())
}
