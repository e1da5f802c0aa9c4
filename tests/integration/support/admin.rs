//! Requests to the admin service.

use std::net::SocketAddr;

use serde_json::Value;

use super::client::Wire;
use super::message::Response;
use super::proxy::{Proxy, Setup};
use super::request::{basic, sha_line};

/// The user of the admin service, where a test gives it one.
pub(crate) const ROOT: (&str, &str) = ("root", "canary-root-77e1");

/// The field that every change has.
pub(crate) const CHANGE: &str = "Tollgate-Request: 1\r\n";

/// A setup whose admin service has users.
pub(crate) fn with_users() -> Setup {
    given_users(Setup::new())
}

/// The same of another setup.
pub(crate) fn given_users(setup: Setup) -> Setup {
    setup
        .file("admins.htpasswd", sha_line(ROOT))
        .config("admin: { users: admins.htpasswd }")
}

/// The field line of a user.
pub(crate) fn login((user, password): (&str, &str)) -> String {
    format!("Authorization: {}\r\n", basic(user, password))
}

/// A request with these field lines, and with `Host` where it is not among them.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    fields: &str,
    body: &str,
) -> String {
    let host = match fields.to_ascii_lowercase().contains("host:") {
        true => String::new(),
        false => format!("Host: {address}\r\n"),
    };
    let json = match body.is_empty() {
        true => String::new(),
        false => format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        ),
    };
    format!("{method} {target} HTTP/1.1\r\n{host}{fields}{json}\r\n{body}")
}

/// One request on a connection of its own.
pub(crate) fn ask(proxy: &Proxy, method: &str, target: &str, fields: &str, body: &str) -> Response {
    let address = proxy.admin_address();
    let mut wire = Wire::connect(address).unwrap();
    wire.exchange(request(address, method, target, fields, body))
}

/// Root's request on a connection of its own, with the field of a change.
pub(crate) fn root(proxy: &Proxy, method: &str, target: &str, body: &str) -> Response {
    let fields = format!("{}{CHANGE}", login(ROOT));
    ask(proxy, method, target, &fields, body)
}

/// An answer as JSON.
pub(crate) fn json(answer: &Response) -> Value {
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|error| panic!("{error}: {:?}", answer.text()))
}

/// The kind of an error.
pub(crate) fn kind(answer: &Response) -> String {
    let value = json(answer);
    assert!(value["message"].is_string(), "{value}");
    value["error"].as_str().unwrap().to_owned()
}
