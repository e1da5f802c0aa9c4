//! How the certificate of a server with TLS is verified: as a chain, in the handshake, or as
//! the very certificate that `ca_file` names, once that is over.
//!
//! **Invariant:** nothing of a request is sent before one of the two has succeeded.

use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::{Error, Result};
use rustls::pki_types::{ServerName, UnixTime};

use super::context::Forwarded;
use super::failure;
use crate::request::app::App;
use crate::upstream::certificates::Flaw;

/// How the certificate of a server is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verification {
    /// As a chain that ends at an authority.
    Chain,
    /// As the very certificate that `ca_file` names.
    Named,
}

impl Verification {
    /// The way that succeeds most likely for a server of this name.
    pub(super) fn first(app: &App, name: &ServerName<'_>) -> Self {
        if app.certificates.are_for(name) {
            Self::Named
        } else {
            Self::Chain
        }
    }

    /// The other way.
    const fn other(self) -> Self {
        match self {
            Self::Chain => Self::Named,
            Self::Named => Self::Chain,
        }
    }
}

/// Evaluates the certificate that the server has shown, where the handshake did not.
///
/// # Errors
/// Why it is not accepted. Another certificate than the one that was named may still verify
/// as a chain: then the request may be tried again.
pub(super) fn evaluate(
    app: &App,
    forwarded: &mut Forwarded,
    peer: &HttpPeer,
    digest: Option<&Digest>,
) -> Result<()> {
    if forwarded.verification != Some(Verification::Named) {
        return Ok(());
    }
    let shown = digest.and_then(|digest| digest.ssl_digest.as_ref());
    let shown = shown.map_or(&[][..], |digest| &digest.cert_digest);
    let verdict = match ServerName::try_from(peer.sni()) {
        Ok(name) => app.certificates.evaluate(shown, &name, UnixTime::now()),
        Err(_) => Err(Flaw::Unknown),
    };
    verdict.map_err(|flaw| {
        let again = flaw == Flaw::Unknown && other_way(forwarded);
        let mut error = failure::into_pingora(flaw.into());
        error.set_retry(again);
        error
    })
}

/// Has a request tried again whose server shows the certificate of an authority: `ca_file` may
/// name it. Whether it is.
pub(super) fn may_try_again(forwarded: &mut Forwarded, error: &mut Error) -> bool {
    if forwarded.verification != Some(Verification::Chain) || !failure::is_authority(error) {
        return false;
    }
    let again = other_way(forwarded);
    error.set_retry(again);
    again
}

/// Has the next try verify the other way. Whether there is one: each is tried once.
fn other_way(forwarded: &mut Forwarded) -> bool {
    let again = !forwarded.is_verified_otherwise;
    if again {
        forwarded.is_verified_otherwise = true;
        forwarded.verification = forwarded.verification.map(Verification::other);
        // At the same server.
        forwarded.again = forwarded.permit.take();
    }
    again
}
