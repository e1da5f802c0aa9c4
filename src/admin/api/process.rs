//! `POST /api/v1/drain` and `POST /api/v1/log-level`: what an operator changes of the process itself.

use http::StatusCode;
use log::{Level, LevelFilter, Metadata};
use serde::Deserialize;
use serde_json::json;

use crate::admin::answer::Answer;
use crate::admin::problem::Problem;
use crate::admin::routes::Call;

/// The level that is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    level: String,
}

/// Ends the process as SIGTERM does, once what is open has ended.
pub(in crate::admin) async fn drain(call: Call<'_>) -> Answer {
    call.admin.app.lifecycle.ask_to_drain();
    Answer::json(&json!({"state": "draining"})).with_status(StatusCode::ACCEPTED)
}

/// Sets the lowest level of messages in the error log. What the filter of the start keeps out cannot be had: by default what
/// libraries say at `debug` and `trace`, which may have credentials in it.
pub(in crate::admin) async fn log_level(call: Call<'_>) -> Answer {
    let asked: Asked = match super::read(&call) {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let Ok(level) = asked.level.parse::<LevelFilter>() else {
        return Answer::malformed("the levels are off, error, warn, info, debug and trace");
    };
    let lowest = lowest_level();
    if level > lowest {
        return Answer::problem(
            Problem::LevelUnavailable,
            format!(
                "RUST_LOG of the start has messages down to {}; for {level}, start it without RUST_LOG, or with RUST_LOG=tollgate={level}",
                name(lowest),
                level = name(level)
            ),
        );
    }
    let before = log::max_level();
    log::set_max_level(level);
    let answer = Answer::json(&json!({"level": name(level), "before": name(before)}));
    answer.with_change(format!("{}, before {}", name(level), name(before)))
}

/// The lowest level of Tollgate's own messages that the filter of the start lets pass.
fn lowest_level() -> LevelFilter {
    let passes = |level: &Level| {
        let message = Metadata::builder()
            .level(*level)
            .target(module_path!())
            .build();
        log::logger().enabled(&message)
    };
    let lowest = Level::iter().take_while(passes).last();
    lowest.map_or(LevelFilter::Off, |level| level.to_level_filter())
}

fn name(level: LevelFilter) -> String {
    level.as_str().to_ascii_lowercase()
}
