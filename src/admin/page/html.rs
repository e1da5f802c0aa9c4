//! Writes HTML: the one place that escapes.
//!
//! Markup is `&'static str`, so that nothing that comes from outside of the program can be markup. Everything else goes
//! through [`Html::text`], [`Html::attribute`] or [`Html::data`]. Pure.

use std::fmt::Write as _;

use serde_json::Value;

/// A document that grows.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup of the program itself.
    pub(super) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text between tags.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.escape(text);
        self
    }

    /// An attribute of the tag that is open: ` name="value"`.
    pub(super) fn attribute(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.0.push(' ');
        self.0.push_str(name);
        self.0.push_str("=\"");
        self.escape(value);
        self.0.push('"');
        self
    }

    /// JSON inside of a `<script type="application/json">`.
    ///
    /// A script element has no character references. So each character that could end it, or that begins a comment
    /// in it, is an escape of JSON.
    pub(super) fn data(&mut self, value: &Value) -> &mut Self {
        for character in value.to_string().chars() {
            match character {
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    // Writing to a string does not fail.
                    let _infallible = write!(self.0, "\\u{:04x}", u32::from(character));
                }
                character => self.0.push(character),
            }
        }
        self
    }

    /// The document.
    pub(super) fn finish(self) -> String {
        self.0
    }

    /// The same characters for text and for quoted attributes, so that there is one escaper.
    fn escape(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                character => self.0.push(character),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Strings with many of the characters that mean something to HTML.
    fn hostile() -> impl Strategy<Value = String> {
        let pieces = prop_oneof![
            Just("</script>".to_owned()),
            Just("<!--".to_owned()),
            Just("--><script>alert(1)</script>".to_owned()),
            Just("\" onload=\"alert(1)".to_owned()),
            Just("' onload='alert(1)".to_owned()),
            Just("&lt;".to_owned()),
            Just("&#x3c;".to_owned()),
            Just("]]>".to_owned()),
            Just("\u{2028}".to_owned()),
            any::<String>(),
            "[<>&\"'`=/ a-z]{0,8}",
        ];
        prop::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat())
    }

    /// What a browser makes of the character references.
    fn unescape(escaped: &str) -> String {
        escaped
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&amp;", "&")
    }

    proptest! {
        #[test]
        fn text_stays_text(text in hostile()) {
            let mut html = Html::default();
            html.markup("<p>").text(&text).markup("</p>");
            let html = html.finish();
            let inside = html.strip_prefix("<p>").and_then(|html| html.strip_suffix("</p>")).unwrap();
            prop_assert!(!inside.contains(['<', '>', '"', '\'']), "{inside}");
            prop_assert_eq!(unescape(inside), text);
        }

        #[test]
        fn a_value_stays_in_its_attribute(value in hostile()) {
            let mut html = Html::default();
            html.markup("<p").attribute("title", &value).markup(">");
            let html = html.finish();
            let inside = html.strip_prefix("<p title=\"").and_then(|html| html.strip_suffix("\">")).unwrap();
            prop_assert!(!inside.contains(['<', '>', '"', '\'']), "{inside}");
            prop_assert_eq!(unescape(inside), value);
        }

        #[test]
        fn data_stays_data(key in hostile(), value in hostile()) {
            let expected = json!({ key: [value] });
            let mut html = Html::default();
            html.data(&expected);
            let html = html.finish();
            prop_assert!(!html.contains(['<', '>', '&', '\u{2028}', '\u{2029}']), "{html}");
            prop_assert_eq!(serde_json::from_str::<Value>(&html).unwrap(), expected);
        }
    }
}
