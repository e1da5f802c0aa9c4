//! HTTP/2 from clients: every kind of request means what it means in HTTP/1.1.

use h2::Reason;

use crate::support::http2::{
    Client, bare, read_all, read_bytes, request, request_of, run, send_all, within,
};
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::programs::{assert_output, curl};
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, auth, basic};
use crate::support::tls::Authority;

fn url(origin: &Origin) -> String {
    format!("http://{}/", origin.address)
}

#[test]
fn each_kind_of_request_on_one_connection() {
    let (web, echo, local) = (Origin::ok("page"), Origin::echo(), Origin::ok("local"));
    let proxy = Proxy::start(&format!(
        "gateway: {{ upstreams: [\"{}\"] }}",
        local.address
    ));
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let (mut send, mut receive) = client.tunnel(echo.address).await;
        // While the tunnel is open.
        let gate = format!("http://{}/x", proxy.address);
        for (uri, body) in [(url(&web), "page"), (gate, "local")] {
            let answer = client.ask(request("GET", &uri)).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text().as_str()),
                (200, body)
            );
        }
        send_all(&mut send, b"ping", false).await.unwrap();
        assert_eq!(read_bytes(&mut receive, 4).await, b"ping");
        send_all(&mut send, b"!", true).await.unwrap();
        assert_eq!(read_all(&mut receive).await.unwrap(), b"!");
    });
    let records = proxy.wait_records(3);
    let mut roles: Vec<_> = records
        .iter()
        .map(|record| record["role"].clone())
        .collect();
    roles.sort_by_key(ToString::to_string);
    assert_eq!(roles, ["forward", "gateway", "tunnel"]);
    for record in &records {
        assert_eq!(record["version"], "HTTP/2.0", "{record}");
        assert_eq!(record["user"], "alice", "{record}");
    }
    let tunnel = proxy.record("the tunnel", |record| record["role"] == "tunnel");
    assert_eq!(
        (&tunnel["bytes_from_client"], &tunnel["end_reason"]),
        (&5.into(), &"complete".into())
    );
    let (forwarded, passed) = (web.request(), local.request());
    assert_eq!(forwarded.head.target(), "/");
    assert_eq!(passed.head.target(), "/x");
    for request in [&forwarded, &passed] {
        let fields = &request.head.fields;
        assert!(request.head.start.ends_with(" HTTP/1.1"));
        assert!(fields.value("via").unwrap().starts_with("2.0 tollgate-"));
        assert!(!fields.has("proxy-authorization"));
    }
    assert_eq!(
        passed.head.fields.value("x-forwarded-for"),
        Some("127.0.0.1")
    );
}

/// Without a length, lighttpd answers 411 (RFC 9110 §8.6).
#[test]
fn no_body_where_one_is_anticipated_has_a_length_at_the_origin() {
    let (web, local) = (Origin::ok("page"), Origin::ok("local"));
    let proxy = Proxy::start(&format!(
        "gateway: {{ upstreams: [\"{}\"] }}",
        local.address
    ));
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let gate = format!("http://{}/", proxy.address);
        for (uri, origin) in [(url(&web), &web), (gate, &local)] {
            for (method, length) in [
                ("POST", Some("0")),
                ("PUT", Some("0")),
                ("PATCH", Some("0")),
                ("GET", None),
                ("HEAD", None),
                ("DELETE", None),
                ("OPTIONS", None),
            ] {
                let answer = client.ask(request(method, &uri)).await;
                assert_eq!(answer.status, 200, "{method}");
                let fields = origin.requests().pop().unwrap().head.fields;
                assert_eq!(fields.value("content-length"), length, "{method}");
                assert!(!fields.has("transfer-encoding"), "{method}");
            }
        }
    });
}

#[test]
fn every_request_is_authenticated() {
    let proxy = Proxy::plain();
    let web = Origin::ok("page");
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let wrong = basic(ALICE.0, "wrong");
        for method in ["GET", "CONNECT"] {
            let uri = match method {
                "GET" => url(&web),
                _ => web.address.to_string(),
            };
            for fields in [&[][..], &[("proxy-authorization", wrong.as_str())]] {
                let answer = client.ask(bare(method, &uri, fields)).await;
                assert_eq!(answer.status, 407, "{method} {fields:?}");
                assert_eq!(
                    answer.field("proxy-authenticate"),
                    Some("Basic realm=\"tollgate\", charset=\"UTF-8\"")
                );
                assert!(answer.field("connection").is_none());
            }
        }
        web.assert_untouched();
        for user in [ALICE, BOB] {
            let answer = client.ask(request_of(user, "GET", &url(&web))).await;
            assert_eq!(answer.status, 200);
            proxy.record(user.0, |record| {
                record["user"] == user.0 && record["status"] == 200
            });
        }
    });
}

#[test]
fn tls_agrees_on_it_and_keeps_http1() {
    let authority = Authority::new();
    let proxy = Setup::new().tls(&authority.issue(&["proxy.test"])).start();
    let ca = proxy.path("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let secure = proxy.secure_address();
    // The embedded origin: the name of the handshake is ours.
    let url = format!("https://proxy.test:{}/", secure.port());
    let resolve = format!("proxy.test:{}:{}", secure.port(), secure.ip());
    let tls = [
        "--cacert",
        ca.to_str().unwrap(),
        "--resolve",
        &resolve,
        &url,
    ];
    let plain = [&*format!("http://{}/", proxy.address)];
    let asks = |version: &str, rest: &[&str], expected: &str| {
        let fields = auth();
        let always = ["--noproxy", "*", "-H", fields.trim(), "-o", "/dev/null"];
        let shown = ["-w", "%{http_version} %{http_code}", version];
        assert_output(&curl(&[&always, &shown[..], rest].concat()), expected);
    };
    asks("--http2", &tls, "2 200");
    asks("--http1.1", &tls, "1.1 200");
    asks("--http2-prior-knowledge", &plain, "2 200");
    asks("--http1.1", &plain, "1.1 200");
}

#[test]
fn a_listener_may_have_it_off() {
    let setup = Setup::new();
    let listener = format!(
        "listeners: [{{ address: \"{}\", http2: false }}]",
        setup.address()
    );
    let proxy = setup.config(&listener).start();
    let mut wire = proxy.connect();
    wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    assert_eq!(wire.response("GET").unwrap().status(), 505);
    wire.assert_closed();
}

#[test]
fn it_begins_with_a_connection_or_not_at_all() {
    let proxy = Proxy::plain();
    let mut wire = proxy.connect();
    let gate = format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth());
    assert_eq!(wire.exchange(gate).status(), 200);
    wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    assert_eq!(wire.response("GET").unwrap().status(), 505);
}

#[test]
fn bodies_of_any_length_both_ways() {
    let proxy = Proxy::plain();
    let web = Origin::http(|request| ok(&request.body));
    run(async {
        let mut client = Client::connect(proxy.address).await;
        for length in [0, 1, 5000, 70_000, 3_000_000] {
            let body = payload::bytes(length);
            // Without a length, and with one.
            let open = request("POST", &url(&web));
            let answer = client.post(open, &body).await;
            assert!(answer.body == body, "{length} without a length");
            let mut told = request("POST", &url(&web));
            told.headers_mut().insert("content-length", length.into());
            let answer = client.post(told, &body).await;
            assert!(answer.body == body, "{length} with a length");
            assert_eq!(answer.field("transfer-encoding"), None);
        }
    });
}

#[test]
fn a_body_that_is_not_as_long_as_it_says_is_no_request() {
    let proxy = Proxy::plain();
    let web = Origin::http(|request| ok(&request.body));
    run(async {
        let mut client = Client::connect(proxy.address).await;
        for (said, body) in [(5, &b"four"[..]), (3, b"four")] {
            let mut request = request("POST", &url(&web));
            request.headers_mut().insert("content-length", said.into());
            let (answer, mut send) = client.open(request, false).await;
            // The server may have reset the stream already.
            let _sent = send_all(&mut send, body, true).await;
            let error = within(answer).await.unwrap_err();
            assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR), "{said}");
        }
        // The connection goes on.
        assert_eq!(client.ask(request("GET", &url(&web))).await.status, 200);
    });
    assert!(
        web.requests()
            .iter()
            .all(|request| request.head.method() == "GET")
    );
}

#[test]
fn answers_without_a_body_and_of_every_framing() {
    let proxy = Proxy::plain();
    for (method, answer, status, body) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            200,
            "",
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
            304,
            "",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            200,
            "",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            200,
            "hi",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: close, X\r\nX: y\r\n\r\nto the end",
            200,
            "to the end",
        ),
    ] {
        // Closed behind each answer, for the last one to end.
        let web = Origin::raw(move |mut wire, seen| {
            if let Some(request) = wire.request()? {
                seen.keep(request);
                wire.send(answer)?;
            }
            wire.finish()
        });
        run(async {
            let mut client = Client::connect(proxy.address).await;
            let got = client.ask(request(method, &url(&web))).await;
            assert_eq!(
                (got.status.as_u16(), got.text().as_str()),
                (status, body),
                "{answer}"
            );
            for name in ["connection", "keep-alive", "transfer-encoding", "x"] {
                assert_eq!(got.field(name), None, "{answer}");
            }
        });
    }
}

#[test]
fn a_broken_answer_does_not_look_whole() {
    let proxy = Proxy::plain();
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
    ] {
        let web = Origin::raw(move |mut wire, _| {
            wire.request()?;
            wire.send(answer)?;
            wire.finish()
        });
        run(async {
            let mut client = Client::connect(proxy.address).await;
            let error = client
                .try_ask(request("GET", &url(&web)))
                .await
                .unwrap_err();
            assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{answer}");
        });
    }
}

#[test]
fn interim_answers_and_expectations() {
    let proxy = Proxy::plain();
    let web = Origin::raw(|mut wire, seen| {
        wire.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")?;
        let Some(request) = wire.request()? else {
            return Ok(());
        };
        wire.send(ok(&request.body))?;
        seen.keep(request);
        Ok(())
    });
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let mut request = request("POST", &url(&web));
        request
            .headers_mut()
            .insert("expect", "100-continue".parse().unwrap());
        let answer = client.post(request, b"body").await;
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (200, "body")
        );
    });
}

#[test]
fn what_http1_would_read_in_another_way_is_refused() {
    let proxy = Proxy::plain();
    let web = Origin::ok("page");
    let credentials = basic(ALICE.0, ALICE.1);
    let credentials = ("proxy-authorization", credentials.as_str());
    run(async {
        let mut client = Client::connect(proxy.address).await;
        for (method, uri, host, status) in [
            ("GET", url(&web), Some("other.test"), 400),
            ("GET", url(&web), Some(""), 400),
            ("CONNECT", "localhost".to_owned(), None, 400),
            ("GET", format!("ftp://{}/", web.address), None, 501),
            ("GET", format!("http://u@{}/", web.address), None, 400),
        ] {
            let mut fields = vec![credentials];
            fields.extend(host.map(|host| ("host", host)));
            let answer = client.ask(bare(method, &uri, &fields)).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {uri} {host:?}");
        }
        let two = bare("GET", &url(&web), &[credentials, credentials]);
        assert_eq!(client.ask(two).await.status, 400);
        let same = web.address.to_string();
        let answer = client
            .ask(bare("GET", &url(&web), &[credentials, ("host", &same)]))
            .await;
        assert_eq!(answer.status, 200);
    });
    assert_eq!(web.requests().len(), 1);
}

#[test]
fn cookies_are_one_field_for_the_origin() {
    let proxy = Proxy::plain();
    let web = Origin::ok("page");
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let mut request = request("GET", &url(&web));
        for crumb in ["a=1", "b=2"] {
            request
                .headers_mut()
                .append("cookie", crumb.parse().unwrap());
        }
        assert_eq!(client.ask(request).await.status, 200);
    });
    assert_eq!(web.request().head.fields.all("cookie"), ["a=1; b=2"]);
}

#[test]
fn a_client_that_resets_a_request_ends_it() {
    let proxy = Proxy::plain();
    let (held, release) = Origin::held();
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let (answer, mut send) = client.open(request("GET", &url(&held)), true).await;
        held.wait_connections(1);
        send.send_reset(Reason::CANCEL);
        drop(answer);
        let record = proxy.record("the request", |record| record["role"] == "forward");
        assert_eq!(record["error"], "client_gone", "{record}");
    });
    drop(release);
}

#[test]
fn behind_the_proxy_protocol() {
    let proxy = Setup::new().proxy_protocol().start();
    run(async {
        use tokio::io::AsyncWriteExt;
        let mut socket = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
        let header = b"PROXY TCP4 192.0.2.9 198.51.100.1 5000 443\r\n";
        socket.write_all(header).await.unwrap();
        let (send, connection) = within(h2::client::handshake(socket)).await.unwrap();
        let mut client = Client::over(send, connection);
        let gate = format!("http://{}/", proxy.address);
        assert_eq!(client.ask(request("GET", &gate)).await.status, 200);
    });
    let record = proxy.record("the request", |record| record["status"] == 200);
    assert_eq!(record["client"], "192.0.2.9:5000", "{record}");
}

#[test]
fn authentication_of_a_connection_is_for_http1() {
    let proxy = Proxy::plain();
    let web = Origin::ok("page");
    run(async {
        let mut client = Client::connect(proxy.address).await;
        for scheme in ["NTLM", "negotiate"] {
            let mut asking = request("GET", &url(&web));
            let field = format!("{scheme} TlRMTVNTUAAB");
            asking
                .headers_mut()
                .insert("authorization", field.parse().unwrap());
            let refused = client.try_ask(asking).await.unwrap_err();
            assert_eq!(refused.reason(), Some(Reason::HTTP_1_1_REQUIRED));
        }
        web.assert_untouched();
        assert_eq!(client.ask(request("GET", &url(&web))).await.status, 200);
    });
    let series = "tollgate_connections_rejected_total{reason=\"http_1_1_required\"}";
    assert_eq!(proxy.metric(series), 2);
}

#[test]
fn a_head_that_is_refused_is_of_http2_in_the_log() {
    let proxy = Proxy::plain();
    let web = Origin::ok("page");
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let mut two_minds = request("GET", &url(&web));
        two_minds
            .headers_mut()
            .insert("host", "other.test".parse().unwrap());
        assert_eq!(client.ask(two_minds).await.status, 400);
    });
    let records = proxy.wait_records(1);
    assert_eq!(records[0]["version"], "HTTP/2.0", "{records:#?}");
}
