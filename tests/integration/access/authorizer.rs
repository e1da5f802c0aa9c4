//! An external authoriser in JSON: what it is asked, who it makes of a client, and what its answers do.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::authorizer::{
    PythonService, admitting, config, proxy, question, questions, service,
};
use crate::support::command::tollgate;
use crate::support::documents::{read, root, yaml_blocks};
use crate::support::http2::{Client, request, run};
use crate::support::origin::Origin;
use crate::support::proxy::Setup;
use crate::support::request::{ALICE, BOB, basic, connect, fetch, request_of};

const ANN: (&str, &str) = ("ann", "canary-of-ann");

/// What the documentation shows first, as it stands there but for the port.
#[test]
fn the_example_of_the_documentation_runs() {
    let text = read(&root().join("docs/authorizer.md"));
    let (_, program) = text.split_once("```python\n").unwrap();
    let (program, _) = program.split_once("```").unwrap();
    assert!(program.lines().count() < 25, "{program}");
    let last = "ThreadingHTTPServer((\"127.0.0.1\", 9000), Check).serve_forever()";
    assert!(program.contains(last), "{program}");
    let program = program.replace(
        last,
        "server = ThreadingHTTPServer(('127.0.0.1', 0), Check)\nprint(server.server_port)\nserver.serve_forever()",
    );
    let python = PythonService::start(&program);
    let (_, yaml) = yaml_blocks(&text).remove(0);
    let yaml = yaml.replace(":9000/", &format!(":{}/", python.port));
    let yaml: serde_yaml::Value = serde_yaml::from_str(&yaml).unwrap();
    let yaml = serde_yaml::to_string(&yaml["tollgate"]).unwrap();
    let proxy = Setup::new().config(&yaml).start();
    let origin = Origin::ok("in");
    let url = format!("http://{}/", origin.address);
    for (user, status, name) in [
        (("ann", "apple"), 200, json!("ann")),
        (("ann", "pear"), 407, Value::Null),
        (("eve", "apple"), 407, Value::Null),
        (ALICE, 200, json!("alice")),
        (("alice", "apple"), 407, Value::Null),
    ] {
        let (answer, record) = proxy.ask(request_of(user, "GET", &url));
        assert_eq!(
            (answer.status(), &record["user"]),
            (status, &name),
            "{user:?}"
        );
    }
    // Groups of the service count in rules.
    let (answer, record) = proxy.ask(request_of(("bot", "robot"), "GET", &url));
    assert_eq!(
        answer.head.start,
        "HTTP/1.1 403 denied by ci-rest: not a registry"
    );
    assert_eq!(
        (&record["user"], &record["rule"]),
        (&json!("bot"), &json!("ci-rest"))
    );
    // As curl sends it, by another connection of the same service.
    let many = proxy.exchange(request_of(
        ("ann", "apple"),
        "CONNECT",
        &origin.address.to_string(),
    ));
    assert_eq!(many.status(), 200);
}

/// The bytes of each question, in every role.
#[test]
fn what_is_asked_about_a_user() {
    let service = admitting();
    let origin = Origin::ok("in");
    let setup = Setup::new()
        .file("groups", "dev: alice\n")
        .config(&config(&service, "ask: always"));
    let upstream = origin.address;
    let proxy = setup
        .config(&format!(
            "{{ auth: {{ groups: groups }}, gateway: {{ upstreams: [\"{upstream}\"] }} }}"
        ))
        .start();
    let url = format!("http://{upstream}/a%20b?c=d");
    assert_eq!(proxy.fetch(&url).status(), 200);
    proxy.tunnel(upstream);
    let at_gateway = proxy.exchange(request_of(BOB, "PUT", "/x?y"));
    assert_eq!(at_gateway.status(), 200);

    let records = proxy.wait_records(3);
    let expected = [
        json!({"user":"alice","client":"127.0.0.1","role":"forward","method":"GET","scheme":"http",
            "target":upstream.to_string(),"path":"/a%20b","query":"c=d","tls":false,"groups":["dev"]}),
        json!({"user":"alice","client":"127.0.0.1","role":"tunnel","method":"CONNECT",
            "target":upstream.to_string(),"tls":false,"groups":["dev"]}),
        json!({"user":"bob","client":"127.0.0.1","role":"gateway","method":"PUT","scheme":"http",
            "path":"/x","query":"y","tls":false}),
    ];
    let ids: BTreeSet<String> = records
        .iter()
        .map(|record| record["request_id"].as_str().unwrap().to_owned())
        .collect();
    for (request, expected) in service.requests().iter().zip(expected) {
        let head = String::from_utf8_lossy(&request.head.raw).to_ascii_lowercase();
        assert!(head.starts_with("post /check?key=k http/1.1\r\n"), "{head}");
        let kind = request.head.fields.value("content-type");
        assert_eq!(kind, Some("application/json"));
        let mut asked = question(request);
        let id = asked.as_object_mut().unwrap().remove("id").unwrap();
        assert!(ids.contains(id.as_str().unwrap()), "{id}");
        assert_eq!(asked, expected);
        // Neither the password nor a form of it.
        let whole = head + &String::from_utf8_lossy(&request.body).to_ascii_lowercase();
        for secret in ["canary", "authorization", &basic(ALICE.0, ALICE.1)[6..]] {
            assert!(!whole.contains(&secret.to_ascii_lowercase()), "{whole}");
        }
    }
    assert_eq!(service.requests().len(), 3);
}

#[test]
fn the_password_is_sent_where_the_operator_says_so() {
    let service = admitting();
    let proxy = proxy(&service, "send_password: true, ask: always");
    let origin = Origin::ok("in");
    assert_eq!(
        proxy.fetch(&format!("http://{}/", origin.address)).status(),
        200
    );
    assert_eq!(questions(&service)[0]["password"], ALICE.1);
    let head = String::from_utf8_lossy(&service.request().head.raw).to_ascii_lowercase();
    assert!(!head.contains("authorization"), "{head}");
    assert!(!proxy.errors().contains("canary"), "{}", proxy.errors());
}

#[test]
fn it_says_who_an_unknown_user_is() {
    let service = service(|asked| {
        let right = asked["password"] == ANN.1;
        match asked["user"].as_str().unwrap() {
            "ann" => json!({"allow": right, "user": "ldap:ann", "groups": ["staff"]}),
            "gone" => {
                json!({"allow": false, "status": 403, "user": "ldap:gone", "message": "your\r\naccount ended"})
            }
            "late" => json!({"allow": false, "message": "your password has expired"}),
            "thief" => json!({"allow": true, "user": "alice"}),
            "host" => json!({"allow": true, "user": "ci"}),
            _ => json!({"allow": false}),
        }
    });
    let origin = Origin::ok("in");
    let upstream = origin.address;
    let rules = format!(
        "{{ auth: {{ trusted_networks: [{{ networks: [127.0.0.9/32], user: ci }}] }},
        gateway: {{ upstreams: [\"{upstream}\"], user_field: X-User }},
        policy: {{ default: deny, rules: [{{ name: staff, action: admit, groups: [staff] }},
        {{ name: alice, action: admit, users: [alice] }}] }} }}"
    );
    let proxy = Setup::new()
        .config(&config(&service, "send_password: true"))
        .config(&rules)
        .start();
    let url = format!("http://{upstream}/");
    let (answer, record) = proxy.ask(request_of(ANN, "GET", &url));
    assert_eq!(answer.status(), 200);
    assert_eq!(
        (&record["user"], &record["rule"]),
        (&json!("ldap:ann"), &json!("staff"))
    );
    let (answer, record) = proxy.ask(request_of(ANN, "CONNECT", &upstream.to_string()));
    assert_eq!(
        (answer.status(), &record["user"]),
        (200, &json!("ldap:ann"))
    );
    // At the gateway as at an origin; the upstream is told the name.
    let (answer, _) = proxy.ask(request_of(ANN, "GET", "/").replace("Proxy-", ""));
    assert_eq!(answer.status(), 200);
    let seen = origin.requests().pop().unwrap();
    assert_eq!(seen.head.fields.value("x-user"), Some("ldap:ann"));

    // Wrong credentials are what they are elsewhere.
    let (answer, record) = proxy.ask(request_of(("ann", "guess"), "GET", &url));
    assert_eq!(
        (answer.status(), &record["error"]),
        (407, &json!("credentials_wrong"))
    );
    assert!(
        answer
            .field("proxy-authenticate")
            .unwrap()
            .starts_with("Basic ")
    );
    let (answer, _) = proxy.ask(request_of(("ann", "guess"), "GET", "/").replace("Proxy-", ""));
    assert_eq!(answer.status(), 401);
    assert!(answer.field("www-authenticate").is_some());
    let (answer, _) = proxy.ask(request_of(("late", "x"), "GET", &url));
    assert_eq!(answer.status(), 407);
    assert!(
        answer.text().contains("your password has expired"),
        "{}",
        answer.text()
    );

    // A denial is that of the user that the service names.
    let (answer, record) = proxy.ask(request_of(("gone", "x"), "GET", &url));
    assert_eq!(
        answer.head.start,
        "HTTP/1.1 403 denied by external: youraccount ended"
    );
    assert_eq!(
        (&record["user"], &record["rule"]),
        (&json!("ldap:gone"), &json!("external"))
    );

    // Names of other credentials are theirs alone.
    for user in ["thief", "host"] {
        let (answer, record) = proxy.ask(request_of((user, "x"), "GET", &url));
        assert_eq!(
            (answer.status(), &record["error"]),
            (503, &json!("authorizer_failed"))
        );
        let detail = record["error_detail"].as_str().unwrap();
        assert!(
            detail.contains("of the password file or of a trusted network"),
            "{detail}"
        );
    }
    // Nothing is asked about those who are known here, or say nothing.
    let before = service.requests().len();
    assert_eq!(proxy.fetch(&url).status(), 200);
    for user in ["alice", "ci"] {
        let answer = proxy.exchange(request_of((user, "guess"), "GET", &url));
        assert_eq!(answer.status(), 407, "{user}");
    }
    let without = format!("GET {url} HTTP/1.1\r\nHost: {upstream}\r\n\r\n");
    assert_eq!(proxy.exchange(without).status(), 407);
    assert_eq!(service.requests().len(), before);
    assert!(!proxy.errors().contains("canary"), "{}", proxy.errors());
    let log = std::fs::read_to_string(proxy.path("access.log")).unwrap();
    assert!(!log.contains("canary"), "{log}");
}

/// The page of one's own denials is for users of the service too.
#[test]
fn a_user_reads_why_the_service_denies() {
    let service = service(|asked| match asked["path"].as_str().unwrap_or_default() {
        "/.tollgate/denials" => json!({"allow": true}),
        _ => json!({"allow": false, "status": 451, "user": "ann", "message": "not today"}),
    });
    let proxy = proxy(&service, "send_password: true");
    let (answer, _) = proxy.ask(request_of(ANN, "CONNECT", "a.test:443"));
    assert_eq!(
        answer.head.start,
        "HTTP/1.1 451 denied by external: not today"
    );
    let status = answer.field("proxy-status").unwrap();
    assert!(status.contains("rule external"), "{status}");
    let answer = proxy.exchange(request_of(ANN, "GET", "/.tollgate/denials"));
    let list: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(list["denials"][0]["rule"], "external", "{list}");
    assert_eq!(list["denials"][0]["message"], "not today", "{list}");
    assert_eq!(proxy.metric("tollgate_denied_total{rule=\"external\"}"), 1);
}

/// Beside the rules it only denies: what they and the guard deny stays denied.
#[test]
fn it_denies_and_gives_groups_and_no_more() {
    let service = service(|asked| {
        let target = asked["target"].as_str().unwrap();
        match target.split(':').next().unwrap() {
            "deny.test" => json!({"allow": false, "message": "no"}),
            "late.test" => json!({"allow": false, "status": 401}),
            "10.0.0.1" => json!({"allow": true, "user": "root", "groups": ["admins"]}),
            _ => json!({"allow": true, "user": "root", "groups": ["team", "team"]}),
        }
    });
    let origin = Origin::ok("in");
    let rules = "policy: { default: deny, rules: [
        { name: root, action: admit, users: [root] }, { name: admins, action: admit, groups: [admins] },
        { name: team, action: admit, groups: [team] }] }";
    let proxy = Setup::new()
        .config(&config(&service, "ask: always"))
        .config(rules)
        .start();
    let (answer, record) = proxy.ask(connect("deny.test:443"));
    assert_eq!(answer.head.start, "HTTP/1.1 403 denied by external: no");
    assert_eq!(
        (&record["user"], &record["rule"]),
        (&json!("alice"), &json!("external"))
    );
    let (answer, record) = proxy.ask(connect("late.test:443"));
    assert_eq!(
        (answer.status(), &record["error"]),
        (407, &json!("credentials_wrong"))
    );
    // Not as another user, and not to an address that the guard denies.
    let (answer, record) = proxy.ask(fetch(&format!("http://{}/", origin.address)));
    assert_eq!(answer.status(), 200);
    assert_eq!(
        (&record["user"], &record["rule"]),
        (&json!("alice"), &json!("team"))
    );
    let (answer, record) = proxy.ask(connect("10.0.0.1:443"));
    assert_eq!(answer.status(), 403);
    assert_eq!(record["rule"], "special_purpose:private_use");
    // Wrong passwords, and pages of the proxy itself, are no question.
    let before = service.requests().len();
    assert_eq!(
        proxy
            .exchange(request_of(("ann", "x"), "GET", "/"))
            .status(),
        407
    );
    assert_eq!(
        proxy
            .exchange(request_of(ALICE, "GET", "/.tollgate/denials"))
            .status(),
        200
    );
    assert_eq!(service.requests().len(), before);
}

#[test]
fn it_chooses_a_pool_of_the_gateway() {
    let (one, two) = (Origin::ok("one"), Origin::ok("two"));
    let service = service(|asked| match asked["path"].as_str().unwrap_or_default() {
        "/other" => json!({"allow": true, "pool": "other"}),
        "/gone" => json!({"allow": true, "pool": "gone"}),
        path if path.starts_with("/out") => json!({"allow": true, "pool": "gone"}),
        _ => json!({"allow": true}),
    });
    let gateway = format!(
        "gateway: {{ upstreams: [\"{}\"], pools: [{{ name: other, path: /none, upstreams: [\"{}\"] }}] }}",
        one.address, two.address
    );
    let proxy = Setup::new()
        .config(&config(&service, "ask: always"))
        .config(&gateway)
        .start();
    for (path, body) in [("/", "one"), ("/other", "two")] {
        let (answer, _) = proxy.ask(request_of(ALICE, "GET", path));
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, body),
            "{path}"
        );
    }
    let (answer, record) = proxy.ask(request_of(ALICE, "GET", "/gone"));
    assert_eq!(
        (answer.status(), &record["error"]),
        (503, &json!("authorizer_failed"))
    );
    // In another role it has no meaning.
    let answer = proxy.fetch(&format!("http://{}/out", one.address));
    assert_eq!(answer.text(), "one");
}

#[test]
fn it_is_asked_about_websockets_and_http2() {
    let service = service(|asked| {
        let path = asked["path"].as_str().unwrap_or_default();
        let is_denied = path.starts_with("/deny") || asked["target"] == "deny.test:443";
        json!({"allow": !is_denied, "message": "no"})
    });
    let proxy = proxy(&service, "ask: always");
    let origin = Origin::raw(|mut wire, _| {
        wire.read_head()?;
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
    });
    let url = format!("http://{}", origin.address);
    for (path, status) in [("/deny", 403), ("/", 101)] {
        let request = request_of(ALICE, "GET", &format!("{url}{path}"));
        let request =
            request.trim_end().to_owned() + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let answer = proxy.connect().exchange(request);
        assert_eq!(answer.status(), status, "{path}");
    }
    let plain = Origin::ok("in");
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let url = format!("http://{}", plain.address);
        for (method, target, status) in [
            ("GET", format!("{url}/deny"), 403),
            ("GET", format!("{url}/"), 200),
            ("CONNECT", "deny.test:443".to_owned(), 403),
        ] {
            let answer = client.ask(request(method, &target)).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {target}");
        }
        drop(client.tunnel(plain.address).await);
    });
    assert_eq!(service.requests().len(), 6);
}

#[test]
fn explain_says_that_it_would_be_asked() {
    let service = admitting();
    let explain = |keys: &str, user: &str| {
        let setup = Setup::new().config(&config(&service, keys));
        let path = setup.write();
        let outcome = tollgate([
            "explain".as_ref(),
            "-c".as_ref(),
            path.as_os_str(),
            "--user".as_ref(),
            user.as_ref(),
            "--target".as_ref(),
            "192.0.2.1:443".as_ref(),
        ]);
        outcome.output()
    };
    let authenticates = "send_password: true";
    let said = explain("ask: always", "alice");
    assert!(
        said.contains("auth.external is asked about this request"),
        "{said}"
    );
    let said = explain(authenticates, "ann");
    assert!(
        said.contains("auth.external is asked who this user is"),
        "{said}"
    );
    assert!(!said.contains("gets 407"), "{said}");
    for (keys, user) in [("ask: always", "ann"), (authenticates, "alice")] {
        let said = explain(keys, user);
        assert!(!said.contains("auth.external"), "{said}");
    }
    service.assert_untouched();
}

/// A prefix in a service holds for each way in which servers read a path.
#[test]
fn a_service_sees_how_servers_read_a_path() {
    let service = service(|asked| {
        let one = asked["path"].as_str().into_iter();
        let several = asked["paths"].as_array().into_iter().flatten();
        let mut paths = one.chain(several.filter_map(Value::as_str));
        json!({"allow": paths.all(|path| path.starts_with("/v2/team-a/")), "message": "not of team a"})
    });
    let origin = Origin::ok("in");
    let proxy = proxy(&service, "ask: always");
    let get = |path: &str| proxy.ask(fetch(&format!("http://{}{path}", origin.address)));
    for path in [
        "/v2/team-a/app?x=/..",
        "/v2/team-b/%2e%2e/team-a/app",
        "/v2/team-a/b%2fc",
    ] {
        assert_eq!(get(path).0.text(), "in", "{path}");
    }
    for path in [
        "/v2/team-ab",
        "/v2/team-a/../team-b/x",
        "/v2/team-a/%2e%2e/team-b/x",
        "/v2/team-a/..%2fteam-b/x",
        "/v2/team-a/..;/team-b/x",
        "/v2/team-a/..\\team-b/x",
        "/v2/team-b/..%2fteam-a/x",
    ] {
        let (answer, record) = get(path);
        assert_eq!(answer.status(), 403, "{path}");
        assert_eq!(record["error_detail"], "denied by external: not of team a");
    }
    assert_eq!(origin.requests().len(), 3);
    let asked = questions(&service);
    let odd = asked.iter().find(|asked| asked.get("paths").is_some());
    assert_eq!(
        odd.map(|asked| (&asked["paths"], asked.get("path"))),
        Some((&json!(["/v2/team-a/b%2fc", "/v2/team-a/b/c"]), None))
    );
}
