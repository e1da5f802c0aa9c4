//! Denies uploads of archives, with a reason that the client can read.
//!
//! `cargo run --example hook_denial -- conf/pingora.yaml`

use tollgate::hook::{Denial, Flow, Hook, Outcome, Phases, Request};

struct NoArchives;

impl Hook for NoArchives {
    type State = ();

    fn phases(&self) -> Phases {
        Phases::AUTHORIZE
    }

    fn authorize(&self, request: &mut Request<'_>, (): &mut ()) -> Outcome {
        let is_upload = matches!(request.method(), "PUT" | "POST");
        if is_upload && request.field("content-type").as_deref() == Some("application/zip") {
            let denial = Denial::new().with_status(451)?;
            return Ok(Flow::Deny(
                denial.with_message("archives stay here; ask it@corp.example"),
            ));
        }
        Ok(Flow::Go)
    }
}

fn main() -> anyhow::Result<()> {
    let file = std::env::args().nth(1).unwrap_or_default();
    let proxy = tollgate::Proxy::builder().config_file(file)?;
    proxy.hook(NoArchives).build().run()
}
