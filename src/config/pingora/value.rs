//! The value of one of Pingora's keys, for Pingora's own reader.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use pingora_core::server::configuration::ServerConf;
use serde_json::{Map, Value};

use super::super::files::Base;
use super::super::reader::Item;
use super::super::tls;
use super::keys::ServerKey;

/// Reads one key; `None` when it was reported.
pub(super) fn read(key: &ServerKey, item: &Item<'_>, base: &Base, open: bool) -> Option<Value> {
    let value = item.json()?;
    let alone = Map::from_iter([(key.name.to_owned(), value.clone())]);
    match serde_json::from_value::<ServerConf>(Value::Object(alone)) {
        Ok(conf) => {
            if let Err(error) = conf.validate() {
                // These contexts are fixed texts that name the key and its bound.
                let context = error
                    .context
                    .as_ref()
                    .map_or("not accepted", |text| text.as_str());
                item.report(context, "write another value");
                return None;
            }
        }
        Err(error) => {
            let error = error.to_string();
            let wanted = wanted(&error);
            item.report(
                format!("wrong type; {wanted} is expected"),
                "see docs/configuration.md",
            );
            return None;
        }
    }
    check_range(key, &value, item)?;
    match key.name {
        "pid_file" | "upgrade_sock" | "error_log" | "working_directory" | "ca_file" => {
            path_key(key.name, value, item, base, open)
        }
        "client_bind_to_ipv4" => addresses::<Ipv4Addr>(value, item, "IPv4"),
        "client_bind_to_ipv6" => addresses::<Ipv6Addr>(value, item, "IPv6"),
        _ => Some(value),
    }
}

/// What serde expected, without the value that it quotes before.
fn wanted(error: &str) -> &str {
    let wanted = error
        .rsplit_once("expected ")
        .map_or("another", |(_, wanted)| wanted);
    match wanted {
        "usize" | "u64" => "a whole number",
        "a nonzero u64" => "a whole number above 0",
        "a boolean" => "true or false",
        "a string" | "path string" => "text",
        "a sequence" => "a list",
        other => other,
    }
}

fn check_range(key: &ServerKey, value: &Value, item: &Item<'_>) -> Option<()> {
    if let (Some(range), Some(number)) = (&key.range, value.as_u64())
        && !range.contains(&number)
    {
        let advice = if range.start() == range.end() {
            format!("write {}", range.start())
        } else {
            format!("write one from {} to {}", range.start(), range.end())
        };
        item.report("out of range", advice);
        return None;
    }
    Some(())
}

fn path_key(key: &str, value: Value, item: &Item<'_>, base: &Base, open: bool) -> Option<Value> {
    // `null` for a path that may be missing.
    if value.is_null() {
        return Some(value);
    }
    let path = item.file(&base.directory)?;
    if key == "ca_file" {
        item.note_file(&base.directory);
        if open {
            tls::check_ca_file(item, base)?;
        }
    }
    // The path came from a string, and so did the directory unless it is not UTF-8 itself.
    match path.into_os_string().into_string() {
        Ok(path) => Some(path.into()),
        Err(_) => {
            item.report("not UTF-8 with its directory", "move the file");
            None
        }
    }
}

/// Pingora panics on an address that is none.
fn addresses<A: FromStr>(value: Value, item: &Item<'_>, kind: &str) -> Option<Value> {
    let mut good = true;
    for item in item.list()? {
        if item.scalar()?.parse::<A>().is_err() {
            item.report(
                format!("not an {kind} address"),
                "write an address of this machine",
            );
            good = false;
        }
    }
    good.then_some(value)
}
