//! `/quotas`: what users and networks have used, and changes of it.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::json;
use url::form_urlencoded;

use super::{respond, text};
use crate::access::limits::quota::Filter;
use crate::balances::{Balances, Change, StoreError};
use crate::config::parse_size;

/// The most balances of one answer; more are counted.
const MAX_ROWS: usize = 10_000;

/// What a query names.
#[derive(Debug, Default)]
struct Query {
    filter: Filter,
    bytes: Option<u64>,
}

/// The path of the list.
pub(super) const LIST: &str = "/quotas";

/// Whether a path is one that changes balances.
pub(super) fn is_change(path: &str) -> bool {
    matches!(path, "/quotas/reset" | "/quotas/grant")
}

/// The balances that the query means.
pub(super) async fn list(balances: &Arc<Balances>, query: Option<&str>) -> Response<Vec<u8>> {
    let filter = match Query::parse(query) {
        Ok(Query {
            filter,
            bytes: None,
        }) => filter,
        Ok(_) => return refused("bytes is for /quotas/grant"),
        Err(message) => return refused(&message),
    };
    let balances = Arc::clone(balances);
    // It visits every ledger, or asks the server that has them.
    let listed = tokio::task::spawn_blocking(move || {
        let mut rows = balances.rows(&filter)?;
        let unlisted = rows.len().saturating_sub(MAX_ROWS);
        rows.sort();
        rows.truncate(MAX_ROWS);
        Ok(json!({"balances": rows, "unlisted": unlisted}))
    });
    match listed.await {
        Ok(Err(error)) => unreached(&error),
        listed => answer(listed.ok().and_then(Result::ok)),
    }
}

/// Changes the balances that the query means.
pub(super) async fn change(
    balances: &Arc<Balances>,
    path: &str,
    query: Option<&str>,
) -> Response<Vec<u8>> {
    let query = match Query::parse(query) {
        Ok(query) => query,
        Err(message) => return refused(&message),
    };
    if query.filter.is_empty() {
        return refused("name user, network or class, to say whose balances it is about");
    }
    let change = match (path, query.bytes) {
        ("/quotas/grant", Some(bytes)) => Change::Grant(query.filter, bytes),
        ("/quotas/grant", None) => return refused("name bytes, such as bytes=10GiB"),
        (_, None) => Change::Reset(query.filter),
        (_, Some(_)) => return refused("bytes is for /quotas/grant"),
    };
    let balances = Arc::clone(balances);
    let done = tokio::task::spawn_blocking(move || balances.change(&change)).await;
    let done = match done {
        Ok(Err(error)) => return unreached(&error),
        done => done.ok().and_then(Result::ok),
    };
    match done {
        Some(done) if done.changed == 0 => text(
            StatusCode::NOT_FOUND,
            "there is no such balance; class names the class of a member that has used nothing yet\n",
        ),
        done => answer(done.map(|done| json!(done))),
    }
}

impl Query {
    fn parse(query: Option<&str>) -> Result<Query, String> {
        let mut parsed = Query::default();
        for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let filter = &mut parsed.filter;
            match &*key {
                "class" => filter.class = Some(value.into_owned()),
                "user" => filter.user = Some(value.into_owned()),
                "network" => match value.parse() {
                    Ok(address) => filter.network = Some(address),
                    Err(_) => return Err("network is not an IP address".to_owned()),
                },
                "bytes" => match parse_size(&value) {
                    Ok(bytes) if bytes > 0 => parsed.bytes = Some(bytes),
                    _ => return Err("bytes is not a size such as 10GiB".to_owned()),
                },
                _ => return Err("the keys are class, user, network and bytes".to_owned()),
            }
        }
        if parsed.filter.user.is_some() && parsed.filter.network.is_some() {
            return Err("a member is a user or a network: name one of them".to_owned());
        }
        Ok(parsed)
    }
}

fn refused(message: &str) -> Response<Vec<u8>> {
    text(StatusCode::BAD_REQUEST, &format!("{message}\n"))
}

fn unreached(error: &StoreError) -> Response<Vec<u8>> {
    let message = format!("the store does not work: {error}\n");
    text(StatusCode::SERVICE_UNAVAILABLE, &message)
}

fn answer(outcome: Option<serde_json::Value>) -> Response<Vec<u8>> {
    match outcome {
        Some(outcome) => respond(StatusCode::OK, "application/json", format!("{outcome}\n")),
        None => text(StatusCode::INTERNAL_SERVER_ERROR, "failed\n"),
    }
}
