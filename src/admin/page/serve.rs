//! `GET /` and `GET /assets/…`: the page and its files, to the door's conditions.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::assets::{Asset, CHARTS, ICON, MODULE, STYLE_SHEET};
use super::render;
use crate::access::limits::quota::Filter;
use crate::admin::answer::Answer;
use crate::admin::api::status::{Look, Status};
use crate::admin::routes::Call;
use crate::balances::Balances;
use crate::request::live::{self, Query};

/// What the page begins with.
const DENIALS: usize = 200;
const REQUESTS: usize = 50;
const BALANCES: usize = 50;

/// The page, as things are now.
pub(in crate::admin) async fn page(call: Call<'_>) -> Answer {
    let look = Look::of(&call);
    let app = Arc::clone(&call.admin.app);
    // It visits tables and reads /proc, and the balances may be those of another server.
    let rendered = tokio::task::spawn_blocking(move || {
        let in_flight = Query {
            limit: REQUESTS,
            ..Query::default()
        };
        let may_change = look.can_change;
        let data = json!({
            "status": Status::of(&app, look),
            "snapshot": live::snapshot(&app),
            "denials": app.telemetry.last_denials(DENIALS),
            "requests": live::requests(&app, &in_flight),
            "quotas": { "balances": balances(&app.balances) },
        });
        render(&data, may_change)
    });
    match rendered.await {
        Ok(html) => Answer::of("text/html; charset=utf-8", html),
        Err(_) => Answer::internal(),
    }
}

/// The largest balances. Where their store cannot be reached there are none: the page is about more than them.
fn balances(balances: &Balances) -> Value {
    let largest = balances.largest(&Filter::default(), BALANCES);
    largest.map_or(Value::Null, |largest| json!(largest.rows))
}

/// `/assets/page.css`.
pub(in crate::admin) async fn style_sheet(call: Call<'_>) -> Answer {
    file(&call, &STYLE_SHEET)
}

/// `/assets/page.js`.
pub(in crate::admin) async fn module(call: Call<'_>) -> Answer {
    file(&call, &MODULE)
}

/// `/assets/uplot.js`.
pub(in crate::admin) async fn charts(call: Call<'_>) -> Answer {
    file(&call, &CHARTS)
}

/// `/assets/icon.svg`.
pub(in crate::admin) async fn icon(call: Call<'_>) -> Answer {
    file(&call, &ICON)
}

/// A file of the page. A browser keeps it, and asks whether it is still the same.
fn file(call: &Call<'_>, asset: &'static Asset) -> Answer {
    let held = call.fields.get(IF_NONE_MATCH);
    let answer = match held.is_some_and(|held| asset.is_held(held.as_bytes())) {
        true => Answer::nothing().with_status(StatusCode::NOT_MODIFIED),
        false => Answer::of(asset.content_type, Bytes::from_static(asset.body)),
    };
    answer
        .with_text(ETAG, asset.etag())
        .with(CACHE_CONTROL, HeaderValue::from_static("no-cache"))
}
