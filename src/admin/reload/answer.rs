//! `POST /reload`: what became of a reload, as JSON.

use http::StatusCode;
use serde_json::json;

use super::ReloadError;
use crate::admin::answer::Answer;
use crate::admin::routes::Call;
use crate::upstream::dial::EXHAUSTED_PAUSE;

/// Reloads, and answers with the outcome: 200 with the numbers and the changed keys, 422 with
/// the errors of the files, when nothing was changed. The result is `partial` when a
/// changed key needs a restart.
pub(in crate::admin) async fn reload(call: Call<'_>) -> Answer {
    let failure = |status, problems: Vec<String>, unlisted: usize| {
        let outcome = json!({"result": "failure", "problems": problems, "unlisted": unlisted});
        Answer::json(&outcome).with_status(status)
    };
    match call.admin.reload.run("admin").await {
        Ok(summary) => {
            let changes = &summary.changes;
            let complete = changes.are_complete();
            let mut outcome = json!({
                "result": if complete { "success" } else { "partial" },
                "users": summary.users,
                "rules": summary.rules,
                "applied": changes.applied,
                "restart_needed": changes.restart_needed,
                "not_compared": changes.not_compared,
            });
            if summary.left_out > 0
                && let Some(fields) = outcome.as_object_mut()
            {
                fields.insert("left_out".to_owned(), summary.left_out.into());
            }
            Answer::json(&outcome)
        }
        Err(ReloadError::Config(error)) => {
            let problems = error.problems().iter().map(ToString::to_string);
            failure(
                StatusCode::UNPROCESSABLE_ENTITY,
                problems.collect(),
                error.unlisted(),
            )
        }
        Err(error @ ReloadError::OutOfDescriptors) => {
            let problems = vec![error.to_string()];
            failure(StatusCode::SERVICE_UNAVAILABLE, problems, 0)
                .retry_after(EXHAUSTED_PAUSE.as_secs())
        }
        Err(ReloadError::System(error)) => {
            failure(StatusCode::INTERNAL_SERVER_ERROR, vec![error], 0)
        }
    }
}
