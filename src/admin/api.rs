//! The API, version 1: what docs/api/openapi.yaml describes.

pub(super) mod config;
pub(super) mod explain;
pub(super) mod limits;
pub(super) mod policy;
pub(super) mod process;
pub(super) mod snapshot;
pub(super) mod status;
pub(super) mod upstreams;

use serde::de::DeserializeOwned;

use super::answer::Answer;
use super::routes::Call;
use http::StatusCode;
use http::header::CONTENT_TYPE;

/// The body of a request as JSON.
///
/// # Errors
/// It is no JSON, or not of this form: the answer.
fn read<T: DeserializeOwned>(call: &Call<'_>) -> Result<T, Answer> {
    let is_json = call.fields.get(CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        let end = value.iter().position(|byte| *byte == b';');
        let media_type = end.and_then(|end| value.get(..end)).unwrap_or(value);
        media_type
            .trim_ascii()
            .eq_ignore_ascii_case(b"application/json")
    });
    if !is_json {
        return Err(Answer::problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "send JSON, with `Content-Type: application/json`",
        ));
    }
    serde_json::from_slice(&call.body).map_err(|error| Answer::malformed(error.to_string()))
}
