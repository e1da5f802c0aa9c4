//! Admitting a request does not allocate.

use std::net::SocketAddr;

use allocation_counter::measure;

use super::rule_text::{policy, scenario};
use super::{domains, networks};
use crate::access::policy::*;

#[test]
fn admitting_does_not_allocate() {
    let rules = [
        "no-uploads deny methods=POST,PUT roles=forward",
        "watch observe domains=.npmjs.org",
        "late deny time=18:00-08:00",
        "lab admit users=bob networks=10.0.0.0/8 ports=22",
        "lan admit groups=ops networks=10.0.0.0/8",
        "from deny client_networks=172.16.0.0/12",
        "ci admit groups=ci domains=.npmjs.org,a.example ports=443",
    ];
    let guard = Guard {
        deny_domains: domains(&[".bad.example"]),
        deny_networks: networks(&["9.0.0.0/8"]),
        ..Guard::default()
    };
    let policy = policy(guard, Decision::Admit, &rules);
    for (text, resolve, expected) in [
        ("alice CONNECT registry.npmjs.org:443", "104.16.0.1", "ci"),
        ("alice CONNECT registry.npmjs.org:443", "10.1.1.1", "lan"),
        (
            "carol GET http://www.example.org/",
            "2606:4700::1",
            "default",
        ),
        ("stranger GET http://1.1.1.1/", "1.1.1.1", "default"),
    ] {
        let scenario = scenario(text, &[resolve]);
        let request = scenario.request();
        let port = request.destination.authority().unwrap().port;
        let address = SocketAddr::new(scenario.resolve[0], port);
        let mut by = None;
        let mut observed = 0;
        let counted = measure(|| {
            if let Ok(admission) = policy.admit_request(&request) {
                by = admission.admit_address(address).ok();
                observed = admission.observed(Some(address.ip())).count();
            }
        });
        assert_eq!(by.unwrap().to_string(), expected, "{text}");
        assert_eq!(observed, usize::from(text.contains("npmjs")));
        assert_eq!(counted.count_total, 0, "{text}: {counted:?}");
    }
    let gateway = scenario("alice GET /status", &[]);
    let counted = measure(|| assert!(policy.admit_request(&gateway.request()).is_ok()));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}
