//! Connections to upstreams: how they are made, kept and found again.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{GET, Harness, Options, Own};
use crate::support::origin::Origin;

/// Connects to an address of its own, or not at all.
#[derive(Debug)]
struct Dial(Option<SocketAddr>);

#[async_trait]
impl Connect for Dial {
    async fn connect(&self, _: &PingoraAddr) -> Result<Stream> {
        match self.0 {
            Some(address) => Ok(Stream::from(TcpStream::connect(address).await.unwrap())),
            None => Err(Error::because(ErrorType::Custom("ours"), "", Own)),
        }
    }
}

fn peer(address: SocketAddr) -> Box<HttpPeer> {
    Box::new(HttpPeer::new(address, false, String::new()))
}

/// Serves a request; whether its upstream connection was used before, and where that goes.
fn ask(harness: &Harness) -> (bool, SocketAddr) {
    let mut client = harness.serve(GET);
    assert_eq!(client.wire.response("GET").unwrap().status(), 200);
    // The connection is in the pool when Pingora is done.
    client.is_reusable();
    harness.connected()
}

/// TCP that Pingora takes for something else.
#[derive(Debug)]
struct Virtual(TcpStream);

impl VirtualSocket for Virtual {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Virtual {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Virtual {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

/// Connects to an address, by a stream without a descriptor.
#[derive(Debug)]
struct VirtualDial(SocketAddr);

#[async_trait]
impl Connect for VirtualDial {
    async fn connect(&self, _: &PingoraAddr) -> Result<Stream> {
        let socket = Virtual(TcpStream::connect(self.0).await.unwrap());
        Ok(Stream::from(VirtualSocketStream::new(Box::new(socket))))
    }
}

/// `request::forward::peer` leaves TLS to Pingora: a stream of our own would be used for one request.
#[test]
fn connection_without_a_descriptor_is_not_used_again() {
    let origin = Origin::ok("in");
    let address = origin.address;
    let harness = Harness::with(Options::default(), move |_| {
        let mut peer = peer(address);
        peer.options.custom_l4 = Some(Arc::new(VirtualDial(address)));
        Ok(peer)
    });
    for _ in 0..3 {
        let mut client = harness.serve(GET);
        assert_eq!(client.wire.response("GET").unwrap().status(), 200);
        client.is_reusable();
    }
    assert_eq!(origin.connections(), 3);
}

/// `request::forward::peer` keeps apart what may not share connections: roles, threads, clients with NTLM.
#[test]
fn connections_are_shared_within_a_group_alone() {
    let origin = Origin::ok("in");
    let address = origin.address;
    let groups = [1, 1, 2, 2, 1];
    let harness = Harness::with(Options::default(), move |number| {
        let mut peer = peer(address);
        peer.group_key = groups[number];
        Ok(peer)
    });
    let reused = groups.map(|_| ask(&harness).0);
    assert_eq!(reused, [false, true, false, true, true]);
    assert_eq!(origin.connections(), 2);
}

/// `request::forward::peer` names the first address, whichever is dialled: a connection to another one must not be
/// used for the first.
#[test]
fn connection_to_another_address_than_the_peers_is_thrown_away() {
    let (named, dialled) = (Origin::ok("in"), Origin::ok("in"));
    let (first, second) = (named.address, dialled.address);
    let harness = Harness::with(Options::default(), move |number| {
        let mut peer = peer(first);
        // The last dials the address that it names.
        let address = if number < 2 { second } else { first };
        peer.options.custom_l4 = Some(Arc::new(Dial(Some(address))));
        Ok(peer)
    });
    // `request::forward` asks the socket for its peer.
    assert_eq!(ask(&harness), (false, second));
    assert_eq!(ask(&harness), (false, second));
    assert_eq!(ask(&harness), (false, first));
    assert_eq!(ask(&harness), (true, first));
}

/// `request::forward::peer` reports as a cause why no address could be reached.
#[test]
fn error_of_a_dial_of_ours_keeps_its_cause() {
    let harness = Harness::with(Options::default(), |_| {
        let mut peer = peer(([127, 0, 0, 1], 1).into());
        peer.options.custom_l4 = Some(Arc::new(Dial(None)));
        Ok(peer)
    });
    let _client = harness.serve(GET);
    assert!(harness.failure().is_own);
}

/// `request::forward::peer` passes `timeouts.upstream_keep_alive` on as the idle time-out.
#[test]
fn idle_connection_is_closed_after_its_time() {
    let origin = Origin::ok("in");
    let address = origin.address;
    let harness = Harness::with(Options::default(), move |_| {
        let mut peer = peer(address);
        peer.options.idle_timeout = Some(Duration::from_millis(100));
        Ok(peer)
    });
    assert!(!ask(&harness).0);
    origin.wait_all_closed();
    assert!(!ask(&harness).0);
}

/// A kept connection that the upstream has closed is no failure of the next request.
#[test]
fn kept_connection_that_the_upstream_has_closed_is_not_used() {
    let origin = Origin::raw(|mut wire, _| {
        wire.request()?;
        wire.send(crate::support::message::ok("in"))
    });
    let harness = Harness::to(origin.address);
    assert!(!ask(&harness).0);
    origin.wait_all_closed();
    assert!(!ask(&harness).0);
}
