//! The value of `Proxy-Authorization`: the Basic scheme of RFC 7617, and where tokens are accepted, Bearer of RFC 6750.
//!
//! Owns the syntax and the types that keep passwords out of logs. It does
//! not verify credentials.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

use super::tokens::{MAX_TOKEN_LEN, is_token};
use crate::http::error::{ErrorKind, RequestError};
use crate::http::secret::Password;
use crate::text::is_invisible;

/// The longest `user:password`, decoded, in bytes.
///
/// Longer than passwords of people and of token services, and short
/// enough that hashing it gives a hostile client no advantage.
pub const MAX_CREDENTIALS_LEN: usize = 1024;

/// The longest user name in bytes, as in Apache's `htpasswd`.
pub const MAX_USER_LEN: usize = 255;

/// The longest `user:password`, decoded, where the password may be a token.
const MAX_LONG_LEN: usize = MAX_USER_LEN + 1 + MAX_TOKEN_LEN;

/// The name of a user: not empty, at most [`MAX_USER_LEN`] bytes, no
/// control character, and no colon unless a token or an authoriser says the name. Compared byte by byte; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct User(Arc<str>);

/// Why a text is not a user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UserError {
    /// It is empty.
    #[error("the user name is empty")]
    Empty,
    /// The colon ends the user name (RFC 7617 §2).
    #[error("the user name has a colon")]
    Colon,
    /// Forbidden by RFC 7617 §2, and a way to forge log lines.
    #[error("the user name has a control character")]
    ControlCharacter,
    /// It has more than [`MAX_USER_LEN`] bytes.
    #[error("the user name is longer than {MAX_USER_LEN} bytes")]
    TooLong,
}

/// A user name and a password, not verified yet.
#[derive(Debug)]
pub struct Credentials {
    /// The user name.
    pub user: User,
    /// The password.
    pub password: Password,
}

/// Why a `Proxy-Authorization` field has no usable credentials.
///
/// The answer to every variant is 407, so that the client can try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CredentialsError {
    /// The field is missing or empty.
    #[error("no credentials")]
    Missing,
    /// The scheme is not Basic.
    #[error("not the Basic scheme")]
    UnsupportedScheme,
    /// What follows the scheme is not padded base64 (RFC 4648 §4).
    #[error("credentials are not base64")]
    NotBase64,
    /// More than [`MAX_CREDENTIALS_LEN`] bytes, or a user name above
    /// [`MAX_USER_LEN`].
    #[error("credentials are too long")]
    TooLong,
    /// The challenge asks for UTF-8 (RFC 7617 §2.1).
    #[error("credentials are not utf-8")]
    NotUtf8,
    /// A control character in the user name or the password (RFC 7617 §2).
    #[error("credentials have a control character")]
    ControlCharacter,
    /// No colon between user and password.
    #[error("credentials have no colon")]
    NoColon,
    /// Nothing before the colon.
    #[error("credentials have no user name")]
    EmptyUser,
}

impl From<CredentialsError> for RequestError {
    fn from(error: CredentialsError) -> Self {
        let kind = match error {
            CredentialsError::Missing => ErrorKind::CredentialsMissing,
            _ => ErrorKind::CredentialsMalformed,
        };
        kind.because(error)
    }
}

/// Credentials behind their scheme, as sent: enough for a cache look-up
/// without decoding. Limited in length; of Basic, possibly invalid base64.
#[derive(Clone, Copy)]
pub struct Token68<'a> {
    scheme: AuthScheme,
    text: &'a [u8],
    /// The longest credentials of Basic, decoded.
    max: usize,
}

/// The scheme of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthScheme {
    /// RFC 7617
    Basic,
    /// RFC 6750
    Bearer,
}

impl User {
    /// Checks a user name.
    ///
    /// # Errors
    /// One variant of [`UserError`] for each rule of the type.
    pub fn parse(name: &str) -> Result<Self, UserError> {
        if name.is_empty() {
            return Err(UserError::Empty);
        }
        if name.len() > MAX_USER_LEN {
            return Err(UserError::TooLong);
        }
        if name.contains(':') {
            return Err(UserError::Colon);
        }
        if name.contains(char::is_control) {
            return Err(UserError::ControlCharacter);
        }
        Ok(Self(name.into()))
    }

    /// Checks a name that a token or an authoriser says. It may have colons, as `system:serviceaccount:ns:name`; for people it has
    /// neither invisible characters nor spaces around it.
    ///
    /// # Errors
    /// As of [`parse`](Self::parse); the other rules count as [`UserError::ControlCharacter`].
    pub fn of_token(name: &str) -> Result<Self, UserError> {
        match Self::parse(&name.replace(':', "_")) {
            Ok(_) if name.trim() != name || name.contains(is_invisible) => {
                Err(UserError::ControlCharacter)
            }
            Ok(_) => Ok(Self(name.into())),
            Err(error) => Err(error),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for User {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Credentials {
    /// Reads one `Proxy-Authorization` field value.
    ///
    /// # Errors
    /// See [`CredentialsError`].
    pub fn parse(field_value: &[u8]) -> Result<Self, CredentialsError> {
        Token68::parse(field_value)?.decode()
    }
}

/// The password or the token of a field value.
///
/// # Errors
/// See [`CredentialsError`].
pub fn password(field_value: &[u8]) -> Result<Password, CredentialsError> {
    let token = Token68::parse_any(field_value)?;
    match token.scheme() {
        AuthScheme::Basic => Ok(token.decode()?.password),
        AuthScheme::Bearer => Ok(Password::new(token.expose())),
    }
}

impl<'a> Token68<'a> {
    /// Takes Basic credentials from a field value, without decoding or allocating.
    ///
    /// The scheme is compared without case; one or more spaces follow it
    /// (RFC 9110 §11.4).
    ///
    /// # Errors
    /// [`CredentialsError::Missing`], [`CredentialsError::UnsupportedScheme`],
    /// [`CredentialsError::NotBase64`] when nothing follows the scheme, and
    /// [`CredentialsError::TooLong`], so that no later step sees more than 1368
    /// bytes.
    pub fn parse(field_value: &'a [u8]) -> Result<Self, CredentialsError> {
        let token = Self::read(field_value, MAX_CREDENTIALS_LEN)?;
        match token.scheme {
            AuthScheme::Basic => Ok(token),
            AuthScheme::Bearer => Err(CredentialsError::UnsupportedScheme),
        }
    }

    /// As [`parse`](Self::parse), where tokens are accepted: by Bearer too, and as a password.
    ///
    /// # Errors
    /// As of [`parse`](Self::parse), with the length of a token as the limit.
    pub fn parse_any(field_value: &'a [u8]) -> Result<Self, CredentialsError> {
        Self::read(field_value, MAX_LONG_LEN)
    }

    fn read(field_value: &'a [u8], max: usize) -> Result<Self, CredentialsError> {
        // Whitespace around a value is not part of it (RFC 9110 §5.5).
        let value = field_value.trim_ascii();
        if value.is_empty() {
            return Err(CredentialsError::Missing);
        }
        let mut parts = value.splitn(2, |byte| *byte == b' ');
        let scheme = parts.next().unwrap_or_default();
        let text = parts.next().unwrap_or_default().trim_ascii_start();
        let (scheme, max_text) = if scheme.eq_ignore_ascii_case(b"Basic") {
            (AuthScheme::Basic, max.div_ceil(3) * 4)
        } else if scheme.eq_ignore_ascii_case(b"Bearer") {
            (AuthScheme::Bearer, MAX_TOKEN_LEN)
        } else {
            return Err(CredentialsError::UnsupportedScheme);
        };
        if text.is_empty() {
            return Err(CredentialsError::NotBase64);
        }
        if text.len() > max_text {
            return Err(CredentialsError::TooLong);
        }
        Ok(Self { scheme, text, max })
    }

    /// The scheme.
    pub fn scheme(self) -> AuthScheme {
        self.scheme
    }

    /// The bytes as sent. They reveal the password or the token.
    pub fn expose(self) -> &'a [u8] {
        self.text
    }

    /// Decodes the credentials.
    ///
    /// The first colon ends the user name, so a password may have more. Padding
    /// is required: RFC 4648 §3.2 requires it unless a format says otherwise,
    /// RFC 7617 does not, and curl, Go, Java, Node, Python and browsers
    /// send it. One spelling per pair also means one hash per pair.
    ///
    /// # Errors
    /// See [`CredentialsError`].
    pub fn decode(self) -> Result<Credentials, CredentialsError> {
        // Full size from the start: a growing vector leaves copies in memory.
        let mut buffer = Zeroizing::new(vec![0; base64::decoded_len_estimate(self.text.len())]);
        let Ok(len) = STANDARD.decode_slice(self.text, &mut buffer) else {
            return Err(CredentialsError::NotBase64);
        };
        let decoded = buffer.get(..len).unwrap_or_default();
        if decoded.len() > self.max {
            return Err(CredentialsError::TooLong);
        }
        let Ok(text) = std::str::from_utf8(decoded) else {
            return Err(CredentialsError::NotUtf8);
        };
        if text.contains(char::is_control) {
            return Err(CredentialsError::ControlCharacter);
        }
        let (user, password) = text.split_once(':').ok_or(CredentialsError::NoColon)?;
        if decoded.len() > MAX_CREDENTIALS_LEN && !is_token(password.as_bytes()) {
            return Err(CredentialsError::TooLong);
        }
        Ok(Credentials {
            user: User::parse(user)?,
            password: Password::new(password),
        })
    }
}

impl fmt::Debug for Token68<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token68(..)")
    }
}

impl From<UserError> for CredentialsError {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Empty => Self::EmptyUser,
            UserError::Colon => Self::NoColon,
            UserError::ControlCharacter => Self::ControlCharacter,
            UserError::TooLong => Self::TooLong,
        }
    }
}

#[cfg(test)]
mod tests;
