//! What of a list is wanted.

use memchr::memmem::Finder;

/// Rows of a list unless a query says otherwise.
pub const DEFAULT_LIMIT: usize = 100;
/// The most rows of a list.
pub const MAX_LIMIT: usize = 1000;

/// Which rows, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Those of this user alone.
    pub user: Option<&'a str>,
    /// Those with this text in any of their texts, without regard to case.
    pub text: Option<&'a str>,
    /// How many, [`MAX_LIMIT`] at most.
    pub limit: usize,
}

/// By what tunnels are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TunnelsBy {
    /// The highest rates of both directions first.
    #[default]
    Rate,
    /// The most bytes first.
    Bytes,
    /// The oldest first.
    Age,
    /// By user, and the oldest first.
    User,
    /// By target, and the oldest first.
    Target,
}

impl TunnelsBy {
    /// The order of this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "rate" => Some(Self::Rate),
            "bytes" => Some(Self::Bytes),
            "age" => Some(Self::Age),
            "user" => Some(Self::User),
            "target" => Some(Self::Target),
            _ => None,
        }
    }
}

impl Default for Query<'_> {
    fn default() -> Self {
        Self {
            user: None,
            text: None,
            limit: DEFAULT_LIMIT,
        }
    }
}

impl Query<'_> {
    /// The text to search for, prepared.
    pub(super) fn search(&self) -> Search {
        let text = self.text.filter(|text| !text.is_empty());
        Search(text.map(|text| Finder::new(&text.to_lowercase()).into_owned()))
    }

    /// How many rows.
    pub(super) fn limit(&self) -> usize {
        self.limit.min(MAX_LIMIT)
    }
}

/// A text to search for, without regard to case; none matches everything.
pub(super) struct Search(Option<Finder<'static>>);

impl Search {
    /// Whether there is no text, and so everything matches.
    pub(super) fn is_for_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether one of these texts has it.
    pub(super) fn matches<'t>(&self, texts: impl IntoIterator<Item = &'t str>) -> bool {
        let Some(finder) = &self.0 else {
            return true;
        };
        let mut texts = texts.into_iter();
        texts.any(|text| finder.find(text.to_lowercase().as_bytes()).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_has_no_regard_to_case() {
        let of = |text| Query {
            text,
            ..Query::default()
        };
        for (text, texts, expected) in [
            (None, vec![], true),
            (Some(""), vec![], true),
            (Some("ALI"), vec!["bob", "Alice"], true),
            (Some("alice"), vec!["ALIC", "E"], false),
            (Some("ä"), vec!["Ä"], true),
            (Some("ä"), vec!["xäx"], true),
        ] {
            assert_eq!(of(text).search().matches(texts), expected, "{text:?}");
        }
    }

    #[test]
    fn orders_have_names() {
        for (name, order) in [
            ("rate", TunnelsBy::Rate),
            ("bytes", TunnelsBy::Bytes),
            ("age", TunnelsBy::Age),
            ("user", TunnelsBy::User),
            ("target", TunnelsBy::Target),
        ] {
            assert_eq!(TunnelsBy::parse(name), Some(order));
        }
        assert_eq!(TunnelsBy::parse("Rate"), None);
    }
}
