//! The limit on file descriptors of the process, and the number that its configuration may need.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Descriptors beside the connections of clients and upstreams: logs, listeners, name servers, pipes of
/// tunnels, the admin service.
const BESIDES: u64 = 512;

/// Raises the soft limit on open files to the hard one: the soft one is often 1,024, for programs
/// that use select(2), which this one does not. Warns when the hard one is below what `config` may need.
///
/// To be called before threads and daemons start, which inherit it.
pub fn raise_limit(config: &Config) {
    match raised() {
        Ok(None) => {}
        Ok(Some(limit)) => {
            if let Some(warning) = shortage(limit, config) {
                log::warn!("{warning}");
            }
        }
        Err(error) => log::warn!("the limit on open files cannot be raised: {error}"),
    }
}

/// The new limit; `None` means unlimited.
fn raised() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(limit.current);
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised)?;
    log::debug!(
        "limit on open files: {:?} in place of {:?}",
        limit.maximum,
        limit.current
    );
    Ok(limit.maximum)
}

fn shortage(limit: u64, config: &Config) -> Option<String> {
    let connections = config.limits.max_connections as u64;
    let idle = (config.server.threads * config.server.upstream_keepalive_pool_size) as u64;
    let needed = needed(connections, idle);
    if limit >= needed {
        return None;
    }
    let remedy = match limit.saturating_sub(needed - 2 * connections) / 2 {
        0 => String::new(),
        fitting => format!(", or lower tollgate.limits.max_connections to {fitting}"),
    };
    Some(format!(
        "this process may open {limit} files, and tollgate.limits.max_connections: {connections} may need \
         {needed} (two for each connection, {idle} for idle upstream connections, {BESIDES} for everything else): raise the hard \
         limit with LimitNOFILE={needed} in the systemd unit, or `ulimit -Hn {needed}` as root{remedy}"
    ))
}

/// Two descriptors for each connection, the idle upstream connections, and the rest.
fn needed(connections: u64, idle: u64) -> u64 {
    connections
        .saturating_mul(2)
        .saturating_add(idle)
        .saturating_add(BESIDES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_that_the_limits_need() {
        assert_eq!(needed(65_536, 2048), 133_632);
        assert_eq!(needed(u64::MAX, 1), u64::MAX);
    }
}
