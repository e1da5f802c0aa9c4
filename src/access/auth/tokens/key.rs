//! A public key, and the one algorithm that it is for.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};

/// A key of an issuer.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) public: PublicKey,
    /// Set when the issuer has the key no longer: what was verified with it does not count any more.
    is_retired: AtomicBool,
}

/// What an issuer says of a key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PublicKey {
    /// `kid`
    pub(super) id: Option<Box<str>>,
    pub(super) material: Material,
}

/// The key itself.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Material {
    /// RS256 or PS256 (RFC 7518 §3.3, §3.5).
    Rsa {
        is_pss: bool,
        modulus: Box<[u8]>,
        exponent: Box<[u8]>,
    },
    /// ES256 (RFC 7518 §3.4): the point, not compressed.
    P256(Box<[u8; 65]>),
    /// EdDSA with Ed25519 (RFC 8037 §3.1).
    Ed25519(Box<[u8; 32]>),
}

impl Material {
    /// The name of the algorithm, as `alg` has it.
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa { is_pss: false, .. } => "RS256",
            Self::Rsa { is_pss: true, .. } => "PS256",
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    /// Whether `alg` names the algorithm. RFC 9864 §2.2 has another name for EdDSA with Ed25519.
    pub(super) fn is_for(&self, algorithm: &str) -> bool {
        self.algorithm() == algorithm
            || (matches!(self, Self::Ed25519(_)) && algorithm == "Ed25519")
    }

    /// Whether the signature is that of this key under these bytes.
    pub(super) fn verify(&self, signed: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Rsa {
                is_pss,
                modulus,
                exponent,
            } => {
                let parameters: &RsaParameters = match is_pss {
                    true => &RSA_PSS_2048_8192_SHA256,
                    false => &RSA_PKCS1_2048_8192_SHA256,
                };
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                key.verify(parameters, signed, signature)
            }
            Self::P256(point) => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.as_slice());
                key.verify(signed, signature)
            }
            Self::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key.as_slice()).verify(signed, signature)
            }
        };
        verified.is_ok()
    }
}

impl From<PublicKey> for Key {
    fn from(public: PublicKey) -> Self {
        Self {
            public,
            is_retired: AtomicBool::new(false),
        }
    }
}

impl Key {
    pub(super) fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey")
            .field("id", &self.id)
            .field("algorithm", &self.material.algorithm())
            .finish_non_exhaustive()
    }
}
