//! Whether the process could listen where the configuration says. A port is bound for a moment, and nothing
//! listens on it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::listeners::{Bound, bound_addresses, collide};
use super::problem::Diagnostics;
use super::yaml::Node;
use crate::text::system_message;

/// Reports every address that cannot be listened on. An address on which the process of `pid_file` listens
/// is one that an upgrade, or the start after its end, will have. `is_named` says whether the configuration names
/// that file; else it is a default, which the process of another configuration may have.
pub(super) fn check(
    bound: &[Bound],
    (pid_file, is_named): (&Path, bool),
    document: &Node,
    diagnostics: &Diagnostics,
) {
    for (address, path) in bound {
        let Err((address, error)) = try_all(*address, bound) else {
            continue;
        };
        if error.kind() == io::ErrorKind::AddrInUse {
            match Holder::of(address, pid_file) {
                Holder::LocalEndpoint => continue,
                Holder::OwnElsewhere(pid) => {
                    let (whose, else_) = whose(pid_file, is_named);
                    let message = format!(
                        "process {pid}, {whose}, listens on this port of another address that is in the way"
                    );
                    let remedy =
                        format!("restart it: an upgrade with -u cannot take that over{else_}");
                    diagnostics.warn(document.line_of(path), path, message, remedy);
                    continue;
                }
                Holder::Unknown(pid) => {
                    let (whose, else_) = whose(pid_file, is_named);
                    let message = format!(
                        "{address} is in use, and this user cannot see whether by process {pid}, {whose}"
                    );
                    let remedy =
                        format!("run the check as root or as the user of that process{else_}");
                    diagnostics.warn(document.line_of(path), path, message, remedy);
                    continue;
                }
                Holder::Other => {}
            }
        }
        let mut remedy = remedy(address, &error);
        if error.kind() == io::ErrorKind::AddrInUse && !is_named {
            remedy += "; if it is the process of this configuration, set `pid_file`, by which `check` knows it";
        }
        diagnostics.report(
            document.line_of(path),
            path,
            format!("cannot listen on {address}: {}", system_message(&error)),
            remedy,
        );
    }
}

/// Whose process the PID file names, and what to do when that is another instance.
fn whose(pid_file: &Path, is_named: bool) -> (String, &'static str) {
    match is_named {
        true => ("the one of pid_file".to_owned(), ""),
        false => (
            format!("the one of the default PID file {}", pid_file.display()),
            "; if it is another instance, give each its own `pid_file` and its own address",
        ),
    }
}

/// Reports every source address of connections to upstreams that this machine does not have.
pub(super) fn check_sources(sources: &[Bound], document: &Node, diagnostics: &Diagnostics) {
    for (address, path) in sources {
        if let Err(error) = bind(*address) {
            let message = format!("cannot connect from here: {}", system_message(&error));
            diagnostics.report(
                document.line_of(path),
                path,
                message,
                remedy(*address, &error),
            );
        }
    }
}

/// What to do about an address that cannot be listened on.
#[must_use]
pub fn remedy(address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    if Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT) {
        return "this machine has no IPv6: write 0.0.0.0 for every IPv4 address".to_owned();
    }
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another process listens there, as `ss -ltnp 'sport = :{port}'` shows; stop it, or name another port"
        ),
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need root or CAP_NET_BIND_SERVICE; or name a port from 1024 on"
                .to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "the address is none of this machine's: name one that `ip address` shows".to_owned()
        }
        _ => "name another address".to_owned(),
    }
}

/// Tries the address, and that of IPv4 too where `[::]` is for both.
fn try_all(address: SocketAddr, all: &[Bound]) -> Result<(), (SocketAddr, io::Error)> {
    let configured: Vec<SocketAddr> = all.iter().map(|(address, _)| *address).collect();
    for address in bound_addresses(address, &configured) {
        bind(address).map_err(|error| (address, error))?;
    }
    Ok(())
}

fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // As the server does: connections of the last run are not in the way.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())
}

/// Who listens where the configuration wants to.
#[derive(Debug, PartialEq, Eq)]
enum Holder {
    /// The process of the PID file.
    LocalEndpoint,
    /// The same, on another address that is in the way.
    OwnElsewhere(u32),
    /// The process of the PID file may be it.
    Unknown(u32),
    Other,
}

impl Holder {
    #[cfg(target_os = "linux")]
    fn of(address: SocketAddr, pid_file: &Path) -> Self {
        let Some(pid) = running(pid_file) else {
            return Self::Other;
        };
        let Some(sockets) = linux::sockets_of(pid) else {
            return Self::Unknown(pid);
        };
        let own: Vec<SocketAddr> = linux::listening(address.port())
            .into_iter()
            .filter(|(_, inode)| sockets.contains(inode))
            .map(|(address, _)| address)
            .collect();
        if own.iter().any(|have| have.ip() == address.ip()) {
            Self::LocalEndpoint
        } else if own.iter().any(|have| collide(*have, address)) {
            Self::OwnElsewhere(pid)
        } else {
            Self::Other
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn of(_: SocketAddr, pid_file: &Path) -> Self {
        running(pid_file).map_or(Self::Other, Self::Unknown)
    }
}

/// The process that a PID file names, if there is one.
fn running(pid_file: &Path) -> Option<u32> {
    use rustix::process::{Pid, test_kill_process};

    let text = super::files::read_text(pid_file, 64).ok()?;
    let id = text.trim().parse::<i32>().ok().filter(|id| *id > 0)?;
    let pid = Pid::from_raw(id)?;
    match test_kill_process(pid) {
        // Not ours to signal, but there.
        Ok(()) | Err(rustix::io::Errno::PERM) => u32::try_from(pid.as_raw_pid()).ok(),
        Err(_) => None,
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashSet;
    use std::fs;
    use std::net::{IpAddr, SocketAddr};

    /// The inodes of the sockets that a process has open; `None` when that cannot be seen.
    pub(super) fn sockets_of(pid: u32) -> Option<HashSet<u64>> {
        let mut inodes = HashSet::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()? {
            // A descriptor may be closed meanwhile.
            let Some(target) = entry
                .ok()
                .and_then(|entry| fs::read_link(entry.path()).ok())
            else {
                continue;
            };
            let target = target.to_string_lossy();
            let inode = target
                .strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']'));
            inodes.extend(inode.and_then(|inode| inode.parse::<u64>().ok()));
        }
        Some(inodes)
    }

    /// The addresses with that port that something listens on, with the inodes of their sockets.
    pub(super) fn listening(port: u16) -> Vec<(SocketAddr, u64)> {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        let tables = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
        let lines = tables.iter().flat_map(|table| table.lines().skip(1));
        lines
            .filter_map(parse)
            .filter(|(address, _)| address.port() == port)
            .collect()
    }

    /// One line of `/proc/net/tcp` (proc_net_tcp), if its socket listens.
    pub(super) fn parse(line: &str) -> Option<(SocketAddr, u64)> {
        const LISTEN: &str = "0A";
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.get(3) != Some(&LISTEN) {
            return None;
        }
        let (address, port) = fields.get(1)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        // Each word is a number in the byte order of the machine, of bytes in that of the network.
        let word = |at: usize| {
            let digits = address.get(at * 8..at * 8 + 8)?;
            u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
        };
        let ip = if address.len() == 8 {
            IpAddr::from(word(0)?)
        } else {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            IpAddr::from(<[u8; 16]>::try_from(words.concat()).ok()?)
        };
        Some((SocketAddr::new(ip, port), fields.get(9)?.parse().ok()?))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_holder_of_a_port_is_found_by_the_pid_file() {
        let directory = tempfile::tempdir().unwrap();
        let pid_file = directory.path().join("pid");
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else {
                continue;
            };
            let address = listener.local_addr().unwrap();
            let _absent = std::fs::remove_file(&pid_file);
            assert_eq!(Holder::of(address, &pid_file), Holder::Other);
            std::fs::write(&pid_file, format!("{}\n", std::process::id())).unwrap();
            assert_eq!(Holder::of(address, &pid_file), Holder::LocalEndpoint);
            let wide = SocketAddr::new("::".parse().unwrap(), address.port());
            let elsewhere = Holder::OwnElsewhere(std::process::id());
            assert_eq!(Holder::of(wide, &pid_file), elsewhere);
        }
        for wrong in ["-1", "0", "", "one", "99999999999"] {
            std::fs::write(&pid_file, wrong).unwrap();
            assert_eq!(running(&pid_file), None, "{wrong}");
        }
    }

    #[test]
    fn lines_of_the_kernel_are_understood() {
        let line = "   0: 0100007F:22B8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1";
        if cfg!(target_endian = "little") {
            let expected = ("127.0.0.1:8888".parse().unwrap(), 4242);
            assert_eq!(linux::parse(line), Some(expected));
        }
        assert_eq!(linux::parse(&line.replace(" 0A ", " 01 ")), None);
        for cut in 0..line.len() {
            let _no_panic = linux::parse(&line[..cut]);
        }
    }
}
