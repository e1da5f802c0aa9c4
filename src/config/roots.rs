//! The authorities of the system, where the configuration names no others.

use std::path::Path;

use pingora_core::server::configuration::ServerConf;
use pingora_core::tls::{RootCertStore, load_platform_certs_incl_env_into_store};

use super::problem::Diagnostics;

/// A file that is everywhere but in an empty root directory, and holds no certificate.
const EMPTY: &str = "/dev/null";

/// Tries what Pingora does when it starts: it panics where `SSL_CERT_FILE` or `SSL_CERT_DIR` names
/// what cannot be read, and where one certificate of the system is damaged.
///
/// Without authorities every tunnel works, and no `https` origin of a forwarded request can be
/// verified; so that is a warning, and Pingora is given a file without certificates. In a directory
/// without [`EMPTY`] it is `configuration` itself, which is one.
pub(super) fn settle(server: &mut ServerConf, configuration: &Path, diagnostics: &Diagnostics) {
    if server.ca_file.is_some() {
        return;
    }
    let mut store = RootCertStore::empty();
    let reason = match load_platform_certs_incl_env_into_store(&mut store) {
        Ok(()) if !store.is_empty() => return,
        Ok(()) => "none found".to_owned(),
        Err(error) => {
            let path = Path::new(EMPTY);
            let path = if path.exists() { path } else { configuration };
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            server.ca_file = Some(path.to_string_lossy().into_owned());
            error.cause.map_or_else(
                || error.etype.as_str().to_owned(),
                |cause| cause.to_string(),
            )
        }
    };
    let message = format!(
        "no certificate authorities of this system ({reason}), so no https origin of a forwarded request can be \
         verified"
    );
    let remedy = "install the package ca-certificates, correct SSL_CERT_FILE and SSL_CERT_DIR in the environment, \
                  or set ca_file";
    diagnostics.warn(None, "ca_file", message, remedy.to_owned());
}
