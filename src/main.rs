//! The `tollgate` program: reads the command line, does what it says, and turns
//! the outcome into an exit code.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use structopt::StructOpt;
use structopt::clap::ErrorKind;
use tollgate::auth::passwd::{self, Outcome};
use tollgate::cli::{Cli, Command};
use tollgate::config::Config;
use tollgate::server::{self, Start};

/// Allocation is a large part of what a small request costs; this one takes
/// measurably less time for it than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit codes of sysexits.h.
const EX_USAGE: u8 = 64;
const EX_CONFIG: u8 = 78;

/// What is logged unless RUST_LOG says otherwise. Pingora reports each client that
/// goes away as an error; the access log has those.
const LOG_FILTER: &str = "info,pingora=warn,pingora_core=warn,pingora_proxy=off,hickory_net=warn,\
    hickory_resolver=warn,rustls=error,pingora_core::protocols=off";

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(LOG_FILTER)).init();
    let cli = match Cli::from_args_safe() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.command {
        Some(Command::Check { conf }) => check(&conf),
        Some(Command::Passwd { file, user }) => set_password(&file, &user),
        None => match cli.conf {
            Some(conf) if cli.test => check(&conf),
            Some(conf) => serve(conf, cli.daemon, cli.upgrade),
            None => fail(
                EX_USAGE,
                &"tollgate: no configuration; name one, as in \
                `tollgate -c conf/pingora.yaml`, or see `tollgate --help`",
            ),
        },
    }
}

fn serve(conf: PathBuf, daemon: bool, upgrade: bool) -> ExitCode {
    let config = match Config::load(&conf) {
        Ok(config) => config,
        Err(error) => return fail(EX_CONFIG, &error),
    };
    match server::run(config, Start { daemon, upgrade }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &format_args!("tollgate: {error:#}")),
    }
}

fn check(conf: &Path) -> ExitCode {
    match Config::load(conf) {
        Ok(_) => {
            eprintln!("{}: good", conf.display());
            ExitCode::SUCCESS
        }
        Err(error) => fail(EX_CONFIG, &error),
    }
}

fn set_password(file: &Path, user: &str) -> ExitCode {
    let outcome =
        passwd::read_password().and_then(|password| passwd::set_password(file, user, &password));
    match outcome {
        Ok(outcome) => {
            let done = match outcome {
                Outcome::Created => "made with",
                Outcome::Added => "added",
                Outcome::Replaced => "new password for",
            };
            eprintln!("{}: {done} user {user}", file.display());
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
        _ => fail(EX_USAGE, &error.message),
    }
}

fn fail(code: u8, message: &dyn Display) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(code)
}
