//! Instances that share limits, with a store of a few numbers that does what the script does.

use std::collections::HashMap;
use std::sync::Arc;

use allocation_counter::measure;
use proptest::prelude::*;

use super::*;
use crate::access::limits::tests::processor_time;
use crate::access::limits::{ClassLimits, ClassRule, Classes, Pace, Per, Rate, Refused, Ticket};
use crate::access::policy::{Groups, Moment, Name, Scenario};

const URL: &str = "http://a.example/";
const TUNNEL: &str = "a.example:443";

fn class(limits: ClassLimits) -> Classes {
    let rule = ClassRule {
        name: Name::parse_any("all").unwrap(),
        users: None,
        groups: None,
        roles: None,
        client_networks: None,
        per: Per::User,
        limits,
    };
    let groups = Groups::parse("ci: ann\n").unwrap().open();
    Classes::new(vec![rule], &groups).unwrap()
}

fn scenario(user: &str, target: &str) -> Scenario {
    let time = Moment::parse("2026-11-24T10:00:00Z").unwrap();
    Scenario::new(user, target, None, time).unwrap()
}

/// One instance.
struct Instance {
    fleet: Arc<Fleet>,
    classes: Classes,
    buffer: Vec<Arc<Member>>,
    open: Vec<Ticket>,
    kept: Option<Arc<Member>>,
}

/// The places that each instance has, and what was admitted of a rate.
#[derive(Default)]
struct Store {
    places: HashMap<usize, u32>,
    taken: i64,
}

impl Instance {
    fn new(limits: ClassLimits, count: u32) -> Instance {
        let fleet = Arc::new(Fleet::new());
        fleet.set(true, count);
        Instance {
            classes: class(limits).shared_by(&fleet),
            fleet,
            buffer: Vec::new(),
            open: Vec::new(),
            kept: None,
        }
    }

    fn try_admit(&self, target: &str, pending: Option<Pending>) -> Result<Ticket, Refused> {
        let scenario = scenario("ann", target);
        let is_tunnel = target == TUNNEL;
        let got = self.classes.admit(&scenario.request(), is_tunnel, pending);
        got.unwrap()
    }

    /// As a request does that asks when it has to.
    fn admit(&mut self, target: &str, store: &mut Store, me: usize) -> bool {
        let mut pending = None;
        loop {
            match self.try_admit(target, pending) {
                Ok(ticket) => {
                    self.open.push(ticket);
                    return true;
                }
                Err(Refused::Over(_)) => return false,
                Err(Refused::Ask(asked)) => {
                    self.sync(store, me);
                    pending = Some(asked);
                }
            }
        }
    }

    fn sync(&mut self, store: &mut Store, me: usize) {
        let mut members = Vec::new();
        self.fleet
            .take_urgent(&mut self.buffer, |member| members.push(member));
        self.fleet.take_changed(&mut self.buffer, |member| {
            members.push(member);
        });
        let kept = self.kept.clone();
        members.extend(kept.filter(|member| member.enter_list()));
        let count = self.fleet.instances().unwrap();
        let mut asks = Vec::new();
        for member in members {
            if !member.unlist() {
                continue;
            }
            member.asks(count, |ask| asks.push((Arc::clone(&member), ask)));
            self.kept = Some(member);
        }
        // In one call: all is asked before the first answer.
        for (member, ask) in asks {
            let answer = store.answer(ask.what, me);
            member.answered(&ask, answer, count);
        }
    }
}

impl Store {
    fn answer(&mut self, what: What, me: usize) -> Answer {
        match what {
            What::Places { open, wanted, most } => {
                let others = self.places.iter().filter(|(it, _)| **it != me);
                let others: u32 = others.map(|(_, has)| has).sum();
                let has = wanted.min(most.saturating_sub(others)).max(open);
                self.places.insert(me, has);
                Answer::Places(has)
            }
            // Time stands still: what was taken once is not due again.
            What::Rate {
                taken,
                wanted,
                interval,
                burst,
                ..
            } => {
                self.taken += taken;
                let room = (i64::from(burst) - self.taken).clamp(0, i64::from(wanted));
                self.taken += room;
                Answer::Rate {
                    ahead: (self.taken as f64 * interval) as u64,
                    granted: u32::try_from(room).unwrap(),
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask,
    End,
    Sync,
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        5 => Just(Step::Ask),
        2 => Just(Step::End),
        2 => Just(Step::Sync),
    ];
    prop::collection::vec((0usize..3, step), 1..200)
}

proptest! {
    /// Whatever they do in whichever order, there are never more than the limit, and a request is refused only when the
    /// others have the rest.
    #[test]
    fn places_are_never_more_than_the_limit(most in 1u32..100, steps in steps()) {
        let limits = ClassLimits { tunnels: Some(most), ..ClassLimits::default() };
        let mut store = Store::default();
        let mut all = [(); 3].map(|()| Instance::new(limits, 3));
        for (at, step) in steps {
            match step {
                Step::Ask => {
                    let free = |store: &Store, me: usize, open: usize| {
                        let others = store.places.iter().filter(|(it, _)| **it != me);
                        let others: u32 = others.map(|(_, has)| has).sum();
                        most > others + u32::try_from(open).unwrap()
                    };
                    let had = free(&store, at, all[at].open.len());
                    let got = all[at].admit(TUNNEL, &mut store, at);
                    // An answer that there is nothing left counts for a moment.
                    prop_assert!(!got || had);
                }
                Step::End => drop(all[at].open.pop()),
                Step::Sync => all[at].sync(&mut store, at),
            }
            let open: usize = all.iter().map(|it| it.open.len()).sum();
            prop_assert!(open <= most as usize, "{} of {}", open, most);
        }
        // Nothing is lost: what all give back, one can have.
        for (at, instance) in all.iter_mut().enumerate() {
            instance.open.clear();
            instance.sync(&mut store, at);
            instance.sync(&mut store, at);
        }
        let held: u32 = store.places.values().sum();
        prop_assert_eq!(held, 0);
    }

    /// What is admitted of a burst is counted, and exceeds it by less than what the others admit at the same moment.
    #[test]
    fn a_burst_is_shared(burst in 1u32..60, steps in steps()) {
        let pace = Pace::new(Rate::parse("1/h").unwrap(), Some(burst));
        let limits = ClassLimits { requests: Some(pace), ..ClassLimits::default() };
        let mut store = Store::default();
        let mut all = [(); 3].map(|()| Instance::new(limits, 3));
        let mut admitted = 0;
        for (at, step) in steps {
            match step {
                Step::Ask => admitted += i64::from(all[at].admit(URL, &mut store, at)),
                Step::End => drop(all[at].open.pop()),
                Step::Sync => all[at].sync(&mut store, at),
            }
        }
        for (at, instance) in all.iter_mut().enumerate() {
            instance.sync(&mut store, at);
        }
        prop_assert_eq!(store.taken, admitted);
        // Each has a third of it at first, and one at least.
        let most = i64::from(burst + 2 * (burst / 3).max(1));
        prop_assert!(admitted <= most, "{} of {}", admitted, burst);
    }
}

#[test]
fn a_request_that_gives_up_is_not_asked_for() {
    let limits = ClassLimits {
        tunnels: Some(3),
        ..ClassLimits::default()
    };
    let mut instance = Instance::new(limits, 2);
    let mut store = Store::default();
    let Err(Refused::Ask(pending)) = instance.try_admit(TUNNEL, None) else {
        panic!("the first one has to ask");
    };
    drop(pending);
    instance.sync(&mut store, 0);
    assert_eq!(store.places[&0], 0);
    // The next one asks anew.
    assert!(instance.admit(TUNNEL, &mut store, 0));
    assert_eq!(store.places[&0], 1);
}

fn burst_of(burst: u32) -> ClassLimits {
    ClassLimits {
        requests: Some(Pace::new(Rate::parse("1/h").unwrap(), Some(burst))),
        ..ClassLimits::default()
    }
}

/// A member for which a request waits has changed as well, and is asked for once.
#[test]
fn one_instance_may_have_all_of_a_burst() {
    let mut instance = Instance::new(burst_of(30), 3);
    let mut store = Store::default();
    let admitted = (0..40)
        .filter(|_| instance.admit(URL, &mut store, 0))
        .count();
    assert_eq!(admitted, 30);
    assert_eq!(store.taken, 30);
}

/// What the store has counted for a request that gave up is there for the next one, also when nothing else is left.
#[test]
fn what_a_request_that_gave_up_was_granted_is_not_lost() {
    let mut instance = Instance::new(burst_of(3), 3);
    let mut store = Store::default();
    assert!(instance.admit(URL, &mut store, 0));
    assert!(instance.admit(URL, &mut store, 0));
    let Err(Refused::Ask(pending)) = instance.try_admit(URL, None) else {
        panic!("it has to ask");
    };
    instance.sync(&mut store, 0);
    drop(pending);
    assert_eq!(store.taken, 3);
    assert!(instance.try_admit(URL, None).is_ok());
    assert!(matches!(
        instance.try_admit(URL, None),
        Err(Refused::Over(_))
    ));
}

#[test]
fn an_instance_alone_has_the_whole_limits() {
    let limits = ClassLimits {
        requests: Some(Pace::new(Rate::parse("1/h").unwrap(), Some(9))),
        tunnels: Some(2),
        ..ClassLimits::default()
    };
    let mut instance = Instance::new(limits, 3);
    let mut store = Store::default();
    assert!(instance.admit(TUNNEL, &mut store, 0));
    instance.fleet.set(false, 3);
    assert!(instance.admit(TUNNEL, &mut store, 0));
    assert!(!instance.admit(TUNNEL, &mut store, 0));
    // What is open is told when the store works again, also beyond what is left.
    store.places.insert(1, 2);
    instance.fleet.set(true, 3);
    instance.sync(&mut store, 0);
    assert_eq!(store.places[&0], 2);
    assert!(!instance.admit(TUNNEL, &mut store, 0));
}

#[test]
fn a_known_member_is_admitted_without_an_allocation() {
    let limits = ClassLimits {
        requests: Some(Pace::new(Rate::parse("1000000/s").unwrap(), None)),
        concurrent_requests: Some(1000),
        ..ClassLimits::default()
    };
    let mut instance = Instance::new(limits, 2);
    let mut store = Store::default();
    // The lists have grown once.
    for _ in 0..64 {
        assert!(instance.admit(URL, &mut store, 0));
        instance.open.clear();
        instance.sync(&mut store, 0);
    }
    assert!(instance.admit(URL, &mut store, 0));
    instance.sync(&mut store, 0);
    let scenario = scenario("ann", URL);
    let counted = measure(|| {
        let got = instance.classes.admit(&scenario.request(), false, None);
        assert!(got.unwrap().is_ok());
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// A full table: as much memory as documented, and locks that are held briefly while members make room for others.
#[test]
fn a_full_table_takes_some_megabytes() {
    let limits = ClassLimits {
        requests: Some(Pace::new(Rate::parse("1000/s").unwrap(), Some(1))),
        ..ClassLimits::default()
    };
    let instance = Instance::new(limits, 2);
    let scenario = scenario("u", URL);
    let ask = |number: u32| {
        let name = format!("user-{number}");
        let mut request = scenario.request();
        request.user = &name;
        let begun = processor_time();
        drop(instance.classes.admit(&request, false, None));
        processor_time() - begun
    };
    let memory = measure(|| {
        for number in 0..100_000 {
            ask(number);
        }
    });
    let class = instance.classes.by_name("all").unwrap();
    // Those that the store is to be told of are not forgotten.
    assert_eq!(class.count_members(), 65_536);
    let each = memory.bytes_current / 65_536;
    assert!((200..=300).contains(&each), "{each} bytes for each member");
    // All are told, and at rest: each that is new makes room for others, in its part of the table.
    let told = Answer::Rate {
        ahead: 0,
        granted: 0,
    };
    let fleet = &instance.fleet;
    fleet.take_changed(&mut Vec::new(), |member| {
        assert!(member.unlist());
        member.asks(2, |ask| member.answered(&ask, told, 2));
    });
    // Some names for each of the 64 parts, for longer than the pause between two searches of a part.
    let until = std::time::Instant::now() + std::time::Duration::from_millis(300);
    let in_time = |_: &u32| std::time::Instant::now() < until;
    let names = (200_000..200_400).cycle().take_while(in_time);
    let mut times: Vec<_> = names.map(ask).collect();
    times.sort();
    let class = instance.classes.by_name("all").unwrap();
    assert!(class.count_members() < 65_536);
    // Half of the searches. Without optimisation it takes several times as long as in the program.
    let median = times[times.len() - 32];
    assert!(median < std::time::Duration::from_millis(4), "{median:?}");
}
