//! A request that was not sent: the input of `explain` and of the tests of a policy.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::{Destination, Moment, Request, Role, Via};
use crate::hello::Hello;
use crate::http::http1::{HeadError, KeptHead};
use crate::http::target::{Authority, Scheme, Target, TargetError};

mod head;

/// A hypothetical request, with the addresses that its name would have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The user.
    pub user: Box<str>,
    /// The groups that a token of the user says.
    pub groups: Vec<Box<str>>,
    /// The client's address.
    pub client: IpAddr,
    /// The time of the request.
    pub time: Moment,
    /// The addresses that the name of the target resolves to; not read when the target is an address.
    pub resolve: Vec<IpAddr>,
    /// The way out that a hook or a script chooses.
    pub via: Option<Via>,
    method: Box<str>,
    role: Role,
    /// The scheme of a request to forward.
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    target: Box<str>,
    /// Path and query as sent, or `*`; empty for a tunnel.
    path: Box<str>,
    /// None: a head that no client can send.
    head: Option<Arc<KeptHead>>,
    /// Of the tunnel of a URL: the request that is sent in it.
    inner: Option<Arc<Scenario>>,
    /// The claims of the user's token: name and text.
    pub claims: Vec<(Box<str>, Box<str>)>,
    /// The hello in the tunnel; none: it is not judged.
    pub hello: Option<Hello>,
}

/// One of the ways in which clients request a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The request in this way.
    pub scenario: Scenario,
    /// The clients that send it, as a text after "sent by".
    pub sent_by: &'static str,
}

impl Scenario {
    /// A request of this user at this time, from 127.0.0.1 and without addresses.
    ///
    /// The target is parsed as that of a request, so that the scenario cannot mean another host. The default
    /// method is CONNECT for `host:port`, OPTIONS for `*`, and GET for URLs and paths. A WebSocket, `ws://` or
    /// `wss://`, is requested as browsers do: with CONNECT, whatever the method.
    ///
    /// # Errors
    /// [`TargetError`], as for a request.
    pub fn new(
        user: &str,
        target: &str,
        method: Option<&str>,
        time: Moment,
    ) -> Result<Scenario, TargetError> {
        if let Some(url) = of_web_socket(target) {
            let forward = Scenario::new(user, &url, Some("GET"), time)?;
            return Ok(forward.as_tunnel());
        }
        let method = method.unwrap_or_else(|| match target {
            "*" => "OPTIONS",
            _ if target.starts_with('/') || target.contains("://") => "GET",
            _ => "CONNECT",
        });
        let parsed = Target::parse(method.as_bytes(), target.as_bytes())?;
        let scheme = match &parsed {
            Target::Absolute { scheme, .. } => Some(*scheme),
            Target::Authority(_) | Target::Origin | Target::Asterisk => None,
        };
        let path = match &parsed {
            Target::Absolute { path_start, .. } => target.get(*path_start..).unwrap_or_default(),
            Target::Authority(_) => "",
            Target::Origin | Target::Asterisk => target,
        };
        let authority = parsed.authority().cloned();
        let scenario = Scenario {
            user: user.into(),
            groups: Vec::new(),
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            time,
            resolve: Vec::new(),
            via: None,
            method: method.into(),
            role: Role::of(&parsed),
            scheme,
            // A path is shown as sent; a target with an authority is shown as it was parsed.
            target: match &authority {
                Some(authority) => authority.to_string().into(),
                None => target.into(),
            },
            authority,
            path: path.into(),
            head: None,
            inner: None,
            claims: Vec::new(),
            hello: None,
        };
        Ok(Scenario {
            head: scenario.head_with(&[]).ok().map(Arc::new),
            ..scenario
        })
    }

    /// The same request with these fields, name and value. A tunnel of a URL has them inside, where they are hidden;
    /// a tunnel of `host:port` has them in its CONNECT.
    ///
    /// # Errors
    /// No client can send a head with these fields.
    pub fn with_fields<N: AsRef<str>, V: AsRef<str>>(
        self,
        fields: &[(N, V)],
    ) -> Result<Scenario, HeadError> {
        if let Some(inner) = self.inner {
            let inner = Scenario::clone(&inner).with_fields(fields)?;
            return Ok(Scenario {
                inner: Some(Arc::new(inner)),
                ..self
            });
        }
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()))
            .collect();
        Ok(Scenario {
            head: Some(Arc::new(self.head_with(&fields)?)),
            ..self
        })
    }

    /// The request in a tunnel as it would be evaluated if it came in the clear; none for other roles.
    pub(super) fn in_the_clear(&self) -> Option<Scenario> {
        if self.role != Role::Tunnel {
            return None;
        }
        let clear = match &self.inner {
            Some(inner) => Scenario::clone(inner),
            None => {
                let url = format!("https://{}/", self.authority.as_ref()?);
                Scenario::new(&self.user, &url, None, self.time).ok()?
            }
        };
        Some(Scenario {
            user: self.user.clone(),
            client: self.client,
            time: self.time,
            resolve: self.resolve.clone(),
            claims: self.claims.clone(),
            ..clear
        })
    }

    /// The ways in which clients request a target, the usual one first: a URL is forwarded or tunnelled, and
    /// the policy may decide differently about the two. `method` is that of the request to forward: a tunnel has
    /// CONNECT, and with CONNECT there is no other way.
    ///
    /// # Errors
    /// [`TargetError`], as for a request.
    pub fn ways(
        user: &str,
        target: &str,
        method: Option<&str>,
        time: Moment,
    ) -> Result<Vec<Way>, TargetError> {
        let of_socket = of_web_socket(target);
        let url = of_socket.as_deref().unwrap_or(target);
        let only_tunnel = method == Some("CONNECT");
        if !url.contains("://") || url.starts_with('/') {
            let scenario = Scenario::new(user, target, method, time)?;
            let sent_by = match scenario.role {
                Role::Gateway => "clients that take the proxy for a web server",
                _ => "clients that ask for a tunnel",
            };
            return Ok(vec![Way { scenario, sent_by }]);
        }
        let forward = Scenario::new(user, url, method.filter(|_| !only_tunnel), time)?;
        let is_https = forward.scheme == Some(Scheme::Https);
        let (tunnelled, forwarded) = match (of_socket.is_some(), is_https) {
            (true, _) => (
                "browsers for a WebSocket",
                "clients that ask for the upgrade to a WebSocket without a tunnel",
            ),
            (false, true) => (
                "browsers, curl and most other clients for an https URL",
                "clients that leave TLS to the proxy",
            ),
            (false, false) => (
                "clients that tunnel http as well, such as curl -p",
                "browsers, curl and most other clients for an http URL",
            ),
        };
        let tunnel = Way {
            scenario: forward.as_tunnel(),
            sent_by: tunnelled,
        };
        let forward = Way {
            scenario: forward,
            sent_by: forwarded,
        };
        Ok(match (only_tunnel, of_socket.is_some() || is_https) {
            (true, _) => vec![tunnel],
            (false, true) => vec![tunnel, forward],
            (false, false) => vec![forward, tunnel],
        })
    }

    /// For a request to forward to an https URL: the tunnel that most clients open instead.
    pub fn usual_tunnel(&self) -> Option<Scenario> {
        (self.scheme == Some(Scheme::Https)).then(|| self.as_tunnel())
    }

    fn as_tunnel(&self) -> Scenario {
        let tunnel = Scenario {
            method: "CONNECT".into(),
            role: Role::Tunnel,
            scheme: None,
            path: Box::default(),
            inner: Some(Arc::new(self.clone())),
            ..self.clone()
        };
        Scenario {
            head: tunnel.head_with(&[]).ok().map(Arc::new),
            ..tunnel
        }
    }

    /// What to write instead of a target that cannot be read.
    pub fn remedy(error: TargetError) -> &'static str {
        match error {
            TargetError::MissingPort => {
                "add it, as in example.org:443, or write a URL such as https://example.org/"
            }
            TargetError::Fragment => "leave out the # and what follows it",
            TargetError::Userinfo => "leave out the user and the password before the @",
            TargetError::Byte => "leave out blanks and control characters",
            TargetError::Scheme => "write a URL with http://, https://, ws:// or wss://",
            TargetError::UnbracketedIpv6 => "write brackets around it, as in [2001:db8::1]:443",
            TargetError::AuthorityForm => "leave out the method, or write a URL",
            TargetError::AsteriskForm => "leave out the method, or write OPTIONS",
            TargetError::ConnectForm => {
                "write example.org:443 alone for a tunnel, or a whole URL such as https://example.org/path"
            }
            _ => {
                "write example.org:443 for a tunnel, a URL such as https://example.org/, or /path for the gateway"
            }
        }
    }

    /// The target: `host:port` as it was parsed, or a path.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The request to evaluate.
    pub fn request(&self) -> Request<'_> {
        Request {
            destination: Destination::new(self.role, self.authority.as_ref()),
            scheme: self.scheme,
            method: &self.method,
            user: &self.user,
            groups: &self.groups,
            client: self.client.to_canonical(),
            time: self.time.into(),
            head: self.head.as_deref(),
            claims: &self.claims,
            hello: None,
        }
    }

    /// The same request over TLS to this target.
    pub(super) fn to_https(&self, target: Authority) -> Scenario {
        Scenario {
            scheme: Some(Scheme::Https),
            target: target.to_string().into(),
            authority: Some(target),
            ..self.clone()
        }
    }

    /// The path and the query, as sent.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The addresses to evaluate: the target itself when it is an address.
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

/// The http or https URL of the same WebSocket.
fn of_web_socket(target: &str) -> Option<String> {
    let (scheme, rest) = target.split_once("://")?;
    let of_http = if scheme.eq_ignore_ascii_case("ws") {
        Scheme::Http
    } else if scheme.eq_ignore_ascii_case("wss") {
        Scheme::Https
    } else {
        return None;
    };
    Some(format!("{of_http}://{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_request_a_target() {
        let time = Moment::parse("2026-11-24T10:00:00Z").unwrap();
        for (method, target, expected) in [
            (
                None,
                "https://Example.org:8443/x",
                "tunnel CONNECT example.org:8443, forward GET example.org:8443",
            ),
            (
                None,
                "HTTPS://example.org",
                "tunnel CONNECT example.org:443, forward GET example.org:443",
            ),
            (
                Some("POST"),
                "https://example.org/",
                "tunnel CONNECT example.org:443, forward POST example.org:443",
            ),
            (
                Some("CONNECT"),
                "https://example.org/",
                "tunnel CONNECT example.org:443",
            ),
            (
                None,
                "http://b\u{fc}cher.example./",
                "forward GET xn--bcher-kva.example:80, tunnel CONNECT xn--bcher-kva.example:80",
            ),
            (
                Some("PUT"),
                "http://[::1]:81/",
                "forward PUT [::1]:81, tunnel CONNECT [::1]:81",
            ),
            (
                None,
                "wss://example.org/chat",
                "tunnel CONNECT example.org:443, forward GET example.org:443",
            ),
            (
                None,
                "WS://example.org/chat",
                "tunnel CONNECT example.org:80, forward GET example.org:80",
            ),
            (None, "example.org:443", "tunnel CONNECT example.org:443"),
            (None, "/a?u=http://x/", "gateway GET /a?u=http://x/"),
            (None, "*", "gateway OPTIONS *"),
        ] {
            let ways = Scenario::ways("alice", target, method, time).unwrap();
            let shown: Vec<String> = ways
                .iter()
                .map(|way| {
                    let request = way.scenario.request();
                    let role = request.role().as_str();
                    format!("{role} {} {}", request.method, way.scenario.target())
                })
                .collect();
            assert_eq!(shown.join(", "), expected, "{target}");
        }
        for (method, target, expected) in [
            (None, "example.org", TargetError::MissingPort),
            (None, "ftp://example.org/", TargetError::Scheme),
            (None, "https://u:p@example.org/", TargetError::Userinfo),
            (None, "wss://u@example.org/", TargetError::Userinfo),
            (Some("CONNECT"), "/", TargetError::ConnectForm),
        ] {
            let error = Scenario::ways("alice", target, method, time).unwrap_err();
            assert_eq!(error, expected, "{target}");
            assert!(!Scenario::remedy(error).is_empty());
        }
    }

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
            (None, "wss://example.org/", "tunnel CONNECT example.org:443"),
        ] {
            let scenario = Scenario::new("alice", target, method, time).unwrap();
            let request = scenario.request();
            let role = request.role().as_str();
            let shown = format!("{role} {} {}", request.method, scenario.target());
            assert_eq!(shown, expected, "{target}");
        }
        for (method, target, expected) in [
            (None, "example.org", TargetError::MissingPort),
            (Some("GET"), "example.org:443", TargetError::AuthorityForm),
            (Some("CONNECT"), "/", TargetError::ConnectForm),
            (None, "ftp://example.org/", TargetError::Scheme),
        ] {
            let error = Scenario::new("alice", target, method, time).unwrap_err();
            assert_eq!(error, expected, "{target}");
        }
    }
}
