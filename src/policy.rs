//! Who may go where: ports, domains and networks, each decision with the rule that made it.
//!
//! Decides only. It does not resolve, dial, log or answer, and it holds no clock and no I/O. A decision has
//! two halves: [`EgressPolicy::admit_target`] before a name is resolved, and
//! [`EgressPolicy::admit_address`] on each address that would be dialled. Both have to admit.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;

use crate::target::{Authority, Host};

mod domains;
mod entry;
mod networks;
mod ports;
mod special;
#[cfg(test)]
mod tests;

pub use domains::{DomainMatch, Domains};
pub use entry::{EntryError, EntryProblem};
pub use networks::Networks;
pub use ports::Ports;
pub use special::{Block, special_purpose};

/// What a request asks for, which picks its list of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// CONNECT: bytes that are not looked at.
    Tunnel,
    /// A request in absolute-form.
    Forward,
}

/// What an [`EgressPolicy`] is made of.
///
/// The default is the one of the configuration: tunnels to port 443, forwarding to any port, every domain,
/// no exception to the deny of special-purpose addresses.
#[derive(Clone, Debug)]
pub struct EgressRules {
    /// Ports that tunnels may go to.
    pub connect_ports: Ports,
    /// Ports that forwarded requests may go to.
    pub http_ports: Ports,
    /// Exceptions to the deny of special-purpose addresses, own listeners (host routes only) and less
    /// specific entries of `deny_networks`.
    pub allow_networks: Networks,
    /// Networks to deny beyond the special-purpose ones.
    pub deny_networks: Networks,
    /// When not empty, the only domains that are admitted.
    pub allow_domains: Domains,
    /// Domains to deny, whatever `allow_domains` says.
    pub deny_domains: Domains,
    /// Where this program itself listens, with the ports that were really bound.
    pub own_listeners: Vec<SocketAddr>,
    /// The machine's addresses, under which a listener on `0.0.0.0` or `[::]` answers.
    pub own_addresses: Vec<IpAddr>,
}

/// A checked policy, ready to decide. Immutable: a reload makes a new one.
#[derive(Clone, Debug)]
pub struct EgressPolicy {
    rules: EgressRules,
}

/// What admitted an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// [`Rule::AllowNetworks`], or [`Rule::Default`] when nothing had to be said about the address.
    pub rule: Rule,
}

/// What denied a target or an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("denied by {rule}")]
pub struct Denied {
    /// The rule that decided.
    pub rule: Rule,
    /// The reason as the client is told it.
    pub reason: DenyReason,
}

/// The part of the policy that decided. Its `Display` is the name in the log, and is stable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `default`: admitted because nothing denies it.
    Default,
    /// `connect_ports`
    ConnectPorts,
    /// `http_ports`
    HttpPorts,
    /// `allow_domains`: the list is not empty and does not hold the target.
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
}

/// Why, in the terms of the `Proxy-Status` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// The address may not be dialled (RFC 9209 §2.3.5).
    DestinationIpProhibited,
    /// The request may not be made, whatever its name resolves to (RFC 9209 §2.3.11).
    HttpRequestDenied,
}

impl Default for EgressRules {
    fn default() -> EgressRules {
        EgressRules {
            connect_ports: Ports::from(443),
            http_ports: Ports::any(),
            allow_networks: Networks::default(),
            deny_networks: Networks::default(),
            allow_domains: Domains::default(),
            deny_domains: Domains::default(),
            own_listeners: Vec::new(),
            own_addresses: Vec::new(),
        }
    }
}

impl EgressPolicy {
    /// Makes a policy of these rules.
    pub fn new(mut rules: EgressRules) -> EgressPolicy {
        for listener in &mut rules.own_listeners {
            listener.set_ip(listener.ip().to_canonical());
        }
        for address in &mut rules.own_addresses {
            *address = address.to_canonical();
        }
        EgressPolicy { rules }
    }

    /// Decides on what was asked for, before a name is resolved: the port, then the domain.
    ///
    /// `deny_domains` beats `allow_domains`, however specific the entries are: a deny is never undone by
    /// accident. When `allow_domains` is not empty, an address as the target is denied too, since it is
    /// none of these domains, unless `allow_networks` covers it.
    ///
    /// # Errors
    /// [`Denied`], always with [`DenyReason::HttpRequestDenied`].
    pub fn admit_target(&self, kind: Kind, authority: &Authority) -> Result<(), Denied> {
        let rules = &self.rules;
        let (ports, rule) = match kind {
            Kind::Tunnel => (&rules.connect_ports, Rule::ConnectPorts),
            Kind::Forward => (&rules.http_ports, Rule::HttpPorts),
        };
        if !ports.contains(authority.port) {
            return Err(Denied::request(rule));
        }
        let allowed = match &authority.host {
            Host::Name(name) => {
                if let Some(entry) = rules.deny_domains.matching(name) {
                    let entry = entry.to_string().into_boxed_str();
                    return Err(Denied::request(Rule::DenyDomains(entry)));
                }
                rules.allow_domains.is_empty() || rules.allow_domains.matching(name).is_some()
            }
            Host::Ip(ip) => {
                rules.allow_domains.is_empty() || rules.allow_networks.matching(*ip).is_some()
            }
        };
        if allowed {
            Ok(())
        } else {
            Err(Denied::request(Rule::AllowDomains))
        }
    }

    /// Decides on one address that would be dialled.
    ///
    /// In this order, the first that applies decides:
    /// 1. a listener of this program is denied, unless `allow_networks` has a host route for the address;
    /// 2. `deny_networks` denies, unless `allow_networks` has a longer prefix;
    /// 3. `allow_networks` admits;
    /// 4. a special-purpose address is denied;
    /// 5. the rest is admitted.
    ///
    /// An IPv4-mapped address is the IPv4 address. An address that carries an IPv4 address in another way
    /// (NAT64, 6to4, Teredo, ISATAP) is admitted when both it and each address that it carries are.
    ///
    /// # Errors
    /// [`Denied`], always with [`DenyReason::DestinationIpProhibited`].
    pub fn admit_address(&self, address: SocketAddr) -> Result<Admitted, Denied> {
        let ip = address.ip().to_canonical();
        if let IpAddr::V6(outer) = ip {
            // What is carried goes first: `loopback` says more in a log than `6to4`.
            for inner in special::embedded(outer) {
                self.judge(IpAddr::V4(inner), address.port())?;
            }
        }
        let rule = self.judge(ip, address.port())?;
        Ok(Admitted { rule })
    }

    fn judge(&self, ip: IpAddr, port: u16) -> Result<Rule, Denied> {
        let allowed = self.rules.allow_networks.matching(ip);
        let host_route = allowed.is_some_and(|net| net.prefix_len() == net.max_prefix_len());
        if !host_route && self.is_own_listener(ip, port) {
            return Err(Denied::address(Rule::OwnListener));
        }
        if let Some(denied) = self.rules.deny_networks.matching(ip)
            && allowed.is_none_or(|net| net.prefix_len() <= denied.prefix_len())
        {
            return Err(Denied::address(Rule::DenyNetworks(denied)));
        }
        if let Some(net) = allowed {
            return Ok(Rule::AllowNetworks(net));
        }
        match special::block_of(ip) {
            Some(block) => Err(Denied::address(Rule::SpecialPurpose(block))),
            None => Ok(Rule::Default),
        }
    }

    /// A connection to `0.0.0.0` or `::` arrives at this machine, so it counts as any listener's address.
    fn is_own_listener(&self, ip: IpAddr, port: u16) -> bool {
        self.rules.own_listeners.iter().any(|listener| {
            listener.port() == port
                && (listener.ip() == ip
                    || ip.is_unspecified()
                    || (listener.ip().is_unspecified()
                        && (ip.is_loopback() || self.rules.own_addresses.contains(&ip))))
        })
    }
}

impl Denied {
    fn request(rule: Rule) -> Denied {
        let reason = DenyReason::HttpRequestDenied;
        Denied { rule, reason }
    }

    fn address(rule: Rule) -> Denied {
        let reason = DenyReason::DestinationIpProhibited;
        Denied { rule, reason }
    }
}

impl DenyReason {
    /// The error type of RFC 9209 §2.3, for `Proxy-Status`, log and metrics.
    pub const fn kind(self) -> &'static str {
        match self {
            DenyReason::DestinationIpProhibited => "destination_ip_prohibited",
            DenyReason::HttpRequestDenied => "http_request_denied",
        }
    }
}

impl Rule {
    /// The name without what follows the colon: one of a few values, fit for a metric's label.
    pub const fn list(&self) -> &'static str {
        match self {
            Rule::Default => "default",
            Rule::ConnectPorts => "connect_ports",
            Rule::HttpPorts => "http_ports",
            Rule::AllowDomains => "allow_domains",
            Rule::DenyDomains(_) => "deny_domains",
            Rule::AllowNetworks(_) => "allow_networks",
            Rule::DenyNetworks(_) => "deny_networks",
            Rule::SpecialPurpose(_) => "special_purpose",
            Rule::OwnListener => "own_listener",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.list())?;
        match self {
            Rule::DenyDomains(entry) => write!(f, ":{entry}"),
            Rule::AllowNetworks(net) | Rule::DenyNetworks(net) => write!(f, ":{net}"),
            Rule::SpecialPurpose(block) => write!(f, ":{}", block.name),
            Rule::Default
            | Rule::ConnectPorts
            | Rule::HttpPorts
            | Rule::AllowDomains
            | Rule::OwnListener => Ok(()),
        }
    }
}
