//! The server of a fleet's store. No message has a password.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::{Host, Url};

use super::super::super::files::{self, Base};
use super::super::super::reader::Item;
use super::StoreKeys;
use crate::balances::{RedisAddress, RedisSettings};
use crate::script::{SecretText, Secrets};

/// The port of Redis and Valkey.
const PORT: u16 = 6379;

/// The highest number of a database that any server is made for.
const MAX_DATABASE: i64 = 65_535;

const TIMEOUT: Duration = Duration::from_millis(250);

const MAX_PREFIX: usize = 64;

/// The most bytes of a file of authorities.
const MAX_AUTHORITIES: u64 = 4 << 20;

/// Reads the keys of a server.
pub(super) fn read(
    item: &Item<'_>,
    keys: &StoreKeys<'_>,
    base: &Base,
    secrets: &Secrets,
) -> Option<Box<RedisSettings>> {
    let address = item.text().and_then(|text| match parse(text) {
        Ok(address) => Some(address),
        Err((message, remedy)) => {
            item.report(message, remedy);
            None
        }
    });
    let user = keys.user.as_ref().and_then(Item::text);
    let password = keys.password.as_ref().map(|item| password(item, secrets));
    if let (Some(user), None) = (&keys.user, &keys.password) {
        user.report(
            "without a password",
            "write `password`, the name of a secret",
        );
    }
    let authorities = keys.ca_file.as_ref().map(|item| authorities(item, base));
    let prefix = keys.prefix.as_ref().map_or(Some("tollgate"), prefix);
    let (address, database) = address?;
    if password.is_some() && is_exposed(&address) {
        item.warn(
            "the password and all limits go in the clear: a machine on the way can read and change them",
            "write rediss://, or a unix socket",
        );
    }
    Some(Box::new(RedisSettings {
        address,
        database,
        user: user.map(Into::into),
        password: match password {
            Some(password) => Some(password?),
            None => None,
        },
        authorities: match authorities {
            Some(authorities) => Some(authorities?),
            None => None,
        },
        prefix: prefix?.into(),
        timeout: keys.timeout.unwrap_or(TIMEOUT),
    }))
}

/// What is wrong with a URL, and what to do; neither repeats it.
type Wrong = (&'static str, &'static str);

fn parse(text: &str) -> Result<(RedisAddress, i64), Wrong> {
    const FORM: &str = "write redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH";
    let url = Url::parse(text).or(Err(("not a URL", FORM)))?;
    if !url.username().is_empty() || url.password().is_some() {
        let remedy = "write `user`, and `password` with the name of a secret of tollgate.secrets";
        return Err(("has credentials, which belong in a secret", remedy));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(("has a query or a fragment", FORM));
    }
    let tls = match url.scheme() {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        "unix" if url.host().is_none() && url.path().len() > 1 => {
            return Ok((RedisAddress::Unix(PathBuf::from(url.path())), 0));
        }
        "unix" => return Err(("has no absolute path", FORM)),
        _ => return Err(("another scheme", FORM)),
    };
    let host = match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        _ => return Err(("has no host", FORM)),
    };
    let database = match url.path().trim_start_matches('/') {
        "" => 0,
        number => match number.parse() {
            Ok(number @ 0..=MAX_DATABASE) => number,
            _ => return Err(("has another path than the number of a database", FORM)),
        },
    };
    let address = RedisAddress::Tcp {
        host: host.into(),
        port: url.port().unwrap_or(PORT),
        tls,
    };
    Ok((address, database))
}

/// Whether others on the way can read what is sent.
fn is_exposed(address: &RedisAddress) -> bool {
    match address {
        RedisAddress::Tcp { host, tls, .. } => {
            let address = host.parse::<IpAddr>();
            !tls && **host != *"localhost" && !address.is_ok_and(|address| address.is_loopback())
        }
        RedisAddress::Unix(_) => false,
    }
}

fn password(item: &Item<'_>, secrets: &Secrets) -> Option<SecretText> {
    let secret = secrets.get(item.text()?);
    if secret.is_none() {
        // The text may be the password itself.
        item.report(
            "not the name of a secret",
            "name one of tollgate.secrets, such as `secrets: { REDIS: { file: redis.secret } }`",
        );
    }
    secret.cloned()
}

fn authorities(item: &Item<'_>, base: &Base) -> Option<Arc<[u8]>> {
    let path = item.file(&base.directory)?;
    match files::read(&path, MAX_AUTHORITIES) {
        Ok(bytes) if bytes.windows(11).any(|part| part == b"-----BEGIN ") => Some(bytes.into()),
        Ok(_) => {
            item.report("has no certificate in PEM", "name a file with certificates");
            None
        }
        Err(error) => {
            files::report(
                item,
                &base.show(&path),
                &error,
                "make it, with certificates in PEM",
            );
            None
        }
    }
}

pub(super) fn prefix<'d>(item: &Item<'d>) -> Option<&'d str> {
    let text = item.text()?;
    let is_part =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    if text.is_empty() || text.len() > MAX_PREFIX || !text.bytes().all(is_part) {
        item.report(
            "not a prefix",
            format!("write up to {MAX_PREFIX} letters, digits and - _ . :"),
        );
        return None;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_servers() {
        for (text, shown, database) in [
            ("redis://127.0.0.1", "redis://127.0.0.1:6379", 0),
            ("redis://127.0.0.1:6380/2", "redis://127.0.0.1:6380", 2),
            ("rediss://store.example:1/", "rediss://store.example:1", 0),
            ("redis://[::1]:7/0", "redis://[::1]:7", 0),
            ("unix:///run/redis.sock", "unix:///run/redis.sock", 0),
        ] {
            let (address, number) = parse(text).unwrap();
            assert_eq!(
                (address.to_string().as_str(), number),
                (shown, database),
                "{text}"
            );
        }
        for (text, expected) in [
            ("127.0.0.1:6379", "not a URL"),
            ("redis://", "has no host"),
            ("http://127.0.0.1", "another scheme"),
            (
                "redis://:hunter2@127.0.0.1",
                "has credentials, which belong in a secret",
            ),
            (
                "redis://u@127.0.0.1",
                "has credentials, which belong in a secret",
            ),
            (
                "redis://127.0.0.1/x",
                "has another path than the number of a database",
            ),
            (
                "redis://127.0.0.1/70000",
                "has another path than the number of a database",
            ),
            ("redis://127.0.0.1?db=1", "has a query or a fragment"),
            ("unix://host/path", "has no absolute path"),
        ] {
            assert_eq!(parse(text).unwrap_err().0, expected, "{text}");
        }
    }

    #[test]
    fn a_machine_on_the_way_matters() {
        for (text, expected) in [
            ("redis://127.0.0.1", false),
            ("redis://[::1]", false),
            ("redis://localhost", false),
            ("redis://192.0.2.1", true),
            ("redis://store.example", true),
            ("rediss://store.example", false),
            ("unix:///run/redis.sock", false),
        ] {
            assert_eq!(is_exposed(&parse(text).unwrap().0), expected, "{text}");
        }
    }
}
