//! Who has a share of what clients use together.

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use foldhash::quality::RandomState;

use super::auth::User;
use crate::http::target::Host;

/// Differs in each process, so that no client can choose its number.
static NUMBERS: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// The holder of a share, as a number: the user where one is known, else the site that the client is at. Each
/// request needs it, so it is hashed once and held without a count of references.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client(u64);

impl Client {
    pub fn new(user: Option<&User>, address: IpAddr) -> Self {
        match user {
            Some(user) => Self::of_user(user.as_str()),
            None => Self::site(address),
        }
    }

    /// A user, wherever it is.
    pub fn of_user(user: &str) -> Self {
        Self(NUMBERS.hash_one(user))
    }

    /// A host that clients ask, where it is the host that has the share; none for the gateway.
    pub fn of_host(host: Option<&Host>) -> Self {
        Self(NUMBERS.hash_one(host))
    }

    /// Which of so many parts of a table has this client.
    pub fn part(self, parts: usize) -> usize {
        // The remainder is less than a usize.
        usize::try_from(self.0 % (parts.max(1) as u64)).unwrap_or_default()
    }

    /// The proxy itself, which looks up the names of its upstreams.
    pub fn own() -> Self {
        Self::site(Ipv4Addr::UNSPECIFIED.into())
    }

    /// A client whose user is not known, or does not count: an address of IPv4, or a network of IPv6 (/64), which
    /// is one site.
    pub fn site(address: IpAddr) -> Self {
        Self(NUMBERS.hash_one(network_of(address)))
    }
}

/// The network that is one site: an address of IPv4, or the first address of a network of IPv6 (/64).
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_of_ipv6_is_one_client() {
        let site = |text: &str| Client::site(text.parse().unwrap());
        assert_eq!(site("2001:db8:1:2::1"), site("2001:db8:1:2:ffff::9"));
        assert_ne!(site("2001:db8:1:2::1"), site("2001:db8:1:3::1"));
        assert_ne!(site("192.0.2.1"), site("192.0.2.2"));
        assert_eq!(site("192.0.2.1"), site("::ffff:192.0.2.1"));
    }

    #[test]
    fn a_user_is_one_client_everywhere() {
        let user = User::parse("ci").unwrap();
        let at = |user: Option<&User>, text: &str| Client::new(user, text.parse().unwrap());
        assert_eq!(at(Some(&user), "192.0.2.1"), at(Some(&user), "192.0.2.2"));
        assert_ne!(at(Some(&user), "192.0.2.1"), at(None, "192.0.2.1"));
    }
}
