//! What a hook says of the addresses of a name.

use std::net::IpAddr;

/// The addresses of the host of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Resolution {
    /// Those that the next hook says, else those of the name servers.
    #[default]
    Default,
    /// These, at most 16, in the order in which to try them. The policy evaluates each.
    Addresses(Vec<IpAddr>),
}
