//! `GET /api/v1/config`: the configuration of the process, without secrets.

use serde_json::json;

use crate::admin::answer::Answer;
use crate::admin::routes::Call;

/// Shows the configuration, as it was read last without an error. `restart_needed` names the keys in it that have no effect yet.
pub(in crate::admin) async fn config(call: Call<'_>) -> Answer {
    let last = call.admin.reload.last();
    Answer::json(&json!({"yaml": *last.shown, "restart_needed": last.restart_needed}))
}
