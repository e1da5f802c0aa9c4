//! The journal of systemd, by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram of fields for each
//! record, or where that is too long a sealed file in memory whose descriptor is sent.
//!
//! `MESSAGE` is the line of the log. Each member of the record is a field of its own, so that `journalctl
//! TOLLGATE_USER=alice` finds it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::remote::{SEND_TIMEOUT, Unsent, is_too_long};
use super::syslog::next_line;

/// `info` of syslog, and who writes.
const HEAD: &[u8] = b"PRIORITY=6\nSYSLOG_IDENTIFIER=tollgate\n";
/// What the names of our fields begin with.
const PREFIX: &str = "TOLLGATE_";

/// Where the journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalTarget {
    /// Its socket.
    pub socket: PathBuf,
}

#[derive(Debug)]
pub(super) struct Connection {
    socket: UnixDatagram,
    fields: Vec<u8>,
}

impl JournalTarget {
    /// Opens the way there.
    pub(super) fn connect(&self) -> io::Result<Connection> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        socket.connect(&self.socket)?;
        Ok(Connection {
            socket,
            fields: Vec::new(),
        })
    }
}

impl fmt::Display for JournalTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the journal at {}", self.socket.display())
    }
}

impl Connection {
    /// Sends the lines of a batch. Counts those that cannot be sent because of their length.
    pub(super) fn send<'a>(
        &mut self,
        batch: &'a [u8],
        too_long: &mut u64,
    ) -> Result<(), Unsent<'a>> {
        let mut rest = batch;
        while let Some((line, behind)) = next_line(rest) {
            self.fields.clear();
            push_fields(&mut self.fields, line);
            match self.send_fields() {
                Ok(()) => {}
                Err(error) if is_too_long(&error) => *too_long += 1,
                Err(error) => return Err((rest, error)),
            }
            rest = behind;
        }
        Ok(())
    }

    fn send_fields(&self) -> io::Result<()> {
        loop {
            match self.socket.send(&self.fields) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_too_long(&error) => return self.send_file(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Such files are of Linux, as the journal is.
    #[cfg(not(target_os = "linux"))]
    fn send_file(&self) -> io::Result<()> {
        Err(rustix::io::Errno::MSGSIZE.into())
    }

    /// Sends the fields in a file that has no name, and that is not changed any more.
    #[cfg(target_os = "linux")]
    fn send_file(&self) -> io::Result<()> {
        use std::fs::File;
        use std::io::{IoSlice, Write as _};
        use std::mem::MaybeUninit;
        use std::os::fd::AsFd as _;

        use rustix::fs::{MemfdFlags, SealFlags};
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(rustix::fs::memfd_create("tollgate-record", flags)?);
        file.write_all(&self.fields)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        let files = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(ErrorKind::InvalidInput.into());
        }
        let nothing = [IoSlice::new(&[])];
        sendmsg(&self.socket, &nothing, &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// The fields of a record. A line that is no record has its message alone.
fn push_fields(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(HEAD);
    push_field(out, "MESSAGE", line);
    let members: Map<String, Value> = serde_json::from_slice(line).unwrap_or_default();
    for (name, value) in &members {
        let name = format!("{PREFIX}{}", name.to_ascii_uppercase());
        match value {
            // A field may be there several times.
            Value::Array(values) => {
                for value in values {
                    push_value(out, &name, value);
                }
            }
            value => push_value(out, &name, value),
        }
    }
}

fn push_value(out: &mut Vec<u8>, name: &str, value: &Value) {
    match value {
        Value::String(text) => push_field(out, name, text.as_bytes()),
        other => push_field(out, name, other.to_string().as_bytes()),
    }
}

fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        // With its length, so that it cannot begin another field.
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests;
