//! The request line (RFC 9112 §3), read strictly: single spaces, a token, a
//! target without controls, a version.
//!
//! [`crate::http::target`] reads the target.

use std::ops::Range;

use memchr::{memchr, memrchr};

use super::{HeadError, is_tchar};

/// The longest registered method has 17 bytes.
pub(super) const MAX_METHOD: usize = 32;
const VERSION_LEN: usize = b"HTTP/1.1".len();

/// The bytes of a request line that are not its target, line end excluded.
pub(super) const MAX_OVERHEAD: usize = MAX_METHOD + 1 + 1 + VERSION_LEN;

/// The protocols in which clients ask: the versions of HTTP (RFC 9112 §2.3), and SOCKS5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunked coding, and close unless `keep-alive` is asked for.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2: such a request is served as the HTTP/1.1 request with the same meaning.
    Http2,
    /// SOCKS5: such a request is served as the CONNECT with the same meaning.
    Socks5,
}

impl From<Version> for http::Version {
    fn from(version: Version) -> Self {
        match version {
            Version::Http10 => Self::HTTP_10,
            Version::Http11 | Version::Socks5 => Self::HTTP_11,
            Version::Http2 => Self::HTTP_2,
        }
    }
}

impl Version {
    /// As it stands in a request line, and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
            Self::Socks5 => "SOCKS5",
        }
    }
}

/// Where the parts of a request line are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestLine {
    pub(super) method: Range<usize>,
    pub(super) target: Range<usize>,
    pub(super) version: Version,
}

impl RequestLine {
    /// Reads `line`, which has no line end.
    pub(super) fn parse(line: &[u8], max_target: usize) -> Result<Self, HeadError> {
        let first_space = memchr(b' ', line).ok_or(HeadError::RequestLine)?;
        let (method, _) = line.split_at(first_space);
        check_method(method)?;
        let last_space = memrchr(b' ', line).ok_or(HeadError::RequestLine)?;
        if last_space == first_space {
            return Err(HeadError::MissingVersion);
        }
        let target = first_space + 1..last_space;
        let target_bytes = line.get(target.clone()).unwrap_or_default();
        if target_bytes.is_empty() || memchr(b' ', target_bytes).is_some() {
            return Err(HeadError::RequestLine);
        }
        if target_bytes.len() > max_target {
            return Err(HeadError::TargetTooLong);
        }
        // Folded, not short-circuited: the whole of it vectorises.
        let clean = target_bytes
            .iter()
            .fold(true, |clean, &byte| clean & (byte > b' ') & (byte != 0x7f));
        if !clean {
            return Err(HeadError::TargetByte);
        }
        let version = parse_version(line.get(last_space + 1..).unwrap_or_default())?;
        Ok(Self {
            method: 0..first_space,
            target,
            version,
        })
    }
}

fn check_method(method: &[u8]) -> Result<(), HeadError> {
    if method.is_empty() || !method.iter().all(|&byte| is_tchar(byte)) {
        return Err(HeadError::Method);
    }
    if method.len() > MAX_METHOD {
        return Err(HeadError::MethodTooLong);
    }
    Ok(())
}

fn parse_version(version: &[u8]) -> Result<Version, HeadError> {
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(HeadError::UnsupportedVersion)
        }
        _ => Err(HeadError::Version),
    }
}
