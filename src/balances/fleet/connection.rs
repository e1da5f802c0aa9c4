//! The connection to the store of a fleet: Redis or Valkey.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::{
    Client, Connection, ConnectionAddr, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisError, TlsCertificates,
};

use crate::balances::StoreError;
use crate::script::SecretText;

/// How the store of a fleet is reached.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Where it is.
    pub address: RedisAddress,
    /// The number of the database.
    pub database: i64,
    /// The user; none for the default one.
    pub user: Option<Box<str>>,
    /// The password.
    pub password: Option<SecretText>,
    /// The certificates of authorities, as PEM; none for those of the system.
    pub authorities: Option<Arc<[u8]>>,
    /// What all keys begin with.
    pub prefix: Box<str>,
    /// How long a connection or an answer may take.
    pub timeout: Duration,
}

/// Where a store of a fleet is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisAddress {
    /// A host and a port.
    Tcp {
        /// A name or an address.
        host: Box<str>,
        /// The port.
        port: u16,
        /// Whether with TLS.
        tls: bool,
    },
    /// A socket.
    Unix(PathBuf),
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RedisAddress::Tcp { host, port, tls } => {
                let scheme = if *tls { "rediss" } else { "redis" };
                let (open, close) = if host.contains(':') {
                    ("[", "]")
                } else {
                    ("", "")
                };
                write!(f, "{scheme}://{open}{host}{close}:{port}")
            }
            RedisAddress::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// The longest part of a server's message that is shown.
const MAX_MESSAGE: usize = 200;

/// Connects, authenticates, and chooses the database.
///
/// # Errors
/// One of these fails, or takes too long.
pub(super) fn connect(settings: &RedisSettings) -> Result<Connection, StoreError> {
    let address = match &settings.address {
        RedisAddress::Tcp { host, port, tls } => match tls {
            false => ConnectionAddr::Tcp(host.to_string(), *port),
            true => ConnectionAddr::TcpTls {
                host: host.to_string(),
                port: *port,
                insecure: false,
                tls_params: None,
            },
        },
        RedisAddress::Unix(path) => ConnectionAddr::Unix(path.clone()),
    };
    let mut login = RedisConnectionInfo::default()
        .set_db(settings.database)
        .set_protocol(ProtocolVersion::RESP2)
        .set_skip_set_lib_name();
    if let Some(user) = &settings.user {
        login = login.set_username(user);
    }
    if let Some(password) = &settings.password {
        login = login.set_password(password.expose());
    }
    let info = address.into_connection_info()?.set_redis_settings(login);
    let client = match info.addr() {
        ConnectionAddr::TcpTls { .. } => {
            let certificates = TlsCertificates {
                client_tls: None,
                root_cert: settings.authorities.as_ref().map(|pem| pem.to_vec()),
            };
            Client::build_with_tls(info, certificates)?
        }
        _ => Client::open(info)?,
    };
    let connection = client.get_connection_with_timeout(settings.timeout)?;
    connection.set_read_timeout(Some(settings.timeout))?;
    connection.set_write_timeout(Some(settings.timeout))?;
    Ok(connection)
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> StoreError {
        let kind = kind(&error);
        let text = match error.detail() {
            Some(detail) if !error.is_io_error() => {
                format!("{} {detail}", error.code().unwrap_or_default())
            }
            _ => error.to_string(),
        };
        let text = text.chars().filter(|char| !char.is_control());
        let text: String = text.take(MAX_MESSAGE).collect();
        StoreError::Server {
            kind,
            text: text.trim().into(),
        }
    }
}

/// Why it failed, for a metric.
fn kind(error: &RedisError) -> &'static str {
    match (error.kind(), error.code()) {
        _ if error.is_timeout() => "timeout",
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => {
            "denied"
        }
        (ErrorKind::Io, _) => "unreachable",
        (_, Some("LOADING")) => "loading",
        (_, Some("READONLY")) => "read_only",
        (_, Some("OOM")) => "out_of_memory",
        _ => "other",
    }
}
