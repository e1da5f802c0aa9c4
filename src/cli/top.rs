//! `tollgate top`: which service it asks, as whom, and the exit code of each end.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::commands::{EX_CONFIG, EX_USAGE, fail};
use crate::access::auth::passwd;
use crate::admin::{Service, ServiceError, Trust};
use crate::config::Config;
use crate::http::secret::Password;
use crate::http::url::HttpUrl;
use crate::top::{self, Ended};

/// What the command line says.
#[derive(Debug)]
pub(super) struct TopQuery {
    pub(super) conf: Option<PathBuf>,
    pub(super) url: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) trust: Trust,
    pub(super) once: bool,
    pub(super) json: bool,
}

/// Runs the command.
pub(super) fn run(query: &TopQuery) -> ExitCode {
    let service = service(query).and_then(|service| with_user(service, query));
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
        Err(error @ top::TopError::Terminal(_)) => {
            fail(EX_USAGE, &format_args!("tollgate: {error}"))
        }
        Err(error) => fail(1, &format_args!("tollgate: {error}")),
    }
}

fn usage(message: &dyn std::fmt::Display) -> ExitCode {
    fail(EX_USAGE, &format_args!("tollgate top: {message}"))
}

fn unusable(error: &ServiceError) -> ExitCode {
    match error {
        ServiceError::Plain(_) | ServiceError::Name(_) => usage(error),
        error => fail(EX_CONFIG, &format_args!("tollgate: {error}")),
    }
}

/// Where the service is.
fn service(query: &TopQuery) -> Result<Service, ExitCode> {
    match (&query.url, &query.conf) {
        (Some(url), _) => of_url(url, &query.trust),
        (None, Some(conf)) => of_configuration(conf, &query.trust),
        (None, None) => Err(usage(
            &"no service; name the configuration of the process with -c, or its admin service with --url",
        )),
    }
}

fn of_url(text: &str, trust: &Trust) -> Result<Service, ExitCode> {
    let url = HttpUrl::parse(text).map_err(|_| {
        usage(&format_args!(
            "{text:?} is no URL of an admin service; write one such as http://127.0.0.1:9090 or https://ops.example.org:9090"
        ))
    })?;
    if &*url.path != "/" {
        return Err(usage(&format_args!(
            "{text:?} has a path; the admin service is at the root"
        )));
    }
    Service::at(&url, trust).map_err(|error| unusable(&error))
}

fn of_configuration(conf: &Path, trust: &Trust) -> Result<Service, ExitCode> {
    let config = Config::load_to_explain(conf).map_err(|error| fail(EX_CONFIG, &error))?;
    let Some(admin) = &config.admin else {
        let message = format_args!(
            "{}: tollgate.admin: missing, and it is what is asked; add `admin: {{ address: \"127.0.0.1:9090\" }}`",
            conf.display()
        );
        return Err(fail(EX_CONFIG, &message));
    };
    if !admin.has_tls {
        return Ok(Service::plain(admin.address));
    }
    let name = admin.allowed_hosts.first().map(String::as_str);
    Service::secure(admin.address, name, trust).map_err(|error| unusable(&error))
}

fn with_user(service: Service, query: &TopQuery) -> Result<Service, ExitCode> {
    let Some(user) = &query.user else {
        return Ok(service);
    };
    // RFC 7617 has the colon end the user.
    if user.contains(':') || user.chars().any(char::is_control) {
        return Err(usage(&"a user has no colon and no control character"));
    }
    let password = password(query.password_file.as_deref(), user)?;
    let service = service.with_user(user, &password);
    service.map_err(|error| unusable(&error))
}

/// The password of the user: of a file, or from the one who types.
fn password(file: Option<&Path>, user: &str) -> Result<Password, ExitCode> {
    let read = match file {
        Some(file) => fs::File::open(file)
            .map_err(|error| {
                let error = crate::text::system_message(&error);
                fail(
                    EX_CONFIG,
                    &format_args!("tollgate: {}: {error}", file.display()),
                )
            })
            .map(|file| passwd::read_password_from(BufReader::new(file)))?,
        None => passwd::ask_password(&format!("Password of {user}: ")),
    };
    read.map_err(|error| {
        let error = anyhow::Error::new(error);
        fail(EX_USAGE, &format_args!("tollgate: {error:#}"))
    })
}
