//! The gate as a whole: users and policy are of one reload, always.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::measure;

use super::*;
use crate::access::auth::Htpasswd;
use crate::access::limits::{ClassLimits, ClassRule, Pace, Per, Rate};
use crate::access::policy::{DecidedBy, Decision, Groups, Guard, Name, Rules};
use crate::http::http1::{HeadLimits, RequestHead};
use crate::request::facts::{Arrival, Request, Source};
use crate::request::request_id::RequestId;
use crate::telemetry::{self, Telemetry};
use crate::upstream::dial::{Dialer, DnsOptions, Sources};
use crate::upstream::fetch::Fetcher;

/// SHA-1 of "new": cheap, so that the reloads are what takes the time.
const SHA1_NEW: &str = "{SHA}wqawPxkN+ytKqR+K+NR3qbw0Adw=";
const ANN: &str = "Basic YW5uOm5ldw==";
const BOB: &str = "Basic Ym9iOm5ldw==";

fn users(names: &[&str]) -> Arc<Htpasswd> {
    let lines: String = names
        .iter()
        .map(|name| format!("{name}:{SHA1_NEW}\n"))
        .collect();
    Arc::new(Htpasswd::parse(&lines).unwrap())
}

/// A policy whose default denies and whose only rule admits one user.
fn only(user: &str) -> Policy {
    let rule = crate::access::policy::Rule {
        name: Name::parse(user).unwrap(),
        action: crate::access::policy::Action::Admit,
        matchers: crate::access::policy::Matchers {
            users: Some(vec![user.into()]),
            ..Default::default()
        },
        upgrade: None,
        tunnel: None,
        asks: false,
        via: None,
    };
    let rules = Rules::new(vec![rule], Decision::Deny, &Groups::default()).unwrap();
    Policy::new(Guard::default(), rules)
}

/// Nothing is asked by it.
fn asking() -> Asking {
    let dialer = Dialer::new(DnsOptions::default(), Sources::new(&[]), Duration::ZERO);
    let fetcher = Fetcher::new(Arc::new(dialer), None, Vec::new(), Duration::ZERO);
    let settings = telemetry::Settings {
        access: telemetry::Destination::Off,
        ..Default::default()
    };
    let telemetry = Telemetry::new(&settings).unwrap();
    Asking::new(Arc::new(fetcher), Arc::new(telemetry)).unwrap()
}

fn gatekeeper(names: &[&str], policy: &Policy) -> AccessControl {
    let verified = VerifiedCache::new(100, Duration::from_secs(60)).unwrap();
    let authenticator = Authenticator::new(users(names), Arc::default(), None, verified);
    let asking = asking();
    AccessControl {
        access: ArcSwap::from_pointee(Access::new(
            authenticator,
            policy,
            Arc::default(),
            None,
            None,
            None,
            crate::upstream::parent::Parents::for_tests(asking.telemetry()),
        )),
        balances: Arc::new(Balances::new(None, asking.telemetry())),
        asking,
        hooks: HookSet::default(),
        hashing: Hashing::new(2, 64),
        pools: Vec::new(),
        key_refresh: KeyRefresh::default(),
    }
}

/// A reload that leaves these users.
fn new_access(users: Arc<Htpasswd>, policy: &Policy) -> NewAccess<'_> {
    NewAccess {
        users,
        trusted: Arc::default(),
        tokens: None,
        external: None,
        lockout: None,
        policy,
        scripts: &[],
        parents: &[],
        classes: None,
    }
}

fn replace(gate: &AccessControl, users: Arc<Htpasswd>, policy: &Policy) {
    gate.replace(new_access(users, policy)).unwrap();
}

fn exchange(credentials: &str) -> Exchange {
    let head = format!(
        "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nProxy-Authorization: {credentials}\r\n\r\n"
    );
    let mut head = RequestHead::parse(head.as_bytes().into(), &HeadLimits::default()).unwrap();
    let source = Source {
        client: SocketAddr::from(([127, 0, 0, 1], 9)),
        listener: None,
        connection: 1,
        tls: false,
        thread: 0,
        certificate: None,
    };
    let request = Request::new(RequestId::new(1), source, &head, Arrival::now());
    Exchange::new(request, std::mem::take(&mut head.credentials))
}

/// The kind of the refusal, or who admitted.
async fn ask(gate: &AccessControl, credentials: &str) -> Result<String, ErrorKind> {
    match gate.admit(&mut exchange(credentials)).await {
        Ok(admitted) => Ok(admitted.decided_by().to_string()),
        Err(error) => Err(error.kind()),
    }
}

#[tokio::test]
async fn new_users_and_rules_count_at_once() {
    let gate = gatekeeper(&["ann", "bob"], &only("ann"));
    assert_eq!(ask(&gate, ANN).await, Ok("ann".to_owned()));
    assert_eq!(ask(&gate, BOB).await, Err(ErrorKind::Denied));
    replace(&gate, users(&["bob"]), &only("bob"));
    // Verified a moment ago, and gone.
    assert_eq!(ask(&gate, ANN).await, Err(ErrorKind::CredentialsWrong));
    assert_eq!(ask(&gate, BOB).await, Ok("bob".to_owned()));
}

#[tokio::test]
async fn who_denied_is_noted() {
    let gate = gatekeeper(&["bob"], &only("ann"));
    let mut exchange = exchange(BOB);
    let denied = gate.admit(&mut exchange).await;
    assert_eq!(denied.unwrap_err().kind(), ErrorKind::Denied);
    let outcome = exchange.outcome;
    assert_eq!(outcome.decided_by, Some(DecidedBy::Default));
    assert_eq!(outcome.user.unwrap().as_str(), "bob");
}

/// Two states take turns. In each one user exists and is admitted by a rule; the
/// other neither exists nor has a rule. A mixture of both, users of one and rules of
/// the other, would show as a user who exists and whom no rule admits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reloads_show_no_mixture() {
    let gate = Arc::new(gatekeeper(&["ann"], &only("ann")));
    let reloaded = Arc::new(AtomicBool::new(false));
    let requests = tokio::spawn({
        let (gate, reloaded) = (Arc::clone(&gate), Arc::clone(&reloaded));
        async move {
            let mut asked = 0;
            while !reloaded.load(Ordering::Relaxed) || asked < 1_000 {
                for (credentials, user) in [(ANN, "ann"), (BOB, "bob")] {
                    match ask(&gate, credentials).await {
                        Ok(by) => assert_eq!(by, user),
                        Err(kind) => assert_eq!(kind, ErrorKind::CredentialsWrong, "{user}"),
                    }
                    asked += 1;
                }
            }
        }
    });
    for round in 0..1_000 {
        let name = if round % 2 == 0 { "bob" } else { "ann" };
        replace(&gate, users(&[name]), &only(name));
        tokio::task::yield_now().await;
    }
    reloaded.store(true, Ordering::Relaxed);
    requests.await.unwrap();
}

/// A request that is tried again may reach another address, which another rule admitted.
#[tokio::test]
async fn the_rule_is_that_of_the_address_that_was_reached_last() {
    let rule = |name: &str, network: &str| crate::access::policy::Rule {
        name: Name::parse(name).unwrap(),
        action: crate::access::policy::Action::Admit,
        matchers: crate::access::policy::Matchers {
            networks: Some(crate::access::policy::Networks::parse([network]).unwrap()),
            ..Default::default()
        },
        upgrade: None,
        tunnel: None,
        asks: false,
        via: None,
    };
    let rules = vec![rule("one", "10.1.0.0/16"), rule("two", "10.2.0.0/16")];
    let rules = Rules::new(rules, Decision::Deny, &Groups::default()).unwrap();
    let gate = gatekeeper(&["ann"], &Policy::new(Guard::default(), rules));
    let mut exchange = exchange(ANN);
    let admitted = gate.admit(&mut exchange).await.unwrap();
    let outcome = &mut exchange.outcome;
    let first = "10.1.0.1:443".parse().unwrap();
    let by = admitted.admit_address(first).unwrap();
    outcome.admit(&admitted, by, Some(first));
    for (address, expected) in [("10.1.0.1:443", "one"), ("10.2.0.1:443", "two")] {
        let address: std::net::SocketAddr = address.parse().unwrap();
        outcome.connected(address.into(), Some(&admitted));
        let by = outcome.decided_by.as_ref().unwrap();
        assert_eq!(by.to_string(), expected);
    }
}

/// One class for every request.
fn classes(requests: &str) -> Option<Arc<Classes>> {
    let rule = ClassRule {
        name: Name::parse_any("all").unwrap(),
        users: None,
        groups: None,
        roles: None,
        client_networks: None,
        per: Per::User,
        limits: ClassLimits {
            requests: Some(Pace::new(Rate::parse(requests).unwrap(), None)),
            ..ClassLimits::default()
        },
    };
    let classes = Classes::new(vec![rule], &Groups::default());
    Some(Arc::new(classes.unwrap()))
}

/// Without classes there is no allocation; with them, one for what the request has of its class.
#[tokio::test]
async fn a_known_user_is_admitted_without_allocations() {
    let policy = only("ann");
    let gate = gatekeeper(&["ann"], &policy);
    assert_eq!(ask(&gate, ANN).await, Ok("ann".to_owned()));
    let allocations = || {
        let mut exchange = exchange(ANN);
        let counted = measure(|| {
            let admitted = pin!(gate.admit(&mut exchange));
            let admitted = admitted.poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(admitted, Poll::Ready(Ok(_))));
        });
        counted.count_total
    };
    assert_eq!(allocations(), 0);
    let new = NewAccess {
        classes: classes("3/h"),
        ..new_access(users(&["ann"]), &policy)
    };
    gate.replace(new).unwrap();
    // The first one makes the member.
    allocations();
    assert_eq!(allocations(), 1);
}

#[tokio::test]
async fn a_request_over_a_limit_is_noted_with_its_class() {
    let policy = only("ann");
    let gate = gatekeeper(&["ann", "bob"], &policy);
    let replace = |classes| {
        let new = NewAccess {
            classes,
            ..new_access(users(&["ann", "bob"]), &policy)
        };
        gate.replace(new).unwrap();
    };
    replace(classes("1/h"));
    // What the policy denies takes nothing.
    assert_eq!(ask(&gate, BOB).await, Err(ErrorKind::Denied));
    assert_eq!(ask(&gate, ANN).await, Ok("ann".to_owned()));
    let mut exchange = exchange(ANN);
    let error = gate.admit(&mut exchange).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.word()),
        (ErrorKind::LimitReached, Some("all.requests"))
    );
    let record = exchange.record();
    assert_eq!(
        (record.class, record.limit),
        (Some("all"), Some("requests"))
    );
    replace(classes("1/h"));
    assert_eq!(ask(&gate, ANN).await, Err(ErrorKind::LimitReached));
    replace(None);
    assert_eq!(ask(&gate, ANN).await, Ok("ann".to_owned()));
}
