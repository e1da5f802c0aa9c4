//! How the certificate of an https origin is verified: as a chain, in the handshake, or as
//! the very certificate that `ca_file` names, once that is over.
//!
//! **Invariant:** nothing of a request is sent before one of the two has succeeded.

use std::time::SystemTime;

use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::{Error, Result};
use rustls::pki_types::ServerName;

use super::failure;
use crate::http::error::{Kind, RequestError};
use crate::request::app::App;
use crate::request::exchange::{Exchange, Verification};
use crate::upstream::certificates::Flaw;

/// The way that was `chosen`; at first the one that succeeds most likely.
///
/// # Errors
/// [`Kind::TlsCertificate`] for a name that no certificate can have.
pub(super) fn choose(
    app: &App,
    chosen: Option<Verification>,
    name: &str,
) -> Result<Verification, RequestError> {
    let name = ServerName::try_from(name).map_err(|_invalid| {
        RequestError::new(Kind::TlsCertificate)
            .because("no certificate can be for a name like this")
            .told("wrong name")
    })?;
    Ok(match chosen {
        Some(chosen) => chosen,
        None if app.certificates.are_for(&name) => Verification::Named,
        None => Verification::Chain,
    })
}

/// Judges the certificate that the origin has shown, where the handshake did not.
///
/// # Errors
/// Why it is not accepted. Another certificate than the one that was named may still verify
/// as a chain: then the request may be tried again.
pub(super) fn judge(
    app: &App,
    exchange: &mut Exchange,
    peer: &HttpPeer,
    digest: Option<&Digest>,
) -> Result<()> {
    if exchange.verification != Some(Verification::Named) {
        return Ok(());
    }
    let shown = digest.and_then(|digest| digest.ssl_digest.as_ref());
    let shown = shown.map_or(&[][..], |digest| &digest.cert_digest);
    let verdict = match ServerName::try_from(peer.sni()) {
        Ok(name) => app.certificates.judge(shown, &name, SystemTime::now()),
        Err(_) => Err(Flaw::Unknown),
    };
    verdict.map_err(|flaw| {
        let again = flaw == Flaw::Unknown && other_way(exchange);
        let failed = RequestError::new(Kind::TlsCertificate).told(flaw.word());
        let mut error = failure::into_pingora(failed.because(flaw));
        error.set_retry(again);
        error
    })
}

/// Has a request tried again whose origin shows the certificate of an authority: `ca_file` may
/// name it.
pub(super) fn may_try_again(exchange: &mut Exchange, error: &mut Error) {
    if exchange.verification == Some(Verification::Chain) && failure::is_authority(error) {
        error.set_retry(other_way(exchange));
    }
}

/// Has the next try verify the other way. Whether there is one: each is tried once.
fn other_way(exchange: &mut Exchange) -> bool {
    let again = !exchange.verified_otherwise;
    if again {
        exchange.verified_otherwise = true;
        exchange.verification = exchange.verification.map(Verification::other);
        exchange.slot = None;
    }
    again
}
