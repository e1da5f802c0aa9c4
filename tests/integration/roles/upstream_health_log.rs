//! What the log says of upstreams that go down and come up.

use crate::support::eventually;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::port::{FullQueue, Port};
use crate::support::proxy::Setup;
use crate::support::request::auth;

#[test]
fn upstream_that_goes_down_and_comes_up_has_one_plain_line_for_each() {
    let (first, second) = (Origin::ok("in"), Port::reserve());
    let proxy = Setup::new()
        .config(&format!(
            "gateway: {{ upstreams: [\"{}\", \"{}\"], health_check: {{ interval: 200ms, timeout: 1s }} }}",
            first.address, second.address
        ))
        .start();
    let lines = |part: &str| -> Vec<String> {
        let log = proxy.errors();
        let lines = log.lines().filter(|line| line.contains(part));
        lines.map(str::to_owned).collect()
    };
    let address = second.address;
    let down = format!("upstream {address} is down: connection refused; 1 of 2 are up");
    eventually("the line of the upstream that is down", || {
        (!lines(&down).is_empty()).then_some(())
    });
    let origin = Origin::bind(&address.to_string(), |mut wire, _| {
        while wire.request()?.is_some() {
            wire.send(ok("second"))?;
        }
        Ok(())
    });
    let up = format!("upstream {address} is up; 2 of 2 are");
    eventually("the line of the upstream that is up", || {
        (!lines(&up).is_empty()).then_some(())
    });
    drop(origin);
    for (part, level) in [(&down, "WARN"), (&up, "INFO")] {
        let lines = lines(part);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(level), "{lines:?}");
    }
    let about: Vec<_> = lines(&address.to_string())
        .into_iter()
        .filter(|line| !line.contains("tollgate::upstream::pool"))
        .collect();
    assert!(about.is_empty(), "{about:?}");
    assert!(!proxy.errors().contains("Backend"), "{}", proxy.errors());
}

#[test]
fn request_that_finds_no_upstream_has_their_troubles_in_its_record() {
    let nobody = [Port::reserve(), Port::reserve()];
    let proxy = Setup::new()
        .config(&format!(
            "gateway: {{ upstreams: [\"{}\", \"{}\"], health_check: {{ interval: 200ms, timeout: 1s }} }}",
            nobody[0].address, nobody[1].address
        ))
        .start();
    eventually("the upstreams to be down", || {
        proxy.errors().contains("0 of 2 are up").then_some(())
    });
    let (answer, record) = proxy.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", auth()));
    assert_eq!(answer.status(), 502);
    // One was tried all the same.
    let detail = record["error_detail"].as_str().unwrap();
    let [first, second] = nobody.map(|port| port.address);
    let expected = [
        format!("{first} did not take this request, {second} is down: connection refused"),
        format!("{first} is down: connection refused, {second} did not take this request"),
    ];
    assert!(expected.contains(&detail.to_owned()), "{detail}");
    assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
}

/// An upstream whose host answers nothing is down after `health_check.timeout`.
#[test]
fn upstream_that_answers_nothing_is_down_after_the_time_out() {
    let full = FullQueue::new();
    let proxy = Setup::new()
        .config(&format!(
            "gateway: {{ upstreams: [\"{}\"], health_check: {{ interval: 1h, timeout: 100ms, fall: 1 }} }}\ntimeouts: {{ connect: 300ms }}",
            full.address
        ))
        .start();
    let down = format!("upstream {} is down: ", full.address);
    eventually("the line of the upstream that is down", || {
        proxy.errors().contains(&down).then_some(())
    });
    let answer = proxy.exchange(format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth()));
    // It is tried all the same.
    assert_eq!(answer.status(), 504);
}
