//! The framing of an upstream's response, made unmistakable or refused.
//!
//! Pingora accepts more than a proxy may pass on: doubled lengths, codings that it
//! does not know, framing fields on responses without a body. The next reader must
//! see the end that Pingora saw (RFC 9112 §6.3).

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora::http::ResponseHeader;
use pingora_core::Result;

use super::failure;
use crate::http::response::{FramingChange, FramingFields};

/// Leaves at most one field that frames the body.
///
/// # Errors
/// An invalid response, when the framing can be read in two ways.
pub(super) fn settle(response: &mut ResponseHeader, fields: &FramingFields) -> Result<()> {
    match fields.change(response.status) {
        Ok(FramingChange::Keep) => Ok(()),
        Ok(FramingChange::Remove) => {
            response.remove_header(&CONTENT_LENGTH);
            response.remove_header(&TRANSFER_ENCODING);
            Ok(())
        }
        Ok(FramingChange::SetLength(length)) => {
            response.insert_header(CONTENT_LENGTH, length.to_string())
        }
        Err(error) => Err(failure::invalid_answer(error)),
    }
}
