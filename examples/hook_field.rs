//! Tells origins below corp.example the team of the user, and takes away what the client says of it.
//!
//! `cargo run --example hook_field -- conf/pingora.yaml`

use tollgate::hook::{Flow, Hook, Outcome, Phases, Request};

struct TeamField;

impl Hook for TeamField {
    type State = ();

    fn phases(&self) -> Phases {
        Phases::UPSTREAM_REQUEST
    }

    fn upstream_request(&self, request: &mut Request<'_>, (): &mut ()) -> Outcome {
        request.remove_field("x-team")?;
        if request.host_under("corp.example") {
            let team = request.groups().next().unwrap_or("none").to_owned();
            request.set_field("x-team", &team)?;
        }
        Ok(Flow::Go)
    }
}

fn main() -> anyhow::Result<()> {
    let file = std::env::args().nth(1).unwrap_or_default();
    let proxy = tollgate::Proxy::builder().config_file(file)?;
    proxy.hook(TeamField).build().run()
}
