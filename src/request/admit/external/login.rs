//! Credentials that the service decides about, as failed logins count.
//!
//! Those that it has not accepted yet at this network may be a guess. A guess has a place among those of its user, is asked
//! about again when its turn comes, and is one of at most so many calls at once as its network may have failures: names
//! that are guessed at once are no more than one after the other. It counts when the answer comes, since its client may be
//! gone by then.

use std::net::IpAddr;
use std::sync::Arc;

use super::authorizer::{Answered, Authorizer, CallResult, Unanswered};
use super::calls::Turn;
use crate::access::auth::external::Verdict;
use crate::access::auth::lockout::Standing;
use crate::access::auth::{Attempt, Authenticator, AuthorizerId, Here};
use crate::http::error::RequestError;
use crate::request::admit::Access;
use crate::request::admit::logins::{Begins, Counted};

/// The login of a question.
#[derive(Clone)]
pub(super) struct Login {
    authenticator: Arc<Authenticator>,
    counted: Counted,
    here: Here,
    by: AuthorizerId,
    is_guess: bool,
}

impl Login {
    /// The login of this attempt, and its place where it is a guess. None where failed logins do not lock out.
    ///
    /// # Errors
    /// The user or the network is locked out (429).
    pub(super) fn begin(
        access: &Access,
        by: &Authorizer,
        attempt: &Attempt,
        client: IpAddr,
    ) -> Result<Option<(Self, Option<Begins>)>, RequestError> {
        let Some(logins) = &access.logins else {
            return Ok(None);
        };
        let authenticator = Arc::clone(&access.authenticator);
        let (here, by) = (attempt.here(), by.id());
        let login = Self {
            counted: logins.of(attempt, client),
            is_guess: !authenticator.was_accepted(here, by),
            authenticator,
            here,
            by,
        };
        if !login.is_guess {
            return Ok(Some((login, None)));
        }
        let left = match login.counted.standing() {
            Standing::Locked { left } => return Err(login.counted.locked(left)),
            // The service may accept by now what it has refused.
            Standing::KnownWrong => 1,
            Standing::Open { left } => left,
        };
        let begins = login.counted.begin(left)?;
        Ok(Some((login, Some(begins))))
    }

    /// Whether the service has not accepted the credentials yet.
    pub(super) fn is_guess(&self) -> bool {
        self.is_guess
    }

    /// Whether the service is asked by now.
    pub(super) fn turn(&self) -> Turn<CallResult> {
        if self.authenticator.was_accepted(self.here, self.by) {
            return Turn::Open(usize::MAX);
        }
        match self.counted.standing() {
            Standing::Locked { left } => Turn::Over(Err(Unanswered::Locked(left))),
            Standing::KnownWrong | Standing::Open { .. } => {
                let left = self.counted.network_left();
                Turn::Open(usize::try_from(left).unwrap_or(usize::MAX))
            }
        }
    }

    /// Notes what the service says of the credentials: once of each login, in whichever of the requests that share the
    /// answer. A denial says nothing of them.
    pub(super) fn end(&self, answered: &Answered) {
        let accepts = match &*answered.verdict {
            Verdict::Admit(_) if self.is_guess => true,
            Verdict::Challenge { .. } => false,
            Verdict::Admit(_) | Verdict::Deny { .. } => return,
        };
        if !answered.once.is_first(&self.counted) {
            return;
        }
        self.authenticator
            .note_authorizer(self.here, self.by, accepts);
        match accepts {
            true => self.counted.succeeded(),
            false => self.counted.failed(),
        }
    }

    /// The refusal of a login that is locked out when its turn comes.
    pub(super) fn refused(&self, unanswered: Unanswered) -> RequestError {
        match unanswered {
            Unanswered::Locked(left) => self.counted.locked(left),
            Unanswered::Failed(why) => super::failed(why),
        }
    }
}
