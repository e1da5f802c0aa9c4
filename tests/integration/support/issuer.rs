//! An issuer of tokens: keys that sign, and a place where their public parts are.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use serde_json::{Value, json};

use super::message::ok;
use super::origin::Origin;

/// A key that signs tokens.
pub(crate) enum Signer {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    pub(crate) fn ec() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap())
    }

    /// That of the unit tests: ring makes none.
    pub(crate) fn rsa() -> Self {
        let der = include_bytes!("../../../src/access/auth/tokens/tests/rsa2048.pk8");
        Self::Rsa(RsaKeyPair::from_pkcs8(der).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ec(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    /// The public key, as in a set.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "use": "sig"})
            }
            Self::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                let (n, e) = (encode(public.n), encode(public.e));
                json!({"kty": "RSA", "n": n, "e": e, "kid": kid, "alg": "RS256"})
            }
        }
    }

    /// A token with this header and these claims as they are written.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Ec(pair) => {
                let signature = pair.sign(&random, signed.as_bytes()).unwrap();
                signature.as_ref().to_vec()
            }
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let padding = &RSA_PKCS1_SHA256;
                pair.sign(padding, &random, signed.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
        };
        format!("{signed}.{}", encode(signature))
    }

    /// A token with these claims.
    pub(crate) fn token(&self, kid: &str, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "kid": kid, "typ": "JWT"});
        self.sign(&header.to_string(), &claims.to_string())
    }
}

/// A token that is "signed" with a public key as the secret of a MAC.
pub(crate) fn hs256(header: &str, claims: &str, secret: &[u8]) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        signed.as_bytes(),
    );
    format!("{signed}.{}", encode(tag))
}

/// A token without a signature.
pub(crate) fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}.", encode(header), encode(claims))
}

pub(crate) fn key_set(keys: impl IntoIterator<Item = Value>) -> String {
    json!({"keys": keys.into_iter().collect::<Vec<_>>()}).to_string()
}

/// Seconds from now, as claims have them.
pub(crate) fn seconds(from_now: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + from_now
}

/// Claims that the proxies of the tests accept, for some minutes.
pub(crate) fn claims() -> Value {
    json!({
        "iss": "https://issuer.test", "aud": "tollgate", "sub": "org/repo",
        "exp": seconds(300), "nbf": seconds(-60), "iat": seconds(-60), "groups": ["dev"],
    })
}

/// The same with some of other values; null takes one out.
pub(crate) fn claims_with(other: Value) -> Value {
    let mut claims = claims();
    for (name, value) in other.as_object().unwrap() {
        let map = claims.as_object_mut().unwrap();
        match value {
            Value::Null => drop(map.remove(name)),
            value => drop(map.insert(name.clone(), value.clone())),
        }
    }
    claims
}

/// The configuration that accepts them, with keys at `jwks`; `more` are further keys of the section.
pub(crate) fn config(jwks: &str, more: &str) -> String {
    format!(
        "auth: {{ tokens: {{ issuers: [{{ issuer: \"https://issuer.test\", jwks: \"{jwks}\", audience: tollgate, \
         user_prefix: \"gh:\", groups_claim: groups }}]{more} }} }}"
    )
}

/// A place on the network that has a set of keys, which changes.
pub(crate) struct KeyServer {
    pub(crate) origin: Origin,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl KeyServer {
    pub(crate) fn with(keys: impl IntoIterator<Item = Value>) -> Self {
        let answer = Arc::new(Mutex::new(ok(key_set(keys))));
        let now = Arc::clone(&answer);
        let origin = Origin::http(move |_| now.lock().unwrap().clone());
        Self { origin, answer }
    }

    pub(crate) fn publish(&self, keys: impl IntoIterator<Item = Value>) {
        self.answer(ok(key_set(keys)));
    }

    /// Answers with these bytes from now on.
    pub(crate) fn answer(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap() = answer;
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/jwks", self.origin.address)
    }

    /// How many times the keys were asked for.
    pub(crate) fn fetches(&self) -> usize {
        self.origin.requests().len()
    }
}
