//! Users without a password, by the network that a client is in.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::credentials::User;
use crate::access::policy::Networks;

/// Networks whose clients need no credentials, each with the user that its clients are.
#[derive(Debug, Default)]
pub struct TrustedNetworks {
    networks: Networks,
    users: HashMap<IpNet, User>,
    names: HashSet<User>,
}

impl TrustedNetworks {
    /// The user of a client that sends no credentials. The longest prefix decides.
    ///
    /// IPv4 networks cover an IPv4-mapped address.
    pub fn user(&self, client: IpAddr) -> Option<&User> {
        self.users.get(&self.networks.matching(client)?)
    }

    /// Every user that clients of some network are, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(User::as_str)
    }

    /// Whether clients of some network are this user.
    pub fn has(&self, user: &str) -> bool {
        self.names.contains(user)
    }
}

impl FromIterator<(IpNet, User)> for TrustedNetworks {
    fn from_iter<I: IntoIterator<Item = (IpNet, User)>>(users: I) -> TrustedNetworks {
        let users: HashMap<IpNet, User> = users.into_iter().collect();
        TrustedNetworks {
            networks: users.keys().copied().collect(),
            names: users.values().cloned().collect(),
            users,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_network_wins() {
        let trusted: TrustedNetworks = [
            ("0.0.0.0/0", "all"),
            ("10.0.0.0/8", "office"),
            ("10.1.0.0/16", "ci"),
            ("10.1.2.3/32", "build"),
            ("2001:db8::/32", "ci"),
        ]
        .into_iter()
        .map(|(network, user)| (network.parse().unwrap(), User::parse(user).unwrap()))
        .collect();
        for (client, expected) in [
            ("192.0.2.1", Some("all")),
            ("10.2.0.0", Some("office")),
            ("10.1.2.4", Some("ci")),
            ("::ffff:10.1.2.4", Some("ci")),
            ("10.1.2.3", Some("build")),
            ("2001:db8::1", Some("ci")),
            ("::1", None),
        ] {
            let user = trusted.user(client.parse().unwrap());
            assert_eq!(user.map(User::as_str), expected, "{client}");
        }
        assert!(trusted.has("build") && !trusted.has("alice"));
        let none = TrustedNetworks::default();
        assert!(none.user("127.0.0.1".parse().unwrap()).is_none());
    }
}
