//! `tollgate.policy_tests`: requests with what the policy has to say of them.

use std::net::IpAddr;

use super::super::auth::Auth;
use super::super::reader::{Item, Section, nearest};
use super::{Written, rule, verdict};
use crate::access::policy::{DecidedBy, Decision, Moment, Policy, Scenario, TestCase, TestFailure};
use crate::http::role::Role;

/// The tests with the places where they are written.
pub(in super::super) struct Tests<'d> {
    cases: Vec<(Item<'d>, TestCase)>,
}

/// Reads the tests of the rules.
pub(in super::super) fn read_tests<'d>(
    tollgate: &mut Section<'d>,
    policy: &Written<'_>,
) -> Tests<'d> {
    let items = tollgate.list("policy_tests");
    let cases = items
        .into_iter()
        .filter_map(|item| read(&item, policy).map(|case| (item, case)));
    Tests {
        cases: cases.collect(),
    }
}

impl Tests<'_> {
    /// Runs the tests and reports those that fail. Warns of users that are not there: what such a test
    /// says is true of nobody.
    pub(in super::super) fn run(&self, policy: &Policy, auth: &Auth) {
        for (item, case) in &self.cases {
            if !auth.users.contains(&case.scenario.user) {
                let (user, file) = (&case.scenario.user, auth.htpasswd.display());
                item.warn(
                    format!("user {user:?} is not in {file}"),
                    "correct the name, or remove the test",
                );
            }
            self.warn_of_tunnel(item, case, policy);
            if let Err(failure) = case.run(policy) {
                item.report(failure.to_string(), remedy(&failure, &case.scenario));
            }
        }
    }
}

impl Tests<'_> {
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
        if self.cases.iter().any(|(_, other)| is_tested(other)) {
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

fn remedy(failure: &TestFailure, scenario: &Scenario) -> String {
    match failure {
        TestFailure::Unexpected { .. } => format!(
            "correct the rules or the test; `tollgate explain` with {} says why",
            scenario.target()
        ),
        TestFailure::NeedsAddress(_) => {
            "add what it resolves to, as in `resolve: [10.1.2.3]`".to_owned()
        }
        TestFailure::NeedsTime(_) => "add when, as in `time: 2027-01-31T18:00:00Z`".to_owned(),
    }
}

fn read(item: &Item<'_>, policy: &Written<'_>) -> Option<TestCase> {
    let mut section = item.section();
    let mut whole = true;
    for (key, remedy) in [
        ("user", "write who asks"),
        (
            "target",
            "write one such as example.org:443, http://example.org/ or /path",
        ),
        ("expect", "write admit or deny"),
    ] {
        if !section.has(key) {
            section.report(key, "missing", remedy);
            whole = false;
        }
    }
    let mut part = |item: Option<&Item<'_>>, is_read: bool| whole &= item.is_none() || is_read;

    let item = section.item("user");
    let user = item.as_ref().and_then(rule::user);
    part(item.as_ref(), user.is_some());
    let item = section.item("client");
    let client = item.as_ref().and_then(address);
    part(item.as_ref(), client.is_some());
    let item = section.item("method");
    let method = item.as_ref().and_then(rule::method);
    part(item.as_ref(), method.is_some());
    let item = section.item("time");
    let time = item.as_ref().and_then(rule::moment);
    part(item.as_ref(), time.is_some());
    let item = section.item("resolve");
    let resolve = item.as_ref().and_then(addresses);
    part(item.as_ref(), resolve.is_some());
    let item = section.item("expect");
    let expect = item.as_ref().and_then(verdict);
    part(item.as_ref(), expect.is_some());
    let item = section.item("rule");
    let decides = item.as_ref().and_then(|item| rule_name(item, policy));
    part(item.as_ref(), decides.is_some());
    let target = section.item("target");
    let text = target.as_ref().and_then(Item::text);
    part(target.as_ref(), text.is_some());
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
            target?.report(error.to_string(), Scenario::remedy(error));
            return None;
        }
    };
    scenario.client = client.unwrap_or(scenario.client);
    scenario.resolve = resolve.unwrap_or_default();
    Some(TestCase {
        scenario,
        timed: time.is_some(),
        expect: expect.unwrap_or(Decision::Deny),
        rule: decides,
    })
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

/// The name of a rule, or of a part of the guard with or without what follows the colon.
fn rule_name(item: &Item<'_>, policy: &Written<'_>) -> Option<Box<str>> {
    let text = item.text()?;
    let label = text.split(':').next().unwrap_or(text);
    let own = policy.names.iter().any(|name| name.as_str() == text);
    if own || DecidedBy::RESERVED.contains(&label) {
        return Some(text.into());
    }
    let names = policy.names.iter().map(|name| name.as_str());
    let remedy = match nearest(text, names.chain(DecidedBy::RESERVED)) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("name a rule, or one of {}", DecidedBy::RESERVED.join(", ")),
    };
    item.report("no such rule", remedy);
    None
}
