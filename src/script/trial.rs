//! The scripts of a configuration on a request that is not sent: for `explain`, tests and `tollgate script run`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::engine::Returned;
use super::samples::has_phase;
use super::{OnError, Script};
use crate::hello::Hello;
use crate::hook::{Detached, Facts, Phases, Role, Wish};
use crate::http::target::Authority;

/// The calls of scripts, in order, up to the one that ends the request.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Each call.
    pub steps: Vec<Step>,
    detached: Detached,
}

/// What the policy decides about the request.
#[derive(Clone, Debug)]
pub enum Decided {
    /// It denies: the scripts before it alone are called.
    Denied,
    /// It admits.
    Admitted,
    /// It admits a tunnel, and this ClientHello in it, which is read.
    Greeted(Hello),
    /// It admits, and has a request over http sent over https to this target.
    Upgraded(Authority),
}

/// One call.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The script.
    pub script: Box<str>,
    /// The phase.
    pub phase: &'static str,
    /// What it decides.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What it changes.
    #[serde(serialize_with = "wishes")]
    pub effects: Vec<Wish>,
    /// The operations that it took.
    pub operations: u64,
    /// How long it took.
    #[serde(rename = "microseconds", serialize_with = "microseconds")]
    pub time: Duration,
}

/// What happens with a request after a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The request goes on.
    GoesOn,
    /// It is denied.
    Denies {
        /// The status.
        status: u16,
        /// The message; none for the general sentence.
        message: Option<Box<str>>,
    },
    /// Its tunnel is cut.
    Cuts,
    /// It is answered.
    Answers {
        /// The status.
        status: u16,
        /// Bytes of the body.
        body: usize,
    },
    /// The script fails, and the request with it.
    Fails {
        /// The status: 500, or 400 where the request is at fault.
        status: u16,
        /// Why, and where.
        reason: Box<str>,
    },
    /// The script fails, and the request goes on without it.
    Skipped {
        /// Why, and where.
        reason: Box<str>,
    },
}

impl Step {
    /// Puts `mask` in the place of the texts that the script has made, from whatever it was told.
    pub fn hide_texts(&mut self, mask: &str) {
        let of_verdict = match &mut self.verdict {
            Verdict::Denies { message, .. } => message.as_mut(),
            Verdict::Fails { reason, .. } | Verdict::Skipped { reason } => Some(reason),
            Verdict::GoesOn | Verdict::Cuts | Verdict::Answers { .. } => None,
        };
        let of_effects = self.effects.iter_mut().filter_map(|effect| match effect {
            Wish::Set(_, text)
            | Wish::Add(_, text)
            | Wish::Tag(_, text)
            | Wish::Count(_, text)
            | Wish::Target(text) => Some(text),
            Wish::Remove(_) | Wish::Pool(_) | Wish::Via(_) => None,
        });
        for text in of_verdict.into_iter().chain(of_effects) {
            *text = mask.into();
        }
    }
}

impl Verdict {
    /// Whether the request goes on.
    pub fn goes_on(&self) -> bool {
        matches!(self, Verdict::GoesOn | Verdict::Skipped { .. })
    }

    /// The message of a denial.
    pub fn message(&self) -> Option<&str> {
        match self {
            Verdict::Denies { message, .. } => message.as_deref(),
            _ => None,
        }
    }

    /// The status that the client gets.
    pub fn status(&self) -> Option<u16> {
        match self {
            // The client has its 200.
            Verdict::GoesOn | Verdict::Skipped { .. } | Verdict::Cuts => None,
            Verdict::Denies { status, .. }
            | Verdict::Answers { status, .. }
            | Verdict::Fails { status, .. } => Some(*status),
        }
    }
}

/// The phases before the response, in order.
const BEFORE: [Phases; 6] = [
    Phases::REQUEST,
    Phases::AUTHORIZE,
    Phases::ROUTE,
    Phases::UPSTREAM_REQUEST,
    Phases::TUNNEL_OPEN,
    Phases::TUNNEL_HELLO,
];

impl Trial {
    /// Calls the scripts for a request of this user. With a status, also for a response with it.
    pub fn run<'s>(
        scripts: impl Iterator<Item = &'s Script> + Clone,
        facts: Facts,
        user: &str,
        groups: &[Box<str>],
        status: Option<StatusCode>,
        decided: &Decided,
    ) -> Trial {
        let role = facts.role;
        let facts = Arc::new(facts);
        let mut trial = Trial {
            steps: Vec::new(),
            detached: Detached::new(Arc::clone(&facts), None, &[]),
        };
        let response = status.map(|_| Phases::RESPONSE);
        for phase in BEFORE.into_iter().chain(response) {
            // A WebSocket is not tried: its request is one to forward until the upstream answers.
            let is_tunnel = phase == Phases::TUNNEL_OPEN || phase == Phases::TUNNEL_HELLO;
            if phase != Phases::REQUEST {
                match decided {
                    Decided::Denied => break,
                    Decided::Admitted | Decided::Greeted(_) => {}
                    // What the policy decides about another target is not tried.
                    Decided::Upgraded(target) if trial.target().is_none() => {
                        trial.detached.upgrade(target.clone());
                    }
                    Decided::Upgraded(_) => {}
                }
            }
            if !has_phase(role, phase) || (is_tunnel && role != Role::Tunnel) {
                continue;
            }
            if phase == Phases::TUNNEL_HELLO {
                let Decided::Greeted(hello) = decided else {
                    continue;
                };
                trial.detached.greet(Arc::new(hello.clone()));
            }
            if phase == Phases::AUTHORIZE {
                trial.detached.authenticate(user, groups);
            }
            trial.detached.enter(phase);
            if let (Phases::RESPONSE, Some(status)) = (phase, status) {
                trial.detached.respond(status, HeaderMap::new());
            }
            let called = scripts
                .clone()
                .filter(|script| script.phases().has(phase) && script.has_role(role));
            for script in called {
                if !trial.step(script, phase) {
                    return trial;
                }
            }
        }
        trial
    }

    /// One call. Returns whether the request goes on.
    fn step(&mut self, script: &Script, phase: Phases) -> bool {
        let before = self.detached.clone();
        let start = Instant::now();
        let called = script.call(phase, before.clone(), None, None);
        let time = start.elapsed();
        let is_skipped = script.0.source.on_error == OnError::Skip;
        let after = called.subject.map(|subject| subject.detached);
        let (verdict, after) = match called.result {
            Ok(Returned::Nothing) => (Verdict::GoesOn, after),
            Ok(Returned::Denial(denial)) => {
                let verdict = Verdict::Denies {
                    status: denial.status().as_u16(),
                    message: denial.message().map(Box::from),
                };
                (verdict, after)
            }
            Ok(Returned::Answer(answer)) => {
                let verdict = Verdict::Answers {
                    status: answer.status().as_u16(),
                    body: answer.body().len(),
                };
                (verdict, after)
            }
            Ok(Returned::Cut) => (Verdict::Cuts, after),
            Err(failure) if is_skipped => {
                let reason = failure.to_string().into();
                (Verdict::Skipped { reason }, None)
            }
            Err(failure) => {
                let status = if failure.is_of_request { 400 } else { 500 };
                let reason = failure.to_string().into();
                (Verdict::Fails { status, reason }, after)
            }
        };
        self.detached = after.unwrap_or_else(|| before.clone());
        let goes_on = verdict.goes_on();
        self.steps.push(Step {
            script: script.name().into(),
            phase: phase.name(),
            verdict,
            effects: self.detached.wishes_since(&before),
            operations: called.operations,
            time,
        });
        goes_on
    }

    /// The call that ends the request.
    pub fn stop(&self) -> Option<&Step> {
        self.steps.last().filter(|step| !step.verdict.goes_on())
    }

    /// The pool that scripts choose.
    pub fn pool(&self) -> Option<&str> {
        self.detached.pool()
    }

    /// The way out that scripts choose.
    pub fn via(&self) -> Option<&str> {
        self.detached.via()
    }

    /// The target that scripts choose.
    pub fn target(&self) -> Option<&str> {
        let effects = self.steps.iter().flat_map(|step| &step.effects);
        let mut targets = effects.filter_map(|effect| match effect {
            Wish::Target(target) => Some(&**target),
            _ => None,
        });
        targets.next_back()
    }

    /// The value of a field as it goes upstream; that of a secret is `***`.
    pub fn field(&mut self, name: &str) -> Option<String> {
        self.detached.request().field(name).map(Into::into)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::GoesOn => f.write_str("goes on"),
            Verdict::Denies { status, message } => {
                write!(f, "denies with {status}")?;
                match message {
                    Some(message) => write!(f, ": {message}"),
                    None => Ok(()),
                }
            }
            Verdict::Cuts => f.write_str("cuts the tunnel"),
            Verdict::Answers { status, body } => {
                write!(f, "answers with {status} and a body of {body} bytes")
            }
            Verdict::Fails { reason, .. } => write!(f, "fails: {reason}"),
            Verdict::Skipped { reason } => write!(f, "fails and is skipped: {reason}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "script {}, {}: {} ({} operations, {} µs)",
            self.script,
            self.phase,
            self.verdict,
            self.operations,
            self.time.as_micros()
        )?;
        for effect in &self.effects {
            write!(f, "\n  {effect}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{step}")?;
        }
        Ok(())
    }
}

fn wishes<S: Serializer>(wishes: &[Wish], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(wishes.iter().map(Effect))
}

fn microseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// A wish as an object of JSON.
struct Effect<'a>(&'a Wish);

impl Serialize for Effect<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Wish::Set(name, value) => {
                map.serialize_entry("set_header", name)?;
                map.serialize_entry("value", value)?;
            }
            Wish::Add(name, value) => {
                map.serialize_entry("add_header", name)?;
                map.serialize_entry("value", value)?;
            }
            Wish::Remove(name) => map.serialize_entry("remove_header", name)?,
            Wish::Target(target) => map.serialize_entry("target", target)?,
            Wish::Pool(pool) => map.serialize_entry("pool", pool)?,
            Wish::Via(via) => map.serialize_entry("via", via)?,
            Wish::Tag(name, value) => {
                map.serialize_entry("tag", name)?;
                map.serialize_entry("value", value)?;
            }
            Wish::Count(name, label) => {
                map.serialize_entry("count", name)?;
                map.serialize_entry("value", label)?;
            }
        }
        map.end()
    }
}
