//! `tollgate.policy_tests`: requests with what the policy has to say of them.

use std::net::IpAddr;

use super::super::auth::Auth;
use super::super::keys::form::Absent::{Is, Means, Required};
use super::super::keys::form::Raw;
use super::super::keys::keys;
use super::super::parents;
use super::super::reader::{Item, nearest};
use super::super::tunnel;
use super::reproduce;
use super::script_cases::{self, Failure, ScriptCase};
use super::{PolicySection, rule, verdict};
use crate::access::limits::{Class, Classes};
use crate::access::policy::{DecidedBy, Decision, Moment, Policy, Scenario, TestCase, TestFailure};
use crate::http::role::Role;
use crate::script::Script;

keys! {
    /// One test.
    pub(in super::super) struct Keys<'d> {
        /// The user of the request; need not be in the password file.
        user: Option<Item<'d>> = Required, Raw => Shape::user();
        /// The groups that the token of the user says, beside those of the group file.
        groups: Option<Item<'d>> = Means("none"), Raw => Shape::text("the name of a group").some();
        /// The client's address.
        client: Option<Item<'d>> = Is("127.0.0.1"), Raw => Shape::ip();
        /// Claims of the token of the user, as `claim` of an expression reads them.
        claims: Option<Item<'d>> = Means("none"), Raw => Shape::Texts("a map of claims and their texts");
        /// The method of the request.
        method: Option<Item<'d>> = Means("CONNECT for `host:port`, else GET"), Raw => Shape::method();
        /// Fields of the request. Those of an `https://` URL are not in the CONNECT.
        request_headers: Option<Item<'d>> = Means("none"), Raw => Shape::Texts("a map of names and values");
        /// The ClientHello in the tunnel; without it the tunnel is judged as a request alone.
        hello: Option<Item<'d>> = Means("none"), Raw => Shape::Map(tunnel::HelloKeys::keys);
        /// When the request is made; needed where a rule has `time`.
        time: Option<Item<'d>> = Means("none"), Raw => Shape::moment();
        /// The addresses of the target's name; needed where a rule has `networks`.
        resolve: Option<Item<'d>> = Means("none"), Raw => Shape::ip().some();
        /// Fields as scripts send them upstream; null for one that is absent. The value of a secret is `***`.
        expect_headers: Option<Item<'d>> = Means("any"), Raw => Shape::names("a text or null");
        /// The status with which the request is denied or answered.
        expect_status: Option<Item<'d>> = Means("any"), Raw => Shape::Number(200..=599);
        /// The message of the denial.
        expect_message: Option<Item<'d>> = Means("any"), Raw => Shape::text("a text");
        /// The pool that a script chooses.
        expect_pool: Option<Item<'d>> = Means("any"), Raw => Shape::text("the name of a pool");
        /// Whether a rule with `ask` puts the request to `auth.external`, which is not asked here.
        expect_ask: Option<Item<'d>> = Means("any"), Raw => Shape::Flag;
        /// The way that the request takes: the name of a parent, or `direct`.
        expect_via: Option<Item<'d>> = Means("any"), Raw => Shape::text("`direct` or the name of a parent");
        /// The decision that is expected.
        expect: Option<Item<'d>> = Required, Raw => Shape::words(&["admit", "deny"]);
        /// What is expected to decide: the name of a rule, `default`, or a part of the guard as in the log, with or
        /// without what follows the colon, `hook:NAME` for a script.
        rule: Option<Item<'d>> = Means("any"), Raw => Shape::text("a name");
        /// The class of `limits.classes` that is expected to hold; only with `admit`.
        class: Option<Item<'d>> = Means("any"), Raw => Shape::text("the name of a class");
        /// `host:port` for a tunnel, a URL to forward, a path for the gateway. An `https://` URL is a request to
        /// forward; browsers send `host:443`.
        target: Option<Item<'d>> = Required, Raw => Shape::text("a target");
    }
}

/// The tests with the places where they are written.
pub(in super::super) struct Tests<'d> {
    cases: Vec<(Item<'d>, TestCase, ScriptCase)>,
}

/// Reads the tests of the rules.
/// `scripts` are the names of all scripts, also of those that have a fault.
pub(in super::super) fn read_tests<'d>(
    item: Option<Item<'d>>,
    policy: &PolicySection<'_>,
    scripts: &[&str],
) -> Tests<'d> {
    let items = item.and_then(|item| item.list()).unwrap_or_default();
    let cases = items.into_iter().filter_map(|item| {
        read(&item, policy, scripts).map(|(case, scripts)| (item, case, scripts))
    });
    Tests {
        cases: cases.collect(),
    }
}

impl Tests<'_> {
    /// Runs the tests and reports those that fail. Warns of a test whose user does not exist: it tests
    /// nothing.
    pub(in super::super) fn run(
        &self,
        policy: &Policy,
        scripts: &[Script],
        classes: Option<&Classes>,
        auth: &Auth,
    ) {
        for (item, case, of_scripts) in &self.cases {
            if !case.scenario.claims.is_empty() && auth.tokens.is_none() {
                item.report(
                    "has claims, and no token is accepted: `auth.tokens` is missing",
                    "configure it, or remove the key",
                );
                continue;
            }
            if !case.scenario.groups.is_empty() && !auth.has_other_groups() {
                item.warn(
                    "has groups, and no token has any: `auth.tokens` has no groups_claim, and there is no `auth.external`",
                    "name the groups of the user in the group file, and remove the key",
                );
            }
            let has_colon = case.scenario.user.contains(':');
            let is_claimed = has_colon && auth.tokens.is_none() && !auth.makes_any_user();
            if is_claimed && let Some(item) = item.section().item("user") {
                item.report(
                    "the user name has a colon",
                    "write the name as in the htpasswd file",
                );
            } else if !auth.knows(&case.scenario.user) {
                let (user, file) = (&case.scenario.user, auth.htpasswd.display());
                item.warn(
                    format!("user {user:?} is not in {file}"),
                    "correct the name, or remove the test",
                );
            }
            self.warn_of_tunnel(item, case, policy);
            if let Err(failure) = of_scripts.run(case, policy, scripts) {
                let command = || reproduce::command(item.configuration(), case, of_scripts);
                item.report(failure.to_string(), remedy(&failure, command));
            } else if let Some(expected) = item.section().item("class") {
                check_class(&expected, case, classes);
            }
        }
    }

    /// Warns when an https URL is tested, which is forwarded, and the tunnel that most clients open instead is
    /// decided otherwise. Not when a test of that tunnel stands beside it.
    fn warn_of_tunnel(&self, item: &Item<'_>, case: &TestCase, policy: &Policy) {
        let Some(scenario) = case.scenario.usual_tunnel() else {
            return;
        };
        let is_tested = |other: &TestCase| {
            let other = &other.scenario;
            (other.request().role(), other.target(), &other.user)
                == (Role::Tunnel, scenario.target(), &scenario.user)
        };
        if self.cases.iter().any(|(_, other, _)| is_tested(other)) {
            return;
        }
        let target = scenario.target().to_owned();
        let tunnel = TestCase {
            scenario,
            rule: None,
            ..case.clone()
        };
        if let Err(failure) = tunnel.run(policy) {
            item.warn(
                format!(
                    "tests the URL as it is forwarded; most clients send CONNECT {target}, \
                     and for that: {failure}"
                ),
                format!("write `target: \"{target}\"`, or add a test with it"),
            );
        }
    }
}

/// Reports a request whose class is another one than its test expects.
fn check_class(expected: &Item<'_>, case: &TestCase, classes: Option<&Classes>) {
    let Some(name) = expected.text() else {
        return;
    };
    let names = || classes.into_iter().flat_map(Classes::iter).map(Class::name);
    if case.expect == Decision::Deny {
        let message = "no class holds for a request that is denied";
        expected.report(message, "remove the key, or expect admit");
    } else if !names().any(|known| known == name) {
        let remedy = match nearest(name, names()) {
            Some(near) => format!("did you mean {near}?"),
            None => "name a class of limits.classes".to_owned(),
        };
        expected.report("no such class", remedy);
    } else {
        let found = classes.and_then(|classes| classes.class_of(&case.scenario.request()));
        let found = found.map_or("no class", |class| class.name());
        if found != name {
            expected.report(
                format!("expected class {name}, found {found}"),
                "correct the classes or the test",
            );
        }
    }
}

fn remedy(failure: &Failure, command: impl FnOnce() -> String) -> String {
    let (failure, what) = match failure {
        Failure::Policy(failure) => (Some(failure), "rules"),
        Failure::Scripts(_) => (None, "scripts"),
    };
    match failure {
        None
        | Some(
            TestFailure::Unexpected { .. } | TestFailure::Asks { .. } | TestFailure::Via { .. },
        ) => {
            format!("correct the {what} or the test; `{}` says why", command())
        }
        Some(TestFailure::NeedsAddress(_)) => {
            "add what it resolves to, as in `resolve: [10.1.2.3]`".to_owned()
        }
        Some(TestFailure::NeedsTime(_)) => {
            "add when, as in `time: 2027-01-31T18:00:00Z`".to_owned()
        }
    }
}

fn read(
    item: &Item<'_>,
    policy: &PolicySection<'_>,
    scripts: &[&str],
) -> Option<(TestCase, ScriptCase)> {
    let mut section = item.section();
    let keys = Keys::take(&mut section);
    let mut whole = true;
    for (key, item, remedy) in [
        ("user", &keys.user, "write a user name"),
        (
            "target",
            &keys.target,
            "write one such as example.org:443, http://example.org/ or /path",
        ),
        ("expect", &keys.expect, "write admit or deny"),
    ] {
        if item.is_none() {
            section.report(key, "missing", remedy);
            whole = false;
        }
    }
    let user = part(&keys.user, &mut whole, rule::user);
    let groups = part(&keys.groups, &mut whole, groups);
    let claims = part(&keys.claims, &mut whole, fields);
    let client = part(&keys.client, &mut whole, address);
    let method = part(&keys.method, &mut whole, rule::method);
    let time = part(&keys.time, &mut whole, rule::moment);
    let resolve = part(&keys.resolve, &mut whole, addresses);
    let hello = part(&keys.hello, &mut whole, tunnel::hello);
    let expect = part(&keys.expect, &mut whole, verdict);
    let ask = part(&keys.expect_ask, &mut whole, |item| item.flag());
    let via = part(&keys.expect_via, &mut whole, |item| {
        parents::read_via(item, &policy.parents)
    });
    let decides = part(&keys.rule, &mut whole, |item| {
        rule_name(item, policy, scripts)
    });
    // It is compared when the test is run.
    part(&keys.class, &mut whole, |item| item.text());
    let fields = part(&keys.request_headers, &mut whole, fields);
    let text = part(&keys.target, &mut whole, |item| item.text());
    let of_scripts = ScriptCase {
        target: text.unwrap_or_default().into(),
        fields: fields
            .iter()
            .flatten()
            .map(|(name, value)| (Box::from(*name), Box::from(*value)))
            .collect(),
        headers: part(
            &keys.expect_headers,
            &mut whole,
            script_cases::expected_fields,
        ),
        status: part(&keys.expect_status, &mut whole, script_cases::status),
        message: part(&keys.expect_message, &mut whole, |item| {
            item.text().map(Box::from)
        }),
        pool: part(&keys.expect_pool, &mut whole, |item| {
            item.text().map(Box::from)
        }),
    };
    section.finish();
    if !whole {
        return None;
    }

    let scenario = Scenario::new(
        &user?,
        text?,
        method.as_deref(),
        time.unwrap_or_else(stand_in),
    );
    let mut scenario = match scenario {
        Ok(scenario) => scenario,
        Err(error) => {
            keys.target?
                .report(error.to_string(), Scenario::remedy(error));
            return None;
        }
    };
    if let Some(fields) = fields {
        scenario = match scenario.with_fields(&fields) {
            Ok(scenario) => scenario,
            Err(error) => {
                keys.request_headers?.report(
                    format!("a client cannot send these: {error}"),
                    "correct the names and values",
                );
                return None;
            }
        };
    }
    if let Some(item) = keys
        .hello
        .filter(|_| scenario.request().role() != Role::Tunnel)
    {
        let message = "only for a tunnel, whose target is `host:port`";
        item.report(message, "remove it, or write such a target");
        return None;
    }
    scenario.hello = hello;
    scenario.client = client.unwrap_or(scenario.client);
    scenario.resolve = resolve.unwrap_or_default();
    scenario.groups = groups.unwrap_or_default();
    let claims = claims.into_iter().flatten();
    scenario.claims = claims
        .map(|(name, text)| (name.into(), text.into()))
        .collect();
    let case = TestCase {
        scenario,
        timed: time.is_some(),
        expect: expect.unwrap_or(Decision::Deny),
        rule: decides,
        ask,
        via,
    };
    Some((case, of_scripts))
}

/// The value of a key as `read` takes it. `whole` says whether all that is there could be read.
fn part<'d, T>(
    item: &Option<Item<'d>>,
    whole: &mut bool,
    read: impl FnOnce(&Item<'d>) -> Option<T>,
) -> Option<T> {
    let item = item.as_ref()?;
    let value = read(item);
    *whole &= value.is_some();
    value
}

/// A test whose outcome goes by the time fails when it has none, so it does not matter which this is; but it
/// must not be another one each time.
fn stand_in() -> Moment {
    Moment::from(std::time::UNIX_EPOCH)
}

fn address(item: &Item<'_>) -> Option<IpAddr> {
    let ip = item.text()?.parse().ok();
    if ip.is_none() {
        item.report(
            "not an IP address",
            "write one such as 192.0.2.1 or 2001:db8::1",
        );
    }
    ip
}

/// Names and values of fields.
fn fields<'d>(item: &Item<'d>) -> Option<Vec<(&'d str, &'d str)>> {
    let entries = item.entries()?;
    // Each is read, so that each is reported.
    let fields: Vec<_> = entries
        .into_iter()
        .map(|(name, item)| Some((name, item.text()?)))
        .collect();
    fields.into_iter().collect()
}

fn addresses(item: &Item<'_>) -> Option<Vec<IpAddr>> {
    let items = item.list()?;
    if items.is_empty() {
        item.report(
            "no address",
            "write what the target resolves to, or remove the key",
        );
        return None;
    }
    let addresses: Vec<Option<IpAddr>> = items.iter().map(address).collect();
    addresses.into_iter().collect()
}

fn groups(item: &Item<'_>) -> Option<Vec<Box<str>>> {
    let items = item.list()?;
    if items.is_empty() {
        item.report(
            "no group",
            "write groups that the token has, or remove the key",
        );
        return None;
    }
    let groups: Vec<Option<Box<str>>> = items
        .iter()
        .map(|item| item.text().map(Box::from))
        .collect();
    groups.into_iter().collect()
}

/// The name of a rule, or of a part of the guard with or without what follows the colon.
fn rule_name(item: &Item<'_>, policy: &PolicySection<'_>, scripts: &[&str]) -> Option<Box<str>> {
    let text = item.text()?;
    let label = text.split(':').next().unwrap_or(text);
    let own = policy.names.iter().any(|name| name.as_str() == text);
    if own || DecidedBy::RESERVED.contains(&label) {
        return Some(text.into());
    }
    // That of a script, as it is in the log.
    if let Some(script) = text.strip_prefix("hook:") {
        if scripts.contains(&script) {
            return Some(text.into());
        }
        let remedy = match nearest(script, scripts.iter().copied()) {
            Some(near) => format!("did you mean hook:{near}?"),
            None => "name a script, or test the hook in its program".to_owned(),
        };
        let message =
            format!("no script is named {script:?}, and hooks of a program are not tried");
        item.report(message, remedy);
        return None;
    }
    let names = policy.names.iter().map(|name| name.as_str());
    let remedy = match nearest(text, names.chain(DecidedBy::RESERVED)) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("name a rule, or one of {}", DecidedBy::RESERVED.join(", ")),
    };
    item.report("no such rule", remedy);
    None
}
