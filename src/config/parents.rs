//! `tollgate.parents`, `via` and `no_proxy`: proxies behind this one, and what goes through them.

mod settings;
mod url;
mod ways;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use zeroize::Zeroizing;

pub(super) use self::settings::Keys;
use self::settings::ParentHealth;
pub use self::url::{ParentScheme, ParentUrl};
pub(super) use self::ways::{Written, read_via};
use super::EjectionRule;
use super::listeners::Listener;
use super::reader::{Item, Section, nearest};
use crate::access::policy::{Name, Via};
use crate::script::{SecretText, Secrets};

pub(super) const MAX_PARENTS: usize = 64;
pub(super) const MAX_URLS: usize = 64;

/// The longest name and password of SOCKS5 (RFC 1929).
const MAX_SOCKS: usize = 255;

/// A parent: one proxy, or several that stand for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its name, in rules and in the log.
    pub name: Name,
    /// Where it is; at least one.
    pub urls: Vec<ParentUrl>,
    /// Who this proxy is for it.
    pub credentials: Option<ParentCredentials>,
    /// Which URL takes a request.
    pub choose: Choose,
    /// Whether it resolves names itself.
    pub resolves_names: bool,
    /// What becomes of a request that no URL can take.
    pub fallback: Fallback,
    /// The most requests and tunnels of each URL at a time.
    pub max_connections: usize,
    /// How long a request waits for its turn.
    pub queue_timeout: Duration,
    /// How long it may take to open a tunnel.
    pub timeout: Duration,
    /// How URLs that are down are found.
    pub health: ParentHealth,
    /// When requests take a URL out by themselves.
    pub ejection: EjectionRule,
}

/// Which URL of a parent takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choose {
    /// The first that is up.
    Failover,
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests and tunnels.
    Least,
    /// For one user always the same, as long as it is up.
    HashUser,
}

/// What becomes of a request that no URL of a parent can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// It fails.
    Fails,
    /// It goes this way.
    Via(Via),
}

/// A user and a password for a parent. `Debug` shows neither the password nor what is made of it.
#[derive(Clone, Debug)]
pub struct ParentCredentials {
    user: Box<str>,
    password: SecretText,
    /// Marked as sensitive.
    basic: HeaderValue,
}

impl ParentCredentials {
    fn new(user: &str, password: &SecretText) -> Option<Self> {
        let pair = Zeroizing::new(format!("{user}:{}", password.expose()));
        let basic = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut basic = HeaderValue::from_str(&basic).ok()?;
        basic.set_sensitive(true);
        Some(Self {
            user: user.into(),
            password: password.clone(),
            basic,
        })
    }

    /// The value of `Proxy-Authorization`.
    pub fn basic(&self) -> &HeaderValue {
        &self.basic
    }

    /// The user and the password, for SOCKS5.
    pub fn expose(&self) -> (&str, &str) {
        (&self.user, self.password.expose())
    }
}

impl PartialEq for ParentCredentials {
    fn eq(&self, other: &Self) -> bool {
        self.basic == other.basic
    }
}

impl Eq for ParentCredentials {}

/// Reads the parents. One that is not whole is reported, and left out; its name comes back among those that are written.
pub(super) fn read<'d>(
    item: Option<&Item<'d>>,
    secrets: &Secrets,
    listeners: &[Listener],
) -> Written<'d> {
    let entries = item.and_then(Item::entries).unwrap_or_default();
    if let Some((_, item)) = entries.get(MAX_PARENTS) {
        item.report("too many parents", format!("keep {MAX_PARENTS}"));
    }
    let mut written = Written::default();
    for (text, item) in entries.into_iter().take(MAX_PARENTS) {
        let name = Name::parse_parent(text).ok();
        let name = name.filter(|name| !matches!(name.as_str(), Via::DIRECT | "none"));
        let Some(name) = name else {
            let remedy = "write up to 64 letters, digits, - and _, beginning with a letter or a digit, and neither direct \
                          nor none";
            item.report("not the name of a parent", remedy);
            continue;
        };
        written.names.push(name.clone());
        if let Some((parent, fallback)) = read_one(name, &item, secrets, listeners) {
            written.parents.push((parent, fallback, item));
        }
    }
    written.settle_fallbacks();
    written
}

fn read_one<'d>(
    name: Name,
    item: &Item<'d>,
    secrets: &Secrets,
    listeners: &[Listener],
) -> Option<(Parent, Option<Item<'d>>)> {
    if item.written().is_some() {
        item.report(
            "not a map",
            "write `urls: [http://10.0.0.1:3128]` below the name",
        );
        return None;
    }
    let mut section = item.section();
    let keys = Keys::read(&mut section);
    if keys.urls.is_none() {
        let remedy = "write where the parent is, as in `urls: [http://10.0.0.1:3128]`";
        section.report("urls", "missing", remedy);
    }
    let urls = keys.urls.as_ref().and_then(|item| urls(item, listeners));
    let credentials = credentials(&section, &keys, secrets, urls.as_deref());
    section.finish();
    let parent = Parent {
        name,
        urls: urls?,
        credentials: credentials?,
        choose: keys.choose,
        resolves_names: keys.names,
        fallback: Fallback::Fails,
        max_connections: keys.max_connections,
        queue_timeout: keys.queue_timeout,
        timeout: keys.timeout,
        health: keys.health,
        ejection: keys.ejection,
    };
    Some((parent, keys.fallback))
}

fn urls(item: &Item<'_>, listeners: &[Listener]) -> Option<Vec<ParentUrl>> {
    let items = item.list()?;
    if items.is_empty() {
        item.report("no URL", "write where the parent is");
    }
    if let Some(item) = items.get(MAX_URLS) {
        item.report("too many URLs", format!("keep {MAX_URLS}"));
    }
    let mut urls: Vec<ParentUrl> = Vec::new();
    let mut is_whole = !items.is_empty();
    for item in items.iter().take(MAX_URLS) {
        match url::read(item, listeners) {
            Some(url) if urls.contains(&url) => {
                item.report("given twice", "keep one of the two");
                is_whole = false;
            }
            Some(url) => urls.push(url),
            None => is_whole = false,
        }
    }
    is_whole.then_some(urls)
}

/// The outer option is whether they could be read.
#[expect(clippy::option_option, reason = "not whole, none, some")]
fn credentials(
    section: &Section<'_>,
    keys: &Keys<'_>,
    secrets: &Secrets,
    urls: Option<&[ParentUrl]>,
) -> Option<Option<ParentCredentials>> {
    let (user, password) = match (&keys.user, &keys.password) {
        (None, None) => return Some(None),
        (Some(user), Some(password)) => (user, password),
        (user, _) => {
            let missing = if user.is_none() { "user" } else { "password" };
            section.report(missing, "missing", "write both, user and password");
            return None;
        }
    };
    let is_socks = urls
        .unwrap_or_default()
        .iter()
        .any(|url| url.scheme == ParentScheme::Socks5);
    let most = if is_socks { MAX_SOCKS } else { 1024 };
    let name = user.text()?;
    if name.is_empty() || name.contains(':') || name.contains(char::is_control) || name.len() > most
    {
        let remedy = format!(
            "write the name alone: up to {most} bytes, without a colon and control characters"
        );
        user.report("not the name of a user", remedy);
        return None;
    }
    let of = password.text()?;
    let Some(secret) = secrets.get(of) else {
        // The name is not repeated: it may be the secret itself, in the wrong place.
        let remedy = match nearest(of, secrets.names()) {
            Some(near) => format!("did you mean {near}?"),
            None => "name one of `tollgate.secrets`".to_owned(),
        };
        password.report("no such secret", remedy);
        return None;
    };
    if is_socks && secret.expose().len() > MAX_SOCKS {
        let remedy = format!("use one of up to {MAX_SOCKS} bytes, or an https:// parent");
        password.report("the secret is too long for SOCKS5", remedy);
        return None;
    }
    if let Some(url) = urls
        .unwrap_or_default()
        .iter()
        .find(|url| url.is_in_clear())
        && !secret.may_be_in_clear_text()
    {
        password.warn(
            format!("the password goes to {url} without encryption"),
            "use an https:// parent, or write `clear_text: true` at the secret where the network is trusted",
        );
    }
    Some(ParentCredentials::new(name, secret))
        .filter(Option::is_some)
        .or_else(|| {
            password.report("a secret that no field can have", "correct the secret");
            None
        })
}

/// The parents of a configuration, as the program takes them.
pub type Parents = Arc<[Parent]>;
