//! How a user was authenticated, for the access log.

use super::identity::Identity;

/// What proved who the user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// A password.
    Password,
    /// A signed token.
    Token,
    /// The external authoriser.
    External,
    /// The network of the client.
    Network,
    /// A hook.
    Hook,
    /// The certificate of the client, alone.
    Certificate,
    /// It and a password of the same user.
    CertificatePassword,
    /// It and a token of the same user.
    CertificateToken,
    /// It and the external authoriser.
    CertificateExternal,
}

impl AuthMethod {
    /// That of an identity which credentials make here.
    pub fn of_credentials(identity: &Identity) -> Self {
        match identity.expires() {
            Some(_) => Self::Token,
            None => Self::Password,
        }
    }

    /// The same with the certificate of the client.
    #[must_use]
    pub const fn with_certificate(self) -> Self {
        match self {
            Self::Password => Self::CertificatePassword,
            Self::Token => Self::CertificateToken,
            Self::External => Self::CertificateExternal,
            other => other,
        }
    }

    /// As the log has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Token => "token",
            Self::External => "external",
            Self::Network => "network",
            Self::Hook => "hook",
            Self::Certificate => "certificate",
            Self::CertificatePassword => "certificate+password",
            Self::CertificateToken => "certificate+token",
            Self::CertificateExternal => "certificate+external",
        }
    }
}
