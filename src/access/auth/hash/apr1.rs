//! Apache's `$apr1$`: a thousand rounds of salted MD5.
//!
//! Poul-Henning Kamp's MD5-crypt with another magic string. It is weak against
//! guessing, and accepted only because existing files have it; Tollgate never
//! writes it.

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

use super::crypt_value;

const MAGIC: &[u8] = b"$apr1$";
const MAX_SALT_LEN: usize = 8;
/// Sixteen bytes, six bits a character.
const ENCODED_LEN: usize = 22;
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ROUNDS: u32 = 1000;

/// Salt and digest, the digest still encoded.
#[derive(PartialEq, Eq)]
pub(super) struct Apr1 {
    salt: Box<[u8]>,
    digest: [u8; ENCODED_LEN],
}

impl Apr1 {
    /// Parses `salt$digest`, the text after the magic string.
    pub(super) fn parse(body: &str) -> Option<Self> {
        let (salt, digest) = body.split_once('$')?;
        let in_alphabet = |text: &str| text.bytes().all(|byte| crypt_value(byte).is_some());
        if salt.len() > MAX_SALT_LEN || !in_alphabet(salt) || !in_alphabet(digest) {
            return None;
        }
        // 132 bits for 128: the last character holds two.
        if digest.bytes().last().and_then(crypt_value)? > 3 {
            return None;
        }
        Some(Self {
            salt: salt.as_bytes().into(),
            digest: digest.as_bytes().try_into().ok()?,
        })
    }

    /// Compares in constant time.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        encode(digest(password, &self.salt))
            .ct_eq(&self.digest)
            .into()
    }
}

fn digest(password: &[u8], salt: &[u8]) -> [u8; 16] {
    let inner: [u8; 16] = Md5::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize()
        .into();

    let mut outer = Md5::new()
        .chain_update(password)
        .chain_update(MAGIC)
        .chain_update(salt);
    let mut left = password.len();
    while left > 0 {
        let take = left.min(inner.len());
        outer.update(inner.get(..take).unwrap_or_default());
        left -= take;
    }
    // One byte for each bit of the length: zero for a one, the first byte of the
    // password for a zero. The original of 1994 has this mistake, so every hash does.
    let first = password.get(..1).unwrap_or_default();
    let mut bits = password.len();
    while bits > 0 {
        outer.update(if bits & 1 == 1 { &[0] } else { first });
        bits >>= 1;
    }

    let mut current: [u8; 16] = outer.finalize().into();
    for round in 0..ROUNDS {
        let odd = round % 2 == 1;
        let mut md5 = Md5::new();
        md5.update(if odd { password } else { &current });
        if round % 3 != 0 {
            md5.update(salt);
        }
        if round % 7 != 0 {
            md5.update(password);
        }
        md5.update(if odd { &current } else { password });
        current = md5.finalize().into();
    }
    current
}

/// The bytes in the order of MD5-crypt, three to four characters, low bits first.
fn encode(digest: [u8; 16]) -> [u8; ENCODED_LEN] {
    let [
        b0,
        b1,
        b2,
        b3,
        b4,
        b5,
        b6,
        b7,
        b8,
        b9,
        b10,
        b11,
        b12,
        b13,
        b14,
        b15,
    ] = digest;
    let groups = [
        [b0, b6, b12],
        [b1, b7, b13],
        [b2, b8, b14],
        [b3, b9, b15],
        [b4, b10, b5],
        [0, 0, b11],
    ];
    let mut encoded = [0; ENCODED_LEN];
    for (chunk, [high, middle, low]) in encoded.chunks_mut(4).zip(groups) {
        let mut value = u32::from_be_bytes([0, high, middle, low]);
        for character in chunk {
            *character = ALPHABET.get((value & 63) as usize).copied().unwrap_or(b'.');
            value >>= 6;
        }
    }
    encoded
}
