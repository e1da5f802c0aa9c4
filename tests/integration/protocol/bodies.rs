//! Bodies both ways, of every size and framing, and the answers around them.

use std::io::Write;
use std::time::Duration;

use crate::support::client::Wire;
use crate::support::message::{Framing, Head, ok, response};
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::proxy::Proxy;
use crate::support::request::{auth, fetch, request};

/// An origin that hashes what it gets and answers with the hash, reading as it comes.
fn hashing_origin() -> Origin {
    Origin::raw(|mut wire, _| {
        while let Some(head) = wire.read_head()? {
            let mut hasher = blake3::Hasher::new();
            let framing = head.request_framing();
            wire.read_body(framing, |part| {
                hasher.update(part);
            })?;
            let extra = match framing {
                Framing::Chunked => "X-Framing: chunked\r\n",
                _ => "X-Framing: length\r\n",
            };
            wire.send(response(
                "200 OK",
                extra,
                hasher.finalize().to_hex().as_bytes(),
            ))?;
        }
        Ok(())
    })
}

const SIZES: [u64; 9] = [
    0,
    1,
    100,
    4095,
    4096,
    65_535,
    65_536,
    1_000_000,
    64 * 1024 * 1024,
];

#[test]
fn request_bodies_with_a_length_arrive_whole() {
    let proxy = Proxy::plain();
    let origin = hashing_origin();
    let mut wire = proxy.connect();
    for size in SIZES {
        let head = request("POST", &origin, &format!("Content-Length: {size}\r\n"), "");
        wire.send(head).unwrap();
        let sent = payload::generate(size, |part| wire.send(part)).unwrap();
        let answer = wire.response("POST").unwrap();
        assert_eq!(answer.text(), sent.to_hex().as_str(), "{size}");
        assert_eq!(answer.field("x-framing"), Some("length"), "{size}");
    }
}

#[test]
fn chunked_request_bodies_arrive_whole() {
    let proxy = Proxy::plain();
    let origin = hashing_origin();
    let mut wire = proxy.connect();
    for size in SIZES {
        // The name of a coding has no case (case 3).
        wire.send(request(
            "PUT",
            &origin,
            "Transfer-Encoding: Chunked\r\n",
            "",
        ))
        .unwrap();
        let sent = payload::generate(size, |part| {
            wire.send(format!("{:X};ext=\"a\"\r\n", part.len()))?;
            wire.send(part)?;
            wire.send("\r\n")
        })
        .unwrap();
        wire.send("0\r\nTrailer-Field: dropped\r\n\r\n").unwrap();
        let answer = wire.response("PUT").unwrap();
        assert_eq!(answer.text(), sent.to_hex().as_str(), "{size}");
    }
}

/// What an origin's body is framed with.
#[derive(Clone, Copy, Debug)]
enum Way {
    Length,
    Chunked,
    Close,
}

/// An origin whose body is as long as its path says.
fn sized_origin(way: Way) -> Origin {
    Origin::raw(move |mut wire, _| {
        while let Some(request) = wire.request()? {
            let size: u64 = request
                .head
                .target()
                .trim_start_matches('/')
                .parse()
                .unwrap();
            let field = match way {
                Way::Length => format!("Content-Length: {size}\r\n"),
                Way::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
                Way::Close => "Connection: close\r\n".to_owned(),
            };
            wire.send(format!("HTTP/1.1 200 OK\r\n{field}\r\n"))?;
            payload::generate(size, |part| match way {
                Way::Chunked => {
                    wire.send(format!("{:x}\r\n", part.len()))?;
                    wire.send(part)?;
                    wire.send("\r\n")
                }
                _ => wire.send(part),
            })?;
            match way {
                Way::Length => {}
                Way::Chunked => wire.send("0\r\n\r\n")?,
                Way::Close => break,
            }
        }
        Ok(())
    })
}

fn read_hash(wire: &mut Wire) -> (Head, blake3::Hash) {
    let head = wire.read_head().unwrap().unwrap();
    let mut hasher = blake3::Hasher::new();
    let framing = head.response_framing("GET");
    wire.read_body(framing, |part| {
        hasher.update(part);
    })
    .unwrap();
    (head, hasher.finalize())
}

#[test]
fn response_bodies_arrive_whole_however_framed() {
    let proxy = Proxy::plain();
    for way in [Way::Length, Way::Chunked, Way::Close] {
        let origin = sized_origin(way);
        let mut wire = proxy.connect();
        for size in SIZES {
            wire.send(fetch(&format!("http://{}/{size}", origin.address)))
                .unwrap();
            let (head, hash) = read_hash(&mut wire);
            assert_eq!(head.status(), 200, "{way:?} {size}");
            assert_eq!(hash, payload::hash(size), "{way:?} {size}");
            if head.response_framing("GET") == Framing::UntilClose {
                wire = proxy.connect();
            }
        }
    }
}

#[test]
fn bodies_are_streamed_and_not_collected() {
    let proxy = Proxy::plain();
    let (step, stepped) = std::sync::mpsc::channel::<()>();
    let stepped = std::sync::Mutex::new(stepped);
    let origin = Origin::raw(move |mut wire, _| {
        wire.request()?;
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")?;
        // The second part waits until the client has the first.
        let waited = stepped
            .lock()
            .unwrap()
            .recv_timeout(Duration::from_secs(15));
        waited.map_err(std::io::Error::other)?;
        wire.send("6\r\nsecond\r\n0\r\n\r\n")
    });
    let mut wire = proxy.connect();
    wire.send(fetch(&format!("http://{}/", origin.address)))
        .unwrap();
    let head = wire.read_head().unwrap().unwrap();
    assert_eq!(head.status(), 200);
    wire.read_until(b"first").unwrap();
    step.send(()).unwrap();
    wire.read_until(b"second").unwrap();
}

#[test]
fn both_bodies_at_once_do_not_block_each_other() {
    let proxy = Proxy::plain();
    // The origin answers while it reads. Not more than sockets hold: Pingora writes a
    // request body without reading the answer meanwhile (docs/operations.md, limits).
    let origin = Origin::raw(|mut wire, _| {
        let head = wire.read_head()?.unwrap();
        let mut back = Wire::new(wire.socket().try_clone()?)?;
        back.send("HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n")?;
        let mut result = Ok(());
        wire.read_body(head.request_framing(), |part| {
            if result.is_ok() {
                result = back.send(part);
            }
        })?;
        result
    });
    let mut wire = proxy.connect();
    let mut writer = wire.socket().try_clone().unwrap();
    let head = request("POST", &origin, "Content-Length: 500000\r\n", "");
    let sending = std::thread::spawn(move || {
        writer.write_all(head.as_bytes()).unwrap();
        payload::generate(500_000, |part| writer.write_all(part)).unwrap()
    });
    let (head, hash) = read_hash(&mut wire);
    assert_eq!(head.status(), 200);
    assert_eq!(hash, sending.join().unwrap());
}

#[test]
fn expect_100_continue_goes_to_the_origin_and_back() {
    let proxy = Proxy::plain();
    let origin = Origin::raw(|mut wire, _| {
        let head = wire.read_head()?.unwrap();
        assert!(head.fields.lists("expect", "100-continue"));
        wire.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        let body = wire.read_bytes(5)?;
        wire.send(ok(body))
    });
    let mut wire = proxy.connect();
    let head = request(
        "POST",
        &origin,
        "Content-Length: 5\r\nExpect: 100-continue\r\n",
        "",
    );
    let interim = wire.exchange(head);
    assert_eq!(interim.status(), 100);
    wire.send("hello").unwrap();
    assert_eq!(wire.response("POST").unwrap().text(), "hello");
}

#[test]
fn expectation_may_be_refused_by_the_origin() {
    let proxy = Proxy::plain();
    let origin = Origin::raw(|mut wire, _| {
        wire.read_head()?;
        wire.send(response("417 No", "Connection: close\r\n", "no"))
    });
    let head = request(
        "POST",
        &origin,
        "Content-Length: 5\r\nExpect: 100-continue\r\n",
        "",
    );
    assert_eq!(proxy.exchange(head).status(), 417);
}

#[test]
fn interim_answers_are_relayed_before_the_final_one() {
    let proxy = Proxy::plain();
    let origin = Origin::fixed(
        [
            b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
                .as_slice(),
            &ok("end"),
        ]
        .concat(),
    );
    let mut wire = proxy.connect();
    let mut answer = wire.exchange(fetch(&format!("http://{}/", origin.address)));
    let mut seen = vec![answer.status()];
    while answer.status() / 100 == 1 {
        if answer.status() == 103 {
            assert_eq!(answer.field("link"), Some("</a.css>"));
        }
        answer = wire.response("GET").unwrap();
        seen.push(answer.status());
    }
    assert_eq!(seen, [102, 103, 200]);
    assert_eq!(answer.text(), "end");
}

#[test]
fn answers_without_a_body_keep_the_connection() {
    let proxy = Proxy::plain();
    let origin = Origin::http(
        |request| match (request.head.method(), request.head.target()) {
            ("HEAD", _) => b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n".to_vec(),
            (_, "/204") => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            (_, "/304") => b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n".to_vec(),
            (_, "/304-length") => {
                b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n".to_vec()
            }
            _ => ok("end"),
        },
    );
    let address = origin.address;
    let mut wire = proxy.connect();
    for (method, path, status) in [
        ("HEAD", "/", 200),
        ("GET", "/204", 204),
        ("GET", "/304", 304),
        ("GET", "/304-length", 304),
    ] {
        let answer = wire.exchange(format!(
            "{method} http://{address}{path} HTTP/1.1\r\nHost: {address}\r\n{}\r\n",
            auth()
        ));
        assert_eq!(answer.status(), status, "{path}");
        if method == "HEAD" {
            assert_eq!(answer.field("content-length"), Some("999"));
        }
        if status == 204 {
            assert!(!answer.head.fields.has("transfer-encoding"));
        }
        assert_eq!(
            wire.exchange(fetch(&format!("http://{address}/"))).text(),
            "end",
            "{path}"
        );
    }
}

#[test]
fn http_1_0_client_gets_no_chunks() {
    let proxy = Proxy::plain();
    for way in [Way::Length, Way::Chunked, Way::Close] {
        let origin = sized_origin(way);
        let mut wire = proxy.connect();
        wire.send(format!(
            "GET http://{}/70000 HTTP/1.0\r\n{}\r\n",
            origin.address,
            auth()
        ))
        .unwrap();
        let head = wire.read_head().unwrap().unwrap();
        assert_eq!(head.status(), 200, "{way:?}");
        assert!(!head.fields.has("transfer-encoding"), "{way:?}: {head:?}");
        let body = wire.read_to_end().unwrap();
        assert_eq!(blake3::hash(&body), payload::hash(70_000), "{way:?}");
    }
}

#[test]
fn pipelined_bodies_are_told_apart() {
    let proxy = Proxy::plain();
    let origin = Origin::http(|request| ok(&request.body));
    let mut wire = proxy.connect();
    let all = [
        request("POST", &origin, "Content-Length: 3\r\n", "one"),
        request(
            "POST",
            &origin,
            "Transfer-Encoding: chunked\r\n",
            "3\r\ntwo\r\n0\r\n\r\n",
        ),
        request("POST", &origin, "Content-Length: 5\r\n", "three"),
    ];
    wire.send(all.concat()).unwrap();
    for body in ["one", "two", "three"] {
        assert_eq!(wire.response("POST").unwrap().text(), body);
    }
}
