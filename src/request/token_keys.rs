//! The task that fetches the keys of token issuers, beside the requests.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use tokio::task::JoinSet;

use super::app::App;
use crate::access::auth::tokens::{Issuer, KeyChanges, KeySet, MAX_KEY_SET};
use crate::text::count;
use crate::upstream::fetch::FetchRequest;

/// How long a fetch may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches keys at the start, when they are due, and when a request misses one. Keys stay in use while fetches fail.
/// Never ends; without issuers to ask it sleeps.
pub async fn look_after(app: Arc<App>) {
    let refresh = &app.access.key_refresh;
    // Each issuer by itself: one that is slow does not keep the others waiting.
    let mut fetches = JoinSet::new();
    loop {
        let tokens = app.access.tokens();
        let (due, pause) = refresh.due(tokens.as_deref(), Instant::now());
        for issuer in due {
            fetches.spawn(fetch(Arc::clone(&app), issuer));
        }
        refresh.pause(pause).await;
        while fetches.try_join_next().is_some() {}
    }
}

async fn fetch(app: Arc<App>, issuer: Arc<Issuer>) {
    let fetched = read(&app, &issuer).await;
    app.telemetry.keys_fetched(fetched.is_ok());
    // With a reload meanwhile, the keys are those of an issuer that is not in use: its successor asks again soon.
    let is_in_vain = fetched.is_err() || issuer.is_retired();
    app.access.key_refresh.done(&issuer, is_in_vain);
    let name = issuer.name();
    match fetched {
        Ok((
            _,
            KeyChanges {
                added: 0,
                removed: 0,
            },
        )) => {}
        Ok((keys, KeyChanges { added, removed })) => {
            let keys = count(keys, "key");
            log::info!("tokens of {name}: {keys} fetched, {added} new and {removed} gone");
        }
        Err(error) => {
            if let Some(passed) = app.key_failures.pass() {
                log::warn!("tokens of {name}: {error}; the keys from before stay in use{passed}");
            }
        }
    }
}

/// Fetches the keys of an issuer, and puts them in use. How many there are now.
async fn read(app: &App, issuer: &Issuer) -> Result<(usize, KeyChanges), String> {
    let url = issuer.url().ok_or("no URL to fetch the keys from")?;
    let cannot = |error: &dyn Error| {
        let mut text = format!("cannot fetch {url}: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        text
    };
    let request = FetchRequest {
        method: Method::GET,
        url,
        content: None,
        accept: "application/jwk-set+json, application/json",
        fields: Vec::new(),
        is_repeatable: false,
        max_body: MAX_KEY_SET,
        cuts_body: false,
        timeout: TIMEOUT,
    };
    let response = app.fetcher.fetch(request).await;
    let response = response.map_err(|error| cannot(&error))?;
    if response.status != StatusCode::OK {
        let status = response.status.as_u16();
        return Err(format!("{url} answers {status}"));
    }
    let keys = KeySet::parse(&response.body).map_err(|error| cannot(&error))?;
    let number = keys.len();
    Ok((number, issuer.replace_keys(keys)))
}
