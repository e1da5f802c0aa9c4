//! The name servers and the hosts file of this host, read when they are first
//! needed and again when they change. Knows hickory; caches nothing.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{TokioResolver, system_conf};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::DnsFailure;
use super::hosts::Hosts;

/// How often the files are looked at, at most.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// The most that is read of a file.
const MAX_FILE: u64 = 64 << 20;

/// Where names are looked up.
pub(super) struct Sources {
    /// Names that need no name server.
    pub(super) hosts: Arc<Hosts>,
    /// The client of the name servers.
    pub(super) resolver: TokioResolver,
}

/// Gives the [`Sources`] and keeps them current. Holds nothing but paths until it
/// is first asked: the process may still fork after this is made.
pub(super) struct System {
    settings: Arc<Settings>,
    current: Mutex<Option<Current>>,
}

/// Where to read from and how to ask.
pub(super) struct Settings {
    /// Name servers; empty for those of `resolv_conf`.
    pub(super) servers: Vec<SocketAddr>,
    pub(super) hosts_file: PathBuf,
    pub(super) resolv_conf: PathBuf,
    /// For one try of one question; there are two tries.
    pub(super) try_timeout: Duration,
    /// The most questions on one TCP connection to a name server.
    pub(super) max_questions: usize,
}

struct Current {
    sources: Arc<Sources>,
    stamps: Stamps,
    checked: Instant,
}

/// How the files looked when they were read.
#[derive(Clone, Copy, PartialEq)]
struct Stamps {
    hosts: Stamp,
    resolv_conf: Stamp,
}

/// Size and time of change of a file, `None` when it is not there.
type Stamp = Option<(u64, SystemTime)>;

impl System {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            current: Mutex::new(None),
        }
    }

    /// The sources as the files have them now, or had them five seconds ago.
    ///
    /// # Errors
    /// [`DnsFailure::Transport`] when they cannot be made; the log has the reason.
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
        let loaded = tokio::task::spawn_blocking(move || settings.load(known))
            .await
            .map_err(io::Error::other)
            .and_then(|loaded| loaded);
        match loaded {
            Ok((stamps, sources)) => {
                *current = Some(Current {
                    sources: Arc::clone(&sources),
                    stamps,
                    checked: Instant::now(),
                });
                Ok(sources)
            }
            Err(error) => {
                log::warn!("name servers cannot be set up: {error}");
                // The old ones are better than none.
                let current = current.as_mut().ok_or(DnsFailure::Transport)?;
                current.checked = Instant::now();
                Ok(Arc::clone(&current.sources))
            }
        }
    }
}

impl Settings {
    /// Reads what has changed since `known`. Blocks.
    fn load(&self, known: Option<(Stamps, Arc<Sources>)>) -> io::Result<(Stamps, Arc<Sources>)> {
        let stamps = Stamps {
            hosts: stamp(&self.hosts_file),
            resolv_conf: if self.servers.is_empty() {
                stamp(&self.resolv_conf)
            } else {
                None
            },
        };
        let (hosts, resolver) = match &known {
            Some((old, sources)) if *old == stamps => return Ok((stamps, Arc::clone(sources))),
            Some((old, sources)) => (
                (old.hosts == stamps.hosts).then(|| Arc::clone(&sources.hosts)),
                (old.resolv_conf == stamps.resolv_conf).then(|| sources.resolver.clone()),
            ),
            None => (None, None),
        };
        let hosts = match hosts {
            Some(hosts) => hosts,
            None => Arc::new(self.read_hosts()),
        };
        let resolver = match resolver {
            Some(resolver) => resolver,
            None => self.resolver()?,
        };
        Ok((stamps, Arc::new(Sources { hosts, resolver })))
    }

    fn read_hosts(&self) -> Hosts {
        match read(&self.hosts_file) {
            Ok(text) => Hosts::parse(&text),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    log::warn!("{}: {error}", self.hosts_file.display());
                }
                Hosts::default()
            }
        }
    }

    fn resolver(&self) -> io::Result<TokioResolver> {
        let (servers, mut options) = if self.servers.is_empty() {
            self.system_servers()
        } else {
            let servers = self.servers.iter().copied().map(name_server).collect();
            (servers, ResolverOpts::default())
        };
        // No search list: a name in a request-target is complete (RFC 9110 §4.2.3
        // leaves no base), and `example.com` must never become a name inside.
        let config = ResolverConfig::from_name_servers(servers);
        options.timeout = self.try_timeout;
        options.attempts = 1;
        options.max_active_requests = self.max_questions;
        // Names are cached once, in front of this.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(io::Error::other)
    }

    /// The name servers of resolv.conf(5), and this host when it names none.
    fn system_servers(&self) -> (Vec<NameServerConfig>, ResolverOpts) {
        let local = || vec![NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into())];
        let parsed = read(&self.resolv_conf).map(system_conf::parse_resolv_conf);
        match parsed {
            Ok(Ok((config, options))) => (config.into_parts().2, options),
            Ok(Err(error)) => {
                log::warn!("{}: {error}", self.resolv_conf.display());
                (local(), ResolverOpts::default())
            }
            Err(error) => {
                log::warn!("{}: {error}", self.resolv_conf.display());
                (local(), ResolverOpts::default())
            }
        }
    }
}

/// A name server that is asked over UDP, and over TCP for long answers.
fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut udp = ConnectionConfig::udp();
    udp.port = address.port();
    let mut tcp = ConnectionConfig::tcp();
    tcp.port = address.port();
    let ip: IpAddr = address.ip();
    NameServerConfig::new(ip, true, vec![udp, tcp])
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

    fn settings(resolv_conf: &Path) -> Settings {
        Settings {
            servers: Vec::new(),
            hosts_file: "/nonexistent/hosts".into(),
            resolv_conf: resolv_conf.into(),
            try_timeout: Duration::from_secs(1),
            max_questions: 8,
        }
    }

    #[test]
    fn the_name_servers_of_resolv_conf() {
        let cases: &[(&str, &[&str], bool)] = &[
            ("nameserver 192.0.2.53", &["192.0.2.53"], false),
            (
                "search example.corp\nnameserver 192.0.2.53\nnameserver 2001:db8::53\noptions edns0 ndots:5",
                &["192.0.2.53", "2001:db8::53"],
                true,
            ),
            // resolv.conf(5): without a nameserver line, the one on this host.
            ("", &["127.0.0.1"], true),
            ("search example.corp", &["127.0.0.1"], true),
            ("\u{0}\u{ff}", &["127.0.0.1"], true),
        ];
        for (text, expected, edns0) in cases {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(&file, text).unwrap();
            let (servers, options) = settings(file.path()).system_servers();
            let servers: Vec<_> = servers.iter().map(|it| it.ip.to_string()).collect();
            assert_eq!(servers, *expected, "{text:?}");
            assert_eq!(options.edns0, *edns0, "{text:?}");
        }
    }

    #[tokio::test]
    async fn only_what_changed_is_read_again() {
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
