//! Requests that go through a parent: which one, how it is told the target, and what follows when it cannot be used.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::{Route, addresses};
use crate::access::policy::{Name, Via};
use crate::config::{Fallback, ParentScheme};
use crate::hook::{How, Stop};
use crate::http::error::{ErrorKind, RequestError};
use crate::http::role::Role;
use crate::http::target::Scheme;
use crate::request::admit::Admitted;
use crate::request::app::App;
use crate::request::hooks::ended;
use crate::request::outcome::Exchange;
use crate::upstream::dial::Candidates;
use crate::upstream::parent::{Member, Parent, Parents, Sender, Target, Tunnel};

/// The way of a request through a parent.
#[derive(Debug)]
pub struct ParentRoute {
    /// The parent.
    pub parent: Arc<Parent>,
    /// Where to, and through which proxies.
    pub tunnel: Tunnel,
    /// The URL that takes the request, once its turn there was reserved.
    pub number: usize,
    /// The URLs that did not take it.
    pub failed: Vec<usize>,
}

impl ParentRoute {
    /// The URL that takes the request.
    pub fn member(&self) -> Option<&Arc<Member>> {
        self.parent.member(self.number)
    }

    /// Where that was connected to last.
    pub fn reached(&self) -> Option<SocketAddr> {
        self.member()?.reached()
    }

    /// Whether a request goes to the parent in absolute-form. Else it goes through a tunnel: over TLS, over SOCKS5, and
    /// where the parent is told the address of a name, since a proxy takes the authority of an absolute-form for `Host`
    /// (RFC 9112 §3.2.2), and an address there is not the host that the client has asked for.
    pub fn is_absolute_form(&self, scheme: Scheme) -> bool {
        let is_http = self
            .member()
            .is_some_and(|member| member.url().scheme != ParentScheme::Socks5);
        is_http && scheme == Scheme::Http && self.parent.settings().resolves_names
    }
}

/// The way out that a hook or a script has chosen, if there is such a one.
///
/// # Errors
/// No parent has the name.
pub fn chosen(exchange: &mut Exchange, parents: &Parents) -> Result<Option<Via>, RequestError> {
    let Some(choice) = exchange.run.as_ref().and_then(|run| run.notes.via()) else {
        return Ok(None);
    };
    let via = Via::named(&choice.name);
    let is_known = match &via {
        Some(Via::Direct) => true,
        Some(Via::Parent(name)) => parents.get(name).is_some(),
        None => false,
    };
    if is_known {
        return Ok(via);
    }
    let why = format!(
        "it chose the parent {:?}, which is not configured",
        choice.name
    );
    let (by, phase) = choice.by();
    let stop = Stop {
        by,
        phase,
        how: How::Failed(why.into()),
    };
    Err(ended(exchange, stop))
}

/// The route of a request to a name that a parent resolves itself: no address is evaluated.
///
/// # Errors
/// A rule with `networks` could deny it.
pub(super) fn by_name(
    app: &App,
    exchange: &mut Exchange,
    admitted: &Admitted,
    parents: &Parents,
) -> Result<Option<Route>, RequestError> {
    let chosen = chosen(exchange, parents)?;
    let Some(authority) = exchange.request.authority.clone() else {
        return Ok(None);
    };
    let Some(parent) = admitted.resolving_parent(&authority.host, chosen.as_ref()) else {
        return Ok(None);
    };
    let decided_by = admitted.admit_without_address();
    let decided_by =
        decided_by.map_err(|denied| exchange.outcome.deny(denied, admitted.names()))?;
    exchange.outcome.admit(admitted, decided_by, None);
    through(app, exchange, parents, parent, Target::Name(authority)).map(Some)
}

/// The route of a request whose addresses are admitted. Only those that go the same way are left.
///
/// # Errors
/// There is no such parent: a defect.
pub(super) fn by_address(
    app: &App,
    exchange: &mut Exchange,
    admitted: &Admitted,
    parents: &Parents,
    candidates: Candidates,
) -> Result<Route, RequestError> {
    let chosen = chosen(exchange, parents)?;
    let host = exchange.request.authority.as_ref();
    let host = &host.ok_or(ErrorKind::Internal)?.host;
    let via = |address: SocketAddr| admitted.via(host, Some(address.ip()), chosen.as_ref());
    let way = via(candidates.first());
    let candidates = candidates.only(|address| via(address) == way);
    match way {
        Via::Direct => Ok(Route::Direct(candidates)),
        Via::Parent(parent) => {
            let target = Target::Addresses(candidates);
            through(app, exchange, parents, parent, target)
        }
    }
}

fn through(
    app: &App,
    exchange: &mut Exchange,
    parents: &Parents,
    parent: &Name,
    target: Target,
) -> Result<Route, RequestError> {
    let parent = parents.get(parent).cloned();
    let parent = parent.ok_or_else(|| ErrorKind::Internal.because("no such parent"))?;
    exchange.outcome.terms().parent = Some(Arc::clone(parent.name()));
    let own = app.pseudonym.via(exchange.request.version.into());
    let via = match &exchange.request.via {
        Some(before) => [before, &b", "[..], own.as_bytes()].concat().into(),
        None => Bytes::copy_from_slice(own.as_bytes()),
    };
    Ok(Route::Parent(Box::new(ParentRoute {
        parent,
        tunnel: Tunnel { target, via },
        number: 0,
        failed: Vec::new(),
    })))
}

/// The client and the user of a request, for the choice of a URL.
pub(super) fn sender(exchange: &Exchange) -> Sender<'_> {
    let source = &exchange.request.source;
    Sender {
        user: exchange.outcome.user.as_ref(),
        client: source.client.ip(),
        thread: source.thread,
    }
}

/// Whether a request that failed at one URL goes on: at another one, or by the fallback of the parent. Then the route is
/// changed for it. What a parent refuses never goes another way.
pub fn goes_on(route: &mut Route, error: &RequestError) -> bool {
    let Route::Parent(route) = route else {
        return false;
    };
    if error.kind() != ErrorKind::ParentFailed {
        return false;
    }
    if !route.failed.contains(&route.number) {
        route.failed.push(route.number);
    }
    let settings = route.parent.settings();
    route.failed.len() < route.parent.len() || settings.fallback != Fallback::Fails
}

/// The route when no URL of the parent is left; none without a fallback.
///
/// # Errors
/// The target is to be reached without the parent, and its name does not resolve or its addresses are denied.
pub async fn fallback(
    app: &App,
    exchange: &mut Exchange,
    admitted: Option<&Admitted>,
    route: &Route,
    error: &RequestError,
) -> Result<Option<Route>, RequestError> {
    let Route::Parent(route) = route else {
        return Ok(None);
    };
    let (Fallback::Via(via), Some(admitted)) = (&route.parent.settings().fallback, admitted) else {
        return Ok(None);
    };
    let (ErrorKind::ParentFailed, Some(parents)) = (error.kind(), admitted.parents()) else {
        return Ok(None);
    };
    let id = exchange.request.id;
    log::debug!("request {id}: {}; it goes via {via}", error.chain());
    let target = route.tunnel.target.clone();
    match (via, target) {
        (Via::Parent(parent), target) => through(app, exchange, parents, parent, target).map(Some),
        (Via::Direct, Target::Addresses(candidates)) => {
            exchange.outcome.terms().parent = None;
            Ok(Some(Route::Direct(candidates)))
        }
        (Via::Direct, Target::Name(_)) => {
            exchange.outcome.terms().parent = None;
            // Boxed: few requests come here, and none is to be larger for it.
            let found = Box::pin(addresses(app, exchange, admitted)).await?;
            Ok(Some(Route::Direct(found)))
        }
    }
}

/// Whether the request is one that a parent forwards for this one, so that its own answers are to be told apart.
pub fn forwarding(
    route: Option<&Route>,
    role: Option<Role>,
    scheme: Scheme,
) -> Option<&ParentRoute> {
    match route {
        Some(Route::Parent(route)) if role == Some(Role::Forward) => {
            route.is_absolute_form(scheme).then_some(&**route)
        }
        _ => None,
    }
}
