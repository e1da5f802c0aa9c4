//! Why a text is not a usable password hash: the format it seems to have, and the remedy.

use thiserror::Error;

use crate::text::is_invisible;

/// Why a text is not a usable password hash. Never contains the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PasswordHashError {
    /// The hash is missing.
    #[error("there is no password hash")]
    Missing,
    /// No known prefix: most often a password in plain text.
    #[error("not a known password hash; passwords in plain text are not accepted")]
    Unknown,
    /// Thirteen characters without prefix: crypt(3) of 1979, which uses
    /// eight bytes of the password, or a plain password of that length.
    #[error("a DES crypt hash or a password in plain text; neither is accepted")]
    DesCrypt,
    /// A known format that is not accepted.
    #[error("{0} hashes are not accepted")]
    Unsupported(&'static str),
    /// An accepted hash after the scheme name that an LDAP server or Dovecot
    /// writes.
    #[error("the prefix {0} before the hash")]
    Prefixed(&'static str),
    /// `$$2y$$10$$...`: escaped for a compose file.
    #[error("each $ of the hash is doubled, as for a compose file")]
    DoubledDollars,
    /// `"$2y$..."`
    #[error("quotes around the hash")]
    Quoted,
    /// `$2y$... # admin`
    #[error("white space or a comment after the hash")]
    Trailing,
    /// Most often from a web page or a word processor.
    #[error("an invisible character, U+{:04X}, in or beside the hash", u32::from(*.0))]
    Character(char),
    /// `{CRAM-MD5}...`, `{sha}...`
    #[error("the scheme in braces before the hash is not supported, as {{SHA}} is")]
    Scheme,
    /// `*0`, `*1`: the failure markers of crypt(3).
    #[error("the failure marker of crypt(3), not a hash")]
    Failed,
    /// `!`, `*`: a locked system account.
    #[error("a locked account, which has no password")]
    Locked,
    /// `x`: from /etc/passwd.
    #[error("a line of /etc/passwd, which has no password hash")]
    Shadowed,
    /// `realm:32 hexadecimal digits`
    #[error("a line of a htdigest file")]
    Htdigest,
    /// The prefix is known, the rest is truncated or damaged.
    #[error("the {0} hash is incomplete or damaged")]
    Malformed(&'static str),
    /// A cost parameter is outside the accepted range.
    #[error("the {format} hash has {parameter} {value}; accepted are {min} to {max}")]
    OutOfBounds {
        /// Name of the format.
        format: &'static str,
        /// Name of the parameter.
        parameter: &'static str,
        /// Its value in the file; `u64::MAX` for anything larger.
        value: u64,
        /// The least that is accepted.
        min: u64,
        /// The most that is accepted.
        max: u64,
    },
}

impl PasswordHashError {
    /// Whether the text is a hash in a format that is not accepted.
    #[must_use]
    pub fn is_other_format(&self) -> bool {
        matches!(
            self,
            Self::Unsupported(_) | Self::Scheme | Self::DesCrypt | Self::Htdigest
        )
    }

    /// The correction of the line, where one exists. Otherwise the user has
    /// to choose a new password: hashes cannot be converted.
    #[must_use]
    pub fn edit(&self) -> Option<&'static str> {
        match self {
            Self::Prefixed(_) => Some("remove the braces with the name between them"),
            Self::DoubledDollars => Some("write each $ once"),
            Self::Quoted => Some("remove the quotes"),
            Self::Trailing => {
                Some("put a comment on a line of its own that begins with #, and remove the rest")
            }
            Self::Character(_) => Some("remove the character"),
            Self::Locked => Some("remove the line: a user without a line is not admitted"),
            _ => None,
        }
    }
}

/// Formats by the start of a hash. Those in braces are case-insensitive.
const PREFIXES: [(&str, &str); 37] = [
    ("$1$", "MD5-crypt ($1$)"),
    ("$md5", "Sun MD5 ($md5)"),
    ("$sha1$", "SHA1-crypt ($sha1$)"),
    ("$3$", "NT ($3$)"),
    ("$7$", "scrypt ($7$)"),
    ("$8$", "PBKDF2 ($8$)"),
    ("$9$", "scrypt ($9$)"),
    ("$scrypt$", "scrypt"),
    ("$s0$", "scrypt ($s0$)"),
    ("$y$", "yescrypt ($y$)"),
    ("$gy$", "gost-yescrypt ($gy$)"),
    ("$sm3$", "SM3-crypt ($sm3$)"),
    ("$P$", "phpass ($P$)"),
    ("$H$", "phpass ($H$)"),
    ("$S$", "Drupal ($S$)"),
    ("$bcrypt-sha256$", "bcrypt-sha256"),
    ("bcrypt_sha256$", "Django"),
    ("$pbkdf2", "PBKDF2"),
    ("pbkdf2", "PBKDF2"),
    ("scrypt", "scrypt"),
    ("sha1$", "salted SHA-1 (sha1$)"),
    ("sha256$", "salted SHA-256 (sha256$)"),
    ("md5$", "salted MD5 (md5$)"),
    ("{SSHA}", "salted SHA-1 ({SSHA})"),
    ("{SSHA224}", "salted SHA-2 ({SSHA224})"),
    ("{SSHA256}", "salted SHA-2 ({SSHA256})"),
    ("{SSHA384}", "salted SHA-2 ({SSHA384})"),
    ("{SSHA512}", "salted SHA-2 ({SSHA512})"),
    ("{SHA224}", "unsalted SHA-2 ({SHA224})"),
    ("{SHA256}", "unsalted SHA-2 ({SHA256})"),
    ("{SHA384}", "unsalted SHA-2 ({SHA384})"),
    ("{SHA512}", "unsalted SHA-2 ({SHA512})"),
    ("{MD5}", "unsalted MD5 ({MD5})"),
    ("{SMD5}", "salted MD5 ({SMD5})"),
    ("{PBKDF2", "PBKDF2"),
    ("{PLAIN}", "plain text ({PLAIN})"),
    ("{CLEARTEXT}", "plain text ({CLEARTEXT})"),
];

/// Names that OpenLDAP and Dovecot put before hashes of other formats.
const WRAPPERS: [&str; 9] = [
    "{CRYPT}",
    "{BLF-CRYPT}",
    "{SHA256-CRYPT}",
    "{SHA512-CRYPT}",
    "{MD5-CRYPT}",
    "{DES-CRYPT}",
    "{ARGON2}",
    "{ARGON2I}",
    "{ARGON2ID}",
];

/// Formats of 4 bits a digit, by their length.
const HEXADECIMAL: [(usize, &str); 5] = [
    (32, "MD5 or NT (32 hexadecimal digits)"),
    (40, "SHA-1 (40 hexadecimal digits)"),
    (56, "SHA-224 (56 hexadecimal digits)"),
    (64, "SHA-256 (64 hexadecimal digits)"),
    (128, "SHA-512 (128 hexadecimal digits)"),
];

/// Explains why a text is not a hash in an accepted format. `failed` is the error of
/// the format that it seems to have, if any; `accepted` checks whether another
/// text is a usable hash.
pub(super) fn explain(
    text: &str,
    failed: Option<PasswordHashError>,
    accepted: impl Fn(&str) -> Result<(), PasswordHashError>,
) -> PasswordHashError {
    use PasswordHashError::*;

    let looks_like_a_hash = text
        .trim_start_matches(is_invisible)
        .starts_with(['$', '{']);
    if looks_like_a_hash && let Some(odd) = text.chars().find(|c| is_invisible(*c)) {
        return Character(odd);
    }
    if looks_like_a_hash && let Some((first, _)) = text.split_once([' ', '\t']) {
        return accepted(first).err().unwrap_or(Trailing);
    }
    if let Some(failed) = failed {
        return failed;
    }
    let quoted = ['"', '\'', '`']
        .iter()
        .any(|quote| text.starts_with(*quote));
    if quoted && text.trim_matches(['"', '\'', '`']).starts_with(['$', '{']) {
        return Quoted;
    }
    if text.starts_with("$$") {
        match accepted(&text.replace("$$", "$")) {
            Ok(()) => return DoubledDollars,
            Err(Unknown) => {}
            Err(error) => return error,
        }
    }
    let starts_with = |prefix: &str| {
        let start = text.get(..prefix.len()).unwrap_or_default();
        start == prefix || (prefix.starts_with('{') && start.eq_ignore_ascii_case(prefix))
    };
    if let Some(wrapper) = WRAPPERS.iter().find(|wrapper| starts_with(wrapper)) {
        let inner = text.get(wrapper.len()..).unwrap_or_default();
        // Servers write one; more must not lead to a recursion as deep as the line is long.
        if inner.starts_with('{') {
            return Unknown;
        }
        return accepted(inner).err().unwrap_or(Prefixed(wrapper));
    }
    if let Some((_, name)) = PREFIXES.iter().find(|(prefix, _)| starts_with(prefix)) {
        return Unsupported(name);
    }
    match text {
        "x" => return Shadowed,
        "*0" | "*1" => return Failed,
        "!" | "!!" | "*" | "*LK*" | "!*" | "NP" | "*NP*" => return Locked,
        _ if text.starts_with("!$") || text.starts_with("!!") => return Locked,
        _ => {}
    }
    let scheme = text.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    if scheme.is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(is_scheme)) {
        return Scheme;
    }
    let digits = text.strip_prefix('*').unwrap_or(text);
    if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        if text.len() == 41 && digits.len() == 40 {
            return Unsupported("MySQL");
        }
        if let Some((_, name)) = HEXADECIMAL.iter().find(|(len, _)| text.len() == *len) {
            return Unsupported(name);
        }
    }
    let is_crypt = |text: &str| text.bytes().all(|byte| super::crypt_value(byte).is_some());
    match text.strip_prefix('_') {
        Some(rest) if rest.len() == 19 && is_crypt(rest) => Unsupported("extended DES crypt (_)"),
        _ if text.len() == 13 && is_crypt(text) => DesCrypt,
        _ => Unknown,
    }
}
