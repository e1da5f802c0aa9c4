//! `auth.trusted_networks`: clients that need no password.

use std::collections::HashMap;
use std::net::SocketAddr;

use ipnet::IpNet;

use super::egress;
use super::keys::form::Absent::Required;
use super::keys::form::Raw;
use super::keys::keys;
use super::listeners::Listener;
use super::reader::Item;
use super::senders::{self, Senders};
use crate::access::auth::{TrustedNetworks, User, parse_name};

keys! {
    /// The clients that are one user.
    pub(super) struct TrustedKeys<'d> {
        /// Where the clients are. When two networks have an address, the longer prefix counts.
        networks: Option<Item<'d>> = Required, Raw => Shape::network().some();
        /// The user that they are, in rules, groups, log and statistics. Need not be in the password file.
        user: Option<Item<'d>> = Required, Raw => Shape::user();
    }
}

/// Where no one is who is not on this machine, or behind routers of the operator's own.
const PRIVATE: [&str; 8] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "fc00::/7",
    "fe80::/10",
];

/// The shortest prefixes of other networks that are not warned of.
const LEAST_V4: u8 = 24;
const LEAST_V6: u8 = 48;

/// A listener that takes a PROXY protocol header from every peer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Credulous {
    /// Of the file.
    Written(SocketAddr),
    /// Of the running process, which keeps its listeners.
    Running(SocketAddr),
}

/// The address of a listener that takes a PROXY protocol header from every peer.
pub(super) fn credulous(listeners: &[Listener]) -> Option<SocketAddr> {
    let believes = |listener: &&Listener| {
        let senders = listener.proxy_protocol.as_ref();
        senders.is_some_and(Senders::are_anyone)
    };
    listeners
        .iter()
        .find(believes)
        .map(|listener| listener.address)
}

/// Reads the networks.
pub(super) fn read(item: Option<&Item<'_>>, credulous: Option<Credulous>) -> TrustedNetworks {
    let entries = item.and_then(Item::list).unwrap_or_default();
    if let Some(item) = item.filter(|_| !entries.is_empty()) {
        report_credulous(item, credulous);
    }
    let mut users: HashMap<IpNet, (User, String)> = HashMap::new();
    for entry in entries {
        let mut section = entry.section();
        let keys = TrustedKeys::take(&mut section);
        if keys.networks.is_none() {
            section.report("networks", "missing", "write one such as [10.1.0.0/16]");
        }
        if keys.user.is_none() {
            section.report("user", "missing", "write the user that these clients are");
        }
        section.finish();
        let user = keys.user.as_ref().and_then(user);
        let networks = keys.networks.as_ref().map(networks).unwrap_or_default();
        for (item, network) in networks {
            if is_wide(network) {
                item.warn(
                    "a wide network: every client in it is admitted without a password",
                    "write smaller networks, or networks of private addresses",
                );
            }
            let Some(user) = &user else { continue };
            match users.get(&network) {
                Some((other, path)) if other != user => {
                    let message = format!("the same network as {path}, with another user");
                    item.report(message, "remove one of the two");
                }
                Some(_) => {}
                None => {
                    users.insert(network, (user.clone(), item.path));
                }
            }
        }
    }
    let users = users.into_iter();
    users.map(|(network, (user, _))| (network, user)).collect()
}

/// Whoever connects there could claim a trusted address.
fn report_credulous(item: &Item<'_>, credulous: Option<Credulous>) {
    match credulous {
        None => {}
        Some(Credulous::Written(address)) => {
            let message = format!(
                "whoever connects to {address} can claim any client address, also a trusted one, in its \
                 PROXY protocol header"
            );
            item.report(message, senders::REMEDY);
        }
        Some(Credulous::Running(address)) => {
            let message = format!(
                "whoever connects to {address} of the running process can claim any client address, also a \
                 trusted one, in its PROXY protocol header"
            );
            let advice = format!("{}, and restart or upgrade", senders::REMEDY);
            item.report(message, advice);
        }
    }
}

/// The networks of an entry, each with its place.
fn networks<'d>(item: &Item<'d>) -> Vec<(Item<'d>, IpNet)> {
    let items = item.list().unwrap_or_default();
    if items.is_empty() && item.is_list() {
        item.report(
            "an empty list, which no client is in",
            "fill it, or remove the entry",
        );
    }
    let mut networks = Vec::new();
    for item in items {
        let read = egress::networks(std::slice::from_ref(&item)).unwrap_or_default();
        networks.extend(read.iter().map(|network| (item.clone(), network)));
    }
    networks
}

fn user(item: &Item<'_>) -> Option<User> {
    match parse_name(item.text()?) {
        Ok(user) => Some(user),
        Err(error) => {
            item.report(error.to_string(), "write a name as in the htpasswd file");
            None
        }
    }
}

fn is_wide(network: IpNet) -> bool {
    let least = match network {
        IpNet::V4(_) => LEAST_V4,
        IpNet::V6(_) => LEAST_V6,
    };
    let private = |text: &str| {
        let private = text.parse::<IpNet>();
        private.is_ok_and(|private| private.contains(&network))
    };
    network.prefix_len() < least && !PRIVATE.iter().any(|text| private(text))
}
