//! The proxy in the process of the test, with a hook.

use std::net::SocketAddr;

use serde_json::Value;
use tollgate::hook::Hook;

use super::client::Wire;
use super::eventually;
use super::message::Response;
use super::request::{ALICE, sha_line};

/// A proxy in this process, with one hook.
pub(crate) struct Embedded {
    directory: tempfile::TempDir,
    pub(crate) running: tollgate::Running,
}

impl Embedded {
    pub(crate) fn start(more: &str, hook: impl Hook) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let users = directory.path().join("users.htpasswd");
        std::fs::write(users, sha_line(ALICE)).unwrap();
        let text = format!(
            "version: 1\nthreads: 1\ntollgate:\n  listeners: [{{ address: \"127.0.0.1:0\", socks5: also }}]\n  \
             auth: {{ htpasswd: users.htpasswd }}\n  egress: {{ connect_ports: any, allow_networks: [127.0.0.0/8] }}\n  \
             log: {{ access: access.log }}\n{more}"
        );
        let proxy = tollgate::Proxy::builder().config_text(&text, directory.path());
        let running = proxy.unwrap().hook(hook).build().start().unwrap();
        Self { directory, running }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.addresses()[0]
    }

    pub(crate) fn exchange(&self, request: impl AsRef<[u8]>) -> Response {
        Wire::connect(self.address()).unwrap().exchange(request)
    }

    /// The record of the only request.
    pub(crate) fn record(&self) -> Value {
        self.record_with(|_| true)
    }

    /// The first such record.
    pub(crate) fn record_with(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let path = self.directory.path().join("access.log");
        eventually("a record", || {
            let text = std::fs::read_to_string(&path).ok()?;
            let records = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            records.into_iter().find(|record| wanted(record))
        })
    }
}
