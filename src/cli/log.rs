//! `tollgate log`: the JSON access log for a person.
//!
//! Reads lines, picks records, writes one line for each. Memory is bounded, and nothing of a log reaches a terminal
//! unescaped. What is no record is counted and told on standard error.

mod entry;
mod filter;
mod lines;
mod show;

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, IsTerminal as _, Read, StdoutLock, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use chrono::Utc;

use self::entry::Entry;
use self::filter::Filter;
pub(super) use self::filter::FilterTexts;
use self::lines::{Line, Lines, Turn, seek_last, seek_time, turn};
use self::show::Show;
use super::commands::{EX_CONFIG, EX_USAGE, fail};
use crate::config::Config;
use crate::telemetry::throttle::Throttle;
use crate::telemetry::{Destination, UserKey};
use crate::text::{count, system_message};

/// How often a file that is followed is looked at.
const PAUSE: Duration = Duration::from_millis(200);
/// Lines of a file before those that follow.
const LAST_LINES: usize = 10;
/// What is written at once.
const OUTPUT: usize = 128 << 10;

/// What is asked.
pub(super) struct LogQuery<'a> {
    pub(super) conf: Option<&'a Path>,
    pub(super) file: Option<&'a Path>,
    pub(super) follow: bool,
    pub(super) filter: FilterTexts<'a>,
    pub(super) color: &'a str,
}

/// Why the command ends.
#[derive(Debug, thiserror::Error)]
enum LogError {
    /// Nothing takes what is shown any more, such as a pager that was left.
    #[error("nothing reads it")]
    Closed,
    #[error("cannot write: {0}")]
    Write(io::Error),
    #[error("cannot read the log: {}", system_message(.0))]
    Read(#[from] io::Error),
}

/// Where lines come from.
enum Source {
    Stdin,
    File(PathBuf),
}

/// Shows lines, and counts those that are no records.
struct Viewer<'a> {
    filter: Filter,
    show: Show,
    out: BufWriter<StdoutLock<'a>>,
    text: Vec<u8>,
    lines: u64,
    records: u64,
    /// Lines that are no records, of those that were not told of yet, and the first of them.
    strange: u64,
    first_strange: u64,
}

/// Runs the command.
pub(super) fn log(query: &LogQuery<'_>) -> ExitCode {
    let config = query.conf.map(Config::load_to_explain).transpose();
    let config = match config {
        Ok(config) => config,
        Err(error) => return fail(EX_CONFIG, &error),
    };
    let key = config.as_ref().and_then(|config| config.users_key.as_ref());
    let source = match source(query, config.as_ref()) {
        Ok(source) => source,
        Err(message) => return fail(EX_USAGE, &message),
    };
    match show(query, key, &source) {
        Ok(Ok(())) | Err(LogError::Closed) => ExitCode::SUCCESS,
        Ok(Err(message)) => fail(EX_USAGE, &message),
        Err(error) => {
            let of = match &source {
                Source::Stdin => String::new(),
                Source::File(path) => format!("{}: ", path.display()),
            };
            fail(1, &format_args!("tollgate: {of}{error}"))
        }
    }
}

/// The log that is named, or that of the configuration.
fn source(query: &LogQuery<'_>, config: Option<&Config>) -> Result<Source, String> {
    if let Some(file) = query.file {
        return Ok(match file.as_os_str() == "-" {
            true => Source::Stdin,
            false => Source::File(file.to_owned()),
        });
    }
    let Some(config) = config else {
        return Err(
            "tollgate: no log; name one, as in `tollgate log access.log`, or a configuration, as in `tollgate log -c conf/pingora.yaml`"
                .to_owned(),
        );
    };
    let access = &config.log.access;
    match access {
        Destination::File(path) => Ok(Source::File(path.clone())),
        Destination::Off => Err("tollgate: log.access is off: there is no access log".to_owned()),
        Destination::Stdout
        | Destination::Stderr
        | Destination::Syslog(_)
        | Destination::Journal(_) => Err(format!(
            "tollgate: log.access is {}: pass what is there on to `tollgate log -`, as in `journalctl -o cat -t tollgate | tollgate log -`, or name the file that it is in",
            access.path().display()
        )),
    }
}

/// Shows the log. An error in the command line is a text.
fn show(
    query: &LogQuery<'_>,
    key: Option<&UserKey>,
    source: &Source,
) -> Result<Result<(), String>, LogError> {
    let filter = match Filter::parse(&query.filter, key, Utc::now()) {
        Ok(filter) => filter,
        Err(message) => return Ok(Err(message)),
    };
    let stdout = io::stdout();
    let is_painted = match query.color {
        "always" => true,
        "never" => false,
        _ => stdout.is_terminal() && is_color_wanted(),
    };
    let mut viewer = Viewer {
        filter,
        show: Show::new(is_painted),
        out: BufWriter::with_capacity(OUTPUT, stdout.lock()),
        text: Vec::new(),
        lines: 0,
        records: 0,
        strange: 0,
        first_strange: 0,
    };
    match source {
        Source::Stdin => viewer.read(&mut io::stdin().lock())?,
        Source::File(path) => {
            let mut file = File::open(path)?;
            // A pipe is read as it comes.
            if file.metadata()?.is_file() {
                match viewer.filter.since() {
                    Some(since) => seek_time(&mut file, since)?,
                    None if query.follow => seek_last(&mut file, LAST_LINES)?,
                    None => {}
                }
            }
            match query.follow {
                true => viewer.follow(path, file)?,
                false => viewer.read(&mut file)?,
            }
        }
    }
    viewer.end()?;
    Ok(Ok(()))
}

/// Whether the environment has nothing against colours (no-color.org).
fn is_color_wanted() -> bool {
    let forbids = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    !forbids && !is_dumb
}

impl Viewer<'_> {
    /// Shows all that there is.
    fn read(&mut self, source: &mut impl Read) -> Result<(), LogError> {
        let mut lines = Lines::new();
        let is_live = io::stdout().is_terminal();
        while lines.read(source, |line| self.line(line))? {
            if is_live {
                self.flush()?;
            }
        }
        lines.finish(|line| self.line(line))
    }

    /// Shows what there is and what comes, until nothing takes it.
    fn follow(&mut self, path: &Path, mut file: File) -> Result<(), LogError> {
        let mut lines = Lines::new();
        let told = Throttle::new();
        loop {
            while lines.read(&mut file, |line| self.line(line))? {}
            self.flush()?;
            if self.strange > 0 && told.pass().is_some() {
                self.tell();
            }
            match turn(path, &mut file)? {
                Turn::Same => thread::sleep(PAUSE),
                Turn::Truncated => lines.finish(|line| self.line(line))?,
                Turn::Next(next) => {
                    // What was written before the next one was made.
                    while lines.read(&mut file, |line| self.line(line))? {}
                    lines.finish(|line| self.line(line))?;
                    file = next;
                }
            }
        }
    }

    fn line(&mut self, line: Line<'_>) -> Result<(), LogError> {
        self.lines += 1;
        let part = match line {
            Line::Bytes(line) if line.trim_ascii().is_empty() => return Ok(()),
            Line::Bytes(line) => Entry::part(line),
            Line::TooLong => None,
        };
        let Some(part) = part else {
            self.note_strange();
            return Ok(());
        };
        if !self.filter.may_pass(part) {
            self.records += 1;
            return Ok(());
        }
        let Some(entry) = Entry::read(part) else {
            self.note_strange();
            return Ok(());
        };
        self.records += 1;
        if self.filter.passes(&entry) {
            self.text.clear();
            self.show.push(&mut self.text, &entry);
            self.out.write_all(&self.text).map_err(closed)?;
        }
        Ok(())
    }

    fn note_strange(&mut self) {
        if self.strange == 0 {
            self.first_strange = self.lines;
        }
        self.strange += 1;
    }

    fn flush(&mut self) -> Result<(), LogError> {
        self.out.flush().map_err(closed)
    }

    /// Tells of lines that are no records.
    fn tell(&mut self) {
        let hint = match self.records {
            0 => "; `log.format: json` has records",
            _ => "",
        };
        let message = format!(
            "tollgate: {} no record of the access log, the first is line {} of what was read{hint}",
            match std::mem::take(&mut self.strange) {
                1 => "1 line is".to_owned(),
                more => format!("{} are", count(more, "line")),
            },
            self.first_strange,
        );
        // Nothing is to be done where standard error is closed.
        let _ = writeln!(io::stderr(), "{message}");
    }

    fn end(&mut self) -> Result<(), LogError> {
        self.flush()?;
        if self.strange > 0 {
            self.tell();
        }
        Ok(())
    }
}

fn closed(error: io::Error) -> LogError {
    match error.kind() {
        ErrorKind::BrokenPipe => LogError::Closed,
        _ => LogError::Write(error),
    }
}
