use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::http::http1::{HeadLimits, HeadScanner};

#[test]
fn protocols_by_their_first_bytes() {
    let cases: &[(&[u8], Option<Protocol>)] = &[
        (b"\x16", Some(Protocol::Tls)),
        (b"\x16\x03\x01\x02\x00\x01\x00", Some(Protocol::Tls)),
        (b"\x80\x2e\x01\x03\x01", Some(Protocol::Tls)),
        (b"\x16\x00", Some(Protocol::Binary)),
        (b"\x05", Some(Protocol::Socks5)),
        (b"\x05\x01\x00", Some(Protocol::Socks5)),
        (
            b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00",
            Some(Protocol::Socks4),
        ),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", Some(Protocol::Ssh)),
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            Some(Protocol::ProxyHeader),
        ),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", Some(Protocol::ProxyHeader)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Protocol::Http2)),
        (b"OPTIONS rtsp://h/ RTSP/1.0\r\n", Some(Protocol::Rtsp)),
        (b"OPTIONS sip:nm SIP/2.0\r\n", Some(Protocol::Sip)),
        (b"REQMOD icap://h/ ICAP/1.0\r\n", Some(Protocol::Icap)),
        (b"EHLO client.example\r\n", Some(Protocol::Smtp)),
        (b"helo x", Some(Protocol::Smtp)),
        (b"USER anonymous\r\n", Some(Protocol::Ftp)),
        (b"AUTH TLS\r\n", Some(Protocol::Ftp)),
        (b"NICK joe\r\nUSER joe 0 * :Joe\r\n", Some(Protocol::Irc)),
        (b"USER joe 0 * :Joe\r\n", Some(Protocol::Irc)),
        (b"a1 CAPABILITY\r\n", Some(Protocol::Imap)),
        (b"*1\r\n$4\r\nPING\r\n", Some(Protocol::Redis)),
        (b"PING\r\n", Some(Protocol::Redis)),
        (
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
            Some(Protocol::PostgreSql),
        ),
        (
            b"\x00\x00\x00\x54\x00\x03\x00\x00user\0",
            Some(Protocol::PostgreSql),
        ),
        (b"\x03\x00\x00\x13\x0e\xe0", Some(Protocol::Rdp)),
        (b"\x00\x00\x00\x85\xffSMBr", Some(Protocol::Smb)),
        (b"\x30\x0c\x02\x01\x01\x60\x07", Some(Protocol::Ldap)),
        (b"\x10\x10\x00\x04MQTT\x04", Some(Protocol::Mqtt)),
        (b"\x10\x12\x00\x06MQIsdp\x03", Some(Protocol::Mqtt)),
        (b"\x10\x80\x01\x00\x04MQTT\x04", Some(Protocol::Mqtt)),
        (b"\x30\x1d\x02\x01\x01\x77\x18", Some(Protocol::Ldap)),
        (
            b"\x30\x84\x00\x00\x00\x0c\x02\x01\x01\x60\x07",
            Some(Protocol::Ldap),
        ),
        (
            b"\x00\x00\x00\x10\x04\xd2\x16\x2e",
            Some(Protocol::PostgreSql),
        ),
        (b"\x05\x00\x00\x00\x05", Some(Protocol::Binary)),
        (b"\x15\x03\x01\x00\x02\x02\x28", Some(Protocol::Tls)),
        (b"\xff\xfb\x1f", Some(Protocol::Telnet)),
        (b"0032git-upload-pack /p.git\0host=h\0", Some(Protocol::Git)),
        (b"@RSYNCD: 31.0\n", Some(Protocol::Rsync)),
        (b"RFB 003.008\n", Some(Protocol::Vnc)),
        (b"<?xml version='1.0'?><stream:stream", Some(Protocol::Xml)),
        (b"CAPA\r\n", Some(Protocol::Pop3)),
        (b"STARTTLS\r\n", Some(Protocol::Smtp)),
        (b"a STARTTLS\r\n", Some(Protocol::Imap)),
        (b"MODE READER\r\n", Some(Protocol::Nntp)),
        (b"version\r\n", Some(Protocol::Memcached)),
        (
            b"CONNECT {\"verbose\":false}\r\nPING\r\n",
            Some(Protocol::Nats),
        ),
        (b"STOMP\naccept-version:1.2\n\n\0", Some(Protocol::Stomp)),
        (
            b"\x3a\0\0\0\x01\0\0\0\0\0\0\0\xd4\x07\0\0",
            Some(Protocol::MongoDb),
        ),
        (b"AMQP\x00\x00\x09\x01", Some(Protocol::Amqp)),
        (b"\x13BitTorrent protocol", Some(Protocol::BitTorrent)),
        // MySQL's client, which waits for the server and sends only when something else has answered.
        (b"\x55\x00\x00\x01\x85\xa6\xff\x01", Some(Protocol::Binary)),
        (b"\xff\xff", Some(Protocol::Binary)),
        (b"", None),
        (b"G", None),
        (b"\r\n", None),
        (b"hello\r\n", None),
        (b"GET / HTTP/1.1\r\n", None),
        (b"GET /\r\n", None),
        (b"AUTH / HTTP/1.1\r\n", None),
        (b"PING http://x/ HTTP/1.1\r\n", None),
    ];
    for (bytes, expected) in cases {
        assert_eq!(
            Protocol::guess(bytes),
            *expected,
            "{:?}",
            bytes.escape_ascii().to_string()
        );
    }
}

#[test]
fn text_at_a_door_of_no_text_is_http_only_where_it_looks_like_it() {
    for http in [
        "GET / HTTP/1.1\r\n",
        "GET /\r\n",
        "brew / HTTP/1.1\r\n",
        "CONN",
        "\r\n",
        "",
        "PRI * HT",
    ] {
        let guess = Protocol::guess_at(Door::Tls, http.as_bytes());
        assert_eq!(guess, Protocol::Http, "{http:?}");
    }
    for text in [
        "hello there\r\n",
        "{\"id\":1}\n",
        "bob\r\n",
        "( 2 ( edit-pipeline",
    ] {
        let guess = Protocol::guess_at(Door::Tls, text.as_bytes());
        assert_eq!(guess, Protocol::Text, "{text:?}");
    }
    let old = Protocol::guess_at(Door::Tls, b"\x80\x2e\x01\x03\x01");
    assert_eq!(old.kind(Door::Tls), ErrorKind::OtherProtocol);
    assert_eq!(
        old.line(Door::Tls),
        "SSL 2, or TLS without a handshake, where the listener expects TLS; \
         have the client begin with a handshake of TLS 1.2 or 1.3"
    );
}

#[test]
fn git_shows_a_line_whose_length_is_right() {
    let answer = Protocol::Git.answer().unwrap();
    assert_eq!(
        answer.get(..4).unwrap(),
        format!("{:04x}", answer.len()).as_bytes()
    );
}

#[test]
fn each_case_has_a_kind_and_a_line_that_says_what_to_do() {
    let tls = Protocol::Tls;
    assert_eq!(tls.kind(Door::Plain), ErrorKind::TlsAtPlainPort);
    assert_eq!(tls.kind(Door::ProxyHeader), ErrorKind::ProxyHeaderMissing);
    assert_eq!(Protocol::Http.kind(Door::Tls), ErrorKind::PlainAtTlsPort);
    assert_eq!(
        Protocol::Http.kind(Door::ProxyHeader),
        ErrorKind::ProxyHeaderMissing
    );
    for protocol in [tls, Protocol::Http, Protocol::ProxyHeader, Protocol::Socks5] {
        let kind = protocol.kind(Door::Stranger);
        assert_eq!(kind, ErrorKind::ProxyHeaderUntrusted);
    }
    assert_eq!(Protocol::Http2.kind(Door::Plain), ErrorKind::Http2Off);
    assert_eq!(Protocol::Socks5.kind(Door::Tls), ErrorKind::Socks);
    assert_eq!(
        tls.line(Door::Plain),
        "a TLS handshake, where the listener expects plain HTTP; \
         write http:// for the proxy in the client, or give the listener `tls`"
    );
    let lines: HashSet<String> = [Door::Plain, Door::Tls, Door::ProxyHeader, Door::Stranger]
        .into_iter()
        .flat_map(|door| [tls, Protocol::Http, Protocol::Ssh].map(|protocol| protocol.line(door)))
        .collect();
    assert_eq!(lines.len(), 12);
}

proptest! {
    #[test]
    fn any_bytes_have_an_outcome(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        if let Some(protocol) = Protocol::guess(&bytes) {
            prop_assert!(!protocol.name().is_empty());
        }
    }

    /// What is not refused is never asked about, but a mistake here would be seen as one there.
    #[test]
    fn a_request_is_no_other_protocol(
        method in "[A-Z]{1,10}",
        target in "[a-z/:.0-9]{1,40}",
        version in "1\\.[01]",
        name in "[A-Za-z-]{1,12}",
        value in "[ -~]{0,40}",
    ) {
        let head = format!("{method} {target} HTTP/{version}\r\n{name}: {value}\r\n\r\n");
        let scanned = HeadScanner::default().scan(head.as_bytes(), &HeadLimits::default());
        if matches!(scanned, Ok(Some(_))) {
            prop_assert_eq!(Protocol::guess(head.as_bytes()), None);
        }
    }
}
