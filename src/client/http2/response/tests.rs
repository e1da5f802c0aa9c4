use proptest::prelude::*;

use super::*;

/// What a whole answer reads as: the interim ones, the head and the body.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    interim: Vec<u16>,
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    done: bool,
}

fn read(method: &Method, bytes: &[u8], cuts: &[usize]) -> io::Result<Answer> {
    let mut reader = ResponseReader::new(method);
    let mut answer = Answer::default();
    let mut at = 0;
    let mut cuts = cuts.iter().cycle();
    while at < bytes.len() {
        let len = cuts.next().map_or(bytes.len(), |cut| *cut).max(1);
        let piece = &bytes[at..bytes.len().min(at.saturating_add(len))];
        let (mut used, part) = reader.read(piece)?;
        match part {
            Part::Interim(head) => answer.interim.push(head.status().as_u16()),
            Part::Head(head, last) => {
                assert_eq!(last, reader.is_done());
                answer.status = head.status().as_u16();
                let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
                let fields = head.headers().iter();
                answer.fields = fields
                    .map(|(name, value)| (name.to_string(), text(value)))
                    .collect();
            }
            Part::Data(len) => {
                assert_eq!(used, 0);
                assert!((1..=piece.len()).contains(&len));
                reader.take(&piece[..len])?;
                answer.body.extend_from_slice(&piece[..len]);
                used = len;
            }
            Part::Nothing => assert!(used > 0, "no progress"),
        }
        at += used;
    }
    answer.done = reader.is_done();
    Ok(answer)
}

fn get(bytes: &[u8]) -> Answer {
    read(&Method::GET, bytes, &[usize::MAX]).unwrap()
}

#[test]
fn fields_of_the_connection_are_left_out() {
    let answer = get(
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\
        Content-Length: 2\r\nX: 1\r\nUpgrade: h2c\r\nX: 2\r\n\r\nhi",
    );
    let fields = [("content-length", "2"), ("x", "1"), ("x", "2")];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(answer.fields, fields);
    assert_eq!((answer.body.as_slice(), answer.done), (&b"hi"[..], true));
}

#[test]
fn where_an_answer_ends() {
    let whole = |method: Method, bytes: &[u8]| {
        let answer = read(&method, bytes, &[usize::MAX]).unwrap();
        (String::from_utf8(answer.body).unwrap(), answer.done)
    };
    let chunked =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n";
    assert_eq!(whole(Method::GET, chunked), ("hi!".into(), true));
    let open = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end";
    assert_eq!(whole(Method::GET, open), ("to the end".into(), false));
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi";
    assert_eq!(whole(Method::GET, short), ("hi".into(), false));
    for (method, head) in [
        (Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            Method::GET,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        ),
        (Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        assert_eq!(
            whole(method, head.as_bytes()),
            (String::new(), true),
            "{head}"
        );
    }
    let tunnel = b"HTTP/1.1 200 Connection established\r\n\r\n\x16\x03\x01\r\n\r\n";
    assert_eq!(
        whole(Method::CONNECT, tunnel),
        ("\x16\x03\x01\r\n\r\n".into(), false)
    );
    let refused = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno";
    assert_eq!(whole(Method::CONNECT, refused), ("no".into(), true));
}

#[test]
fn a_websocket_has_begun_with_a_success() {
    let begun = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX: y\r\n\r\n\x81\x02hi";
    let answer = read(&Method::CONNECT, begun, &[usize::MAX]).unwrap();
    assert_eq!((answer.status, answer.done), (200, false));
    assert_eq!(answer.fields, [("x".to_owned(), "y".to_owned())]);
    assert_eq!(answer.body, b"\x81\x02hi");
}

#[test]
fn interim_answers_come_first() {
    let answer = get(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!((answer.interim, answer.status), (vec![100, 103], 200));
}

#[test]
fn what_is_no_answer() {
    let endless = vec![b'a'; MAX_HEAD + 1];
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!",
        b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhi",
        b"HTTP/1.1 204 No Content\r\n\r\nhi",
        &endless,
    ] {
        let read = read(&Method::GET, bytes, &[usize::MAX]);
        assert!(read.is_err(), "{read:?}");
    }
}

proptest! {
    #[test]
    fn cuts_do_not_matter(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
        cuts in prop::collection::vec(1usize..30, 1..8),
        chunked: bool,
    ) {
        let body = chunks.concat();
        let mut bytes = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nX: y\r\n".to_vec();
        if chunked {
            bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in &chunks {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
            bytes.extend(&body);
        }
        let answer = read(&Method::GET, &bytes, &cuts).unwrap();
        prop_assert_eq!(&answer, &get(&bytes));
        prop_assert_eq!((answer.status, answer.done), (200, true));
        prop_assert_eq!(answer.body, body);
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(1usize..30, 1..8),
    ) {
        let _ = read(&Method::GET, &bytes, &cuts);
    }
}
