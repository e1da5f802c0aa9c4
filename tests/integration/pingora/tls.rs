//! TLS to upstreams: what is verified, and how a failed handshake is told.

use std::net::SocketAddr;

use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{ErrorSource, ErrorType};

use super::{Event, Failure, GET, Harness, Options};
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::tls::{Authority, Identity};

fn secure(identity: &Identity) -> Origin {
    Origin::https(identity.server(), |_| ok("in"))
}

/// Trusts `authority` alone. The file has to be there while connections are made.
fn trusting(authority: &Authority) -> (ServerConf, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    let conf = ServerConf {
        ca_file: Some(path.to_str().unwrap().to_owned()),
        ..ServerConf::default()
    };
    (conf, directory)
}

/// The outcome of a GET: `None` when it was served.
fn ask(authority: &Authority, address: SocketAddr, name: &str, verify: bool) -> Option<Failure> {
    let (conf, _directory) = trusting(authority);
    let options = Options {
        conf,
        ..Options::default()
    };
    let name = name.to_owned();
    let harness = Harness::with(options, move |_| {
        let mut peer = Box::new(HttpPeer::new(address, true, name.clone()));
        peer.options.verify_cert = verify;
        Ok(peer)
    });
    let mut client = harness.serve(GET);
    client.is_reusable();
    let failed = |event| match event {
        Event::FailToProxy(failure) => Some(failure),
        _ => None,
    };
    let failure = harness.all().into_iter().find_map(failed);
    if failure.is_none() {
        assert_eq!(client.wire.response("GET").unwrap().text(), "in");
    }
    failure
}

/// `request::forward::peer` gives a name for each target: Pingora turns verification off without one, and no more
/// than the parser of names in rustls refuses the connection.
#[test]
fn empty_name_is_refused() {
    let ours = Authority::new();
    let origin = secure(&ours.issue(&["origin.test"]));
    assert_eq!(ask(&ours, origin.address, "origin.test", true), None);
    let failure = ask(&ours, origin.address, "", true).unwrap();
    assert_eq!(failure.source, ErrorSource::Upstream);
    assert!(origin.requests().len() == 1, "nothing was sent");
}

/// `request::forward::peer` gives an address as the name: it is verified as one.
#[test]
fn address_as_the_name_is_verified() {
    let ours = Authority::new();
    let origin = secure(&ours.issue(&["127.0.0.1"]));
    assert_eq!(ask(&ours, origin.address, "127.0.0.1", true), None);
    assert!(ask(&ours, origin.address, "127.0.0.2", true).is_some());
}

/// `request::forward::verification` verifies after the handshake, by the digest of the certificate. `App` checks that
/// there is one.
#[test]
fn verification_can_be_left_to_the_application() {
    let (ours, other) = (Authority::new(), Authority::of_name("another"));
    let origin = secure(&other.issue(&["origin.test"]));
    assert_eq!(ask(&ours, origin.address, "origin.test", false), None);
}

/// `request::forward::handshake` reads the text of rustls between these words and the name.
#[test]
fn failed_handshake_has_the_text_of_rustls() {
    let (ours, other) = (Authority::new(), Authority::of_name("another"));
    let closing = Origin::raw(|mut wire, _| wire.read_bytes(1).map(drop));
    let origins = [
        (
            secure(&other.issue(&["origin.test"])),
            "invalid peer certificate: UnknownIssuer",
        ),
        (
            secure(&ours.issue(&["another.test"])),
            "invalid peer certificate: certificate not valid for name \"origin.test\"; \
             certificate is only valid for DnsName(\"another.test\")",
        ),
        (
            secure(&ours.issue_with(&["origin.test"], |params| {
                params.not_before = rcgen::date_time_ymd(2000, 1, 1);
                params.not_after = rcgen::date_time_ymd(2001, 1, 1);
            })),
            "invalid peer certificate: certificate expired: verification time ",
        ),
        (
            Origin::raw(|mut wire, _| {
                wire.read_bytes(5)?;
                wire.send("HTTP/1.1 400 Bad Request\r\n\r\n")
            }),
            "received corrupt message of type ",
        ),
        (
            // A fatal alert handshake_failure (RFC 8446 §6).
            Origin::raw(|mut wire, _| {
                wire.read_bytes(5)?;
                wire.send([21, 3, 3, 0, 2, 2, 40])
            }),
            "received fatal alert: HandshakeFailure",
        ),
        (closing, ""),
    ];
    for (origin, text) in origins {
        let failure = ask(&ours, origin.address, "origin.test", true).unwrap();
        assert_eq!(failure.source, ErrorSource::Upstream, "{failure:?}");
        assert_eq!(failure.kind, ErrorType::TLSHandshakeFailure, "{failure:?}");
        let (_, cause) = failure
            .context
            .rsplit_once("tls connect error cause: ")
            .unwrap_or_else(|| panic!("{failure:?}"));
        let (cause, name) = cause.rsplit_once(", SNI: ").unwrap();
        assert_eq!(name, "origin.test");
        assert!(cause.trim_start().starts_with(text), "{cause:?}");
        if text.is_empty() {
            // What `of_rustls` reads of a connection that was closed or reset.
            let is_closed = cause.contains("tls handshake eof") || cause.contains("os error 104");
            assert!(is_closed, "{cause}");
        }
    }
}
