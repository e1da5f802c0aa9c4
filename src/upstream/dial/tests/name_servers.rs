//! Name servers that are dead, slow, old or broken, alone and among others.

use std::net::UdpSocket;
use std::time::Instant;

use hickory_proto::op::ResponseCode;

use super::*;

/// More than a look-up takes that waits for no silent server, and far less than one that does.
const SOON: Duration = Duration::from_secs(4);

fn found() -> Say {
    Say::Addresses(&["192.0.2.1"], 60)
}

fn dialer_of(servers: &[&NameServer]) -> Dialer {
    dialer_at(servers.iter().map(|server| server.address).collect())
}

/// With ten seconds for a look-up.
fn dialer_at(servers: Vec<SocketAddr>) -> Dialer {
    let options = DnsOptions {
        servers,
        timeout: Duration::from_secs(10),
        hosts_file: "/nonexistent/hosts".into(),
        ..DnsOptions::default()
    };
    Dialer::new(options, Sources::default(), Duration::from_secs(10))
}

/// An address where nothing listens.
fn closed() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// The whole error, as the log has it.
async fn failure(dialer: &Dialer, name: &str) -> String {
    let error = candidates(dialer, name, &admit_all).await.unwrap_err();
    crate::http::error::RequestError::from(error).chain()
}

#[tokio::test]
async fn a_server_without_edns_is_queried_without_it_from_then_on() {
    let ways = [
        Say::Code(ResponseCode::FormErr, None),
        Say::Bare(ResponseCode::FormErr),
        Say::Bare(ResponseCode::NotImp),
        Say::Code(ResponseCode::ServFail, None),
        Say::Code(ResponseCode::Refused, None),
        Say::BadVersion,
        Say::Garbage,
        Say::Silence,
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let server = NameServer::saying(Say::WithoutEdns(Box::new(way), Box::new(found()))).await;
        let dialer = dialer_of(&[&server]);
        let begin = Instant::now();
        let addresses = Ok(vec!["192.0.2.1".to_owned()]);
        assert_eq!(resolved(&dialer, "a.example").await, addresses, "{number}");
        assert!(begin.elapsed() < SOON, "{number}: {:?}", begin.elapsed());
        // Two questions, for both families, and each was asked with EDNS first.
        assert!(server.questions().len() >= 4, "{number}");
        let before = server.questions().len();
        assert_eq!(resolved(&dialer, "b.example").await, addresses, "{number}");
        assert_eq!(server.questions().len(), before + 2, "{number}");
    }
}

#[tokio::test]
async fn an_error_of_a_server_with_edns_does_not_disable_edns() {
    let server = NameServer::start(|name, _| match name {
        "good.example." => found(),
        _ => Say::Code(ResponseCode::ServFail, None),
    })
    .await;
    let dialer = dialer_of(&[&server]);
    assert!(resolved(&dialer, "good.example").await.is_ok());
    let before = server.questions().len();
    assert_eq!(resolved(&dialer, "bad.example").await, Err("dns_error"));
    assert_eq!(server.questions().len(), before + 2);
}

#[tokio::test]
async fn another_server_answers_for_one_that_does_not() {
    let troubles = [
        Say::Silence,
        Say::Code(ResponseCode::ServFail, None),
        Say::Code(ResponseCode::Refused, None),
        Say::Code(ResponseCode::NotImp, None),
        Say::Bare(ResponseCode::FormErr),
        Say::Referral,
        Say::Garbage,
    ];
    for (number, trouble) in troubles.into_iter().enumerate() {
        let bad = NameServer::saying(trouble).await;
        let good = NameServer::saying(found()).await;
        for servers in [[&bad, &good], [&good, &bad]] {
            let dialer = dialer_of(&servers);
            let begin = Instant::now();
            let addresses = Ok(vec!["192.0.2.1".to_owned()]);
            assert_eq!(resolved(&dialer, "a.example").await, addresses, "{number}");
            assert!(begin.elapsed() < SOON, "{number}: {:?}", begin.elapsed());
        }
    }
}

#[tokio::test]
async fn dead_servers_are_found_out_once() {
    let silent = NameServer::saying(Say::Silence).await;
    let good = NameServer::saying(found()).await;
    let servers = vec![silent.address, closed(), silent.address, good.address];
    let dialer = dialer_at(servers);
    assert!(resolved(&dialer, "first.example").await.is_ok());
    let asked = silent.questions().len();
    assert!(asked > 0);
    let begin = Instant::now();
    for number in 0..100 {
        assert!(
            resolved(&dialer, &format!("{number}.example"))
                .await
                .is_ok()
        );
    }
    // One quarter of a second for each would be 25.
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert_eq!(silent.questions().len(), asked);
}

#[tokio::test]
async fn a_server_that_comes_back_is_asked_again() {
    let first = NameServer::saying(Say::Addresses(&["192.0.2.1"], 0)).await;
    let second = NameServer::saying(Say::Addresses(&["192.0.2.2"], 0)).await;
    let dialer = dialer_of(&[&first, &second]);
    first.hold(true);
    let of_second = Ok(vec!["192.0.2.2".to_owned()]);
    assert_eq!(resolved(&dialer, "a.example").await, of_second);
    assert_eq!(resolved(&dialer, "b.example").await, of_second);
    first.hold(false);
    let begin = Instant::now();
    while resolved(&dialer, "c.example").await != Ok(vec!["192.0.2.1".to_owned()]) {
        assert!(begin.elapsed() < DEADLINE, "it is not asked again");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_error_has_the_failure_of_each_server() {
    let silent = NameServer::saying(Say::Silence).await;
    let refusing = NameServer::saying(Say::Code(ResponseCode::Refused, None)).await;
    let closed = closed();
    let with_timeout = |servers| {
        let options = DnsOptions {
            servers,
            timeout: Duration::from_millis(900),
            hosts_file: "/nonexistent/hosts".into(),
            ..DnsOptions::default()
        };
        Dialer::new(options, Sources::default(), DEADLINE)
    };

    let begin = Instant::now();
    let text = failure(&with_timeout(vec![silent.address, closed]), "a.example").await;
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    let expected = format!(
        "dns_timeout: name resolution failed: no name server answered in time: \
         {closed} does not answer: its port is closed, {} does not answer",
        silent.address
    );
    assert_eq!(text, expected);

    // Nothing to wait for.
    let begin = Instant::now();
    let text = failure(&dialer_at(vec![closed]), "a.example").await;
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert!(text.starts_with("dns_error: "), "{text}");
    assert!(text.ends_with("its port is closed"), "{text}");

    let text = failure(&dialer_at(vec![refusing.address]), "a.example").await;
    assert!(text.ends_with("refuses to answer (REFUSED)"), "{text}");
}

#[tokio::test]
async fn a_known_dead_server_does_not_delay_the_error_of_another() {
    let silent = NameServer::saying(Say::Silence).await;
    let failing = NameServer::start(|name, _| match name {
        "good.example." => found(),
        _ => Say::Code(ResponseCode::ServFail, None),
    })
    .await;
    let dialer = dialer_of(&[&silent, &failing]);
    assert!(resolved(&dialer, "good.example").await.is_ok());
    let begin = Instant::now();
    assert_eq!(resolved(&dialer, "bad.example").await, Err("dns_error"));
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_slow_server_alone_is_waited_for() {
    let slow = NameServer::saying(Say::Late(Duration::from_secs(2), Box::new(found()))).await;
    let dialer = dialer_of(&[&slow]);
    assert!(resolved(&dialer, "a.example").await.is_ok());
}

#[tokio::test]
async fn forged_answers_and_another_case_change_nothing() {
    for say in [
        Say::Forged(Box::new(found())),
        Say::UpperCase(Box::new(found())),
        Say::UpperCase(Box::new(Say::Alias("real.example.", &["192.0.2.1"], 60))),
    ] {
        let server = NameServer::saying(say).await;
        let addresses = Ok(vec!["192.0.2.1".to_owned()]);
        assert_eq!(
            resolved(&dialer_of(&[&server]), "a.example").await,
            addresses
        );
    }
}

#[tokio::test]
async fn a_long_answer_needs_tcp_or_another_server() {
    // Says over UDP that the answer is long, and takes no TCP connections.
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let truncating = tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let mut answer = buffer[..length].to_vec();
            answer[2] |= 0x82;
            socket.send_to(&answer, client).await.unwrap();
        }
    });
    let text = failure(&dialer_at(vec![address]), "a.example").await;
    assert!(text.contains("does not take TCP"), "{text}");
    let good = NameServer::saying(found()).await;
    let dialer = dialer_at(vec![address, good.address]);
    assert!(resolved(&dialer, "a.example").await.is_ok());
    truncating.abort();
}

#[tokio::test]
async fn servers_that_do_not_answer_are_found_concurrently() {
    let silent = NameServer::saying(Say::Silence).await;
    let others = [
        NameServer::saying(found()).await,
        NameServer::saying(Say::Code(ResponseCode::Refused, None)).await,
        NameServer::saying(Say::WithoutEdns(Box::new(Say::Silence), Box::new(found()))).await,
    ];
    let mut servers = vec![silent.address, closed(), silent.address];
    servers.extend(others.iter().map(|server| server.address));
    let begin = Instant::now();
    let found = tokio::task::spawn_blocking(move || super::super::unanswering(&servers));
    let found = found.await.unwrap().unwrap();
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    let silent = "does not answer".to_owned();
    let closed = "does not answer: its port is closed".to_owned();
    assert_eq!(found, [(0, silent.clone()), (1, closed), (2, silent)]);
}
