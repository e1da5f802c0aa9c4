//! The load balancer: it calls health checks of ours.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use async_trait::async_trait;
use pingora::lb::health_check::HealthCheck;
use pingora::lb::selection::RoundRobin;
use pingora::lb::{Backend, LoadBalancer};
use pingora_core::{Error, ErrorType, Result};

/// Fails for the backend with port 2, and tells of changes.
struct Check(Mutex<Sender<(String, bool)>>);

#[async_trait]
impl HealthCheck for Check {
    async fn check(&self, backend: &Backend) -> Result<()> {
        let address = backend.addr.as_inet().unwrap();
        match address.port() {
            2 => Error::e_explain(ErrorType::ConnectError, "down"),
            _ => Ok(()),
        }
    }

    async fn health_status_change(&self, backend: &Backend, healthy: bool) {
        let changed = (backend.addr.to_string(), healthy);
        self.0.lock().unwrap().send(changed).unwrap();
    }

    fn health_threshold(&self, _: bool) -> usize {
        1
    }
}

/// `upstream::pool` keeps what `health_status_change` says of each upstream. At first, all are up.
#[tokio::test]
async fn health_check_of_ours_hears_of_each_change_once() {
    let (tell, told) = channel();
    let mut balancer =
        LoadBalancer::<RoundRobin>::try_from_iter(["127.0.0.1:1", "127.0.0.1:2"]).unwrap();
    balancer.set_health_check(Box::new(Check(Mutex::new(tell))));
    for _ in 0..2 {
        balancer.backends().run_health_check(true).await;
    }
    drop(balancer);
    let changes: Vec<_> = told.iter().collect();
    assert_eq!(changes, [("127.0.0.1:2".to_owned(), false)]);
}
