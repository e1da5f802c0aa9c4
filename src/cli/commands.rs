//! The commands of the program, and the exit code of each outcome.

use std::env;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use env_logger::DEFAULT_FILTER_ENV;
use log::LevelFilter;
use structopt::StructOpt;
use structopt::clap::ErrorKind;

use super::arguments::{Cli, Command, Login, ScriptCommand, explain_usage};
use super::log::{FilterTexts, LogQuery, log};
use super::probes;
use super::quota::{QuotaQuery, quota};
use super::service;
use super::top::{self, TopQuery};
use crate::access::auth::passwd;
use crate::access::limits::quota::Filter;
use crate::admin::{self, AskError, Changes, ReloadAnswer};
use crate::config::Config;
use crate::explain::{self, Query, Ran, ScriptQuery, Seen, Subject};
use crate::hello::Hello;
use crate::hook::HookSet;
use crate::script::Verdict;
use crate::server::{self, Side, StartMode};
use crate::text::{count, without_numbers};

/// Exit codes of sysexits.h.
pub(super) const EX_USAGE: u8 = 64;
pub(super) const EX_CONFIG: u8 = 78;
/// The exit code of a reload after which some changed keys need a restart.
const EX_PARTIAL: u8 = 2;

/// The log filter unless RUST_LOG is set. All of Tollgate's own messages pass it; [`LOG_LEVEL`] says which of them are
/// wanted. Pingora logs each client that disconnects as an error; the access log has these. It also logs an idle
/// connection that another thread took, which is harmless. Tollgate logs the state of upstreams itself, since the lines
/// of Pingora's load balancer are meant for programmers.
const LOG_FILTER: &str = "info,tollgate=trace,pingora=warn,pingora_core=warn,pingora_proxy=off,\
    pingora_load_balancing=error,hickory_proto=error,rustls=error,pingora_core::protocols=off,\
    pingora_core::connectors=off";

/// The lowest level of messages at the start, unless RUST_LOG is set. Operators set another one while the process runs.
const LOG_LEVEL: LevelFilter = LevelFilter::Info;

/// Parses the command line and runs its command; without one, serves until a signal ends the process.
pub fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(LOG_FILTER)).init();
    if env::var_os(DEFAULT_FILTER_ENV).is_none() {
        log::set_max_level(LOG_LEVEL);
    }
    let cli = match Cli::from_args_safe() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.command {
        // `tollgate -c FILE check` is equivalent.
        Some(Command::Check { conf, file }) => match conf.or(file).or(cli.conf) {
            Some(conf) => check(&conf),
            None => fail(
                EX_USAGE,
                &"tollgate: no configuration; name one, as in `tollgate check -c conf/pingora.yaml`",
            ),
        },
        Some(Command::Reload { conf, login }) => reload(&conf, &login),
        Some(Command::Quota {
            conf,
            user,
            network,
            class,
            reset,
            grant,
            json,
        }) => quota(&QuotaQuery {
            conf: &conf,
            filter: Filter {
                class,
                user,
                network,
            },
            reset,
            grant: grant.as_deref(),
            json,
        }),
        Some(Command::Log {
            conf,
            file,
            follow,
            user,
            site,
            rule,
            status,
            since,
            errors,
            color,
        }) => log(&LogQuery {
            conf: conf.or(cli.conf).as_deref(),
            file: file.as_deref(),
            follow,
            filter: FilterTexts {
                user: user.as_deref(),
                site: site.as_deref(),
                rule: rule.as_deref(),
                statuses: &status,
                since: since.as_deref(),
                errors,
            },
            color: &color,
        }),
        Some(Command::Top {
            conf,
            url,
            login,
            once,
            json,
        }) => top::run(&TopQuery {
            // `tollgate -c FILE top` is equivalent.
            conf: conf.or(cli.conf),
            url,
            login,
            once,
            json,
        }),
        Some(Command::Script { command }) => run_script(&command, cli.conf.as_deref()),
        Some(Command::Passwd { file, user }) => set_password(&file, &user),
        Some(Command::Explain {
            conf,
            user,
            groups,
            claims,
            target,
            method,
            header,
            status,
            sni,
            alpn,
            ja4,
            ech,
            client,
            resolve,
            time,
            ask,
            json,
        }) => {
            let hello = sni.map(|sni| hello(&sni, &alpn, ja4.as_deref(), ech));
            let query = Query {
                hello: hello.as_ref(),
                user: user.as_deref(),
                shown: None,
                groups: &groups,
                claims: &claims,
                client,
                method: method.as_deref(),
                fields: &header,
                target: &target,
                seen: Seen {
                    fields: &header,
                    status,
                },
                resolve: &resolve,
                time: time.as_deref(),
                ask,
            };
            explain(&conf, &query, json)
        }
        None => match cli.conf {
            Some(conf) if cli.test => check(&conf),
            Some(conf) => serve(&conf, cli.daemon, cli.upgrade),
            None => fail(
                EX_USAGE,
                &"tollgate: no configuration; name one, as in \
                `tollgate -c conf/pingora.yaml`, or see `tollgate --help`",
            ),
        },
    }
}

/// The ClientHello of these words.
fn hello(sni: &str, alpn: &[String], ja4: Option<&str>, ech: bool) -> Hello {
    let alpn = alpn.iter().map(|protocol| protocol.as_str().into());
    Hello {
        sni: (!sni.is_empty()).then(|| sni.into()),
        alpn: alpn.collect(),
        ja4: ja4.unwrap_or_default().into(),
        ech,
    }
}

fn serve(conf: &Path, daemon: bool, upgrade: bool) -> ExitCode {
    let inherited = server::inherited_descriptors();
    let config = match Config::load(conf) {
        Ok(config) => config,
        Err(error) => return fail(EX_CONFIG, &error),
    };
    config.warnings.log();
    let mut start = StartMode {
        caller: None,
        upgrade,
    };
    if daemon || config.server.daemon {
        match server::detach(&config, &inherited) {
            Ok(Side::Daemon(caller)) => start.caller = Some(caller),
            Ok(Side::Caller(ended)) if ended.reason.is_empty() => {
                return ExitCode::from(ended.code);
            }
            Ok(Side::Caller(ended)) => return fail(ended.code, &ended.reason),
            Err(error) => {
                return fail(
                    1,
                    &format_args!("tollgate: cannot go to the background: {error}"),
                );
            }
        }
    }
    let caller = start.caller.clone();
    match server::run(config, start, HookSet::default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let reason = without_numbers(&format!("tollgate: {error:#}"));
            match caller {
                // The caller prints the reason.
                Some(caller) => {
                    caller.failed(1, &reason);
                    ExitCode::FAILURE
                }
                None => fail(1, &reason),
            }
        }
    }
}

fn check(conf: &Path) -> ExitCode {
    match Config::check(conf) {
        Ok(config) => {
            let warnings = &config.warnings;
            if !warnings.is_empty() {
                eprintln!("{warnings}");
            }
            let conf_shown = conf.display();
            match warnings.len() + probes::warn(conf, &config) {
                0 => eprintln!("{conf_shown}: OK"),
                more => eprintln!("{conf_shown}: OK, {}", count(more, "warning")),
            }
            ExitCode::SUCCESS
        }
        Err(error) => fail(EX_CONFIG, &error),
    }
}

fn explain(conf: &Path, query: &Query<'_>, json: bool) -> ExitCode {
    let config = match Config::load_to_explain(conf) {
        Ok(config) => config,
        Err(error) => return fail(EX_CONFIG, &error),
    };
    let answer = match explain::explain(&Subject::configured(&config), query) {
        Ok(answer) => answer,
        Err(error) => return fail(EX_USAGE, &format_args!("tollgate: {error:#}")),
    };
    for note in &answer.notes {
        eprintln!("note: {note}");
    }
    let mut out = std::io::stdout().lock();
    let written = if json {
        serde_json::to_writer(&mut out, &answer)
            .map_err(std::io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        writeln!(out, "{answer}")
    };
    match written {
        Ok(()) if answer.is_admitted() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => fail(1, &format_args!("tollgate: cannot write: {error}")),
    }
}

fn run_script(command: &ScriptCommand, outer: Option<&Path>) -> ExitCode {
    let ScriptCommand::Run {
        conf,
        file,
        user,
        target,
        method,
        header,
        group,
        status,
        setting,
        secret,
        client,
        json,
    } = command;
    let config = conf.as_deref().or(outer).map(Config::load_to_explain);
    let config = match config.transpose() {
        Ok(config) => config,
        Err(error) => return fail(EX_CONFIG, &error),
    };
    let query = ScriptQuery {
        file,
        config: config.as_ref(),
        user,
        groups: group,
        target,
        method: method.as_deref(),
        client: *client,
        seen: Seen {
            fields: header,
            status: *status,
        },
        settings: setting,
        secrets: secret,
    };
    let trial = match explain::run_script(&query) {
        Ok(Ran::Tried(trial)) => trial,
        Ok(Ran::Faulty(faults)) => {
            let lines: Vec<String> = faults.iter().map(|fault| fault.in_file(file)).collect();
            return fail(EX_CONFIG, &lines.join("\n"));
        }
        Err(error) => return fail(EX_USAGE, &format_args!("tollgate: {error:#}")),
    };
    if trial.steps.is_empty() {
        eprintln!("note: the script has no function for a request of this role");
    }
    let mut out = std::io::stdout().lock();
    let written = if *json {
        serde_json::to_writer(&mut out, &trial.steps)
            .map_err(std::io::Error::from)
            .and_then(|()| writeln!(out))
    } else if trial.steps.is_empty() {
        Ok(())
    } else {
        writeln!(out, "{trial}")
    };
    if let Err(error) = written {
        return fail(1, &format_args!("tollgate: cannot write: {error}"));
    }
    match trial.stop().map(|step| &step.verdict) {
        None => ExitCode::SUCCESS,
        Some(Verdict::Fails { .. }) => ExitCode::from(EX_CONFIG),
        Some(_) => ExitCode::FAILURE,
    }
}

fn reload(conf: &Path, login: &Login) -> ExitCode {
    let config = match Config::load_to_explain(conf) {
        Ok(config) => config,
        Err(error) => return fail(EX_CONFIG, &error),
    };
    let Some(admin) = &config.admin else {
        let file = &config.server.pid_file;
        // All configurations of a user have the same default.
        let of_another = match config.has_pid_file {
            true => String::new(),
            false => format!("; without `pid_file`, the process in {file} may be another instance"),
        };
        let message = format_args!(
            "{}: tollgate.admin: missing, and a reload is requested there; add it, or run \
             `kill -HUP \"$(cat {file})\"` and see the log{of_another}",
            conf.display(),
        );
        return fail(EX_CONFIG, &message);
    };
    let service = match service::of_admin(admin, login) {
        Ok(service) => service,
        Err(code) => return code,
    };
    match admin::reload(&service) {
        Ok(ReloadAnswer::Complete(changes)) => {
            tell(&changes);
            ExitCode::SUCCESS
        }
        Ok(ReloadAnswer::Partial(changes)) => {
            tell(&changes);
            ExitCode::from(EX_PARTIAL)
        }
        Ok(ReloadAnswer::Refused(problems, unlisted)) => {
            let more = match unlisted {
                0 => String::new(),
                more => format!("\nand {more} more"),
            };
            let problems = problems.join("\n");
            fail(
                EX_CONFIG,
                &format_args!("{problems}{more}\ntollgate: nothing was changed"),
            )
        }
        Err(error @ (AskError::Unknown(_) | AskError::Refused { .. })) => {
            fail(1, &format_args!("tollgate: {error}"))
        }
        Err(error) => fail(
            1,
            &format_args!("tollgate: {error}; check that the process runs with this file"),
        ),
    }
}

fn tell(changes: &Changes) {
    let (users, rules) = (count(changes.users, "user"), count(changes.rules, "rule"));
    eprintln!("reloaded: {users}, {rules}");
    for (what, keys) in [
        ("in effect now", &changes.applied),
        (
            "not in effect until a restart or an upgrade (-u)",
            &changes.restart_needed,
        ),
        (
            "not compared, since the process cannot read the files",
            &changes.not_compared,
        ),
    ] {
        if !keys.is_empty() {
            eprintln!("{what}: {}", keys.join(", "));
        }
    }
}

fn set_password(file: &Path, user: &str) -> ExitCode {
    let outcome =
        passwd::read_password().and_then(|password| passwd::set_password(file, user, &password));
    match outcome {
        Ok(done) => {
            let what = match done.change {
                passwd::PasswordChange::Created => "created with",
                passwd::PasswordChange::Added => "added",
                passwd::PasswordChange::Replaced => "new password for",
            };
            eprintln!("{}: {what} user {user}", file.display());
            for note in done.notes() {
                eprintln!("note: {note}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => fail(
            1,
            &format_args!("tollgate: {:#}", anyhow::Error::new(error)),
        ),
    }
}

fn usage(error: &structopt::clap::Error) -> ExitCode {
    match error.kind {
        ErrorKind::HelpDisplayed | ErrorKind::VersionDisplayed => error.exit(),
        _ => fail(EX_USAGE, &explain_usage(error)),
    }
}

pub(super) fn fail(code: u8, message: &dyn Display) -> ExitCode {
    // Not `eprintln!`, which panics when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::from(code)
}
