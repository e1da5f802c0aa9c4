//! Trailer sections (RFC 9110 §6.5): where they pass, and where they end and why.

use http::{HeaderMap, Method};

use crate::support::http2::{self, Client, bare, run, within};
use crate::support::http2_origin::{Http2Origin, Stream, body_of};
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::{ALICE, basic};

/// Content that looks like the end of a body of HTTP/1.1, in each way of being cut.
const BODY: &[u8] = b"0\r\n\r\n";

/// Fields that may trail, and some that may not.
const SENT: &[(&str, &str)] = &[
    ("x-sum", "a: b"),
    ("x-sum", "c"),
    ("grpc-status", "0"),
    ("set-cookie", "stolen=1"),
    ("content-length", "99"),
    ("transfer-encoding", "chunked"),
    ("cache-control", "public"),
];

/// Answers `/N` with so many bytes, and a trailer section; `/length` with a length.
async fn serve(mut stream: Stream) -> Result<(), h2::Error> {
    body_of(&mut stream.receive).await?;
    let path = stream.request.uri.path().to_owned();
    // What HTTP/2 itself refuses cannot be sent by this server.
    let sent: Vec<_> = SENT
        .iter()
        .copied()
        .filter(|(name, _)| !["content-length", "transfer-encoding"].contains(name))
        .collect();
    match path.as_str() {
        "/length" => {
            let length = BODY.len().to_string();
            let head = [("content-length", length.as_str())];
            stream.answer(200, &head, BODY, Some(&sent)).await
        }
        "/error" => stream.answer(500, &[], BODY, Some(&sent)).await,
        "/large" => {
            let large = "x".repeat(30_000);
            let large = [("a", &*large), ("b", &*large), ("c", &*large)];
            stream.answer(200, &[], BODY, Some(&large)).await
        }
        // An answer to HEAD has no content.
        _ if stream.request.method == Method::HEAD => stream.begin(200, &[], true).map(drop),
        path => {
            let count: usize = path.trim_start_matches('/').parse().unwrap();
            let body = BODY.repeat(count);
            stream.answer(200, &[], &body, Some(&sent)).await
        }
    }
}

fn proxy() -> (Http2Origin, Proxy) {
    let origin = Http2Origin::plain(serve);
    let yaml = format!(
        "gateway: {{ upstreams: ['{}'], http2: only }}",
        origin.address
    );
    let proxy = Proxy::start(&yaml);
    (origin, proxy)
}

fn get(path: &str, fields: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: gate.test\r\nAuthorization: {}\r\n{fields}\r\n",
        basic(ALICE.0, ALICE.1)
    )
}

const TE: &str = "TE: gzip, Trailers\r\nConnection: TE\r\n";

#[test]
fn of_http2_upstreams_pass_to_http1_clients_that_take_them() {
    let (origin, proxy) = proxy();
    let mut wire = proxy.connect();
    for (path, size) in [("/1", 5), ("/0", 0), ("/9000", 45_000), ("/error", 5)] {
        for (fields, has_trailers) in [
            (TE, true),
            ("", false),
            ("TE: gzip\r\nConnection: TE\r\n", false),
        ] {
            wire.send(get(path, fields)).unwrap();
            let head = wire.read_head().unwrap().unwrap();
            assert_eq!(
                head.fields.value("transfer-encoding"),
                Some("chunked"),
                "{path}"
            );
            let mut read = 0;
            loop {
                let line = wire.read_until(b"\r\n").unwrap();
                let digits = std::str::from_utf8(&line).unwrap().trim();
                let size = usize::from_str_radix(digits, 16).unwrap();
                if size == 0 {
                    break;
                }
                let chunk = wire.read_bytes(size + 2).unwrap();
                assert!(chunk.ends_with(b"\r\n"));
                read += size;
            }
            assert_eq!(read, size, "{path}");
            let mut trailers = Vec::new();
            loop {
                let line = wire.read_until(b"\r\n").unwrap();
                if line == b"\r\n" {
                    break;
                }
                trailers.push(String::from_utf8(line).unwrap());
            }
            let expected: &[&str] = match has_trailers {
                true => &["x-sum: a: b\r\n", "x-sum: c\r\n", "grpc-status: 0\r\n"],
                false => &[],
            };
            trailers.sort_by_key(|line| line.starts_with("grpc"));
            assert_eq!(trailers, expected, "{path} {fields}");
        }
    }
    // The same connection all the while, and a server is asked for trailers where the client takes some.
    for (asked, request) in [Some("trailers"), None, None]
        .iter()
        .cycle()
        .zip(origin.requests())
    {
        let te = request.headers.get("te").map(|te| te.to_str().unwrap());
        assert_eq!(te, *asked);
    }
}

/// A trailer section behind a length has no place in HTTP/1.1, and a large one none in proxies.
#[test]
fn those_that_do_not_fit_are_left_out() {
    let (_origin, proxy) = proxy();
    let mut wire = proxy.connect();
    for path in ["/length", "/large", "/1"] {
        let answer = wire.exchange(get(path, TE));
        assert_eq!(answer.body, BODY, "{path}");
    }
    let mut old = proxy.connect();
    let head = get("/1", TE).replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(old.exchange(head).status(), 505);
    let head = get("/1", TE).replacen("GET", "HEAD", 1);
    wire.send(head).unwrap();
    assert_eq!(wire.response("HEAD").unwrap().status(), 200);
    assert_eq!(wire.exchange(get("/1", "")).body, BODY);
}

async fn ask(
    client: &mut Client,
    uri: &str,
    fields: &[(&str, &str)],
) -> (Vec<u8>, Option<HeaderMap>) {
    let mut request = http2::request("GET", uri);
    request
        .headers_mut()
        .extend(bare("GET", uri, fields).headers().clone());
    let (answer, _) = client.open(request, true).await;
    let mut receive = within(answer).await.unwrap().into_body();
    let body = http2::read_all(&mut receive).await.unwrap();
    (body, within(receive.trailers()).await.unwrap())
}

#[test]
fn of_http2_upstreams_pass_to_http2_clients_that_take_them() {
    let (_origin, proxy) = proxy();
    run(async {
        let mut client = Client::connect(proxy.address).await;
        for (path, size) in [("/1", 5), ("/0", 0), ("/90000", 450_000), ("/error", 5)] {
            let uri = format!("http://{}{path}", proxy.address);
            let (body, trailers) = ask(&mut client, &uri, &[("te", "trailers")]).await;
            let trailers = trailers.unwrap();
            assert_eq!((body.len(), trailers.len()), (size, 3), "{trailers:?}");
            assert_eq!(trailers["grpc-status"], "0");
            let (body, trailers) = ask(&mut client, &uri, &[]).await;
            assert_eq!((body.len(), trailers), (size, None));
        }
        let uri = format!("http://{}/length", proxy.address);
        let (body, trailers) = ask(&mut client, &uri, &[("te", "trailers")]).await;
        assert_eq!((&*body, trailers), (BODY, None));
    });
}

/// Pingora's HTTP/1 client reads over those of an origin, and its HTTP/1 server over those of a request. When this fails
/// with a new version of Pingora, docs/protocol.md has to say something else.
#[test]
fn of_http1_origins_and_of_requests_end_here() {
    let origin = Origin::http(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n".to_vec()
    });
    let proxy = Proxy::plain();
    let request = format!(
        "POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nProxy-Authorization: {1}\r\nTE: trailers\r\nConnection: TE\r\n\
         Trailer: x-sent\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nup\r\n0\r\nx-sent: 1\r\n\r\n",
        origin.address,
        basic(ALICE.0, ALICE.1)
    );
    let mut wire = proxy.connect();
    for _ in 0..2 {
        wire.send(&request).unwrap();
        let head = wire.read_head().unwrap().unwrap();
        assert!(!head.fields.has("trailer"));
        assert_eq!(wire.read_bytes(12).unwrap(), b"2\r\nhi\r\n0\r\n\r\n");
    }
    let seen = origin.request();
    assert_eq!(seen.body, b"up");
    for name in ["te", "trailer"] {
        assert!(!seen.head.fields.has(name), "{name}");
    }
    // To an upstream of HTTP/2 the end of the body is the end of the stream.
    let (upstream, proxy) = self::proxy();
    let request = format!(
        "POST /1 HTTP/1.1\r\nHost: gate.test\r\nAuthorization: {}\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nup\r\n0\r\nx-sent: 1\r\n\r\n",
        basic(ALICE.0, ALICE.1)
    );
    assert_eq!(proxy.exchange(request).body, BODY);
    assert!(!upstream.requests()[0].headers.contains_key("trailer"));
}
