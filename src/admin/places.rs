//! Which connections are served at one time: a client leaves some for the others.

use tokio::sync::Notify;

use crate::access::client::Client;
use crate::access::shares::{Place, SharedPlaces};

/// Connections that are served at one time; 64 of them for one client.
const SERVED: usize = 85;

/// Connections that are served or wait; 192 of them for one client. Further ones are closed.
pub const MAX_CONNECTIONS: usize = 256;

/// What the connections of this service share.
#[derive(Debug)]
pub(super) struct Places {
    served: SharedPlaces,
    open: SharedPlaces,
    freed: Notify,
}

/// The right to be served, until dropped.
#[derive(Debug)]
pub struct Served<'a> {
    // In this order: the place is free when others are told.
    _served: Place,
    _open: Place,
    _freed: Freed<'a>,
}

#[derive(Debug)]
struct Freed<'a>(&'a Notify);

impl Places {
    pub(super) fn new() -> Self {
        Self {
            served: SharedPlaces::new(SERVED),
            open: SharedPlaces::new(MAX_CONNECTIONS),
            freed: Notify::new(),
        }
    }

    /// Waits until a connection of this client is served. None when too many of them wait.
    pub(super) async fn enter(&self, client: Client) -> Option<Served<'_>> {
        let open = self.open.try_take(client)?;
        loop {
            let freed = self.freed.notified();
            if let Some(served) = self.served.try_take(client) {
                return Some(Served {
                    _served: served,
                    _open: open,
                    _freed: Freed(&self.freed),
                });
            }
            freed.await;
        }
    }
}

impl Drop for Freed<'_> {
    fn drop(&mut self) {
        // Some may not take this place, so all are told.
        self.0.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn one_client_waits_and_others_are_served() {
        let places = Places::new();
        let client = |number: u8| Client::site([127, 0, 0, number].into());
        let soon =
            |number| tokio::time::timeout(Duration::from_millis(20), places.enter(client(number)));
        let mut held = Vec::new();
        while let Ok(served) = soon(1).await {
            held.push(served.unwrap());
        }
        assert_eq!(held.len(), 64);
        let other = soon(2).await.unwrap();
        assert!(other.is_some());
        // The more others hold, the less is the share.
        drop(other);
        let (late, ()) = tokio::join!(places.enter(client(1)), async { drop(held.pop()) });
        assert!(late.is_some());
    }
}
