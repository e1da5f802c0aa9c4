//! What `tollgate check` tries over the network: name servers and the authoriser. A failure is only a warning, since the
//! server may be up when the program starts; neither a start nor a reload tries it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::request::app;
use crate::upstream::dial;

/// How long a service has to accept a connection.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Warns of each that does not answer. How many there are.
pub(super) fn warn(conf: &Path, config: &Config) -> usize {
    warn_of_name_servers(conf, config) + warn_of_authorizer(conf, config)
}

/// Probes the name servers of the configuration, not those of the system.
fn warn_of_name_servers(conf: &Path, config: &Config) -> usize {
    let conf = conf.display();
    let servers = &config.dns.servers;
    let found = dial::unanswering(servers).unwrap_or_default();
    for (number, trouble) in &found {
        let address = servers.get(*number).map(ToString::to_string);
        eprintln!(
            "{conf}: warning: tollgate.dns.servers[{number}]: the name server {} {trouble}; \
             correct the address, start the server, or let this host reach it over UDP and TCP",
            address.unwrap_or_default(),
        );
    }
    found.len()
}

/// Connects to the authoriser, and asks nothing.
fn warn_of_authorizer(conf: &Path, config: &Config) -> usize {
    let Some(external) = &config.auth.external else {
        return 0;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    // Without one there is nothing to say of the service.
    let Ok(runtime) = runtime else { return 0 };
    let fetcher = app::fetcher(config, Arc::new(app::dialer(config)));
    match runtime.block_on(fetcher.try_connect(&external.url, TIMEOUT)) {
        Ok(()) => 0,
        Err(error) => {
            let (conf, authority) = (conf.display(), &external.url.authority);
            let why = anyhow::Error::from(error);
            eprintln!("{conf}: warning: tollgate.auth.external.url: {authority}: {why:#}");
            1
        }
    }
}
