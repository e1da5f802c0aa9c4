//! Gives the names of a service registry their addresses. The policy evaluates each, so that 127.0.0.1 needs a
//! rule with `networks`, or `allow_networks`.
//!
//! `cargo run --example hook_resolver -- conf/pingora.yaml`

use std::net::IpAddr;

use tollgate::hook::{Hook, Outcome, Phases, Request, Resolution};

// A real one asks the registry here, which may take time.
const REGISTRY: [(&str, &str); 2] = [("wiki.svc", "127.0.0.1"), ("old.svc", "10.0.0.9")];

struct Registry;

impl Hook for Registry {
    type State = ();

    fn phases(&self) -> Phases {
        Phases::RESOLVE
    }

    async fn resolve(&self, request: &Request<'_>, (): &mut ()) -> Outcome<Resolution> {
        let host = request.host().unwrap_or_default();
        let Some((_, address)) = REGISTRY.iter().find(|(name, _)| *name == host) else {
            return Ok(Resolution::Default); // the name servers know
        };
        Ok(Resolution::Addresses(vec![address.parse::<IpAddr>()?]))
    }
}

fn main() -> anyhow::Result<()> {
    let file = std::env::args().nth(1).unwrap_or_default();
    let proxy = tollgate::Proxy::builder().config_file(file)?;
    proxy.hook(Registry).build().run()
}
