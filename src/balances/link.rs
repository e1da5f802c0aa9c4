//! The socket beside the store: one request and its answer for each connection, in lines of JSON.
//!
//! Root and the user of the process may connect, no other user.

use std::fs;
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::changes::{Change, Done};
use super::report::{Counted, Report};
use crate::access::limits::quota::{Filter, Row};

/// How long either side waits for the other one: for the keeper, which may just write a million balances.
const TIMEOUT: Duration = Duration::from_secs(4);

/// The same for a client, whose request is sent at once.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest request: a report of some hundred ledgers.
const MAX_REQUEST: u64 = 1 << 20;

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The balances that a filter means.
    List(Filter),
    /// To change some.
    Change(Change),
    /// To add what a process has counted that drains.
    Report(Report),
}

/// A line of its answer. The last one is [`End`](Answer::End), [`Done`](Answer::Done) or [`Counted`](Answer::Counted).
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A balance.
    Row(Row),
    /// There are no more.
    End,
    /// What has become of a change.
    Done(Done),
    /// The balances of ledgers that were reported.
    Counted(Vec<Counted>),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No process listens.
    #[error("no process has it open")]
    NoOwner,
    /// The system, or a process that answers something else.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Listens at `path`, where a socket of a former process may be.
///
/// # Errors
/// The path cannot be used.
pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => {
            let text = format!("{} is there already, and is no socket", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // The mode is set before anything can connect.
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.listen(16)?;
    socket.set_nonblocking(true)?;
    Ok(OwnedFd::from(socket).into())
}

/// Whether the peer is root or the user of this process.
#[cfg(target_os = "linux")]
fn is_trusted(stream: &UnixStream) -> io::Result<bool> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    Ok(peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}

/// On other systems, the mode of the socket protects it.
#[cfg(not(target_os = "linux"))]
fn is_trusted(_: &UnixStream) -> io::Result<bool> {
    Ok(true)
}

/// Reads the request of a connection, and has it answered line by line.
///
/// # Errors
/// The peer is another user, or sends no request in time.
pub(super) fn serve(
    stream: &UnixStream,
    answer: impl FnOnce(Request, &mut dyn FnMut(&Answer) -> io::Result<()>) -> io::Result<()>,
) -> io::Result<()> {
    if !is_trusted(stream)? {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_REQUEST)).read_until(b'\n', &mut line)?;
    let request = serde_json::from_slice(&line)?;
    let mut out = BufWriter::new(stream);
    answer(request, &mut |line| {
        serde_json::to_writer(&mut out, line)?;
        out.write_all(b"\n")
    })?;
    out.flush()
}

/// Asks the owner of the store that listens at `path`, and gives each line of its answer to `visit`.
///
/// # Errors
/// No process listens there, or it does not answer in time.
pub fn ask(path: &Path, request: &Request, mut visit: impl FnMut(Answer)) -> Result<(), LinkError> {
    let mut stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => LinkError::NoOwner,
        _ => LinkError::Io(error),
    })?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut line = serde_json::to_vec(request).map_err(io::Error::from)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Err(LinkError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        let answer: Answer = serde_json::from_str(&line).map_err(io::Error::from)?;
        let is_last = !matches!(answer, Answer::Row(_));
        visit(answer);
        if is_last {
            return Ok(());
        }
    }
}
