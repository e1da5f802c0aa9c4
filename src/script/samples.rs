//! Requests that were not sent: what a script is tried on when it is loaded, and the facts of `explain`, of the tests of
//! a configuration and of `tollgate script run`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode};

use super::check::Fault;
use super::{OnError, Script, vocabulary};
use crate::hello::Hello;
use crate::hook::{self, Detached, Facts, Phases, Role, Traffic};
use crate::http::http1::{HeadLimits, KeptHead, RequestHead};
use crate::http::target::{Scheme, Target};

/// A request as it is written in a test or on the command line.
#[derive(Clone, Debug)]
pub struct RequestText<'a> {
    /// The method.
    pub method: &'a str,
    /// The target, in the form of the role.
    pub target: &'a str,
    /// The field lines.
    pub fields: &'a [(Box<str>, Box<str>)],
    /// The client's address.
    pub client: IpAddr,
}

/// The facts of a request. It is read as one that a client sends.
///
/// # Errors
/// Why it is no request.
pub fn facts(request: &RequestText<'_>) -> Result<Facts, String> {
    let RequestText { method, target, .. } = request;
    let parsed =
        Target::parse(method.as_bytes(), target.as_bytes()).map_err(|error| error.to_string())?;
    let named = |name: &str| {
        let mut fields = request.fields.iter();
        fields.any(|(other, _)| other.eq_ignore_ascii_case(name))
    };
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !named("host") {
        let host = match parsed.authority() {
            Some(authority) => authority.to_string(),
            None => "gateway.example".to_owned(),
        };
        head.push_str(&format!("Host: {host}\r\n"));
    }
    for (name, value) in request.fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let head = RequestHead::parse(head.as_bytes().into(), &HeadLimits::default());
    let head = head.map_err(|error| error.to_string())?;
    let scheme = match &parsed {
        Target::Absolute { scheme, .. } => *scheme,
        Target::Authority(_) | Target::Origin | Target::Asterisk => Scheme::Http,
    };
    Ok(Facts {
        id: "0000000000000000".into(),
        role: Role::of(&parsed),
        method: hook::in_capitals(&head.method),
        version: "HTTP/1.1",
        scheme,
        authority: parsed.authority().cloned(),
        client: SocketAddr::new(request.client, 50_000),
        tls: false,
        head: Arc::new(KeptHead::of(&head)),
    })
}

/// The sample of a role: with the fields that most clients send, or without any.
fn sample(role: Role, has_fields: bool) -> Option<Facts> {
    let (method, target) = match role {
        Role::Tunnel => ("CONNECT", "sample.example:443"),
        // Over https, where a secret may be sent.
        Role::Forward => ("GET", "https://sample.example/sample/path?query=1"),
        Role::Gateway => ("GET", "/sample/path?query=1"),
    };
    let fields: Vec<(Box<str>, Box<str>)> = [
        ("User-Agent", "sample/1.0"),
        ("Accept", "*/*"),
        ("Accept-Encoding", "gzip"),
        ("Accept-Language", "en"),
        ("Content-Type", "text/plain"),
        ("Cookie", "sample=1"),
        ("Origin", "https://sample.example"),
        ("Referer", "https://sample.example/"),
        ("Authorization", "Bearer sample"),
    ]
    .into_iter()
    .filter(|_| has_fields)
    .map(|(name, value)| (name.into(), value.into()))
    .collect();
    let request = RequestText {
        method,
        target,
        fields: &fields,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    facts(&request).ok()
}

/// Whether a request of this role may come to this phase. One of another role than tunnel may become a WebSocket.
pub(super) fn has_phase(role: Role, phase: Phases) -> bool {
    let forwarded = Phases::UPSTREAM_REQUEST.and(Phases::RESPONSE);
    role != Role::Tunnel || !forwarded.has(phase)
}

/// Calls each function on a sample of each role. Comes back with warnings.
///
/// # Errors
/// A function fails on a sample, and not because the script throws.
pub(super) fn run(script: &Script) -> Result<Vec<Fault>, Vec<Fault>> {
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    for role in &script.0.source.roles {
        for has_fields in [true, false] {
            let Some(facts) = sample(*role, has_fields) else {
                continue;
            };
            let facts = Arc::new(facts);
            for (name, phase) in vocabulary::PHASES {
                if !script.phases().has(phase) || !has_phase(*role, phase) {
                    continue;
                }
                let Some(failure) = call(script, &facts, phase) else {
                    continue;
                };
                let place = (failure.line, failure.column);
                let is_known = |fault: &Fault| (fault.line, fault.column) == place;
                if errors.iter().chain(&warnings).any(is_known) {
                    continue;
                }
                let how = if has_fields { "" } else { " without fields" };
                let fault = Fault {
                    line: failure.line,
                    column: failure.column,
                    message: format!(
                        "{name} fails on a sample request{how} in the role {}: {}",
                        role.as_str(),
                        failure.reason
                    ),
                    remedy: if failure.reason.starts_with(&format!("{name} returns")) {
                        "end the function with `return;` or a verdict".to_owned()
                    } else {
                        remedy(script, *role, has_fields)
                    },
                };
                if has_fields {
                    errors.push(fault);
                } else {
                    warnings.push(fault);
                }
            }
        }
    }
    if errors.is_empty() {
        Ok(warnings)
    } else {
        Err(errors)
    }
}

fn remedy(script: &Script, role: Role, has_fields: bool) -> String {
    if !has_fields {
        let then = match script.0.source.on_error {
            OnError::Deny => "such requests get 500",
            OnError::Skip => "the script is skipped for such requests",
        };
        return format!("a field that is not there is (), and {then}; write `?? \"\"` behind it");
    }
    let lacks = match role {
        Role::Tunnel => "a tunnel has no path and no query",
        Role::Gateway => "a request to the gateway has no host and no port",
        Role::Forward => return "correct the call".to_owned(),
    };
    format!("{lacks}: they are (); write `?? \"\"` behind them, or leave the role out of `roles`")
}

fn call(script: &Script, facts: &Arc<Facts>, phase: Phases) -> Option<super::engine::Failure> {
    let is_known = phase != Phases::REQUEST;
    let groups: &[Box<str>] = if is_known { &["sample".into()] } else { &[] };
    let user = is_known.then_some("sample");
    let mut detached = Detached::new(Arc::clone(facts), user, groups);
    detached.enter(phase);
    if phase == Phases::RESPONSE {
        let mut fields = HeaderMap::new();
        fields.insert("server", HeaderValue::from_static("sample"));
        fields.insert("content-type", HeaderValue::from_static("text/plain"));
        detached.respond(StatusCode::OK, fields);
    }
    // Some tunnels have none in the phases behind it.
    if phase == Phases::TUNNEL_HELLO {
        detached.greet(Arc::new(Hello {
            sni: Some("sample.example".into()),
            alpn: vec!["h2".into()],
            ja4: "t13d1516h2_8daaf6152771_e5627efa2ab1".into(),
            ech: false,
        }));
    }
    let has_traffic = Phases::TUNNEL_BYTES.and(Phases::TUNNEL_CLOSE).has(phase);
    let traffic = has_traffic.then(<(Traffic, Traffic)>::default);
    let status = (phase == Phases::LOG).then_some(200);
    let called = script.call(phase, detached, status, traffic);
    called.result.err().filter(|failure| !failure.is_thrown)
}
