//! The admin service that a command asks: where it is, and as whom.

use std::fs;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;

use super::arguments::Login;
use super::commands::{EX_CONFIG, EX_USAGE, fail};
use crate::access::auth::passwd;
use crate::admin::{Service, ServiceError, Trust};
use crate::config::{Admin, Config};
use crate::http::secret::Password;
use crate::http::url::HttpUrl;

fn usage(message: &dyn std::fmt::Display) -> ExitCode {
    fail(EX_USAGE, &format_args!("tollgate: {message}"))
}

fn unusable(error: &ServiceError) -> ExitCode {
    match error {
        ServiceError::Plain(_) | ServiceError::Name(_) => usage(error),
        error => fail(EX_CONFIG, &format_args!("tollgate: {error}")),
    }
}

/// The service that a command asks: that of a URL, or that of a configuration.
///
/// # Errors
/// It was said why, and this is the exit code.
pub(super) fn find(
    conf: Option<&Path>,
    url: Option<&str>,
    login: &Login,
) -> Result<Service, ExitCode> {
    match (url, conf) {
        (Some(url), _) => with_user(of_url(url, &login.trust())?, login),
        (None, Some(conf)) => of_configuration(conf, login),
        (None, None) => Err(usage(
            &"no service; name the configuration of the process with -c, or its admin service with --url",
        )),
    }
}

fn of_url(text: &str, trust: &Trust) -> Result<Service, ExitCode> {
    let url = HttpUrl::parse(text).map_err(|_why| {
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

fn of_configuration(conf: &Path, login: &Login) -> Result<Service, ExitCode> {
    let config = Config::load_to_explain(conf).map_err(|error| fail(EX_CONFIG, &error))?;
    match &config.admin {
        Some(admin) => of_admin(admin, login),
        None => {
            let message = format_args!(
                "{}: tollgate.admin: missing, and it is what is asked; add `admin: {{ address: \"127.0.0.1:9090\" }}`",
                conf.display()
            );
            Err(fail(EX_CONFIG, &message))
        }
    }
}

/// The service that a configuration describes.
///
/// # Errors
/// As [`find`].
pub(super) fn of_admin(admin: &Admin, login: &Login) -> Result<Service, ExitCode> {
    if !admin.has_tls {
        return with_user(Service::plain(admin.address), login);
    }
    let name = admin.allowed_hosts.first().map(String::as_str);
    let service = Service::secure(admin.address, name, &login.trust());
    with_user(service.map_err(|error| unusable(&error))?, login)
}

fn with_user(service: Service, login: &Login) -> Result<Service, ExitCode> {
    let Some(user) = &login.user else {
        return Ok(service);
    };
    // RFC 7617 has the colon end the user.
    if user.contains(':') || user.chars().any(char::is_control) {
        return Err(usage(&"a user has no colon and no control character"));
    }
    let password = password(login.password_file.as_deref(), user)?;
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
