//! Hands the listening sockets to the next process, so that an upgrade refuses no
//! connection.
//!
//! The new process listens on the upgrade socket; the old one, on SIGQUIT, connects
//! to it and sends its sockets. The old process continues to accept until the new one
//! reports that it serves; if the new one fails, the old one continues to serve.
//!
//! ```text
//! old                                        new
//!  | <----------- connects to ----------------| listens on upgrade_sock
//!  | ---- u32 length, sockets (SCM_RIGHTS) -->|
//!  | ---- the addresses, one a line --------->|
//!  |                                          | checks, forks, accepts
//!  | <--------------- one byte ---------------|
//!  | drains                                   |
//! ```

use std::collections::HashMap;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt,
};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::identity::Identity;

/// How long either process waits for the other one to connect.
const RENDEZVOUS: Duration = Duration::from_secs(15);

/// How long the old process waits for the new one to serve.
const TAKEOVER: Duration = Duration::from_secs(60);

/// The listen backlog; one connection is expected.
const BACKLOG: i32 = 16;

const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The kernel's limit for one message.
const MAX_SOCKETS: usize = 253;

/// The longest list of addresses, far more than [`MAX_SOCKETS`] need.
const MAX_NAMES: usize = 64 * 1024;

/// The byte that reports that the new process serves.
const SERVING: u8 = b'S';

/// The sockets of the old process, and the connection to it.
#[derive(Debug)]
pub struct InheritedSockets {
    sockets: HashMap<String, OwnedFd>,
    line: UnixStream,
}

impl InheritedSockets {
    /// Waits at `path` for the old process and receives its sockets. The old process may run as the user
    /// to which this one will change.
    ///
    /// # Errors
    /// The path cannot be listened on, no process connects in time, or the message is malformed.
    pub fn receive(path: &Path, identity: Option<&Identity>) -> io::Result<Self> {
        let listener = listen(path, identity)?;
        let inode = |path| fs::symlink_metadata(path).map(|found| found.ino());
        let bound = inode(path)?;
        let accepted = Self::accept(&listener, identity);
        // The file is removed in any case, unless another new process has replaced it.
        if inode(path).is_ok_and(|current| current == bound) {
            fs::remove_file(path)?;
        }
        let line = accepted?;
        line.set_nonblocking(false)?;
        line.set_read_timeout(Some(RENDEZVOUS))?;
        let sockets = receive_sockets(&line)?;
        Ok(Self { sockets, line })
    }

    fn accept(listener: &UnixListener, identity: Option<&Identity>) -> io::Result<UnixStream> {
        let deadline = Instant::now() + RENDEZVOUS;
        listener.set_nonblocking(true)?;
        loop {
            match listener.accept() {
                Ok((line, _)) if is_trusted(&line, identity)? => return Ok(line),
                Ok(_) => log::warn!(
                    "upgrade socket: ignored a connection from a process of another user"
                ),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() >= deadline {
                        return Err(io::Error::new(
                            io::ErrorKind::TimedOut,
                            "no process handed its sockets over within 15 seconds; send SIGQUIT to the one \
                             that runs, and start this one as the same user or with `user` set to it",
                        ));
                    }
                    std::thread::sleep(RETRY_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The socket that listens on `address`, if the old process had one.
    pub fn take(&mut self, address: &str) -> Option<OwnedFd> {
        self.sockets.remove(address)
    }

    /// Reports to the old process that this one serves.
    ///
    /// # Errors
    /// The old process has ended.
    pub fn serving(mut self) -> io::Result<()> {
        self.line.write_all(&[SERVING])
    }
}

/// The part of the old process: sends `sockets`, and waits until the new process serves.
/// Blocks.
///
/// # Errors
/// No new process listens, or it did not begin to serve. This process still has
/// its sockets.
pub fn give(path: &Path, sockets: &[(String, OwnedFd)]) -> io::Result<()> {
    let mut line = connect(path)?;
    if !is_trusted(&line, None)? {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "a process of another user listens on the upgrade socket; start it as the user of this process",
        ));
    }
    send_sockets(&line, sockets)?;
    line.set_read_timeout(Some(TAKEOVER))?;
    let mut answer = [0];
    match line.read_exact(&mut answer) {
        Ok(()) if answer == [SERVING] => Ok(()),
        Ok(()) => Err(io::ErrorKind::InvalidData.into()),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("the new process did not begin to serve: {error}"),
        )),
    }
}

fn listen(path: &Path, identity: Option<&Identity>) -> io::Result<UnixListener> {
    let bind = || {
        remove_socket(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(socket)
    };
    // That user owns the file, and so can connect to it; the other process checks the user of this one.
    let socket = match identity {
        Some(identity) => identity.act(bind)?,
        None => bind(),
    };
    let socket: Socket = socket.map_err(|error: io::Error| {
        let text = format!("the upgrade socket cannot be made: {error}");
        io::Error::new(error.kind(), text)
    })?;
    socket.listen(BACKLOG)?;
    Ok(OwnedFd::from(socket).into())
}

/// Removes the socket file of an earlier process; any other file is an error.
fn remove_socket(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the file is not a socket",
        )),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let deadline = Instant::now() + RENDEZVOUS;
    loop {
        match UnixStream::connect(path) {
            Ok(line) => return Ok(line),
            Err(error) if Instant::now() >= deadline => {
                return Err(io::Error::new(
                    error.kind(),
                    format!("no process listens at {}: {error}", path.display()),
                ));
            }
            Err(_) => std::thread::sleep(RETRY_PAUSE),
        }
    }
}

/// Accepts root, the user of this process, and the user to which it will change.
#[cfg(target_os = "linux")]
fn is_trusted(line: &UnixStream, identity: Option<&Identity>) -> io::Result<bool> {
    let peer = sockopt::socket_peercred(line)?;
    let is_current = peer.uid == rustix::process::geteuid();
    let is_next = identity.is_some_and(|identity| identity.uid() == peer.uid.as_raw());
    Ok(peer.uid.is_root() || is_current || is_next)
}

/// On other systems, the mode of the socket's directory protects it.
#[cfg(not(target_os = "linux"))]
fn is_trusted(_: &UnixStream, _: Option<&Identity>) -> io::Result<bool> {
    Ok(true)
}

fn send_sockets(line: &UnixStream, sockets: &[(String, OwnedFd)]) -> io::Result<()> {
    if sockets.len() > MAX_SOCKETS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "more listeners than one message can carry",
        ));
    }
    let names: Vec<&str> = sockets.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join("\n");
    let len = u32::try_from(names.len()).map_err(io::Error::other)?;
    let fds: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, fd)| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let header = len.to_be_bytes();
    let sent = sendmsg(
        line,
        &[IoSlice::new(&header)],
        &mut ancillary,
        SendFlags::empty(),
    )?;
    if sent != header.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    let mut line = line;
    line.write_all(names.as_bytes())
}

fn receive_sockets(line: &UnixStream) -> io::Result<HashMap<String, OwnedFd>> {
    let mut header = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(
        line,
        &mut [IoSliceMut::new(&mut header)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let invalid = |text| io::Error::new(io::ErrorKind::InvalidData, text);
    if message.bytes != header.len() {
        return Err(invalid("the hand-over message is too short"));
    }
    let fds: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    let len = u32::from_be_bytes(header) as usize;
    if len > MAX_NAMES {
        return Err(invalid("the hand-over message has too many addresses"));
    }
    let mut names = vec![0; len];
    let mut line = line;
    line.read_exact(&mut names)?;
    let names = String::from_utf8(names).map_err(io::Error::other)?;
    let names: Vec<String> = names.lines().map(str::to_owned).collect();
    if names.len() != fds.len() {
        return Err(invalid(
            "the hand-over message has a different number of sockets and addresses",
        ));
    }
    Ok(names.into_iter().zip(fds).collect())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use super::*;

    fn socket() -> (String, OwnedFd) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        (socket.local_addr().unwrap().to_string(), socket.into())
    }

    #[test]
    fn sockets_arrive_by_their_address_and_the_old_process_learns_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("upgrade.sock");
        let sockets = vec![socket(), socket()];
        let names: Vec<_> = sockets.iter().map(|(name, _)| name.clone()).collect();
        std::thread::scope(|scope| {
            let old = scope.spawn(|| give(&path, &sockets));
            let mut new = InheritedSockets::receive(&path, None).unwrap();
            for name in &names {
                let fd = new.take(name).unwrap();
                let listener = TcpListener::from(fd);
                assert_eq!(&listener.local_addr().unwrap().to_string(), name);
                assert!(
                    sockets
                        .iter()
                        .all(|(_, fd)| fd.as_raw_fd() != listener.as_raw_fd())
                );
            }
            assert!(new.take(&names[0]).is_none());
            new.serving().unwrap();
            old.join().unwrap().unwrap();
        });
        assert!(!path.exists());
    }

    #[test]
    fn a_new_process_that_dies_is_an_error_for_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("upgrade.sock");
        let sockets = vec![socket()];
        std::thread::scope(|scope| {
            let old = scope.spawn(|| give(&path, &sockets));
            drop(InheritedSockets::receive(&path, None).unwrap());
            let error = old.join().unwrap().unwrap_err();
            assert!(
                error.to_string().contains("did not begin to serve"),
                "{error}"
            );
        });
    }

    #[test]
    fn malformed_messages_are_refused() {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        theirs.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(receive_sockets(&ours).is_err());
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        theirs.write_all(b"\0\0\0\x03a:1").unwrap();
        assert!(receive_sockets(&ours).is_err(), "a name without a socket");
    }
}
