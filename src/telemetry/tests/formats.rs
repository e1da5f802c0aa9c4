//! The two formats of the access log, byte for byte.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use crate::access::policy::{DecidedBy, Name};
use crate::hook::Tag;
use crate::http::role::Role;
use crate::telemetry::format::push_combined_line;
use crate::telemetry::text::Clock;
use crate::telemetry::{Event, Record, UpstreamAddress};

fn json(event: Event, record: &Record) -> String {
    let record = Record { event, ..*record };
    let mut out = b"before".to_vec();
    record.push_json(&mut out, &mut Clock::default());
    let line = out.strip_prefix(b"before").unwrap();
    String::from_utf8(line.to_vec()).unwrap()
}

fn combined(record: &Record) -> String {
    let mut out = Vec::new();
    push_combined_line(&mut out, &mut Clock::default(), record);
    String::from_utf8(out).unwrap()
}

/// 2026-01-02T03:04:05.678Z
fn record(role: impl Into<Option<Role>>) -> Record<'static> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_323_045_678);
    Record::new(
        time,
        "id-1",
        role.into(),
        SocketAddr::from(([192, 0, 2, 1], 50000)),
    )
}

fn request() -> Record<'static> {
    Record {
        user: Some("alice"),
        method: b"GET",
        target: b"http://example.org/a?b=\"c\"",
        site: Some("example.org:80"),
        version: "HTTP/1.1",
        status: Some(200),
        bytes_to_client: 71,
        bytes_from_upstream: 71,
        duration: Duration::from_micros(1_234),
        connect: Some(Duration::from_micros(500)),
        first_byte: Some(Duration::from_micros(1_000)),
        upstream: Some(UpstreamAddress::Tcp("[2001:db8::7]:80".parse().unwrap())),
        referer: Some(b"http://example.org/"),
        user_agent: Some(b"curl/8.5.0"),
        ..record(Role::Forward)
    }
}

fn tunnel() -> Record<'static> {
    Record {
        user: Some("alice"),
        method: b"CONNECT",
        target: b"example.org:443",
        site: Some("example.org:443"),
        version: "HTTP/1.1",
        status: Some(200),
        bytes_from_client: 517,
        bytes_to_client: 4096,
        bytes_from_upstream: 4096,
        duration: Duration::from_secs(90),
        connect: Some(Duration::from_millis(12)),
        upstream: Some(UpstreamAddress::Tcp("93.184.216.34:443".parse().unwrap())),
        end_reason: Some("client_closed"),
        user_agent: Some(b"curl/8.5.0"),
        ..record(Role::Tunnel)
    }
}

#[test]
fn json_lines() {
    assert_eq!(
        json(Event::Request, &request()),
        concat!(
            r#"{"time":"2026-01-02T03:04:05.678Z","event":"request","request_id":"id-1","#,
            r#""role":"forward","client":"192.0.2.1:50000","user":"alice","method":"GET","#,
            r#""target":"http://example.org/a?b=\"c\"","version":"HTTP/1.1","status":200,"#,
            r#""bytes_from_client":0,"bytes_to_client":71,"bytes_from_upstream":71,"#,
            r#""duration_seconds":0.001234,"connect_seconds":0.000500,"#,
            r#""first_byte_seconds":0.001000,"upstream":"[2001:db8::7]:80","#,
            r#""referer":"http://example.org/","user_agent":"curl/8.5.0"}"#,
            "\n"
        )
    );
    assert_eq!(
        json(Event::TunnelClose, &tunnel()),
        concat!(
            r#"{"time":"2026-01-02T03:04:05.678Z","event":"tunnel_close","request_id":"id-1","#,
            r#""role":"tunnel","client":"192.0.2.1:50000","user":"alice","method":"CONNECT","#,
            r#""target":"example.org:443","version":"HTTP/1.1","status":200,"#,
            r#""bytes_from_client":517,"bytes_to_client":4096,"bytes_from_upstream":4096,"#,
            r#""duration_seconds":90.000000,"connect_seconds":0.012000,"#,
            r#""upstream":"93.184.216.34:443","end_reason":"client_closed","#,
            r#""user_agent":"curl/8.5.0"}"#,
            "\n"
        )
    );
}

#[test]
fn a_head_that_could_not_be_read_has_a_line() {
    let bare = record(None);
    assert_eq!(
        json(Event::Request, &bare),
        concat!(
            r#"{"time":"2026-01-02T03:04:05.678Z","event":"request","request_id":"id-1","#,
            r#""role":"unknown","client":"192.0.2.1:50000","method":"","target":"","#,
            r#""version":"","bytes_from_client":0,"bytes_to_client":0,"#,
            r#""bytes_from_upstream":0,"duration_seconds":0.000000}"#,
            "\n"
        )
    );
    assert_eq!(
        combined(&bare),
        "192.0.2.1 - - [02/Jan/2026:03:04:05 +0000] \"-\" - - \"-\" \"-\"\n"
    );
}

#[test]
fn combined_lines() {
    assert_eq!(
        combined(&request()),
        "192.0.2.1 - alice [02/Jan/2026:03:04:05 +0000] \
         \"GET http://example.org/a?b=\\\"c\\\" HTTP/1.1\" 200 71 \
         \"http://example.org/\" \"curl/8.5.0\"\n"
    );
    assert_eq!(
        combined(&tunnel()),
        "192.0.2.1 - alice [02/Jan/2026:03:04:05 +0000] \
         \"CONNECT example.org:443 HTTP/1.1\" 200 4096 \"-\" \"curl/8.5.0\"\n"
    );
    let odd = Record {
        user: Some(""),
        method: b"OPTIONS",
        target: b"*",
        version: "HTTP/1.0",
        status: Some(407),
        referer: Some(b"x\r\n192.0.2.9 - root"),
        user_agent: Some(b"\"\\\xff"),
        client: "[2001:db8::1]:9".parse().unwrap(),
        ..record(Role::Gateway)
    };
    assert_eq!(
        combined(&odd),
        "2001:db8::1 - \"\" [02/Jan/2026:03:04:05 +0000] \"OPTIONS * HTTP/1.0\" 407 - \
         \"x\\r\\n192.0.2.9 - root\" \"\\\"\\\\\\xff\"\n"
    );
}

#[test]
fn a_full_record_has_every_declared_field_in_order() {
    let observed = [Name::parse("watch").unwrap(), Name::parse("later").unwrap()];
    let tags = [Tag {
        name: "team".into(),
        value: "blue \"1\"".into(),
    }];
    let full = Record {
        auth: Some("certificate+password"),
        error: Some("connection_refused"),
        error_detail: Some("its port is closed"),
        decided_by: Some(&DecidedBy::ConnectPorts),
        class: Some("ci"),
        observed: &observed,
        tags: &tags,
        groups: &["dev".into(), "ops".into()],
        resolve: Some(Duration::from_micros(2)),
        queue: Some(Duration::from_micros(3)),
        parent: Some("corp"),
        first_byte: Some(Duration::ZERO),
        sni: Some("a.example"),
        alpn: Some("h2,http/1.1"),
        ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1"),
        ech: Some("offered"),
        referer: Some(b"x"),
        ..tunnel()
    };
    let line = json(Event::TunnelClose, &full);
    assert!(
        line.contains(
            r#""duration_seconds":90.000000,"resolve_seconds":0.000002,"queue_seconds":0.000003,"connect_seconds":0.012000,"first_byte_seconds":0.000000,"#
        ),
        "{line}"
    );
    let fields = Record::reference();
    let mut at = 0;
    for [name, ..] in &fields {
        let key = format!("\"{}\":", name.trim_matches('`'));
        at += line[at..].find(&key).expect(name);
    }
    let Value::Object(object) = serde_json::from_str(&line).unwrap() else {
        panic!("not an object");
    };
    assert_eq!(object.len(), fields.len());
}

#[test]
fn a_record_of_nothing_has_what_is_always_there() {
    let line = json(Event::Request, &Record::default());
    let Value::Object(object) = serde_json::from_str(&line).unwrap() else {
        panic!("not an object");
    };
    for [name, presence, ..] in Record::reference() {
        let is_there = object.contains_key(name.trim_matches('`'));
        assert_eq!(is_there, presence == "always", "{name}");
    }
}

/// Text that tries the escapes, any bytes among it.
fn text(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..max),
        "[\"\\\\\r\n\t {}a\u{202e}\u{0}]{0,40}".prop_map(String::into_bytes),
        Just(vec![0x01; max]),
    ]
}

/// Splits a combined line as its readers do: at spaces outside of quotes.
fn columns(line: &str) -> Vec<&str> {
    let (mut columns, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (i, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => {
                columns.push(&line[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    assert!(!quoted && !escaped);
    columns.push(&line[start..]);
    columns
}

proptest! {
    #[test]
    fn no_text_can_break_a_line(
        method in text(100),
        target in text(5000),
        referer in text(5000),
        user_agent in text(5000),
        words in vec(".{0,400}", 4),
        status in any::<Option<u16>>(),
        secs in any::<u64>(),
        bytes in any::<u64>(),
        client in any::<SocketAddr>(),
    ) {
        let by = DecidedBy::DenyDomains(words[2].as_str().into());
        let record = Record {
            user: Some(&words[0]),
            request_id: &words[1],
            decided_by: Some(&by),
            version: &words[3],
            method: &method,
            target: &target,
            referer: Some(&referer),
            user_agent: Some(&user_agent),
            status,
            bytes_to_client: bytes,
            duration: Duration::from_secs(secs),
            client,
            ..record(Role::Forward)
        };
        let line = json(Event::Request, &record);
        prop_assert!(line.len() < 32 * 1024);
        let line = line.strip_suffix('\n').unwrap();
        prop_assert!(!line.chars().any(char::is_control));
        let value: Value = serde_json::from_str(line).unwrap();
        prop_assert_eq!(value["bytes_to_client"].as_u64(), Some(bytes));
        prop_assert_eq!(value["status"].as_u64(), status.map(u64::from));
        prop_assert!(value["user_agent"].as_str().unwrap().len() <= 3 * 512 + 3);

        let line = combined(&record);
        prop_assert!(line.len() < 32 * 1024);
        let line = line.strip_suffix('\n').unwrap();
        prop_assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        prop_assert_eq!(columns(line).len(), 10, "{}", line);
    }
}
