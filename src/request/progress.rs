//! The progress of a request. This module notes each step once, for the record, the trace and the live table.

use std::time::Duration;

use super::live::State;
use super::outcome::Exchange;
use crate::telemetry::traces::Phase;

impl Exchange {
    /// A step begins.
    #[inline]
    pub fn is_now(&self, state: State) {
        if let Some(live) = &self.live {
            live.set(state);
        }
    }

    /// So much of the request's content has come.
    #[inline]
    pub fn has_come(&self, bytes: usize) {
        if let Some(live) = &self.live {
            live.came(bytes as u64);
        }
    }

    /// A further piece of the answer's content has come.
    #[inline]
    pub fn is_answered_with(&self, bytes: usize) {
        if let Some(live) = &self.live {
            live.answered(bytes as u64);
        }
    }

    /// A phase has ended, and took so long. A request that is tried again has a phase several times, and all of them count.
    pub fn spent(&mut self, phase: Phase, time: Duration) {
        let outcome = &mut self.outcome;
        let sum = match phase {
            Phase::Resolve => &mut outcome.resolve,
            Phase::Queue => &mut outcome.queue,
            Phase::Connect => &mut outcome.connect,
        };
        *sum = Some(sum.unwrap_or_default() + time);
        if let Some(trace) = &mut outcome.trace {
            trace.ended(phase);
        }
    }

    /// Copies the user and what has decided about the request into the live table.
    #[inline]
    pub fn show_decision(&self) {
        if let Some(live) = &self.live {
            live.note(&self.outcome);
        }
    }

    /// The first byte of an answer has come. Whether it is the first answer.
    pub fn first_byte_came(&mut self) -> bool {
        let is_first = self.outcome.first_byte.is_none();
        if is_first {
            self.outcome.first_byte = Some(self.request.arrival.started.elapsed());
            self.is_now(State::Answering);
        }
        is_first
    }
}
