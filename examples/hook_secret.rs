//! Writes a token into requests to one API, over TLS alone: agents use it and never have it.
//!
//! `API_TOKEN=... cargo run --example hook_secret -- conf/pingora.yaml`

use anyhow::Context;
use tollgate::hook::{Flow, Hook, Outcome, Phases, Request};

struct ApiToken(String);

impl Hook for ApiToken {
    type State = ();

    fn phases(&self) -> Phases {
        Phases::UPSTREAM_REQUEST
    }

    fn upstream_request(&self, request: &mut Request<'_>, (): &mut ()) -> Outcome {
        let is_api = request.scheme() == "https" && request.host_under("api.corp.example");
        // A response to TRACE would have the token.
        if is_api && request.in_group("agents") && request.method() != "TRACE" {
            request.remove_field("cookie")?;
            request.set_secret_field("authorization", &format!("Bearer {}", self.0))?;
        }
        Ok(Flow::Go)
    }
}

fn main() -> anyhow::Result<()> {
    let token = std::env::var("API_TOKEN").context("API_TOKEN is not set")?;
    let file = std::env::args().nth(1).unwrap_or_default();
    let proxy = tollgate::Proxy::builder().config_file(file)?;
    proxy.hook(ApiToken(token)).build().run()
}
