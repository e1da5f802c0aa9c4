//! Which pool takes a request.

use super::PoolNumber;
use crate::access::policy::{Domains, NameKey};
use crate::http::error::{ErrorKind, RequestError};
use crate::http::path::{Prefix, ReadPath};
use crate::http::target::{Authority, Host};

/// Where a request to the gateway goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// To the embedded page.
    #[default]
    Page,
    /// To this pool.
    Pool(PoolNumber),
    /// Nowhere: its host is none, or its path can be read in ways that lead to different pools.
    Ambiguous,
}

impl Choice {
    /// The pool.
    ///
    /// # Errors
    /// There is none for the request.
    pub fn pool(self) -> Result<PoolNumber, RequestError> {
        match self {
            Self::Pool(number) => Ok(number),
            Self::Page => Err(ErrorKind::Internal.because("the gateway has no upstreams")),
            Self::Ambiguous => Err(ErrorKind::BadRequest.because(
                "the host or the path can be read in more than one way, which lead to different pools",
            )),
        }
    }
}

/// When a pool takes a request: each condition that is there has to hold.
pub(super) struct Conditions {
    pub(super) hosts: Option<Domains>,
    pub(super) path: Option<Prefix>,
}

impl Conditions {
    fn hold(&self, host: Option<&NameKey<'_>>, path: &ReadPath<'_>) -> bool {
        self.hosts
            .as_ref()
            .is_none_or(|hosts| host.is_some_and(|host| hosts.matching(host).is_some()))
            && self.path.as_ref().is_none_or(|prefix| prefix.holds(path))
    }
}

/// The first of `pools` whose conditions hold, else `default`. `host` is the value of `Host`, `target` a request-target in
/// origin-form.
pub(super) fn choose(
    pools: &[Conditions],
    default: Option<PoolNumber>,
    host: Option<&[u8]>,
    target: &[u8],
) -> Choice {
    let has_hosts = pools.iter().any(|pool| pool.hosts.is_some());
    let host = host.filter(|host| has_hosts && !host.is_empty());
    let authority = host.map(|host| Authority::parse_with_default(host, Some(80)));
    // A server may find a host in what is none here: one without its port, or decoded.
    let Ok(authority) = authority.transpose() else {
        return Choice::Ambiguous;
    };
    let name = authority
        .as_ref()
        .and_then(|authority| match &authority.host {
            Host::Name(name) => Some(NameKey::new(name)),
            Host::Ip(_) => None,
        });
    let pick = |path: ReadPath<'_>| {
        let found = pools
            .iter()
            .position(|pool| pool.hold(name.as_ref(), &path));
        found.map(PoolNumber).or(default)
    };
    let mut picked = ReadPath::readings(target).map(pick);
    let first = picked.next().flatten();
    if picked.any(|other| other != first) {
        return Choice::Ambiguous;
    }
    first.map_or(Choice::Page, Choice::Pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pool_whose_conditions_hold() {
        let pool = |hosts: &[&str], path: &str| Conditions {
            hosts: (!hosts.is_empty()).then(|| Domains::parse(hosts).unwrap()),
            path: Prefix::parse(path),
        };
        let pools = [
            pool(&["api.test"], "/v1"),
            pool(&["api.test", ".apps.test"], ""),
            pool(&[], "/api/"),
        ];
        let default = PoolNumber(3);
        let choice = |host: Option<&str>, target: &str| {
            let host = host.map(str::as_bytes);
            choose(&pools, Some(default), host, target.as_bytes())
        };
        for (host, target, number) in [
            (Some("api.test"), "/v1/x", 0),
            (Some("API.test.:8080"), "/v1", 0),
            (Some("api.test"), "/", 1),
            (Some("api.test"), "/api/", 1),
            (Some("apps.test"), "/", 1),
            (Some("a.b.apps.test"), "/", 1),
            (Some("xapps.test"), "/", 3),
            (Some("other.test"), "/v1", 3),
            (Some("other.test"), "/api/x", 2),
            (Some("127.0.0.1"), "/api", 2),
            (Some(""), "/", 3),
            (None, "/api", 2),
            (None, "*", 3),
            (None, "/x/../api", 2),
        ] {
            let expected = Choice::Pool(PoolNumber(number));
            assert_eq!(choice(host, target), expected, "{host:?} {target}");
        }
        for host in ["not a host", "api.test:0", "%61pi.test"] {
            assert_eq!(choice(Some(host), "/"), Choice::Ambiguous, "{host}");
        }
        assert_eq!(choice(None, "/x/..%2fapi"), Choice::Ambiguous);
        // Every reading is the same pool's.
        let by_host = Choice::Pool(PoolNumber(1));
        assert_eq!(choice(Some("api.test"), "/x/..%2fapi"), by_host);
        assert_eq!(choose(&pools, None, None, b"/"), Choice::Page);
    }
}
