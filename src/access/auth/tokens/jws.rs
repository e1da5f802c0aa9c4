//! A signed token in the compact serialisation (RFC 7515 §7.1), taken apart and not verified.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::TokenError;
use crate::access::auth::json::{Json, Object};

/// The longest token.
pub const MAX_TOKEN_LEN: usize = 16 * 1024;

/// Values in the header and in the claims, at any depth.
const MAX_VALUES: usize = 1024;

/// The longest name of a key.
const MAX_KEY_ID: usize = 256;

/// Media types of a token that is for a resource (RFC 7519 §5.1, RFC 9068 §2.1, and JOSE as SPIFFE allows it). Others
/// are for another purpose, such as `logout+jwt`.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "jose"];

/// The parts of a token.
#[derive(Debug)]
pub(super) struct Jws<'a> {
    /// `alg`, which is only compared with that of the key.
    pub(super) algorithm: Box<str>,
    /// `kid`, which is only compared with those of the keys.
    pub(super) key_id: Option<Box<str>>,
    pub(super) claims: Object,
    /// The bytes under the signature.
    pub(super) signed: &'a [u8],
    pub(super) signature: Vec<u8>,
}

/// Whether a password is a token: three parts between two dots, of which the first is base64url of `{` and more.
pub fn is_token(password: &[u8]) -> bool {
    let [b'e', second, ..] = password else {
        return false;
    };
    let is_brace = matches!(second, b'w'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    is_brace && password.iter().filter(|byte| **byte == b'.').count() == 2
}

impl<'a> Jws<'a> {
    /// Takes a token apart.
    ///
    /// Every part has one spelling: base64url without padding (RFC 7515 §2), the unused bits zero. `jku`, `jwk`, `x5u`
    /// and `x5c` are not read: no key comes from a token.
    pub(super) fn parse(token: &'a [u8]) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_LEN {
            return Err(TokenError::Malformed("too long"));
        }
        let mut dots = token
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'.')
            .map(|(at, _)| at);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(TokenError::Malformed("not three parts"));
        };
        let part = |range: Option<&[u8]>| {
            let part = range.filter(|part| !part.is_empty());
            let part = part.ok_or(TokenError::Malformed("an empty part"))?;
            let decoded = URL_SAFE_NO_PAD.decode(part);
            decoded.map_err(|_invalid| TokenError::Malformed("not base64url"))
        };
        let header = part(token.get(..first))?;
        let claims = part(token.get(first + 1..second))?;
        let signature = part(token.get(second + 1..))?;
        let header = Object::parse(&header, MAX_VALUES).map_err(TokenError::Header)?;
        let (algorithm, key_id) = read_header(&header)?;
        Ok(Self {
            algorithm,
            key_id,
            claims: Object::parse(&claims, MAX_VALUES).map_err(TokenError::Payload)?,
            signed: token.get(..second).unwrap_or_default(),
            signature,
        })
    }
}

fn read_header(header: &Object) -> Result<(Box<str>, Option<Box<str>>), TokenError> {
    // No extension is known here, and an unknown critical one refuses the token (RFC 7515 §4.1.11).
    if header.get("crit").is_some() {
        return Err(TokenError::Critical);
    }
    if let Some(kind) = header.get("typ") {
        let kind = kind.text().unwrap_or_default().to_ascii_lowercase();
        let kind = kind.strip_prefix("application/").unwrap_or(&kind);
        if !TYPES.contains(&kind) {
            return Err(TokenError::Kind);
        }
    }
    let algorithm = header.get("alg").and_then(Json::text);
    let algorithm = algorithm.ok_or(TokenError::Malformed("no alg in the header"))?;
    let key_id = match header.get("kid") {
        None => None,
        Some(Json::Text(key_id)) if key_id.len() <= MAX_KEY_ID => Some(key_id.clone()),
        Some(_) => return Err(TokenError::Malformed("kid is no text, or too long")),
    };
    Ok((algorithm.into(), key_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        format!("{header}.{claims}.AAAA")
    }

    #[test]
    fn the_parts() {
        let text = token(
            r#"{"alg":"ES256","kid":"../../etc/passwd","jku":"http://x/"}"#,
            r#"{"a":1}"#,
        );
        assert!(is_token(text.as_bytes()));
        let jws = Jws::parse(text.as_bytes()).unwrap();
        assert_eq!(&*jws.algorithm, "ES256");
        assert_eq!(jws.key_id.as_deref(), Some("../../etc/passwd"));
        assert_eq!(jws.signature, [0, 0, 0]);
        assert_eq!(jws.signed, text.strip_suffix(".AAAA").unwrap().as_bytes());
        for header in [
            r#"{"alg":"x","typ":"JWT"}"#,
            r#"{"alg":"x","typ":"application/at+JWT"}"#,
            r#"{"alg":"x","typ":"JOSE","kid":""}"#,
        ] {
            assert!(
                Jws::parse(token(header, "{}").as_bytes()).is_ok(),
                "{header}"
            );
        }
    }

    #[test]
    fn refused() {
        let long = format!(r#"{{"alg":"x","kid":"{}"}}"#, "k".repeat(257));
        for (header, reason) in [
            (r#"{"alg":"x","crit":["b64"],"b64":false}"#, "critical"),
            (r#"{"alg":"x","crit":[]}"#, "critical"),
            (r#"{"alg":"x","typ":"logout+jwt"}"#, "type"),
            (r#"{"alg":"x","typ":1}"#, "type"),
            (r#"{}"#, "malformed"),
            (r#"{"alg":1}"#, "malformed"),
            (r#"{"alg":"x","kid":1}"#, "malformed"),
            (r#"{"alg":"x","alg":"y"}"#, "malformed"),
            (r#"[]"#, "malformed"),
            (&long, "malformed"),
        ] {
            let error = Jws::parse(token(header, "{}").as_bytes()).unwrap_err();
            assert_eq!(error.reason(), reason, "{header}");
        }
        let whole = token(r#"{"alg":"x"}"#, "{}");
        for text in [
            "",
            "..",
            "a.b",
            "eyJ9.e30.AA.AA",
            &format!("{whole}="),
            &format!("{whole}+"),
            &format!(" {whole}"),
            &format!("{whole}\n"),
            // The unused bits of the last character are not zero.
            &whole.replace(".AAAA", ".AB"),
            &whole.replace(".AAAA", "."),
            &whole.replace("AAAA", &"A".repeat(MAX_TOKEN_LEN)),
            &token(r#"{"alg":"x"}"#, r#"{"a":1,"a":2}"#),
        ] {
            let error = Jws::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.reason(), "malformed", "{text:.80}");
        }
    }

    #[test]
    fn a_password_is_no_token() {
        for (password, expected) in [
            ("eyJhbGciOiJFUzI1NiJ9.e30.AA", true),
            ("ewogICJhIjoxfQ.e30.AA", true),
            ("correct.horse.battery", false),
            ("eyJhbGciOiJFUzI1NiJ9.e30", false),
            ("eyJhbGciOiJFUzI1NiJ9.e30.AA.AA.AA", false),
            ("e.x.y", false),
            ("east.west.north", false),
            ("", false),
        ] {
            assert_eq!(is_token(password.as_bytes()), expected, "{password}");
        }
    }
}
