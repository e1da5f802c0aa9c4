//! The table of routes: each path of the admin service with its methods, who may use it, and what serves it.
//!
//! From the table come the dispatch, the hint of a 404, `Allow`, and the test that holds docs/api/openapi.yaml against it.

use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::answer::Answer;
use super::door::Operator;
use super::{Admin, api, events, measures, page, quotas, reload};
use crate::access::client::Client;

/// What answers a request.
type Handler = for<'a> fn(Call<'a>) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// One line of the table.
pub(super) struct Route {
    pub(super) method: Verb,
    /// Segments between slashes; one in braces stands for any text.
    pub(super) path: &'static str,
    pub(super) guard: Guard,
    pub(super) effect: Effect,
    pub(super) handler: Handler,
}

/// The methods of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// And HEAD.
    Get,
    Post,
    Delete,
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Anyone.
    Open,
    /// Anyone by `public_metrics`, else users.
    Metrics,
    /// Users.
    Users,
    /// Users, where there is a page.
    Page,
}

/// What a route does to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: it is read.
    Reads,
    /// Nothing, and it is a POST.
    Asks,
    /// A change that does not need users: the files that are read again are the operator's.
    Reloads,
    /// A change that needs users.
    Changes,
}

/// A request that passed the door.
pub(super) struct Call<'a> {
    pub(super) admin: &'a Admin,
    pub(super) operator: &'a Operator,
    /// Who takes a share of what clients share.
    pub(super) client: Client,
    /// The text in the place of the braces, decoded.
    pub(super) parameter: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) fields: &'a HeaderMap,
    pub(super) body: Bytes,
}

/// A line of the table: `METHOD path, guard, effect => handler`.
macro_rules! routes {
    ($($method:ident $path:literal, $guard:ident, $effect:ident => $handler:path;)*) => {
        &[$(Route {
            method: Verb::$method,
            path: $path,
            guard: Guard::$guard,
            effect: Effect::$effect,
            handler: |call| Box::pin($handler(call)),
        },)*]
    };
}

pub(super) const ROUTES: &[Route] = routes! {
    // The page, and its files.
    Get "/", Page, Reads => page::page;
    Get "/assets/page.css", Page, Reads => page::style_sheet;
    Get "/assets/page.js", Page, Reads => page::module;
    Get "/assets/uplot.js", Page, Reads => page::charts;
    Get "/assets/icon.svg", Page, Reads => page::icon;

    Get "/healthz", Open, Reads => measures::health;
    Get "/metrics", Metrics, Reads => measures::metrics;
    Get "/stats", Users, Reads => measures::stats;
    Post "/reload", Users, Reloads => reload::answer::reload;
    Get "/quotas", Users, Reads => quotas::list;
    Post "/quotas/reset", Users, Changes => quotas::reset;
    Post "/quotas/grant", Users, Changes => quotas::grant;

    Get "/api/v1/status", Users, Reads => api::status::status;
    Get "/api/v1/history", Users, Reads => api::status::history;
    Get "/api/v1/tunnels", Users, Reads => api::lists::tunnels;
    Delete "/api/v1/tunnels/{id}", Users, Changes => api::lists::close_tunnel;
    Get "/api/v1/requests", Users, Reads => api::lists::requests;
    Get "/api/v1/users", Users, Reads => api::lists::users;
    Delete "/api/v1/users/{user}/tunnels", Users, Changes => api::lists::close_tunnels_of;
    Get "/api/v1/sites", Users, Reads => api::lists::sites;
    Get "/api/v1/denials", Users, Reads => api::lists::denials;
    Get "/api/v1/upstreams", Users, Reads => api::lists::upstreams;
    Get "/api/v1/limits", Users, Reads => api::lists::limits;
    Get "/api/v1/quotas", Users, Reads => quotas::list;
    Get "/api/v1/policy", Users, Reads => api::lists::policy;
    Get "/api/v1/config", Users, Reads => api::config::config;
    Get "/api/v1/events", Users, Reads => events::listen;
    Post "/api/v1/reload", Users, Reloads => reload::answer::reload;
    Post "/api/v1/drain", Users, Changes => api::process::drain;
    Post "/api/v1/log-level", Users, Changes => api::process::log_level;
    Post "/api/v1/explain", Users, Asks => api::explain::explain;
};

/// Where a request leads.
pub(super) enum Found<'a> {
    /// To a route, with the text in the place of its braces.
    Route(&'static Route, &'a str),
    /// To a path with other methods.
    Methods(String),
    /// Nowhere.
    Nothing,
}

impl Verb {
    /// As `Allow` names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    fn takes(self, method: &Method) -> bool {
        match self {
            Self::Get => method == Method::GET || method == Method::HEAD,
            Self::Post => method == Method::POST,
            Self::Delete => method == Method::DELETE,
        }
    }
}

impl Route {
    /// Whether a request needs the field that no page of another site can send. Programs that knew `/reload` before there
    /// was a field send none.
    pub(super) fn needs_field(effect: Effect, path: &str) -> bool {
        match effect {
            Effect::Reads => false,
            Effect::Reloads => Self::is_api(path),
            Effect::Asks | Effect::Changes => true,
        }
    }

    /// Whether it is a part of the API, whose errors are JSON.
    pub(super) fn is_api(path: &str) -> bool {
        path.starts_with("/api/")
    }

    /// The text in the place of the braces, if the path is one of this route.
    fn matches<'a>(&self, path: &'a str) -> Option<&'a str> {
        let mut parameter = "";
        let (mut own, mut given) = (self.path.split('/'), path.split('/'));
        loop {
            match (own.next(), given.next()) {
                (None, None) => return Some(parameter),
                (Some(own), Some(text)) if own.starts_with('{') && !text.is_empty() => {
                    parameter = text;
                }
                (Some(own), Some(text)) if own == text => {}
                _ => return None,
            }
        }
    }
}

/// Finds the route of a request.
pub(super) fn find<'a>(method: &Method, path: &'a str, has_page: bool) -> Found<'a> {
    let mut allowed: Vec<&str> = Vec::new();
    let served = ROUTES.iter();
    for route in served.filter(|route| has_page || route.guard != Guard::Page) {
        let Some(parameter) = route.matches(path) else {
            continue;
        };
        if route.method.takes(method) {
            return Found::Route(route, parameter);
        }
        allowed.push(route.method.name());
    }
    match allowed.is_empty() {
        true => Found::Nothing,
        false => Found::Methods(allowed.join(", ")),
    }
}

/// Where a request may lead, for one that leads nowhere.
pub(super) fn hint() -> String {
    let known = ROUTES.iter().filter(|route| route.guard != Guard::Page);
    let shown: Vec<String> = known
        .map(|route| match route.method {
            Verb::Get => route.path.to_owned(),
            method => format!("{} {}", method.name(), route.path),
        })
        .collect();
    format!("try {}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_one_route() {
        let found = |method: Method, path| match find(&method, path, true) {
            Found::Route(route, parameter) => format!("{} {parameter}", route.path),
            Found::Methods(allowed) => allowed,
            Found::Nothing => "nothing".to_owned(),
        };
        for (method, path, expected) in [
            (Method::GET, "/", "/ "),
            (Method::HEAD, "/metrics", "/metrics "),
            (Method::POST, "/metrics", "GET, HEAD"),
            (Method::GET, "/reload", "POST"),
            (Method::GET, "/metrics/", "nothing"),
            (Method::GET, "//metrics", "nothing"),
            (Method::GET, "", "nothing"),
            (Method::OPTIONS, "/api/v1/status", "GET, HEAD"),
            (Method::GET, "/api/v1", "nothing"),
            (Method::GET, "/api/v1/%73tatus", "nothing"),
        ] {
            assert_eq!(found(method, path), expected, "{path}");
        }
    }

    #[test]
    fn no_two_routes_take_the_same_request() {
        for (number, route) in ROUTES.iter().enumerate() {
            let same = ROUTES.iter().skip(number + 1).find(|other| {
                other.method == route.method
                    && (other.matches(route.path).is_some() || route.matches(other.path).is_some())
            });
            assert!(same.is_none(), "{}", route.path);
            assert!(
                route.method == Verb::Get || route.effect != Effect::Reads,
                "{}",
                route.path
            );
        }
    }

    #[test]
    fn the_hint_names_every_route() {
        let hint = hint();
        assert!(hint.starts_with("try /healthz, /metrics"), "{hint}");
        assert!(hint.contains("POST /reload"), "{hint}");
    }
}
