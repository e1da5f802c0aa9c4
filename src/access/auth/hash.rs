//! Password hashes of an htpasswd file: parsing and verification.
//!
//! Owns the list of formats and the limits on the cost of one verification.
//! Verification is slow by design: never call it on a thread that serves sockets.
//!
//! bcrypt, SHA-crypt, argon2 and the digests come from crates. `$apr1$` is our
//! own code on the MD5 crate, since no maintained crate has it; it was the
//! default of `htpasswd` for twenty years.

mod apr1;
mod error;

use std::fmt;

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha_crypt::ShaCrypt;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

use self::apr1::Apr1;
pub use self::error::PasswordHashError;
use crate::http::secret::Password;

// The limits keep one verification within some five seconds of one core for the
// longest password, even when a line of the file has extreme parameters. All
// common defaults are far below them.
const BCRYPT_COST: (u64, u64) = (4, 16);
// The rounds of SHA-crypt cost more for a long password, which the client
// chooses. passlib's default of 656,000 is the highest in wide use.
const SHA_CRYPT_ROUNDS: (u64, u64) = (1_000, 1_000_000);
const ARGON2_MEMORY_KIB: (u64, u64) = (8, 256 * 1024);
const ARGON2_PASSES: (u64, u64) = (1, 16);
const ARGON2_LANES: (u64, u64) = (1, 16);

/// The parameters of `tollgate passwd`: OWASP's recommendation for argon2id,
/// 19 MiB, two passes, one lane. Each running verification needs this memory.
const NEW_HASH: (u32, u32, u32) = (19 * 1024, 2, 1);

/// One password hash, checked when it is parsed, so that its form cannot make
/// a verification fail.
#[derive(PartialEq, Eq)]
pub struct PasswordHash(Format);

#[derive(PartialEq, Eq)]
enum Format {
    Bcrypt(Box<str>),
    Apr1(Apr1),
    Sha1([u8; 20]),
    ShaCrypt(Box<str>),
    Argon2(Box<argon2::PasswordHash>),
}

impl PasswordHash {
    /// Reads a hash: bcrypt (`$2a$`, `$2b$`, `$2y$`), `$apr1$`, `{SHA}`,
    /// SHA-crypt (`$5$`, `$6$`) or argon2 (PHC string; all three variants, as
    /// the argon2 tool writes argon2i unless told otherwise).
    ///
    /// # Errors
    /// See [`PasswordHashError`].
    pub fn parse(text: &str) -> Result<Self, PasswordHashError> {
        match parse_format(text) {
            Ok(Some(format)) => Ok(Self(format)),
            Err(PasswordHashError::Missing) => Err(PasswordHashError::Missing),
            other => Err(error::explain(text, other.err(), |inner| {
                Self::parse(inner).map(|_| ())
            })),
        }
    }

    /// Makes a new argon2id hash in PHC form, with a random salt.
    ///
    /// # Errors
    /// When the system gives no random bytes or not enough memory.
    pub fn argon2id(password: &Password) -> Result<String, argon2::password_hash::Error> {
        let (memory_kib, passes, lanes) = NEW_HASH;
        let params = Params::new(memory_kib, passes, lanes, None)?;
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Ok(hasher.hash_password(password.expose())?.to_string())
    }

    /// Whether `password` is the one that was hashed. Digests are compared in
    /// constant time.
    ///
    /// bcrypt uses the first 72 bytes only, by definition.
    pub fn verify(&self, password: &[u8]) -> bool {
        #[cfg(test)]
        tests::on_verification();
        match &self.0 {
            Format::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Format::Apr1(hash) => hash.verify(password),
            Format::Sha1(digest) => Sha1::digest(password).as_slice().ct_eq(digest).into(),
            Format::ShaCrypt(hash) => ShaCrypt::default()
                .verify_password(password, hash.as_ref())
                .is_ok(),
            Format::Argon2(hash) => Argon2::default()
                .verify_password(password, hash.as_ref())
                .is_ok(),
        }
    }

    /// Name of the format, for messages.
    pub fn format(&self) -> &'static str {
        match &self.0 {
            Format::Bcrypt(_) => "bcrypt",
            Format::Apr1(_) => "apr1",
            Format::Sha1(_) => "SHA-1",
            Format::ShaCrypt(_) => "SHA-crypt",
            Format::Argon2(_) => "argon2",
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PasswordHash").field(&self.format()).finish()
    }
}

/// `None` when the text begins like no accepted format.
fn parse_format(text: &str) -> Result<Option<Format>, PasswordHashError> {
    Ok(Some(if text.is_empty() {
        return Err(PasswordHashError::Missing);
    } else if let Some(digest) = text.strip_prefix("{SHA}") {
        parse_sha1(digest)?
    } else if let Some(body) = text.strip_prefix("$apr1$") {
        Format::Apr1(Apr1::parse(body).ok_or(PasswordHashError::Malformed("apr1"))?)
    } else if text.starts_with("$5$") || text.starts_with("$6$") {
        parse_sha_crypt(text)?
    } else if text.starts_with("$argon2") {
        parse_argon2(text)?
    } else if text.starts_with("$2x$") {
        // From a crypt_blowfish with a bug for bytes above 127: verified
        // like the others, it would refuse the right password.
        return Err(PasswordHashError::Unsupported("bcrypt $2x$"));
    } else if text.starts_with("$2") {
        parse_bcrypt(text)?
    } else {
        return Ok(None);
    }))
}

fn parse_bcrypt(text: &str) -> Result<Format, PasswordHashError> {
    let Ok(parts) = text.parse::<bcrypt::HashParts>() else {
        return Err(PasswordHashError::Malformed("bcrypt"));
    };
    bounded("bcrypt", "cost", parts.get_cost().into(), BCRYPT_COST)?;
    Ok(Format::Bcrypt(text.into()))
}

fn parse_sha1(digest: &str) -> Result<Format, PasswordHashError> {
    STANDARD
        .decode(digest)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .map(Format::Sha1)
        .ok_or(PasswordHashError::Malformed("SHA-1"))
}

/// `$5$[rounds=N$]salt$digest`, or `$6$`. Stricter than the crate, which finds
/// most errors only when it verifies.
fn parse_sha_crypt(text: &str) -> Result<Format, PasswordHashError> {
    const MALFORMED: PasswordHashError = PasswordHashError::Malformed("SHA-crypt");

    let mut fields = text.split('$').skip(1);
    // Length of the digest in characters, and the number of values of the last one.
    let (digest_len, last_values) = match fields.next() {
        Some("5") => (43, 16),
        _ => (86, 4),
    };
    let mut salt = fields.next().ok_or(MALFORMED)?;
    if let Some(rounds) = salt.strip_prefix("rounds=") {
        bounded(
            "SHA-crypt",
            "rounds",
            decimal(rounds).ok_or(MALFORMED)?,
            SHA_CRYPT_ROUNDS,
        )?;
        salt = fields.next().ok_or(MALFORMED)?;
    }
    let digest = fields.next().ok_or(MALFORMED)?;
    let well_formed = fields.next().is_none()
        && (1..=16).contains(&salt.len())
        && salt.bytes().all(|byte| crypt_value(byte).is_some())
        && digest.len() == digest_len
        && digest.bytes().all(|byte| crypt_value(byte).is_some())
        && digest.bytes().last().and_then(crypt_value) < Some(last_values);
    if well_formed {
        Ok(Format::ShaCrypt(text.into()))
    } else {
        Err(MALFORMED)
    }
}

fn parse_argon2(text: &str) -> Result<Format, PasswordHashError> {
    const MALFORMED: PasswordHashError = PasswordHashError::Malformed("argon2");

    let Ok(mut hash) = argon2::PasswordHash::new(text) else {
        return Err(MALFORMED);
    };
    let bounds = [
        ("m", "memory in KiB (m)", ARGON2_MEMORY_KIB),
        ("t", "passes (t)", ARGON2_PASSES),
        ("p", "lanes (p)", ARGON2_LANES),
    ];
    // Exactly these: `keyid` and `data` are not part of the standard, and for
    // a missing one the crate would use its own default.
    if hash.params.iter().count() != bounds.len() {
        return Err(MALFORMED);
    }
    for (name, parameter, range) in bounds {
        let value = hash.params.get(name).and_then(|value| value.decimal().ok());
        bounded("argon2", parameter, value.ok_or(MALFORMED)?.into(), range)?;
    }
    // A hash without a version has version 1.0.
    let version = *hash.version.get_or_insert(Version::V0x10.into());
    let complete = Algorithm::try_from(hash.algorithm.as_str()).is_ok()
        && Version::try_from(version).is_ok()
        && Params::try_from(&hash).is_ok()
        && hash.salt.is_some()
        && hash.hash.is_some();
    if complete {
        Ok(Format::Argon2(Box::new(hash)))
    } else {
        Err(MALFORMED)
    }
}

fn bounded(
    format: &'static str,
    parameter: &'static str,
    value: u64,
    (min, max): (u64, u64),
) -> Result<(), PasswordHashError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(PasswordHashError::OutOfBounds {
        format,
        parameter,
        value,
        min,
        max,
    })
}

/// Digits only and no leading zero; a number that does not fit is `u64::MAX`.
fn decimal(digits: &str) -> Option<u64> {
    let well_formed = digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.is_empty()
        && !digits.starts_with('0');
    well_formed.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Value of a character in the alphabet of crypt(3).
fn crypt_value(byte: u8) -> Option<u8> {
    match byte {
        b'.' | b'/' => Some(byte - b'.'),
        b'0'..=b'9' => Some(byte - b'0' + 2),
        b'A'..=b'Z' => Some(byte - b'A' + 12),
        b'a'..=b'z' => Some(byte - b'a' + 38),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests;
