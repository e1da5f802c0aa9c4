//! `Accept` (RFC 9110 §12.5.1), as far as it decides between the two forms of an answer.

/// A weight, in thousandths.
type Weight = u16;

const FULL: Weight = 1000;

/// A type and its subtype.
type Media<'a> = (&'a [u8], &'a [u8]);

/// Whether `Accept` asks for JSON rather than text.
///
/// JSON is asked for by `application/json`, and as well by `application/problem+json`, any other type that
/// ends in `+json`, and `text/json`. It is sent when it has a higher weight than text (`text/plain` or
/// `text/html`), and when both have the same and JSON is named. A client that accepts anything gets text: a
/// person may be reading.
pub fn accepts_json(accept: Option<&[u8]>) -> bool {
    let mut json = Preference::default();
    let mut text = Preference::default();
    let ranges = split(accept.unwrap_or_default(), b',');
    for (media, weight) in ranges.filter_map(range) {
        let (kind, subtype) = media;
        let is =
            |a: &[u8], b: &[u8]| kind.eq_ignore_ascii_case(a) && subtype.eq_ignore_ascii_case(b);
        if is(b"*", b"*") {
            json.any.get_or_insert(weight);
            text.any.get_or_insert(weight);
        } else if is(b"application", b"*") {
            json.kind.get_or_insert(weight);
        } else if is(b"text", b"*") {
            text.kind.get_or_insert(weight);
        } else if is(b"application", b"json") || is(b"text", b"json") || is_json_suffix(media) {
            json.name(weight);
        } else if is(b"text", b"plain") || is(b"text", b"html") {
            text.name(weight);
        }
    }
    let (json_weight, text_weight) = (json.weight(), text.weight());
    json_weight > text_weight
        || (json_weight > 0 && json_weight == text_weight && json.named.is_some())
}

/// The weights of what can be sent, by how closely it was named: the closest counts.
#[derive(Default)]
struct Preference {
    named: Option<Weight>,
    kind: Option<Weight>,
    any: Option<Weight>,
}

impl Preference {
    fn name(&mut self, weight: Weight) {
        self.named = self.named.max(Some(weight));
    }

    fn weight(&self) -> Weight {
        self.named.or(self.kind).or(self.any).unwrap_or(0)
    }
}

fn is_json_suffix((kind, subtype): Media<'_>) -> bool {
    const SUFFIX: &[u8] = b"+json";
    let suffix = subtype.len().checked_sub(SUFFIX.len());
    let suffix = suffix.and_then(|start| subtype.get(start..));
    kind.eq_ignore_ascii_case(b"application")
        && suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(SUFFIX))
}

/// A media range and its weight; none where it is not well-formed.
fn range(range: &[u8]) -> Option<(Media<'_>, Weight)> {
    let mut parts = split(range, b';').map(<[u8]>::trim_ascii);
    let media = parts.next()?;
    let slash = media.iter().position(|byte| *byte == b'/')?;
    let (kind, subtype) = (media.get(..slash)?, media.get(slash + 1..)?);
    let mut weight = FULL;
    for part in parts {
        if let [b'q' | b'Q', b'=', value @ ..] = part {
            weight = parse_weight(value)?;
        }
    }
    Some(((kind.trim_ascii(), subtype.trim_ascii()), weight))
}

/// `0`, `0.5`, `1.000` (RFC 9110 §12.4.2).
fn parse_weight(text: &[u8]) -> Option<Weight> {
    let (whole, digits) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        _ => return None,
    };
    let mut fraction = 0;
    for place in 0..3 {
        let digit = digits.get(place).unwrap_or(&b'0');
        fraction = fraction * 10 + Weight::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    match whole {
        b'0' => Some(fraction),
        b'1' if fraction == 0 => Some(FULL),
        _ => None,
    }
}

/// The parts between separators that do not stand in quotes.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |&byte| {
        if escaped {
            escaped = false;
            return false;
        }
        match byte {
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => return byte == separator && !quoted,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_only_when_it_is_preferred() {
        for (accept, expected) in [
            ("application/json", true),
            ("Application/Problem+JSON", true),
            ("application/vnd.api+json", true),
            ("text/json", true),
            ("application/json, text/plain, */*", true),
            ("application/json; charset=utf-8", true),
            ("application/json, */*;q=0.1", true),
            ("text/html;q=0.4, application/json;q=0.5", true),
            ("application/json;profile=\"a,b;q=0\";q=0.5", true),
            ("application/*", true),
            ("text/plain;q=0, */*", true),
            ("text/*;q=0.1, application/json;Q=0.2", true),
            ("text/html, application/json;q=0.5", false),
            ("text/html, application/json;q=0.9", false),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                false,
            ),
            ("application/json;q=0", false),
            ("application/json;q=0.000", false),
            ("application/json; q=0, */*", false),
            ("application/json;q=high", false),
            ("application/json;q=1.5", false),
            ("*/*", false),
            ("text/plain", false),
            ("image/png", false),
            ("json", false),
            ("application/jsonx", false),
            ("", false),
            (",,;q=1,", false),
        ] {
            assert_eq!(accepts_json(Some(accept.as_bytes())), expected, "{accept}");
        }
        assert!(!accepts_json(None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(accept in prop::collection::vec(any::<u8>(), 0..200)) {
            accepts_json(Some(&accept));
        }

        /// The higher weight wins, in any order and with anything else beside it.
        #[test]
        fn weights_count(json in 0u16..=1000, text in 0u16..=1000, swapped: bool, other in "[a-z]{1,8}/[a-z]{1,8}") {
            let weight = |w: u16| if w == 1000 { "1.000".to_owned() } else { format!("0.{w:03}") };
            let mut ranges = [
                format!("application/json;q={}", weight(json)),
                format!("text/html;q={}", weight(text)),
            ];
            if swapped {
                ranges.reverse();
            }
            let known = ["text/html", "text/plain", "text/json", "application/json"];
            prop_assume!(!known.contains(&other.as_str()));
            let accept = format!("{}, {other}, {}", ranges[0], ranges[1]);
            prop_assert_eq!(accepts_json(Some(accept.as_bytes())), json > 0 && json >= text);
        }
    }
}
