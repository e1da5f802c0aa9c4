//! The reference hook of the benchmark (bench/README.md) in Rust, or without `hook` the same program without it.
//!
//! `reference_hook -c FILE [hook]`

use tollgate::hook::{Denial, Flow, Hook, Outcome, Phases, Request};

struct Reference;

impl Hook for Reference {
    type State = ();

    fn phases(&self) -> Phases {
        Phases::AUTHORIZE
    }

    fn authorize(&self, request: &mut Request<'_>, (): &mut ()) -> Outcome {
        if request
            .field("host")
            .is_some_and(|host| host.ends_with(".corp.example"))
        {
            request.set_field("X-Corp", "yes")?;
        }
        if request.path_under("/admin")? && request.user() != Some("admin") {
            return Ok(Flow::Deny(Denial::new().with_status(403)?));
        }
        if request
            .field("user-agent")
            .is_some_and(|agent| agent.starts_with("curl"))
        {
            request.set_field("X-Client", "curl")?;
        }
        Ok(Flow::Go)
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(2);
    let proxy = tollgate::Proxy::builder().config_file(arguments.next().unwrap_or_default())?;
    match arguments.next() {
        Some(_) => proxy.hook(Reference).build().run(),
        None => proxy.build().run(),
    }
}
