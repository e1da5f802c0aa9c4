//! When Pingora asks for an upstream again.

use std::sync::Mutex;

use pingora_core::server::configuration::ServerConf;

use super::{Event, GET, Harness, Options, plain};
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::port::Port;

fn tries(harness: &Harness) -> usize {
    let is_try = |event: &&Event| **event == Event::UpstreamPeer;
    harness.all().iter().filter(is_try).count()
}

fn options(retry: bool) -> Options {
    Options {
        conf: ServerConf {
            max_retries: 3,
            ..ServerConf::default()
        },
        retry,
        ..Options::default()
    }
}

/// `request::forward` tries the next upstream by `set_retry`; `max_retries` is the number of tries.
#[test]
fn upstream_is_asked_for_as_often_as_max_retries_says() {
    let nobody = Port::reserve();
    for (retry, expected) in [(true, 3), (false, 1)] {
        let harness = Harness::with(options(retry), plain(nobody.address));
        let _client = harness.serve(GET);
        assert_eq!(tries(&harness), expected);
    }
}

/// `request::forward::failure` lets a request with a short body be sent again: Pingora has kept the body.
#[test]
fn short_body_is_sent_again() {
    let second = Mutex::new(false);
    let origin = Origin::raw(move |mut wire, seen| {
        let is_second = std::mem::replace(&mut *second.lock().unwrap(), true);
        wire.request()?.into_iter().for_each(|it| seen.keep(it));
        match is_second {
            true => wire.send(ok("again")),
            false => Ok(()),
        }
    });
    let harness = Harness::with(options(true), plain(origin.address));
    let mut client = harness.serve("PUT / HTTP/1.1\r\nHost: origin\r\nContent-Length: 4\r\n\r\n");
    client.wire.send("body").unwrap();
    assert_eq!(client.wire.response("PUT").unwrap().text(), "again");
    let bodies: Vec<_> = origin.requests().into_iter().map(|it| it.body).collect();
    assert_eq!(bodies, [b"body", b"body"]);
    assert_eq!(tries(&harness), 2);
}

/// `request::forward::failure` looks for its own errors among the causes.
#[test]
fn error_of_ours_keeps_its_cause() {
    let harness = Harness::with(Options::default(), |_| {
        Err(pingora_core::Error::because(
            pingora_core::ErrorType::Custom("ours"),
            "",
            super::Own,
        ))
    });
    let _client = harness.serve(GET);
    assert!(harness.failure().is_own);
}
