//! The keys of one parent.

use std::time::Duration;

use super::super::EjectionRule;
use super::super::keys::form::Absent::{Is, Means, Required};
use super::super::keys::form::{Form, Nested, OneOf, Raw, Within};
use super::super::keys::keys;
use super::super::keys::settings;
#[cfg(test)]
use super::super::keys::shape::Shape;
use super::super::reader::{Item, Section};
use super::super::units::{hours, milliseconds, minutes, seconds};
use super::Choose;
#[cfg(test)]
use super::MAX_URLS;
use crate::http::target::Authority;

keys! {
    /// One parent.
    pub(in super::super) struct Keys<'d> {
        /// Where it is: `http://`, `https://` (TLS to the parent itself) or `socks5://`, with a port. Several stand for
        /// each other.
        urls: Option<Item<'d>> = Required, Raw => Shape::parent().list(MAX_URLS);
        /// Who Tollgate is for the parent; with `password`. What clients send is never passed on.
        user: Option<Item<'d>> = Means("no credentials"), Raw => Shape::text("a name without a colon");
        /// The name of the secret that is the password.
        password: Option<Item<'d>> = Means("no credentials"), Raw => Shape::text("the name of a secret");
        /// Which URL takes a request: the first that is up, one after the other, the one with the fewest requests, or for
        /// one user always the same.
        choose: Choose = Choose::Failover, OneOf(&[
            ("failover", Choose::Failover),
            ("round_robin", Choose::RoundRobin),
            ("least", Choose::Least),
            ("hash_user", Choose::HashUser),
        ]);
        /// What the parent is told of a target that is a name: the address that the policy has admitted, or the name,
        /// which it then resolves itself. With `client`, no rule and no part of the guard sees an address.
        names: bool = false, OneOf(&[("resolved", false), ("client", true)]);
        /// What becomes of a request that no URL can take, since all are down: it fails (`none`), goes to its target
        /// itself (`direct`), or through another parent. What a parent refuses never goes another way.
        fallback: Option<Item<'d>> = Is("none"), Raw => Shape::text("`none`, `direct` or the name of a parent");
        /// The limit of concurrent requests and tunnels through one URL, of which one client has three quarters at most.
        max_connections: usize = 1024, Within(1..=65_536);
        /// How long a request waits for its turn. Then 503.
        queue_timeout: Duration = seconds(5), Within(milliseconds(1)..=minutes(10));
        /// How long a parent may take to open a tunnel, once it is connected.
        timeout: Duration = seconds(15), Within(milliseconds(10)..=minutes(10));
        /// How URLs that are down are found.
        health: ParentHealth = ParentHealth::default(), Nested;
        /// When requests take a URL out by themselves: it cannot be connected to, is silent, or does not answer properly.
        ejection: EjectionRule = EjectionRule::default(), Nested;
    }
}

impl<'d> Keys<'d> {
    pub(super) fn read(section: &mut Section<'d>) -> Keys<'d> {
        Keys::take(section)
    }
}

settings! {
    /// How URLs that are down are found: by connecting to them, or by a tunnel through them.
    pub struct ParentHealth {
        /// From one check to the next.
        interval: Duration = seconds(10), Within(milliseconds(50)..=hours(1));
        /// How long a check may take.
        timeout: Duration = seconds(5), Within(milliseconds(10)..=minutes(1));
        /// So many checks in a row have to succeed before a URL that is down gets requests.
        rise: usize = 2, Within(1..=1000);
        /// So many checks in a row have to fail before a URL gets no requests.
        fall: usize = 3, Within(1..=1000);
        /// The target of a tunnel that is opened and closed, such as `example.com:443`; none to connect to the parent alone.
        connect: Option<Authority> = None, Target;
    }
}

/// `host:port`, or `none`.
struct Target;

impl Form<Option<Authority>> for Target {
    fn read(&self, item: &Item<'_>) -> Option<Option<Authority>> {
        let text = item.text()?;
        if text == "none" {
            return Some(None);
        }
        let target = Authority::parse(text.as_bytes()).ok();
        if target.is_none() {
            item.report("not a target", "write host:port, or none");
        }
        target.map(Some)
    }

    fn show(&self, value: &Option<Authority>) -> String {
        value
            .as_ref()
            .map_or_else(|| "none".to_owned(), ToString::to_string)
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        Shape::Text("`host:port`, or `none`", None)
    }
}
