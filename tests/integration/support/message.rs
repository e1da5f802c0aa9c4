//! HTTP/1 messages as bytes: just enough reading to know where one ends.

/// The field lines of a message head, in order and in the case they were sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    fn parse(lines: &str) -> Self {
        Self(
            lines
                .split("\r\n")
                .filter(|line| !line.is_empty())
                .map(|line| {
                    let (name, value) = line.split_once(':').unwrap_or((line, ""));
                    (name.to_owned(), value.trim().to_owned())
                })
                .collect(),
        )
    }

    /// The first field of that name, whatever its case.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Every field of that name, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Whether a field of that name is present.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Whether the comma-separated list of that field holds `token`.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .iter()
            .flat_map(|value| value.split(','))
            .any(|have| have.trim().eq_ignore_ascii_case(token))
    }
}

/// How the end of a body is known (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A message head.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The bytes as they were on the wire, with the empty line.
    pub(crate) raw: Vec<u8>,
    /// The request line or status line, without its CRLF.
    pub(crate) start: String,
    pub(crate) fields: Fields,
}

impl Head {
    pub(crate) fn parse(raw: &[u8]) -> Self {
        let text = String::from_utf8_lossy(raw).into_owned();
        let (start, lines) = text.split_once("\r\n").unwrap_or((&text, ""));
        Self {
            raw: raw.to_vec(),
            start: start.to_owned(),
            fields: Fields::parse(lines),
        }
    }

    fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or("")
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> &str {
        self.word(0)
    }

    /// The request-target of a request.
    pub(crate) fn target(&self) -> &str {
        self.word(1)
    }

    /// The status of a response; 0 when there is none.
    pub(crate) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    fn declared(&self) -> Option<Framing> {
        if self.fields.lists("transfer-encoding", "chunked") {
            return Some(Framing::Chunked);
        }
        let length = self.fields.value("content-length")?;
        Some(Framing::Length(length.parse().expect("Content-Length")))
    }

    /// Framing of this head read as a request.
    pub(crate) fn request_framing(&self) -> Framing {
        self.declared().unwrap_or(Framing::None)
    }

    /// Framing of this head read as the answer to a request with `method`.
    pub(crate) fn response_framing(&self, method: &str) -> Framing {
        let status = self.status();
        let bodyless = method == "HEAD"
            || status / 100 == 1
            || status == 204
            || status == 304
            || (method == "CONNECT" && status / 100 == 2);
        if bodyless {
            return Framing::None;
        }
        self.declared().unwrap_or(Framing::UntilClose)
    }
}

/// A request as an origin got it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// A response as a client got it.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) framing: Framing,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.head.status()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.fields.value(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A `200` answer with a length and that body.
pub(crate) fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    response("200 OK", "", body)
}

/// An answer with a length: `extra` are whole field lines with their CRLF.
pub(crate) fn response(status: &str, extra: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\n{extra}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
