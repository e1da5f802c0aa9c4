//! Resumption of TLS sessions (RFC 8446 §2.2): without a full handshake, clients come back for less.

use std::sync::{Arc, LazyLock};

use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};

/// Sessions that are kept for clients without tickets.
const MAX_SESSIONS: usize = 4096;

/// Sessions that a listener with certificates of clients keeps. Each has the chain of its client.
const MAX_CLIENT_SESSIONS: usize = 1024;

/// What the listeners without certificates of clients share, so that a session of one is resumed at another. It
/// outlives reloads: nothing that a session was given depends on the certificate of the listener.
struct Shared {
    /// The keys are new after six hours, and the former ones are accepted for as long. None without random numbers.
    tickets: Option<Arc<dyn ProducesTickets>>,
    kept: Arc<dyn StoresServerSessions>,
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| Shared {
    tickets: Ticketer::new().ok(),
    kept: ServerSessionMemoryCache::new(MAX_SESSIONS),
});

/// Sessions of a listener that asks for no certificates.
pub(super) fn share(config: &mut ServerConfig) {
    if let Some(tickets) = &SHARED.tickets {
        config.ticketer = Arc::clone(tickets);
    }
    config.session_storage = Arc::clone(&SHARED.kept);
}

/// Sessions of a listener that asks clients for certificates: kept here for this generation of its settings alone, so
/// that none outlives a change of authorities or revocation lists. No tickets: each would carry the client's whole
/// chain, and none can be taken back.
pub(super) fn keep_for_generation(config: &mut ServerConfig) {
    config.session_storage = ServerSessionMemoryCache::new(MAX_CLIENT_SESSIONS);
}
