//! `tollgate quota`: shows and changes balances, in the process that owns the store or, if none does, in the store.

use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::commands::{EX_CONFIG, EX_USAGE, fail};
use crate::access::limits::quota::{Filter, Row};
use crate::balances::{
    self, Answer, Change, Done, LinkError, Offline, Request, SharedBalances, StoreError,
    StoreSettings, socket_path,
};
use crate::config::{Config, parse_size};
use crate::telemetry::human_bytes;
use crate::text::count;

/// How long a process may have the store without listening.
const PATIENCE: Duration = Duration::from_secs(3);

const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// What is asked.
pub(super) struct QuotaQuery<'a> {
    pub(super) conf: &'a Path,
    pub(super) filter: Filter,
    pub(super) reset: bool,
    pub(super) grant: Option<&'a str>,
    pub(super) json: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum QuotaError {
    #[error("the process that has {0} open does not answer: {1}")]
    Link(String, LinkError),
    #[error("{0}: {1}")]
    Store(String, StoreError),
    #[error("the process that has {0} open is of another version")]
    Answer(String),
}

/// Balances as a table.
struct Table<'a>(&'a [Row]);

/// Runs the command.
pub(super) fn quota(query: &QuotaQuery<'_>) -> ExitCode {
    let change = match change(query) {
        Ok(change) => change,
        Err(message) => return fail(EX_USAGE, &message),
    };
    let config = match Config::load_to_explain(query.conf) {
        Ok(config) => config,
        Err(error) => return fail(EX_CONFIG, &error),
    };
    let Some(store) = &config.store else {
        let message = format_args!(
            "{}: tollgate.limits.store: missing, and balances are kept there; add `store: {{ file: /var/lib/tollgate/quota.redb }}`",
            query.conf.display()
        );
        return fail(EX_CONFIG, &message);
    };
    let outcome = match &change {
        None => list(store, &config, query),
        Some(change) => apply(store, &config, change, query),
    };
    outcome.unwrap_or_else(|error| fail(1, &format_args!("tollgate: {error}")))
}

/// The change that is asked for; none where balances are shown.
fn change(query: &QuotaQuery<'_>) -> Result<Option<Change>, String> {
    let filter = query.filter.clone();
    let change = match query.grant {
        None if !query.reset => return Ok(None),
        None => Change::Reset(filter),
        Some(text) => match parse_size(text) {
            Ok(bytes) if bytes > 0 => Change::Grant(filter, bytes),
            _ => {
                return Err(format!(
                    "tollgate: --grant {text:?} is not a size; write one such as 10GiB"
                ));
            }
        },
    };
    if query.filter.is_empty() {
        return Err(
            "tollgate: a change needs --user, --network or --class, to say whose balances it is about"
                .to_owned(),
        );
    }
    Ok(Some(change))
}

fn list(
    store: &StoreSettings,
    config: &Config,
    query: &QuotaQuery<'_>,
) -> Result<ExitCode, QuotaError> {
    if let Some(redis) = store.redis() {
        let rows = SharedBalances::open(redis)
            .and_then(|mut shared| shared.rows(&query.filter, config.classes.as_deref()));
        let mut rows = rows.map_err(|error| QuotaError::Store(shown(store), error))?;
        rows.sort();
        return Ok(print(query.json.then_some(&rows), &Table(&rows)));
    }
    let request = Request::List(query.filter.clone());
    let of_process = || {
        let mut rows = Vec::new();
        balances::ask(&socket_path(store.path()), &request, |answer| {
            if let Answer::Row(row) = answer {
                rows.push(row);
            }
        })?;
        Ok(rows)
    };
    let of_store = || match Offline::open(store) {
        Ok(offline) => Ok(offline.rows(&query.filter, config.classes.as_deref())),
        // Nothing has been counted yet.
        Err(StoreError::Missing) => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let mut rows = reach(store, of_process, of_store)?;
    rows.sort();
    Ok(print(query.json.then_some(&rows), &Table(&rows)))
}

fn apply(
    store: &StoreSettings,
    config: &Config,
    change: &Change,
    query: &QuotaQuery<'_>,
) -> Result<ExitCode, QuotaError> {
    let request = Request::Change(change.clone());
    let of_process = || {
        let mut done = None;
        balances::ask(&socket_path(store.path()), &request, |answer| {
            if let Answer::Done(answered) = answer {
                done = Some(answered);
            }
        })?;
        Ok(done)
    };
    let of_store = || {
        let mut offline = Offline::open(store)?;
        let done = offline.change(change, config.classes.as_deref())?;
        Ok(Some(done))
    };
    let done = match store.redis() {
        Some(redis) => {
            let done = SharedBalances::open(redis)
                .and_then(|mut shared| shared.change(change, config.classes.as_deref()));
            Some(done.map_err(|error| QuotaError::Store(shown(store), error))?)
        }
        None => reach(store, of_process, of_store)?,
    };
    let done = done.ok_or_else(|| QuotaError::Answer(shown(store)))?;
    let Done { changed, saved } = done;
    if changed == 0 {
        let message = match query.filter.class {
            Some(_) => {
                "tollgate: there is no such balance, and no such member of a class with a quota"
            }
            None => {
                "tollgate: there is no such balance; --class names the class of a member that has used nothing yet"
            }
        };
        return Ok(fail(1, &message));
    }
    let what = match change {
        Change::Reset(_) => "reset",
        Change::Grant(..) => "granted",
    };
    eprintln!("{what}: the quotas of {}", count(changed, "member"));
    if !saved {
        eprintln!("note: the store does not work; it is written when it does");
    }
    Ok(print(query.json.then_some(&done), &""))
}

/// Writes to standard output.
fn print(json: Option<&impl Serialize>, text: &dyn fmt::Display) -> ExitCode {
    let mut out = io::stdout().lock();
    let written = match json {
        Some(json) => serde_json::to_writer(&mut out, json)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out)),
        None => write!(out, "{text}"),
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &format_args!("tollgate: cannot write: {error}")),
    }
}

/// Asks the process that has the store, or, when none does, uses the store. One that has just opened it, or is about to
/// close it, does not listen for a moment.
fn reach<T>(
    store: &StoreSettings,
    of_process: impl Fn() -> Result<T, LinkError>,
    of_store: impl Fn() -> Result<T, StoreError>,
) -> Result<T, QuotaError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match of_process() {
            Err(LinkError::NoOwner) => {}
            asked => return asked.map_err(|error| QuotaError::Link(shown(store), error)),
        }
        match of_store() {
            Err(StoreError::Locked) if Instant::now() < deadline => thread::sleep(RETRY_PAUSE),
            used => return used.map_err(|error| QuotaError::Store(shown(store), error)),
        }
    }
}

fn shown(store: &StoreSettings) -> String {
    match store.redis() {
        Some(redis) => redis.address.to_string(),
        None => store.path().display().to_string(),
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["class", "member", "period", "used", "limit", "resets at"];
        let line = |row: &Row| {
            let limit = row.limit.map_or_else(|| "-".to_owned(), human_bytes);
            [
                row.class.clone(),
                row.member.clone(),
                row.period.clone(),
                human_bytes(row.used),
                limit,
                row.resets_at.clone(),
            ]
        };
        let lines = self.0.iter().map(line);
        let lines: Vec<[String; 6]> = std::iter::once(head.map(str::to_owned))
            .chain(lines)
            .collect();
        let mut widths = [0; 6];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        for line in &lines {
            let cells = line.iter().zip(widths).enumerate();
            let cells = cells.map(|(column, (cell, width))| match column {
                3 | 4 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            });
            let cells: Vec<String> = cells.collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}
