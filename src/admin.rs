//! The admin service: what the process does and did, for people and programs, and what they change in it.
//!
//! [`routes`] has all that it serves, `door` decides who comes in, `visit` is one connection. It knows no client of the
//! proxy: what it shows comes from the parts that it is made of.

mod answer;
mod api;
pub mod certificates;
mod client;
mod connection;
mod door;
mod events;
mod measures;
#[cfg(test)]
mod openapi;
mod page;
mod places;
mod problem;
mod quotas;
pub mod reload;
mod routes;
mod visit;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::ServerApp as _;
use pingora_core::server::ShutdownWatch;

pub use self::api::explain::{Explain, Question};
use self::api::status::ListenerRow;
pub use self::client::{
    Ask, AskError, Changes, ReloadAnswer, Reply, Service, ServiceError, Stream, Trust, reload,
};
use self::connection::Connection;
use self::door::{Door, Visitor};
use self::events::Events;
pub use self::places::MAX_CONNECTIONS;
use self::places::{Places, Served};
use self::visit::Visit;
use crate::access::auth::EntropyError;
use crate::access::client::Client;
use crate::admin::reload::Reload;
use crate::client::{self as clients, ClientCertificate};
use crate::config::{Config, ListenerTls};
use crate::request::app::App;

/// How long an answer may go on that has begun when the process drains.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// The service.
pub struct Admin {
    app: Arc<App>,
    reload: Arc<Reload>,
    explain: Arc<dyn Explain>,
    door: Door,
    tls: Option<Arc<ListenerTls>>,
    places: Places,
    events: Arc<Events>,
    /// Where the process listens.
    listeners: Vec<ListenerRow>,
}

impl Admin {
    /// The service for these parts, as `config` describes it.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(
        app: Arc<App>,
        reload: Arc<Reload>,
        explain: Arc<dyn Explain>,
        config: &Config,
    ) -> Result<Arc<Self>, EntropyError> {
        let door = Door::new(config, &app.telemetry)?;
        if let Some(operators) = door.operators() {
            reload.set_operators(Arc::clone(operators));
        }
        let admin = config.admin.as_ref();
        Ok(Arc::new(Self {
            door,
            tls: admin.and_then(|admin| admin.tls.clone()),
            places: Places::new(),
            listeners: api::status::listeners(config),
            events: Events::new(Arc::clone(&app)),
            app,
            reload,
            explain,
        }))
    }

    /// What TLS is served with; none for a plain service.
    pub fn tls(&self) -> Option<&Arc<ListenerTls>> {
        self.tls.as_ref()
    }

    /// Waits for the turn of a connection from this address. None when too many of its client wait.
    pub async fn enter(&self, peer: SocketAddr) -> Option<Served<'_>> {
        self.places.enter(Client::site(peer.ip())).await
    }

    /// Serves one connection.
    pub async fn serve(
        self: &Arc<Self>,
        connection: clients::Connection,
        peer: SocketAddr,
        certificate: Option<Arc<ClientCertificate>>,
        draining: ShutdownWatch,
    ) {
        let visit = Arc::new(Visit {
            admin: Arc::clone(self),
            visitor: Visitor {
                address: peer,
                certificate,
            },
        });
        let mut stopped = draining.clone();
        let stream = Box::new(Connection::new(connection));
        tokio::select! {
            _ = visit.process_new(stream, &draining) => {}
            () = async {
                // The sender lives as long as the process.
                drop(stopped.wait_for(|draining| *draining).await);
                tokio::time::sleep(DRAIN_TIME).await;
            } => {}
        }
    }
}
