//! `POST /api/v1/drain` and `POST /api/v1/log-level`: what an operator changes of the process itself.

use http::StatusCode;
use log::LevelFilter;
use serde::Deserialize;
use serde_json::json;

use crate::admin::answer::Answer;
use crate::admin::problem::Problem;
use crate::admin::routes::Call;

/// A level of the messages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    level: String,
}

/// Ends the process as SIGTERM does, once what is open has ended.
pub(in crate::admin) async fn drain(call: Call<'_>) -> Answer {
    call.admin.app.lifecycle.ask_to_drain();
    Answer::json(&json!({"state": "draining"})).with_status(StatusCode::ACCEPTED)
}

/// Sets the lowest level of messages in the error log. What the filter of the start keeps out cannot be had: it holds back
/// what libraries say at `debug` and `trace`, which may have credentials in it.
pub(in crate::admin) async fn log_level(call: Call<'_>) -> Answer {
    let asked: Level = match super::read(&call) {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let Ok(level) = asked.level.parse::<LevelFilter>() else {
        return Answer::malformed("the levels are off, error, warn, info, debug and trace");
    };
    let lowest = call.admin.lowest_level;
    if level > lowest {
        return Answer::problem(
            Problem::LevelUnavailable,
            format!(
                "the process was started with messages down to {}; for {}, start it with RUST_LOG=tollgate={}",
                name(lowest),
                name(level),
                name(level)
            ),
        );
    }
    let before = log::max_level();
    log::set_max_level(level);
    Answer::json(&json!({"level": name(level), "before": name(before)}))
}

fn name(level: LevelFilter) -> String {
    level.as_str().to_ascii_lowercase()
}
