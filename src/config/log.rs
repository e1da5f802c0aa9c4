//! `tollgate.log`: where records go, how they look, and how users are named.

mod syslog;

use std::path::{Path, PathBuf};

use self::syslog::SyslogKeys;
use super::files::Base;
use super::keys::form::Absent::{Defaults, Is, Means};
use super::keys::form::{Flag, Map, OneOf, Raw};
use super::keys::keys;
use super::reader::{Item, Part};
use super::secrets;
use crate::telemetry::{
    Destination, Format, JournalTarget, Settings, SyslogTarget, UserKey, UserNames,
};

/// Where the journal of systemd takes messages.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// The least bytes of the secret that names are hashed with.
const LEAST_KEY: usize = 16;

/// How names of users are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    Plain,
    Hashed,
}

impl Naming {
    const WORDS: [(&'static str, Naming); 2] =
        [("plain", Naming::Plain), ("hashed", Naming::Hashed)];
}

/// What is read of the section.
pub(super) struct LogSection<'d> {
    pub(super) settings: Settings,
    /// The key of hashed names, also where names are plain.
    pub(super) key: Option<UserKey>,
    /// The key of the access log, as written.
    pub(super) access: Option<Item<'d>>,
    /// The key that names the file of [`key`](Self::key).
    pub(super) key_file: Option<Item<'d>>,
}

keys! {
    /// The access log.
    pub(super) struct Log<'d> {
        /// A file, `stdout`, `stderr`, `syslog`, `journald` or `off`. The directory of a file has to exist. A file is made with mode 0640
        /// at most. A FIFO never blocks: records that it cannot take are dropped and counted. `/dev/stdout` and
        /// `/dev/stderr` are `stdout` and `stderr`; `/dev/fd/N` is a descriptor of the caller, which is not opened
        /// anew. A file with one of these names is written with its directory: `./syslog`.
        access: Option<Item<'d>> = Is("stdout"), Raw => Shape::path().or(&["stdout", "stderr", "syslog", "journald", "off"]);
        /// The syslog of `access: syslog` ([services of logs](observability.md#syslog-and-journald)).
        syslog: Part<'d> = Defaults, Map => Shape::Part(syslog::SyslogKeys::keys);
        /// The socket of the journal of `access: journald`.
        journal_socket: Option<Item<'d>> = Is("/run/systemd/journal/socket"), Raw => Shape::path();
        /// How a line is written; `combined` as Apache writes it.
        format: Option<Item<'d>> = Is("json"), Raw => Shape::words(&["json", "combined"]);
        /// Whether a tunnel has a line when it opens, besides the one when it ends; `json` only.
        tunnel_open: bool = false, Flag;
        /// How names of users are shown, in the log, metrics, statistics and the admin service alike: `plain`, or `hashed`
        /// with `users_key` ([names of users](observability.md#names-of-users)).
        users: Naming = Naming::Plain, OneOf(&Naming::WORDS);
        /// A file with the secret that `hashed` needs, one line of 16 to 4096 bytes. Processes with the same one show the
        /// same hashes.
        users_key: Option<Item<'d>> = Means("none"), Raw => Shape::path();
    }
}

impl<'d> Log<'d> {
    /// Reads the settings, and gives the key of the access log with them.
    pub(super) fn read(part: Part<'d>, base: &Base) -> LogSection<'d> {
        let mut section = part.section();
        let log = Log::take(&mut section);
        let access = log.access.as_ref();
        let key = log.users_key.as_ref();
        let key = key.and_then(|item| users_key(item, base));
        if log.users == Naming::Hashed && log.users_key.is_none() {
            let remedy = "name a file with a secret, made by `openssl rand -hex 32 > FILE`";
            section.report("users_key", "missing, for `users: hashed`", remedy);
        }
        let services = Services {
            syslog: SyslogKeys::read(log.syslog),
            journal: log.journal_socket.as_ref().map_or_else(
                || Some(PathBuf::from(JOURNAL)),
                |item| item.file(&base.directory),
            ),
        };
        let settings = Settings {
            access: access
                .and_then(|item| destination(item, &base.directory, services))
                .unwrap_or_default(),
            format: log.format.as_ref().and_then(format).unwrap_or_default(),
            tunnel_open: log.tunnel_open,
            users: match (log.users, &key) {
                (Naming::Hashed, Some(key)) => UserNames::Hashed(key.clone()),
                // The missing key was reported.
                (Naming::Hashed, None) | (Naming::Plain, _) => UserNames::Plain,
            },
            traces: None,
        };
        if let (Destination::Journal(_), Format::Combined) = (&settings.access, settings.format) {
            let remedy = "remove it: the journal has the members of the JSON format as fields";
            section.report("format", "combined, for the journal", remedy);
        }
        section.note_meaning("access", &format!("{:?}", settings.access));
        section.note_meaning("format", &format!("{:?}", settings.format));
        section.finish();
        LogSection {
            settings,
            key,
            access: log.access,
            key_file: log.users_key,
        }
    }
}

/// The key of the names, from its file.
fn users_key(item: &Item<'_>, base: &Base) -> Option<UserKey> {
    let path = item.file(&base.directory)?;
    let secret = secrets::from_file(item, &path, base)?;
    if secret.expose().len() < LEAST_KEY {
        item.report(
            format!("its secret has less than {LEAST_KEY} bytes, so that hashes could be guessed"),
            "make another one by `openssl rand -hex 32 > FILE`",
        );
        return None;
    }
    Some(UserKey::of(secret.expose()))
}

/// The services of logs that `access` can name; none of a service whose keys have errors.
struct Services {
    syslog: Option<SyslogTarget>,
    journal: Option<PathBuf>,
}

fn destination(item: &Item<'_>, base: &Path, services: Services) -> Option<Destination> {
    let text = item.text()?;
    match text {
        "true" | "false" => {
            let remedy = "write a path, stdout, stderr, syslog, journald or off";
            item.report("not a destination", remedy);
            return None;
        }
        "syslog" => return services.syslog.map(Destination::Syslog),
        "journald" => {
            let target = services.journal.map(|socket| JournalTarget { socket });
            return target.map(Destination::Journal);
        }
        _ => {}
    }
    let Destination::File(path) = Destination::parse(text) else {
        return Some(Destination::parse(text));
    };
    Some(Destination::File(base.join(path)))
}

fn format(item: &Item<'_>) -> Option<Format> {
    let format = Format::parse(item.text()?);
    if format.is_err() {
        item.report("not a log format", "write json or combined");
    }
    format.ok()
}
