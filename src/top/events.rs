//! Server-Sent Events (WHATWG HTML, 9.2.6): bytes to events. Pure. `id` and `retry` are not used: the pause before another
//! attempt is our own, so that a service cannot choose it.

/// More than a snapshot with 200 tunnels.
const MAX_EVENT: usize = 8 << 20;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Its name; `message` without one.
    pub(super) name: String,
    /// Its lines, joined by line feeds.
    pub(super) data: Vec<u8>,
}

/// An event, or a line of it, has no end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {MAX_EVENT} bytes")]
pub(super) struct TooLarge;

/// Reads a stream, in parts of any size.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// Whether a line has begun, so that there is no byte order mark.
    has_begun: bool,
    /// Whether a line feed is the rest of a line end.
    after_return: bool,
}

impl Parser {
    /// Takes the next bytes, and calls `found` for each event that ends in them.
    ///
    /// # Errors
    /// An event is too large. The stream cannot be read on.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        mut found: impl FnMut(Event),
    ) -> Result<(), TooLarge> {
        for &byte in bytes {
            let ends = match byte {
                b'\n' if self.after_return => false,
                b'\n' | b'\r' => true,
                _ => {
                    if self.line.len() + self.data.len() >= MAX_EVENT {
                        return Err(TooLarge);
                    }
                    self.line.push(byte);
                    false
                }
            };
            self.after_return = byte == b'\r';
            if ends && let Some(event) = self.end_line() {
                found(event);
            }
        }
        Ok(())
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let mut text = line.as_slice();
        if !self.has_begun {
            self.has_begun = true;
            text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        }
        let event = match text.is_empty() {
            true => self.dispatch(),
            false => {
                self.field(text);
                None
            }
        };
        // Its memory is used again, unless it was a large one.
        self.line = line;
        self.line.clear();
        self.line.shrink_to(64 << 10);
        event
    }

    fn field(&mut self, line: &[u8]) {
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => {
                let (name, rest) = line.split_at(at);
                let value = rest.strip_prefix(b":").unwrap_or(rest);
                (name, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        match name {
            b"event" => self.name = value.to_vec(),
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            // A comment, `id`, `retry`, or a field of a later version.
            _ => {}
        }
    }

    fn dispatch(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        let name = match name.is_empty() {
            true => "message".to_owned(),
            false => String::from_utf8_lossy(&name).into_owned(),
        };
        Some(Event { name, data })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(parts: &[&[u8]]) -> Vec<(String, String)> {
        let mut parser = Parser::default();
        let mut found = Vec::new();
        for part in parts {
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            let take = |event: Event| found.push((event.name, text(event.data)));
            parser.take(part, take).unwrap();
        }
        found
    }

    #[test]
    fn as_the_standard_says() {
        for (stream, expected) in [
            ("data: a\n\n", vec![("message", "a")]),
            ("event: x\ndata: a\ndata:  b\n\n", vec![("x", "a\n b")]),
            ("\u{feff}data:a\r\r", vec![("message", "a")]),
            (
                "data:a\r\n\r\ndata:b\n\r",
                vec![("message", "a"), ("message", "b")],
            ),
            (": comment\nretry: 10\nid: 7\n\n", vec![]),
            ("event: x\n\ndata: a\n\n", vec![("message", "a")]),
            (
                "data\n\ndata:\ndata\n\n",
                vec![("message", ""), ("message", "\n")],
            ),
            ("data: not ended\n", vec![]),
        ] {
            let found = events(&[stream.as_bytes()]);
            let found: Vec<_> = found.iter().map(|(a, b)| (&**a, &**b)).collect();
            assert_eq!(found, expected, "{stream:?}");
        }
    }

    #[test]
    fn events_are_limited() {
        let mut parser = Parser::default();
        let part = [b'x'; 1 << 16];
        let mut taken = 0;
        while parser.take(&part, |_| ()).is_ok() {
            taken += part.len();
            assert!(taken <= MAX_EVENT);
        }
        let mut parser = Parser::default();
        let line = [b"data: ".as_slice(), &[b'x'; 1 << 16], b"\n"].concat();
        let lines = std::iter::repeat_n(&line, 2 * MAX_EVENT / line.len());
        assert!(
            lines
                .map(|line| parser.take(line, |_| ()))
                .any(|taken| taken.is_err())
        );
    }

    proptest! {
        /// However a stream is cut, its events are the same.
        #[test]
        fn cuts_do_not_matter(stream in "(data|event|id|:|\u{feff}|[a-c: ]|\r|\n|\r\n|\n\n){0,60}", cuts in proptest::collection::vec(0usize..200, 0..6)) {
            let bytes = stream.as_bytes();
            let whole = events(&[bytes]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut parts = Vec::new();
            let mut from = 0;
            for cut in cuts {
                parts.push(&bytes[from..cut]);
                from = cut;
            }
            parts.push(&bytes[from..]);
            prop_assert_eq!(events(&parts), whole);
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut parser = Parser::default();
            prop_assert!(parser.take(&bytes, |_| ()).is_ok());
        }
    }
}
