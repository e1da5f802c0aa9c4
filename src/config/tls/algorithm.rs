//! Kinds of keys, and which of them TLS is served with here. Pure.

use std::borrow::Cow;

use super::super::pem::der::{self, element};

/// What kind of key a file or a certificate has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// With the bits of its modulus.
    Rsa(usize),
    /// A key for RSASSA-PSS alone.
    RsaPss,
    /// On a named curve.
    Ec(Curve),
    /// With the numbers of its curve instead of its name.
    EcUnnamed,
    Ed25519,
    Other(&'static str),
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    Other(&'static str),
}

/// The keys that the crypto provider signs with.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// The keys whose signatures it verifies.
const RSA_BITS_VERIFIED: std::ops::RangeInclusive<usize> = 2048..=8192;

impl Algorithm {
    /// That of a key in PKCS #8, PKCS #1 or SEC 1.
    pub(super) fn of_private_key(der: &[u8]) -> Algorithm {
        let Some((der::SEQUENCE, content, _)) = element(der) else {
            return Algorithm::Unknown;
        };
        // The version.
        let Some((der::INTEGER, _, rest)) = element(content) else {
            return Algorithm::Unknown;
        };
        match element(rest) {
            Some((der::SEQUENCE, identifier, rest)) => {
                let key = element(rest).filter(|(tag, ..)| *tag == der::OCTET_STRING);
                let modulus = key.and_then(|(_, key, _)| match element(key) {
                    Some((der::SEQUENCE, content, _)) => {
                        let (_, _, rest) = element(content)?;
                        Some(integer_bits(rest))
                    }
                    _ => None,
                });
                Algorithm::identified(identifier, modulus.unwrap_or_default())
            }
            Some((der::INTEGER, ..)) => Algorithm::Rsa(integer_bits(rest)),
            // SEC 1: the key, and in [0] its curve, which may be missing.
            Some((der::OCTET_STRING, _, rest)) => match element(rest) {
                Some((0xa0, parameters, _)) => Algorithm::on_curve(parameters),
                _ => Algorithm::Unknown,
            },
            _ => Algorithm::Unknown,
        }
    }

    /// That of a `SubjectPublicKeyInfo`.
    pub(super) fn of_public_key(der: &[u8]) -> Algorithm {
        let parts = || {
            let (_, content, _) = element(der)?;
            let (_, identifier, rest) = element(content)?;
            let (tag, bits, _) = element(rest)?;
            let modulus = bits
                .get(1..)
                .filter(|_| tag == der::BIT_STRING)
                .and_then(element)
                .map(|(_, content, _)| integer_bits(content));
            Some(Algorithm::identified(
                identifier,
                modulus.unwrap_or_default(),
            ))
        };
        parts().unwrap_or(Algorithm::Unknown)
    }

    /// From the content of an `AlgorithmIdentifier`.
    fn identified(identifier: &[u8], modulus_bits: usize) -> Algorithm {
        let Some((der::OBJECT_IDENTIFIER, id, parameters)) = element(identifier) else {
            return Algorithm::Unknown;
        };
        match id {
            b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" => Algorithm::Rsa(modulus_bits),
            b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a" => Algorithm::RsaPss,
            b"\x2a\x86\x48\xce\x3d\x02\x01" => Algorithm::on_curve(parameters),
            b"\x2b\x65\x70" => Algorithm::Ed25519,
            b"\x2b\x65\x71" => Algorithm::Other("Ed448"),
            b"\x2b\x65\x6e" => Algorithm::Other("X25519"),
            b"\x2b\x65\x6f" => Algorithm::Other("X448"),
            b"\x2a\x86\x48\xce\x38\x04\x01" => Algorithm::Other("DSA"),
            b"\x2a\x86\x48\x86\xf7\x0d\x01\x03\x01" => Algorithm::Other("Diffie-Hellman"),
            _ => Algorithm::Unknown,
        }
    }

    fn on_curve(parameters: &[u8]) -> Algorithm {
        match element(parameters) {
            Some((der::OBJECT_IDENTIFIER, id, _)) => Algorithm::Ec(Curve::of(id)),
            Some((der::SEQUENCE, ..)) => Algorithm::EcUnnamed,
            _ => Algorithm::Unknown,
        }
    }

    /// Why TLS cannot be served with such a key; `None` where it can, or where only the crypto provider knows.
    pub(super) fn unusable(self) -> Option<Cow<'static, str>> {
        match self {
            Algorithm::Rsa(bits) if !RSA_BITS.contains(&bits) => Some(
                format!("an RSA key of {bits} bits, where 2048 to 4096 are served with").into(),
            ),
            Algorithm::RsaPss => Some("an RSA-PSS key, where a plain RSA key is expected".into()),
            _ => self.unknown_to_provider(),
        }
    }

    /// Why a signature by such a key cannot be verified.
    pub(super) fn unverifiable(self) -> Option<Cow<'static, str>> {
        match self {
            Algorithm::Rsa(bits) if !RSA_BITS_VERIFIED.contains(&bits) => {
                Some(format!("an RSA key of {bits} bits, where 2048 to 8192 are verified").into())
            }
            Algorithm::RsaPss => Some("an RSA-PSS key, which is not supported".into()),
            _ => self.unknown_to_provider(),
        }
    }

    fn unknown_to_provider(self) -> Option<Cow<'static, str>> {
        match self {
            Algorithm::Ec(Curve::Other(name)) => {
                Some(format!("a key on {name}, where P-256 and P-384 are supported").into())
            }
            Algorithm::EcUnnamed => {
                Some("an EC key with the numbers of its curve, where its name is expected".into())
            }
            Algorithm::Other(name) => {
                Some(format!("a key of {name}, where RSA, ECDSA and Ed25519 are supported").into())
            }
            _ => None,
        }
    }
}

impl Curve {
    fn of(id: &[u8]) -> Curve {
        match id {
            b"\x2a\x86\x48\xce\x3d\x03\x01\x07" => Curve::P256,
            b"\x2b\x81\x04\x00\x22" => Curve::P384,
            b"\x2b\x81\x04\x00\x23" => Curve::Other("the curve P-521"),
            b"\x2b\x81\x04\x00\x21" => Curve::Other("the curve P-224"),
            b"\x2a\x86\x48\xce\x3d\x03\x01\x01" => Curve::Other("the curve P-192"),
            b"\x2b\x81\x04\x00\x0a" => Curve::Other("the curve secp256k1"),
            b"\x2b\x24\x03\x03\x02\x08\x01\x01\x07" => Curve::Other("the curve brainpoolP256r1"),
            b"\x2b\x24\x03\x03\x02\x08\x01\x01\x0b" => Curve::Other("the curve brainpoolP384r1"),
            b"\x2b\x24\x03\x03\x02\x08\x01\x01\x0d" => Curve::Other("the curve brainpoolP512r1"),
            _ => Curve::Other("another curve"),
        }
    }
}

/// The bits of the integer that a text of DER begins with.
fn integer_bits(der: &[u8]) -> usize {
    let Some((der::INTEGER, bytes, _)) = element(der) else {
        return 0;
    };
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let first = bytes
        .get(zeros)
        .map_or(8, |byte| byte.leading_zeros() as usize);
    ((bytes.len() - zeros) * 8).saturating_sub(first)
}
