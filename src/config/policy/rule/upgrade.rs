//! `upgrade` and `inject` of a rule: requests that go out over TLS, with fields that the client never sees.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::super::super::keys::form::Absent::{Means, Required};
use super::super::super::keys::form::Raw;
use super::super::super::keys::keys;
use super::super::super::reader::{Item, nearest};
use crate::access::policy::{Action, InjectedField, Matchers, Roles, Upgrade};
use crate::hook::{Role, name_fault};
use crate::script::{SecretText, Secrets};

keys! {
    /// The fields that are written, each from a secret of `secrets`. One of the keys at least.
    pub(in super::super::super) struct Inject<'d> {
        /// `Authorization: Bearer`, with this secret.
        bearer: Option<Item<'d>> = Means("none"), Raw => Shape::text("the name of a secret");
        /// `Authorization: Basic`, with a user and a secret.
        basic: Option<Item<'d>> = Means("none"), Raw => Shape::Map(Basic::keys);
        /// Other fields, each with the name of the secret that is its value.
        fields: Option<Item<'d>> = Means("none"), Raw => Shape::Texts("a map of field names and names of secrets");
    }
}

keys! {
    /// A user and its password.
    pub(in super::super::super) struct Basic<'d> {
        /// The name of the user.
        user: Option<Item<'d>> = Required, Raw => Shape::text("a name without a colon");
        /// The name of the secret that is the password.
        password: Option<Item<'d>> = Required, Raw => Shape::text("the name of a secret");
    }
}

/// Reads both keys of a rule, and makes it one for requests to forward. `None` where one of them cannot be read; then
/// that is reported.
pub(super) fn read(
    (upgrade, inject): (Option<&Item<'_>>, Option<&Item<'_>>),
    action: Option<&Action>,
    matchers: &mut Matchers,
    secrets: &Secrets,
) -> Option<Option<Arc<Upgrade>>> {
    let Some(key) = upgrade else {
        let Some(inject) = inject else {
            return Some(None);
        };
        let remedy = "add `upgrade: https` to the rule";
        inject.report("secrets, which would be sent without TLS", remedy);
        return None;
    };
    let mut whole = true;
    let mut report = |item: &Item<'_>, message: &str, remedy: &str| {
        item.report(message, remedy);
        whole = false;
    };
    if key.text()? != "https" {
        report(key, "not https", "write https, or remove the key");
    }
    if !matches!(action, Some(Action::Admit) | None) {
        let message = "only for rules that admit";
        report(key, message, "remove it, or write `action: admit`");
    }
    let forward = [Role::Forward].into_iter().collect::<Roles>();
    if matchers.roles.is_some_and(|roles| roles != forward) {
        let message = "only for the role forward: a tunnel is not read, and the gateway has upstreams of its own";
        report(key, message, "remove `roles`, or write `roles: [forward]`");
    }
    if matchers.networks.is_some() {
        let message = "not with `networks`: the address is known after the request is upgraded";
        report(
            key,
            message,
            "remove `networks`; a private address of the host goes into `tollgate.egress.allow_networks`",
        );
    }
    matchers.roles = Some(forward);
    let fields = match inject {
        Some(_) if matchers.domains.is_none() => {
            let message = "no `domains`: a client could name any host, which would get the secrets";
            report(key, message, "name the hosts that the secrets are for");
            None
        }
        Some(item) => fields(item, secrets),
        None => Some(Vec::new()),
    };
    let fields = fields.filter(|_| whole)?;
    Some(Some(Arc::new(Upgrade::new(fields))))
}

fn fields(item: &Item<'_>, secrets: &Secrets) -> Option<Vec<InjectedField>> {
    let mut section = item.section();
    let keys = Inject::take(&mut section);
    let mut fields = Vec::new();
    let bearer = keys.bearer.as_ref().map(|item| bearer(item, secrets));
    let basic = keys.basic.as_ref().map(|item| basic(item, secrets));
    let others = keys.fields.as_ref().map(|item| others(item, secrets));
    section.finish();
    if bearer.is_some() && basic.is_some() {
        item.report("both bearer and basic", "keep one of them");
        return None;
    }
    if let Some(authorization) = bearer.or(basic) {
        fields.push(authorization?);
    }
    if let Some(others) = others {
        fields.extend(others?);
    }
    if fields.is_empty() {
        let remedy = "write `bearer: SECRET`, `basic: { user: NAME, password: SECRET }` or `fields: { NAME: SECRET }`";
        item.report("nothing to inject", remedy);
        return None;
    }
    Some(fields)
}

fn bearer(item: &Item<'_>, secrets: &Secrets) -> Option<InjectedField> {
    let (name, secret) = secret(item, secrets)?;
    warn_of_scheme(item, secret, "Bearer");
    let value = Zeroizing::new(format!("Bearer {}", secret.expose()));
    field(item, AUTHORIZATION, &value, name)
}

fn basic(item: &Item<'_>, secrets: &Secrets) -> Option<InjectedField> {
    let mut section = item.section();
    let keys = Basic::take(&mut section);
    for (key, found) in [("user", &keys.user), ("password", &keys.password)] {
        if found.is_none() {
            section.report(key, "missing", "write both, user and password");
        }
    }
    let user = keys.user.as_ref().and_then(|item| {
        let user = item.text()?;
        if user.contains(':') {
            item.report("has a colon, which ends the name", "write the name alone");
            return None;
        }
        Some(user)
    });
    let password = keys
        .password
        .as_ref()
        .and_then(|item| secret(item, secrets));
    section.finish();
    let (user, (name, password)) = (user?, password?);
    if let Some(item) = &keys.password {
        warn_of_scheme(item, password, "Basic");
        if password.is_named(user) {
            item.warn(
                "the secret begins with the user and a colon, which are written before it too",
                "put the password alone into it",
            );
        }
    }
    let pair = Zeroizing::new(format!("{user}:{}", password.expose()));
    let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    field(item, AUTHORIZATION, &value, name)
}

fn others(item: &Item<'_>, secrets: &Secrets) -> Option<Vec<InjectedField>> {
    let entries = item.entries()?;
    let one = |(field_name, item): &(&str, Item<'_>)| {
        if let Some(fault) = name_fault(field_name, false) {
            item.report(fault.to_string(), "name another field");
            return None;
        }
        let name = HeaderName::from_bytes(field_name.as_bytes()).ok()?;
        let (of, secret) = secret(item, secrets)?;
        if secret.is_named(field_name) {
            item.warn(
                "the secret begins with the name of the field, which is written before it too",
                "put the value alone into it",
            );
        }
        field(item, name, secret.expose(), of)
    };
    // Each is read, so that each is reported.
    let fields: Vec<Option<InjectedField>> = entries.iter().map(one).collect();
    fields.into_iter().collect()
}

/// Warns of a secret that has what is written before it. Nothing of the secret is shown but the word of the scheme.
fn warn_of_scheme(item: &Item<'_>, secret: &SecretText, written: &str) {
    let remedy = "put the secret alone into it, or write it as `fields: { authorization: SECRET }`";
    if let Some(scheme) = secret.scheme() {
        let message =
            format!("the secret begins with {scheme}, and {written} is written before it");
        item.warn(message, remedy);
    } else if secret.is_named(AUTHORIZATION.as_str()) {
        let message = format!(
            "the secret begins with the name of the field, and {written} is written before it"
        );
        item.warn(message, remedy);
    }
}

/// The secret that a key names.
fn secret<'d, 's>(item: &Item<'d>, secrets: &'s Secrets) -> Option<(&'d str, &'s SecretText)> {
    let name = item.text()?;
    let found = secrets.get(name);
    if found.is_none() {
        // The name is not repeated: it may be the secret itself, in the wrong place.
        let remedy = match nearest(name, secrets.names()) {
            Some(near) => format!("did you mean {near}?"),
            None => "name one of `tollgate.secrets`".to_owned(),
        };
        item.report("no such secret", remedy);
    }
    Some((name, found?))
}

fn field(item: &Item<'_>, name: HeaderName, value: &str, secret: &str) -> Option<InjectedField> {
    match HeaderValue::from_bytes(value.as_bytes()) {
        Ok(value) => Some(InjectedField::new(name, value, secret)),
        Err(_) => {
            item.report("a secret that no field can have", "correct the secret");
            None
        }
    }
}
