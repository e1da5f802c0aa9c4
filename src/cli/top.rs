//! `tollgate top`: the exit code of each end.

use std::path::PathBuf;
use std::process::ExitCode;

use super::arguments::Login;
use super::commands::{EX_USAGE, fail};
use super::service;
use crate::top::{self, Ended, TopError};

/// What the command line says.
#[derive(Debug)]
pub(super) struct TopQuery {
    pub(super) conf: Option<PathBuf>,
    pub(super) url: Option<String>,
    pub(super) login: Login,
    pub(super) once: bool,
    pub(super) json: bool,
}

/// Runs the command.
pub(super) fn run(query: &TopQuery) -> ExitCode {
    let service = service::find(query.conf.as_deref(), query.url.as_deref(), &query.login);
    let service = match service {
        Ok(service) => service,
        Err(code) => return code,
    };
    let ended = match query.once {
        true => top::print_once(&service, query.json),
        false => top::show(service),
    };
    match ended {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        // As shells say it.
        Ok(Ended::Signal(number)) => ExitCode::from(u8::try_from(128 + number).unwrap_or(1)),
        Err(error @ TopError::Terminal(_)) => fail(EX_USAGE, &format_args!("tollgate: {error}")),
        Err(error) => fail(1, &format_args!("tollgate: {error}")),
    }
}
