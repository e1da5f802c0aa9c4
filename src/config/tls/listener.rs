//! TLS of a listener while it serves: what is served with, and reading its files again.
//!
//! Handshakes take what is current when they begin, and keep it. What is new comes as one change: certificates, keys,
//! authorities and revocation lists that were read together and fit. While they do not, as when a certificate is
//! renewed and its key is still to come, what is current stays.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use tokio::sync::Notify;

use super::super::files::Base;
use super::super::problem::{ConfigError, Diagnostics, Problems};
use super::super::reader::Item;
use super::super::yaml::Node;
use super::Use;
use super::certificate::date;
use crate::access::auth::{CertificateLogin, CertificateName};

/// So often have files to be unusable before that is told: a certificate and its key are seldom written at once.
const TRIES_BEFORE_TOLD: u32 = 2;

/// TLS of one listener.
pub struct ListenerTls {
    current: ArcSwap<Served>,
    source: Mutex<Source>,
    changed: Notify,
}

/// What handshakes are served with.
pub struct Served {
    /// As rustls takes it. Offers `h2` where `http2` is on, and asks for a client certificate where `client_ca` is
    /// configured.
    pub config: Arc<ServerConfig>,
    /// What expires.
    pub expiries: Vec<Expiry>,
    /// What certificates of clients have to be; none where clients need none.
    pub clients: Option<Clients>,
    /// Another one for each change.
    pub generation: u64,
    /// The same for the same content of the files and the same settings.
    pub(super) digest: blake3::Hash,
}

/// What certificates of clients have to be, and what they mean.
pub struct Clients {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// Which name is the user, and whether it is enough; none where it is no user.
    pub login: Option<(CertificateName, CertificateLogin)>,
}

/// A certificate or a revocation list that a listener uses, with its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The first name of the certificate, or the file of the list.
    pub name: String,
    /// Seconds since 1970.
    pub at: i64,
    /// Whether it is a revocation list.
    pub is_list: bool,
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.is_list {
            "the revocation list in"
        } else {
            "the certificate for"
        };
        write!(f, "{noun} {} (until {})", self.name, date(self.at))
    }
}

/// Where all of it comes from.
pub(super) struct Source {
    pub(super) configuration: PathBuf,
    pub(super) base: Base,
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) node: Node,
    pub(super) for_use: Use,
    pub(super) files: Vec<PathBuf>,
    /// How the files looked before they were read. Nothing where one of them is a pipe, which is not read again.
    pub(super) looks: Option<Vec<Option<Look>>>,
    /// What was found at the last look, where they could not be used.
    pub(super) failing: Option<Failing>,
}

/// Files that cannot be used.
#[derive(Debug)]
pub(super) struct Failing {
    what: String,
    looks: Vec<Option<Look>>,
    /// How often that was found.
    tries: u32,
}

/// What tells a file from what it was before, and from the file that took its place, behind links too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What became of reading the files again.
#[derive(Debug)]
pub enum Reread {
    /// They are the same, or what is wrong with them was told.
    Unchanged,
    /// They are in use.
    Replaced(Problems),
    /// They cannot be used; what was in use stays.
    Failed(ConfigError),
}

impl ListenerTls {
    pub(super) fn new(served: Served, source: Source) -> Self {
        Self {
            current: ArcSwap::from_pointee(served),
            source: Mutex::new(source),
            changed: Notify::new(),
        }
    }

    /// What a handshake is served with that begins now.
    pub fn served(&self) -> Arc<Served> {
        self.current.load_full()
    }

    /// Which change is current.
    pub fn generation(&self) -> u64 {
        self.current.load().generation
    }

    /// Ready at the next change after this was first polled.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes over what a reload has read. Whether that is another one. `http2` stays: it is not only of TLS, and waits for a
    /// restart.
    pub fn adopt(&self, new: &ListenerTls) -> bool {
        let mut source = self.source.lock();
        let from = new.source.lock();
        let for_use = source.for_use;
        *source = Source {
            configuration: from.configuration.clone(),
            base: from.base.clone(),
            path: from.path.clone(),
            line: from.line,
            node: from.node.clone(),
            for_use,
            files: from.files.clone(),
            looks: from.looks.clone(),
            failing: None,
        };
        if from.for_use == for_use {
            return self.replace(new.served());
        }
        // They were read a moment ago; if that fails now, the next look tells why.
        let (served, _) = source.read();
        served.is_ok_and(|served| self.replace(Arc::new(served)))
    }

    /// Reads the files again if they have changed. Blocks.
    pub fn read_again(&self) -> Reread {
        let mut source = self.source.lock();
        let looks = match &source.looks {
            None => return Reread::Unchanged,
            Some(before) => {
                let now: Vec<Option<Look>> = source.files.iter().map(|it| Look::of(it)).collect();
                let is_known = match &source.failing {
                    None => now == *before,
                    // Once told, it is not read again before it changes.
                    Some(failing) => failing.tries >= TRIES_BEFORE_TOLD && now == failing.looks,
                };
                if is_known {
                    return Reread::Unchanged;
                }
                now
            }
        };
        let (served, warnings) = source.read();
        match served {
            Ok(served) => {
                source.looks = Some(looks);
                source.failing = None;
                match self.replace(Arc::new(served)) {
                    true => Reread::Replaced(warnings),
                    false => Reread::Unchanged,
                }
            }
            Err(error) => {
                let what = error.to_string();
                let tries = match &source.failing {
                    Some(failing) if failing.what == what => failing.tries.saturating_add(1),
                    _ => 1,
                };
                source.failing = Some(Failing { what, looks, tries });
                match tries == TRIES_BEFORE_TOLD {
                    true => Reread::Failed(error),
                    false => Reread::Unchanged,
                }
            }
        }
    }

    fn replace(&self, new: Arc<Served>) -> bool {
        if self.current.load().digest == new.digest {
            return false;
        }
        self.current.store(new);
        self.changed.notify_waiters();
        true
    }
}

impl Source {
    /// Reads the files, and what is odd about them.
    fn read(&self) -> (Result<Served, ConfigError>, Problems) {
        let diagnostics = Diagnostics::new(&self.configuration);
        let item = Item::detached(&diagnostics, &self.path, self.line, &self.node);
        let served = super::serve(&item, &self.base, self.for_use);
        let warnings = diagnostics.warnings();
        (diagnostics.finish(served), warnings)
    }
}

impl Clients {
    /// Verifies the certificates of a client.
    ///
    /// # Errors
    /// They are not accepted.
    pub fn verify(&self, chain: &[CertificateDer<'_>], at: UnixTime) -> Result<(), rustls::Error> {
        let (leaf, others) = chain
            .split_first()
            .ok_or(rustls::Error::NoCertificatesPresented)?;
        let verified = self.verifier.verify_client_cert(leaf, others, at);
        verified.map(drop)
    }
}

/// A number that no change has had.
pub(super) fn next_generation() -> u64 {
    static GENERATIONS: AtomicU64 = AtomicU64::new(1);
    GENERATIONS.fetch_add(1, Ordering::Relaxed)
}

/// How files look now. Nothing where one of them is no regular file, which has its content once.
pub(super) fn looks(files: &[PathBuf]) -> Option<Vec<Option<Look>>> {
    let is_regular = |file: &PathBuf| file.metadata().is_ok_and(|it| it.is_file());
    let all = files.iter().all(is_regular);
    all.then(|| files.iter().map(|file| Look::of(file)).collect())
}

impl Look {
    fn of(file: &Path) -> Option<Look> {
        let metadata = file.metadata().ok()?;
        Some(Look {
            place: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl fmt::Debug for ListenerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerTls")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}
