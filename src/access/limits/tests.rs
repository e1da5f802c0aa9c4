//! Classes: which one holds, what a member may have, how many members there are.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use allocation_counter::measure;

mod queue;

use super::members::Members;
use super::rate::Elapsed;
use super::*;
use crate::access::client::Client;
use crate::access::policy::{Moment, Networks, Scenario};

/// A class that matches every request.
fn class(name: &str) -> ClassRule {
    ClassRule {
        name: Name::parse_any(name).unwrap(),
        users: None,
        groups: None,
        roles: None,
        client_networks: None,
        per: Per::User,
        limits: ClassLimits::default(),
    }
}

fn names(names: &[&str]) -> Option<Vec<Box<str>>> {
    Some(names.iter().map(|name| Box::from(*name)).collect())
}

fn pace(text: &str, burst: u32) -> Option<Pace> {
    Some(Pace::new(Rate::parse(text).unwrap(), Some(burst)))
}

fn scenario(user: &str, target: &str) -> Scenario {
    let time = Moment::parse("2026-11-24T10:00:00Z").unwrap();
    Scenario::new(user, target, None, time).unwrap()
}

fn classes(rules: Vec<ClassRule>) -> Classes {
    let groups = Groups::parse("ci: ann bob\nops: bob\n").unwrap().open();
    Classes::new(rules, &groups).unwrap()
}

/// What a request gets where nothing waits.
fn admit(
    classes: &Classes,
    request: &Request<'_>,
    is_tunnel: bool,
) -> Option<Result<Ticket, Exceeded>> {
    let got = classes.admit(request, is_tunnel, None)?;
    Some(got.map_err(|refused| match refused {
        Refused::Over(exceeded) => exceeded,
        Refused::Ask(_) => panic!("there is no fleet"),
    }))
}

/// What a request of this user gets.
fn ask(classes: &Classes, user: &str, target: &str) -> Result<Ticket, Exceeded> {
    let scenario = scenario(user, target);
    let is_tunnel = scenario.request().role() == Role::Tunnel;
    admit(classes, &scenario.request(), is_tunnel).unwrap()
}

const URL: &str = "http://a.example/";
const TUNNEL: &str = "a.example:443";

fn over(got: Result<Ticket, Exceeded>) -> &'static str {
    got.unwrap_err().limit().as_str()
}

#[test]
fn the_first_class_that_matches_holds() {
    let classes = classes(vec![
        ClassRule {
            users: names(&["eve"]),
            groups: names(&["ops"]),
            roles: Some([Role::Tunnel].into_iter().collect()),
            ..class("first")
        },
        ClassRule {
            groups: names(&["ci"]),
            ..class("ci")
        },
        ClassRule {
            client_networks: Some(Networks::parse(["10.0.0.0/8"]).unwrap()),
            ..class("lan")
        },
        ClassRule {
            roles: Some([Role::Gateway, Role::Forward].into_iter().collect()),
            ..class("clear")
        },
    ]);
    for (user, target, client, groups, expected) in [
        ("eve", TUNNEL, "192.0.2.1", "", "first"),
        ("bob", TUNNEL, "192.0.2.1", "", "first"),
        ("bob", URL, "192.0.2.1", "", "ci"),
        ("ann", TUNNEL, "10.1.1.1", "", "ci"),
        ("zoe", TUNNEL, "192.0.2.1", "ops", "first"),
        ("zoe", URL, "192.0.2.1", "ops", "clear"),
        ("zoe", URL, "10.1.1.1", "", "lan"),
        ("zoe", TUNNEL, "::ffff:10.1.1.1", "", "lan"),
        ("zoe", "/status", "192.0.2.1", "none", "clear"),
        ("zoe", TUNNEL, "192.0.2.1", "", "no class"),
    ] {
        let mut scenario = scenario(user, target);
        scenario.client = client.parse::<IpAddr>().unwrap();
        scenario.groups = groups.split_whitespace().map(Box::from).collect();
        let found = classes.class_of(&scenario.request());
        let found = found.map_or("no class", |class| class.name());
        assert_eq!(found, expected, "{user} {target} {client} {groups}");
    }
}

#[test]
fn all_networks_are_no_condition() {
    let networks = |texts: &[&str]| ClassRule {
        client_networks: Some(Networks::parse(texts).unwrap()),
        ..class("wide")
    };
    for (texts, is_all) in [
        (&["0.0.0.0/0", "::/0"][..], true),
        (&["0.0.0.0/1", "128.0.0.0/1", "::/0"], true),
        (&["0.0.0.0/0"], false),
        // It has no addresses of IPv4.
        (&["::/0"], false),
        (&["0.0.0.0/0", "8000::/1"], false),
    ] {
        let read = Classes::new(vec![networks(texts), class("late")], &Groups::default());
        let errors = read.err().unwrap_or_default();
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let expected = "class 1: never holds: class wide before it matches every request";
        assert_eq!(errors, [expected][..usize::from(is_all)], "{texts:?}");
    }
}

#[test]
fn classes_that_can_never_hold_are_errors() {
    let groups = Groups::parse("ci: ann\n").unwrap();
    let rules = vec![
        ClassRule {
            groups: names(&["ci", "typo"]),
            ..class("ci")
        },
        class("all"),
        class("late"),
        ClassRule {
            users: names(&["eve"]),
            ..class("ci")
        },
    ];
    let errors = Classes::new(rules, &groups).unwrap_err();
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "class 0: no such group in the group file",
            "class 2: never holds: class all before it matches every request",
            "class 3: class 0 has the same name",
        ]
    );
    let many = |count| {
        let numbers = 0..count;
        let classes = numbers.map(|number| ClassRule {
            users: names(&["eve"]),
            ..class(&number.to_string())
        });
        Classes::new(classes.collect(), &groups)
    };
    assert_eq!(many(MAX_CLASSES).unwrap().iter().count(), MAX_CLASSES);
    let errors = many(MAX_CLASSES + 1).unwrap_err();
    assert_eq!(errors[0].problem, ClassProblem::TooMany);
}

#[test]
fn each_limit_is_for_each_member() {
    let classes = classes(vec![ClassRule {
        limits: ClassLimits {
            requests: pace("1/h", 4),
            concurrent_requests: Some(2),
            new_tunnels: pace("1/h", 2),
            tunnels: Some(1),
            ..ClassLimits::default()
        },
        ..class("all")
    }]);
    let held = [URL, URL].map(|url| ask(&classes, "ann", url).unwrap());
    assert_eq!(over(ask(&classes, "ann", URL)), "concurrent_requests");
    let tunnel = ask(&classes, "ann", TUNNEL).unwrap();
    assert_eq!(over(ask(&classes, "ann", TUNNEL)), "tunnels");
    drop((held, tunnel));
    drop(ask(&classes, "ann", TUNNEL).unwrap());
    // What was refused above has taken nothing: these four are the first.
    assert_eq!(over(ask(&classes, "ann", TUNNEL)), "new_tunnels");
    assert_eq!(over(ask(&classes, "ann", URL)), "requests");
    // Another member has its own.
    drop(ask(&classes, "bob", TUNNEL).unwrap());

    let class = classes.iter().next().unwrap();
    let tally = class.tally();
    let counted = [
        tally.admitted(),
        tally.limited(),
        tally.requests(),
        tally.tunnels(),
    ];
    assert_eq!((counted, class.count_members()), ([5, 4, 0, 0], 2));
}

/// A refusal by a later limit gives back what an earlier one gave.
#[test]
fn a_refused_tunnel_takes_nothing() {
    let classes = classes(vec![ClassRule {
        limits: ClassLimits {
            requests: pace("50/s", 1),
            new_tunnels: pace("1/h", 2),
            tunnels: Some(1),
            ..ClassLimits::default()
        },
        ..class("all")
    }]);
    drop(ask(&classes, "ann", TUNNEL).unwrap());
    assert_eq!(over(ask(&classes, "ann", TUNNEL)), "requests");
    // Neither a place nor one of the two new tunnels is lost.
    let begun = Instant::now();
    loop {
        match ask(&classes, "ann", TUNNEL) {
            Ok(_) => break,
            Err(exceeded) => assert_eq!(exceeded.limit().as_str(), "requests"),
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
}

#[test]
fn members_are_users_networks_hosts_or_the_class() {
    let with = |per| {
        let limits = ClassLimits {
            requests: pace("1/h", 1),
            ..ClassLimits::default()
        };
        classes(vec![ClassRule {
            per,
            limits,
            ..class("all")
        }])
    };
    // Which of them comes first to a member.
    let requests = [
        ("ann", "192.0.2.1"),
        ("ann", "192.0.2.2"),
        ("bob", "192.0.2.2"),
        ("bob", "2001:db8::1"),
        ("eve", "2001:db8::2"),
        ("eve", "2001:db8:0:1::2"),
    ];
    for (per, expected) in [
        (Per::User, [true, false, true, false, true, false]),
        (Per::ClientNetwork, [true, true, false, true, false, true]),
        (Per::Class, [true, false, false, false, false, false]),
    ] {
        let classes = with(per);
        let got = requests.map(|(user, client)| {
            let mut scenario = scenario(user, URL);
            scenario.client = client.parse().unwrap();
            admit(&classes, &scenario.request(), false).unwrap().is_ok()
        });
        assert_eq!(got, expected, "{per:?}");
    }
    let classes = with(Per::Host);
    for (target, is_first) in [
        ("http://a.example/", true),
        ("https://A.example:8443/b", false),
        ("a.example:443", false),
        ("b.a.example:443", true),
        ("192.0.2.1:443", true),
        ("http://192.0.2.1/", false),
        ("[2001:db8::1]:443", true),
        ("[2001:db8::2]:443", true),
        ("/", true),
        ("/b", false),
    ] {
        let got = ask(&classes, "ann", target);
        assert_eq!(got.is_ok(), is_first, "{target}");
        assert!(ask(&classes, "bob", target).is_err(), "{target}");
    }
}

#[test]
fn a_reload_keeps_members_of_classes_with_the_same_limits() {
    let rule = |name, tunnels| ClassRule {
        users: names(&[name]),
        limits: ClassLimits {
            requests: pace("1/h", 1),
            tunnels: Some(tunnels),
            ..ClassLimits::default()
        },
        ..class(name)
    };
    let former = classes(vec![rule("same", 1), rule("other", 1), rule("gone", 1)]);
    let held = ["same", "other", "gone"].map(|user| ask(&former, user, TUNNEL).unwrap());
    let next = classes(vec![class("new")]);
    assert_eq!(next.succeeding(&former).iter().count(), 1);
    let next = classes(vec![rule("other", 2), rule("same", 1)]).succeeding(&former);
    assert_eq!(over(ask(&next, "same", TUNNEL)), "tunnels");
    drop(ask(&next, "other", TUNNEL).unwrap());
    let counted = |name| {
        let class = next.iter().find(|class| class.name() == name).unwrap();
        let tally = class.tally();
        [tally.admitted(), tally.limited(), tally.tunnels()]
    };
    assert_eq!((counted("same"), counted("other")), ([1, 1, 1], [2, 0, 1]));
    drop(held);
    assert_eq!(over(ask(&next, "same", TUNNEL)), "requests");
    assert_eq!((counted("same"), counted("other")), ([1, 2, 0], [2, 0, 0]));
}

/// Asks for each user with a number below `count`, and counts those that are refused.
fn ask_for_users(classes: &Classes, count: u32) -> usize {
    let scenario = scenario("u", URL);
    let mut name = String::with_capacity(16);
    let mut refused = 0;
    for number in 0..count {
        name.clear();
        write!(name, "{number}").unwrap();
        let mut request = scenario.request();
        request.user = &name;
        refused += usize::from(admit(classes, &request, false).unwrap().is_err());
    }
    refused
}

/// A class for all with a rate and one request at once.
fn one_at_once(requests: Option<Pace>) -> Classes {
    let limits = ClassLimits {
        requests,
        concurrent_requests: Some(1),
        ..ClassLimits::default()
    };
    classes(vec![ClassRule {
        limits,
        ..class("all")
    }])
}

/// The table never has more members than it may, and those with something at once are never forgotten.
#[test]
fn many_users_take_a_few_megabytes() {
    // One in an hour: a member is remembered for that long.
    let classes = one_at_once(pace("1/h", 1));
    let ticket = ask(&classes, "held", URL).unwrap();
    let mut refused = 0;
    let counted = measure(|| refused = ask_for_users(&classes, 200_000));
    let class = classes.iter().next().unwrap();
    assert_eq!(class.count_members(), Members::MAX);
    // All beyond share one member, so that they cannot evade the limit.
    assert_eq!(refused, 200_000 - Members::MAX);
    let bytes = counted.bytes_current;
    assert!((1 << 20..8 << 20).contains(&bytes), "{counted:?}");
    assert_eq!(over(ask(&classes, "held", URL)), "concurrent_requests");
    drop(ticket);
    assert_eq!(over(ask(&classes, "held", URL)), "requests");
}

/// Members of which there is nothing to know make room, and no others.
#[test]
fn members_at_rest_are_forgotten() {
    let limits = ClassLimits {
        requests: pace("1/m", 2),
        ..ClassLimits::default()
    };
    let members = Members::new(Per::User, &limits, None);
    let get = |name: &str, now| {
        members.get(
            |_| Client::of_user(name),
            |_| quota::Member::Others,
            Per::User,
            &limits,
            now,
        )
    };
    let now = Elapsed::now();
    let held = get("held", now);
    let mut name = String::new();
    for number in 0..100_000 {
        name.clear();
        write!(name, "{number}").unwrap();
        let member = get(&name, now);
        member
            .requests
            .take(limits.requests.as_ref().unwrap(), now)
            .ok();
    }
    assert_eq!(members.len(), Members::MAX);
    for (seconds, has_room) in [(0, false), (59, false), (61, true)] {
        let now = now.after(Duration::from_secs(seconds));
        let [one, other] = ["one", "other"].map(|name| get(name, now));
        // Without room, they are the same member.
        assert_eq!(!Arc::ptr_eq(&one, &other), has_room, "{seconds}");
        assert_eq!(members.len() < Members::MAX, has_room);
        assert!(Arc::ptr_eq(&held, &get("held", now)));
    }
}

#[test]
fn a_member_that_is_known_is_admitted_without_an_allocation() {
    let classes = classes(vec![ClassRule {
        groups: names(&["ci"]),
        limits: ClassLimits {
            requests: pace("1000000/s", 1_000_000),
            concurrent_requests: Some(1),
            ..ClassLimits::default()
        },
        ..class("ci")
    }]);
    let [known, stranger] = ["ann", "zoe"].map(|user| scenario(user, URL));
    drop(admit(&classes, &known.request(), false).unwrap());
    let counted = measure(|| {
        assert!(admit(&classes, &known.request(), false).unwrap().is_ok());
        assert!(admit(&classes, &stranger.request(), false).is_none());
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// The processor time of this thread: other programs do not count.
pub(super) fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.try_into().unwrap()
}
