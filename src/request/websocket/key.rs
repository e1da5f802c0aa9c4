//! The key of a handshake (RFC 6455 §4.1), and what a server makes of it.
//!
//! A client of HTTP/1.1 has its own, and checks the answer to it. One of HTTP/2 has none (RFC 8441 §5.1): there the key
//! is Tollgate's to make and its answer Tollgate's to check.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{HeaderMap, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use sha1::{Digest as _, Sha1};

use crate::http::error::{ErrorKind, RequestError};

/// What a server appends to the key (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key that was made for one handshake.
#[derive(Debug)]
pub(super) struct Key(String);

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub(super) fn new() -> Result<Self, RequestError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| ErrorKind::Internal.because(error))?;
        Ok(Self::of(nonce))
    }

    fn of(nonce: [u8; 16]) -> Self {
        Self(STANDARD.encode(nonce))
    }

    /// The value of `Sec-WebSocket-Key`.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The value of `Sec-WebSocket-Accept` in the answer.
    fn accept(&self) -> String {
        let digest = Sha1::new().chain_update(&self.0).chain_update(GUID);
        STANDARD.encode(digest.finalize())
    }

    /// Checks a final answer to the handshake (RFC 6455 §4.1): that the WebSocket begins, or that the server refuses it.
    /// Another success would be one of the WebSocket to a client of HTTP/2.
    ///
    /// # Errors
    /// [`ErrorKind::UpgradeFailed`]: it is neither.
    pub(super) fn check(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<(), RequestError> {
        let failed = |why: &'static str| Err(ErrorKind::UpgradeFailed.because(why));
        if status.is_success() {
            return failed("the answer is no 101, and a success");
        }
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        let is_only = |name, is: &dyn Fn(&[u8]) -> bool| {
            let mut values = headers.get_all(name).iter();
            let value = values.next();
            values.next().is_none() && value.is_some_and(|value| is(value.as_bytes()))
        };
        if !is_only(UPGRADE, &|value| value.eq_ignore_ascii_case(b"websocket")) {
            return failed("the 101 is for another protocol");
        }
        if !is_only(SEC_WEBSOCKET_ACCEPT, &|value| {
            value == self.accept().as_bytes()
        }) {
            return failed("the 101 does not accept the key that was sent");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        let key = Key::of(*b"the sample nonce");
        assert_eq!(key.as_bytes(), b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(key.accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_ne!(Key::new().unwrap().0, Key::new().unwrap().0);
    }

    #[test]
    fn only_a_websocket_or_a_refusal_is_an_answer() {
        let accept = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let upgrade = ("upgrade", "WebSocket");
        for (status, fields, is_answer) in [
            (101, &[upgrade, accept][..], true),
            (101, &[accept], false),
            (101, &[upgrade], false),
            (101, &[("upgrade", "h2c"), accept], false),
            (101, &[("upgrade", "websocket, h2c"), accept], false),
            (101, &[upgrade, upgrade, accept], false),
            (101, &[upgrade, accept, accept], false),
            (
                101,
                &[
                    upgrade,
                    ("sec-websocket-accept", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
                ],
                false,
            ),
            (101, &[upgrade, ("sec-websocket-accept", "")], false),
            (200, &[upgrade, accept], false),
            (204, &[], false),
            (302, &[], true),
            (403, &[], true),
            (426, &[upgrade], true),
            (503, &[], true),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
            let status = StatusCode::from_u16(status).unwrap();
            let checked = Key::of(*b"the sample nonce").check(status, &headers);
            assert_eq!(checked.is_ok(), is_answer, "{status} {fields:?}");
            if let Err(error) = checked {
                assert_eq!(error.kind(), ErrorKind::UpgradeFailed);
            }
        }
    }
}
