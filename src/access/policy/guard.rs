//! The guard: the part of the policy that applies to every user. Ports, domains, networks, special-purpose
//! addresses and the program's own listeners.

use std::net::{IpAddr, SocketAddr};

use super::{DecidedBy, Denied, DomainLists, NameKey, Networks, Ports, Role};
use crate::http::target::Host;

/// The settings of the guard: `tollgate.egress`.
///
/// The default is that of the configuration: tunnels to port 443, forwarding to any port, every domain,
/// no exception for special-purpose addresses.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Ports that tunnels may use.
    pub connect_ports: Ports,
    /// Ports that forwarded requests may use.
    pub http_ports: Ports,
    /// Exceptions to special-purpose addresses, to own listeners (host routes only) and to less specific
    /// entries of `deny_networks`.
    pub allow_networks: Networks,
    /// Networks to deny beyond the special-purpose ones.
    pub deny_networks: Networks,
    /// When not empty, the only domains that are admitted.
    pub allow_domains: DomainLists,
    /// Domains to deny, even when `allow_domains` has them.
    pub deny_domains: DomainLists,
    /// The addresses on which this program listens, with the bound ports.
    pub own_listeners: Vec<SocketAddr>,
    /// The machine's addresses, on which a listener on `0.0.0.0` or `[::]` accepts.
    pub own_addresses: Vec<IpAddr>,
}

impl Default for Guard {
    fn default() -> Guard {
        Guard {
            connect_ports: Ports::from(443),
            http_ports: Ports::any(),
            allow_networks: Networks::default(),
            deny_networks: Networks::default(),
            allow_domains: DomainLists::default(),
            deny_domains: DomainLists::default(),
            own_listeners: Vec::new(),
            own_addresses: Vec::new(),
        }
    }
}

impl Guard {
    /// Converts the program's own addresses to the canonical form in which they are compared.
    pub(super) fn normalise(&mut self) {
        for listener in &mut self.own_listeners {
            listener.set_ip(listener.ip().to_canonical());
        }
        for address in &mut self.own_addresses {
            *address = address.to_canonical();
        }
    }

    /// Evaluates the host of a target before it is resolved; `key` is that of the host when it is a name.
    ///
    /// `deny_domains` wins over `allow_domains`, however specific the entries are: no entry undoes a deny by
    /// accident. When `allow_domains` is not empty, a target that is an address is denied too, since it is
    /// in no list of domains, unless `allow_networks` covers it.
    pub(super) fn admit_host(&self, host: &Host, key: Option<&NameKey<'_>>) -> Result<(), Denied> {
        let allowed = match (host, key) {
            (Host::Ip(ip), _) => {
                self.allow_domains.is_empty() || self.allow_networks.matching(*ip).is_some()
            }
            (Host::Name(_), Some(key)) => {
                if let Some(entry) = self.deny_domains.matching(key) {
                    let entry = entry.to_string().into_boxed_str();
                    return Err(Denied::request(DecidedBy::DenyDomains(entry)));
                }
                self.allow_domains.is_empty() || self.allow_domains.matching(key).is_some()
            }
            (Host::Name(_), None) => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(Denied::request(DecidedBy::AllowDomains))
        }
    }

    /// Evaluates the port of a target for a role. The gateway has no port.
    pub(super) fn admit_port(&self, role: Role, port: u16) -> Result<(), Denied> {
        let (ports, by) = match role {
            Role::Tunnel => (&self.connect_ports, DecidedBy::ConnectPorts),
            Role::Forward => (&self.http_ports, DecidedBy::HttpPorts),
            Role::Gateway => return Ok(()),
        };
        if ports.contains(port) {
            Ok(())
        } else {
            Err(Denied::request(by))
        }
    }

    /// A connection to `0.0.0.0` or `::` arrives at this machine, so it counts as any listener's address.
    pub fn is_own_listener(&self, ip: IpAddr, port: u16) -> bool {
        self.own_listeners.iter().any(|listener| {
            listener.port() == port
                && (listener.ip() == ip
                    || ip.is_unspecified()
                    || (listener.ip().is_unspecified()
                        && (ip.is_loopback() || self.own_addresses.contains(&ip))))
        })
    }
}
