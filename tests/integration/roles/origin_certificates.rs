//! Certificates of https origins: which ones are trusted, and what is said of the others.

use serde_json::Value;

use crate::support::dns::Dns;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{auth, fetch, request};
use crate::support::tls::{Authority, Identity};

const NAMES: [&str; 2] = ["-addext", "subjectAltName=DNS:origin.test,IP:127.0.0.1"];

/// What `openssl req -x509 -newkey … -subj /CN=origin.test -addext …` makes.
fn self_signed(more: &[&str]) -> Identity {
    Identity::of_openssl(&[&["-subj", "/CN=origin.test"], more].concat())
}

fn origin(identity: &Identity) -> Origin {
    Origin::https(identity.server(), |request| ok(&request.body))
}

/// A proxy that trusts these, and knows `origin.test` and `other.test`.
fn trusting(certificates: &[&str]) -> (Proxy, Dns) {
    let dns = Dns::table(&[
        ("origin.test", &["127.0.0.1"]),
        ("other.test", &["127.0.0.1"]),
    ]);
    let setup = Setup::new()
        .file("ca.pem", certificates.concat())
        .config(&dns.config());
    let ca_file = format!("ca_file: {}", setup.path("ca.pem").display());
    (setup.server(&ca_file).start(), dns)
}

/// The word that the client gets, and the detail of the record.
fn failure(proxy: &Proxy, url: &str) -> (String, String) {
    let (answer, record) = proxy.ask(fetch(url));
    assert_eq!(answer.status(), 502, "{}", answer.text());
    let status = answer.field("proxy-status").unwrap().to_owned();
    let (error, word) = status
        .strip_prefix("tollgate; error=")
        .and_then(|rest| rest.strip_suffix('"')?.split_once("; details=\""))
        .unwrap_or_else(|| panic!("{status}"));
    assert_eq!(record["error"], Value::from(error));
    assert!(
        answer.text().contains(&format!(": {word}.")),
        "{}",
        answer.text()
    );
    // Where the origin is, is not for the client.
    assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
    let detail = record["error_detail"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(!detail.contains("Other("), "{detail}");
    (word.to_owned(), detail)
}

#[test]
fn certificate_of_openssl_named_in_ca_file_is_trusted() {
    let identity = self_signed(&NAMES);
    let origin = origin(&identity);
    let (proxy, _dns) = trusting(&[&Authority::new().pem(), &identity.certificate_pem]);
    let mut wire = proxy.connect();
    for host in ["origin.test", "127.0.0.1", "ORIGIN.test"] {
        for body in ["", "some", "more"] {
            let target = format!("https://{host}:{}/", origin.port());
            let head = format!(
                "POST {target} HTTP/1.1\r\nHost: {host}:{}\r\n{}Content-Length: {}\r\n\r\n{body}",
                origin.port(),
                auth(),
                body.len()
            );
            wire.send(head).unwrap();
            let answer = wire.response("POST").unwrap();
            assert_eq!(
                (answer.status(), answer.text().as_str()),
                (200, body),
                "{host}"
            );
        }
    }
    // Connections are kept, as to any other origin.
    assert!(origin.connections() <= 3, "{}", origin.connections());

    proxy.wait_records(9);
    let (word, detail) = failure(&proxy, &format!("https://other.test:{}/", origin.port()));
    assert_eq!(word, "wrong name");
    let expected = "the certificate is for origin.test, 127.0.0.1, and not for other.test";
    assert_eq!(detail, expected);
    assert_eq!(origin.requests().len(), 9);
}

#[test]
fn another_certificate_for_the_same_name_is_not_trusted() {
    let (named, impostor) = (self_signed(&NAMES), self_signed(&NAMES));
    let origin = origin(&impostor);
    let (proxy, _dns) = trusting(&[&named.certificate_pem]);
    for _ in 0..3 {
        let (word, detail) = failure(&proxy, &format!("https://origin.test:{}/", origin.port()));
        assert_eq!(word, "self-signed");
        assert!(detail.contains("not in ca_file: add it"), "{detail}");
    }
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn origin_with_a_named_certificate_may_change_to_one_of_an_authority() {
    let named = self_signed(&NAMES);
    let authority = Authority::new();
    let origin = origin(&authority.issue(&["origin.test"]));
    let (proxy, _dns) = trusting(&[&named.certificate_pem, &authority.pem()]);
    let target = format!("https://origin.test:{}/", origin.port());
    assert_eq!(proxy.fetch(&target).status(), 200);
}

#[test]
fn common_name_alone_is_said_to_count_for_nothing() {
    let identity = self_signed(&[]);
    let origin = origin(&identity);
    let (proxy, _dns) = trusting(&[&identity.certificate_pem]);
    let (word, detail) = failure(&proxy, &format!("https://origin.test:{}/", origin.port()));
    assert_eq!(word, "wrong name");
    assert!(
        detail.contains("only the common name \"origin.test\""),
        "{detail}"
    );
    assert!(detail.contains("-addext subjectAltName"), "{detail}");
}

#[test]
fn certificate_without_ca_true_is_trusted_as_before() {
    let plain = ["-addext", "basicConstraints=critical,CA:FALSE"];
    let identity = self_signed(&[NAMES, plain].concat());
    let origin = origin(&identity);
    let (proxy, _dns) = trusting(&[&identity.certificate_pem]);
    let target = format!("https://origin.test:{}/", origin.port());
    assert_eq!(proxy.fetch(&target).status(), 200);
}

#[test]
fn what_is_wrong_with_a_certificate_is_said() {
    let authority = Authority::new();
    let (proxy, _dns) = trusting(&[&authority.pem()]);
    let cases = [
        (
            authority.issue_with(&["origin.test"], |params| {
                params.not_after = rcgen::date_time_ymd(2021, 2, 3);
            }),
            "expired",
            "the certificate expired on 2021-02-03 00:00:00 UTC",
        ),
        (
            authority.issue_with(&["origin.test"], |params| {
                params.not_before = rcgen::date_time_ymd(2090, 2, 3);
                params.not_after = rcgen::date_time_ymd(2091, 2, 3);
            }),
            "not yet valid",
            "the certificate is not valid before 2090-02-03 00:00:00 UTC",
        ),
        (
            authority.issue(&["a.test", "b.test"]),
            "wrong name",
            "the certificate is for a.test or b.test, and not for origin.test",
        ),
        (
            Authority::of_name("stranger").issue(&["origin.test"]),
            "unknown issuer",
            "the certificate's issuer is not trusted",
        ),
        (
            // Of the same name, with another key.
            Authority::new().issue(&["origin.test"]),
            "bad signature",
            "the one of that name in ca_file has another key",
        ),
        (self_signed(&NAMES), "self-signed", "openssl req -x509"),
        (
            authority.issue_with(&["origin.test"], |params| {
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            }),
            "wrong purpose",
            "the certificate is not for servers",
        ),
    ];
    for (identity, word, detail) in cases {
        let origin = origin(&identity);
        let (said, logged) = failure(&proxy, &format!("https://origin.test:{}/", origin.port()));
        assert_eq!(said, word);
        assert!(logged.contains(detail), "{logged}");
        assert_eq!(origin.requests().len(), 0);
    }
}

#[test]
fn what_is_wrong_with_a_handshake_is_said() {
    let proxy = Proxy::plain();
    let cases: [(&'static [u8], &str, &str); 4] = [
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "not TLS",
            "does not speak TLS",
        ),
        (
            b"\x15\x03\x03\x00\x02\x02\x46",
            "alert protocol_version",
            "protocol_version (70)",
        ),
        (
            b"\x15\x03\x03\x00\x02\x02\x28",
            "alert handshake_failure",
            "handshake_failure (40)",
        ),
        (b"", "closed during the handshake", "closed the connection"),
    ];
    for (bytes, word, detail) in cases {
        let origin = Origin::raw(move |mut wire, _| {
            // Read first: what is closed with bytes unread is reset.
            wire.read_bytes(5)?;
            wire.send(bytes)?;
            wire.finish()?;
            wire.read_to_end().map(drop)
        });
        let (said, logged) = failure(&proxy, &format!("https://{}/", origin.address));
        assert_eq!(said, word);
        assert!(logged.contains(detail), "{logged}");
    }
}

#[test]
fn json_has_the_word_too() {
    let origin = origin(&Authority::of_name("stranger").issue(&["127.0.0.1"]));
    let (proxy, _dns) = trusting(&[&Authority::new().pem()]);
    let answer = proxy.exchange(format!(
        "GET https://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}Accept: application/json\r\n\r\n",
        origin.address,
        auth()
    ));
    let body: Value = serde_json::from_str(&answer.text()).unwrap();
    let expected = "The certificate of the target could not be verified: unknown issuer.";
    assert_eq!(body["message"], Value::from(expected));
}

#[test]
fn details_of_other_failures_have_no_names_of_rust() {
    let proxy = Proxy::plain();
    let answers: [&'static [u8]; 4] = [
        b"",
        b"HTTP/9.9 200 OK\r\nSet-Cookie: secret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: secret\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200",
    ];
    for bytes in answers {
        let origin = Origin::raw(move |mut wire, _| {
            wire.request()?;
            wire.send(bytes)
        });
        let plain = format!("http://{}/", origin.address);
        let upgrade = request(
            "GET",
            &origin,
            "Connection: upgrade\r\nUpgrade: websocket\r\n",
            "",
        );
        for ask in [fetch(&plain), upgrade] {
            let (answer, record) = proxy.ask(ask);
            assert_eq!(answer.status(), 502);
            let detail = record["error_detail"].as_str().unwrap_or_default();
            assert!(!detail.is_empty(), "{record}");
            let odd = ["secret", "{", "Some(", "Err(", "Kind", "addr:", "Upstream "];
            assert!(!odd.iter().any(|odd| detail.contains(odd)), "{detail}");
        }
    }
}
