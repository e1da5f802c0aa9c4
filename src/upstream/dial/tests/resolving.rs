//! From names to candidates: questions, cache and limits.

use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use tokio::task::JoinSet;
use tokio::time::{advance, pause, resume};

use super::*;

/// Moves the clock without letting sockets wait on a paused one.
async fn later(duration: Duration) {
    pause();
    advance(duration).await;
    resume();
}

#[test]
fn making_a_dialer_needs_no_runtime() {
    let dialer = Dialer::new(
        DnsOptions::default(),
        Sources::default(),
        Duration::from_secs(1),
    );
    assert!(format!("{dialer:?}").contains("Resolver"));
}

#[test]
fn the_resolver_survives_the_end_of_a_runtime() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    // The name server has a thread of its own, as in production.
    let (started, server) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        runtime().block_on(async {
            let server = NameServer::saying(Say::Addresses(&["192.0.2.1"], 60)).await;
            started.send(options(&server)).unwrap();
            let _ = stopped.await;
        });
    });
    let dialer = Dialer::new(
        server.recv_timeout(DEADLINE).unwrap(),
        Sources::default(),
        DEADLINE,
    );
    for name in ["one.example", "two.example", "three.example"] {
        let found = runtime().block_on(resolved(&dialer, name));
        assert_eq!(found, Ok(vec!["192.0.2.1".to_owned()]), "{name}");
    }
    stop.send(()).unwrap();
    thread.join().unwrap();
}

#[tokio::test]
async fn answers_become_candidates_or_errors() {
    use Say::{Addresses, Alias, Code, Garbage, Truncated};
    let both: &[&str] = &["192.0.2.1", "192.0.2.2", "2001:db8::1"];
    let cases: &[(Say, Result<&[&str], &str>)] = &[
        (
            Addresses(both, 60),
            Ok(&["2001:db8::1", "192.0.2.1", "192.0.2.2"]),
        ),
        (Addresses(&["192.0.2.1"], 60), Ok(&["192.0.2.1"])),
        (Addresses(&["2001:db8::1"], 60), Ok(&["2001:db8::1"])),
        (Addresses(&["::ffff:192.0.2.1"], 60), Ok(&["192.0.2.1"])),
        (
            Alias("real.example.", both, 60),
            Ok(&["2001:db8::1", "192.0.2.1", "192.0.2.2"]),
        ),
        (Truncated(&["192.0.2.1"]), Ok(&["192.0.2.1"])),
        (Addresses(&[], 60), Err("name_not_found")),
        (Code(ResponseCode::NXDomain, Some(5)), Err("name_not_found")),
        (Code(ResponseCode::NXDomain, None), Err("name_not_found")),
        (Code(ResponseCode::NoError, Some(5)), Err("name_not_found")),
        (Code(ResponseCode::ServFail, None), Err("dns_error")),
        (Code(ResponseCode::Refused, None), Err("dns_error")),
        (Code(ResponseCode::NotImp, None), Err("dns_error")),
        (Garbage, Err("dns_error")),
    ];
    for (number, (say, expected)) in cases.iter().enumerate() {
        let server = NameServer::saying(say.clone()).await;
        let found = resolved(&dialer(&server), "www.example").await;
        let expected = expected.map(|list| list.iter().map(ToString::to_string).collect());
        assert_eq!(found, expected, "case {number}");
    }
}

#[tokio::test]
async fn a_silent_name_server_costs_no_more_than_the_time_out() {
    let server = NameServer::saying(Say::Silence).await;
    let options = DnsOptions {
        timeout: Duration::from_millis(400),
        ..options(&server)
    };
    let dialer = Dialer::new(options, Sources::default(), DEADLINE);
    let begin = Instant::now();
    assert_eq!(resolved(&dialer, "www.example").await, Err("dns_timeout"));
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(350), "{took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");

    // The failure is kept for a second: the next request does not wait again.
    let asked = server.questions().len();
    assert_eq!(resolved(&dialer, "www.example").await, Err("dns_timeout"));
    assert_eq!(server.questions().len(), asked);
}

#[tokio::test]
async fn a_chain_of_slow_aliases_costs_no_more_than_the_time_out() {
    // Each is answered in time for its own question.
    let server = NameServer::start(|name, _| {
        let next = match name {
            "www.example." => "a.example.",
            "a.example." => "b.example.",
            "b.example." => "c.example.",
            "c.example." => "d.example.",
            "d.example." => "e.example.",
            _ => return Say::Addresses(&["192.0.2.1", "2001:db8::1"], 60),
        };
        let alias = Box::new(Say::Alias(next, &[], 60));
        Say::Late(Duration::from_millis(400), alias)
    })
    .await;
    let options = DnsOptions {
        timeout: Duration::from_secs(1),
        ..options(&server)
    };
    let dialer = Dialer::new(options, Sources::default(), DEADLINE);
    // Without a bound of the whole it would find the addresses after two seconds.
    assert_eq!(resolved(&dialer, "www.example").await, Err("dns_timeout"));
}

#[tokio::test]
async fn the_time_to_live_is_honoured() {
    // The response; the time until the next look-up; whether that queries the server.
    let cases = [
        (Say::Addresses(&["192.0.2.1"], 0), 0, true),
        (Say::Addresses(&["192.0.2.1"], 60), 0, false),
        (Say::Addresses(&["192.0.2.1"], 60), 58, false),
        (Say::Addresses(&["192.0.2.1"], 60), 61, true),
        // No longer than `max_ttl`, an hour.
        (Say::Addresses(&["192.0.2.1"], 1_000_000), 3_590, false),
        (Say::Addresses(&["192.0.2.1"], 1_000_000), 3_601, true),
        // The alias has a TTL of seven seconds.
        (Say::Alias("real.example.", &["192.0.2.1"], 60), 5, false),
        (Say::Alias("real.example.", &["192.0.2.1"], 60), 8, true),
        // Negative answers: as the SOA record says, between 1 and 30 seconds.
        (Say::Code(ResponseCode::NXDomain, Some(10)), 8, false),
        (Say::Code(ResponseCode::NXDomain, Some(10)), 11, true),
        (Say::Code(ResponseCode::NXDomain, Some(9_000)), 28, false),
        (Say::Code(ResponseCode::NXDomain, Some(9_000)), 31, true),
        (Say::Code(ResponseCode::NXDomain, Some(0)), 0, false),
        (Say::Code(ResponseCode::NoError, Some(10)), 8, false),
        // Failures: a second.
        (Say::Code(ResponseCode::ServFail, None), 0, false),
        (Say::Code(ResponseCode::ServFail, None), 2, true),
    ];
    for (number, (say, seconds, asks)) in cases.into_iter().enumerate() {
        let server = NameServer::saying(say).await;
        let dialer = dialer(&server);
        let first = resolved(&dialer, "www.example").await;
        let before = server.questions().len();
        if seconds > 0 {
            later(Duration::from_secs(seconds)).await;
        }
        assert_eq!(resolved(&dialer, "www.example").await, first);
        let asked = server.questions().len() > before;
        assert_eq!(asked, asks, "case {number}");
    }
}

#[tokio::test]
async fn a_name_is_looked_up_unchanged() {
    let server = NameServer::saying(Say::Code(ResponseCode::NXDomain, None)).await;
    let dialer = dialer(&server);
    for name in ["intranet", "www.example", "_srv.under_score.example"] {
        assert_eq!(resolved(&dialer, name).await, Err("name_not_found"));
    }
    let expected: Vec<_> = ["_srv.under_score.example.", "intranet.", "www.example."]
        .into_iter()
        .flat_map(|name| [RecordType::A, RecordType::AAAA].map(|kind| (name.to_owned(), kind)))
        .collect();
    assert_eq!(server.questions(), expected);
}

#[tokio::test]
async fn some_names_never_reach_the_name_server() {
    let server = NameServer::saying(Say::Addresses(&["192.0.2.66"], 60)).await;
    let hosts = tempfile::NamedTempFile::new().unwrap();
    fs::write(
        &hosts,
        "192.0.2.7 intranet\n192.0.2.8 localhost a.b.localhost\n",
    )
    .unwrap();
    let options = DnsOptions {
        hosts_file: hosts.path().into(),
        ..options(&server)
    };
    let dialer = Dialer::new(options, Sources::default(), DEADLINE);
    let loopback = Ok(vec!["::1".to_owned(), "127.0.0.1".to_owned()]);
    // RFC 6761 §6.3, whatever the hosts file says.
    assert_eq!(resolved(&dialer, "localhost").await, loopback);
    assert_eq!(resolved(&dialer, "a.b.localhost").await, loopback);
    let intranet = |address: &str| Ok(vec![address.to_owned()]);
    assert_eq!(resolved(&dialer, "intranet").await, intranet("192.0.2.7"));
    let not_found = Err("name_not_found");
    assert_eq!(resolved(&dialer, "never.invalid").await, not_found);
    assert_eq!(resolved(&dialer, "never.onion").await, not_found);
    let too_long = format!("{}.example", "a".repeat(64));
    assert_eq!(resolved(&dialer, &too_long).await, not_found);
    assert_eq!(server.questions(), []);

    // A hosts file that changes is read again.
    fs::write(&hosts, "192.0.2.123 intranet\n").unwrap();
    later(Duration::from_secs(6)).await;
    assert_eq!(resolved(&dialer, "intranet").await, intranet("192.0.2.123"));
    // A removed file is empty.
    drop(hosts);
    later(Duration::from_secs(6)).await;
    assert_eq!(resolved(&dialer, "intranet").await, intranet("192.0.2.66"));
}

#[tokio::test]
async fn one_family_does_not_wait_long_for_a_silent_other() {
    for silent in [RecordType::AAAA, RecordType::A] {
        let server = NameServer::start(move |_, kind| {
            if kind == silent {
                Say::Silence
            } else {
                Say::Addresses(&["192.0.2.1", "2001:db8::1"], 3600)
            }
        })
        .await;
        let dialer = dialer(&server);
        let begin = Instant::now();
        let found = resolved(&dialer, "www.example").await.unwrap();
        let took = begin.elapsed();
        assert_eq!(found.len(), 1);
        // Without the grace it would be the ten seconds of the time-out.
        assert!(took < Duration::from_secs(4), "{silent}: {took:?}");

        // An incomplete answer is not kept for the whole TTL.
        let before = server.questions().len();
        later(Duration::from_secs(31)).await;
        resolved(&dialer, "www.example").await.unwrap();
        assert!(server.questions().len() > before);
    }
}

#[tokio::test]
async fn requests_for_one_name_share_one_look_up() {
    // With a TTL of zero nothing is kept, and it is still shared.
    for ttl in [60, 0] {
        let server = NameServer::saying(Say::Addresses(&["192.0.2.1"], ttl)).await;
        // Only one look-up is admitted: a second one would be turned away.
        let options = DnsOptions {
            max_lookups: 1,
            ..options(&server)
        };
        let dialer = Arc::new(Dialer::new(options, Sources::default(), DEADLINE));
        server.hold(true);
        let mut tasks = JoinSet::new();
        let waiting = Arc::new(AtomicUsize::new(0));
        for _ in 0..50 {
            let (dialer, waiting) = (Arc::clone(&dialer), Arc::clone(&waiting));
            tasks.spawn(async move {
                waiting.fetch_add(1, Ordering::SeqCst);
                resolved(&dialer, "www.example").await
            });
        }
        // On a runtime of one thread every task has run up to its look-up when the
        // last one has begun and this one runs again.
        while waiting.load(Ordering::SeqCst) < 50 {
            tokio::task::yield_now().await;
        }
        server.wait_for_questions(2).await;
        server.hold(false);
        for found in tasks.join_all().await {
            assert_eq!(found, Ok(vec!["192.0.2.1".to_owned()]));
        }
        assert_eq!(server.questions().len(), 2, "one for each family");
    }
}

#[tokio::test]
async fn a_waiting_request_takes_over_from_a_cancelled_one() {
    let server = NameServer::saying(Say::Addresses(&["192.0.2.1"], 60)).await;
    let dialer = Arc::new(dialer(&server));
    server.hold(true);
    let ask = |dialer: &Arc<Dialer>| {
        let dialer = Arc::clone(dialer);
        tokio::spawn(async move { resolved(&dialer, "www.example").await })
    };
    let first = ask(&dialer);
    server.wait_for_questions(2).await;
    let second = ask(&dialer);
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    server.wait_for_questions(4).await;
    server.hold(false);
    assert_eq!(second.await.unwrap(), Ok(vec!["192.0.2.1".to_owned()]));
}

#[tokio::test]
async fn look_ups_under_way_are_bounded() {
    let server = NameServer::saying(Say::Addresses(&["192.0.2.1"], 60)).await;
    let options = DnsOptions {
        max_lookups: 2,
        ..options(&server)
    };
    let dialer = Arc::new(Dialer::new(options, Sources::default(), DEADLINE));
    resolved(&dialer, "known.example").await.unwrap();
    server.hold(true);
    let mut tasks = JoinSet::new();
    for name in ["a.example", "b.example"] {
        let dialer = Arc::clone(&dialer);
        tasks.spawn(async move { resolved(&dialer, name).await });
    }
    server.wait_for_questions(6).await;

    let full = Err("dns_overloaded");
    assert_eq!(resolved(&dialer, "c.example").await, full);
    // Cached and local names and literals are not affected.
    assert!(resolved(&dialer, "known.example").await.is_ok());
    let literal = Authority {
        host: Host::Ip("192.0.2.1".parse().unwrap()),
        port: 80,
    };
    assert!(
        dialer
            .candidates(&literal, site, &admit_all, &mut None)
            .await
            .is_ok()
    );

    server.hold(false);
    for found in tasks.join_all().await {
        assert!(found.is_ok());
    }
    // Being turned away is not remembered.
    assert!(resolved(&dialer, "c.example").await.is_ok());
}

#[tokio::test]
async fn the_cache_is_bounded() {
    let server = NameServer::saying(Say::Addresses(&["192.0.2.1"], 60)).await;
    let options = DnsOptions {
        cache_entries: 16,
        ..options(&server)
    };
    let dialer = Dialer::new(options, Sources::default(), DEADLINE);
    for number in 0..200 {
        resolved(&dialer, &format!("{number}.example"))
            .await
            .unwrap();
    }
    let kept = (0..200)
        .filter(|number| {
            let name = format!("{number}.example");
            let now = tokio::time::Instant::now();
            dialer.resolver.cached(&name, now).is_some()
        })
        .count();
    assert!((1..=64).contains(&kept), "{kept}");
}

#[tokio::test]
async fn a_literal_is_evaluated_in_its_dialled_form() {
    let server = NameServer::saying(Say::Silence).await;
    let dialer = dialer(&server);
    let cases = [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
    ];
    for (literal, dialled) in cases {
        let authority = Authority {
            host: Host::Ip(literal.parse().unwrap()),
            port: 443,
        };
        let expected: SocketAddr = (dialled.parse::<IpAddr>().unwrap(), 443).into();
        let admit = |address| {
            assert_eq!(address, expected);
            Ok(DecidedBy::Default)
        };
        let found = dialer
            .candidates(&authority, site, &admit, &mut None)
            .await
            .unwrap();
        assert_eq!(found.candidates.iter().collect::<Vec<_>>(), [expected]);
        let deny = |_| Err(denied());
        let error = dialer
            .candidates(&authority, site, &deny, &mut None)
            .await
            .unwrap_err();
        assert_eq!(error.kind().name(), "destination_ip_prohibited");
    }
    assert_eq!(server.questions(), []);
}
