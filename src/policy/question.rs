//! A request that nobody sent: what `explain` and the tests of a policy ask about.

use std::net::{IpAddr, Ipv4Addr};

use super::{Destination, Moment, Request, Role};
use crate::target::{Authority, Target, TargetError};

/// A request made up, with the addresses that its name would have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who asks.
    pub user: Box<str>,
    /// From where.
    pub client: IpAddr,
    /// When.
    pub time: Moment,
    /// What the name of the target resolves to; not read when the target is an address.
    pub resolve: Vec<IpAddr>,
    method: Box<str>,
    role: Role,
    authority: Option<Authority>,
    target: Box<str>,
}

impl Question {
    /// A question of this user at this time, from 127.0.0.1 and without addresses.
    ///
    /// The target is read as one of a request is, so that the question cannot mean another host. Without a
    /// method, `host:port` is asked with CONNECT, `*` with OPTIONS, and URLs and paths with GET.
    ///
    /// # Errors
    /// [`TargetError`], as for a request.
    pub fn new(
        user: &str,
        target: &str,
        method: Option<&str>,
        time: Moment,
    ) -> Result<Question, TargetError> {
        let method = method.unwrap_or_else(|| match target {
            "*" => "OPTIONS",
            _ if target.starts_with('/') || target.contains("://") => "GET",
            _ => "CONNECT",
        });
        let parsed = Target::parse(method.as_bytes(), target.as_bytes())?;
        let role = match &parsed {
            Target::Absolute { .. } => Role::Forward,
            Target::Authority(_) => Role::Tunnel,
            Target::Origin | Target::Asterisk => Role::Gateway,
        };
        let authority = parsed.authority().cloned();
        Ok(Question {
            user: user.into(),
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            time,
            resolve: Vec::new(),
            method: method.into(),
            role,
            // A path is shown as sent; what has an authority is shown as it was understood.
            target: match &authority {
                Some(authority) => authority.to_string().into(),
                None => target.into(),
            },
            authority,
        })
    }

    /// Where it goes: `host:port` as it was understood, or a path.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The request to evaluate.
    pub fn request(&self) -> Request<'_> {
        Request {
            destination: match (self.role, &self.authority) {
                (Role::Tunnel, Some(authority)) => Destination::Tunnel(authority),
                (Role::Forward, Some(authority)) => Destination::Forward(authority),
                _ => Destination::Gateway,
            },
            method: &self.method,
            user: &self.user,
            client: self.client,
            time: self.time.into(),
        }
    }

    /// The addresses that would be judged: the target itself when it is one.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        match &self.authority {
            None => Vec::new(),
            Some(authority) => match authority.host.ip() {
                Some(ip) => vec![ip],
                None => self.resolve.clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_roles() {
        let time = Moment::parse("2026-11-24T10:00:00Z").unwrap();
        for (method, target, expected) in [
            (None, "Example.org.:443", "tunnel CONNECT example.org:443"),
            (None, "127.1:443", "tunnel CONNECT 127.0.0.1:443"),
            (None, "http://Example.org/a?b", "forward GET example.org:80"),
            (
                Some("POST"),
                "https://example.org",
                "forward POST example.org:443",
            ),
            (None, "/status", "gateway GET /status"),
            (Some("PUT"), "/x", "gateway PUT /x"),
            (None, "*", "gateway OPTIONS *"),
        ] {
            let question = Question::new("alice", target, method, time).unwrap();
            let request = question.request();
            let role = request.role().as_str();
            let shown = format!("{role} {} {}", request.method, question.target());
            assert_eq!(shown, expected, "{target}");
        }
        for (method, target, expected) in [
            (None, "example.org", TargetError::MissingPort),
            (Some("GET"), "example.org:443", TargetError::AuthorityForm),
            (Some("CONNECT"), "/", TargetError::ConnectForm),
            (None, "ftp://example.org/", TargetError::Scheme),
        ] {
            let error = Question::new("alice", target, method, time).unwrap_err();
            assert_eq!(error, expected, "{target}");
        }
    }
}
