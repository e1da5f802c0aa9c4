//! Schemes that authenticate a connection (NTLM, Negotiate): whoever has used one shares the
//! connection to the origin with nobody.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::message::{Request, ok};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::auth;

/// Which clients an origin has seen on each of its connections.
type Users = Arc<Mutex<HashMap<usize, Vec<String>>>>;

/// Keeps connections, and answers each request with the number of its connection.
fn counting_origin() -> (Origin, Users) {
    let users = Users::default();
    let (next, kept) = (AtomicUsize::new(0), Arc::clone(&users));
    let origin = Origin::raw(move |mut wire, seen| {
        let number = next.fetch_add(1, Ordering::SeqCst);
        while let Some(request) = wire.request()? {
            let client = client_of(&request);
            kept.lock().unwrap().entry(number).or_default().push(client);
            seen.keep(request);
            wire.send(ok(number.to_string()))?;
        }
        Ok(())
    });
    (origin, users)
}

fn client_of(request: &Request) -> String {
    let client = request.head.fields.value("x-client");
    client.unwrap_or_default().to_owned()
}

#[derive(Clone, Copy)]
enum Role {
    Forward,
    Gateway,
}

/// One client connection that names itself in each request.
struct Client<'a> {
    name: &'a str,
    wire: Wire,
    start: String,
}

impl<'a> Client<'a> {
    fn new(proxy: &Proxy, role: Role, origin: &Origin, name: &'a str) -> Self {
        let start = match role {
            Role::Forward => format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n", origin.address),
            Role::Gateway => "GET / HTTP/1.1\r\nHost: gate\r\n".to_owned(),
        };
        let wire = proxy.connect();
        Self { name, wire, start }
    }

    /// The origin's connection that a request went over.
    fn ask(&mut self, fields: &str) -> usize {
        let answer = self.wire.exchange(format!(
            "{}{}X-Client: {}\r\n{fields}\r\n",
            self.start,
            auth(),
            self.name
        ));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.text().parse().unwrap()
    }
}

/// Checks one role: the connections of a client that has authenticated one are its own.
fn check(role: Role) {
    for scheme in [
        "NTLM TlRMTVNTUAAB",
        "Negotiate YIIB",
        "nTLM x",
        "negotiate x",
    ] {
        let (origin, users) = counting_origin();
        let proxy = Proxy::start(&format!(
            "gateway: {{ upstreams: [\"{}\"] }}",
            origin.address
        ));
        let client = |name| Client::new(&proxy, role, &origin, name);
        let authorization = format!("Authorization: {scheme}\r\n");

        let (mut anna, mut bert, mut cleo) = (client("anna"), client("bert"), client("cleo"));
        let pooled = [anna.ask(""), bert.ask("")];
        let own = anna.ask(&authorization);
        assert!(!pooled.contains(&own), "{scheme}: fresh for the handshake");
        // All of the handshake, and all that follows without a field, on the same one.
        for fields in [authorization.as_str(), "", ""] {
            assert_ne!(bert.ask(""), own, "{scheme}");
            assert_eq!(anna.ask(fields), own, "{scheme}: it stays together");
        }
        // Another one who authenticates has another one, from her first request on.
        let hers = cleo.ask(&authorization);
        assert_ne!(hers, own, "{scheme}");
        assert_eq!(anna.ask(""), own, "{scheme}");
        assert_eq!(cleo.ask(""), hers, "{scheme}");
        assert_ne!(bert.ask(""), hers, "{scheme}");

        // Also when they are gone.
        drop((anna, cleo));
        eventually("the clients to be gone", || {
            let metrics = proxy.admin("/metrics").text();
            let line = "tollgate_open_connections 1\n";
            metrics.contains(line).then_some(())
        });
        let mut late = client("late");
        for fields in ["", authorization.as_str()] {
            late.ask(fields);
            bert.ask("");
        }

        let users = users.lock().unwrap();
        let distinct = |number| {
            let mut names: Vec<_> = users[&number].clone();
            names.sort();
            names.dedup();
            names
        };
        assert_eq!(distinct(own), ["anna"], "{scheme}");
        assert_eq!(distinct(hers), ["cleo"], "{scheme}");
    }
}

#[test]
fn authenticated_connections_of_forwarding_are_not_shared() {
    check(Role::Forward);
}

#[test]
fn authenticated_connections_of_the_gateway_are_not_shared() {
    check(Role::Gateway);
}

/// Credentials of other schemes are each request's own: they cost no connection.
#[test]
fn other_schemes_leave_connections_shared() {
    let (origin, users) = counting_origin();
    // Clients of two threads may each have their own.
    let proxy = Setup::new().server("threads: 1").start();
    let mut first = Client::new(&proxy, Role::Forward, &origin, "first");
    let mut second = Client::new(&proxy, Role::Forward, &origin, "second");
    for scheme in [
        "Basic b3JpZ2lu",
        "Bearer ntlm",
        "Digest username=\"negotiate\"",
    ] {
        let authorization = format!("Authorization: {scheme}\r\n");
        users.lock().unwrap().clear();
        // An answer may be there before its connection is back in the pool, so there may be
        // two of them; three requests a round do not fall into step with that.
        eventually("one connection for both", || {
            first.ask(&authorization);
            second.ask(&authorization);
            second.ask(&authorization);
            let users = users.lock().unwrap();
            let both = |names: &Vec<String>| {
                ["first", "second"]
                    .iter()
                    .all(|name| names.iter().any(|have| have == name))
            };
            users.values().any(both).then_some(())
        });
    }
}
