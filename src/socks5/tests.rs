//! The messages of both sides, byte for byte, and the two sides against each other.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::client::{Bound, Handshake, HandshakeError, Step};
use super::message::{MessageError, Progress};
use super::server::{Command, Greeting, Login, Method, Request, login_reply, reply};
use super::{Address, EncodeError, ReplyCode, fuzz};

#[test]
fn a_greeting_is_a_set_of_methods() {
    let greeting = |data: &[u8]| match Greeting::parse(data) {
        Ok(Progress::Complete(it, length)) => Some((it.without_login, it.with_password, length)),
        _ => None,
    };
    assert_eq!(greeting(b"\x05\x01\x00"), Some((true, false, 3)));
    assert_eq!(greeting(b"\x05\x02\x00\x02"), Some((true, true, 4)));
    assert_eq!(
        greeting(b"\x05\x03\x01\x02\x80rest"),
        Some((false, true, 5))
    );
    assert_eq!(greeting(b"\x05\x00"), Some((false, false, 2)));
    assert_eq!(Greeting::parse(b"\x04"), Err(MessageError::Version));
    assert_eq!(Greeting::parse(b""), Ok(Progress::Needs(1)));
    assert_eq!(Greeting::parse(b"\x05\x03\x00"), Ok(Progress::Needs(2)));
    assert_eq!(Method::None.to_bytes(), [5, 0]);
    assert_eq!(Method::Password.to_bytes(), [5, 2]);
    assert_eq!(Method::Unacceptable.to_bytes(), [5, 0xff]);
}

#[test]
fn a_login_is_two_strings_of_bytes_that_do_not_show() {
    let Ok(Progress::Complete(login, 9)) = Login::parse(b"\x01\x03b\xc3\xbc\x03p:wRest") else {
        panic!("a login of nine bytes");
    };
    assert_eq!(
        (login.user, login.password),
        (&b"b\xc3\xbc"[..], &b"p:w"[..])
    );
    assert_eq!(format!("{login:?}"), "Login(..)");
    let empty = Login::parse(b"\x01\x00\x00");
    assert!(matches!(empty, Ok(Progress::Complete(_, 3))), "{empty:?}");
    assert_eq!(Login::parse(b"\x05\x01"), Err(MessageError::LoginVersion));
    assert_eq!((login_reply(true), login_reply(false)), ([1, 0], [1, 1]));
}

#[test]
fn a_request_names_a_host_of_each_type() {
    let request = |data| match Request::parse(data) {
        Ok(Progress::Complete(it, length)) => Ok((it.command, it.address, it.port, length)),
        Ok(Progress::Needs(more)) => panic!("{more} missing"),
        Err(error) => Err(error),
    };
    let ip = |text: &str| Address::Ip(text.parse().unwrap());
    assert_eq!(
        request(b"\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb\x16"),
        Ok((Command::Connect, ip("192.0.2.1"), 443, 10))
    );
    assert_eq!(
        request(b"\x05\x02\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50"),
        Ok((Command::Bind, ip("2001:db8::1"), 80, 22))
    );
    assert_eq!(
        request(b"\x05\x03\x00\x03\x04host\x00\x00"),
        Ok((Command::UdpAssociate, Address::Name(b"host"), 0, 11))
    );
    assert!(matches!(
        request(b"\x05\x09\x00\x03\x01h\x00\x01"),
        Ok((Command::Other(9), ..))
    ));
    assert_eq!(request(b"\x04"), Err(MessageError::Version));
    assert_eq!(request(b"\x05\x01\x01"), Err(MessageError::Reserved));
    assert_eq!(request(b"\x05\x01\x00\x02"), Err(MessageError::AddressType));
    assert_eq!(
        request(b"\x05\x01\x00\x03\x00"),
        Err(MessageError::EmptyName)
    );
}

#[test]
fn a_reply_has_the_bound_address_or_none() {
    let bound = |text: &str| Some(text.parse().unwrap());
    assert_eq!(
        reply(ReplyCode::SUCCEEDED, bound("192.0.2.1:443")),
        b"\x05\x00\x00\x01\xc0\x00\x02\x01\x01\xbb"
    );
    assert_eq!(
        reply(ReplyCode::SUCCEEDED, bound("[::ffff:192.0.2.1]:443")),
        b"\x05\x00\x00\x01\xc0\x00\x02\x01\x01\xbb"
    );
    assert_eq!(
        reply(ReplyCode::SUCCEEDED, bound("[2001:db8::1]:80")),
        b"\x05\x00\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50"
    );
    assert_eq!(
        reply(ReplyCode::CONNECTION_REFUSED, None),
        b"\x05\x05\x00\x01\0\0\0\0\0\0"
    );
    assert_eq!(
        ReplyCode::NOT_ALLOWED.to_string(),
        "connection not allowed by ruleset (2)"
    );
    assert_eq!(ReplyCode(77).to_string(), "unknown reply (77)");
}

/// A handshake of a client with what its server says, all at once.
fn shake(
    login: Option<(&[u8], &[u8])>,
    mut server: &[u8],
) -> Result<(Bound, usize), HandshakeError> {
    let mut handshake = Handshake::new(Address::Name(b"host"), 443, login).unwrap();
    loop {
        match handshake.advance(server)? {
            Step::Read(more) => panic!("{more} missing"),
            Step::Send(length, _) => server = &server[length..],
            Step::Open(length, bound) => return Ok((bound, server.len() - length)),
        }
    }
}

#[test]
fn a_client_knows_every_way_to_be_refused() {
    let login: Option<(&[u8], &[u8])> = Some((b"user", b"password"));
    let refused = |login, server| shake(login, server).unwrap_err();
    assert_eq!(refused(None, b"\x04\x00"), MessageError::Version.into());
    assert_eq!(
        refused(None, b"\x05\xff"),
        HandshakeError::NoAcceptableMethod
    );
    assert_eq!(refused(None, b"\x05\x02"), HandshakeError::UnofferedMethod);
    assert_eq!(refused(login, b"\x05\x01"), HandshakeError::UnofferedMethod);
    assert_eq!(
        refused(login, b"\x05\x02\x01\x01"),
        HandshakeError::LoginRefused
    );
    assert_eq!(
        refused(login, b"\x05\x02\x05\x00"),
        MessageError::LoginVersion.into()
    );
    // From the code alone, of a server that closes behind it.
    assert_eq!(
        refused(login, b"\x05\x02\x01\x00\x05\x02"),
        HandshakeError::Refused(ReplyCode::NOT_ALLOWED)
    );
    assert_eq!(
        refused(None, b"\x05\x00\x05\x00\x00\x05"),
        MessageError::AddressType.into()
    );
}

#[test]
fn a_client_leaves_what_the_target_says() {
    let v4 = shake(
        None,
        b"\x05\x00\x05\x00\x00\x01\xc0\x00\x02\x01\x01\xbbSSH-2.0",
    )
    .unwrap();
    let address = "192.0.2.1:443".parse().unwrap();
    assert_eq!(v4, (Bound::Address(address), 7));
    let name = shake(
        Some((b"u", b"p")),
        b"\x05\x02\x01\x00\x05\x00\x00\x03\x00\x00\x00x",
    )
    .unwrap();
    assert_eq!(name, (Bound::Name, 1));
}

#[test]
fn what_does_not_fit_is_not_sent() {
    let long = [b'a'; 256];
    let new = |host, login| Handshake::new(Address::Name(host), 1, login).map(|_| ());
    assert_eq!(new(b"", None), Err(EncodeError::Name));
    assert_eq!(new(&long, None), Err(EncodeError::Name));
    assert_eq!(new(&long[1..], None), Ok(()));
    assert_eq!(new(b"h", Some((b"", b"p"))), Err(EncodeError::User));
    assert_eq!(new(b"h", Some((&long, b"p"))), Err(EncodeError::User));
    assert_eq!(new(b"h", Some((b"u", b""))), Err(EncodeError::Password));
    assert_eq!(new(b"h", Some((b"u", &long))), Err(EncodeError::Password));
    assert_eq!(new(b"h", Some((&long[1..], &long[1..]))), Ok(()));
    let handshake = Handshake::new(Address::Name(b"h"), 1, Some((b"user", b"secret"))).unwrap();
    assert!(!format!("{handshake:?}").contains("secret"));
}

#[derive(Clone, Debug)]
enum Place {
    Ip(IpAddr),
    Name(Vec<u8>),
}

impl Place {
    fn address(&self) -> Address<'_> {
        match self {
            Self::Ip(ip) => Address::Ip(*ip),
            Self::Name(name) => Address::Name(name),
        }
    }
}

fn places() -> impl Strategy<Value = Place> {
    prop_oneof![
        any::<IpAddr>().prop_map(Place::Ip),
        prop::collection::vec(any::<u8>(), 1..=255).prop_map(Place::Name),
    ]
}

fn strings() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 1..=255)
}

/// The message at the start of `data`, which is cut off, as `parse` reads it.
fn cut<'a, T>(
    data: &'a [u8],
    parse: impl Fn(&'a [u8]) -> Result<Progress<T>, MessageError>,
) -> (T, &'a [u8]) {
    match parse(data) {
        Ok(Progress::Complete(value, length)) => (value, &data[length..]),
        other => panic!("{:?}", other.map(|_| "incomplete")),
    }
}

/// Parts of messages, to be put together at random.
const PARTS: &[&[u8]] = &[
    b"\x05\x00",
    b"\x05\x02",
    b"\x05\x02\x00\x02",
    b"\x01\x00",
    b"\x05\x01\x00",
    b"\x05\x00\x00",
    b"\x01\x7f\0\0\x01",
    b"\x03\x04host",
    b"\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01",
    b"\x01\x04user\x08password",
    b"\x01\xbb",
    b"\xff",
];

proptest! {
    /// What the client's side sends is what the server's side reads, and back.
    #[test]
    fn the_two_sides_understand_each_other(
        place in places(),
        port: u16,
        login in prop::option::of((strings(), strings())),
        wants_login: bool,
        bound: SocketAddr,
        early in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let login = login.as_ref().map(|(user, password)| (&user[..], &password[..]));
        let mut client = Handshake::new(place.address(), port, login).unwrap();
        let (greeting, rest) = cut(client.begin(), Greeting::parse);
        prop_assert!(rest.is_empty() && greeting.without_login);
        prop_assert_eq!(greeting.with_password, login.is_some());
        let method = if wants_login && greeting.with_password { Method::Password } else { Method::None };
        let mut step = client.advance(&method.to_bytes()).unwrap();
        if method == Method::Password {
            let Step::Send(2, message) = &step else { panic!("{step:?}") };
            let (read, rest) = cut(message, Login::parse);
            prop_assert_eq!(Some((read.user, read.password)), login);
            prop_assert!(rest.is_empty());
            step = client.advance(&login_reply(true)).unwrap();
        }
        let Step::Send(2, message) = &step else { panic!("{step:?}") };
        let (request, rest) = cut(message, Request::parse);
        prop_assert!(rest.is_empty());
        let sent = Request { command: Command::Connect, address: place.address(), port };
        prop_assert_eq!(request, sent);
        let mut message = reply(ReplyCode::SUCCEEDED, Some(bound));
        let length = message.len();
        message.extend_from_slice(&early);
        let open = client.advance(&message).unwrap();
        let ip = bound.ip().to_canonical();
        prop_assert_eq!(open, Step::Open(length, Bound::Address(SocketAddr::new(ip, bound.port()))));
    }

    /// Messages that are nearly right, in every cut.
    #[test]
    fn a_cut_changes_nothing(
        parts in prop::collection::vec(prop::sample::select(PARTS), 0..6),
        noise in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        fuzz::socks5(&[&parts.concat()[..], &noise].concat());
    }

    #[test]
    fn no_bytes_break_it(data in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz::socks5(&data);
    }
}
