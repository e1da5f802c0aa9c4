//! Services of this machine that clients are not meant to reach, and that the policy lets them reach through the proxy:
//! the admin service and the authoriser.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::SystemTime;

use super::auth::Auth;
use super::problem::Diagnostics;
use super::yaml::Node;
use crate::access::policy::{ExplainedDecision, Moment, Policy, Scenario, special_purpose};

/// Users that are tried. More would say the same, as a rule.
const MAX_USERS: usize = 64;

/// The key that opens addresses for all users.
const ALLOW: &str = "tollgate.egress.allow_networks";

/// The rules.
const RULES: &str = "tollgate.policy";

/// Warns of each that a user reaches.
pub(super) fn warn(
    policy: &Policy,
    auth: &Auth,
    admin: Option<SocketAddr>,
    document: &Node,
    diagnostics: &Diagnostics,
) {
    let authoriser = auth.external.iter();
    let authoriser = authoriser.flat_map(|external| external.url.local_addresses());
    let authoriser = authoriser.map(|address| {
        (
            address,
            "the authoriser: clients can ask it through the proxy, past the lock-out",
        )
    });
    let admin = admin.map(|address| {
        (
            loopback(address),
            "the admin service, which has no authentication: clients can use it through the proxy",
        )
    });
    for (address, what) in authoriser.chain(admin) {
        // Clients reach other addresses without the proxy.
        if special_purpose(address.ip()).is_none() {
            continue;
        }
        let Some(rule) = admitting(policy, auth, address) else {
            continue;
        };
        let (key, message) = match policy.guard().allow_networks.matching(address.ip()) {
            Some(network) => (ALLOW, format!("{network} opens {address}, {what}")),
            None => (RULES, format!("the rule {rule} opens {address}, {what}")),
        };
        let remedy = format!(
            "name smaller networks, or put a rule with `action: deny, networks: [\"{}\"], ports: [{}]` first",
            address.ip(),
            address.port()
        );
        diagnostics.warn(document.line_of(key), key, message, remedy);
    }
}

/// What admits a request of a user to this address, through a tunnel or to forward.
fn admitting(policy: &Policy, auth: &Auth, address: SocketAddr) -> Option<String> {
    let now = Moment::from(SystemTime::now());
    let users = auth.users.names().take(MAX_USERS).chain(["user"]);
    let targets = [address.to_string(), format!("http://{address}/")];
    let mut pairs = users.flat_map(|user| targets.iter().map(move |target| (user, target)));
    pairs.find_map(|(user, target)| {
        let scenario = Scenario::new(user, target, None, now).ok()?;
        let explanation = policy.explain(&scenario);
        (explanation.decision == ExplainedDecision::Admit).then(|| explanation.rule.to_string())
    })
}

/// The address at which this machine reaches a listener.
fn loopback(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
