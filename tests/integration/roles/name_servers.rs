//! Name servers that are dead, old or broken, seen from outside.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, OpCode, ResponseCode};

use crate::support::command::tollgate;
use crate::support::dns::Dns;
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{connect, fetch};

/// More than a look-up takes that waits for no dead server, and less than the five seconds of
/// one that does.
const SOON: Duration = Duration::from_secs(4);

fn servers(addresses: &[String]) -> String {
    let list: Vec<_> = addresses.iter().map(|it| format!("\"{it}\"")).collect();
    format!("dns: {{ servers: [{}] }}\n", list.join(", "))
}

/// A port that stays closed for all but a peer that never sends, and that nothing else can have meanwhile.
fn closed() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.1:9").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

fn table() -> Dns {
    Dns::with(60, |_, _| Some(vec![[127, 0, 0, 1].into()]))
}

#[test]
fn name_servers_without_edns_resolve() {
    let error = |query: &Message, code, with_question: bool| {
        let mut message = Message::error_msg(query.metadata.id, OpCode::Query, code);
        if with_question {
            message.add_queries(query.queries.clone());
        }
        Some(message.to_vec().unwrap())
    };
    let origin = Origin::ok("in");
    let cases: [Dns; 4] = [
        Dns::without_edns(move |query| error(query, ResponseCode::FormErr, true)),
        Dns::without_edns(move |query| error(query, ResponseCode::FormErr, false)),
        Dns::without_edns(move |query| error(query, ResponseCode::NotImp, true)),
        Dns::without_edns(|_| None),
    ];
    for (number, dns) in cases.iter().enumerate() {
        let proxy = Proxy::start(&dns.config());
        for name in ["a.test", "b.test"] {
            let begin = Instant::now();
            let answer = proxy.fetch(&format!("http://{name}:{}/", origin.port()));
            assert_eq!(answer.text(), "in", "{number}");
            assert!(begin.elapsed() < SOON, "{number}: {:?}", begin.elapsed());
        }
    }
}

#[test]
fn dead_name_servers_are_found_out_and_logged_once() {
    let (silent, good) = (Dns::silent(), table());
    let (_held, closed) = closed();
    let list = [
        silent.address.to_string(),
        closed.clone(),
        good.address.to_string(),
    ];
    let proxy = Proxy::start(&servers(&list));
    let origin = Origin::ok("in");
    let begin = Instant::now();
    for number in 0..40 {
        let answer = proxy.fetch(&format!("http://{number}.test:{}/", origin.port()));
        assert_eq!(answer.text(), "in");
    }
    // A quarter of a second for each would be ten.
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert!(silent.asked() <= 8, "{} look-ups", silent.asked());
    for dead in [&silent.address.to_string(), &closed] {
        let line = format!("name server {dead} does not answer");
        let log = eventually("the dead server in the log", || {
            let log = proxy.errors();
            log.contains(&line).then_some(log)
        });
        assert_eq!(log.matches(&line).count(), 1, "{log}");
    }
}

#[test]
fn when_all_are_dead_the_error_says_so_in_time() {
    let silent = Dns::silent();
    let (_held, closed) = closed();
    let list = [silent.address.to_string(), closed.clone()];
    let proxy = Setup::new()
        .config(&servers(&list))
        .config("dns: { timeout: 1s }")
        .start();
    for ask in [fetch("http://a.test/"), connect("b.test:443")] {
        let begin = Instant::now();
        let (answer, record) = proxy.ask(ask);
        assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
        assert_eq!(answer.status(), 504);
        assert_eq!(record["error"], "dns_timeout");
        let detail = record["error_detail"].as_str().unwrap();
        let parts = [
            "no name server answered in time".to_owned(),
            format!("{} does not answer", silent.address),
            format!("{closed} does not answer: its port is closed"),
        ];
        for part in parts {
            assert!(detail.contains(&part), "{detail}");
        }
        assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
    }
}

#[test]
fn servfail_of_one_is_not_the_answer_of_all() {
    let failing = Dns::odd(|query, _| {
        let code = ResponseCode::ServFail;
        let mut message = Message::error_msg(query.metadata.id, OpCode::Query, code);
        message.add_queries(query.queries.clone());
        Some(message.to_vec().unwrap())
    });
    let good = table();
    let list = [failing.address.to_string(), good.address.to_string()];
    let proxy = Proxy::start(&servers(&list));
    let origin = Origin::ok("in");
    let answer = proxy.fetch(&format!("http://a.test:{}/", origin.port()));
    assert_eq!(answer.text(), "in");
}

#[test]
fn check_warns_of_name_servers_that_do_not_answer() {
    let (silent, good) = (Dns::silent(), table());
    let (_held, closed) = closed();
    let list = [good.address.to_string(), silent.address.to_string(), closed];
    let setup = Setup::new().config(&servers(&list));
    let conf = setup.write();
    let begin = Instant::now();
    let outcome = tollgate(["check".as_ref(), "-c".as_ref(), conf.as_os_str()]);
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    let lines: Vec<_> = outcome.stderr.lines().collect();
    assert!(!outcome.stderr.contains("servers[0]"), "{lines:?}");
    for (number, trouble) in [(1, "does not answer;"), (2, "its port is closed;")] {
        let about = format!(
            "warning: tollgate.dns.servers[{number}]: the name server {}",
            list[number]
        );
        assert!(
            lines
                .iter()
                .any(|line| line.contains(&about) && line.contains(trouble)),
            "{lines:?}"
        );
    }
}

#[test]
fn single_label_names_are_asked_of_the_name_servers_as_they_are() {
    let dns = Dns::table(&[("intranet", &["127.0.0.1"])]);
    let proxy = Proxy::start(&dns.config());
    let origin = Origin::ok("in");
    let answer = proxy.fetch(&format!("http://intranet:{}/", origin.port()));
    assert_eq!(answer.text(), "in");
    assert_eq!(dns.asked(), 1);
}

#[test]
fn so_many_names_are_kept_as_the_cache_has_entries() {
    const NAMES: usize = 8;
    for (entries, is_enough) in [(1000, true), (1, false)] {
        let dns = Dns::with(60, |_, _| Some(vec![[127, 0, 0, 1].into()]));
        let proxy = Setup::new()
            .config(&dns.config())
            .config(&format!("dns: {{ cache_entries: {entries} }}"))
            .start();
        let origin = Origin::ok("in");
        for _ in 0..2 {
            for number in 0..NAMES {
                let url = format!("http://name-{number}.test:{}/", origin.port());
                assert_eq!(proxy.fetch(&url).text(), "in");
            }
        }
        assert_eq!(dns.asked() == NAMES, is_enough, "{} look-ups", dns.asked());
    }
}
