//! One rule of `tollgate.policy.rules`.

mod time;
mod upgrade;
mod value;

pub(super) use self::time::moment;
pub(in super::super) use self::time::zone;
pub(super) use self::value::method;
pub(in super::super) use self::value::role;
pub(in super::super) use self::value::tunnel_expression;
pub(in super::super) use self::value::user;
use super::super::egress::{self, entry};
use super::super::keys::form::Absent::{Is, Means, Required};
use super::super::keys::form::Raw;
use super::super::keys::keys;
#[cfg(test)]
use super::super::lists::DomainFile;
use super::super::lists::Lists;
use super::super::parents;
use super::super::reader::{Item, Section};
use super::RuleContext;
use crate::access::policy::{Action, Matchers, Name, Paths, Refusal, Roles, Rule, Via};
use crate::http::role::Role;

keys! {
    /// One rule.
    pub(in super::super) struct Keys<'d> {
        /// The name for the log, each once: up to 64 of `a-z`, `0-9`, `-`, `_`, and none of the names of the guard's
        /// parts.
        name: Option<Item<'d>> = Required, Raw => Shape::rule_name();
        /// The status code of a denial; only with `deny`.
        status: Option<Item<'d>> = Is("403"), Raw => Shape::statuses();
        /// A text for the client that is denied; only with `deny`.
        message: Option<Item<'d>> = Means("a general sentence"), Raw => Shape::Text("text", Some(Refusal::MAX_MESSAGE));
        /// What happens with a request that matches; `observe` logs that it would have been denied, and continues.
        action: Option<Item<'d>> = Required, Raw => Shape::words(&["admit", "deny", "observe"]);
        /// Whether a request that the rule admits is put to `auth.external`, which may deny it; only with `admit`, and
        /// with `ask: rule` there.
        ask: Option<Item<'d>> = Is("false"), Raw => Shape::Flag;
        /// Names of users. With `groups` too, one of both is enough.
        users: Option<Item<'d>> = Means("every user"), Raw => Shape::user().some();
        /// Names of groups in the file of `auth.groups`.
        groups: Option<Item<'d>> = Means("every user"), Raw => Shape::text("the name of a group").some();
        /// The ways in which a request comes.
        roles: Option<Item<'d>> = Means("every role"), Raw => Shape::roles();
        /// Methods in capitals; that of a tunnel is CONNECT.
        methods: Option<Item<'d>> = Means("every method"), Raw => Shape::method().some();
        /// Domains as in `egress.deny_domains`, lists too.
        domains: Option<Item<'d>> = Means("every target"), Raw => Shape::domain(DomainFile::keys).some();
        /// Networks of the address that would be dialled. An `admit` opens them, special-purpose ones too.
        networks: Option<Item<'d>> = Means("every address"), Raw => Shape::network().some();
        /// Ports of the target. An `admit` opens them.
        ports: Option<Item<'d>> = Means("every port"), Raw => Shape::some_ports();
        /// Paths, each for itself and all below it, of requests to forward and to the gateway. A tunnel hides them. Not
        /// evaded by [other spellings](policy.md#paths).
        paths: Option<Item<'d>> = Means("every path"), Raw => Shape::text("a path such as /api").some();
        /// Networks and addresses of clients.
        client_networks: Option<Item<'d>> = Means("every client"), Raw => Shape::network().some();
        /// With `https`, a request for `http://` is sent over TLS, and evaluated as that: to port 443 instead of 80, and to
        /// another port where `ports` has it. The rule matches requests over https of the role forward alone, and those.
        upgrade: Option<Item<'d>> = Means("sent as it came"), Raw => Shape::words(&["https"]);
        /// Fields that are written into the request from `secrets`, and that the client never sees; with `upgrade` and
        /// `domains` only. TRACE is denied.
        inject: Option<Item<'d>> = Means("nothing"), Raw => Shape::Map(upgrade::Inject::keys);
        /// The way out of a request that the rule admits: the name of a parent, or `direct`; only with `admit`. It holds
        /// whatever hooks, scripts, `tollgate.via` and `no_proxy` say.
        via: Option<Item<'d>> = Means("what a script or `tollgate.via` says"), Raw => Shape::text("`direct` or the name of a parent");
        /// When the rule matches; one of the keys besides `zone` at least.
        time: Option<Item<'d>> = Means("always"), Raw => Shape::Map(time::Keys::keys);
        /// A [CEL expression](policy.md#cel) that is true.
        when: Option<Item<'d>> = Means("always"), Raw => Shape::text("an expression");
        /// What the first bytes of a tunnel that the rule admits have to be; only with `admit` ([tunnels.md](tunnels.md)).
        tunnel: Option<Item<'d>> = Means("as `tollgate.tunnel`"), Raw => Shape::Map(super::super::tunnel::RuleKeys::keys);
    }
}

/// Reads values and remembers whether all of them could be read: a rule or a class that lost a matcher matches more.
pub(in super::super) struct ValueReader {
    whole: bool,
}

/// Reads a rule. Its name comes back even where the rest is wrong; the users that it names go into `named`.
pub(super) fn read<'d>(
    item: &Item<'d>,
    lists: &mut Lists<'_>,
    around: &RuleContext<'_>,
    named: &mut Vec<(Name, Item<'d>, Box<str>)>,
) -> (Option<Name>, Option<Rule>) {
    let mut section = item.section();
    let keys = Keys::take(&mut section);
    let mut reader = ValueReader::new();
    let name = reader.part(&keys.name, value::name);
    if keys.name.is_none() {
        let remedy = "write a name for the log, such as `name: no-uploads`";
        reader.miss(&section, "name", remedy);
    }
    let action = action(&mut reader, &keys, &section);
    let mut users = Vec::new();
    let mut matchers = Matchers {
        users: reader.values(&keys.users, |item| {
            let user = user(item)?;
            users.push((item.clone(), user.clone()));
            Some(user)
        }),
        groups: reader.values(&keys.groups, |item| entry(item).map(Box::from)),
        roles: reader
            .values(&keys.roles, value::role)
            .map(|roles| roles.into_iter().collect::<Roles>()),
        methods: reader.values(&keys.methods, method),
        domains: reader.part(&keys.domains, |item| {
            // An action that cannot be read is reported already.
            let denies = !matches!(action, Some(Action::Admit | Action::Observe));
            lists.read(&not_empty(item)?, denies)
        }),
        networks: reader.part(&keys.networks, |item| egress::networks(&not_empty(item)?)),
        ports: reader.part(&keys.ports, |item| {
            if item.is_list() {
                not_empty(item)?;
            }
            egress::ports(item)
        }),
        paths: reader.values(&keys.paths, value::path).map(Paths::new),
        client_networks: reader.part(&keys.client_networks, |item| {
            egress::networks(&not_empty(item)?)
        }),
        time: reader.part(&keys.time, time::schedule),
        when: reader.part(&keys.when, value::expression),
    };
    let both = (keys.upgrade.as_ref(), keys.inject.as_ref());
    let upgrade = upgrade::read(both, action.as_ref(), &mut matchers, around.secrets);
    reader.whole &= upgrade.is_some();
    let asks = asks(&mut reader, &keys, action.as_ref());
    let of_rule = (name.as_ref(), action.as_ref(), &matchers);
    let tunnel = reader.part(&keys.tunnel, |item| around.tunnel.of_rule(item, of_rule));
    let via = via(
        &mut reader,
        &keys,
        action.as_ref(),
        &matchers,
        around.parents,
    );
    section.finish();
    let Some(name) = name else {
        return (None, None);
    };
    for (item, user) in users {
        named.push((name.clone(), item, user));
    }
    let rule = action.filter(|_| reader.whole).map(|action| Rule {
        name: name.clone(),
        action,
        matchers,
        upgrade: upgrade.flatten(),
        tunnel,
        asks,
        via,
    });
    (Some(name), rule)
}

impl ValueReader {
    pub(in super::super) fn new() -> ValueReader {
        ValueReader { whole: true }
    }

    /// Whether all could be read.
    pub(in super::super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The value of a key as `read` takes it, which reports what it cannot take.
    pub(in super::super) fn part<'d, T>(
        &mut self,
        item: &Option<Item<'d>>,
        read: impl FnOnce(&Item<'d>) -> Option<T>,
    ) -> Option<T> {
        let value = read(item.as_ref()?);
        self.whole &= value.is_some();
        value
    }

    /// The values of a list, all of them or none.
    pub(in super::super) fn values<'d, T>(
        &mut self,
        item: &Option<Item<'d>>,
        mut read: impl FnMut(&Item<'d>) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.part(item, |item| {
            let items = not_empty(item)?;
            // Each is read, so that each is reported.
            let values: Vec<Option<T>> = items.iter().map(&mut read).collect();
            values.into_iter().collect()
        })
    }

    /// Reports a key that must not be left out.
    pub(in super::super) fn miss(&mut self, section: &Section<'_>, key: &str, remedy: &str) {
        section.report(key, "missing", remedy);
        self.whole = false;
    }
}

/// A matcher without values would match nothing; who empties a list most likely means to lift a restriction.
pub(in super::super) fn not_empty<'d>(item: &Item<'d>) -> Option<Vec<Item<'d>>> {
    let items = item.list()?;
    if items.is_empty() {
        item.report(
            "an empty list, which nothing matches",
            "fill it, or remove the key to match everything",
        );
        return None;
    }
    Some(items)
}

/// Whether a request that the rule admits is put to the authoriser.
fn asks(reader: &mut ValueReader, keys: &Keys<'_>, action: Option<&Action>) -> bool {
    let asks = reader.part(&keys.ask, Item::flag) == Some(true);
    if asks
        && !matches!(action, Some(Action::Admit) | None)
        && let Some(item) = &keys.ask
    {
        let message =
            "only for rules that admit: the authoriser opens nothing that the policy denies";
        item.report(message, "remove it, or write `action: admit`");
        reader.whole = false;
    }
    asks
}

/// The way out of a request that the rule admits.
fn via(
    reader: &mut ValueReader,
    keys: &Keys<'_>,
    action: Option<&Action>,
    matchers: &Matchers,
    parents: &[Name],
) -> Option<Via> {
    let via = reader.part(&keys.via, |item| parents::read_via(item, parents));
    let item = keys.via.as_ref()?;
    if !matches!(action, Some(Action::Admit) | None) {
        item.report(
            "only for rules that admit",
            "remove it, or write `action: admit`",
        );
        reader.whole = false;
    }
    let is_outward = |roles: Roles| roles.contains(Role::Forward) || roles.contains(Role::Tunnel);
    if !matchers.roles.is_none_or(is_outward) {
        item.report(
            "not for the role gateway alone, which has upstreams of its own",
            "remove it, or add forward or tunnel to `roles`",
        );
        reader.whole = false;
    }
    via
}

fn action(reader: &mut ValueReader, keys: &Keys<'_>, section: &Section<'_>) -> Option<Action> {
    let status = reader.part(&keys.status, value::status);
    let message = reader.part(&keys.message, value::message);
    if keys.action.is_none() {
        reader.miss(section, "action", "write admit, deny or observe");
    }
    let action = reader.part(&keys.action, |item| match item.text()? {
        "admit" => Some(Action::Admit),
        "deny" => Some(Action::Deny(Refusal::default())),
        "observe" => Some(Action::Observe),
        _ => {
            item.report(
                "neither admit, deny nor observe",
                "write admit, deny or observe",
            );
            None
        }
    })?;
    if let Action::Deny(default) = action {
        return Some(Action::Deny(Refusal {
            status: status.unwrap_or(default.status),
            message,
        }));
    }
    for key in ["status", "message"] {
        if section.has(key) {
            let message = "only for rules that deny";
            section.report(key, message, "remove it, or write `action: deny`");
            reader.whole = false;
        }
    }
    Some(action)
}
