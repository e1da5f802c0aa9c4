//! The keys of `tollgate`: the sections of the file.

use super::keys::form::Absent::{Defaults, Is, Means, Required};
use super::keys::form::{Map, Nested, OneOf, Raw, RawList};
use super::keys::keys;
use super::reader::{Item, Part, Section};
use super::scripts::ScriptLimits;
#[cfg(test)]
use super::{
    auth, egress, gateway,
    limits::{self, Timeouts},
    listeners, pac, parents, policy, scripts, secrets, tunnel,
};

keys! {
    /// The sections below `tollgate`.
    pub(super) struct Sections<'d> {
        /// Where clients connect, at least one. Two listeners on one address are an error, also a wildcard address and
        /// one that it covers, and the address of `admin`.
        listeners: Option<Item<'d>> = Required, Raw => Shape::Map(listeners::ListenerKeys::keys).some();
        /// A service with `/metrics` for Prometheus, `/stats` and `POST /reload`, without authentication.
        admin: Option<Item<'d>> = Means("none: no such service"), Raw => Shape::Map(listeners::AdminKeys::keys);
        /// How clients are authenticated.
        auth: Part<'d> = Required, Map => Shape::Part(auth::AuthSection::keys);
        /// What is behind requests in origin-form.
        gateway: Part<'d> = Defaults, Map => Shape::Part(gateway::Gateway::keys);
        /// The guard: where requests and tunnels may go, for all users.
        egress: Part<'d> = Defaults, Map => Shape::Part(egress::Egress::keys), on reload;
        /// What the first bytes of tunnels have to be ([tunnels.md](tunnels.md)).
        tunnel: Part<'d> = Defaults, Map => Shape::Part(tunnel::Keys::keys), on reload;
        /// The rules: which user may do what.
        policy: Part<'d> = Defaults, Map => Shape::Part(policy::Keys::keys), on reload;
        /// Requests, and the decision expected for each.
        policy_tests: Option<Item<'d>> = Is("[]"), RawList => Shape::Map(policy::TestKeys::keys).list(usize::MAX), on reload;
        /// [Scripts](scripts.md), in the order in which they are called.
        scripts: Option<Item<'d>> = Is("[]"), RawList => Shape::Map(scripts::Keys::keys).list(scripts::MAX_SCRIPTS), on reload;
        /// How much one call of a script may take. A call that takes more fails.
        script_limits: ScriptLimits = ScriptLimits::default(), Nested, on reload;
        /// Secrets that scripts write into fields with `secret(name)`, by name. A reload reads them again.
        secrets: Option<Item<'d>> = Means("none"), Raw => Shape::NamedMaps(secrets::Keys::keys), on reload;
        /// Proxies behind this one, by name: [parents.md](parents.md).
        parents: Option<Item<'d>> = Means("none"), Raw => Shape::NamedMaps(parents::Keys::keys), on reload;
        /// The way of requests and tunnels for which no rule, hook or script says one: the name of a parent, or `direct`.
        via: Option<Item<'d>> = Is("direct"), Raw => Shape::text("`direct` or the name of a parent"), on reload;
        /// Domains, networks and addresses that `via` does not hold for. A network counts for a target that is an address,
        /// and for the address of a name that is resolved here.
        no_proxy: Option<Item<'d>> = Is("[]"), RawList => Shape::text("a domain or a network").list(usize::MAX), on reload;
        /// Whether requests that are forwarded to https origins go on in HTTP/2, where the origin offers it in the TLS
        /// handshake (ALPN). What goes through a tunnel is between the client and the origin.
        origin_http2: bool = false, OneOf(&[("off", false), ("auto", true)]);
        /// A PAC file, from which browsers learn of the proxy, at every listener. Reading it is not evaluated by the policy.
        pac: Option<Item<'d>> = Means("none"), Raw => Shape::Map(pac::PacKeys::keys);
        /// How names are resolved.
        dns: Part<'d> = Defaults, Map => Shape::Part(gateway::Dns::keys);
        /// How long things may take.
        timeouts: Part<'d> = Defaults, Map => Shape::Part(Timeouts::keys);
        /// How large and how many things may be.
        limits: Part<'d> = Defaults, Map => Shape::Part(limits::keys);
        /// The access log.
        log: Part<'d> = Defaults, Map => Shape::Part(limits::Log::keys);
    }
}

impl<'d> Sections<'d> {
    pub(super) fn read(section: &mut Section<'d>) -> Sections<'d> {
        Sections::take(section)
    }
}

/// Reports that there is no `tollgate`, in one line where its keys are at the top.
pub(super) fn report_missing(mut root: Section<'_>) {
    if let Some((line, keys)) = root.misplaced(Sections::NAMES) {
        let keys_shown = list(&keys);
        let message = format!("missing, and the file has its keys at the top: {keys_shown}");
        let advice =
            "write a line `tollgate:` above them, and two spaces before each line below it";
        root.report_on(line, "tollgate", message, advice);
        root.declare(&keys, &[]);
    } else if !root.has_near("tollgate") {
        let advice = "write `tollgate:` with `listeners` and `auth` below it";
        root.report("tollgate", "missing", advice);
    }
    root.finish();
}

/// The first few of some keys.
fn list(keys: &[&str]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<_> = keys
        .iter()
        .take(SHOWN)
        .map(|key| format!("`{key}`"))
        .collect();
    match keys.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
