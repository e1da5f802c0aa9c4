//! What an origin has said reaches the client while the origin is still at it.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use crate::support::DEADLINE;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::fetch;

/// Says `first`, and `then` when it is told to.
fn pausing_origin(first: &'static str, then: &'static str) -> (Origin, Sender<()>) {
    let (go_on, told) = channel();
    let told = Mutex::new(told);
    let origin = Origin::raw(move |mut wire, _| {
        wire.request()?;
        wire.send(first)?;
        let waited = told.lock().unwrap().recv_timeout(DEADLINE);
        waited.map_err(std::io::Error::other)?;
        wire.send(then)
    });
    (origin, go_on)
}

/// A part of an answer is not kept back until the rest is there, however it is framed.
#[test]
fn half_an_answer_is_passed_on_before_the_other_half() {
    let proxy = Proxy::plain();
    for (head, first, then) in [
        ("Content-Length: 8\r\n\r\n", "half", "half"),
        ("Content-Length: 8\r\n\r\n", "", "halfhalf"),
        (
            "Transfer-Encoding: chunked\r\n\r\n",
            "4\r\nhalf\r\n",
            "4\r\nhalf\r\n0\r\n\r\n",
        ),
        ("Connection: close\r\n\r\n", "half", "half"),
    ] {
        let said = format!("HTTP/1.1 200 OK\r\n{head}{first}").leak();
        let (origin, go_on) = pausing_origin(said, then);
        let mut wire = proxy.connect();
        // Sooner than the origin gives up.
        wire.set_deadline(DEADLINE / 3);
        wire.send(fetch(&format!("http://{}/", origin.address)))
            .unwrap();
        let answer = wire
            .read_head()
            .unwrap_or_else(|error| panic!("{head:?} {first:?}: {error}"))
            .unwrap();
        if !first.is_empty() {
            wire.read_until(b"half").unwrap();
        }
        go_on.send(()).unwrap();
        assert_eq!(answer.status(), 200, "{head:?}");
        wire.read_until(b"half").unwrap();
    }
}
