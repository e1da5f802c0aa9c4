//! Who comes in: passwords, the lock-out, certificates, and what the pages of other sites could send.

use std::net::TcpStream;

use rcgen::DnType;
use rustix::process::Signal;

use crate::support::admin::{CHANGE, ROOT, ask, json, kind, login, request, root, with_users};
use crate::support::client::Wire;
use crate::support::command::{program, run};
use crate::support::eventually;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, sha_line};
use crate::support::tls::{Authority, Identity};

const STATUS: &str = "/api/v1/status";

/// Nothing that an answer must not have.
fn assert_no_secret(text: &str) {
    assert!(!text.contains("canary-"), "{text}");
}

#[test]
fn users_alone_come_in() {
    let proxy = with_users().start();
    let get = |path: &str, fields: &str| ask(&proxy, "GET", path, fields, "");
    for path in [
        STATUS,
        "/metrics",
        "/stats",
        "/",
        "/quotas",
        "/api/v1/nothing",
        "/nothing",
    ] {
        let answer = get(path, "");
        assert_eq!(answer.status(), 401, "{path}");
        let challenge = answer.field("www-authenticate").unwrap();
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
    }
    assert_eq!(ask(&proxy, "POST", "/reload", "", "").status(), 401);
    assert_eq!(kind(&get(STATUS, "")), "credentials_missing");
    assert_eq!(get("/healthz", "").text(), "ok\n");
    let answer = get(STATUS, &login(ROOT));
    assert_eq!(answer.status(), 200);
    assert_eq!(json(&answer)["operator"], "root");
    assert_eq!(json(&answer)["can_change"], true);
    // The users of the proxy are others.
    for wrong in [
        ALICE,
        ("root", "canary-wrong"),
        ("nobody", "canary-x"),
        ("", ""),
    ] {
        let answer = get(STATUS, &login(wrong));
        assert_eq!(answer.status(), 401, "{wrong:?}");
        assert_no_secret(&answer.text());
    }
    for malformed in ["Basic", "Basic !!", "Bearer canary-token", "Digest x"] {
        let answer = get(STATUS, &format!("Authorization: {malformed}\r\n"));
        assert_eq!(answer.status(), 401, "{malformed}");
        assert_no_secret(&answer.text());
    }
    // Credentials for the proxy are none for this service.
    let answer = get(
        STATUS,
        &login(ROOT).replace("Authorization", "Proxy-Authorization"),
    );
    assert_eq!(answer.status(), 401);
    assert_no_secret(&proxy.errors());
}

#[test]
fn metrics_are_public_by_choice() {
    let proxy = with_users()
        .config("admin: { public_metrics: true, dashboard: false }")
        .start();
    assert_eq!(ask(&proxy, "GET", "/metrics", "", "").status(), 200);
    assert_eq!(ask(&proxy, "GET", "/stats", "", "").status(), 401);
    assert_eq!(root(&proxy, "GET", "/", "").status(), 404);
}

#[test]
fn failed_logins_lock_out_here_and_not_at_the_proxy() {
    let proxy = with_users()
        .config("auth: { lockout: { first: 1h, max: 1h, window: 1h } }")
        .start();
    let guess = |number| {
        let fields = login((ROOT.0, &format!("canary-guess-{number}")));
        ask(&proxy, "GET", STATUS, &fields, "")
    };
    let answers: Vec<_> = (0..8).map(guess).collect();
    let last = answers.last().unwrap();
    assert_eq!(last.status(), 429, "{}", last.text());
    assert_eq!(kind(last), "locked_out");
    assert!(last.field("retry-after").is_some());
    assert_eq!(answers[0].status(), 401);
    // The right password waits too, from this network.
    assert_eq!(ask(&proxy, "GET", STATUS, &login(ROOT), "").status(), 429);
    let mut other = Wire::connect_from("127.0.0.2", proxy.admin_address()).unwrap();
    let text = request(proxy.admin_address(), "GET", STATUS, &login(ROOT), "");
    assert_eq!(other.exchange(text).status(), 200);
    // Clients of the proxy are not concerned.
    assert_ne!(proxy.fetch("http://10.0.0.1/").status(), 429);
    let line = "the user \"root\" of the admin service at 127.0.0.1 is locked out";
    eventually("the line of the log", || {
        proxy.errors().contains(line).then_some(())
    });
}

#[test]
fn a_reload_replaces_the_users() {
    let proxy = with_users().start();
    assert_eq!(root(&proxy, "GET", STATUS, "").status(), 200);
    let second = ("second", "canary-second");
    std::fs::write(proxy.path("admins.htpasswd"), sha_line(second)).unwrap();
    let answer = root(&proxy, "POST", "/api/v1/reload", "");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(json(&answer)["applied"][0], "tollgate.admin.users");
    assert_eq!(root(&proxy, "GET", STATUS, "").status(), 401);
    assert_eq!(ask(&proxy, "GET", STATUS, &login(second), "").status(), 200);
    // Whether there are users at all is for a restart.
    proxy.rewrite("admin: { users: null }");
    let file = proxy.path("pingora.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let without: String = text
        .lines()
        .filter(|line| !line.contains("admins.htpasswd"))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&file, without).unwrap();
    let answer = ask(&proxy, "POST", "/reload", &login(second), "");
    assert_eq!(
        json(&answer)["restart_needed"][0],
        "tollgate.admin.users",
        "{}",
        answer.text()
    );
    assert_eq!(ask(&proxy, "GET", STATUS, "", "").status(), 401);
}

#[test]
fn without_users_nothing_changes_but_by_a_reload() {
    let proxy = Proxy::plain();
    let status = ask(&proxy, "GET", STATUS, "", "");
    assert_eq!(json(&status)["can_change"], false);
    for (method, path, body) in [
        ("POST", "/api/v1/drain", ""),
        ("POST", "/api/v1/log-level", r#"{"level": "off"}"#),
        ("DELETE", "/api/v1/tunnels/1", ""),
        ("DELETE", "/api/v1/users/alice/tunnels", ""),
        ("POST", "/quotas/reset?user=alice", ""),
        ("POST", "/quotas/grant?user=alice&bytes=1GiB", ""),
    ] {
        let answer = ask(&proxy, method, path, CHANGE, body);
        assert_eq!(answer.status(), 403, "{method} {path}");
        match path.starts_with("/api/") {
            true => assert_eq!(kind(&answer), "read_only"),
            false => assert!(
                answer.text().contains("changes nothing"),
                "{}",
                answer.text()
            ),
        }
    }
    assert_eq!(
        ask(&proxy, "POST", "/api/v1/reload", CHANGE, "").status(),
        200
    );
    let question = r#"{"user": "alice", "target": "127.0.0.1:1"}"#;
    assert_eq!(
        ask(&proxy, "POST", "/api/v1/explain", CHANGE, question).status(),
        200
    );
}

#[test]
fn another_name_gets_421_unless_it_is_configured() {
    let proxy = with_users()
        .config("admin: { allowed_hosts: [ops.example.org] }")
        .start();
    let of = |host: &str| {
        let fields = format!("Host: {host}\r\n{}", login(ROOT));
        ask(&proxy, "GET", STATUS, &fields, "")
    };
    let port = proxy.admin_address().port();
    for host in [
        format!("127.0.0.1:{port}"),
        "localhost".into(),
        format!("OPS.example.org:{port}"),
        "[::1]".into(),
    ] {
        assert_eq!(of(&host).status(), 200, "{host}");
    }
    for host in [
        "rebound.example",
        "x.ops.example.org",
        "ops.example.org.evil.example",
        "127.0.0.1.evil.example",
    ] {
        let answer = of(host);
        assert_eq!(answer.status(), 421, "{host}");
        assert_eq!(kind(&answer), "host_unknown");
    }
    // Two of them, or none but in the target.
    let both = format!(
        "Host: 127.0.0.1\r\nHost: rebound.example\r\n{}",
        login(ROOT)
    );
    assert!([400, 421].contains(&ask(&proxy, "GET", STATUS, &both, "").status()));
    let absolute = ask(
        &proxy,
        "GET",
        &format!("http://rebound.example{STATUS}"),
        &login(ROOT),
        "",
    );
    assert!(
        [400, 421].contains(&absolute.status()),
        "{}",
        absolute.status()
    );
    // Before anyone is asked for a password.
    assert_eq!(
        ask(&proxy, "GET", "/healthz", "Host: rebound.example\r\n", "").status(),
        421
    );
}

#[test]
fn what_a_page_of_another_site_can_send_changes_nothing() {
    let proxy = with_users().start();
    let own = format!("Origin: http://{}\r\n", proxy.admin_address());
    let user = login(ROOT);
    let cases: [(&str, String, u16); 8] = [
        // A form: the browser adds the password that it remembers, and an Origin.
        (
            "a form",
            format!("{user}Origin: https://evil.example\r\nContent-Type: text/plain\r\n"),
            403,
        ),
        (
            "a form in a sandbox",
            format!("{user}Origin: null\r\n"),
            403,
        ),
        ("an old browser", user.clone(), 403),
        (
            "a script without leave",
            format!("{user}Origin: https://evil.example\r\n{CHANGE}"),
            403,
        ),
        (
            "another port",
            format!("{user}Origin: http://127.0.0.1:1\r\n{CHANGE}"),
            403,
        ),
        (
            "a cross-site fetch",
            format!("{user}Sec-Fetch-Site: cross-site\r\n{CHANGE}"),
            403,
        ),
        ("the page itself", format!("{user}{own}{CHANGE}"), 200),
        ("a program", format!("{user}{CHANGE}"), 200),
    ];
    for (who, fields, expected) in cases {
        let answer = ask(
            &proxy,
            "DELETE",
            "/api/v1/users/nobody/tunnels",
            &fields,
            "",
        );
        assert_eq!(answer.status(), expected, "{who}: {}", answer.text());
    }
    // A preflight is not answered with leave.
    let preflight = format!(
        "{user}Origin: https://evil.example\r\nAccess-Control-Request-Method: DELETE\r\n\
         Access-Control-Request-Headers: tollgate-request\r\n"
    );
    let answer = ask(
        &proxy,
        "OPTIONS",
        "/api/v1/users/nobody/tunnels",
        &preflight,
        "",
    );
    assert_eq!(answer.status(), 405);
    assert!(!answer.head.fields.has("access-control-allow-origin"));
    // The paths from before need the field beside an Origin alone.
    assert_eq!(ask(&proxy, "POST", "/reload", &user, "").status(), 200);
    assert_eq!(
        ask(&proxy, "POST", "/reload", &format!("{user}{own}"), "").status(),
        403
    );
    assert_eq!(
        ask(
            &proxy,
            "POST",
            "/reload",
            &format!("{user}{own}{CHANGE}"),
            ""
        )
        .status(),
        200
    );
}

#[test]
fn every_answer_keeps_browsers_in() {
    let proxy = with_users().start();
    let answers = [
        ask(&proxy, "GET", "/healthz", "", ""),
        ask(&proxy, "GET", STATUS, "", ""),
        ask(&proxy, "GET", STATUS, "Host: evil.example\r\n", ""),
        root(&proxy, "GET", STATUS, ""),
        root(&proxy, "GET", "/metrics", ""),
        root(&proxy, "GET", "/nothing", ""),
        root(&proxy, "PUT", STATUS, ""),
        root(&proxy, "DELETE", "/api/v1/tunnels/1", ""),
    ];
    for answer in answers {
        let policy = answer.field("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.field(name), Some(value), "{:?}", answer.head.start);
        }
        assert!(!answer.head.fields.has("set-cookie"));
    }
}

fn with_tls(authority: &Authority, rest: &str) -> Setup {
    let identity = authority.issue(&["admin.test"]);
    let tls = format!("admin: {{ tls: {{ certificate: admin.pem, key: admin.key{rest} }} }}");
    Setup::new()
        .file("admin.pem", &identity.certificate_pem)
        .file("admin.key", &identity.key_pem)
        .file("clients.pem", authority.pem())
        .file("admins.htpasswd", sha_line(ROOT))
        .config(&tls)
}

fn over_tls(proxy: &Proxy, authority: &Authority, shown: Option<&Identity>) -> Wire {
    let socket = TcpStream::connect(proxy.admin_address()).unwrap();
    let stream = authority.session(socket, "admin.test", rustls::ALL_VERSIONS, shown);
    let socket = stream.sock.try_clone().unwrap();
    Wire::over(Box::new(stream), socket).unwrap()
}

#[test]
fn tls_and_certificates() {
    let authority = Authority::new();
    let proxy = with_tls(&authority, ", client_ca: clients.pem, certificate_user: cn")
        .config("admin: { users: admins.htpasswd }")
        .start();
    let named = |name: &str| {
        authority.issue_with(&["client.test"], |params| {
            params.distinguished_name.push(DnType::CommonName, name);
        })
    };
    let address = proxy.admin_address();
    let get = |fields: &str| request(address, "GET", STATUS, fields, "");
    // A certificate is enough.
    let operator = named("ops");
    let mut wire = over_tls(&proxy, &authority, Some(&operator));
    let answer = wire.exchange(get(""));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(json(&answer)["operator"], "ops");
    // So is a password, and neither is nothing.
    let mut wire = over_tls(&proxy, &authority, None);
    assert_eq!(wire.exchange(get("")).status(), 401);
    let answer = wire.exchange(get(&login(ROOT)));
    assert_eq!(json(&answer)["operator"], "root");
    assert_eq!(
        wire.exchange(request(address, "GET", "/healthz", "", ""))
            .status(),
        200
    );
    // The page's origin is that of https.
    let change = |origin: &str| format!("{}{CHANGE}Origin: {origin}://{address}\r\n", login(ROOT));
    let path = "/api/v1/users/nobody/tunnels";
    let answer = wire.exchange(request(address, "DELETE", path, &change("https"), ""));
    assert_eq!(answer.status(), 200);
    let answer = wire.exchange(request(address, "DELETE", path, &change("http"), ""));
    assert_eq!(answer.status(), 403);
    // One of another authority does not get through the handshake.
    let stranger = Authority::of_name("another").issue(&["client.test"]);
    let mut wire = over_tls(&proxy, &authority, Some(&stranger));
    let refused = wire.send(get("")).and_then(|()| wire.response("GET"));
    assert!(refused.is_err(), "{refused:?}");
    // HTTP without TLS gets an answer or an end, and nothing is served.
    let mut plain = Wire::connect(address).unwrap();
    plain.send(get(&login(ROOT))).unwrap();
    let rest = plain.rest();
    assert!(
        !rest.windows(8).any(|part| part == b"operator"),
        "{:?}",
        String::from_utf8_lossy(&rest)
    );
}

#[test]
fn a_revoked_certificate_is_refused_at_the_next_request() {
    let authority = Authority::new();
    let proxy = with_tls(
        &authority,
        ", client_ca: clients.pem, client_crl: [clients.crl]",
    )
    .file("clients.crl", authority.list(&[]))
    .start();
    let client = authority.issue(&["client.test"]);
    let address = proxy.admin_address();
    let get = || request(address, "GET", STATUS, "", "");
    let mut wire = over_tls(&proxy, &authority, Some(&client));
    assert_eq!(wire.exchange(get()).status(), 200);
    // Without `users` nothing else is a way in.
    let answer = over_tls(&proxy, &authority, None).exchange(get());
    assert_eq!(
        (answer.status(), kind(&answer)),
        (403, "certificate_missing".to_owned())
    );
    std::fs::write(proxy.path("clients.crl"), authority.list(&[&client])).unwrap();
    proxy.signal(Signal::HUP);
    let answer = eventually("the certificate to be refused", || {
        let answer = wire.exchange(get());
        (answer.status() == 403).then_some(answer)
    });
    assert_eq!(kind(&answer), "certificate_refused");
}

#[test]
fn passwords_beyond_loopback_need_tls() {
    let check = |setup: Setup| {
        let file = setup.write();
        let mut command = std::process::Command::new(program());
        run(command.arg("check").arg(file), "")
    };
    let everywhere = |setup: Setup| {
        let port = setup.admin_address().port();
        setup.config(&format!("admin: {{ address: \"0.0.0.0:{port}\" }}"))
    };
    let outcome = check(everywhere(with_users()));
    assert_eq!(outcome.code(), Some(78), "{}", outcome.output());
    assert!(
        outcome
            .output()
            .contains("tollgate.admin.users: passwords in plain text"),
        "{}",
        outcome.output()
    );
    let outcome = check(everywhere(Setup::new()));
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    assert!(
        outcome
            .output()
            .contains("the admin service has no users, and its address is not loopback"),
        "{}",
        outcome.output()
    );
    let authority = Authority::new();
    let setup = with_tls(&authority, "").config("admin: { users: admins.htpasswd }");
    let outcome = check(everywhere(setup));
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    let setup = with_tls(&authority, ", client_ca: clients.pem");
    let outcome = check(everywhere(setup));
    assert!(
        !outcome.output().contains("has no users"),
        "{}",
        outcome.output()
    );
}
