//! The client against servers of the test, byte by byte.

use std::io::Write as _;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::dial::{DnsOptions, Sources};
use super::*;

const WAIT: Duration = Duration::from_secs(20);

/// A server that answers the connections one after the other, each request of one with the next of its answers; what
/// it got.
struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(connections: Vec<Vec<&'static str>>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            for answers in connections {
                let (mut socket, _) = listener.accept().await.unwrap();
                for answer in answers {
                    let mut request = Vec::new();
                    while !is_whole(&request) {
                        let read = socket.read_buf(&mut request).await.unwrap();
                        if read == 0 {
                            break;
                        }
                    }
                    seen.lock()
                        .unwrap()
                        .push(String::from_utf8(request).unwrap());
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        Server { address, requests }
    }

    fn url(&self) -> HttpUrl {
        HttpUrl::parse(&format!("http://{}/a?b", self.address)).unwrap()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let content = text.split_once("\r\n\r\n").map(|(_, content)| content);
    content.is_some_and(|content| !text.starts_with("POST") || content.ends_with('}'))
}

/// A client with an authority of its own, and the file of it.
fn fetcher() -> (Fetcher, tempfile::NamedTempFile) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["ca.test".to_owned()]).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    file.write_all(pem.as_bytes()).unwrap();
    let dialer = Dialer::new(DnsOptions::default(), Sources::new(&[]), WAIT);
    let path = file.path().to_str().unwrap().to_owned();
    (
        Fetcher::new(Arc::new(dialer), Some(path), Vec::new(), WAIT),
        file,
    )
}

fn get(url: &HttpUrl) -> FetchRequest<'_> {
    FetchRequest {
        method: Method::GET,
        url,
        content: None,
        accept: "application/json",
        fields: Vec::new(),
        is_repeatable: false,
        max_body: 16,
        cuts_body: false,
        timeout: WAIT,
    }
}

const CLOSED: &str = "the connection was closed before the end of an answer; see the log of the service, and whether \
                      http or https is right";

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_is_used_again_and_replaced_when_it_is_gone() {
    let (fetcher, _file) = fetcher();
    let chunked =
        "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n";
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let server = Server::start(vec![vec![OK, chunked], vec![interim]]).await;
    let url = server.url();
    for (status, body) in [(200, "ok"), (404, "no"), (200, "ok")] {
        let response = fetcher.fetch(get(&url)).await.unwrap();
        assert_eq!(
            (response.status.as_u16(), &*response.body),
            (status, body.as_bytes())
        );
    }
    let requests = server.requests.lock().unwrap();
    let expected = format!("Host: {}\r\n", server.address);
    for request in requests.iter() {
        assert!(request.starts_with("GET /a?b HTTP/1.1\r\n"), "{request}");
        assert!(
            request
                .to_ascii_lowercase()
                .contains(&expected.to_ascii_lowercase()),
            "{request}"
        );
    }
    assert_eq!(requests.len(), 3);
}

#[tokio::test]
async fn a_post_has_its_content() {
    let (fetcher, _file) = fetcher();
    let server = Server::start(vec![vec![OK]]).await;
    let url = server.url();
    let request = FetchRequest {
        method: Method::POST,
        content: Some(("application/json", Bytes::from_static(b"{\"a\":1}"))),
        ..get(&url)
    };
    assert_eq!(fetcher.fetch(request).await.unwrap().status, StatusCode::OK);
    let request = server.requests.lock().unwrap()[0].to_ascii_lowercase();
    for part in [
        "post /a?b http/1.1",
        "content-type: application/json\r\n",
        "content-length: 7\r\n",
        "\r\n\r\n{\"a\":1}",
    ] {
        assert!(request.contains(part), "{request}");
    }
}

#[tokio::test]
async fn answers_that_are_not_taken() {
    let (fetcher, _file) = fetcher();
    for (answer, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n12345678901234567",
            "larger than 16 bytes",
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\n12345678901234567",
            "larger than 16 bytes",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nno", CLOSED),
        (
            "no HTTP\r\n\r\n",
            "not an answer of HTTP/1.1; correct the URL, or the service",
        ),
        ("", CLOSED),
    ] {
        let server = Server::start(vec![vec![answer]]).await;
        let error = fetcher
            .fetch(get(&server.url()))
            .await
            .unwrap_err()
            .to_string();
        let is_it = error == expected || expected.starts_with("larger") && error.contains(expected);
        assert!(is_it, "{answer:?}: {error}");
    }
    // An end of the connection is the end of content without a length.
    let server = Server::start(vec![vec!["HTTP/1.1 200 OK\r\n\r\nok"]]).await;
    assert_eq!(
        &*fetcher.fetch(get(&server.url())).await.unwrap().body,
        b"ok"
    );
}

#[tokio::test]
async fn content_that_is_not_needed_is_left_out() {
    let (fetcher, _file) = fetcher();
    let long = "HTTP/1.1 403 No\r\nX-A: b\r\nContent-Length: 17\r\n\r\n12345678901234567";
    let server = Server::start(vec![vec![long], vec![OK]]).await;
    let url = server.url();
    for (status, body) in [(403, 0), (200, 2)] {
        let request = FetchRequest {
            cuts_body: true,
            ..get(&url)
        };
        let response = fetcher.fetch(request).await.unwrap();
        assert_eq!(
            (response.status.as_u16(), response.body.len()),
            (status, body)
        );
        let field = response.fields.get("x-a").map(HeaderValue::as_bytes);
        assert_eq!(field, (status == 403).then_some(&b"b"[..]));
    }
}

#[tokio::test]
async fn a_silent_server_is_waited_for_so_long_and_no_longer() {
    let (fetcher, _file) = fetcher();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = HttpUrl::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let timeout = Duration::from_millis(50);
    let error = fetcher
        .fetch(FetchRequest {
            timeout,
            ..get(&url)
        })
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Timeout(_)), "{error}");
    drop(listener);
    let error = fetcher.fetch(get(&url)).await.unwrap_err();
    let refused =
        "connection refused: nothing listens there; start the service, or correct the URL";
    assert_eq!(error.to_string(), refused);
    // The URL has no address.
    let port = url.authority.port;
    let url = HttpUrl::parse(&format!("http://localhost:{port}/")).unwrap();
    let error = fetcher.fetch(get(&url)).await.unwrap_err().to_string();
    let (refused, rest) = error.split_once(" at ").unwrap();
    assert_eq!(refused, "connection refused");
    assert!(
        rest.ends_with(&format!(
            ":{port}: nothing listens there; start the service, or correct the URL"
        )),
        "{rest}"
    );
    let url = HttpUrl::parse("http://no-such-name.invalid./").unwrap();
    let error = fetcher.fetch(get(&url)).await.unwrap_err();
    assert!(matches!(error, FetchError::Resolve(..)), "{error}");
}

#[tokio::test]
async fn the_other_scheme() {
    let (fetcher, _file) = fetcher();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let url = HttpUrl::parse(&url).unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(OK.as_bytes()).await.unwrap();
        // Until the client is gone.
        let _gone = socket.read_to_end(&mut Vec::new()).await;
    });
    let error = fetcher.fetch(get(&url)).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "no TLS: what answers on this port does not speak TLS: is http:// meant, or another port?"
    );
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_an_error() {
    let dialer = Dialer::new(DnsOptions::default(), Sources::new(&[]), WAIT);
    let fetcher = Fetcher::new(
        Arc::new(dialer),
        Some("/no/such/file".to_owned()),
        Vec::new(),
        WAIT,
    );
    let url = HttpUrl::parse("http://127.0.0.1:1/").unwrap();
    let error = fetcher.fetch(get(&url)).await.unwrap_err();
    assert!(matches!(error, FetchError::Authorities(_)), "{error}");
}
