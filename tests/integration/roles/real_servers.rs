//! lighttpd, Node and Apache behind the gateway and as origins of the forward proxy: each way to ask that a program
//! of today uses, and each way in which these servers answer.

use std::io::Write;
use std::time::{Duration, Instant};

use blake3::Hasher;

use crate::support::client::Wire;
use crate::support::http2::{Client, request, run};
use crate::support::message::{Framing, Response};
use crate::support::payload;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::auth;
use crate::support::servers::{FILE, Server};

/// A proxy, one server behind it, and how it is asked for.
struct Way<'a> {
    name: String,
    proxy: &'a Proxy,
    server: &'a Server,
    /// What is before the path in a request-target.
    prefix: String,
    host: String,
    /// The same over HTTP/2, where each request names its authority.
    url: String,
}

impl Way<'_> {
    /// A request without its body. `fields` are whole lines.
    fn request(&self, method: &str, path: &str, fields: &str) -> String {
        let Self { prefix, host, .. } = self;
        let auth = auth();
        format!("{method} {prefix}{path} HTTP/1.1\r\nHost: {host}\r\n{auth}{fields}\r\n")
    }

    fn exchange(&self, wire: &mut Wire, method: &str, path: &str, fields: &str) -> Response {
        wire.exchange(self.request(method, path, fields))
    }

    fn assert_file(&self, body: &[u8]) {
        assert_eq!(body.len() as u64, FILE, "{}", self.name);
        assert_eq!(blake3::hash(body), payload::hash(FILE), "{}", self.name);
    }

    /// Method, length and port that the program of the server was asked with, and the body.
    fn assert_program(&self, answer: &[u8], method: &str, length: &str, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(answer).into_owned();
        let (line, _) = text.split_once('\n').unwrap_or((&text, ""));
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(words.len(), 3, "{}: {line:?}", self.name);
        assert_eq!((words[0], words[1]), (method, length), "{}", self.name);
        assert!(answer[line.len() + 1..] == *body, "{}: body", self.name);
        words[2].to_owned()
    }

    /// The file and its head, with the server's own `Date`; HEAD, 304, and an answer without a length.
    fn files(&self) {
        let name = &self.name;
        let mut wire = self.proxy.connect();
        let whole = self.exchange(&mut wire, "GET", "/file", "");
        assert_eq!(whole.status(), 200, "{name}");
        assert_eq!(whole.framing, Framing::Length(FILE), "{name}");
        self.assert_file(&whole.body);
        assert_eq!(whole.head.fields.all("date").len(), 1, "{name}");
        assert!(
            whole.field("server").unwrap().contains(self.server.name),
            "{name}"
        );
        let validator = whole.field("etag").unwrap().to_owned();

        let head = self.exchange(&mut wire, "HEAD", "/file", "");
        assert_eq!((head.status(), head.body.len()), (200, 0), "{name}");
        let length = FILE.to_string();
        assert_eq!(
            head.field("content-length"),
            Some(length.as_str()),
            "{name}"
        );

        let condition = format!("If-None-Match: {validator}\r\n");
        let same = self.exchange(&mut wire, "GET", "/file", &condition);
        assert_eq!((same.status(), same.body.len()), (304, 0), "{name}");
        assert_eq!(same.field("etag"), Some(validator.as_str()), "{name}");

        let streamed = self.exchange(&mut wire, "GET", "/stream", "");
        assert_eq!(streamed.status(), 200, "{name}");
        assert_eq!(streamed.framing, Framing::Chunked, "{name}");
        self.assert_file(&streamed.body);
        if let Some(date) = self.server.date {
            for answer in [whole, head, same, streamed] {
                assert_eq!(answer.field("date"), Some(date), "{name}");
            }
        }
    }

    /// POST with and without a body and length; each finds the connection of the one before.
    fn posts(&self) {
        let name = &self.name;
        let body = payload::bytes(100_000);
        let mut wire = self.proxy.connect();
        let mut ports = Vec::new();
        for (fields, length, body) in [
            ("Content-Length: 0\r\n", "0", &b""[..]),
            ("Content-Length: 5\r\n", "5", b"hello"),
            ("Content-Length: 100000\r\n", "100000", &body),
        ] {
            let mut bytes = self.request("POST", "/program", fields).into_bytes();
            bytes.extend_from_slice(body);
            let answer = wire.exchange(bytes);
            assert_eq!(answer.status(), 200, "{name}: {}", answer.text());
            ports.push(self.assert_program(&answer.body, "POST", length, body));
        }
        assert!(
            ports.iter().all(|port| *port == ports[0]),
            "{name}: {ports:?}"
        );
        let answer = self.exchange(&mut wire, "GET", "/program", "");
        // lighttpd tells its programs 0 where a request has no length.
        let none = if self.server.name == "lighttpd" {
            "0"
        } else {
            "none"
        };
        assert_eq!(
            self.assert_program(&answer.body, "GET", none, b""),
            ports[0]
        );
    }

    /// A client of HTTP/1.1 that states no length has the answer of the server itself, which for lighttpd is 411.
    fn post_without_a_length(&self) {
        let mut wire = self.proxy.connect();
        let through = self.exchange(&mut wire, "POST", "/program", "");
        let mut wire = Wire::connect(self.server.address()).unwrap();
        let direct = wire.exchange("POST /program HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(through.status(), direct.status(), "{}", self.name);
        match through.status() {
            200 => drop(self.assert_program(&through.body, "POST", "none", b"")),
            status => assert_eq!((self.server.name, status), ("lighttpd", 411)),
        }
    }

    /// The same over HTTP/2, where the end of a stream is the only length that a client has to give.
    fn posts_over_http2(&self) {
        let name = &self.name;
        let target = |path: &str| format!("{}{path}", self.url);
        run(async {
            let mut client = Client::connect(self.proxy.address).await;
            let answer = client.ask(request("POST", &target("/program"))).await;
            assert_eq!(answer.status, 200, "{name}: {answer:?}");
            self.assert_program(&answer.body, "POST", "0", b"");
            let body = payload::bytes(100_000);
            let mut post = request("POST", &target("/program"));
            let length = "100000".parse().unwrap();
            post.headers_mut().insert("content-length", length);
            let answer = client.post(post, &body).await;
            assert_eq!(answer.status, 200, "{name}: {answer:?}");
            self.assert_program(&answer.body, "POST", "100000", &body);
            let answer = client.ask(request("GET", &target("/file"))).await;
            assert_eq!(answer.status, 200, "{name}");
            self.assert_file(&answer.body);
        });
    }

    /// A client that waits for 100 before it sends its body, as curl does.
    fn expectation(&self) {
        let name = &self.name;
        let mut wire = self.proxy.connect();
        let fields = "Content-Length: 100000\r\nExpect: 100-continue\r\n";
        let interim = self.exchange(&mut wire, "POST", "/program", fields);
        assert_eq!(interim.status(), 100, "{name}");
        let body = payload::bytes(100_000);
        wire.send(&body).unwrap();
        let answer = wire.response("POST").unwrap();
        assert_eq!(answer.status(), 200, "{name}");
        self.assert_program(&answer.body, "POST", "100000", &body);
    }
}

/// A proxy with that configuration besides a pool of this server.
fn in_front_of(server: &Server, yaml: &str) -> Proxy {
    let gateway = format!("gateway: {{ upstreams: [\"{}\"] }}", server.address());
    Setup::new().config(&gateway).config(yaml).start()
}

/// Both roles in which a server is asked.
fn ways<'a>(proxy: &'a Proxy, server: &'a Server) -> [Way<'a>; 2] {
    let address = server.address();
    let gateway = Way {
        name: format!("{} behind the gateway", server.name),
        proxy,
        server,
        prefix: String::new(),
        host: "gate.example".to_owned(),
        url: format!("http://{}", proxy.address),
    };
    let forward = Way {
        name: format!("{} as an origin", server.name),
        proxy,
        server,
        prefix: format!("http://{address}"),
        host: address.to_string(),
        url: format!("http://{address}"),
    };
    [gateway, forward]
}

/// Has a server asked for everything; one that this machine lacks is skipped by name.
fn check(server: Option<Server>) {
    let Some(server) = server else { return };
    let proxy = in_front_of(&server, "");
    for way in ways(&proxy, &server) {
        way.files();
        way.posts();
        way.post_without_a_length();
        way.posts_over_http2();
        way.expectation();
    }
}

#[test]
fn lighttpd_is_served_whole() {
    check(Server::lighttpd());
}

#[test]
fn node_is_served_whole() {
    check(Server::node());
}

#[test]
fn apache_is_served_whole() {
    check(Server::apache());
}

/// Far more than all buffers between the two.
const ECHO: u64 = 40_000_000;

/// An origin that answers while it reads, `request.pipe(response)`: a client that reads while it sends has all of it.
#[test]
fn answer_that_is_made_while_the_body_is_read_is_served_whole() {
    let Some(server) = Server::node() else { return };
    let proxy = in_front_of(&server, "timeouts: { send: 5s, response: 5s }");
    for way in ways(&proxy, &server) {
        let name = &way.name;
        let mut wire = proxy.connect();
        let mut writer = wire.socket().try_clone().unwrap();
        let head = way.request("POST", "/pipe", &format!("Content-Length: {ECHO}\r\n"));
        let sending = std::thread::spawn(move || {
            writer.write_all(head.as_bytes()).unwrap();
            payload::generate(ECHO, |part| writer.write_all(part)).unwrap()
        });
        let head = wire.read_head().unwrap().unwrap();
        assert_eq!(head.status(), 200, "{name}");
        let mut hasher = Hasher::new();
        let read = wire.read_body(head.response_framing("POST"), |part| {
            hasher.update(part);
        });
        read.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(hasher.finalize(), sending.join().unwrap(), "{name}");
    }
    let [_, forward] = ways(&proxy, &server);
    let body = payload::bytes(usize::try_from(FILE).unwrap());
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let post = request("POST", &format!("{}/pipe", forward.url));
        let answer = client.post(post, &body).await;
        assert_eq!(answer.status, 200);
        forward.assert_file(&answer.body);
    });
}

/// One that sends all before it reads is waited for as any that does not read is.
#[test]
fn client_that_does_not_read_such_an_answer_is_cut_after_its_time() {
    let Some(server) = Server::node() else { return };
    let proxy = in_front_of(&server, "timeouts: { send: 1s }");
    let [_, forward] = ways(&proxy, &server);
    let mut wire = proxy.connect();
    let begun = Instant::now();
    let head = forward.request("POST", "/pipe", &format!("Content-Length: {ECHO}\r\n"));
    wire.send(head).unwrap();
    let sent = payload::generate(ECHO, |part| wire.send(part));
    assert!(sent.is_err(), "all buffers hold {ECHO} bytes");
    let record = proxy.wait_records(1).remove(0);
    assert_eq!(record["error"], "client_gone", "{record}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{record}");
}
