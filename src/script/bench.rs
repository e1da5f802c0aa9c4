//! What `bench/micro/script.rs` measures: a script as a hook of a request.

use std::sync::Arc;

use super::samples::{RequestText, facts};
use super::{Limits, OnError, Script, Source};
use crate::hook::{Facts, HookSet, Role, Run};

/// A request with a script in its phase `authorize`.
pub struct Bench {
    set: Arc<HookSet>,
    facts: Facts,
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").finish_non_exhaustive()
    }
}

impl Bench {
    /// A script in the role forward; none for a text that has a fault.
    pub fn new(text: &str) -> Option<Self> {
        let source = Source {
            name: "bench".into(),
            file: None,
            text: text.into(),
            roles: vec![Role::Forward],
            on_error: OnError::Deny,
            settings: Default::default(),
            secrets: Default::default(),
            limits: Limits::default(),
            pools: None,
            parents: None,
            groups: None,
            is_alone: true,
        };
        let fields = [("User-Agent", "curl/8.5.0"), ("Accept", "*/*")];
        let fields = fields.map(|(name, value)| (name.into(), value.into()));
        let facts = facts(&RequestText {
            method: "GET",
            target: "http://wiki.corp.example/page?a=1",
            fields: &fields,
            client: [127, 0, 0, 1].into(),
        });
        let (script, _) = Script::new(source).ok()?;
        Some(Self {
            set: Arc::new(HookSet::default().with(script)),
            facts: facts.ok()?,
        })
    }

    /// One request: its hooks begin, and the phase `authorize` is called. Whether the request goes on.
    pub fn call(&self) -> bool {
        let mut run = Run::new(Arc::clone(&self.set), self.facts.clone());
        run.authenticated("alice".into(), &[]);
        run.authorize().is_ok()
    }
}
