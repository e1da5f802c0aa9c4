//! `tollgate.auth`: the htpasswd file, how its hashes are verified, and the group file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::external;
use super::files::{self, Base};
use super::keys::form::Absent::{Defaults, Is, Means, Required};
use super::keys::form::{Form, Given, Raw, RawList, Within};
use super::keys::keys;
#[cfg(test)]
use super::keys::shape::Shape;
use super::kind::TextKind;
use super::lockout::LockoutOrOff;
use super::problem::Diagnostics;
use super::reader::{Item, Part};
use super::tokens::{self, TokenSection};
use super::trusted::{self, Credulous};
use super::units::{days, milliseconds, minutes};
use super::yaml::Node;
use crate::access::auth::external::{Ask, External};
use crate::access::auth::lockout::LockoutSettings;
use crate::access::auth::tokens::Tokens;
use crate::access::auth::{Credentials, Htpasswd, TrustedNetworks, User};
use crate::access::policy::{GroupError, Groups};
use crate::http::secret::Password;
use crate::text::count;

/// Some ten million users.
const MAX_HTPASSWD: u64 = 1 << 30;

/// Some million memberships.
const MAX_GROUPS: u64 = 64 << 20;

const GROUPS_KEY: &str = "tollgate.auth.groups";

/// The credentials of the quick start, which everyone knows.
const DEMO_USER: &str = "username";
const DEMO_PASSWORD: &str = "password";

/// The longest realm; some clients show it in a window's title.
const MAX_REALM: usize = 128;

/// Who may come in, and what it costs to find out.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Names the protection space in the challenge (RFC 9110 §11.5); printable ASCII without
    /// quotes and backslashes.
    pub realm: String,
    /// The users, read from [`Auth::htpasswd`]; at least one.
    pub users: Arc<Htpasswd>,
    /// The users of clients without credentials, by network.
    pub trusted: Arc<TrustedNetworks>,
    /// The tokens that are accepted, if any are.
    pub tokens: Option<Arc<Tokens>>,
    /// The external authoriser, if there is one.
    pub external: Option<Arc<External>>,
    /// Whether certificates of clients are users, of any name.
    pub has_certificates: bool,
    /// When failed logins lock out; none where they do not.
    pub lockout: Option<LockoutSettings>,
    /// Where the users were read from; absolute.
    pub htpasswd: PathBuf,
    /// How long a successful verification is cached.
    pub cache_ttl: Duration,
    /// How many verified credentials are kept.
    pub cache_entries: usize,
    /// How many passwords are hashed at the same time.
    pub hash_threads: usize,
    /// How many requests may wait for their password to be hashed; more are answered with 503.
    pub hash_queue: usize,
}

keys! {
    /// The section without the users, who are in a file of their own.
    pub(super) struct AuthSection<'d> {
        /// The [users](#text-files), one `name:hash` a line; bcrypt, argon2, SHA-256/512-crypt, apr1 and `{SHA}`. At
        /// least one user.
        htpasswd: Option<Item<'d>> = Required, Raw => Shape::path(), on reload;
        /// The [groups](#text-files) that rules can name, one `group: user user` a line, as Apache's
        /// `AuthGroupFile`. Up to 64 MiB.
        groups: Option<Item<'d>> = Means("none: no groups"), Raw => Shape::path(), on reload;
        /// Clients that need no password. A request without credentials from such a network is that of the user; one
        /// with credentials is verified as any other. See [trusted networks](#trusted-networks).
        trusted_networks: Option<Item<'d>> = Is("[]"), RawList => Shape::Map(trusted::TrustedKeys::keys).list(usize::MAX), on reload;
        /// Signed tokens (JWT) that are accepted instead of a password. See [tokens.md](tokens.md).
        tokens: Option<Item<'d>> = Means("none: passwords alone"), Raw => Shape::Map(tokens::TokenKeys::keys), on reload;
        /// A service of your own that decides who a client is, or whether a request is admitted. See
        /// [authorizer.md](authorizer.md).
        external: Option<Item<'d>> = Means("none"), Raw => Shape::Map(external::ExternalKeys::keys), on reload;
        /// When failed logins lock a user or a network out, or `off`. See
        /// [lock-out](operations.md#lock-out).
        lockout: Option<LockoutSettings> = Defaults, LockoutOrOff, on reload;
        /// The name of the protection space in the challenge.
        realm: String = "tollgate".to_owned(), Realm;
        /// How long a successful verification is cached. A reload forgets those of users whose hash has changed, or who
        /// are gone.
        cache_ttl: Duration = minutes(5), Within(milliseconds(1)..=days(1));
        /// Successful verifications in the cache. With `lockout`, those of each network count.
        cache_entries: usize = 65_536, Within(1..=10_000_000);
        /// Passwords hashed at the same time. argon2id as written by `tollgate passwd` needs 19 MiB for each.
        hash_threads: Option<usize> = Means("`threads`"), Given(Within(1..=1024));
        /// Requests that may wait for a hash, half of them from one client address. More get a 503, but for [first
        /// attempts](operations.md#password-hashing) of users.
        hash_queue: usize = 256, Within(1..=1_000_000);
    }
}

/// What authenticates beside passwords.
pub(super) struct Others {
    pub(super) trusted: TrustedNetworks,
    pub(super) tokens: Option<Tokens>,
    pub(super) external: Option<Arc<External>>,
    /// Whether certificates of clients are users.
    pub(super) has_certificates: bool,
}

impl<'d> AuthSection<'d> {
    pub(super) fn read(part: Part<'d>) -> AuthSection<'d> {
        let mut section = part.section();
        let written = AuthSection::take(&mut section);
        if written.htpasswd.is_none() {
            section.report(
                "htpasswd",
                "missing: every request is authenticated",
                "make a file with `tollgate passwd FILE USER` and name it here",
            );
        }
        section.finish();
        written
    }

    /// The keys that name files.
    pub(super) fn files(&self) -> impl Iterator<Item = &Item<'d>> {
        self.htpasswd.iter().chain(&self.groups)
    }

    /// Reads the tokens: none when the key is not there, nothing when it cannot be used.
    pub(super) fn tokens(&self, base: &Base) -> TokenSection<'d> {
        let tokens = self.tokens.as_ref().map(|item| tokens::read(item, base));
        tokens.unwrap_or_default()
    }

    /// Reads the external authoriser: none when the key is not there, or when it cannot be used.
    pub(super) fn external(&self) -> Option<Arc<External>> {
        self.external.as_ref().and_then(external::read)
    }

    /// The section of the external authoriser.
    pub(super) fn external_item(&self) -> Option<&Item<'d>> {
        self.external.as_ref()
    }

    /// Whether a group file is named.
    pub(super) fn has_groups(&self) -> bool {
        self.groups.is_some()
    }

    /// Reads the trusted networks. `credulous` is a listener at which every client can claim to be in one.
    pub(super) fn trusted(&self, credulous: Option<Credulous>) -> TrustedNetworks {
        trusted::read(self.trusted_networks.as_ref(), credulous)
    }

    /// Reads the groups: none when no file is named, nothing when one cannot be used.
    pub(super) fn groups(&self, diagnostics: &Diagnostics, base: &Base) -> Option<Groups> {
        let Some(item) = &self.groups else {
            return Some(Groups::default());
        };
        let path = item.file(&base.directory)?;
        let text = match files::read_text(&path, MAX_GROUPS) {
            Ok(text) => text,
            Err(error) => {
                let missing = "make it, with lines like `group: user user`, or remove the key";
                files::report(item, &base.show(&path), &error, missing);
                return None;
            }
        };
        item.note_content(blake3::hash(text.as_bytes()));
        let shown = base.show(&path);
        // A file that was cut off, for one; comments alone are meant to be.
        if text.trim_ascii().is_empty() {
            let message = format!("{} is empty", files::speak(&shown));
            item.report(
                message,
                "write lines like `group: user user`, or remove the key",
            );
            return None;
        }
        let report = |errors: Vec<GroupError>| {
            if files::report_kind(item, &shown, &text, TextKind::Htgroup) {
                return;
            }
            for error in errors {
                let message = error.problem.to_string();
                diagnostics.report_in(&shown, Some(error.line), "", message, None);
            }
        };
        Groups::parse(&text).map_err(report).ok()
    }

    /// Reads the users too. `threads` is the default for the threads that hash. Slow when `exposed`: then the
    /// password of the quick start is tried.
    pub(super) fn open(
        self,
        threads: usize,
        others: Others,
        diagnostics: &Diagnostics,
        base: &Base,
        exposed: bool,
    ) -> Option<Auth> {
        let item = self.htpasswd?;
        let htpasswd = item.file(&base.directory)?;
        let shown = base.show(&htpasswd);
        let users = users(&item, &htpasswd, &shown, diagnostics, "407")?;
        if exposed && is_demo(&users) {
            let advice = format!(
                "change it with `tollgate passwd {} {DEMO_USER}`, or listen on 127.0.0.1",
                shown.display()
            );
            let message =
                "the demo user with its well-known password, on a listener that is not loopback";
            item.report(message, advice);
        }
        let hash_threads = self.hash_threads.unwrap_or(threads);
        diagnostics
            .values
            .note_meaning("tollgate.auth.hash_threads", &hash_threads.to_string());
        Some(Auth {
            realm: self.realm,
            users: Arc::new(users),
            trusted: Arc::new(others.trusted),
            tokens: others.tokens.map(Arc::new),
            external: others.external,
            has_certificates: others.has_certificates,
            lockout: self.lockout,
            htpasswd,
            cache_ttl: self.cache_ttl,
            cache_entries: self.cache_entries,
            hash_threads,
            hash_queue: self.hash_queue,
        })
    }
}

impl Auth {
    /// Whether a request can be of this user: by password, by the network or the certificate of its client, by a
    /// token, or by the external authoriser.
    pub fn knows(&self, user: &str) -> bool {
        let tokens = self.tokens.as_deref();
        self.users.contains(user)
            || self.trusted.has(user)
            || tokens.is_some_and(|tokens| tokens.may_name(user))
            || self.makes_any_user()
    }

    /// Whether something makes users of any name: certificates of clients, or an external authoriser.
    pub(crate) fn makes_any_user(&self) -> bool {
        self.has_certificates || self.asks_who()
    }

    /// Whether an external authoriser makes users, of any name.
    pub(crate) fn asks_who(&self) -> bool {
        let external = self.external.as_deref();
        external.is_some_and(|external| external.ask == Ask::UnknownUsers)
    }

    /// Whether a token or the external authoriser may say groups, of which no file says who is in them.
    pub(crate) fn has_other_groups(&self) -> bool {
        let external = self.external.as_deref();
        external.is_some_and(External::gives_groups)
            || self.tokens.as_deref().is_some_and(Tokens::have_groups)
    }

    /// The sign in a name that is no user, between names that are: `alice/bob`.
    pub(super) fn divider(&self, name: &str) -> Option<char> {
        if self.knows(name) {
            return None;
        }
        let divides = |sign: &char| {
            let mut parts = name.split(*sign).map(str::trim);
            parts.all(|part| self.knows(part))
        };
        let is_sign = |c: &char| !c.is_alphanumeric();
        name.chars().filter(is_sign).find(divides)
    }

    /// Reports users of groups that are several users, with a sign between that divides nothing: under a rule
    /// that denies the group, none of them would be denied. A name with a sign that needs quotes was meant.
    pub(super) fn report_joined(
        &self,
        groups: &Groups,
        document: &Node,
        diagnostics: &Diagnostics,
    ) {
        let joined = |name: &str| Some((name.to_owned(), self.divider(name)?));
        let mut found: Vec<_> = groups.members().filter_map(joined).collect();
        found.sort_unstable();
        for (name, sign) in found {
            if " ,;|#".contains(sign) {
                continue;
            }
            let message =
                format!("{name:?} in a group is no user, but each name beside {sign:?} is one");
            let remedy = "separate users by spaces only: `group: user user`".to_owned();
            diagnostics.report(document.line_of(GROUPS_KEY), GROUPS_KEY, message, remedy);
        }
    }

    /// Warns of users in groups who are not in the password file: they may have been removed, which must keep
    /// nothing from being loaded, or a name is not what it seems.
    pub(super) fn warn_of_strangers(
        &self,
        groups: &Groups,
        document: &Node,
        diagnostics: &Diagnostics,
    ) {
        let is_stranger = |user: &&str| !self.knows(user);
        let strangers: Vec<&str> = groups.members().filter(is_stranger).collect();
        if let Some(first) = strangers.iter().min() {
            let message = format!(
                "{} without a line in {}, such as {first:?}",
                count(strangers.len(), "member"),
                self.htpasswd.display()
            );
            let remedy = "correct the name, add the user, or remove the member".to_owned();
            diagnostics.warn(document.line_of(GROUPS_KEY), GROUPS_KEY, message, remedy);
        }
    }
}

/// The realm of a challenge.
struct Realm;

impl Form<String> for Realm {
    fn read(&self, item: &Item<'_>) -> Option<String> {
        let text = item.text()?;
        let printable = text
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
        if printable && text.len() <= MAX_REALM {
            return Some(text.to_owned());
        }
        let advice =
            format!("write up to {MAX_REALM} printable ASCII characters without \" and \\");
        item.report("not a realm", advice);
        None
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        Shape::Text("printable ASCII without `\"` and `\\`", Some(MAX_REALM))
    }
}

/// Reads a password file. `status` is what every request gets that has no user of it.
pub(super) fn users(
    item: &Item<'_>,
    path: &Path,
    shown: &Path,
    diagnostics: &Diagnostics,
    status: &str,
) -> Option<Htpasswd> {
    let file = files::speak(shown);
    let text = match files::read_text(path, MAX_HTPASSWD) {
        Ok(text) => text,
        Err(error) => {
            let missing = format!("make one with `tollgate passwd {file} USER`");
            files::report(item, shown, &error, &missing);
            return None;
        }
    };
    item.note_content(blake3::hash(text.as_bytes()));
    match Htpasswd::parse(&text) {
        Ok(users) if users.is_empty() => {
            let found = if text.trim_ascii().is_empty() {
                "is empty"
            } else {
                "has no user"
            };
            let advice = format!("add a user with `tollgate passwd {file} USER`");
            item.report(
                format!("{file} {found}: every request would get {status}"),
                advice,
            );
            None
        }
        Ok(users) => {
            // The hash of a password that is in the documentation is no secret.
            let is_demo = users.len() == 1 && users.contains(DEMO_USER);
            if !is_demo && files::is_world_readable(path) {
                let message = "every user of this machine can read this password file";
                let remedy = format!("run `chmod o-r {file}`");
                diagnostics.warn_in(shown, None, "", message, remedy);
            }
            Some(users)
        }
        Err(_) if files::report_kind(item, shown, &text, TextKind::Htpasswd) => None,
        Err(errors) => {
            for error in errors {
                let remedy = error.problem.remedy(&file);
                diagnostics.report_in(
                    shown,
                    Some(error.line),
                    "",
                    error.problem.to_string(),
                    remedy,
                );
            }
            None
        }
    }
}

/// Whether anyone who has read the documentation gets in.
fn is_demo(users: &Htpasswd) -> bool {
    // Verifying is slow, also for a user who is not there.
    users.contains(DEMO_USER)
        && User::parse(DEMO_USER).is_ok_and(|user| {
            users.verify(&Credentials {
                user,
                password: Password::new(DEMO_PASSWORD),
            })
        })
}
