//! Syslog: RFC 5424, or the form of before (RFC 3164), over the socket of the machine, UDP (RFC 5426) or TCP with octet
//! counting (RFC 6587).
//!
//! The message is the line of the log as it is. Its severity is `info`.

use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{Local, SecondsFormat, Utc};
use rustix::net::RecvFlags;

use super::remote::{SEND_TIMEOUT, Unsent, is_too_long};

/// `info` of RFC 5424 §6.2.1.
const SEVERITY: u8 = 6;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of messages that are written to TCP at once.
const CHUNK: usize = 64 << 10;
/// The longest HOSTNAME (RFC 5424 §6).
const MAX_HOST: usize = 255;

/// Where syslog is, and what is said beside the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogTarget {
    /// The way there.
    pub transport: Transport,
    /// The number of the facility.
    pub facility: u8,
    /// How the head of a message is written.
    pub form: SyslogForm,
    /// APP-NAME.
    pub tag: String,
}

/// The way to a syslog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// A socket of this machine.
    Socket(PathBuf),
    /// A datagram for each message.
    Udp(SocketAddr),
    /// A connection.
    Tcp(SocketAddr),
}

/// How the head of a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyslogForm {
    /// As RFC 5424 has it.
    Rfc5424,
    /// As before, and as `syslog(3)` writes to the socket of the machine.
    Rfc3164,
}

#[derive(Debug)]
pub(super) struct Connection {
    target: SyslogTarget,
    host: String,
    wire: Wire,
}

#[derive(Debug)]
enum Wire {
    Socket(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl SyslogTarget {
    /// Opens the way there.
    pub(super) fn connect(&self) -> io::Result<Connection> {
        let wire = match &self.transport {
            Transport::Socket(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(SEND_TIMEOUT))?;
                socket.connect(path)?;
                Wire::Socket(socket)
            }
            Transport::Udp(address) => {
                let any: SocketAddr = match address {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = UdpSocket::bind(any)?;
                socket.set_write_timeout(Some(SEND_TIMEOUT))?;
                socket.connect(address)?;
                Wire::Udp(socket)
            }
            Transport::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?;
                stream.set_write_timeout(Some(SEND_TIMEOUT))?;
                Wire::Tcp(stream)
            }
        };
        Ok(Connection {
            target: self.clone(),
            host: host(),
            wire,
        })
    }

    /// All that is before the line.
    fn head(&self, host: &str) -> String {
        let priority = self.facility * 8 + SEVERITY;
        let (tag, process) = (&self.tag, std::process::id());
        match self.form {
            SyslogForm::Rfc5424 => {
                let time = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
                format!("<{priority}>1 {time} {host} {tag} {process} access - ")
            }
            SyslogForm::Rfc3164 => {
                let time = Local::now().format("%b %e %H:%M:%S");
                let mut head = format!("<{priority}>{time} ");
                // The socket of the machine has messages of the machine alone.
                if !matches!(self.transport, Transport::Socket(_)) {
                    let _ = write!(head, "{host} ");
                }
                let _ = write!(head, "{tag}[{process}]: ");
                head
            }
        }
    }
}

impl fmt::Display for SyslogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.transport {
            Transport::Socket(path) => write!(f, "syslog at {}", path.display()),
            Transport::Udp(address) => write!(f, "syslog at udp://{address}"),
            Transport::Tcp(address) => write!(f, "syslog at tcp://{address}"),
        }
    }
}

impl Connection {
    /// Sends the lines of a batch. Counts those that are too long for a datagram.
    pub(super) fn send<'a>(
        &mut self,
        batch: &'a [u8],
        too_long: &mut u64,
    ) -> Result<(), Unsent<'a>> {
        let head = self.target.head(&self.host);
        match &mut self.wire {
            Wire::Socket(socket) => {
                send_datagrams(&head, batch, too_long, |message| socket.send(message))
            }
            Wire::Udp(socket) => {
                send_datagrams(&head, batch, too_long, |message| socket.send(message))
            }
            Wire::Tcp(stream) => send_stream(&head, batch, stream),
        }
    }
}

fn send_datagrams<'a>(
    head: &str,
    batch: &'a [u8],
    too_long: &mut u64,
    send: impl Fn(&[u8]) -> io::Result<usize>,
) -> Result<(), Unsent<'a>> {
    let mut message = Vec::with_capacity(head.len() + 1024);
    let mut rest = batch;
    while let Some((line, behind)) = next_line(rest) {
        message.clear();
        message.extend_from_slice(head.as_bytes());
        message.extend_from_slice(line);
        loop {
            match send(&message) {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_too_long(&error) => {
                    *too_long += 1;
                    break;
                }
                Err(error) => return Err((rest, error)),
            }
        }
        rest = behind;
    }
    Ok(())
}

/// Writes the lines with octet counting. What was written in part is a part of what is left.
fn send_stream<'a>(head: &str, batch: &'a [u8], stream: &mut TcpStream) -> Result<(), Unsent<'a>> {
    // Bytes to a connection that the server has closed would be lost without an error.
    let mut byte = [0; 1];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match rustix::net::recv(&*stream, &mut byte, flags) {
        Ok((_, 0)) => return Err((batch, ErrorKind::ConnectionReset.into())),
        Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
        Err(error) => return Err((batch, error.into())),
    }
    let mut rest = batch;
    while !rest.is_empty() {
        let mut chunk = Vec::with_capacity(CHUNK + 1024);
        // Ends of messages in the chunk, and what is left of the batch behind each.
        let mut ends = Vec::new();
        let mut unread = rest;
        while chunk.len() < CHUNK
            && let Some((line, behind)) = next_line(unread)
        {
            // Writing to a Vec cannot fail.
            let _ = write!(chunk, "{} {head}", head.len() + line.len());
            chunk.extend_from_slice(line);
            ends.push((chunk.len(), behind));
            unread = behind;
        }
        let (written, result) = write_all(stream, &chunk);
        if let Err(error) = result {
            let whole = ends.iter().rev().find(|(end, _)| *end <= written);
            return Err((whole.map_or(rest, |(_, behind)| behind), error));
        }
        rest = unread;
    }
    Ok(())
}

fn write_all(stream: &mut TcpStream, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match stream.write(rest) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// The first line, without its end, and what is behind it.
pub(super) fn next_line(batch: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', batch)?;
    let (line, rest) = batch.split_at_checked(end)?;
    Some((line, rest.get(1..).unwrap_or_default()))
}

/// The name of this machine, as a HOSTNAME can be.
fn host() -> String {
    let name = rustix::system::uname();
    let name = String::from_utf8_lossy(name.nodename().to_bytes()).into_owned();
    let is_usable = !name.is_empty()
        && name.len() <= MAX_HOST
        && name.bytes().all(|byte| byte.is_ascii_graphic());
    if is_usable { name } else { "-".to_owned() }
}
