//! Candidates to sockets: real listeners on loopback.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::upstream::dial::{Dialed, Sources, connect_any};

const ONE: &str = "127.0.0.1";
const TWO: &str = "127.0.0.2";

/// A listener on a port that is free on the other address too.
async fn listener(on: &str, and: &str) -> (TcpListener, TcpSocket) {
    loop {
        let listener = TcpListener::bind((on, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let other: IpAddr = and.parse().unwrap();
        let reserved = match other {
            IpAddr::V4(_) => TcpSocket::new_v4(),
            IpAddr::V6(_) => TcpSocket::new_v6(),
        }
        .unwrap();
        if reserved.bind((other, port).into()).is_ok() {
            return (listener, reserved);
        }
    }
}

/// Makes a bound socket swallow connections: it listens, and its backlog is full.
/// No connection succeeds while the returned values live.
async fn black_hole(socket: TcpSocket) -> (TcpListener, Vec<TcpStream>) {
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    // Connections are accepted by the kernel until the backlog is full.
    while let Ok(stream) = timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
        queued.push(stream.unwrap());
        assert!(queued.len() < 64, "the backlog is never full");
    }
    (listener, queued)
}

async fn connect(dialer: &Dialer, name: &str, port: u16) -> Result<Dialed, DialError> {
    let authority = authority(name, port);
    timeout(DEADLINE, async {
        let candidates = dialer
            .candidates(&authority, site, &admit_all, &mut None)
            .await?
            .candidates;
        dialer.connect(&candidates).await
    })
    .await
    .expect("the dial ends before the deadline of the test")
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses_and_is_remembered() {
    // A TTL of zero: the memory outlives the answer.
    for ttl in [60, 0] {
        let server = NameServer::saying(Say::Addresses(&[TWO, ONE], ttl)).await;
        let dialer = dialer(&server);
        let (listener, _reserved) = listener(ONE, TWO).await;
        let address = listener.local_addr().unwrap();

        let dialed = connect(&dialer, "www.example", address.port())
            .await
            .unwrap();
        assert_eq!(dialed.address, address);
        assert_eq!(dialed.stream.peer_addr().unwrap(), address);
        assert!(dialed.stream.nodelay().unwrap());

        let authority = authority("www.example", address.port());
        let found = dialer
            .candidates(&authority, site, &admit_all, &mut None)
            .await
            .unwrap();
        let candidates = found.candidates;
        assert_eq!(candidates.first(), address);
        let order: Vec<_> = candidates.iter().map(|it| it.ip().to_string()).collect();
        assert_eq!(order, [ONE, TWO], "every address once");
    }
}

#[tokio::test]
async fn both_families_are_tried_ipv6_first() {
    let server = NameServer::saying(Say::Addresses(&[ONE, "::1"], 60)).await;
    let (v4, reserved) = listener(ONE, "::1").await;
    let address = v4.local_addr().unwrap();
    let dialed = connect(&dialer(&server), "www.example", address.port())
        .await
        .unwrap();
    assert_eq!(dialed.address, address);

    let v6 = reserved.listen(8).unwrap();
    let dialed = connect(&dialer(&server), "www.example", address.port())
        .await
        .unwrap();
    assert_eq!(dialed.address, v6.local_addr().unwrap());
    assert_eq!(dialed.address.ip(), Ipv6Addr::LOCALHOST);
}

#[tokio::test]
async fn silence_costs_a_quarter_of_a_second() {
    let server = NameServer::saying(Say::Addresses(&[TWO, ONE], 60)).await;
    let (listener, reserved) = listener(ONE, TWO).await;
    let _hole = black_hole(reserved).await;
    let address = listener.local_addr().unwrap();
    let begin = Instant::now();
    let dialed = connect(&dialer(&server), "www.example", address.port())
        .await
        .unwrap();
    let took = begin.elapsed();
    assert_eq!(dialed.address, address);
    assert!(took >= Duration::from_millis(240), "{took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn all_attempts_together_are_bounded() {
    let server = NameServer::saying(Say::Addresses(&[TWO, ONE], 60)).await;
    let (listener, reserved) = listener(ONE, TWO).await;
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let one = TcpSocket::new_v4().unwrap();
    one.bind((ONE.parse::<IpAddr>().unwrap(), port).into())
        .unwrap();
    let _holes = (black_hole(reserved).await, black_hole(one).await);

    let limit = Duration::from_millis(700);
    let dialer = Dialer::new(options(&server), Sources::default(), limit);
    let begin = Instant::now();
    let error = connect(&dialer, "www.example", port).await.unwrap_err();
    let took = begin.elapsed();
    assert_eq!(error.kind().name(), "connection_timeout");
    assert!(took >= limit, "{took:?}");
    assert!(took < limit + Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn all_refused_is_refused() {
    let (listener, reserved) = listener(ONE, TWO).await;
    let addresses = [
        listener.local_addr().unwrap(),
        reserved.local_addr().unwrap(),
    ];
    drop((listener, reserved));
    let error = connect_any(addresses, &Sources::default(), DEADLINE)
        .await
        .unwrap_err();
    assert_eq!(error.kind().name(), "connection_refused");
    let error = connect_any([], &Sources::default(), DEADLINE)
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::NoAddress));
}

/// Admits everything but 127.0.0.1, and records the addresses that it evaluates.
struct TestPolicy(Mutex<Vec<IpAddr>>);

impl TestPolicy {
    fn new() -> Self {
        Self(Mutex::default())
    }

    fn admit(&self, address: SocketAddr) -> Result<DecidedBy, Denied> {
        self.0.lock().unwrap().push(address.ip());
        if address.ip().to_string() == ONE {
            Err(denied())
        } else {
            Ok(DecidedBy::Default)
        }
    }

    fn evaluated(&self) -> Vec<String> {
        let evaluated = std::mem::take(&mut *self.0.lock().unwrap());
        evaluated.iter().map(IpAddr::to_string).collect()
    }
}

#[tokio::test]
async fn dns_rebinding_has_no_effect() {
    let rebound = std::sync::Arc::new(AtomicBool::new(false));
    let server = {
        let rebound = std::sync::Arc::clone(&rebound);
        NameServer::start(move |_, _| {
            let address: &[&str] = if rebound.load(Ordering::SeqCst) {
                &[ONE]
            } else {
                &[TWO]
            };
            Say::Addresses(address, 0)
        })
        .await
    };
    let (inside, reserved) = listener(ONE, TWO).await;
    let outside = reserved.listen(8).unwrap();
    let dialer = dialer(&server);
    let policy = TestPolicy::new();
    let admit = |address| policy.admit(address);
    let authority = authority("rebind.example", inside.local_addr().unwrap().port());

    // Evaluated while the name is harmless, dialled later: the evaluated address
    // is dialled.
    let found = dialer
        .candidates(&authority, site, &admit, &mut None)
        .await
        .unwrap();
    let candidates = found.candidates;
    assert_eq!(policy.evaluated(), [TWO]);
    rebound.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let dialed = dialer.connect(&candidates).await.unwrap();
        assert_eq!(dialed.address, outside.local_addr().unwrap());
    }

    // The next request evaluates the new address.
    let error = dialer
        .candidates(&authority, site, &admit, &mut None)
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::Prohibited(_)));
    assert_eq!(policy.evaluated(), [ONE]);
    let none = timeout(Duration::ZERO, inside.accept()).await;
    assert!(none.is_err(), "a connection to a denied address");
}

#[tokio::test]
async fn only_admitted_addresses_of_a_mixed_answer_are_dialled() {
    let server = NameServer::saying(Say::Addresses(&[ONE, TWO, "::1"], 60)).await;
    let (inside, reserved) = listener(ONE, TWO).await;
    let port = inside.local_addr().unwrap().port();
    let dialer = dialer(&server);
    let policy = TestPolicy::new();
    let admit = |address| policy.admit(address);
    let authority = authority("mixed.example", port);

    // The denied address is the only one that would accept.
    drop(reserved);
    let found = dialer
        .candidates(&authority, site, &admit, &mut None)
        .await
        .unwrap();
    let candidates = found.candidates;
    assert_eq!(
        policy.evaluated(),
        ["::1", ONE, TWO],
        "each address is evaluated"
    );
    let order: Vec<_> = candidates.iter().map(|it| it.ip().to_string()).collect();
    assert_eq!(order, ["::1", TWO]);
    let error = dialer.connect(&candidates).await.unwrap_err();
    assert_eq!(error.kind().name(), "connection_refused");

    // Another request may be admitted there, and its success does not move the
    // denied address in front of this one.
    let dialed = connect(&dialer, "mixed.example", port).await.unwrap();
    assert_eq!(dialed.address, inside.local_addr().unwrap());
    policy.evaluated();
    let found = dialer
        .candidates(&authority, site, &admit, &mut None)
        .await
        .unwrap();
    let candidates = found.candidates;
    assert_eq!(policy.evaluated().len(), 3, "evaluated for each request");
    let order: Vec<_> = candidates.iter().map(|it| it.ip().to_string()).collect();
    assert_eq!(order, ["::1", TWO]);
}
