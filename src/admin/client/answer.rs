//! Answers of the admin service, as bytes to a status and its content (RFC 9112). Every length is limited.

use std::io::{self, BufRead as _, BufReader, Read};

use httparse::Status;

/// More than the fields of an answer.
const MAX_HEAD: usize = 16 << 10;
const MAX_FIELDS: usize = 64;
/// The longest line between chunks.
const MAX_LINE: usize = 1 << 10;
/// Interim answers before the final one.
const MAX_INTERIM: usize = 8;

/// An answer, whose content is still to be read.
#[derive(Debug)]
pub struct Reply<R> {
    /// The final status.
    pub status: u16,
    /// Its content.
    pub body: Body<R>,
}

/// Reads the content of an answer, without its framing.
#[derive(Debug)]
pub struct Body<R> {
    reader: BufReader<R>,
    framing: Framing,
}

/// Where the content ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// After so many bytes more.
    Length(u64),
    /// After so many bytes more, another chunk begins; `is_first` until one has begun.
    Chunk { left: u64, is_first: bool },
    /// With the connection.
    Connection,
}

/// The head of an answer.
struct Head {
    status: u16,
    framing: Framing,
}

impl<R: Read> Reply<R> {
    /// Reads the head of the final answer.
    ///
    /// # Errors
    /// Of the stream; `InvalidData` when it is no HTTP/1.
    pub(super) fn read(stream: R) -> io::Result<Self> {
        let mut reader = BufReader::new(stream);
        for _ in 0..MAX_INTERIM {
            let head = Head::read(&mut reader)?;
            if head.status >= 200 {
                return Ok(Self {
                    status: head.status,
                    body: Body {
                        reader,
                        framing: head.framing,
                    },
                });
            }
        }
        Err(invalid("too many interim answers"))
    }
}

impl Head {
    fn read<R: Read>(reader: &mut BufReader<R>) -> io::Result<Self> {
        let mut head = Vec::new();
        loop {
            let left = MAX_HEAD.saturating_sub(head.len());
            let read = line(reader, &mut head, left)?;
            if matches!(read, 1 | 2)
                && head.ends_with(b"\n")
                && (read == 1 || head.ends_with(b"\r\n"))
            {
                break;
            }
        }
        Self::parse(&head).ok_or_else(|| invalid("not an answer of HTTP/1"))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        if !matches!(head.parse(bytes), Ok(Status::Complete(_))) {
            return None;
        }
        let status = head.code?;
        let mut framing = Framing::Connection;
        for field in head.headers.iter() {
            let value = std::str::from_utf8(field.value).ok()?.trim();
            if field.name.eq_ignore_ascii_case("transfer-encoding") {
                if !value.eq_ignore_ascii_case("chunked") {
                    return None;
                }
                framing = Framing::Chunk {
                    left: 0,
                    is_first: true,
                };
            } else if field.name.eq_ignore_ascii_case("content-length")
                && framing == Framing::Connection
            {
                framing = Framing::Length(value.parse().ok()?);
            }
        }
        if status < 200 || matches!(status, 204 | 304) {
            framing = Framing::Length(0);
        }
        Some(Self { status, framing })
    }
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Framing::Chunk { left: 0, is_first } = self.framing {
            match self.begin_chunk(is_first)? {
                0 => self.framing = Framing::Length(0),
                left => {
                    self.framing = Framing::Chunk {
                        left,
                        is_first: false,
                    };
                }
            }
        }
        let left = match &mut self.framing {
            Framing::Connection => return self.reader.read(out),
            Framing::Length(left) | Framing::Chunk { left, .. } => left,
        };
        let most = usize::try_from(*left).unwrap_or(usize::MAX);
        let most = most.min(out.len());
        let Some(out) = out.get_mut(..most).filter(|out| !out.is_empty()) else {
            return Ok(0);
        };
        match self.reader.read(out)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                *left = left.saturating_sub(read as u64);
                Ok(read)
            }
        }
    }
}

impl<R: Read> Body<R> {
    /// Reads what is before a chunk, and after the last one. How long the chunk is.
    fn begin_chunk(&mut self, is_first: bool) -> io::Result<u64> {
        let mut text = Vec::new();
        if !is_first {
            line(&mut self.reader, &mut text, MAX_LINE)?;
            if !text.trim_ascii().is_empty() {
                return Err(invalid("a chunk is longer than its size"));
            }
            text.clear();
        }
        line(&mut self.reader, &mut text, MAX_LINE)?;
        let size = match httparse::parse_chunk_size(&text) {
            Ok(Status::Complete((_, size))) => size,
            _ => return Err(invalid("not the size of a chunk")),
        };
        if size == 0 {
            // The end of the trailer section; the connection is used no further.
            for _ in 0..MAX_FIELDS {
                text.clear();
                line(&mut self.reader, &mut text, MAX_LINE)?;
                if text.trim_ascii().is_empty() {
                    break;
                }
            }
        }
        Ok(size)
    }
}

/// Reads one line with its end. How long it is.
fn line<R: Read>(reader: &mut BufReader<R>, out: &mut Vec<u8>, max: usize) -> io::Result<usize> {
    let read = reader.take(max as u64).read_until(b'\n', out)?;
    match out.last() {
        Some(b'\n') if read > 0 => Ok(read),
        _ if read < max => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Err(invalid("a line is too long")),
    }
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let mut reply = Reply::read(bytes)?;
        let mut body = Vec::new();
        reply.body.read_to_end(&mut body)?;
        Ok((reply.status, body))
    }

    #[test]
    fn framings() {
        for (answer, status, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", 200, "ab"),
            ("HTTP/1.1 200 OK\r\n\r\nabc", 200, "abc"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nT: 1\r\n\r\nrest",
                200,
                "abc",
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
            (
                "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx",
                404,
                "x",
            ),
        ] {
            let (found, content) = read(answer.as_bytes()).unwrap();
            assert_eq!((found, &*content), (status, body.as_bytes()), "{answer}");
        }
    }

    #[test]
    fn what_is_no_answer() {
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(MAX_HEAD));
        let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_INTERIM);
        for (answer, kind) in [
            ("", io::ErrorKind::UnexpectedEof),
            ("HTTP/1.1 200 OK\r\n", io::ErrorKind::UnexpectedEof),
            ("SSH-2.0-OpenSSH\r\n\r\n", io::ErrorKind::InvalidData),
            (&long, io::ErrorKind::InvalidData),
            (&interim, io::ErrorKind::InvalidData),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                io::ErrorKind::InvalidData,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
                io::ErrorKind::InvalidData,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
                io::ErrorKind::UnexpectedEof,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
                io::ErrorKind::InvalidData,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
                io::ErrorKind::UnexpectedEof,
            ),
        ] {
            let error = read(answer.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), kind, "{answer:.60}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes);
            let _ = read(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &*bytes].concat());
        }

        #[test]
        fn chunks_are_their_content(parts in proptest::collection::vec("[a-z]{1,20}", 0..8)) {
            let mut answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
            for part in &parts {
                answer.push_str(&format!("{:x}\r\n{part}\r\n", part.len()));
            }
            answer.push_str("0\r\n\r\n");
            let (_, body) = read(answer.as_bytes()).unwrap();
            prop_assert_eq!(body, parts.concat().into_bytes());
        }
    }
}
