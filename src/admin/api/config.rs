//! `GET /api/v1/config`: the configuration of the process, without secrets.

use crate::admin::answer::Answer;
use crate::admin::routes::Call;
use crate::telemetry::members;

members! {
    /// The configuration.
    pub(in crate::admin) struct ConfigReport;
    yaml: String, "The configuration file as it was read last without an error: YAML without comments, in which `***` stands for what may be a secret. Where names of users are hashed, it has hashes in place of names, and `***` for expressions and claims.";
    restart_needed: Vec<String>, "The keys in it that have no effect before a restart.";
}

/// Shows the configuration.
pub(in crate::admin) async fn config(call: Call<'_>) -> Answer {
    let telemetry = &call.admin.app.telemetry;
    let last = telemetry.last_reload();
    Answer::json(&ConfigReport {
        yaml: call.admin.reload.shown().text(telemetry.user_names()),
        restart_needed: last.map(|last| last.restart_needed).unwrap_or_default(),
    })
}
