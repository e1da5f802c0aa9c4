//! The name servers and the hosts file of this host, read on first
//! use and again when they change. Caches no answers.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::{DnsFailure, exhaustion};
use super::hosts::Hosts;
use super::name_servers::NameServers;

/// The shortest time between two checks of the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// The bytes of a file that are read.
const MAX_FILE: u64 = 64 << 20;
/// The most name servers of resolv.conf; other resolvers use three.
const MAX_SERVERS: usize = 8;
/// The port of name servers.
const DNS_PORT: u16 = 53;

/// The sources of addresses.
pub(super) struct Sources {
    /// The hosts file.
    pub(super) hosts: Arc<Hosts>,
    /// The name servers for all other names.
    pub(super) name_servers: Arc<NameServers>,
}

/// Loads the [`Sources`] and keeps them current. Has only paths until the first
/// use: the process may still fork after this is made.
pub(super) struct SourceLoader {
    settings: Arc<SourceSettings>,
    current: Mutex<Option<LoadedSources>>,
}

/// The paths and servers to load from.
pub(super) struct SourceSettings {
    /// Name servers; empty for those of `resolv_conf`.
    pub(super) servers: Vec<SocketAddr>,
    pub(super) hosts_file: PathBuf,
    pub(super) resolv_conf: PathBuf,
}

struct LoadedSources {
    sources: Arc<Sources>,
    stamps: Stamps,
    checked: Instant,
}

/// The state of the files when they were read.
#[derive(Clone, Copy, PartialEq)]
struct Stamps {
    hosts: Stamp,
    resolv_conf: Stamp,
}

/// Size and modification time of a file, `None` when it does not exist.
type Stamp = Option<(u64, SystemTime)>;

impl SourceLoader {
    pub(super) fn new(settings: SourceSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            current: Mutex::new(None),
        }
    }

    /// Whether the configuration has name servers.
    pub(super) fn has_configured_servers(&self) -> bool {
        !self.settings.servers.is_empty()
    }

    /// The sources from the files, at most five seconds old.
    ///
    /// # Errors
    /// [`DnsFailure::Transport`] when they cannot be loaded; the log has the reason.
    pub(super) async fn sources(&self) -> Result<Arc<Sources>, DnsFailure> {
        let mut current = self.current.lock().await;
        if let Some(current) = &*current
            && current.checked.elapsed() < CHECK_INTERVAL
        {
            return Ok(Arc::clone(&current.sources));
        }
        let settings = Arc::clone(&self.settings);
        let known = current
            .as_ref()
            .map(|current| (current.stamps, Arc::clone(&current.sources)));
        // A hosts file can have a hundred thousand lines: not on an I/O thread.
        let loaded = tokio::task::spawn_blocking(move || settings.load(known)).await;
        match loaded.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok((stamps, sources)) => {
                *current = Some(LoadedSources {
                    sources: Arc::clone(&sources),
                    stamps,
                    checked: Instant::now(),
                });
                Ok(sources)
            }
            Err(error) => {
                // The old sources are better than none.
                let Some(current) = current.as_mut() else {
                    if exhaustion(&error).is_some() {
                        return Err(DnsFailure::Exhausted);
                    }
                    log::warn!("name servers cannot be set up: {error}");
                    return Err(DnsFailure::Transport);
                };
                log::warn!("name servers cannot be set up: {error}");
                current.checked = Instant::now();
                Ok(Arc::clone(&current.sources))
            }
        }
    }
}

impl SourceSettings {
    /// Reads the files that have changed since `known`. Blocks.
    fn load(&self, known: Option<(Stamps, Arc<Sources>)>) -> io::Result<(Stamps, Arc<Sources>)> {
        let stamps = Stamps {
            hosts: stamp(&self.hosts_file),
            resolv_conf: if self.servers.is_empty() {
                stamp(&self.resolv_conf)
            } else {
                None
            },
        };
        let (hosts, name_servers) = match &known {
            Some((old, sources)) if *old == stamps => return Ok((stamps, Arc::clone(sources))),
            Some((old, sources)) => (
                (old.hosts == stamps.hosts).then(|| Arc::clone(&sources.hosts)),
                (old.resolv_conf == stamps.resolv_conf).then(|| Arc::clone(&sources.name_servers)),
            ),
            None => (None, None),
        };
        let hosts = match hosts {
            Some(hosts) => hosts,
            None => Arc::new(self.read_hosts()?),
        };
        let name_servers = match name_servers {
            Some(name_servers) => name_servers,
            None => Arc::new(self.name_servers()?),
        };
        let sources = Sources {
            hosts,
            name_servers,
        };
        Ok((stamps, Arc::new(sources)))
    }

    fn read_hosts(&self) -> io::Result<Hosts> {
        match read(&self.hosts_file) {
            Ok(text) => Ok(Hosts::parse(&text)),
            // A temporary error: an empty hosts file must not be cached.
            Err(error) if exhaustion(&error).is_some() => Err(error),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    log::warn!("{}: {error}", self.hosts_file.display());
                }
                Ok(Hosts::default())
            }
        }
    }

    /// The configured name servers, else those of resolv.conf(5), else this host.
    ///
    /// # Errors
    /// The file cannot be opened, since there is no descriptor left.
    fn name_servers(&self) -> io::Result<NameServers> {
        if !self.servers.is_empty() {
            return Ok(NameServers::new(self.servers.iter().copied()));
        }
        let mut addresses = match read(&self.resolv_conf) {
            Ok(text) => name_servers(&text),
            Err(error) if exhaustion(&error).is_some() => return Err(error),
            Err(error) => {
                log::warn!(
                    "{}: {error}; the name server on this host is queried",
                    self.resolv_conf.display()
                );
                Vec::new()
            }
        };
        if addresses.is_empty() {
            addresses.push((Ipv4Addr::LOCALHOST, DNS_PORT).into());
        }
        Ok(NameServers::new(addresses))
    }
}

/// The `nameserver` lines of a resolv.conf. No search list: a name in a request-target is
/// complete (RFC 9110 §4.2.3 has no base), and `example.com` must never become an internal
/// name. Other lines are ignored.
fn name_servers(text: &[u8]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let line = String::from_utf8_lossy(line);
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let word = words.next().unwrap_or_default();
        match address(word) {
            Some(address) if found.len() < MAX_SERVERS => {
                if !found.contains(&address) {
                    found.push(address);
                }
            }
            Some(_) => {}
            None => log::warn!("resolv.conf: `nameserver {word}` is not an IP address"),
        }
    }
    found
}

/// An address; a link-local one with its zone: `fe80::1%eth0`.
fn address(word: &str) -> Option<SocketAddr> {
    let Some((ip, zone)) = word.split_once('%') else {
        return Some((word.parse::<IpAddr>().ok()?, DNS_PORT).into());
    };
    let index = zone.parse().ok();
    let index = index.or_else(|| nix::net::if_::if_nametoindex(zone).ok())?;
    Some(SocketAddrV6::new(ip.parse().ok()?, DNS_PORT, 0, index).into())
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(resolv_conf: &Path) -> SourceSettings {
        SourceSettings {
            servers: Vec::new(),
            hosts_file: "/nonexistent/hosts".into(),
            resolv_conf: resolv_conf.into(),
        }
    }

    #[test]
    fn the_name_servers_of_resolv_conf() {
        let cases: &[(&str, &[&str])] = &[
            ("nameserver 192.0.2.53", &["192.0.2.53:53"]),
            (
                "search example.corp\nnameserver 192.0.2.53\nnameserver\t2001:db8::53 # old\noptions edns0 ndots:5 no-such-option",
                &["192.0.2.53:53", "[2001:db8::53]:53"],
            ),
            (
                "\u{feff}nameserver 192.0.2.53\r\n  nameserver 192.0.2.53\r",
                &["192.0.2.53:53"],
            ),
            ("nameserver fe80::1%7", &["[fe80::1%7]:53"]),
            ("nameserver fe80::1%lo", &["[fe80::1%1]:53"]),
            (
                "#nameserver 192.0.2.1\n;nameserver 192.0.2.2\nnameserver 192.0.2.3",
                &["192.0.2.3:53"],
            ),
            (
                "nameserver dns.example\nnameserver 192.0.2.53",
                &["192.0.2.53:53"],
            ),
            // resolv.conf(5): without a nameserver line, the one on this host.
            ("", &["127.0.0.1:53"]),
            ("search example.corp", &["127.0.0.1:53"]),
            ("nameserver", &["127.0.0.1:53"]),
            ("\u{0}\u{ff}", &["127.0.0.1:53"]),
        ];
        for (text, expected) in cases {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(&file, text).unwrap();
            let servers = settings(file.path()).name_servers().unwrap().addresses();
            let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
            assert_eq!(servers, *expected, "{text:?}");
        }
        let many: String = (1..20)
            .map(|n| format!("nameserver 192.0.2.{n}\n"))
            .collect();
        assert_eq!(name_servers(many.as_bytes()).len(), MAX_SERVERS);
    }

    #[tokio::test]
    async fn only_changed_files_are_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "nameserver 192.0.2.53").unwrap();
        let settings = settings(file.path());
        let first = settings.load(None).unwrap();
        let same = settings.load(Some(first.clone())).unwrap();
        assert!(Arc::ptr_eq(&first.1, &same.1));
        fs::write(&file, "nameserver 192.0.2.53\nnameserver 192.0.2.54").unwrap();
        let changed = settings.load(Some(first.clone())).unwrap();
        assert!(!Arc::ptr_eq(&first.1, &changed.1));
        assert!(Arc::ptr_eq(&first.1.hosts, &changed.1.hosts));
    }
}
