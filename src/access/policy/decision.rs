//! The parts of a decision: what decided, and for a denial the answer to the client and the log's fields.

use std::{borrow::Cow, fmt, sync::Arc};

use http::StatusCode;
use ipnet::IpNet;

use crate::http::denial::Denial;
use crate::http::error::{ErrorKind, RequestError};

use super::{EvaluationError, Name, special::Block};

/// Admit or deny: the value of `default`, and what a test of the policy expects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// The request is admitted.
    #[default]
    Admit,
    /// The request is denied.
    Deny,
}

/// Whether clients learn the names of the rules that deny their requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuleNames {
    /// They do.
    #[default]
    Shown,
    /// They do not, nor which part of the guard denied. The log has the names.
    Hidden,
}

/// The part of the policy that decided. Its `Display` is the name in the log, and is stable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecidedBy {
    /// `default`: no rule matches, and the guard does not deny.
    Default,
    /// A rule of the configuration, under its own name.
    Rule(Name),
    /// `connect_ports`
    ConnectPorts,
    /// `http_ports`
    HttpPorts,
    /// `allow_domains`: the list is not empty and does not have the target.
    AllowDomains,
    /// `deny_domains:.example.org`, with the entry as normalised.
    DenyDomains(Box<str>),
    /// `allow_networks:10.1.0.0/16`
    AllowNetworks(IpNet),
    /// `deny_networks:10.0.0.0/8`
    DenyNetworks(IpNet),
    /// `special_purpose:loopback`
    SpecialPurpose(&'static Block),
    /// `own_listener`
    OwnListener,
    /// `hook:team-headers`: a hook or a script, by its name.
    Hook(HookName),
    /// `tunnel_hello`: the key `tunnel` for all tunnels, when the ClientHello was there.
    TunnelHello,
    /// `external`: the external authoriser; `external:uploads` where this rule asks it.
    External(Option<Name>),
}

/// A hook by its name in the log, which begins with `hook:`. A clone copies a pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookName(Arc<str>);

impl HookName {
    /// The hook of this name.
    pub fn new(name: &str) -> Self {
        Self(format!("hook:{name}").into())
    }
}

/// What denied a request or an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("denied by {by}")]
pub struct Denied {
    /// The part that decided.
    pub by: DecidedBy,
    /// The reason in the answer.
    pub reason: DenyReason,
    /// Status and message of the answer.
    pub refusal: Refusal,
    /// Why the rule's expression failed, when the rule denies for that reason.
    #[source]
    pub failure: Option<EvaluationError>,
}

/// How a denied request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One of [`Refusal::STATUSES`].
    pub status: StatusCode,
    /// The rule's `message`: at most [`Refusal::MAX_MESSAGE`] characters, none of them a control character.
    pub message: Option<Arc<str>>,
}

/// The reason: in the terms of the `Proxy-Status` field, where the client gets one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// The address may not be dialled (RFC 9209 §2.3.5).
    DestinationIpProhibited,
    /// The request is denied, whatever its name resolves to (RFC 9209 §2.3.11).
    HttpRequestDenied,
    /// The hello of a tunnel names another host than its target.
    SniMismatch,
    /// It names none.
    SniMissing,
    /// Another protocol than TLS.
    NotTls,
    /// An encrypted hello, or what looks like one.
    EchDenied,
    /// TLS that cannot be read.
    HelloUnreadable,
    /// A hello that was not complete in time.
    HelloTimeout,
}

impl Decision {
    /// `admit` or `deny`, as in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Decision::Admit => "admit",
            Decision::Deny => "deny",
        }
    }
}

impl DecidedBy {
    /// The names of the guard's parts, which are reserved.
    pub const RESERVED: [&'static str; 11] = [
        "default",
        "connect_ports",
        "http_ports",
        "allow_domains",
        "deny_domains",
        "allow_networks",
        "deny_networks",
        "special_purpose",
        "own_listener",
        "tunnel_hello",
        "external",
    ];

    /// The name as in the log. Allocates when the name has an entry.
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            DecidedBy::DenyDomains(_)
            | DecidedBy::AllowNetworks(_)
            | DecidedBy::DenyNetworks(_)
            | DecidedBy::SpecialPurpose(_)
            | DecidedBy::External(Some(_)) => Cow::Owned(self.to_string()),
            _ => Cow::Borrowed(self.label()),
        }
    }

    /// The name without what follows the colon: a bounded set of values, for a metric's label.
    pub fn label(&self) -> &str {
        match self {
            DecidedBy::Default => "default",
            DecidedBy::Rule(name) => name.as_str(),
            DecidedBy::ConnectPorts => "connect_ports",
            DecidedBy::HttpPorts => "http_ports",
            DecidedBy::AllowDomains => "allow_domains",
            DecidedBy::DenyDomains(_) => "deny_domains",
            DecidedBy::AllowNetworks(_) => "allow_networks",
            DecidedBy::DenyNetworks(_) => "deny_networks",
            DecidedBy::SpecialPurpose(_) => "special_purpose",
            DecidedBy::OwnListener => "own_listener",
            DecidedBy::TunnelHello => "tunnel_hello",
            DecidedBy::Hook(HookName(name)) => name,
            DecidedBy::External(_) => "external",
        }
    }

    /// The name for a client: a part of the guard is named without what follows the colon.
    fn told(&self) -> Cow<'_, str> {
        match self {
            DecidedBy::External(_) => self.name(),
            _ => Cow::Borrowed(self.label()),
        }
    }
}

impl fmt::Display for DecidedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())?;
        match self {
            DecidedBy::DenyDomains(entry) => write!(f, ":{entry}"),
            DecidedBy::AllowNetworks(net) | DecidedBy::DenyNetworks(net) => write!(f, ":{net}"),
            DecidedBy::SpecialPurpose(block) => write!(f, ":{}", block.name),
            DecidedBy::External(Some(rule)) => write!(f, ":{rule}"),
            DecidedBy::Default
            | DecidedBy::Rule(_)
            | DecidedBy::ConnectPorts
            | DecidedBy::HttpPorts
            | DecidedBy::AllowDomains
            | DecidedBy::OwnListener
            | DecidedBy::TunnelHello
            | DecidedBy::Hook(_)
            | DecidedBy::External(None) => Ok(()),
        }
    }
}

impl Denied {
    /// A denial in the first phase.
    pub fn request(by: DecidedBy) -> Denied {
        Denied {
            by,
            reason: DenyReason::HttpRequestDenied,
            refusal: Refusal::default(),
            failure: None,
        }
    }

    /// A denial of an address.
    pub fn address(by: DecidedBy) -> Denied {
        Denied {
            reason: DenyReason::DestinationIpProhibited,
            ..Denied::request(by)
        }
    }

    /// The same denial, for an address that a name resolved to.
    pub(super) fn of_address(self) -> Denied {
        Denied {
            reason: DenyReason::DestinationIpProhibited,
            ..self
        }
    }

    /// The answer to the client. Of a part of the guard it names the part, and neither an address nor a network.
    pub fn into_error(self, names: RuleNames) -> RequestError {
        let kind = self.reason.error();
        let denial = Denial::new(kind, &self.by.told(), self.refusal.message.clone());
        let denial = match names {
            RuleNames::Shown => denial,
            RuleNames::Hidden => denial.without_rule(),
        };
        RequestError::denied(denial, self.refusal.status).because(self)
    }
}

impl Refusal {
    /// The status codes that a rule can deny with; the first is the default.
    pub const STATUSES: [StatusCode; 5] = [
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
        StatusCode::SERVICE_UNAVAILABLE,
    ];

    /// The longest message, in characters.
    pub const MAX_MESSAGE: usize = 200;
}

impl Default for Refusal {
    fn default() -> Refusal {
        Refusal {
            status: StatusCode::FORBIDDEN,
            message: None,
        }
    }
}

impl DenyReason {
    /// The name of the error in log and metrics; where the client gets an answer, the error type of RFC 9209 §2.3.
    pub const fn kind(self) -> &'static str {
        self.error().name()
    }

    const fn error(self) -> ErrorKind {
        match self {
            DenyReason::DestinationIpProhibited => ErrorKind::AddressDenied,
            DenyReason::HttpRequestDenied => ErrorKind::Denied,
            DenyReason::SniMismatch => ErrorKind::SniMismatch,
            DenyReason::SniMissing => ErrorKind::SniMissing,
            DenyReason::NotTls => ErrorKind::NotTls,
            DenyReason::EchDenied => ErrorKind::EchDenied,
            DenyReason::HelloUnreadable => ErrorKind::HelloUnreadable,
            DenyReason::HelloTimeout => ErrorKind::HelloTimeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_reserved_and_stable() {
        let net = "10.0.0.0/8".parse().unwrap();
        let block = super::super::special::special_purpose("127.0.0.1".parse().unwrap()).unwrap();
        let all = [
            (DecidedBy::Default, "default"),
            (DecidedBy::ConnectPorts, "connect_ports"),
            (DecidedBy::HttpPorts, "http_ports"),
            (DecidedBy::AllowDomains, "allow_domains"),
            (
                DecidedBy::DenyDomains(".a.example".into()),
                "deny_domains:.a.example",
            ),
            (DecidedBy::AllowNetworks(net), "allow_networks:10.0.0.0/8"),
            (DecidedBy::DenyNetworks(net), "deny_networks:10.0.0.0/8"),
            (DecidedBy::SpecialPurpose(block), "special_purpose:loopback"),
            (DecidedBy::OwnListener, "own_listener"),
            (DecidedBy::TunnelHello, "tunnel_hello"),
            (DecidedBy::External(None), "external"),
        ];
        assert_eq!(all.len(), DecidedBy::RESERVED.len());
        for (by, expected) in all {
            assert_eq!(by.to_string(), expected);
            assert!(DecidedBy::RESERVED.contains(&by.label()), "{by}");
            assert!(Name::parse(by.label()).is_err(), "{by}");
        }
        let rule = DecidedBy::Rule(Name::parse("no-uploads").unwrap());
        assert_eq!(
            (rule.label(), rule.to_string().as_str()),
            ("no-uploads", "no-uploads")
        );
        let asked = DecidedBy::External(Some(Name::parse("uploads").unwrap()));
        assert_eq!(
            (asked.label(), &*asked.name(), &*asked.told()),
            ("external", "external:uploads", "external:uploads")
        );
        // A client learns neither addresses nor networks.
        let guard = DecidedBy::DenyNetworks(net);
        assert_eq!(
            (&*guard.name(), &*guard.told()),
            ("deny_networks:10.0.0.0/8", "deny_networks")
        );
    }

    #[test]
    fn a_denial_names_its_cause() {
        let failed = Denied {
            failure: Some(EvaluationError::DivisionByZero),
            ..Denied::request(DecidedBy::Default)
        };
        assert_eq!(failed.to_string(), "denied by default");
        let source = std::error::Error::source(&failed).unwrap();
        assert_eq!(source.to_string(), "division by zero");
        assert_eq!(failed.refusal.status, StatusCode::FORBIDDEN);
        assert_eq!(failed.reason.kind(), "http_request_denied");
    }
}
