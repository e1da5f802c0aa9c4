//! Sends requests to the gateway below /api of users in the group `beta` to the pool `beta`.
//!
//! `cargo run --example hook_pool -- FILE`, where FILE has `gateway.pools` with that name.

use tollgate::hook::{Flow, Hook, Outcome, Phases, Request, Role};

struct BetaPool;

impl Hook for BetaPool {
    type State = ();

    fn phases(&self) -> Phases {
        Phases::ROUTE
    }

    fn route(&self, request: &mut Request<'_>, (): &mut ()) -> Outcome {
        let is_gateway = request.role() == Role::Gateway;
        if is_gateway && request.in_group("beta") && request.path_under("/api")? {
            request.use_pool("beta")?;
        }
        Ok(Flow::Go)
    }
}

fn main() -> anyhow::Result<()> {
    let file = std::env::args().nth(1).unwrap_or_default();
    let proxy = tollgate::Proxy::builder().config_file(file)?;
    proxy.hook(BetaPool).build().run()
}
