//! `/quotas`: what users and networks have used, and changes of it.

use std::sync::Arc;

use serde_json::json;
use url::form_urlencoded;

use super::answer::Answer;
use super::problem::Problem;
use super::routes::Call;
use crate::access::limits::quota::{Filter, Largest};
use crate::balances::{Change, StoreError};
use crate::config::parse_size;
use crate::telemetry::Telemetry;
use crate::text::units::show_size;

/// The most balances of one answer; more are counted.
const MAX_ROWS: usize = 10_000;

/// What a query names.
#[derive(Debug, Default)]
struct Query {
    filter: Filter,
    bytes: Option<u64>,
    limit: Option<usize>,
}

/// The largest of the balances that the query means.
pub(super) async fn list(call: Call<'_>) -> Answer {
    let (filter, limit) = match Query::parse(call.query) {
        Ok(Query {
            filter,
            bytes: None,
            limit,
        }) => (filter, limit.unwrap_or(MAX_ROWS)),
        Ok(_) => return Answer::malformed("bytes is for /quotas/grant"),
        Err(message) => return Answer::malformed(message),
    };
    let balances = Arc::clone(&call.admin.app.balances);
    // It visits every ledger, or asks the server that has them.
    let listed = tokio::task::spawn_blocking(move || {
        let Largest { rows, unlisted } = balances.largest(&filter, limit)?;
        Ok(json!({"balances": rows, "unlisted": unlisted}))
    });
    match listed.await {
        Ok(Ok(listed)) => Answer::json(&listed),
        Ok(Err(error)) => unreached(&error),
        Err(_) => Answer::internal(),
    }
}

/// Forgets what the balances that the query means have used.
pub(super) async fn reset(call: Call<'_>) -> Answer {
    match Query::of_change(call.query) {
        Ok(Query {
            filter,
            bytes: None,
            ..
        }) => change(call, Change::Reset(filter)).await,
        Ok(_) => Answer::malformed("bytes is for /quotas/grant"),
        Err(message) => Answer::malformed(message),
    }
}

/// Lets the members that the query means use more.
pub(super) async fn grant(call: Call<'_>) -> Answer {
    match Query::of_change(call.query) {
        Ok(Query {
            filter,
            bytes: Some(bytes),
            ..
        }) => change(call, Change::Grant(filter, bytes)).await,
        Ok(_) => Answer::malformed("name bytes, such as bytes=10GiB"),
        Err(message) => Answer::malformed(message),
    }
}

async fn change(call: Call<'_>, change: Change) -> Answer {
    let balances = Arc::clone(&call.admin.app.balances);
    let about = described(&change, &call.admin.app.telemetry);
    let done = tokio::task::spawn_blocking(move || balances.change(&change));
    match done.await {
        Ok(Ok(done)) if done.changed == 0 => Answer::not_found(
            "there is no such balance; class names the class of a member that has used nothing yet",
        ),
        Ok(Ok(done)) => Answer::json(&done).with_change(about),
        Ok(Err(error)) => unreached(&error),
        Err(_) => Answer::internal(),
    }
}

/// A change for the log, with the user as users are shown.
fn described(change: &Change, telemetry: &Telemetry) -> String {
    let (filter, bytes) = match change {
        Change::Reset(filter) => (filter, None),
        Change::Grant(filter, bytes) => (filter, Some(*bytes)),
    };
    let user = filter.user.as_ref();
    let parts = [
        bytes.map(show_size),
        user.map(|user| format!("user {:?}", telemetry.label_of(user))),
        filter.network.map(|address| format!("network {address}")),
        filter
            .class
            .as_ref()
            .map(|class| format!("class {class:?}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

impl Query {
    /// A query that has to say whose balances it is about.
    fn of_change(query: Option<&str>) -> Result<Query, String> {
        let query = Query::parse(query)?;
        if query.limit.is_some() {
            return Err("limit is for GET /quotas".to_owned());
        }
        if query.filter.is_empty() {
            return Err(
                "name user, network or class, to say whose balances it is about".to_owned(),
            );
        }
        Ok(query)
    }

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
                "limit" => match value.parse() {
                    Ok(limit) if (1..=MAX_ROWS).contains(&limit) => parsed.limit = Some(limit),
                    _ => return Err(format!("limit is not a number from 1 to {MAX_ROWS}")),
                },
                _ => return Err("the keys are class, user, network, bytes and limit".to_owned()),
            }
        }
        if parsed.filter.user.is_some() && parsed.filter.network.is_some() {
            return Err("a member is a user or a network: name one of them".to_owned());
        }
        Ok(parsed)
    }
}

fn unreached(error: &StoreError) -> Answer {
    let message = format!("the store does not work: {error}");
    Answer::problem(Problem::StoreFailed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_and_for_the_list() {
        let limit = |query| Query::parse(Some(query)).map(|query| query.limit);
        assert_eq!(limit("limit=10000"), Ok(Some(10_000)));
        assert_eq!(limit("user=a"), Ok(None));
        for query in ["limit=0", "limit=10001", "limit=-1", "limit=", "limit=x"] {
            assert!(limit(query).is_err(), "{query}");
        }
        assert!(Query::of_change(Some("user=a&limit=1")).is_err());
        assert!(Query::of_change(Some("user=a")).is_ok());
    }
}
