use std::collections::HashSet;

use super::*;

/// The error types of RFC 9209 §2.3.
const REGISTERED: &[&str] = &[
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "http_request_error",
    "http_request_denied",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_error",
    "proxy_loop_detected",
];

#[test]
fn names_are_distinct_and_proxy_status_is_registered() {
    let mut seen = HashSet::new();
    for kind in ErrorKind::ALL {
        assert!(seen.insert(kind.name()), "{} is used twice", kind.name());
        assert!(
            REGISTERED.contains(&kind.proxy_status()),
            "{} is not an error type of RFC 9209",
            kind.proxy_status()
        );
    }
}

#[test]
fn every_kind_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/observability.md");
    let document = std::fs::read_to_string(path).unwrap();
    for kind in ErrorKind::ALL {
        let row = format!(
            "| `{}` | {} | `{}` |",
            kind.name(),
            kind.status().as_u16(),
            kind.proxy_status()
        );
        assert!(document.contains(&row), "{row}");
    }
}

#[test]
fn status_class_agrees_with_the_side() {
    for kind in ErrorKind::ALL {
        let client_error = kind.status().is_client_error();
        match kind.side() {
            Side::Downstream => assert!(
                client_error || matches!(kind.status().as_u16(), 501 | 505 | 508),
                "{kind:?}"
            ),
            Side::Upstream | Side::Internal => assert!(!client_error, "{kind:?}"),
        }
    }
}

#[test]
fn chain_shows_every_cause_and_display_only_the_kind() {
    let error =
        RequestError::new(ErrorKind::DnsError).because(std::io::Error::other("server said no"));
    assert_eq!(error.to_string(), "dns_error");
    assert_eq!(error.chain(), "dns_error: server said no");
}

#[test]
fn a_word_is_in_the_sentence_for_the_client() {
    let error = RequestError::new(ErrorKind::TlsCertificate).told("expired");
    assert_eq!(error.word(), Some("expired"));
    let expected = "The certificate of the target could not be verified: expired.";
    assert_eq!(error.text(), expected);
}

#[test]
fn an_operator_can_say_it_otherwise() {
    let error = RequestError::new(ErrorKind::Denied);
    assert_eq!(
        (error.status().as_u16(), error.text()),
        (403, ErrorKind::Denied.text())
    );
    let denial = Denial::new(ErrorKind::Denied, "r", Some("ask it".into()));
    let error = RequestError::denied(denial, StatusCode::NOT_FOUND);
    for error in [error.repeat(), error] {
        assert_eq!((error.status().as_u16(), error.text()), (404, "ask it"));
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(error.denial().unwrap().rule(), Some("r"));
    }
}
