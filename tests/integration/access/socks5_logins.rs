//! Who a client of SOCKS5 is: the users, tokens, networks, certificates and lock-outs of all other clients.

use serde_json::json;

use crate::support::client::Wire;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, COLON, UNICODE};
use crate::support::socks5::{
    self, BOTH, CONNECT, LOGIN, NONE, address, ask, login, login_of, reply,
};
use crate::support::tls::Authority;
use crate::support::{authorizer, eventually};

/// Offers `methods`, and returns the method that is chosen.
fn offer(proxy: &Proxy, methods: &[u8]) -> (u8, Wire) {
    let mut wire = proxy.connect();
    wire.send(methods).unwrap();
    let answer = wire.read_bytes(2).unwrap();
    assert_eq!(answer[0], 5);
    (answer[1], wire)
}

/// The answer to a login.
fn try_login(proxy: &Proxy, message: &[u8]) -> (Vec<u8>, Wire) {
    let (method, mut wire) = offer(proxy, LOGIN);
    assert_eq!(method, 2);
    wire.send(message).unwrap();
    (wire.read_bytes(2).unwrap(), wire)
}

#[test]
fn users_are_those_of_the_password_file() {
    let proxy = socks5::proxy("{}");
    let echo = Origin::echo();
    for user in [ALICE, COLON, UNICODE] {
        let (code, _wire) = ask(&proxy, user, &address(CONNECT, echo.address));
        assert_eq!(code, 0, "{user:?}");
    }
    let long = "p".repeat(255);
    for (number, (message, error)) in (1..).zip([
        (login(("alice", "wrong")), "credentials_wrong"),
        (login(("nobody", "wrong")), "credentials_wrong"),
        (login(("alice", &long)), "credentials_wrong"),
        (login_of(b"alice", b""), "credentials_wrong"),
        (login_of(b"", b""), "credentials_malformed"),
        // In Basic this would be the user `a` with the password `b:c`.
        (login(("a:b", "c")), "credentials_malformed"),
        (login_of(b"al\xffice", b"secret"), "credentials_malformed"),
        (login_of(b"alice", b"a\nb"), "credentials_malformed"),
    ]) {
        let shown = message.escape_ascii().to_string();
        let (answer, mut wire) = try_login(&proxy, &message);
        assert_eq!(answer, [1, 1], "{shown}");
        wire.assert_closed();
        let failed = |record: &&serde_json::Value| record["status"] == 407;
        let records = eventually("the record", || {
            let records = proxy.records();
            (records.iter().filter(failed).count() == number).then_some(records)
        });
        let record = records.iter().rfind(failed).unwrap();
        assert_eq!(record["error"], error, "{shown}: {record}");
        assert_eq!(record["target"], "", "{record}");
        assert!(record["user"].is_null(), "{record}");
        assert!(!record.to_string().contains("secret"), "{record}");
    }
    let wrong = "tollgate_auth_failures_total{reason=\"credentials_wrong\"}";
    assert_eq!(proxy.metric(wrong), 4);
}

#[test]
fn a_login_is_asked_for_unless_the_network_says_who_it_is() {
    let proxy = socks5::proxy("{}");
    for (methods, chosen) in [
        (NONE, 0xff),
        (BOTH, 2),
        (LOGIN, 2),
        (&[5, 0][..], 0xff),
        (&[5, 2, 1, 3], 0xff),
    ] {
        let (method, mut wire) = offer(&proxy, methods);
        assert_eq!(method, chosen, "{methods:?}");
        if chosen == 0xff {
            wire.assert_closed();
        }
    }
    let record = proxy.record("no login", |record| {
        record["error"] == "credentials_missing"
    });
    assert_eq!(record["status"], 407, "{record}");

    let proxy =
        socks5::proxy("auth: { trusted_networks: [{ networks: [127.0.0.0/8], user: office }] }");
    let echo = Origin::echo();
    let there = address(CONNECT, echo.address);
    let (method, mut wire) = offer(&proxy, NONE);
    assert_eq!(method, 0);
    wire.send(&there).unwrap();
    assert_eq!(reply(&mut wire).unwrap().0, 0);
    drop(wire);
    let record = proxy.record("the tunnel", |record| record["status"] == 200);
    assert_eq!(
        (&record["user"], &record["auth"]),
        (&"office".into(), &"network".into())
    );
    // Credentials that are sent count, as in HTTP.
    assert_eq!(ask(&proxy, ALICE, &there).0, 0);
    proxy.record("hers", |record| record["user"] == ALICE.0);
    assert_eq!(try_login(&proxy, &login(("alice", "wrong"))).0, [1, 1]);
    // As Java sends it: it offers a login and has none.
    assert_eq!(try_login(&proxy, &login_of(b"root", b"")).0, [1, 0]);
}

#[test]
fn failed_logins_lock_out_with_those_of_http() {
    let proxy = socks5::proxy("auth: { lockout: { first: 1h, max: 1h, window: 1h } }");
    for number in 0..5 {
        let wrong = format!("wrong {number}");
        assert_eq!(try_login(&proxy, &login(("alice", &wrong))).0, [1, 1]);
    }
    assert_eq!(try_login(&proxy, &login(ALICE)).0, [1, 1]);
    let record = proxy.record("the lock", |record| record["error"] == "locked_out");
    assert_eq!(record["status"], 429, "{record}");
}

#[test]
fn the_authoriser_decides_with_the_request() {
    let service = authorizer::service(|question| {
        let admits = question["password"] == "right" && question["target"] != "";
        json!({ "allow": admits })
    });
    let setup: Setup = socks5::setup("only");
    let yaml = authorizer::config(&service, "ask: unknown_users, send_password: true");
    let proxy = setup.config(&yaml).start();
    let echo = Origin::echo();
    let there = address(CONNECT, echo.address);
    assert_eq!(ask(&proxy, ("dave", "right"), &there).0, 0);
    let record = proxy.record("the tunnel", |record| record["status"] == 200);
    assert_eq!(
        (&record["user"], &record["auth"]),
        (&"dave".into(), &"external".into())
    );
    let asked = authorizer::questions(&service);
    assert_eq!(asked[0]["method"], "CONNECT", "{asked:?}");
    // Whether the login is right is known with the request alone.
    assert_eq!(ask(&proxy, ("dave", "wrong"), &there).0, 2);
    // Users of the password file hear it at once.
    assert_eq!(try_login(&proxy, &login(("alice", "wrong"))).0, [1, 1]);
}

#[test]
fn a_certificate_is_the_user() {
    let (authority, clients) = (Authority::new(), Authority::of_name("clients"));
    let keys = "socks5: only
    tls: { certificate: cert.pem, key: key.pem, client_ca: clients.pem, certificate_user: cn }";
    let proxy = Setup::new()
        .file("clients.pem", clients.pem())
        .secure_listener(&authority.issue(&["proxy.test"]), keys)
        .start();
    let echo = Origin::echo();
    let shown = clients.issue_with(&[], |it| {
        it.distinguished_name
            .push(rcgen::DnType::CommonName, "alice");
    });
    let connect = || {
        let socket = std::net::TcpStream::connect(proxy.secure_address()).unwrap();
        let session = authority.session(socket, "proxy.test", rustls::ALL_VERSIONS, Some(&shown));
        let socket = session.sock.try_clone().unwrap();
        Wire::over(Box::new(session), socket).unwrap()
    };
    let mut wire = connect();
    wire.send(NONE).unwrap();
    assert_eq!(wire.read_bytes(2).unwrap(), [5, 0]);
    wire.send(address(CONNECT, echo.address)).unwrap();
    assert_eq!(reply(&mut wire).unwrap().0, 0);
    // Credentials beside it are of the same user.
    for (user, answer) in [(ALICE, [1, 0]), (UNICODE, [1, 1])] {
        let mut wire = connect();
        wire.send(LOGIN).unwrap();
        assert_eq!(wire.read_bytes(2).unwrap(), [5, 2]);
        wire.send(login(user)).unwrap();
        assert_eq!(wire.read_bytes(2).unwrap(), answer, "{user:?}");
    }
}
