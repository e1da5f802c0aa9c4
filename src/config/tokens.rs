//! `auth.tokens`: the issuers whose signed tokens are accepted.

use std::path::PathBuf;
use std::time::Duration;

use super::files::{self, Base};
use super::keys::form::Absent::{Means, Required};
use super::keys::form::{Flag, Raw, Within};
use super::keys::keys;
use super::reader::Item;
use super::units::{days, hours, minutes, seconds};
use crate::access::auth::tokens::{
    ClaimPath, Issuer, IssuerSettings, KeySet, KeySource, MAX_KEY_SET, Tokens,
};
use crate::http::target::TargetError;
use crate::http::url::HttpUrl;
use crate::text::is_invisible;

/// The longest issuer, audience and prefix of users.
const MAX_NAME: usize = 512;
const MAX_PREFIX: usize = 64;

/// Audiences of one issuer.
const MAX_AUDIENCES: usize = 16;

keys! {
    /// The tokens that are accepted.
    pub(super) struct TokenKeys<'d> {
        /// Whose tokens. At most 32, each once.
        issuers: Option<Item<'d>> = Required, Raw => Shape::Map(IssuerKeys::keys).some();
        /// How far the clocks of issuers and of this machine may differ: for so long a token is accepted before `nbf`
        /// and `iat`, and after `exp`.
        leeway: Duration = seconds(30), Within(Duration::ZERO..=minutes(10));
        /// Whether a tunnel ends when its token expires.
        cut_at_expiry: bool = true, Flag;
        /// How often keys are fetched that have a URL.
        refresh: Duration = hours(1), Within(seconds(1)..=days(7));
        /// The least time between two fetches from one issuer, when a token names an unknown key and when a fetch has
        /// failed.
        min_refetch: Duration = seconds(30), Within(seconds(1)..=days(1));
    }
}

keys! {
    /// One issuer.
    pub(super) struct IssuerKeys<'d> {
        /// The claim `iss` of its tokens, byte by byte.
        issuer: Option<Item<'d>> = Required, Raw => Shape::Text("text", Some(MAX_NAME));
        /// Its keys, as a JWK Set: a file, read at the start and by a reload, or an http or https URL. Up to 256 KiB
        /// and 128 keys.
        jwks: Option<Item<'d>> = Required, Raw => Shape::text("a path or a URL");
        /// What the claim `aud` has to name, or a list of which it has to name one.
        audience: Option<Item<'d>> = Required, Raw => Shape::Either(vec![
            Shape::Text("text", Some(MAX_NAME)),
            Shape::Text("text", Some(MAX_NAME)).some(),
        ]);
        /// The claim that is the user: its name, or with a `/` at the start its place, as `/kubernetes.io/namespace`
        /// (JSON Pointer).
        user_claim: Option<Item<'d>> = Means("`sub`"), Raw => Shape::Text("a claim", Some(ClaimPath::MAX));
        /// What the name of the user begins with, before the claim. With a colon in it, the name is never one of the
        /// password file.
        user_prefix: Option<Item<'d>> = Required, Raw => Shape::Text("text", Some(MAX_PREFIX)).or(&[""]);
        /// The claim that has groups of the user, for the rules: a text or a list of texts.
        groups_claim: Option<Item<'d>> = Means("none: no groups"), Raw => Shape::Text("a claim", Some(ClaimPath::MAX));
    }
}

/// The section as read, with the keys that name files.
#[derive(Default)]
pub(super) struct TokenSection<'d> {
    pub(super) tokens: Option<Tokens>,
    pub(super) files: Vec<Item<'d>>,
    /// Whether tokens have groups, also where they cannot be used: then a group is not missing.
    pub(super) has_groups: bool,
}

/// Reads the section. Every file of keys is read too.
pub(super) fn read<'d>(item: &Item<'d>, base: &Base) -> TokenSection<'d> {
    let mut section = item.section();
    let keys = TokenKeys::take(&mut section);
    if keys.issuers.is_none() {
        section.report("issuers", "missing", "name an issuer, or remove `tokens`");
    }
    section.finish();
    let entries = keys
        .issuers
        .as_ref()
        .and_then(Item::list)
        .unwrap_or_default();
    if let Some(item) = keys.issuers.as_ref().filter(|item| item.is_list()) {
        if entries.is_empty() {
            item.report("an empty list", "name an issuer, or remove `tokens`");
        }
        if entries.len() > Tokens::MAX_ISSUERS {
            let message = format!("more than {} issuers", Tokens::MAX_ISSUERS);
            item.report(message, "remove some");
        }
    }
    let mut read: Vec<(IssuerSettings, KeySet)> = Vec::new();
    let mut files = Vec::new();
    for entry in &entries {
        let Some((settings, set)) = issuer(entry, base, keys.leeway, &mut files) else {
            continue;
        };
        report_overlap(entry, &settings, read.iter().map(|(settings, _)| settings));
        read.push((settings, set));
    }
    let is_whole = !entries.is_empty() && read.len() == entries.len();
    let issuers = read.into_iter();
    let tokens = is_whole.then(|| {
        Tokens::new(
            issuers
                .map(|(settings, set)| Issuer::new(settings, set))
                .collect(),
            keys.cut_at_expiry,
            keys.refresh,
            keys.min_refetch,
        )
    });
    let has_groups = |entry: &Item<'_>| entry.is_map() && entry.section().has("groups_claim");
    TokenSection {
        tokens,
        files,
        has_groups: entries.iter().any(has_groups),
    }
}

/// An issuer that is there twice, or a prefix with which two issuers can name the same user.
fn report_overlap<'s>(
    entry: &Item<'_>,
    settings: &IssuerSettings,
    before: impl Iterator<Item = &'s IssuerSettings>,
) {
    for (number, other) in before.enumerate() {
        if other.issuer == settings.issuer {
            if let Some(item) = entry.section().item("issuer") {
                let message = format!("the same issuer as entry {} of the list", number + 1);
                item.report(message, "remove one of the two, or give one both audiences");
            }
        } else if (other.user_prefix.starts_with(&*settings.user_prefix)
            || settings.user_prefix.starts_with(&*other.user_prefix))
            && let Some(item) = entry.section().item("user_prefix")
        {
            let message = format!(
                "tokens of this issuer and of entry {} of the list can make the same user",
                number + 1
            );
            item.warn(message, "give each issuer a prefix of its own");
        }
    }
}

fn issuer<'d>(
    entry: &Item<'d>,
    base: &Base,
    leeway: Duration,
    files: &mut Vec<Item<'d>>,
) -> Option<(IssuerSettings, KeySet)> {
    let mut section = entry.section();
    let keys = IssuerKeys::take(&mut section);
    for (key, item, remedy) in [
        ("issuer", &keys.issuer, "write the claim iss of its tokens"),
        ("jwks", &keys.jwks, "name the file or the URL of its keys"),
        (
            "audience",
            &keys.audience,
            "write the claim aud that tokens for this proxy have",
        ),
        (
            "user_prefix",
            &keys.user_prefix,
            "write one such as \"gh:\"; \"\" lets the issuer choose names as the password file has them",
        ),
    ] {
        if item.is_none() {
            section.report(key, "missing", remedy);
        }
    }
    section.finish();
    let name = keys.issuer.as_ref().and_then(name);
    let source = keys
        .jwks
        .as_ref()
        .and_then(|item| source(item, base, files));
    let audience = keys.audience.as_ref().and_then(audience);
    let prefix = keys.user_prefix.as_ref().and_then(prefix);
    let user_claim = match &keys.user_claim {
        None => ClaimPath::parse("sub"),
        Some(item) => claim(item),
    };
    let groups_claim = match &keys.groups_claim {
        None => Some(None),
        Some(item) => claim(item).map(Some),
    };
    let (source, set) = source?;
    let settings = IssuerSettings {
        issuer: name?,
        source,
        audience: audience?,
        user_claim: user_claim?,
        user_prefix: prefix?,
        groups_claim: groups_claim?,
        leeway,
    };
    Some((settings, set))
}

fn name(item: &Item<'_>) -> Option<Box<str>> {
    let text = item.text()?;
    if text.len() > MAX_NAME || text.trim() != text {
        let advice = format!("write up to {MAX_NAME} bytes, without spaces around them");
        item.report("too long, or with a space at an end", advice);
        return None;
    }
    Some(text.into())
}

fn audience(item: &Item<'_>) -> Option<Vec<Box<str>>> {
    if !item.is_list() {
        return name(item).map(|name| vec![name]);
    }
    let items = item.list()?;
    if items.is_empty() || items.len() > MAX_AUDIENCES {
        let advice = format!("write one to {MAX_AUDIENCES} audiences");
        item.report("no audience, or too many", advice);
        return None;
    }
    // Every one is read, so that each mistake is reported.
    let names: Vec<_> = items.iter().map(name).collect();
    names.into_iter().collect()
}

/// The only text that may be empty, since it has to be written.
fn prefix(item: &Item<'_>) -> Option<Box<str>> {
    let text = item.scalar()?;
    if text.len() > MAX_PREFIX || text.starts_with(' ') || text.contains(is_invisible) {
        let advice = format!("write up to {MAX_PREFIX} bytes such as \"gh:\"");
        item.report("not the beginning of a user's name", advice);
        return None;
    }
    Some(text.into())
}

fn claim(item: &Item<'_>) -> Option<ClaimPath> {
    let path = ClaimPath::parse(item.text()?);
    if path.is_none() {
        item.report(
            "not a claim",
            "write its name, or its place as /outer/inner (RFC 6901: ~1 is a slash in a name, ~0 a tilde)",
        );
    }
    path
}

fn source<'d>(
    item: &Item<'d>,
    base: &Base,
    files: &mut Vec<Item<'d>>,
) -> Option<(KeySource, KeySet)> {
    let text = item.text()?;
    if text.contains("://") {
        return match HttpUrl::parse(text) {
            Ok(url) => {
                if url.is_exposed() {
                    item.warn(
                        "keys over http: a machine on the way can put its own key in their place",
                        "write an https:// URL",
                    );
                }
                Some((KeySource::Url(url), KeySet::default()))
            }
            Err(error) => {
                // The URL is not repeated: it may have a password in it.
                let remedy = match error {
                    TargetError::Scheme => "write an https:// URL, or a path",
                    _ => "write one such as https://issuer.example/jwks",
                };
                item.report(error.to_string(), remedy);
                None
            }
        };
    }
    let path: PathBuf = item.file(&base.directory)?;
    files.push(item.clone());
    let shown = base.show(&path);
    let bytes = match files::read(&path, MAX_KEY_SET as u64) {
        Ok(bytes) => bytes,
        Err(error) => {
            let missing = "write the JWK Set of the issuer to it, or name its URL";
            files::report(item, &shown, &error, missing);
            return None;
        }
    };
    item.note_content(blake3::hash(&bytes));
    match KeySet::parse(&bytes) {
        Ok(set) => Some((KeySource::File(path), set)),
        Err(error) => {
            let message = format!("{} cannot be used: {error}", files::speak(&shown));
            item.report(message, "write the JWK Set of the issuer to it");
            None
        }
    }
}
