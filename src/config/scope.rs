//! What the configuration is read for.

use std::net::SocketAddr;

/// What a file is read for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope<'a> {
    /// To start. Ports are not tried: they will be bound.
    Start,
    /// To start as a part of another program, which may want a free port.
    Embedded,
    /// To say whether a start would succeed.
    Check,
    /// To explain what the policy decides, right or wrong: without running its tests.
    Explain,
    /// For a running process, which is exposed when one of its listeners is not loopback.
    /// Where it listens is not what the file may say by now.
    Reload {
        exposed: bool,
        listening: &'a [SocketAddr],
        /// A listener of the process that believes every PROXY header.
        credulous: Option<SocketAddr>,
        /// The listeners of the process that have TLS.
        secure: &'a [SocketAddr],
        /// Whether the admin service of the process has users.
        has_admin_users: bool,
        is_embedded: bool,
    },
}

impl Scope<'_> {
    /// Whether it is for a part of another program, whose hooks may know users and groups that no file has.
    pub(super) fn is_embedded(self) -> bool {
        match self {
            Scope::Embedded => true,
            Scope::Reload { is_embedded, .. } => is_embedded,
            Scope::Start | Scope::Check | Scope::Explain => false,
        }
    }
}
