//! The evaluation of a request, in its two phases. There is one for serving, explaining and testing.

use std::cell::OnceCell;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use ipnet::IpNet;

use super::rules::{Class, RuleSet};
use super::trace::{Step, Trace};
use super::{
    Action, DecidedBy, Denied, EvaluationError, Facts, Matcher, NameKey, Policy, Refusal, Request,
    Rule, Verdict, special,
};
use crate::http::target::{Authority, Host};

/// A request with what is worked out once for all rules.
pub(super) struct Asked<'a> {
    request: &'a Request<'a>,
    authority: Option<&'a Authority>,
    key: Option<NameKey<'a>>,
    class: Option<&'a Class>,
    /// Made for the first expression, if there is one.
    words: OnceCell<Words<'a>>,
}

/// What only expressions want to have as text.
struct Words<'a> {
    method: String,
    host: String,
    groups: Vec<&'a str>,
}

/// What the first phase leaves to the second.
#[derive(Clone, Debug)]
pub(super) struct Course {
    /// The rule that decides for addresses in no pending rule's networks; none: the default.
    decides: Option<usize>,
    /// Rules before it that match as far as can be said without an address.
    pending: RuleSet,
    /// Rules before it that match and only observe.
    observed: RuleSet,
    /// Rules that deny because their expression has no value.
    failures: Vec<(usize, EvaluationError)>,
}

/// The rule that decides on an address, and the network by which it does.
#[derive(Clone, Copy, Debug)]
struct Deciding {
    rule: Option<usize>,
    network: Option<IpNet>,
}

enum Unmatched {
    By(Matcher),
    Failed(EvaluationError),
}

impl Policy {
    /// The first phase: all that can be said before an address is known.
    pub(super) fn decide<T: Trace>(
        &self,
        request: &Request<'_>,
        trace: &mut T,
    ) -> Result<Course, Denied> {
        let authority = request.destination.authority();
        let asked = Asked {
            request,
            authority,
            key: authority
                .and_then(|authority| authority.host.name())
                .map(NameKey::new),
            class: self.rules.class_of(request.user),
            words: OnceCell::new(),
        };
        if let Some(authority) = authority {
            self.guard.admit_host(&authority.host, asked.key.as_ref())?;
        }
        let course = self.walk(&asked, trace);

        let mut may_admit = self.admits(&course, course.decides);
        let mut opens_port = may_admit && self.opens_port(course.decides);
        for index in course.pending.iter() {
            if self.admits(&course, Some(index)) {
                may_admit = true;
                opens_port |= self.opens_port(Some(index));
            }
        }
        // Whoever names an address gets the answer of the rule that is about the address.
        let literal = authority.is_some_and(|authority| !authority.host.is_name());
        if literal && !course.pending.is_empty() {
            return Ok(course);
        }
        if !may_admit {
            return Err(self.denied_by(&course, course.decides));
        }
        if let Some(authority) = authority
            && !opens_port
        {
            self.guard.admit_port(request.role(), authority.port)?;
        }
        Ok(course)
    }

    /// The second phase, for one address and those that it carries.
    pub(super) fn judge<T: Trace>(
        &self,
        request: Place,
        course: &Course,
        address: SocketAddr,
        trace: &mut T,
    ) -> Result<DecidedBy, Denied> {
        let ip = address.ip().to_canonical();
        if let IpAddr::V6(outer) = ip {
            // What is carried goes first: `loopback` says more in a log than `6to4`.
            for inner in special::embedded(outer) {
                self.judge_one(request, course, IpAddr::V4(inner), address.port(), trace)?;
            }
        }
        self.judge_one(request, course, ip, address.port(), trace)
    }

    /// The observing rules that would have denied what was admitted, in their order.
    pub(super) fn observing<'a>(
        &'a self,
        course: &'a Course,
        ip: Option<IpAddr>,
    ) -> impl Iterator<Item = (usize, &'a Rule)> {
        let ip = ip.map(|ip| ip.to_canonical());
        let decides = match ip {
            Some(ip) => self.deciding(course, ip, &mut super::trace::Unwatched).rule,
            None => course.decides,
        };
        let holds = move |rule: &Rule| {
            let Some((networks, ip)) = rule.matchers.networks.as_ref().zip(ip) else {
                return false;
            };
            let inner = match ip {
                IpAddr::V4(_) => None,
                IpAddr::V6(ip) => Some(special::embedded(ip)),
            };
            let mut inner = inner.into_iter().flatten().map(IpAddr::V4);
            networks.matching(ip).is_some() || inner.any(|ip| networks.matching(ip).is_some())
        };
        self.rules
            .iter()
            .enumerate()
            .take_while(move |(index, _)| decides.is_none_or(|decides| *index < decides))
            .filter(move |(index, rule)| {
                course.observed.contains(*index)
                    || (rule.action == Action::Observe
                        && course.pending.contains(*index)
                        && holds(rule))
            })
    }

    /// Whether an address could still change who decides.
    pub(super) fn awaits_address(&self, course: &Course) -> Option<&Rule> {
        let mut pending = course
            .pending
            .iter()
            .filter_map(|index| self.rules.get(index));
        pending.find(|rule| rule.action != Action::Observe)
    }

    /// Who decides when no address is asked for.
    pub(super) fn decided_by(&self, course: &Course) -> DecidedBy {
        self.rules.name_of(course.decides)
    }

    fn walk<T: Trace>(&self, asked: &Asked<'_>, trace: &mut T) -> Course {
        let mut course = Course {
            decides: None,
            pending: RuleSet::default(),
            observed: RuleSet::default(),
            failures: Vec::new(),
        };
        let of_role = self.rules.of_role(asked.request.role());
        let about = match asked.class {
            Some(class) => of_role.and(&class.rules),
            None => RuleSet::default(),
        };
        // The rules that are not about the user or the role are not even looked at.
        let mut next = 0;
        for index in about.iter() {
            pass_over(next..index, of_role, trace);
            next = index + 1;
            match self.matches(index, asked) {
                Ok(()) => {}
                Err(Unmatched::By(matcher)) => {
                    trace.step(index, Step::Skipped(matcher));
                    continue;
                }
                Err(Unmatched::Failed(error)) => {
                    course.failures.push((index, error));
                    trace.step(index, Step::Failed(error));
                }
            }
            let Some(rule) = self.rules.get(index) else {
                continue;
            };
            if rule.matchers.networks.is_some() {
                course.pending.insert(index);
                trace.step(index, Step::Pending);
            } else if rule.action == Action::Observe {
                course.observed.insert(index);
                trace.step(index, Step::Observed);
            } else {
                course.decides = Some(index);
                trace.step(index, Step::Decides);
                return course;
            }
        }
        pass_over(next..self.rules.len(), of_role, trace);
        course
    }

    /// Asks the matchers of a rule that is about the user and the role, but for its networks, in the order of
    /// [`Matcher`].
    #[inline]
    fn matches(&self, index: usize, asked: &Asked<'_>) -> Result<(), Unmatched> {
        if self.rules.asks_first(index) {
            self.matches_first(index, asked)?;
        }
        if let Some(domains) = self.rules.domains_of(index) {
            let key = asked.key.as_ref();
            let matches = key.is_some_and(|key| domains.matching(key).is_some());
            ensure(Matcher::Domains, matches)?;
        }
        let Some(Rule { matchers, .. }) = self.rules.get(index) else {
            return Ok(());
        };
        if matchers.networks.is_some() {
            ensure(Matcher::Networks, asked.authority.is_some())?;
        }
        if let Some(schedule) = &matchers.time {
            ensure(Matcher::Time, schedule.holds(asked.request.time))?;
        }
        match &matchers.when {
            None => Ok(()),
            Some(when) => match when.matches(&asked.facts()) {
                Ok(matches) => ensure(Matcher::When, matches),
                Err(error) => Err(Unmatched::Failed(error)),
            },
        }
    }

    /// The matchers that cost less than a look at the domains.
    fn matches_first(&self, index: usize, asked: &Asked<'_>) -> Result<(), Unmatched> {
        let Some(Rule { matchers, .. }) = self.rules.get(index) else {
            return Ok(());
        };
        if let Some(ports) = &matchers.ports {
            let port = asked.authority.map(|authority| authority.port);
            let matches = port.is_some_and(|port| ports.contains(port));
            ensure(Matcher::Ports, matches)?;
        }
        if let Some(methods) = &matchers.methods {
            // In any case: to HTTP `post` is another method, to many an origin it is not,
            // and a deny must hold for both.
            let mut methods = methods.iter();
            let asked = asked.request.method;
            ensure(
                Matcher::Methods,
                methods.any(|method| method.eq_ignore_ascii_case(asked)),
            )?;
        }
        if let Some(networks) = &matchers.client_networks {
            let matches = networks.matching(asked.request.client).is_some();
            ensure(Matcher::ClientNetworks, matches)?;
        }
        Ok(())
    }

    /// In this order, the first that applies decides:
    /// 1. a listener of this program is denied, unless a host route in `allow_networks` names it;
    /// 2. `deny_networks` denies, unless `allow_networks` has a longer prefix;
    /// 3. the deciding rule denies; or the guard denies the port, unless the rule names ports;
    /// 4. the rule admits what it names by its networks;
    /// 5. `allow_networks` admits; a special-purpose address is denied; the rest is admitted.
    fn judge_one<T: Trace>(
        &self,
        place: Place,
        course: &Course,
        ip: IpAddr,
        port: u16,
        trace: &mut T,
    ) -> Result<DecidedBy, Denied> {
        let deciding = self.deciding(course, ip, trace);
        let admits = self.admits(course, deciding.rule);
        let opened = deciding.network.filter(|_| admits);
        let allowed = self.guard.allow_networks.matching(ip);

        let host_route = |net: IpNet| net.prefix_len() == net.max_prefix_len();
        if !allowed.is_some_and(host_route) && self.guard.is_own_listener(ip, port) {
            return Err(Denied::address(DecidedBy::OwnListener));
        }
        if let Some(denied) = self.guard.deny_networks.matching(ip)
            && allowed.is_none_or(|net| net.prefix_len() <= denied.prefix_len())
        {
            return Err(Denied::address(DecidedBy::DenyNetworks(denied)));
        }
        if !admits {
            return Err(self.denied_by(course, deciding.rule));
        }
        if !self.opens_port(deciding.rule) {
            self.guard.admit_port(place.role, place.port)?;
        }
        if opened.is_none() {
            if let Some(net) = allowed {
                // A rule that admits is who the operator looks for in the log.
                return Ok(match deciding.rule {
                    Some(_) => self.rules.name_of(deciding.rule),
                    None => DecidedBy::AllowNetworks(net),
                });
            }
            if let Some(block) = special::block_of(ip) {
                return Err(Denied::address(DecidedBy::SpecialPurpose(block)));
            }
        }
        Ok(self.rules.name_of(deciding.rule))
    }

    /// The first rule that is about this address.
    fn deciding<T: Trace>(&self, course: &Course, ip: IpAddr, trace: &mut T) -> Deciding {
        for index in course.pending.iter() {
            let Some(rule) = self.rules.get(index) else {
                continue;
            };
            let networks = rule.matchers.networks.as_ref();
            let Some(network) = networks.and_then(|networks| networks.matching(ip)) else {
                trace.step(index, Step::Skipped(Matcher::Networks));
                continue;
            };
            if rule.action == Action::Observe {
                trace.step(index, Step::Observed);
                continue;
            }
            trace.step(index, Step::Decides);
            return Deciding {
                rule: Some(index),
                network: Some(network),
            };
        }
        Deciding {
            rule: course.decides,
            network: None,
        }
    }

    fn admits(&self, course: &Course, index: Option<usize>) -> bool {
        match index {
            None => self.rules.default_verdict() == Verdict::Admit,
            Some(index) => {
                course.failure(index).is_none()
                    && self
                        .rules
                        .get(index)
                        .is_some_and(|rule| rule.action == Action::Admit)
            }
        }
    }

    /// Whether a rule names ports, which then need not be the guard's.
    fn opens_port(&self, index: Option<usize>) -> bool {
        index
            .and_then(|index| self.rules.get(index))
            .is_some_and(|rule| rule.matchers.ports.is_some())
    }

    fn denied_by(&self, course: &Course, index: Option<usize>) -> Denied {
        let by = self.rules.name_of(index);
        let Some((index, rule)) = index.and_then(|index| Some((index, self.rules.get(index)?)))
        else {
            return Denied::request(by);
        };
        let denied = if rule.matchers.networks.is_some() {
            Denied::address(by)
        } else {
            Denied::request(by)
        };
        Denied {
            refusal: match &rule.action {
                Action::Deny(refusal) => refusal.clone(),
                Action::Admit | Action::Observe => Refusal::default(),
            },
            failure: course.failure(index),
            ..denied
        }
    }
}

fn ensure(matcher: Matcher, matches: bool) -> Result<(), Unmatched> {
    if matches {
        Ok(())
    } else {
        Err(Unmatched::By(matcher))
    }
}

/// Tells of rules that are not about the role, or else not about the user.
#[inline]
fn pass_over<T: Trace>(rules: Range<usize>, of_role: &RuleSet, trace: &mut T) {
    for index in rules {
        let matcher = if of_role.contains(index) {
            Matcher::Users
        } else {
            Matcher::Roles
        };
        trace.step(index, Step::Skipped(matcher));
    }
}

/// What of a request the second phase needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) role: super::Role,
    /// As in the request; 0 for the gateway.
    pub(super) port: u16,
}

impl Place {
    pub(super) fn of(request: &Request<'_>) -> Place {
        let authority = request.destination.authority();
        Place {
            role: request.role(),
            port: authority.map_or(0, |authority| authority.port),
        }
    }
}

impl Course {
    fn failure(&self, index: usize) -> Option<EvaluationError> {
        let mut failures = self.failures.iter();
        failures
            .find(|(rule, _)| *rule == index)
            .map(|(_, error)| *error)
    }
}

impl Asked<'_> {
    fn facts(&self) -> Facts<'_> {
        let words = self.words.get_or_init(|| Words {
            method: self.request.method.to_ascii_uppercase(),
            host: match self.authority.map(|authority| &authority.host) {
                None => String::new(),
                Some(Host::Name(name)) => String::from(&**name),
                Some(Host::Ip(ip)) => ip.to_canonical().to_string(),
            },
            groups: self
                .class
                .into_iter()
                .flat_map(|class| class.groups.iter().map(AsRef::as_ref))
                .collect(),
        });
        Facts {
            role: self.request.role().as_str(),
            method: &words.method,
            host: &words.host,
            port: self.authority.map_or(0, |authority| authority.port),
            user: self.request.user,
            groups: &words.groups,
            client: self.request.client,
            time: self.request.time,
        }
    }
}
