//! The evaluator agrees with a second one that is slow and obvious.

use super::super::special::special_purpose;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::rule_text::{groups, policy, scenario};
use super::{domains, networks};
use crate::access::policy::*;

pub(super) const USERS: &[&str] = &["alice", "bob", "carol", "nobody"];
pub(super) const HOSTS: &[&str] = &["a.example", "b.a.example", "example", "a.test"];
const DOMAINS: &[&str] = &["a.example", ".a.example", ".example", ".test"];
const NETWORKS: &[&str] = &[
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.1.1/32",
    "1.0.0.0/8",
    "64:ff9b::/96",
];
pub(super) const ADDRESSES: &[&str] = &[
    "10.0.0.1",
    "10.1.0.1",
    "10.1.1.1",
    "1.1.1.1",
    "8.8.8.8",
    "127.0.0.1",
    "::ffff:10.1.1.1",
    "64:ff9b::10.1.1.1",
    "64:ff9b::1.1.1.1",
    "2600::1",
];
const PORTS: &[&str] = &["22", "443", "80-90"];
/// Whether an expression is true; none: it has no value.
type Truth = fn(&Scenario) -> Option<bool>;

const EXPRESSIONS: &[(&str, Truth)] = &[
    ("request.port == 443", |scenario| {
        Some(port(scenario) == 443)
    }),
    ("user.groups[1] == \"ops\"", |scenario| {
        groups()
            .of_user(&scenario.user)
            .nth(1)
            .map(|group| group == "ops")
    }),
];

type Values = Option<Vec<&'static str>>;

/// A rule as a table, in which the slow evaluation looks things up as they are written.
#[derive(Clone, Debug)]
pub(super) struct Row {
    action: &'static str,
    users: Values,
    groups: Values,
    roles: Values,
    methods: Values,
    domains: Values,
    networks: Values,
    ports: Values,
    client: Values,
    hours: Values,
    when: Option<usize>,
}

fn values(from: &'static [&'static str]) -> impl Strategy<Value = Values> {
    prop_oneof![
        3 => Just(None),
        1 => subsequence(from.to_vec(), 1..=from.len().min(3)).prop_map(Some),
    ]
}

pub(super) fn row() -> impl Strategy<Value = Row> {
    let who = (values(USERS), values(&["ci", "ops", "empty"]));
    let what = (values(&["tunnel", "forward"]), values(&["GET", "CONNECT"]));
    let place = (values(DOMAINS), values(NETWORKS), values(PORTS));
    let rest = (
        values(&["192.168.1.0/24", "172.16.0.0/12"]),
        values(&["08:00-18:00", "18:00-08:00"]),
        prop::option::weighted(0.2, 0..EXPRESSIONS.len()),
    );
    let action = select(vec!["admit", "deny", "observe"]);
    (action, who, what, place, rest).prop_map(|(action, who, what, place, rest)| {
        let mut row = Row {
            action,
            users: who.0,
            groups: who.1,
            roles: what.0,
            methods: what.1,
            domains: place.0,
            networks: place.1,
            ports: place.2,
            client: rest.0,
            hours: rest.1.map(|mut hours| {
                hours.truncate(1);
                hours
            }),
            when: rest.2,
        };
        // A rule that nothing can match, or that everything does, is not let into a list.
        if row.methods.is_some() {
            row.roles = None;
        }
        if row.text(0).split(' ').count() == 2 {
            row.users = Some(vec!["carol"]);
        }
        row
    })
}

impl Row {
    pub(super) fn text(&self, index: usize) -> String {
        let mut text = format!("r{index} {}", self.action);
        for (key, values) in [
            ("users", &self.users),
            ("groups", &self.groups),
            ("roles", &self.roles),
            ("methods", &self.methods),
            ("domains", &self.domains),
            ("networks", &self.networks),
            ("ports", &self.ports),
            ("client_networks", &self.client),
            ("time", &self.hours),
        ] {
            if let Some(values) = values {
                text += &format!(" {key}={}", values.join(","));
            }
        }
        if let Some(when) = self.when {
            text += &format!(" when={}", EXPRESSIONS[when].0);
        }
        text
    }

    /// Whether it matches; `None`: its expression has no value, and everything else matches.
    fn matches(&self, scenario: &Scenario, ip: IpAddr) -> Option<bool> {
        let request = scenario.request();
        let host = &request.destination.authority().unwrap().host;
        let groups = groups();
        let any = |values: &Values, test: &dyn Fn(&str) -> bool| {
            values
                .as_ref()
                .is_none_or(|values| values.iter().any(|value| test(value)))
        };
        let in_network = |ip: IpAddr| move |net: &str| net.parse::<IpNet>().unwrap().contains(&ip);
        let user = self
            .users
            .as_ref()
            .is_some_and(|users| users.contains(&request.user));
        let group = self.groups.as_ref().is_some_and(|wanted| {
            groups
                .of_user(request.user)
                .any(|group| wanted.contains(&group))
        });
        let who = (self.users.is_none() && self.groups.is_none()) || user || group;
        let rest = any(&self.roles, &|role| role == request.role().as_str())
            && any(&self.methods, &|method| method.eq_ignore_ascii_case(request.method))
            && any(&self.domains, &|entry| host.name().is_some_and(|name| holds(entry, name)))
            && any(&self.networks, &in_network(ip))
            && any(&self.ports, &|range| {
                let (from, to) = range.split_once('-').unwrap_or((range, range));
                (from.parse().unwrap()..=to.parse().unwrap()).contains(&port(scenario))
            })
            && any(&self.client, &in_network(request.client))
            // It is noon.
            && any(&self.hours, &|hours| hours == "08:00-18:00");
        if !who || !rest {
            return Some(false);
        }
        match self.when {
            None => Some(true),
            Some(when) => EXPRESSIONS[when].1(scenario),
        }
    }
}

fn port(scenario: &Scenario) -> u16 {
    scenario.request().destination.authority().unwrap().port
}

fn holds(entry: &str, name: &str) -> bool {
    match entry.strip_prefix('.') {
        Some(suffix) => name == suffix || name.ends_with(entry),
        None => name == entry,
    }
}

/// The guard as a table.
#[derive(Clone, Debug)]
pub(super) struct Walls {
    pub(super) allow_networks: Vec<&'static str>,
    pub(super) deny_networks: Vec<&'static str>,
    pub(super) allow_domains: Vec<&'static str>,
    pub(super) deny_domains: Vec<&'static str>,
}

pub(super) fn walls() -> impl Strategy<Value = Walls> {
    let some = |from: &'static [&'static str]| {
        prop_oneof![
            2 => Just(Vec::new()),
            1 => subsequence(from.to_vec(), 0..2),
        ]
    };
    (some(NETWORKS), some(NETWORKS), some(DOMAINS), some(DOMAINS)).prop_map(
        |(allow_networks, deny_networks, allow_domains, deny_domains)| Walls {
            allow_networks,
            deny_networks,
            allow_domains,
            deny_domains,
        },
    )
}

fn longest(nets: &[&str], ip: IpAddr) -> Option<IpNet> {
    let nets = nets.iter().map(|net| net.parse::<IpNet>().unwrap());
    nets.filter(|net| net.contains(&ip))
        .max_by_key(IpNet::prefix_len)
}

const OWN: &str = "10.1.1.1:443";

/// What decides about one address, from the description.
fn slow_one(
    walls: &Walls,
    rows: &[Row],
    default: Decision,
    scenario: &Scenario,
    ip: IpAddr,
) -> Result<String, String> {
    let request = scenario.request();
    let authority = request.destination.authority().unwrap();
    if let Some(name) = authority.host.name() {
        if let Some(entry) = walls.deny_domains.iter().find(|entry| holds(entry, name)) {
            return Err(format!("deny_domains:{entry}"));
        }
        if !walls.allow_domains.is_empty()
            && !walls.allow_domains.iter().any(|entry| holds(entry, name))
        {
            return Err("allow_domains".to_owned());
        }
    } else if !walls.allow_domains.is_empty()
        && longest(
            &walls.allow_networks,
            authority.host.ip().unwrap().to_canonical(),
        )
        .is_none()
    {
        return Err("allow_domains".to_owned());
    }
    let decides = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.action != "observe")
        .find(|(_, row)| row.matches(scenario, ip) != Some(false));
    let admits = match decides {
        Some((_, row)) => row.action == "admit" && row.matches(scenario, ip) == Some(true),
        None => default == Decision::Admit,
    };
    let name = decides.map_or("default".to_owned(), |(index, _)| format!("r{index}"));
    let row = decides.map(|(_, row)| row);
    let opened = row
        .filter(|_| admits)
        .and_then(|row| longest(row.networks.as_ref()?, ip));
    let allowed = longest(&walls.allow_networks, ip);
    let host = |net: Option<IpNet>| net.is_some_and(|net| net.prefix_len() == net.max_prefix_len());
    if OWN == format!("{ip}:{}", authority.port) && !host(allowed) {
        return Err("own_listener".to_owned());
    }
    if let Some(denied) = longest(&walls.deny_networks, ip)
        && allowed.is_none_or(|allowed| allowed.prefix_len() <= denied.prefix_len())
    {
        return Err(format!("deny_networks:{denied}"));
    }
    if !admits {
        return Err(name);
    }
    if request.role() == Role::Tunnel
        && authority.port != 443
        && row.is_none_or(|row| row.ports.is_none())
    {
        return Err("connect_ports".to_owned());
    }
    if opened.is_some() {
        return Ok(name);
    }
    if let Some(net) = allowed {
        return Ok(if name == "default" {
            format!("allow_networks:{net}")
        } else {
            name
        });
    }
    match special_purpose(ip) {
        // The embedded address was evaluated before.
        Some(block) if ip.is_ipv4() => Err(format!("special_purpose:{}", block.name)),
        _ => Ok(name),
    }
}

fn slow(
    walls: &Walls,
    rows: &[Row],
    default: Decision,
    scenario: &Scenario,
    ip: IpAddr,
) -> Result<String, String> {
    let ip = ip.to_canonical();
    // NAT64 is the only one of the forms among the addresses.
    if let IpAddr::V6(outer) = ip
        && let [0x64, 0xff9b, .., high, low] = outer.segments()
    {
        let inner = std::net::Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
        slow_one(walls, rows, default, scenario, IpAddr::V4(inner))?;
    }
    slow_one(walls, rows, default, scenario, ip)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn fast_and_slow_agree(
        rows in prop::collection::vec(row(), 0..6),
        walls in walls(),
        deny_by_default: bool,
        user in select(USERS),
        host in select(HOSTS),
        literal in prop::option::weighted(0.2, select(ADDRESSES)),
        port in select(vec!["22", "443", "85"]),
        method in select(vec!["CONNECT", "GET", "POST"]),
        resolve in subsequence(ADDRESSES.to_vec(), 1..4),
    ) {
        let default = if deny_by_default { Decision::Deny } else { Decision::Admit };
        let lines: Vec<String> = rows.iter().enumerate().map(|(index, row)| row.text(index)).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let guard = Guard {
            allow_networks: networks(&walls.allow_networks),
            deny_networks: networks(&walls.deny_networks),
            allow_domains: domains(&walls.allow_domains),
            deny_domains: domains(&walls.deny_domains),
            own_listeners: vec![OWN.parse().unwrap()],
            ..Guard::default()
        };
        let policy = policy(guard, default, &lines);
        let host = match literal {
            Some(ip) if ip.contains(':') => format!("[{ip}]"),
            Some(ip) => ip.to_owned(),
            None => host.to_owned(),
        };
        let target = match method {
            "CONNECT" => format!("{host}:{port}"),
            _ => format!("http://{host}:{port}/"),
        };
        let scenario = scenario(&format!("{user} {method} {target}"), &resolve);
        let request = scenario.request();
        let admission = policy.admit_request(&request);
        let authority = request.destination.authority().unwrap();
        let addresses = authority.host.ip().map_or(scenario.resolve.clone(), |ip| vec![ip]);
        for ip in addresses {
            let slow = slow(&walls, &rows, default, &scenario, ip);
            match &admission {
                // Whatever is denied at once would be denied for every address.
                Err(denied) => prop_assert!(slow.is_err(), "{lines:#?} {slow:?} {denied}"),
                Ok(admission) => {
                    let fast = admission.admit_address(SocketAddr::new(ip, authority.port));
                    let fast = fast.map(|by| by.to_string()).map_err(|denied| denied.by.to_string());
                    prop_assert_eq!(&fast, &slow, "{:#?} {}", lines, ip);
                    let observed: Vec<String> =
                        admission.observed(Some(ip)).map(ToString::to_string).collect();
                    let before = |index: &usize| match &slow {
                        Ok(name) => name.strip_prefix('r').is_none_or(|it| *index < it.parse().unwrap()),
                        Err(_) => true,
                    };
                    if slow.is_ok() && ip.to_canonical().is_ipv4() {
                        let plain: Vec<String> = rows.iter().enumerate()
                            .filter(|(index, row)| before(index) && row.action == "observe"
                                && row.matches(&scenario, ip.to_canonical()) != Some(false))
                            .map(|(index, _)| format!("r{index}"))
                            .collect();
                        prop_assert_eq!(observed, plain, "{:#?} {}", lines, ip);
                    }
                }
            }
            let explained = policy.explain(&scenario);
            prop_assert_eq!(explained.decision == ExplainedDecision::Deny, explained.reason.is_some());
        }
    }
}
