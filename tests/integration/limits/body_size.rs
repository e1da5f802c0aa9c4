//! `limits.request_body`: the largest body that a request may have.

use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::{ALICE, request, request_of};

#[test]
fn body_up_to_the_limit_passes_and_a_longer_one_is_413() {
    let proxy = Proxy::start("limits: { request_body: 8B }");
    let origin = Origin::http(|request| ok(&request.body));
    let post = |length: usize| {
        let fields = format!("Content-Length: {length}\r\n");
        request("POST", &origin, &fields, &"b".repeat(length))
    };
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(post(8)).text(), "bbbbbbbb");
    let answer = wire.exchange(post(9));
    assert_eq!(answer.status(), 413);
    // It was read, so the connection goes on.
    assert_eq!(wire.exchange(post(8)).text(), "bbbbbbbb");
    assert_eq!(origin.requests().len(), 2);
    // The gateway has the same limit.
    let mut upload = request_of(ALICE, "POST", "/");
    upload.truncate(upload.len() - 2);
    let upload = format!("{upload}Content-Length: 9\r\n\r\nbbbbbbbbb");
    assert_eq!(proxy.exchange(upload).status(), 413);
}

#[test]
fn chunked_body_is_cut_at_the_limit() {
    let proxy = Proxy::start("limits: { request_body: 8B }");
    let origin = Origin::http(|request| ok(&request.body));
    let chunked = |body: &str| request("POST", &origin, "Transfer-Encoding: chunked\r\n", body);
    let whole = chunked("4\r\nbody\r\n4\r\nbody\r\n0\r\n\r\n");
    assert_eq!(proxy.exchange(whole).text(), "bodybody");
    let long = chunked("4\r\nbody\r\n5\r\nbody!\r\n0\r\n\r\n");
    assert_eq!(proxy.exchange(long).status(), 413);
    assert_eq!(origin.requests().len(), 1, "none that looks whole");
}
