//! The files of the page, which are in the program.

use std::sync::LazyLock;

/// A file.
pub(super) struct Asset {
    /// Its `Content-Type`.
    pub(super) content_type: &'static str,
    /// What it has.
    pub(super) body: &'static [u8],
    etag: LazyLock<String>,
}

macro_rules! asset {
    ($content_type:literal, $body:expr) => {
        Asset {
            content_type: $content_type,
            body: $body,
            etag: LazyLock::new(|| strong_etag($body)),
        }
    };
}

/// One style sheet for the browser: uPlot's as it was published, and the page's.
pub(super) static STYLE_SHEET: Asset = asset!(
    "text/css; charset=utf-8",
    concat!(
        include_str!("assets/uplot/uPlot.min.css"),
        "\n",
        include_str!("assets/page.css")
    )
    .as_bytes()
);

/// The module of the page.
pub(super) static MODULE: Asset = asset!(
    "text/javascript; charset=utf-8",
    include_bytes!("assets/page.js")
);

/// uPlot, whose licence wants to be in each copy.
pub(super) static CHARTS: Asset = asset!(
    "text/javascript; charset=utf-8",
    concat!(
        "/*\n",
        include_str!("assets/uplot/LICENSE"),
        "*/\n",
        include_str!("assets/uplot/uPlot.iife.min.js")
    )
    .as_bytes()
);

/// The icon.
pub(super) static ICON: Asset = asset!("image/svg+xml", include_bytes!("assets/icon.svg"));

impl Asset {
    /// Its strong validator (RFC 9110 §8.8.3): equal for equal bytes alone.
    pub(super) fn etag(&self) -> &str {
        &self.etag
    }

    /// Whether a client has it already, by its `If-None-Match` (RFC 9110 §13.1.2).
    pub(super) fn is_held(&self, if_none_match: &[u8]) -> bool {
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

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn a_validator_is_found_in_what_a_client_has() {
        for asset in [&STYLE_SHEET, &MODULE, &CHARTS, &ICON] {
            let tag = asset.etag();
            assert!(tag.starts_with('"') && tag.len() == 34, "{tag}");
            for (held, expected) in [
                (tag.to_owned(), true),
                (format!("W/{tag}"), true),
                (format!("\"x\", {tag}"), true),
                ("*".to_owned(), true),
                (tag.trim_matches('"').to_owned(), false),
                ("\"x\"".to_owned(), false),
                (String::new(), false),
            ] {
                assert_eq!(asset.is_held(held.as_bytes()), expected, "{held}");
            }
            assert!(!asset.is_held(b"\xff"));
        }
    }

    /// uPlot is as it was published; scripts/uplot.sh fetches it again.
    #[test]
    fn uplot_is_what_was_published() {
        let files: [(&str, &[u8]); 3] = [
            ("LICENSE", include_bytes!("assets/uplot/LICENSE")),
            (
                "uPlot.iife.min.js",
                include_bytes!("assets/uplot/uPlot.iife.min.js"),
            ),
            (
                "uPlot.min.css",
                include_bytes!("assets/uplot/uPlot.min.css"),
            ),
        ];
        let sums = files.map(|(name, content)| {
            let hash: String = Sha256::digest(content)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("{hash}  {name}\n")
        });
        assert_eq!(sums.concat(), include_str!("assets/uplot/SHA256SUMS"));
        let version = include_str!("assets/uplot/VERSION").trim();
        assert_eq!(version, "1.6.32");
        let script = std::str::from_utf8(files[1].1).unwrap();
        assert!(script.contains(&format!("(v{version})")));
    }

    /// What would make a browser ask another origin, or run what is not a file of the page.
    #[test]
    fn own_files_have_no_markup_from_data_and_no_other_origin() {
        let script = include_str!("assets/page.js");
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            "setTimeout(\"",
            "://",
        ] {
            assert!(!script.contains(word), "{word}");
        }
        let style = include_str!("assets/page.css");
        for word in ["://", "@import", "url("] {
            assert!(!style.contains(word), "{word}");
        }
    }
}
