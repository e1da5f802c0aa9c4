//! Parents of tests: real sockets, and each step of each handshake.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::access::auth::User;
use crate::upstream::certificates::Certificates;
use crate::upstream::dial::DnsOptions;

/// What parents of tests are reached with.
pub(super) fn parts(telemetry: Arc<Telemetry>) -> Parts {
    let limit = Duration::from_secs(5);
    let tls = OriginTls::new(None, &Certificates::default(), limit).unwrap();
    let dialer = Dialer::new(DnsOptions::default(), Sources::default(), limit);
    Parts {
        threads: 1,
        keep_alive: limit,
        connect_timeout: limit,
        sources: Sources::default(),
        tls: Arc::new(tls),
        dialer: Arc::new(dialer),
        is_own: Arc::new(|_| false),
        telemetry,
    }
}

#[test]
fn answers_of_the_parent_itself_are_told_apart() {
    for (status, fields, expected) in [
        (407, &[][..], true),
        (200, &[("proxy-status", "p; error=x")], false),
        (403, &[], false),
        (403, &[("x-squid-error", "ERR_ACCESS_DENIED 0")], true),
        (502, &[("proxy-status", "tollgate; error=dns_error")], true),
        (502, &[("proxy-status", "p; details=\"error=\"")], false),
        // The origin's own proxy said so, and the parent passed it on.
        (
            502,
            &[("proxy-status", "cdn; error=dns_error, parent")],
            false,
        ),
        (
            502,
            &[
                ("proxy-status", "cdn; error=dns_error"),
                ("proxy-status", "parent; received-status=502"),
            ],
            false,
        ),
    ] {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(
            is_own_answer(status, &headers),
            expected,
            "{status} {fields:?}"
        );
    }
}

fn telemetry() -> Arc<Telemetry> {
    let settings = crate::telemetry::Settings {
        access: crate::telemetry::Destination::Off,
        ..Default::default()
    };
    Arc::new(Telemetry::new(&settings).unwrap())
}

/// A parent of these URLs.
fn parent(urls: usize, choose: &str) -> Arc<Parent> {
    let urls: Vec<_> = (1..=urls)
        .map(|it| format!("'http://192.0.2.{it}:1'"))
        .collect();
    let yaml = format!(
        "version: 1\ntollgate:\n  listeners: [{{address: '127.0.0.1:8888'}}]\n  auth: {{htpasswd: users}}\n  \
         parents: {{ p: {{ urls: [{}], choose: {choose} }} }}\n",
        urls.join(", ")
    );
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("users"),
        "a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n",
    )
    .unwrap();
    let file = directory.path().join("f.yaml");
    std::fs::write(&file, yaml).unwrap();
    let config = config::Config::load(&file).unwrap();
    let parents = Parents::new(&config.parents, Arc::new(parts(telemetry())), None);
    let name = Name::parse("p").unwrap();
    Arc::clone(parents.get(&name).unwrap())
}

fn turn_of(parent: &Parent, user: &str, failed: &[usize]) -> Option<usize> {
    let user = User::parse(user).unwrap();
    let sender = Sender {
        user: Some(&user),
        client: [127, 0, 0, 1].into(),
        thread: 0,
    };
    parent.turn(failed, sender).ok().map(|(number, _)| number)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// When one URL goes, the users of the others keep theirs.
    #[test]
    fn users_keep_their_url(names in prop::collection::vec("[a-z]{1,12}", 20), gone in 0usize..5) {
        let parent = parent(5, "hash_user");
        for name in names {
            let before = turn_of(&parent, &name, &[]).unwrap();
            let after = turn_of(&parent, &name, &[gone]).unwrap();
            prop_assert_eq!(turn_of(&parent, &name, &[]), Some(before));
            let is_right = (before == gone && after != gone) || after == before;
            prop_assert!(is_right, "{} {} {}", before, gone, after);
        }
    }

    /// A URL is given as long as one is left, and never one that failed.
    #[test]
    fn each_url_is_given_once(choose in prop::sample::select(vec!["failover", "round_robin", "least", "hash_user"])) {
        let parent = parent(4, choose);
        let mut failed = Vec::new();
        for _ in 0..4 {
            let number = turn_of(&parent, "ann", &failed).unwrap();
            prop_assert!(!failed.contains(&number));
            failed.push(number);
        }
        prop_assert_eq!(turn_of(&parent, "ann", &failed), None);
    }

}

proptest! {
    /// Whatever a parent answers, in whatever pieces: the same outcome, and no byte of the target is lost.
    #[test]
    fn any_answer_has_one_outcome(
        head in prop::sample::select(vec![
            "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 407 x\r\n", "HTTP/1.1 103 x\r\n\r\nHTTP/1.1 200 x\r\n", "HTTP/1.1 101 x\r\n",
        ]),
        tail in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        fuzz::parent_answer(&[head.as_bytes(), &tail].concat());
        fuzz::parent_answer(&[head.as_bytes(), b"\r\n", &tail].concat());
    }
}

/// What is sent and read on a connection, with the peer's bytes in pieces of this size.
async fn by_connect(answer: &[u8], piece: usize) -> Result<Vec<u8>, String> {
    let (mut ours, mut theirs) = tokio::io::duplex(4096);
    let head = connect::request(
        "a.test:443",
        b"1.1 x",
        Some(&HeaderValue::from_static("Basic eA==")),
    );
    let serve = async {
        let mut read = vec![0; head.len()];
        theirs.read_exact(&mut read).await.unwrap();
        assert_eq!(
            read,
            b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nVia: 1.1 x\r\nProxy-Authorization: Basic eA==\r\n\r\n"
        );
        for bytes in answer.chunks(piece) {
            theirs.write_all(bytes).await.unwrap();
            tokio::task::yield_now().await;
        }
        drop(theirs);
    };
    let (opened, ()) = tokio::join!(
        async {
            let early = open::by_connect(&mut ours, &head)
                .await
                .map_err(|it| it.to_string())?;
            let mut all = early.to_vec();
            ours.read_to_end(&mut all).await.unwrap();
            Ok(all)
        },
        serve
    );
    opened
}

#[tokio::test]
async fn the_target_s_first_bytes_are_kept() {
    for piece in [1, 2, 100] {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n220 hello";
        assert_eq!(by_connect(answer, piece).await, Ok(b"220 hello".to_vec()));
        let closed = by_connect(b"HTTP/1.1 200 OK\r\n", piece).await.unwrap_err();
        assert_eq!(
            closed,
            "it closed the connection before its answer was complete"
        );
        let refused = by_connect(b"HTTP/1.1 403 No\r\n\r\nsecret", piece)
            .await
            .unwrap_err();
        assert_eq!(refused, "it answers 403");
    }
}
