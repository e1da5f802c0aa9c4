//! Cuts a tunnel after 1 MiB from the client.
//!
//! `cargo run --example hook_tunnel -- conf/pingora.yaml`

use tollgate::hook::{Flow, Hook, Outcome, Phases, Traffic, Tunnel, TunnelFlow};

const LIMIT: u64 = 1024 * 1024;

struct UploadLimit;

impl Hook for UploadLimit {
    type State = u64;

    fn phases(&self) -> Phases {
        Phases::TUNNEL_OPEN.and(Phases::TUNNEL_BYTES)
    }

    fn tunnel_open(&self, tunnel: &mut Tunnel<'_>, _: &mut u64) -> Outcome {
        tunnel.report_every(64 * 1024);
        Ok(Flow::Go)
    }

    fn tunnel_bytes(
        &self,
        _: &mut Tunnel<'_>,
        moved: Traffic,
        sent: &mut u64,
    ) -> Outcome<TunnelFlow> {
        *sent += moved.bytes_from_client;
        Ok(TunnelFlow::cut_if(*sent > LIMIT))
    }
}

fn main() -> anyhow::Result<()> {
    let file = std::env::args().nth(1).unwrap_or_default();
    let proxy = tollgate::Proxy::builder().config_file(file)?;
    proxy.hook(UploadLimit).build().run()
}
