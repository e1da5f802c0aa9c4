//! The API, version 1: what docs/api/openapi.yaml describes.

mod attention;
pub(super) mod config;
pub(super) mod explain;
pub(super) mod lists;
pub(super) mod process;
pub(super) mod status;

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::Answer;
use super::problem::Problem;
use super::routes::Call;
use crate::request::app::App;

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
            Problem::NotJson,
            "send JSON, with `Content-Type: application/json`",
        ));
    }
    serde_json::from_slice(&call.body).map_err(|error| Answer::malformed(error.to_string()))
}

/// What a view makes, as JSON. Views visit tables and read /proc, which is nothing for a thread that serves requests. `make` gets
/// the parameter of the path too.
async fn in_background<T: Serialize>(
    call: Call<'_>,
    make: impl FnOnce(&App, &str) -> T + Send + 'static,
) -> Answer {
    let app = Arc::clone(&call.admin.app);
    let parameter = call.parameter.to_owned();
    let made = tokio::task::spawn_blocking(move || Answer::json(&make(&app, &parameter)));
    made.await.unwrap_or_else(|_| Answer::internal())
}
