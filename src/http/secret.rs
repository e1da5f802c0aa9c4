//! Values that nothing shows.

use std::fmt;

use zeroize::Zeroizing;

/// A value that is never printed: not by `Debug`, and there is no `Display`.
pub struct Secret<T>(T);

/// A password, wiped from memory when dropped.
pub type Password = Secret<Zeroizing<Vec<u8>>>;

impl<T: AsRef<[u8]>> Secret<T> {
    /// Hides a value.
    pub const fn hide(value: T) -> Self {
        Self(value)
    }

    /// The value itself.
    pub fn expose(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl Password {
    /// Takes ownership of a password; the caller should keep no copy.
    pub fn new(password: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(password.into()))
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the length, which would help to guess it.
        f.write_str("Secret(..)")
    }
}
