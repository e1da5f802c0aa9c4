//! Adds the client's job, as it names it, to each line of the log, and counts failed ones by host.
//!
//! `cargo run --example hook_log -- conf/pingora.yaml`

use tollgate::hook::{Hook, Outcome, Phases, Request};

struct JobTags;

impl Hook for JobTags {
    type State = ();

    fn phases(&self) -> Phases {
        Phases::LOG
    }

    fn log(&self, request: &mut Request<'_>, status: Option<u16>, (): &mut ()) -> Outcome<()> {
        if let Some(job) = request.field("x-ci-job").map(|job| job.into_owned()) {
            request.tag("job", &job)?;
        }
        if status.is_none_or(|status| status >= 500) {
            let host = request.host().unwrap_or_default().into_owned();
            request.count("failed", &host)?;
        }
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let file = std::env::args().nth(1).unwrap_or_default();
    let proxy = tollgate::Proxy::builder().config_file(file)?;
    proxy.hook(JobTags).build().run()
}
