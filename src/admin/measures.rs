//! What is beside the API: `/healthz`, `/metrics` for Prometheus, and `/stats`.

use std::sync::Arc;

use http::StatusCode;

use super::answer::Answer;
use super::routes::Call;
use crate::telemetry::{METRICS_CONTENT_TYPE, STATS_CONTENT_TYPE, Telemetry};

/// Whether the process serves: what is asked for at short intervals by programs that restart it.
pub(super) async fn health(call: Call<'_>) -> Answer {
    match call.admin.app.lifecycle.is_draining() {
        false => Answer::text("ok\n"),
        true => Answer::text("draining\n").with_status(StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// The metrics.
pub(super) async fn metrics(call: Call<'_>) -> Answer {
    render(call, METRICS_CONTENT_TYPE, Telemetry::render_metrics).await
}

/// The statistics.
pub(super) async fn stats(call: Call<'_>) -> Answer {
    render(call, STATS_CONTENT_TYPE, Telemetry::render_stats).await
}

/// Rendering reads /proc and visits every series.
async fn render(
    call: Call<'_>,
    content_type: &'static str,
    render: fn(&Telemetry) -> String,
) -> Answer {
    let telemetry = Arc::clone(&call.admin.app.telemetry);
    match tokio::task::spawn_blocking(move || render(&telemetry)).await {
        Ok(text) => Answer::of(content_type, text),
        Err(_) => Answer::internal(),
    }
}
