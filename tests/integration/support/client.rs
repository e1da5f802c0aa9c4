//! A connection of raw bytes with a deadline on every step, for either end.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::DEADLINE;
use super::message::{Framing, Head, Request, Response};

/// Bytes in, bytes out: a socket or TLS over one.
pub(crate) trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// One connection. Nothing that was read is lost between two calls.
pub(crate) struct Wire {
    stream: Box<dyn Duplex>,
    socket: TcpStream,
    buffer: Vec<u8>,
}

fn broken(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl Wire {
    /// Connects within the deadline.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::new(TcpStream::connect_timeout(&address, DEADLINE)?)
    }

    /// Connects from another loopback address, as another client.
    pub(crate) fn connect_from(source: &str, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        let source: IpAddr = source.parse().map_err(io::Error::other)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&address.into(), DEADLINE)?;
        Self::new(socket.into())
    }

    /// Connects with a receive buffer as small as the system allows: what is not read
    /// stays with the sender.
    pub(crate) fn connect_narrow(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_recv_buffer_size(1)?;
        socket.connect_timeout(&address.into(), DEADLINE)?;
        Self::new(socket.into())
    }

    /// Takes over a connected socket.
    pub(crate) fn new(socket: TcpStream) -> io::Result<Self> {
        let stream = Box::new(socket.try_clone()?);
        Self::over(stream, socket)
    }

    /// Takes over a stream that runs on `socket` (TLS).
    pub(crate) fn over(stream: Box<dyn Duplex>, socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.set_write_timeout(Some(DEADLINE))?;
        Ok(Self {
            stream,
            socket,
            buffer: Vec::new(),
        })
    }

    /// Changes the deadline of one read.
    pub(crate) fn set_deadline(&self, deadline: Duration) {
        self.socket.set_read_timeout(Some(deadline)).unwrap();
    }

    /// Whether the peer sends a byte, or ends the stream, within `time`. What it sends stays unread.
    pub(crate) fn hears_within(&self, time: Duration) -> io::Result<bool> {
        if !self.buffer.is_empty() {
            return Ok(true);
        }
        self.socket.set_read_timeout(Some(time))?;
        let heard = self.socket.peek(&mut [0]);
        self.socket.set_read_timeout(Some(DEADLINE))?;
        // A reset is an end, too.
        Ok(!heard.is_err_and(|error| is_timeout(&error)))
    }

    /// Lets `time` pass on a connection that has to bear the pause: it is an error when the peer sends
    /// or ends something meanwhile.
    pub(crate) fn stays_quiet(&self, time: Duration) -> io::Result<()> {
        match self.hears_within(time)? {
            false => Ok(()),
            true => Err(broken(format!("no silence of {time:?}"))),
        }
    }

    /// The socket below, for options and for a second thread.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Writes everything.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// Ends our direction and leaves the other one open.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    /// Closes with a reset instead of a FIN.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.socket)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// Reads more into the buffer; 0 at the end of the stream.
    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 32 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(count) => {
                    self.buffer.extend_from_slice(&chunk[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // TLS without a close_notify: an end like any other for these tests.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) => return Err(error),
            }
        }
    }

    fn more(&mut self, what: &str) -> io::Result<()> {
        if self.fill()? == 0 {
            let seen = String::from_utf8_lossy(&self.buffer).into_owned();
            return Err(broken(format!("closed inside {what}; unread: {seen:?}")));
        }
        Ok(())
    }

    /// Reads up to and with `end`.
    pub(crate) fn read_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        let mut from = 0;
        loop {
            let window = &self.buffer[from..];
            if let Some(at) = window.windows(end.len()).position(|part| part == end) {
                let rest = self.buffer.split_off(from + at + end.len());
                return Ok(std::mem::replace(&mut self.buffer, rest));
            }
            from = self.buffer.len().saturating_sub(end.len() - 1);
            self.more("a line or head")?;
        }
    }

    /// Reads exactly that many bytes.
    pub(crate) fn read_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.more("a body")?;
        }
        let rest = self.buffer.split_off(count);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Reads until the peer has finished.
    pub(crate) fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Reads a message head; `None` when the peer finished before its first byte.
    pub(crate) fn read_head(&mut self) -> io::Result<Option<Head>> {
        if self.buffer.is_empty() && self.fill()? == 0 {
            return Ok(None);
        }
        Ok(Some(Head::parse(&self.read_until(b"\r\n\r\n")?)))
    }

    /// Streams a body to `sink`; the bytes of its content, without chunk framing.
    pub(crate) fn read_body(
        &mut self,
        framing: Framing,
        mut sink: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        match framing {
            Framing::None => {}
            Framing::Length(length) => self.pass(length, &mut sink)?,
            Framing::Chunked => loop {
                let line = self.read_until(b"\r\n")?;
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                let digits = line.split(';').next().unwrap_or("");
                let size = u64::from_str_radix(digits, 16)
                    .map_err(|error| broken(format!("chunk size {line:?}: {error}")))?;
                if size == 0 {
                    while self.read_until(b"\r\n")? != b"\r\n" {}
                    break;
                }
                self.pass(size, &mut sink)?;
                self.read_until(b"\r\n")?;
            },
            Framing::UntilClose => loop {
                sink(&self.buffer);
                self.buffer.clear();
                if self.fill()? == 0 {
                    break;
                }
            },
        }
        Ok(())
    }

    fn pass(&mut self, length: u64, sink: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() {
                self.more("a body")?;
            }
            let take = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            sink(&self.buffer[..take]);
            self.buffer.drain(..take);
            left -= take as u64;
        }
        Ok(())
    }

    /// Reads the answer to a request with `method`; a 1xx is an answer of its own.
    pub(crate) fn response(&mut self, method: &str) -> io::Result<Response> {
        let head = self
            .read_head()?
            .ok_or_else(|| broken("closed instead of a response".to_owned()))?;
        let framing = head.response_framing(method);
        let mut body = Vec::new();
        self.read_body(framing, |part| body.extend_from_slice(part))?;
        Ok(Response {
            head,
            body,
            framing,
        })
    }

    /// Reads a request with its body; `None` when the peer has finished.
    pub(crate) fn request(&mut self) -> io::Result<Option<Request>> {
        let Some(head) = self.read_head()? else {
            return Ok(None);
        };
        let mut body = Vec::new();
        self.read_body(head.request_framing(), |part| body.extend_from_slice(part))?;
        Ok(Some(Request { head, body }))
    }

    /// Sends a whole request and reads its answer. The method is the first word of `request`.
    pub(crate) fn exchange(&mut self, request: impl AsRef<[u8]>) -> Response {
        let request = request.as_ref();
        let shown = String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
        let method = shown.split(' ').next().unwrap_or("").to_owned();
        self.send(request)
            .unwrap_or_else(|error| panic!("sending {shown:?}: {error}"));
        self.response(&method)
            .unwrap_or_else(|error| panic!("answer to {shown:?}: {error}"))
    }

    /// Reads to the end and returns what came, a reset counting as an end.
    ///
    /// Fails the test when the connection is still open at the deadline.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        match self.read_to_end() {
            Ok(bytes) => bytes,
            Err(error) if is_reset(&error) => std::mem::take(&mut self.buffer),
            Err(error) => panic!(
                "still open ({error}); unread: {:?}",
                String::from_utf8_lossy(&self.buffer)
            ),
        }
    }

    /// Fails the test unless the connection ends without another byte.
    pub(crate) fn assert_closed(&mut self) {
        let rest = self.rest();
        assert!(
            rest.is_empty(),
            "bytes after the last answer: {:?}",
            String::from_utf8_lossy(&rest)
        );
    }
}

/// Whether an error means that the peer has thrown the connection away.
pub(crate) fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
    )
}

/// Whether an error means that nothing came within the deadline.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
