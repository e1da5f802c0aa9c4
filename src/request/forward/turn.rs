//! Where a request that is with Pingora goes next, and its turn there.

use std::pin::pin;

use pingora_core::Result;
use pingora_proxy::Session;

use super::context::Forwarded;
use super::failure;
use super::session::client_gone;
use crate::request::app::App;
use crate::request::route::parent::fallback;
use crate::request::route::{reserve, route};
use crate::upstream::limit::{Permit, Presence};

/// Routes the request, unless it is, and waits for its turn at the server.
pub(super) async fn reserve_turn(
    app: &App,
    session: &mut Session,
    forwarded: &mut Forwarded,
) -> Result<Option<Permit>> {
    let Forwarded {
        exchange,
        failed,
        connection,
        ..
    } = forwarded;
    let on_route = match &mut forwarded.route {
        Some(route) => route,
        none => {
            let admitted = forwarded.admitted.as_ref();
            let admitted = admitted.ok_or_else(failure::not_admitted)?;
            let found = route(app, exchange, admitted).await;
            none.insert(found.map_err(failure::into_pingora)?)
        }
    };
    let permit = loop {
        let presence = Presence {
            gone: pin!(client_gone(session, exchange.request.has_body())),
            has_ended: &connection.has_ended,
        };
        let error = match reserve(app, exchange, on_route, failed, presence).await {
            Ok(permit) => break permit,
            Err(error) => error,
        };
        // A parent that cannot be used may have another way out.
        let admitted = forwarded.admitted.as_ref();
        let next = fallback(app, exchange, admitted, on_route, &error).await;
        match next.map_err(failure::into_pingora)? {
            None => return Err(failure::into_pingora(error)),
            Some(next) => *on_route = next,
        }
    };
    forwarded.forget_verification();
    Ok(permit)
}
