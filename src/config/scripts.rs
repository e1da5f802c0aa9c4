//! `tollgate.scripts` and `tollgate.script_limits`: the scripts of the operator, and how much a call may take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{self, Base};
use super::gateway::Gateway;
use super::keys::form::Absent::{Is, Means, Required};
use super::keys::form::{Bytes, Raw, Within};
use super::keys::{keys, settings};
use super::policy;
use super::reader::Item;
use super::units::milliseconds;
use crate::access::policy::{Groups, Name};
use crate::http::role::Role;
use crate::script::{Fault, Limits, OnError, Script, Secrets, Setting, Settings, Source};

/// The most scripts of a configuration.
pub(super) const MAX_SCRIPTS: usize = 64;

/// The most settings of a script, and entries of a list in them.
const MAX_SETTINGS: usize = 256;

const MAX_NAME: usize = 64;

keys! {
    /// One script.
    pub(super) struct Keys<'d> {
        /// The name in the log, in metrics and in messages, each once: up to 64 of `a-z`, `0-9`, `-` and `_`.
        name: Option<Item<'d>> = Required, Raw => Shape::text("a name");
        /// The file of the script, up to 64 KiB. Either this or `source`.
        file: Option<Item<'d>> = Means("none: `source`"), Raw => Shape::path();
        /// The text of the script.
        source: Option<Item<'d>> = Means("none: `file`"), Raw => Shape::text("a script");
        /// The roles in which it is called.
        roles: Option<Item<'d>> = Means("every role"), Raw => Shape::roles();
        /// What happens with a request for which the script fails: `deny` answers 500, with `skip` the request goes on as
        /// if the script were not there.
        on_error: Option<Item<'d>> = Is("deny"), Raw => Shape::words(&["deny", "skip"]);
        /// Constants, by name: texts, numbers, `true`, `false`, and lists of them. The script reads them as
        /// `settings.name`.
        settings: Option<Item<'d>> = Means("none"), Raw => Shape::names("a text, a number, a flag or a list");
    }
}

settings! {
    /// How much one call of a script may take. A call that takes more fails.
    pub struct ScriptLimits {
        /// Operations: about one for each operator, call and statement.
        operations: usize = 50_000, Within(100..=10_000_000);
        /// Time, looked at after each few operations. A call that is over it ends when it has had the processor for as long
        /// again, so that a busy machine fails none.
        time: Duration = milliseconds(2), Within(milliseconds(1)..=milliseconds(1000));
        /// Bytes of a text, and of all texts in an array or a map.
        string: usize = 16 << 10, Bytes(256..=1 << 20);
        /// Entries of an array or a map, with those of the arrays and maps in it.
        entries: usize = 256, Within(8..=4096);
        /// Calls of functions inside of calls.
        depth: usize = 16, Within(1..=32);
    }
}

impl From<&ScriptLimits> for Limits {
    fn from(limits: &ScriptLimits) -> Self {
        Limits {
            operations: u64::try_from(limits.operations).unwrap_or(u64::MAX),
            time: limits.time,
            string: limits.string,
            entries: limits.entries,
            depth: limits.depth,
        }
    }
}

/// What scripts are checked with.
pub(super) struct Surroundings<'s> {
    pub(super) base: &'s Base,
    pub(super) limits: &'s ScriptLimits,
    pub(super) secrets: &'s Secrets,
    pub(super) gateway: &'s Gateway,
    /// The names of the parents.
    pub(super) parents: &'s [Name],
    /// The groups; none when there may be others.
    pub(super) groups: Option<&'s Groups>,
}

/// Where the text of a script is.
struct Text<'d> {
    item: Item<'d>,
    /// None for a text in the configuration.
    file: Option<PathBuf>,
    text: String,
}

/// The files that scripts name.
pub(super) fn files<'d>(item: Option<&Item<'d>>) -> Vec<Item<'d>> {
    let items = item.filter(|item| item.is_list()).and_then(Item::list);
    let items = items.unwrap_or_default();
    let maps = items.iter().filter(|item| item.is_map());
    maps.filter_map(|item| item.section().item("file"))
        .collect()
}

/// The names of all scripts, also of those that have a fault.
pub(super) fn names<'d>(item: Option<&Item<'d>>) -> Vec<&'d str> {
    let items = item.filter(|item| item.is_list()).and_then(Item::list);
    let items = items.unwrap_or_default();
    let maps = items.iter().filter(|item| item.is_map());
    maps.filter_map(|item| item.section().item("name")?.written())
        .collect()
}

/// Reads the list, and compiles each script. One that has a fault is reported, and left out.
pub(super) fn read(item: Option<Item<'_>>, around: &Surroundings<'_>) -> Vec<Script> {
    let items = item.as_ref().and_then(Item::list).unwrap_or_default();
    if let Some(item) = items.get(MAX_SCRIPTS) {
        item.report("too many scripts", format!("keep {MAX_SCRIPTS}"));
    }
    let mut scripts: Vec<Script> = Vec::new();
    for item in items.iter().take(MAX_SCRIPTS) {
        let Some((script, name)) = read_one(item, around) else {
            continue;
        };
        if scripts.iter().any(|other| other.name() == script.name()) {
            let remedy = "give each script a name of its own";
            name.report("the name of another script", remedy);
        } else {
            scripts.push(script);
        }
    }
    scripts
}

fn read_one<'d>(item: &Item<'d>, around: &Surroundings<'_>) -> Option<(Script, Item<'d>)> {
    let mut section = item.section();
    let keys = Keys::take(&mut section);
    if keys.name.is_none() {
        section.report(
            "name",
            "missing",
            "write a name, such as `name: team-headers`",
        );
    }
    let text = match (&keys.file, &keys.source) {
        (Some(file), None) => from_file(file, around.base),
        (None, Some(source)) => source.lines().map(|text| Text {
            item: source.clone(),
            file: None,
            text: text.to_owned(),
        }),
        (Some(_), Some(_)) => {
            section.report("source", "beside `file`", "keep one of both");
            None
        }
        (None, None) => {
            let remedy = "name a file, as in `file: scripts/team.rhai`, or write `source: |`";
            section.report("file", "missing", remedy);
            None
        }
    };
    let name = keys.name.as_ref().and_then(name);
    let roles = keys.roles.as_ref().map(roles);
    let on_error = keys.on_error.as_ref().map(on_error);
    let settings = keys.settings.as_ref().map(settings);
    section.finish();
    let (name, text) = (name?, text?);
    let parents = around.parents.iter().map(|name| name.as_str().into());
    let pools = around.gateway.pools.iter().map(|pool| pool.name.clone());
    let groups = around
        .groups
        .map(|groups| groups.names().map(Box::from).collect());
    let source = Source {
        name,
        file: text.file.clone(),
        text: text.text.as_str().into(),
        roles: roles.map_or(Some(Role::ALL.to_vec()), |roles| roles)?,
        on_error: on_error.map_or(Some(OnError::default()), |on_error| on_error)?,
        settings: settings.map_or(Some(Settings::default()), |settings| settings)?,
        secrets: around.secrets.clone(),
        limits: around.limits.into(),
        pools: Some(pools.collect()),
        parents: Some(parents.collect()),
        groups,
        is_alone: false,
    };
    match Script::new(source) {
        Ok((script, warnings)) => {
            for warning in warnings {
                text.warn(&warning, around.base);
            }
            Some((script, keys.name?))
        }
        Err(faults) => {
            for fault in faults {
                text.report(&fault, around.base);
            }
            None
        }
    }
}

impl Text<'_> {
    fn report(&self, fault: &Fault, base: &Base) {
        let (message, remedy) = (message(fault, fault.column), fault.remedy.clone());
        match (&self.file, fault.line) {
            (Some(file), Some(line)) => {
                self.item
                    .report_at(&shown(file, base), line, message, remedy)
            }
            (Some(_), None) => self.item.report(message, remedy),
            (None, _) => match self.place(fault) {
                Some((line, column)) => {
                    let message = self::message(fault, Some(column));
                    self.item.on_line(line).report(message, remedy);
                }
                None => self.item.report(message, remedy),
            },
        }
    }

    fn warn(&self, fault: &Fault, base: &Base) {
        let (message, remedy) = (message(fault, fault.column), fault.remedy.clone());
        match (&self.file, fault.line) {
            (Some(file), Some(line)) => {
                self.item.warn_at(&shown(file, base), line, message, remedy)
            }
            (Some(_), None) => self.item.warn(message, remedy),
            (None, _) => match self.place(fault) {
                Some((line, column)) => {
                    let message = self::message(fault, Some(column));
                    self.item.on_line(line).warn(message, remedy);
                }
                None => self.item.warn(message, remedy),
            },
        }
    }

    /// Where a fault of a text in the configuration is, by line and column of the configuration.
    fn place(&self, fault: &Fault) -> Option<(usize, usize)> {
        self.item.place(fault.line?, fault.column?)
    }
}

fn shown(file: &Path, base: &Base) -> PathBuf {
    base.show(file)
}

fn message(fault: &Fault, column: Option<usize>) -> String {
    match column {
        Some(column) => format!("column {column}: {}", fault.message),
        None => fault.message.clone(),
    }
}

fn from_file<'d>(item: &Item<'d>, base: &Base) -> Option<Text<'d>> {
    let path = item.file(&base.directory)?;
    let limit = u64::try_from(Script::MAX_TEXT).unwrap_or(u64::MAX);
    match files::read_text(&path, limit) {
        Ok(text) => {
            item.note_content(blake3::hash(text.as_bytes()));
            Some(Text {
                item: item.clone(),
                file: Some(path),
                text,
            })
        }
        Err(error) => {
            let missing = "make it, with a function such as `fn request(r) { .. }`";
            files::report(item, &base.show(&path), &error, missing);
            None
        }
    }
}

fn name(item: &Item<'_>) -> Option<Box<str>> {
    let text = item.text()?;
    let is_part = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
    };
    if text.len() > MAX_NAME || !text.bytes().all(is_part) {
        let remedy = format!("write up to {MAX_NAME} of a-z, 0-9, - and _");
        item.report("not the name of a script", remedy);
        return None;
    }
    Some(text.into())
}

fn roles(item: &Item<'_>) -> Option<Vec<Role>> {
    let items = item.list()?;
    if items.is_empty() {
        let remedy = "fill it, or remove the key for every role";
        item.report("an empty list, which no request is in", remedy);
        return None;
    }
    items.iter().map(policy::role).collect()
}

fn on_error(item: &Item<'_>) -> Option<OnError> {
    match item.text()? {
        "deny" => Some(OnError::Deny),
        "skip" => Some(OnError::Skip),
        _ => {
            item.report("neither deny nor skip", "write deny or skip");
            None
        }
    }
}

fn settings(item: &Item<'_>) -> Option<Settings> {
    let entries = item.entries()?;
    if entries.len() > MAX_SETTINGS {
        item.report("too many settings", format!("keep {MAX_SETTINGS}"));
        return None;
    }
    let mut whole = true;
    let mut settings = Vec::new();
    for (name, value) in entries {
        if !is_identifier(name) {
            let remedy = format!("write up to {MAX_NAME} letters, digits and _, a letter first");
            value.report("not the name of a setting", remedy);
            whole = false;
            continue;
        }
        match setting(&value, true) {
            Some(setting) => settings.push((name.into(), setting)),
            None => whole = false,
        }
    }
    whole.then(|| settings.into_iter().collect())
}

fn is_identifier(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.len() <= MAX_NAME
        && name.bytes().all(is_part)
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
}

fn setting(item: &Item<'_>, may_be_list: bool) -> Option<Setting> {
    if may_be_list && item.is_list() {
        let items = item.list()?;
        if items.len() > MAX_SETTINGS {
            item.report("too many entries", format!("keep {MAX_SETTINGS}"));
            return None;
        }
        let list: Option<Vec<Setting>> = items.iter().map(|item| setting(item, false)).collect();
        return list.map(Setting::List);
    }
    match item.json()? {
        serde_json::Value::Bool(flag) => Some(Setting::Flag(flag)),
        serde_json::Value::Number(number) if number.is_i64() => {
            number.as_i64().map(Setting::Number)
        }
        serde_json::Value::String(text) => Some(Setting::Text(text.into())),
        _ => {
            let remedy = "write a text, a whole number, true, false or a list of them; a text may be in quotes";
            item.report("not a setting", remedy);
            None
        }
    }
}
