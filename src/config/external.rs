//! `auth.external`: the service that is asked about requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::gateway::leads_to;
use super::keys::form::Absent::Required;
use super::keys::form::{Flag, OneOf, Raw, Within};
use super::keys::keys;
use super::reader::Item;
use super::units::{days, milliseconds, seconds};
use crate::access::auth::external::{Ask, External, Mode, OnFailure};
use crate::http::target::TargetError;
use crate::http::url::HttpUrl;

const MODES: OneOf<Mode> = OneOf(&[("json", Mode::Json), ("status", Mode::Status)]);

const ASK: OneOf<Ask> = OneOf(&[
    ("always", Ask::Always),
    ("rule", Ask::Rule),
    ("unknown_users", Ask::UnknownUsers),
]);

const ON_FAILURE: OneOf<OnFailure> =
    OneOf(&[("deny", OnFailure::Deny), ("admit", OnFailure::Admit)]);

keys! {
    /// The external authoriser.
    pub(super) struct ExternalKeys<'d> {
        /// Where it is asked: an http or https URL.
        url: Option<Item<'d>> = Required, Raw => Shape::text("a URL");
        /// `json`: a POST with a JSON object, answered with another one. `status`: a GET with fields, answered by the
        /// status, as for `auth_request` of nginx.
        mode: Mode = Mode::Json, MODES;
        /// `unknown_users`: it authenticates users that are in no file and no trusted network. `always`: it decides
        /// about each request of a user, beside the rules. `rule`: it decides about requests that a rule with `ask: true`
        /// admits, and no other.
        ask: Ask = Ask::UnknownUsers, ASK;
        /// How long a request waits for its answer, its turn among the others included.
        timeout: Duration = milliseconds(500), Within(milliseconds(10)..=seconds(60));
        /// How long an answer is kept, and one that does not admit for at most a second. `ttl` of an answer can shorten
        /// it. 0s: not at all.
        cache: Duration = seconds(60), Within(Duration::ZERO..=days(1));
        /// How many answers that admit are kept.
        cache_entries: usize = 10_000, Within(1..=10_000_000);
        /// How many requests to it are under way at once. Others wait, within `timeout`.
        concurrency: usize = 64, Within(1..=4096);
        /// What becomes of a request without an answer: `deny` (503), or `admit`, as if it had not been asked; not with
        /// `unknown_users`.
        on_failure: OnFailure = OnFailure::Deny, ON_FAILURE;
        /// Whether it gets the password, which is needed to authenticate.
        send_password: bool = false, Flag;
    }
}

/// Reads the section: nothing when it cannot be used.
pub(super) fn read(item: &Item<'_>) -> Option<Arc<External>> {
    let mut section = item.section();
    let keys = ExternalKeys::take(&mut section);
    if keys.url.is_none() && section.is_known(&["url"]) {
        let advice = "write one such as http://127.0.0.1:9000/check";
        section.report("url", "missing", advice);
    }
    // With another value that cannot be read, nothing follows from the default.
    let mut is_usable = section.is_known(&["ask"]);
    let authenticates = is_usable && keys.ask == Ask::UnknownUsers;
    let sends_password = keys.send_password || !section.is_known(&["send_password"]);
    if authenticates && keys.on_failure == OnFailure::Admit {
        section.report(
            "on_failure",
            "admits users that nothing has authenticated",
            "write deny, or `ask: always`",
        );
        is_usable = false;
    }
    section.finish();
    let url = url(keys.url.as_ref()?, keys.send_password)?;
    if authenticates && !sends_password && is_usable {
        item.warn(
            "asks who unknown users are, and does not send their passwords: none of them is verified",
            "write `send_password: true`, or `ask: always`",
        );
    }
    let external = External {
        url,
        mode: keys.mode,
        ask: keys.ask,
        timeout: keys.timeout,
        cache: keys.cache,
        cache_entries: keys.cache_entries,
        concurrency: keys.concurrency,
        on_failure: keys.on_failure,
        send_password: keys.send_password,
    };
    is_usable.then(|| Arc::new(external))
}

/// The URL is not repeated: it may have a password in it.
fn url(item: &Item<'_>, send_password: bool) -> Option<HttpUrl> {
    let url = match HttpUrl::parse(item.text()?) {
        Ok(url) => url,
        Err(error) => {
            let remedy = match error {
                TargetError::Scheme => "write an http:// or https:// URL",
                _ => "write one such as http://127.0.0.1:9000/check",
            };
            let message = match error {
                TargetError::Form => "not a URL".to_owned(),
                error => error.to_string(),
            };
            item.report(message, remedy);
            return None;
        }
    };
    if url.is_exposed() {
        let message = match send_password {
            true => "passwords over http: a machine on the way can read them and answer itself",
            false => "decisions over http: a machine on the way can answer itself",
        };
        item.warn(
            message,
            "write an https:// URL, or run the service on this machine",
        );
    }
    Some(url)
}

/// Reports the URL of a service that is this program itself: its admin service, and its listeners where each question would
/// be one more request to ask about.
pub(super) fn check_address(
    item: &Item<'_>,
    external: &External,
    admin: Option<SocketAddr>,
    own: &[SocketAddr],
) {
    let addresses = external.url.local_addresses();
    let is_it = |listener: &SocketAddr| {
        let mut addresses = addresses.iter();
        addresses.any(|address| leads_to(*address, *listener))
    };
    let Some(url) = item.section().item("url") else {
        return;
    };
    let remedy = "write the address of the service";
    if admin.is_some_and(|admin| is_it(&admin)) {
        url.report(
            "the address of the admin service of this program, which answers no question",
            remedy,
        );
    } else if own.iter().any(is_it) {
        match external.ask {
            Ask::Always => url.report(
                "an address on which this program listens: each question would be a request to ask about",
                remedy,
            ),
            Ask::Rule | Ask::UnknownUsers => url.warn(
                "an address on which this program listens: a question is a request to its gateway",
                remedy,
            ),
        }
    }
}
