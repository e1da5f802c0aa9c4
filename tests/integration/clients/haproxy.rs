//! HAProxy in front, with the PROXY protocol, of a listener for SOCKS5.

use crate::support::command::is_installed;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::peers::Peer;
use crate::support::programs::{assert_output, curl};
use crate::support::proxy::Setup;
use crate::support::request::ALICE;

#[test]
fn socks5_behind_send_proxy_v2() {
    if !is_installed(&["haproxy", "-v"]) {
        return;
    }
    for (word, version) in [
        ("only", "send-proxy-v2"),
        ("also", "send-proxy-v2"),
        ("only", "send-proxy"),
    ] {
        let setup = Setup::new();
        let listener = format!(
            "listeners: [{{ address: \"{}\", socks5: {word}, proxy_protocol: true }}]",
            setup.address()
        );
        let proxy = setup.config(&listener).start();
        let front = Peer::haproxy(&format!(
            "listen l\n  bind PORT\n  server s {} {version}",
            proxy.address
        ));
        let origin = Origin::http(|request| ok(&request.head.start));
        let socks = format!("socks5h://{}:{}@{}", ALICE.0, ALICE.1, front.port.address);
        let url = format!("http://localhost:{}/a", origin.port());
        let outcome = curl(&["-x", &socks, "--local-port", "20000-60000", &url]);
        assert_output(&outcome, "GET /a HTTP/1.1");
        let record = proxy.record("the tunnel", |it| it["user"] == ALICE.0);
        assert_eq!(record["version"], "SOCKS5", "{record}");
        // The client of HAProxy, and not HAProxy.
        assert_eq!(
            record["client"].as_str().unwrap().split(':').next(),
            Some("127.0.0.1"),
            "{record}"
        );
        let port = record["client"]
            .as_str()
            .unwrap()
            .rsplit(':')
            .next()
            .unwrap();
        assert_ne!(port.parse::<u16>().unwrap(), 0, "{record}");
        // A wrong password, behind the same header.
        let wrong = format!("socks5h://{}:wrong@{}", ALICE.0, front.port.address);
        assert_eq!(curl(&["-x", &wrong, &url]).code(), Some(97));
        if word == "also" {
            let http = format!("http://{}:{}@{}", ALICE.0, ALICE.1, front.port.address);
            assert_output(&curl(&["-x", &http, &url]), "GET /a HTTP/1.1");
        }
    }
}
