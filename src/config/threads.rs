//! What the settings of Pingora's server mean for the connections of Tollgate.

use std::net::IpAddr;

use super::Config;

impl Config {
    /// How many threads serve clients and share nothing; 1 where threads share their work.
    #[must_use]
    pub fn threads_apart(&self) -> usize {
        if self.server.work_stealing {
            1
        } else {
            self.server.threads
        }
    }

    /// The source addresses of connections to servers.
    #[must_use]
    pub fn sources(&self) -> Vec<IpAddr> {
        let lists = [
            &self.server.client_bind_to_ipv4,
            &self.server.client_bind_to_ipv6,
        ];
        // Each is an address: that was checked.
        let texts = lists.into_iter().flatten();
        texts.filter_map(|text| text.parse().ok()).collect()
    }
}
