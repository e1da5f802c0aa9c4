//! Scripts as the checks and the engine see them.

mod direct;
mod documents;
mod faults;
mod limits;
mod phases;
mod properties;
mod secrets;

use http::StatusCode;

use super::samples::RequestText;
use super::*;
use crate::hook::Facts;

pub(super) const SECRET: &str = "s3cr3t-v4lu3-9d1f";

pub(super) fn source(text: &str) -> Source {
    let secret = SecretText::parse(SECRET.as_bytes()).unwrap();
    let settings = [
        ("team".into(), Setting::Text("blue".into())),
        ("most".into(), Setting::Number(3)),
        (
            "hosts".into(),
            Setting::List(vec![Setting::Text("a.example".into())]),
        ),
    ];
    Source {
        name: "test".into(),
        file: None,
        text: text.into(),
        roles: Role::ALL.to_vec(),
        on_error: OnError::Deny,
        settings: settings.into_iter().collect(),
        secrets: [("github".into(), secret)].into_iter().collect(),
        limits: Limits::default(),
        pools: Some(vec!["api".into(), "web".into()]),
        parents: Some(vec!["corp".into()]),
        groups: Some(vec!["agents".into(), "guests".into()]),
        is_alone: false,
    }
}

pub(super) fn in_role(role: Role, text: &str) -> Source {
    Source {
        roles: vec![role],
        ..source(text)
    }
}

/// A script of one role, which has to be without fault.
pub(super) fn script(role: Role, text: &str) -> Script {
    match Script::new(in_role(role, text)) {
        Ok((script, _)) => script,
        Err(faults) => panic!("{text}: {faults:?}"),
    }
}

/// A script that is not tried on samples.
pub(super) fn unchecked(source: Source) -> Script {
    let names = check::names(&source).unwrap();
    Script(Arc::new(Compiled {
        id: u64::MAX - u64::from(rand()),
        source,
        phases: names.phases,
        reads_fields: names.reads_fields,
    }))
}

fn rand() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(super) fn facts(role: Role, fields: &[(&str, &str)]) -> Facts {
    let (method, target) = match role {
        Role::Tunnel => ("CONNECT", "api.example.org:443"),
        Role::Forward => ("GET", "https://api.example.org/admin/x?a=1"),
        Role::Gateway => ("GET", "/admin/x?a=1"),
    };
    let fields: Vec<(Box<str>, Box<str>)> = fields
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    let request = RequestText {
        method,
        target,
        fields: &fields,
        client: [127, 0, 0, 1].into(),
    };
    super::samples::facts(&request).unwrap()
}

pub(super) fn run(script: &Script, role: Role, fields: &[(&str, &str)]) -> Trial {
    let facts = facts(role, fields);
    let scripts = [script];
    let groups = ["dev".into(), "ops".into()];
    Trial::run(
        scripts.into_iter(),
        facts,
        "alice",
        &groups,
        Some(StatusCode::OK),
        &Decided::Admitted,
    )
}
