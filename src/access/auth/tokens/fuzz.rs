//! Invariants of tokens and of sets of keys, for the fuzz targets.

#![expect(
    clippy::panic,
    reason = "a broken invariant is what a fuzz target looks for"
)]

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use super::jws::Jws;
use super::{
    ClaimPath, Issuer, IssuerSettings, KeySet, KeySource, MAX_TOKEN_LEN, Tokens, is_token,
};
use crate::text::fuzz::shape;

/// An issuer with a key that nobody has the other half of, so that no input is a token of it.
static TOKENS: LazyLock<Option<Tokens>> = LazyLock::new(|| {
    let set = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let settings = IssuerSettings {
        issuer: "i".into(),
        source: KeySource::File("keys.json".into()),
        audience: vec!["a".into()],
        user_claim: ClaimPath::parse("sub")?,
        user_prefix: "p:".into(),
        groups_claim: ClaimPath::parse("/g/h"),
        leeway: Duration::from_secs(30),
    };
    let issuer = Issuer::new(settings, KeySet::parse(set).ok()?);
    Some(Tokens::new(
        vec![issuer],
        true,
        Duration::MAX,
        Duration::MAX,
    ))
});

/// Reads `data` as a token.
///
/// A token that can be taken apart is what a password is taken for one by, and has one spelling. None verifies.
///
/// # Panics
/// An invariant does not hold.
pub fn token(data: &[u8]) -> String {
    let shown = data.escape_ascii();
    if let Ok(jws) = Jws::parse(data) {
        assert!(data.len() <= MAX_TOKEN_LEN, "{shown}");
        let rest = data.strip_prefix(jws.signed);
        assert!(rest.is_some_and(|rest| rest.starts_with(b".")), "{shown}");
        // White space before the object is JSON, and no client sends it.
        assert!(is_token(data) || !data.starts_with(b"ey"), "{shown}");
    }
    let now = UNIX_EPOCH + Duration::from_secs(1500);
    match TOKENS.as_ref().map(|tokens| tokens.verify(data, now)) {
        Some(Err(error)) => {
            let printed = error.to_string();
            assert!(printed.len() < 2048, "{printed}");
            assert!(!printed.contains(char::is_control), "{printed:?}");
            format!("{} {}", error.reason(), shape(&error))
        }
        Some(Ok(_)) => panic!("verified: {shown}"),
        None => panic!("no issuer"),
    }
}

/// Reads `data` as a set of keys. An accepted set has keys, and each can be tried.
///
/// # Panics
/// An invariant does not hold.
pub fn key_set(data: &[u8]) -> String {
    match KeySet::parse(data) {
        Ok(set) => {
            assert!((1..=128).contains(&set.len()));
            let mut kinds: Vec<&str> = Vec::new();
            for key in set.0 {
                // For some degenerate keys there is a signature that anyone can write; it must only not fail.
                let _is_verified = key.material.verify(b"signed", &[0; 64]);
                kinds.push(key.material.algorithm());
            }
            kinds.dedup();
            kinds.truncate(3);
            kinds.join(" ")
        }
        Err(error) => shape(&error),
    }
}
