//! The phases around HTTP: which connections a hook lets in, and which addresses it gives a name.

use std::net::IpAddr;

use tollgate::hook::{
    Connection, ConnectionFlow, Hook, HookError, Outcome, Phases, Request, Resolution,
};

use crate::support::client::Wire;
use crate::support::embedded::Embedded;
use crate::support::origin::Origin;
use crate::support::request::{connect, fetch};

/// Gives names under `.test` addresses of its own.
struct Names;

impl Hook for Names {
    type State = ();

    fn name(&self) -> &str {
        "names"
    }

    fn phases(&self) -> Phases {
        Phases::RESOLVE
    }

    async fn resolve(&self, request: &Request<'_>, (): &mut ()) -> Outcome<Resolution> {
        // As one that asks a service does.
        tokio::task::yield_now().await;
        let host = request.host().unwrap_or_default();
        let addresses: Vec<IpAddr> = match &*host {
            "here.test" => vec!["127.0.0.1".parse()?],
            "both.test" => vec!["10.0.0.1".parse()?, "127.0.0.1".parse()?],
            "inside.test" => vec!["10.0.0.1".parse()?, "169.254.169.254".parse()?],
            "none.test" => Vec::new(),
            "broken.test" => return Err(HookError::new("the service is down")),
            "panic.test" => panic!("on purpose"),
            _ => return Ok(Resolution::Default),
        };
        Ok(Resolution::Addresses(addresses))
    }
}

#[test]
fn addresses_of_a_hook_are_evaluated_like_those_of_a_name_server() {
    let proxy = Embedded::start("", Names);
    let origin = Origin::ok("in");
    let port = origin.port();
    let status = |host: &str| {
        let answer = proxy.exchange(fetch(&format!("http://{host}:{port}/")));
        answer.status()
    };
    for (host, expected) in [
        ("here.test", 200),
        // A denied address is dropped, and another one is tried.
        ("both.test", 200),
        ("inside.test", 403),
        ("none.test", 500),
        ("broken.test", 500),
        ("panic.test", 500),
        ("localhost", 200),
        ("127.0.0.1", 200),
    ] {
        assert_eq!(status(host), expected, "{host}");
    }
    assert_eq!(origin.requests().len(), 4);
    // One that was connected, by a hook's address.
    let upstream = origin.address.to_string();
    proxy.record_with(|record| record["upstream"] == *upstream && record["status"] == 200);
    assert_eq!(
        proxy
            .exchange(connect(format!("here.test:{port}")))
            .status(),
        200
    );
    assert_eq!(
        proxy
            .exchange(connect(format!("inside.test:{port}")))
            .status(),
        403
    );
}

/// Lets in what does not come from one address.
struct Door;

impl Hook for Door {
    type State = ();

    fn name(&self) -> &str {
        "door"
    }

    fn phases(&self) -> Phases {
        Phases::CONNECTION
    }

    fn connection(&self, connection: &Connection) -> Outcome<ConnectionFlow> {
        assert!(!connection.is_tls() && connection.listener().is_some());
        match connection.client().to_string().as_str() {
            "127.0.0.2" => Ok(ConnectionFlow::Close),
            "127.0.0.3" => Err(HookError::new("no such client")),
            "127.0.0.4" => panic!("on purpose"),
            _ => Ok(ConnectionFlow::Go),
        }
    }
}

#[test]
fn a_hook_closes_a_connection_before_a_byte_is_read() {
    let proxy = Embedded::start("", Door);
    let origin = Origin::ok("in");
    let request = fetch(&format!("http://{}/", origin.address));
    for source in ["127.0.0.2", "127.0.0.3", "127.0.0.4"] {
        let mut wire = Wire::connect_from(source, proxy.address()).unwrap();
        wire.assert_closed();
    }
    let mut wire = Wire::connect_from("127.0.0.5", proxy.address()).unwrap();
    assert_eq!(wire.exchange(request).text(), "in");
}
