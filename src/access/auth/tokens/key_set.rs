//! A set of keys as an issuer publishes it (JWK Set, RFC 7517).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

use super::key::{Material, PublicKey};
use crate::access::auth::json::{Json, JsonError, Object};

/// The largest set, in bytes.
pub const MAX_KEY_SET: usize = 256 * 1024;

/// Keys of one set.
const MAX_KEYS: usize = 128;

/// Values of one set, at any depth.
const MAX_VALUES: usize = 16 * 1024;

/// The longest name of a key, as in a token.
const MAX_KEY_ID: usize = 256;

/// Bits of an RSA modulus: shorter ones are broken, longer ones cost too much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The keys of one set that can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(pub(super) Vec<PublicKey>);

/// Why a set cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeySetError {
    /// More than [`MAX_KEY_SET`].
    #[error("larger than 256 KiB")]
    TooLarge,
    /// Not JSON, or not an object.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// No list `keys`.
    #[error("not a JWK Set: an object with a list `keys`")]
    NoList,
    /// More than 128 keys.
    #[error("more than 128 keys")]
    TooManyKeys,
    /// A private key, which no set of public keys has.
    #[error("a private key, or a secret one; a JWK Set for verification has public keys alone")]
    Private,
    /// No key of a known kind.
    #[error("no key for RS256, PS256, ES256 or EdDSA (Ed25519) that is for signatures")]
    NoKey,
}

impl KeySet {
    /// Reads the text of a set.
    ///
    /// Keys of unknown kinds, for another purpose (`use`, `key_ops`, `alg`) or with values that are not valid are left
    /// out (RFC 7517 §5). An RSA key without `alg` is for RS256. URLs and certificates in a key are not read.
    ///
    /// # Errors
    /// [`KeySetError`], also for a set in which no key can be used.
    pub fn parse(text: &[u8]) -> Result<KeySet, KeySetError> {
        if text.len() > MAX_KEY_SET {
            return Err(KeySetError::TooLarge);
        }
        let set = Object::parse(text, MAX_VALUES)?;
        let list = set.get("keys").and_then(Json::list);
        let list = list.ok_or(KeySetError::NoList)?;
        if list.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let is_secret = |key: &Json| key.get("d").is_some() || key.get("k").is_some();
        if list.iter().any(is_secret) {
            return Err(KeySetError::Private);
        }
        let mut keys: Vec<PublicKey> = Vec::new();
        for key in list.iter().filter_map(read) {
            // The first of a name and an algorithm counts: a token selects by both.
            let is_same = |other: &PublicKey| {
                other.id == key.id && other.material.algorithm() == key.material.algorithm()
            };
            if key.id.is_none() || !keys.iter().any(is_same) {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoKey);
        }
        Ok(KeySet(keys))
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

fn read(key: &Json) -> Option<PublicKey> {
    let text = |name| key.get(name).map(Json::text);
    // None where it is left out; nothing is read from a value of another type.
    if !matches!(text("use"), None | Some(Some("sig"))) {
        return None;
    }
    if let Some(operations) = key.get("key_ops") {
        let mut operations = operations.list()?.iter();
        operations.find(|operation| operation.text() == Some("verify"))?;
    }
    let id = match text("kid") {
        None => None,
        Some(id) => Some(id.filter(|id| id.len() <= MAX_KEY_ID)?.into()),
    };
    let bytes = |name| {
        let text = key.get(name)?.text()?;
        URL_SAFE_NO_PAD.decode(text).ok()
    };
    let algorithm = match text("alg") {
        None => None,
        Some(name) => Some(name?),
    };
    let material = match (key.get("kty")?.text()?, text("crv").flatten()) {
        ("RSA", _) => rsa(&bytes("n")?, &bytes("e")?, algorithm == Some("PS256"))?,
        ("EC", Some("P-256")) => {
            let point = [&[4], &*bytes("x")?, &*bytes("y")?].concat();
            // Both are as long as the field's elements, leading zeros too (RFC 7518 §6.2.1.2).
            if bytes("x")?.len() != 32 {
                return None;
            }
            Material::P256(Box::new(point.try_into().ok()?))
        }
        ("OKP", Some("Ed25519")) => Material::Ed25519(Box::new(bytes("x")?.try_into().ok()?)),
        _ => return None,
    };
    let is_for = algorithm.is_none_or(|algorithm| material.is_for(algorithm));
    is_for.then_some(PublicKey { id, material })
}

fn rsa(modulus: &[u8], exponent: &[u8], is_pss: bool) -> Option<Material> {
    // Some programs write a sign byte.
    let strip = |number: &[u8]| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        number.get(zeros..).map(Box::<[u8]>::from)
    };
    let (modulus, exponent) = (strip(modulus)?, strip(exponent)?);
    let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
    let is_valid = RSA_BITS.contains(&bits) && (1..=8).contains(&exponent.len());
    is_valid.then_some(Material::Rsa {
        is_pss,
        modulus,
        exponent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of a set with this one, and what they are for.
    fn keys(key: &str) -> Result<Vec<&'static str>, KeySetError> {
        let set = KeySet::parse(format!("{{\"keys\":[{key}]}}").as_bytes())?;
        Ok(set.0.iter().map(|key| key.material.algorithm()).collect())
    }

    fn number(bytes: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![0xff; bytes])
    }

    #[test]
    fn kinds_of_keys() {
        let (n, x) = (number(256), number(32));
        let ec = format!(r#""kty":"EC","crv":"P-256","x":"{x}","y":"{x}""#);
        for (key, expected) in [
            (format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"}}"#), "RS256"),
            (
                format!(r#"{{"kty":"RSA","n":"AP__{n}","e":"AQAB","alg":"RS256"}}"#),
                "RS256",
            ),
            (
                format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"PS256"}}"#),
                "PS256",
            ),
            (format!("{{{ec}}}"), "ES256"),
            (
                format!(r#"{{{ec},"use":"sig","key_ops":["verify"],"alg":"ES256"}}"#),
                "ES256",
            ),
            (
                format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#),
                "EdDSA",
            ),
            (
                format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","alg":"Ed25519"}}"#),
                "EdDSA",
            ),
        ] {
            assert_eq!(keys(&key), Ok(vec![expected]), "{key}");
        }
    }

    #[test]
    fn other_keys_are_left_out() {
        let (n, short, long, x) = (number(256), number(255), number(1025), number(32));
        let ec = format!(r#""kty":"EC","crv":"P-256","x":"{x}","y":"{x}""#);
        for key in [
            "1".to_owned(),
            "{}".to_owned(),
            r#"{"kty":"oct"}"#.to_owned(),
            format!(r#"{{"kty":"RSA","n":"{short}","e":"AQAB"}}"#),
            format!(r#"{{"kty":"RSA","n":"AAAA{short}","e":"AQAB"}}"#),
            format!(r#"{{"kty":"RSA","n":"{long}","e":"AQAB"}}"#),
            format!(r#"{{"kty":"RSA","n":"{n}","e":""}}"#),
            format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"HS256"}}"#),
            format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"RS512"}}"#),
            format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"none"}}"#),
            format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":1}}"#),
            format!(r#"{{"kty":"RSA","n":"{n}=","e":"AQAB"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-384","x":"{x}","y":"{x}"}}"#),
            format!(
                r#"{{"kty":"EC","crv":"P-256","x":"{}","y":"{}"}}"#,
                number(31),
                number(33)
            ),
            format!(r#"{{"kty":"OKP","crv":"X25519","x":"{x}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, number(31)),
            format!(r#"{{{ec},"use":"enc"}}"#),
            format!(r#"{{{ec},"use":1}}"#),
            format!(r#"{{{ec},"key_ops":["sign"]}}"#),
            format!(r#"{{{ec},"key_ops":"verify"}}"#),
            format!(r#"{{{ec},"alg":"RS256"}}"#),
            format!(r#"{{{ec},"kid":7}}"#),
            format!(r#"{{{ec},"kid":"{}"}}"#, "k".repeat(257)),
        ] {
            assert_eq!(keys(&key), Err(KeySetError::NoKey), "{key:.200}");
            // They do not spoil the others.
            assert_eq!(
                keys(&format!("{key},{{{ec}}}")),
                Ok(vec!["ES256"]),
                "{key:.200}"
            );
        }
    }

    #[test]
    fn sets_that_cannot_be_used() {
        let x = number(32);
        let ec = format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}"}}"#);
        assert_eq!(keys(&vec![&*ec; 128].join(",")).unwrap().len(), 128);
        for (text, expected) in [
            (
                format!("{{\"keys\":[{}]}}", vec![&*ec; 129].join(",")),
                KeySetError::TooManyKeys,
            ),
            (" ".repeat(MAX_KEY_SET + 1), KeySetError::TooLarge),
            ("[]".to_owned(), KeySetError::Json(JsonError::NotAnObject)),
            ("{\"keys\":1}".to_owned(), KeySetError::NoList),
            ("{}".to_owned(), KeySetError::NoList),
            (
                "{\"keys\":[],\"keys\":[]}".to_owned(),
                KeySetError::Json(JsonError::Refused),
            ),
            ("{\"keys\":[]}".to_owned(), KeySetError::NoKey),
            (
                r#"{"keys":[{"kty":"oct","k":"AA"}]}"#.to_owned(),
                KeySetError::Private,
            ),
            (
                r#"{"keys":[{"kty":"RSA","d":"AA"}]}"#.to_owned(),
                KeySetError::Private,
            ),
        ] {
            assert_eq!(KeySet::parse(text.as_bytes()), Err(expected), "{text:.80}");
        }
        // Of two with one name, the first.
        let named = ec.replace('{', "{\"kid\":\"a\",");
        assert_eq!(keys(&format!("{named},{named}")).unwrap().len(), 1);
    }
}
