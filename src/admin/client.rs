//! The client of `tollgate reload`: requests a reload from the admin service of the running process.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde::Deserialize;

use crate::text::system_message;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Reading lists of millions of domains takes seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// Far more than a hundred errors with long paths.
const MAX_ANSWER: u64 = 4 << 20;

/// The outcome of a reload.
#[derive(Debug, PartialEq, Eq)]
pub enum ReloadAnswer {
    /// Every change is in effect.
    Complete(Changes),
    /// Some changed keys need a restart.
    Partial(Changes),
    /// The file has errors, and nothing was changed: the errors, and the number of further ones.
    Refused(Vec<String>, usize),
}

/// The answer to a successful reload, as in docs/operations.md.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Changes {
    /// The number of users.
    pub users: usize,
    /// The number of rules.
    pub rules: usize,
    /// Changed keys that are in effect now.
    pub applied: Vec<String>,
    /// Changed keys that need a restart.
    pub restart_needed: Vec<String>,
    /// Keys whose files the process cannot read.
    pub not_compared: Vec<String>,
}

#[derive(Deserialize)]
struct Refusal {
    problems: Vec<String>,
    unlisted: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The service cannot be reached, or ends the connection.
    #[error("the admin service on {address} cannot be reached: {}", system_message(.error))]
    Io {
        /// The address of the service.
        address: SocketAddr,
        /// The error of the system.
        error: io::Error,
    },
    /// Another program answers there.
    #[error("the server on {0} is not the admin service of Tollgate")]
    Other(SocketAddr),
}

/// Requests a reload from the admin service on `address`, and waits for the outcome.
///
/// # Errors
/// The service cannot be reached, or its answer is not that of this version.
pub fn reload(address: SocketAddr) -> Result<ReloadAnswer, AskError> {
    let answer = ask(connectable(address)).map_err(|error| AskError::Io { address, error })?;
    read_answer(&answer).ok_or(AskError::Other(address))
}

fn ask(address: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(CONNECT_TIMEOUT))?;
    let request = format!(
        "POST /reload HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The address to connect to; for a service on all addresses, loopback.
fn connectable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn read_answer(answer: &[u8]) -> Option<ReloadAnswer> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(answer).ok()? else {
        return None;
    };
    let body = answer.get(length..)?;
    if head.code != Some(200) {
        let refusal: Refusal = serde_json::from_slice(body).ok()?;
        return Some(ReloadAnswer::Refused(refusal.problems, refusal.unlisted));
    }
    let changes: Changes = serde_json::from_slice(body).ok()?;
    Some(if changes.restart_needed.is_empty() {
        ReloadAnswer::Complete(changes)
    } else {
        ReloadAnswer::Partial(changes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let complete = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{\"result\":\"success\",\"users\":2,\"rules\":1,\
                        \"applied\":[\"tollgate.policy.rules\"],\"restart_needed\":[],\"not_compared\":[]}\n";
        let expected = Changes {
            users: 2,
            rules: 1,
            applied: vec!["tollgate.policy.rules".to_owned()],
            ..Changes::default()
        };
        assert_eq!(
            read_answer(complete.as_bytes()),
            Some(ReloadAnswer::Complete(expected))
        );
        let partial = complete.replace("\"restart_needed\":[]", "\"restart_needed\":[\"threads\"]");
        assert!(matches!(
            read_answer(partial.as_bytes()),
            Some(ReloadAnswer::Partial(changes)) if changes.restart_needed == ["threads"]
        ));
        let refused = "HTTP/1.1 422 Unprocessable Entity\r\n\r\n{\"result\":\"failure\",\"problems\":[\"a\"],\"unlisted\":7}";
        assert_eq!(
            read_answer(refused.as_bytes()),
            Some(ReloadAnswer::Refused(vec!["a".to_owned()], 7))
        );
        for other in [
            "",
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\n\r\nnot found\n",
            "HTTP/1.1 200 OK\r\n\r\n{\"result\":\"success\"}",
        ] {
            assert_eq!(read_answer(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn all_addresses_are_reached_on_loopback() {
        for (address, expected) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ] {
            assert_eq!(
                connectable(address.parse().unwrap()),
                expected.parse().unwrap()
            );
        }
    }
}
