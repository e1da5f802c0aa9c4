//! The rows of lists whose answer is not one list of rows with a key. Pure.

use serde_json::json;

use crate::top::facts::{Fact, Facts};

/// Pools and parents as one list, from what is below `upstreams` in a snapshot.
pub(super) fn upstreams(answer: &Facts) -> Vec<Facts> {
    let mut rows = Vec::new();
    let raw = |fact: Fact<'_>| fact.raw().unwrap_or_default().to_owned();
    for pool in answer.at("upstreams.pools").items() {
        for upstream in pool.at("upstreams").items() {
            let (pool, address) = (raw(pool.at("pool")), raw(upstream.at("address")));
            rows.push(Facts::new(json!({
                "key": format!("{pool} {address}"),
                "pool": pool,
                "address": address,
                "state": upstream.at("state").raw(),
                "requests_in_flight": upstream.at("requests_in_flight").count(),
                "waiting": upstream.at("waiting").count(),
                "limit": upstream.at("limit").count(),
                "trouble": upstream.at("trouble").raw(),
            })));
        }
    }
    for parent in answer.at("upstreams.parents").items() {
        let (name, url) = (raw(parent.at("parent")), raw(parent.at("url")));
        rows.push(Facts::new(json!({
            "key": format!("parent {name} {url}"),
            "pool": format!("parent {name}"),
            "address": url,
            "state": if parent.at("up").is_true() { "up" } else { "down" },
            "requests_in_flight": parent.at("in_use").count(),
        })));
    }
    rows
}

/// The rules in their order, and what else has decided, from what is below `policy` in a snapshot.
pub(super) fn rules(answer: &Facts) -> Vec<Facts> {
    let raw = |fact: Fact<'_>| fact.raw().unwrap_or_default().to_owned();
    let rules = answer.at("policy.rules").items().enumerate();
    let rules = rules.map(|(place, rule)| {
        let name = raw(rule.at("name"));
        Facts::new(json!({
            "key": format!("{} {name}", place + 1),
            "place": place + 1,
            "name": name,
            "action": rule.at("action").raw(),
            "hits": rule.at("hits").count(),
            "observed": rule.at("observed").count(),
        }))
    });
    let others = answer.at("policy.others").items().map(|other| {
        let name = raw(other.at("rule"));
        Facts::new(json!({
            "key": format!("- {name}"),
            "name": name,
            "hits": other.at("count").count(),
        }))
    });
    rules.chain(others).collect()
}

/// The balances of quotas, which have no key of their own.
pub(super) fn quotas(answer: &Facts) -> Vec<Facts> {
    let raw = |fact: Fact<'_>| fact.raw().unwrap_or_default().to_owned();
    let rows = answer.at("balances").items().map(|row| {
        let (class, period) = (raw(row.at("class")), raw(row.at("period")));
        let member = raw(row.at("member"));
        Facts::new(json!({
            "key": format!("{class} {period} {member}"),
            "member": member,
            "class": class,
            "period": period,
            "used": row.at("used").count(),
            "limit": row.at("limit").count(),
            "granted": row.at("granted").count(),
            "resets_at": row.at("resets_at").raw(),
        }))
    });
    rows.collect()
}
