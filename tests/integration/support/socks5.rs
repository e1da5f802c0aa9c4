//! A client of SOCKS5, message by message.

use std::io;
use std::net::SocketAddr;

use super::client::Wire;
use super::proxy::{Proxy, Setup};

/// Offers no authentication, a login, or both.
pub(crate) const NONE: &[u8] = &[5, 1, 0];
pub(crate) const LOGIN: &[u8] = &[5, 1, 2];
pub(crate) const BOTH: &[u8] = &[5, 2, 0, 2];

pub(crate) const CONNECT: u8 = 1;

/// What is configured as `socks5` of the only listener.
pub(crate) fn setup(word: &str) -> Setup {
    let setup = Setup::new();
    let yaml = format!(
        "listeners: [{{ address: \"{}\", socks5: {word} }}]",
        setup.address()
    );
    setup.config(&yaml)
}

/// A proxy with SOCKS5 alone, and with `yaml` laid over.
pub(crate) fn proxy(yaml: &str) -> Proxy {
    setup("only").config(yaml).start()
}

fn counted(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

pub(crate) fn login((user, password): (&str, &str)) -> Vec<u8> {
    login_of(user.as_bytes(), password.as_bytes())
}

pub(crate) fn login_of(user: &[u8], password: &[u8]) -> Vec<u8> {
    [vec![1], counted(user), counted(password)].concat()
}

/// A request with a name.
pub(crate) fn name(command: u8, name: impl AsRef<[u8]>, port: u16) -> Vec<u8> {
    let name = counted(name.as_ref());
    [&[5, command, 0, 3], &name[..], &port.to_be_bytes()].concat()
}

/// A request with an address.
pub(crate) fn address(command: u8, address: SocketAddr) -> Vec<u8> {
    let (kind, ip) = match address {
        SocketAddr::V4(v4) => (1, v4.ip().octets().to_vec()),
        SocketAddr::V6(v6) => (4, v6.ip().octets().to_vec()),
    };
    let port = address.port().to_be_bytes();
    [&[5, command, 0, kind], &ip[..], &port].concat()
}

/// Reads a reply: its code, and the address that it has.
pub(crate) fn reply(wire: &mut Wire) -> io::Result<(u8, SocketAddr)> {
    let head = wire.read_bytes(4)?;
    assert_eq!((head[0], head[2]), (5, 0), "{head:?}");
    let ip = match head[3] {
        1 => <[u8; 4]>::try_from(wire.read_bytes(4)?).unwrap().into(),
        4 => <[u8; 16]>::try_from(wire.read_bytes(16)?).unwrap().into(),
        other => panic!("address type {other}"),
    };
    let port = u16::from_be_bytes(wire.read_bytes(2)?.try_into().unwrap());
    Ok((head[1], SocketAddr::new(ip, port)))
}

/// Goes up to a verified login.
pub(crate) fn log_in(wire: &mut Wire, user: (&str, &str)) {
    wire.send(LOGIN).unwrap();
    assert_eq!(wire.read_bytes(2).unwrap(), [5, 2]);
    wire.send(login(user)).unwrap();
    assert_eq!(wire.read_bytes(2).unwrap(), [1, 0]);
}

/// Sends a request of a user on a connection of its own. Returns the code, and the connection.
pub(crate) fn ask(proxy: &Proxy, user: (&str, &str), request: &[u8]) -> (u8, Wire) {
    let mut wire = proxy.connect();
    log_in(&mut wire, user);
    wire.send(request).unwrap();
    let (code, _) = reply(&mut wire).unwrap();
    (code, wire)
}
