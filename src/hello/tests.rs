use std::sync::Arc;

use proptest::prelude::*;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::fuzz::{by_rustls, in_pieces, message, records};
use super::*;

/// What clients send, in one record each: the seeds of the fuzz target.
const CAPTURED: [(&str, &[u8]); 6] = [
    (
        "chromium",
        include_bytes!("../../fuzz/corpus/client_hello/chromium"),
    ),
    (
        "curl",
        include_bytes!("../../fuzz/corpus/client_hello/curl"),
    ),
    ("go", include_bytes!("../../fuzz/corpus/client_hello/go")),
    (
        "openssl",
        include_bytes!("../../fuzz/corpus/client_hello/openssl"),
    ),
    (
        "openssl_nosni_tls12",
        include_bytes!("../../fuzz/corpus/client_hello/openssl_nosni_tls12"),
    ),
    (
        "python",
        include_bytes!("../../fuzz/corpus/client_hello/python"),
    ),
];

fn read(bytes: &[u8]) -> Result<Option<Hello>, Unreadable> {
    HelloReader::default().read(bytes)
}

/// A hello of these extensions, type and body, in one record.
fn hello_of(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 2, 0x13, 0x01, 1, 0]);
    let mut list = Vec::new();
    for (kind, body) in extensions {
        list.extend_from_slice(&kind.to_be_bytes());
        list.extend_from_slice(&(body.len() as u16).to_be_bytes());
        list.extend_from_slice(body);
    }
    body.extend_from_slice(&(list.len() as u16).to_be_bytes());
    body.extend_from_slice(&list);
    let mut message = vec![1];
    message.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
    message.extend_from_slice(&body);
    records(&message, MAX_RECORD)
}

fn server_name(name: &[u8]) -> Vec<u8> {
    let len = name.len() as u16;
    let mut body = (len + 3).to_be_bytes().to_vec();
    body.push(0);
    body.extend_from_slice(&len.to_be_bytes());
    body.extend_from_slice(name);
    body
}

#[test]
fn what_real_clients_send() {
    let names: [(Option<&str>, &[&str], &str, bool); 6] = [
        (
            Some("name.example"),
            &["h2", "http/1.1"],
            "t13d1517h2_8daaf6152771_cb7bf5808d99",
            true,
        ),
        (
            Some("name.example"),
            &["h2", "http/1.1"],
            "t13d3112h2_e8f1e7e78f70_b26ce05bbdd6",
            false,
        ),
        (
            Some("name.example"),
            &["h2", "http/1.1"],
            "t13d1910h2_9dc949149365_97f8aa674fd9",
            false,
        ),
        (
            Some("Name.Example"),
            &[],
            "t13d311000_e8f1e7e78f70_1f22a2ca17c4",
            false,
        ),
        (None, &[], "t12i280600_d943125447b4_e7e480e5a997", false),
        (
            Some("name.example"),
            &[],
            "t13d181100_85036bcba153_d41ae481755e",
            false,
        ),
    ];
    for ((client, bytes), (sni, alpn, ja4, ech)) in CAPTURED.into_iter().zip(names) {
        let hello = read(bytes).unwrap().unwrap();
        assert_eq!(hello.sni.as_deref(), sni, "{client}");
        let protocols: Vec<&str> = hello.alpn.iter().map(AsRef::as_ref).collect();
        assert_eq!(protocols, alpn, "{client}");
        assert_eq!((&*hello.ja4, hello.ech), (ja4, ech), "{client}");
        // Chromium offers key shares of ML-KEM: more than a segment.
        assert!(client != "chromium" || bytes.len() > 1460);
        let (other, count) = by_rustls(bytes).expect(client);
        assert_eq!(other.as_deref(), sni.map(str::to_lowercase).as_deref());
        assert_eq!(count, alpn.len());
    }
}

#[test]
fn what_is_no_hello() {
    let name = server_name(b"a.example");
    let whole = hello_of(&[(0, &name)]);
    let with = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    let malformed = |bytes: &[u8]| matches!(read(bytes), Err(Unreadable::Malformed(_)));
    for bytes in [
        &b"SSH-2.0-x\r\n"[..],
        b"GET / HTTP/1.1\r\n",
        b"\0",
        &with(1, 2),
    ] {
        assert_eq!(read(bytes), Err(Unreadable::NotTls), "{bytes:?}");
    }
    // SSLv2 has another form.
    assert_eq!(read(&[0x80, 0x2e, 1, 3, 1]), Err(Unreadable::NotTls));
    assert_eq!(read(b""), Ok(None));
    assert_eq!(read(&[22]), Ok(None));
    assert_eq!(read(&whole[..whole.len() - 1]), Ok(None));
    for bytes in [
        with(4, 0), // a shorter record, with the rest behind it
        with(5, 2), // a ServerHello
        with(0, 23),
        vec![21, 3, 1, 0, 2, 1, 0], // a warning before the hello, which a server may pass over
        vec![22, 3, 1, 0, 0],       // an empty record
        vec![22, 3, 1, 0x40, 1],    // one that is too long
        in_one_record(&[&whole[..], &[0]].concat()), // bytes behind it in its record
        hello_of(&[(0, &name), (0, &name)]), // twice
        hello_of(&[(0, &[&name[..], &name[..]].concat())]),
        hello_of(&[(0, b"")]),
        hello_of(&[(0, &server_name(b""))]),
        hello_of(&[(0, &server_name(b"a\0.example"))]),
        hello_of(&[(0, &server_name("\u{e9}.example".as_bytes()))]),
        hello_of(&[(0, &server_name(&[b'a'; 256]))]),
        hello_of(&[(16, &[0, 5, 2, b'h', b'2'])]),
        hello_of(&[(13, &[0, 1, 4])]),
        hello_of(&[(43, &[3, 3, 4, 3])]),
    ] {
        assert!(malformed(&bytes), "{bytes:?}: {:?}", read(&bytes));
    }
    let many: Vec<u8> = b"\x02h2".repeat(MAX_ALPN + 1);
    let many = [&(many.len() as u16).to_be_bytes()[..], &many].concat();
    assert!(malformed(&hello_of(&[(16, &many)])));
}

/// With the length of the first record set to all that is there.
fn in_one_record(bytes: &[u8]) -> Vec<u8> {
    records(&bytes[HEADER..], MAX_RECORD)
}

#[test]
fn a_hello_may_be_long_up_to_the_limit() {
    let name = server_name(b"a.example");
    // Over 16 KiB: more than one record.
    let padding = vec![0; 20_000];
    let long = hello_of(&[(0, &name), (21, &padding)]);
    assert!(long.len() > MAX_RECORD);
    assert_eq!(
        read(&long).unwrap().unwrap().sni.as_deref(),
        Some("a.example")
    );
    let padding = vec![0; MAX_BYTES];
    let longer = hello_of(&[(0, &name), (21, &padding)]);
    // Known from its begin: nothing has to be kept until the limit.
    assert_eq!(read(&longer[..20]), Err(Unreadable::TooLong));
    // Headers of records count as well.
    let tiny = records(
        message(&hello_of(&[(0, &name), (21, &[0; 8000])])).unwrap(),
        1,
    );
    assert!(tiny.len() > MAX_BYTES);
    assert_eq!(read(&tiny), Err(Unreadable::TooLong));
}

#[test]
fn protocols_that_are_no_text_are_shown_in_hexadecimal() {
    let hello = read(&hello_of(&[(16, &[0, 6, 2, 0x0a, 0x8a, 2, b'h', b'2'])]));
    let hello = hello.unwrap().unwrap();
    assert_eq!(hello.alpn, [Box::<str>::from("0x0a8a"), "h2".into()]);
    assert_eq!(&hello.ja4[..10], "t12i01010a");
    assert_eq!(hello.sni, None);
}

#[test]
fn an_alert_is_a_record() {
    let alert = fatal_alert(112);
    assert_eq!(alert, [21, 3, 3, 0, 2, 2, 112]);
}

/// The first flight of a client of rustls.
fn rustls_hello(name: &str, protocols: &[&[u8]]) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

proptest! {
    #[test]
    fn any_fragmentation_gives_the_same(
        which in 0..CAPTURED.len(),
        sizes in prop::collection::vec(1_usize..400, 1..40),
        piece in 1_usize..600,
    ) {
        let (_, bytes) = CAPTURED[which];
        let whole = read(bytes);
        let mut rest = message(bytes).unwrap();
        let mut divided = Vec::new();
        let mut sizes = sizes.into_iter().cycle();
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(sizes.next().unwrap().min(rest.len()));
            divided.extend(records(part, part.len()));
            rest = behind;
        }
        prop_assert_eq!(&whole, &in_pieces(&divided, piece));
        prop_assert_eq!(&whole, &in_pieces(bytes, piece));
        // What comes behind it changes nothing.
        divided.extend_from_slice(b"\x14\x03\x03\0\x01\x01and more");
        prop_assert_eq!(&whole, &in_pieces(&divided, piece));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), is_tls: bool) {
        let bytes = if is_tls { [&[22, 3, 1, 1, 0, 1, 0, 0][..], &bytes].concat() } else { bytes };
        fuzz::client_hello(&bytes);
    }

    #[test]
    fn a_changed_byte_makes_it_panic_neither(
        which in 0..CAPTURED.len(), at in 0_usize..2000, byte: u8,
    ) {
        let mut bytes = CAPTURED[which].1.to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        fuzz::client_hello(&bytes);
    }

    #[test]
    fn agrees_with_rustls_on_its_own_clients(
        name in "[a-z]{1,20}([.][a-z0-9]{1,20}){1,4}[.]example",
        protocols in prop::collection::vec("[a-z]{1,9}", 0..4),
    ) {
        let offered: Vec<&[u8]> = protocols.iter().map(String::as_bytes).collect();
        let bytes = rustls_hello(&name, &offered);
        let hello = read(&bytes).unwrap().unwrap();
        prop_assert_eq!(hello.sni.as_deref(), Some(&*name));
        prop_assert_eq!(by_rustls(&bytes), Some((Some(name), protocols.len())));
        let protocols: Vec<Box<str>> = protocols.into_iter().map(Into::into).collect();
        prop_assert_eq!(&*hello.alpn, &*protocols);
        prop_assert_eq!(&hello.ja4[..4], "t13d");
    }
}
