//! Quotas: what a client is told when its bytes are used up, what ends then, and who may go on.

use serde_json::{Value, json};

use crate::support::admin::{
    CHANGE, ROOT, ask as ask_admin, given_users, json as json_of, login, root,
};
use crate::support::client::{Wire, is_reset};
use crate::support::command::{check, tollgate};
use crate::support::eventually;
use crate::support::http2::{Client, request_of as stream_of, run};
use crate::support::message::{Response, ok};
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, auth, connect, request_of};
use crate::support::zone::steady_zone;

/// A proxy with these classes and a store.
fn with(classes: &str) -> Proxy {
    setup(classes).start()
}

fn setup(classes: &str) -> Setup {
    Setup::new().config(&format!(
        "limits: {{ time_zone: {}, store: {{ file: quota.redb }}, classes: [{classes}] }}",
        steady_zone()
    ))
}

/// The balances at the admin service.
fn balances(proxy: &Proxy) -> Value {
    json_of(&root(proxy, "GET", "/quotas", ""))["balances"].clone()
}

/// What a user has used in a period.
fn used(proxy: &Proxy, user: &str, period: &str) -> u64 {
    let of = |row: &&Value| row["member"] == user && row["period"] == period;
    let rows = balances(proxy);
    let row = rows.as_array().unwrap().iter().find(of);
    row.map_or(0, |row| row["used"].as_u64().unwrap())
}

/// Waits until that much is used, and asserts that it is not more.
fn wait_used(proxy: &Proxy, user: &str, period: &str, expected: u64) {
    let now = eventually("the bytes to count", || {
        let now = used(proxy, user, period);
        (now >= expected).then_some(now)
    });
    assert_eq!(now, expected);
}

/// Answers each request with as many bytes as its path says.
fn sized() -> Origin {
    Origin::http(|request| {
        let target = request.head.target();
        let length = target.rsplit('/').next().and_then(|it| it.parse().ok());
        ok(payload::bytes(length.unwrap_or_default()))
    })
}

/// A body that never ends, in parts that the client asks for.
fn endless() -> Origin {
    Origin::raw(|mut wire: Wire, _| {
        wire.read_head()?;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")?;
        let part = payload::bytes(64 * 1024);
        loop {
            wire.send(&part)?;
        }
    })
}

/// The limit that an answer names.
fn over(answer: &Response) -> String {
    let status = answer.status();
    assert!(matches!(status, 403 | 429), "{}", answer.text());
    let field = answer.field("proxy-status").unwrap();
    let limit = field
        .strip_prefix("tollgate; error=connection_limit_reached; details=\"")
        .and_then(|rest| rest.strip_suffix('"'));
    let limit = limit.unwrap_or_else(|| panic!("{field}")).to_owned();
    let reason = match status {
        403 => "Forbidden",
        _ => "Too Many Requests",
    };
    let phrase = format!("HTTP/1.1 {status} {reason}: {limit}");
    assert_eq!(answer.head.start, phrase);
    limit
}

fn url(origin: &Origin, length: u64) -> String {
    format!("http://{}/{length}", origin.address)
}

#[test]
fn a_client_is_told_when_its_quota_begins_anew() {
    let proxy = with("{ name: all, quota: { hour: 100KB, month: 10MB } }");
    let origin = sized();
    let mut wire = proxy.connect();
    wire.send(request_of(ALICE, "GET", &url(&origin, 200_000)))
        .unwrap();
    // It is cut.
    let received = wire.rest().len();
    assert!((90_000..200_000).contains(&received), "{received}");
    let answer = eventually("the quota to end", || {
        let answer = proxy.exchange(format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n{}\r\n",
            url(&origin, 1),
            origin.address,
            auth()
        ));
        (answer.status() != 200).then_some(answer)
    });
    assert_eq!(over(&answer), "all.quota_hour");
    // An hour is not a long time.
    assert_eq!(answer.status(), 429);
    let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
    let body: Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!(
        (&body["status"], &body["error"], &body["limit"]),
        (
            &json!(429),
            &json!("limit_reached"),
            &json!("all.quota_hour")
        )
    );
    let resets = body["resets_at"].as_str().unwrap();
    // Zones differ from UTC by half an hour too.
    let ends = [":00:00Z", ":30:00Z"];
    assert!(ends.iter().any(|end| resets.ends_with(end)), "{resets}");
    // A tunnel too, and nobody else.
    assert_eq!(
        over(&proxy.exchange(connect(origin.address))),
        "all.quota_hour"
    );
    let other = proxy.exchange(request_of(BOB, "GET", &url(&origin, 5)));
    assert_eq!(other.body.len(), 5);
    let record = proxy.record("a refused request", |it| it["status"] == 429);
    assert_eq!(record["error_detail"], "over all.quota_hour of its user");
    assert_eq!(record["class"], "all");
    let series = "tollgate_limited_total{class=\"all\",limit=\"quota_hour\"}";
    assert!(proxy.metric(series) >= 2);
    let alice = used(&proxy, "alice", "hour");
    let sum = used(&proxy, "bob", "month") + alice;
    let series = "tollgate_quota_used_bytes{class=\"all\",period=\"month\"}";
    assert_eq!(proxy.metric(series), sum);
    assert_eq!(proxy.metric("tollgate_store_up{store=\"file\"}"), 1);
    let stats: Value = serde_json::from_str(&proxy.admin("/stats").text()).unwrap();
    assert_eq!(stats["quotas"]["store"], "works");
    let top = &stats["quotas"]["top"][0];
    assert_eq!(
        (&top["member"], &top["used"]),
        (&json!("alice"), &json!(alice))
    );
}

#[test]
fn a_long_period_is_403() {
    let proxy = with("{ name: all, quota: { month: 1000B }, on_quota: refuse_new }");
    let origin = sized();
    // One that has begun goes on to its end.
    let answer = proxy.exchange(request_of(ALICE, "GET", &url(&origin, 300_000)));
    assert_eq!(answer.body.len(), 300_000);
    let answer = eventually("the quota to end", || {
        let answer = proxy.exchange(request_of(ALICE, "GET", &url(&origin, 1)));
        (answer.status() != 200).then_some(answer)
    });
    assert_eq!(over(&answer), "all.quota_month");
    let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!(wait > 3600, "{wait}");
    assert_eq!(answer.status(), 403);
}

#[test]
fn tunnels_downloads_and_websockets_are_cut() {
    let proxy = with("{ name: all, quota: { day: 1MB }, on_quota: cut }");
    let (origin, echo) = (endless(), Origin::echo());
    let mut tunnel = proxy.tunnel(echo.address);
    let mut socket = proxy.connect();
    let upgrading = Origin::raw(|mut wire: Wire, _| {
        wire.read_head()?;
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )?;
        while let Ok(bytes) = wire.read_bytes(1) {
            wire.send(bytes)?;
        }
        Ok(())
    });
    let handshake = format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        upgrading.address,
        auth()
    );
    assert_eq!(socket.exchange(handshake).status(), 101);
    for wire in [&mut tunnel, &mut socket] {
        wire.send("x").unwrap();
        assert_eq!(wire.read_bytes(1).unwrap(), b"x");
    }
    // The download uses all of it.
    let mut download = proxy.connect();
    download
        .send(request_of(ALICE, "GET", &url(&origin, 0)))
        .unwrap();
    let received = download.rest().len() as u64;
    assert!((900_000..1_300_000).contains(&received), "{received}");
    for wire in [&mut tunnel, &mut socket] {
        // The next byte: what reports it ends it, a second later at most.
        let ended = wire.send("x").and_then(|()| wire.read_to_end());
        let ended = ended.map(|bytes| bytes.len() <= 1);
        assert!(ended.as_ref().is_ok_and(|few| *few) || ended.is_err_and(|it| is_reset(&it)));
    }
    let record = proxy.record("the download", |it| {
        it["bytes_from_upstream"].as_u64() > Some(900_000)
    });
    assert_eq!(
        (&record["error"], &record["error_detail"]),
        (
            &json!("limit_reached"),
            &json!("over all.quota_day of its user")
        )
    );
    let record = proxy.record("the tunnel", |it| it["event"] == "tunnel_close");
    assert_eq!(record["end_reason"], "quota_day");
    assert!(proxy.metric("tollgate_tunnels_ended_total{reason=\"quota_day\"}") >= 1);
    let answer = proxy.exchange(connect(echo.address));
    assert_eq!(over(&answer), "all.quota_day");
}

#[test]
fn an_upload_and_a_stream_of_http2_are_cut() {
    let proxy = with("{ name: all, per: class, quota: { week: 300KB } }");
    let origin = sized();
    let mut upload = proxy.connect();
    let head = request_of(ALICE, "POST", &url(&origin, 1));
    let head = head.strip_suffix("\r\n").unwrap();
    upload
        .send(format!("{head}Content-Length: 100000000\r\n\r\n"))
        .unwrap();
    let part = payload::bytes(64 * 1024);
    let sent = (0..1000).take_while(|_| upload.send(&part).is_ok()).count();
    assert!(sent < 500, "{sent} parts");
    run(async {
        let mut client = Client::connect(proxy.address).await;
        // The class as a whole has used it.
        let answer = client
            .post(stream_of(BOB, "POST", &url(&origin, 10)), b"")
            .await;
        let status = answer.status.as_u16();
        assert!(matches!(status, 403 | 429), "{status}");
    });
}

#[test]
fn networks_have_balances_of_their_own() {
    let proxy =
        with("{ name: net, per: client_network, quota: { day: 1000B }, on_quota: refuse_new }");
    let origin = sized();
    let ask = |source: &str| {
        let mut wire = Wire::connect_from(source, proxy.address).unwrap();
        wire.exchange(request_of(ALICE, "GET", &url(&origin, 2000)))
    };
    assert_eq!(ask("127.0.0.2").status(), 200);
    eventually("the quota to end", || {
        (ask("127.0.0.2").status() != 200).then_some(())
    });
    assert_eq!(ask("127.0.0.3").status(), 200);
}

/// Every byte of a tunnel counts, in both directions and in each period, and a class without a quota counts nothing.
#[test]
fn bytes_count_exactly() {
    let proxy =
        with("{ name: bob, users: [bob] }, { name: all, quota: { hour: 1GiB, day: 1GiB } }");
    let echo = Origin::echo();
    let mut tunnel = proxy.tunnel(echo.address);
    let bytes = payload::bytes(700_000);
    for part in bytes.chunks(100_000) {
        tunnel.send(part).unwrap();
        assert_eq!(tunnel.read_bytes(part.len()).unwrap(), part);
    }
    drop(tunnel);
    for period in ["hour", "day"] {
        wait_used(&proxy, "alice", period, 1_400_000);
    }
    assert_eq!(proxy.exchange(request_of(BOB, "GET", "/")).status(), 200);
    assert_eq!(balances(&proxy).as_array().unwrap().len(), 2);
}

/// What a reload changes holds for new requests; what was used stays.
#[test]
fn a_reload_keeps_balances() {
    let proxy = with("{ name: all, quota: { day: 1GiB } }");
    let origin = sized();
    let ask = || {
        proxy
            .exchange(request_of(ALICE, "GET", &url(&origin, 10_000)))
            .status()
    };
    assert_eq!(ask(), 200);
    eventually("the bytes", || {
        (used(&proxy, "alice", "day") > 10_000).then_some(())
    });
    proxy.rewrite("limits: { time_zone: Asia/Tokyo, classes: [{ name: all, requests: 100/s, quota: { day: 5KB, week: 1GiB } }] }");
    let answer = proxy.reload();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let body: Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!(body["restart_needed"], json!([]), "{body}");
    assert_ne!(ask(), 200);
    // The grant is for the limits that hold now.
    let config = proxy.path("pingora.yaml").display().to_string();
    let granted = tollgate(["quota", "-c", &config, "--user", "alice", "--grant", "1MB"]);
    assert_eq!(granted.code(), Some(0), "{}", granted.output());
    assert_eq!(ask(), 200);
}

#[test]
fn operators_grant_and_reset() {
    let proxy = given_users(setup("{ name: all, quota: { day: 5KB } }")).start();
    let origin = sized();
    let ask = || {
        let request = request_of(ALICE, "GET", &url(&origin, 10_000));
        proxy.exchange(request).status()
    };
    assert_eq!(ask(), 200);
    eventually("the end of the quota", || (ask() == 403).then_some(()));
    let change = |path: &str| root(&proxy, "POST", path, "");
    let granted = change("/quotas/grant?user=alice&bytes=1MB");
    assert_eq!(granted.status(), 200, "{}", granted.text());
    assert_eq!(granted.text().trim(), r#"{"changed":1,"saved":true}"#);
    assert_eq!(ask(), 200);
    assert_eq!(change("/quotas/reset?user=nobody").status(), 404);
    for wrong in [
        "/quotas/reset",
        "/quotas/grant?user=alice",
        "/quotas/grant?user=alice&bytes=0",
        "/quotas/reset?user=alice&bytes=1MB",
        "/quotas/reset?network=x",
        "/quotas/reset?usr=alice",
        "/quotas/reset?user=a&network=127.0.0.1",
    ] {
        assert_eq!(change(wrong).status(), 400, "{wrong}");
    }
    let path = "/quotas/reset?user=alice";
    assert_eq!(root(&proxy, "GET", path, "").status(), 405);
    // Nobody else: without a user, without the field, from a page of another site.
    let fields = [
        (CHANGE.to_owned(), 401),
        (login(ROOT), 403),
        (
            format!("{}{CHANGE}Origin: http://evil.test\r\n", login(ROOT)),
            403,
        ),
    ];
    for (fields, status) in fields {
        assert_eq!(
            ask_admin(&proxy, "POST", path, &fields, "").status(),
            status
        );
    }
    assert_ne!(used(&proxy, "alice", "day"), 0);
    assert_eq!(change(path).status(), 200);
    assert_eq!(used(&proxy, "alice", "day"), 0);
}

#[test]
fn mistakes_are_reported_with_their_place() {
    let setup = Setup::new().config(
        "limits: { time_zone: berlin, store: { fil: quota.redb, on_failure: close, entries: 1 }, classes: [ \
         { name: a, quota: {}, users: [alice] }, \
         { name: b, quota: { day: 100, year: 1GiB, week: many }, users: [alice] }, \
         { name: c, on_quota: cut, users: [alice] }, \
         { name: h, quota: { day: 1GiB }, per: host, users: [alice] }, \
         { name: d, quota: { day: 1GiB }, on_quota: stop } ] }",
    );
    let outcome = check(&setup);
    assert_eq!(outcome.code(), Some(78), "{}", outcome.output());
    for expected in [
        "limits.time_zone: not a time zone; did you mean Europe/Berlin?",
        "limits.store.file: missing; write a path, such as `file: /var/lib/tollgate/quota.redb`",
        "limits.store.fil: unknown key",
        "limits.store.on_failure: another word; write admit or deny",
        "limits.store.entries: ",
        "limits.classes[0].quota: without a period; write hour, day, week or month",
        "limits.classes[1].quota.year: unknown key",
        "limits.classes[1].quota.week: ",
        "limits.classes[2].on_quota: without a quota, whose end it is about",
        "limits.classes[3].quota: with `per: host`, and quotas are of users, networks and classes",
        "limits.classes[4].on_quota: another word; write cut or refuse_new",
    ] {
        let output = outcome.output();
        assert!(
            output.contains(&format!("tollgate.{expected}")),
            "{expected}\n{output}"
        );
    }
    let setup = Setup::new().config("limits: { classes: [{ name: a, quota: { day: 1GiB } }] }");
    let output = check(&setup).output();
    let expected = "tollgate.limits.classes[0].quota: without limits.store, where balances are kept; add `store: { file: ";
    assert!(output.contains(expected), "{output}");
    let setup = Setup::new().config("limits: { store: { file: gone/quota.redb } }");
    let output = check(&setup).output();
    assert!(
        output.contains("tollgate.limits.store.file: its directory does not exist"),
        "{output}"
    );
}

#[test]
fn explain_names_the_quota() {
    let setup = Setup::new().config(
        "limits: { store: { file: quota.redb }, classes: [{ name: all, quota: { day: 100GiB, month: 2TiB }, on_quota: refuse_new }] }",
    );
    let path = setup.write();
    let explain = |more: &[&str]| {
        let mut arguments = vec!["explain", "-c", path.to_str().unwrap(), "--user", "alice"];
        arguments.extend(["--target", "127.0.0.1:443"]);
        arguments.extend(more);
        tollgate(arguments).output()
    };
    let text = explain(&[]);
    let expected = "class all: quota 100GiB a day, 2TiB a month (refuse_new), for each user";
    assert!(text.contains(expected), "{text}");
    let json = explain(&["--json"]);
    assert!(
        json.contains(r#""quota":{"day":"100GiB","month":"2TiB"},"on_quota":"refuse_new""#),
        "{json}"
    );
}

/// Without a quota there is no store to open, and no thread.
#[test]
fn off_it_costs_nothing() {
    let proxy = Proxy::start("limits: { classes: [{ name: all, requests: 100/s }] }");
    assert!(!proxy.threads().iter().any(|name| name == "balances"));
    assert_eq!(proxy.metric("tollgate_store_up{store=\"file\"}"), 0);
    assert!(
        !proxy
            .admin("/metrics")
            .text()
            .contains("tollgate_store_up{")
    );
    let stats: Value = serde_json::from_str(&proxy.admin("/stats").text()).unwrap();
    assert!(stats.get("quotas").is_none());
    drop(proxy);
    let proxy = with("{ name: all, quota: { day: 1GiB } }");
    let named = |proxy: &Proxy| proxy.threads().iter().any(|name| name == "balances");
    eventually("the thread", || named(&proxy).then_some(()));
}
