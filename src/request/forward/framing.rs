//! The framing of an upstream's answer, made unmistakable or refused.
//!
//! Pingora reads more than one may pass on: doubled lengths, codings it does not
//! know, framing fields on answers that have no body. Whoever reads next must see
//! what we saw (RFC 9112 §6.3).

use http::StatusCode;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora::http::ResponseHeader;
use pingora_core::Result;

use super::failure;
use crate::http::fields::{Length, Survey};

/// Leaves at most one field that frames the body.
///
/// # Errors
/// An invalid answer, when the framing can be read in two ways.
pub(super) fn settle(response: &mut ResponseHeader, survey: &Survey) -> Result<()> {
    match judge(response.status, survey) {
        Some(Verdict::Keep) => {}
        Some(Verdict::Drop) => {
            response.remove_header(&CONTENT_LENGTH);
            response.remove_header(&TRANSFER_ENCODING);
        }
        Some(Verdict::Length(length)) => {
            response.insert_header(CONTENT_LENGTH, length.to_string())?;
        }
        None => {
            let why = "the length of the answer can be read in two ways";
            return Err(failure::invalid_answer(why));
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    /// The status has no body, so nothing may frame one (RFC 9110 §8.6, RFC 9112 §6.1).
    Drop,
    /// Several equal lengths are one.
    Length(u64),
}

/// None: ambiguous.
fn judge(status: StatusCode, survey: &Survey) -> Option<Verdict> {
    if survey.codings == 0 && survey.length == Length::Absent {
        return Some(Verdict::Keep);
    }
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        return Some(Verdict::Drop);
    }
    match survey.length {
        // With a length beside it, Pingora goes by the coding and drops the length.
        _ if survey.codings > 0 => (survey.codings == 1 && survey.chunked).then_some(Verdict::Keep),
        Length::Several(length) => Some(Verdict::Length(length)),
        Length::Ambiguous => None,
        Length::Absent | Length::One(_) => Some(Verdict::Keep),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn judged(status: u16, fields: &[(&'static str, &str)]) -> Option<Verdict> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        judge(
            StatusCode::from_u16(status).unwrap(),
            &Survey::of(&headers, false),
        )
    }

    #[test]
    fn one_reading_or_none() {
        let length = |text| ("content-length", text);
        let coding = |text| ("transfer-encoding", text);
        assert_eq!(judged(200, &[]), Some(Verdict::Keep));
        assert_eq!(judged(200, &[length("5")]), Some(Verdict::Keep));
        assert_eq!(judged(200, &[length("0")]), Some(Verdict::Keep));
        assert_eq!(judged(200, &[length("5, 5")]), Some(Verdict::Length(5)));
        assert_eq!(
            judged(200, &[length("5"), length("5")]),
            Some(Verdict::Length(5))
        );
        assert_eq!(judged(200, &[length("5"), length("6")]), None);
        assert_eq!(judged(200, &[length("18446744073709551615")]), None);
        assert_eq!(judged(200, &[length("+5")]), None);
        assert_eq!(judged(200, &[length("")]), None);
        assert_eq!(judged(200, &[coding("Chunked")]), Some(Verdict::Keep));
        assert_eq!(judged(200, &[coding("xchunked")]), None);
        assert_eq!(judged(200, &[coding("identity")]), None);
        assert_eq!(judged(200, &[coding("chunked"), coding("chunked")]), None);
        assert_eq!(judged(204, &[length("5")]), Some(Verdict::Drop));
        assert_eq!(judged(204, &[coding("chunked")]), Some(Verdict::Drop));
        assert_eq!(judged(103, &[length("5")]), Some(Verdict::Drop));
        assert_eq!(judged(304, &[length("5")]), Some(Verdict::Keep));
    }
}
