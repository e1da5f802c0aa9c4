//! The scripts on a hypothetical request: those of a configuration for `tollgate explain`, and one file alone for
//! `tollgate script run`.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use http::StatusCode;

use crate::access::policy::{Conclusion, ExplainedDecision, Moment, Scenario};
use crate::config::Config;
use crate::http::error::ErrorKind;
use crate::script::{
    Decided, Fault, Limits, OnError, Script, SecretText, Secrets, Setting, Settings, Source, Step,
    Trial, Verdict, scenario_facts,
};

/// The fields and the status of a request that scripts see.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen<'a> {
    /// Fields of the request, each as `name: value`.
    pub fields: &'a [String],
    /// The status of the response; without it, no function `response` is called.
    pub status: Option<u16>,
}

impl Seen<'_> {
    fn fields(&self) -> anyhow::Result<Vec<(Box<str>, Box<str>)>> {
        let split = |field: &String| {
            // The message names no value, which may be a secret.
            let (name, value) = field
                .split_once(':')
                .context("--header: no colon; write it as in --header 'User-Agent: curl/8.5.0'")?;
            Ok((name.into(), value.trim().into()))
        };
        self.fields.iter().map(split).collect()
    }

    fn status(&self) -> anyhow::Result<Option<StatusCode>> {
        let Some(status) = self.status else {
            return Ok(None);
        };
        let status = StatusCode::from_u16(status).ok();
        let status = status.filter(|status| status.as_u16() >= 200);
        let status = status.context("--status: not the status of a response; write 200 to 599")?;
        Ok(Some(status))
    }
}

/// Calls the scripts for a request of a user.
///
/// # Errors
/// No client can send the request.
pub fn try_scripts(
    scripts: &[Script],
    way: &Scenario,
    target: &str,
    groups: &[Box<str>],
    seen: Seen<'_>,
    decided: &Decided,
) -> anyhow::Result<Trial> {
    let fields = seen.fields()?;
    let facts = scenario_facts(way, target, &fields);
    let facts = facts.map_err(|error| anyhow!("--header: no client sends this: {error}"))?;
    let status = seen.status()?;
    Ok(Trial::run(
        scripts.iter(),
        facts,
        &way.user,
        groups,
        status,
        decided,
    ))
}

/// How a call ends the request; none where it goes on.
pub(super) fn ended(step: &Step) -> Option<Conclusion> {
    let (decision, reason, message) = match &step.verdict {
        Verdict::GoesOn | Verdict::Skipped { .. } => return None,
        Verdict::Denies { message, .. } => (
            ExplainedDecision::Deny,
            Some(ErrorKind::Denied.name()),
            message.as_deref(),
        ),
        Verdict::Cuts => (
            ExplainedDecision::Deny,
            Some(ErrorKind::Denied.name()),
            None,
        ),
        Verdict::Answers { .. } => (ExplainedDecision::Answer, None, None),
        Verdict::Fails { status, reason } => (
            ExplainedDecision::Fail,
            Some(match status {
                400 => ErrorKind::BadRequest.name(),
                _ => ErrorKind::Internal.name(),
            }),
            Some(&**reason),
        ),
    };
    Some(Conclusion {
        decision,
        rule: format!("hook:{}", step.script),
        reason,
        status: step.verdict.status(),
        message: message.map(str::to_owned),
    })
}

/// What `tollgate script run` tries.
#[derive(Clone, Debug)]
pub struct ScriptQuery<'a> {
    /// The file of the script.
    pub file: &'a Path,
    /// A configuration that has the script.
    pub config: Option<&'a Config>,
    /// The user.
    pub user: &'a str,
    /// The groups of the user.
    pub groups: &'a [String],
    /// The target.
    pub target: &'a str,
    /// The method; by default that of the target's form.
    pub method: Option<&'a str>,
    /// The client's address.
    pub client: IpAddr,
    /// Fields and status.
    pub seen: Seen<'a>,
    /// Constants, each as `name=value`, before those of the configuration.
    pub settings: &'a [String],
    /// The names of secrets that the configuration does not have. Their value is a placeholder.
    pub secrets: &'a [String],
}

/// What becomes of a script that is run alone.
#[derive(Debug)]
pub enum Ran {
    /// It was called.
    Tried(Box<Trial>),
    /// It cannot be.
    Faulty(Vec<Fault>),
}

/// Runs one file: without a configuration, or with the settings, secrets, roles, limits and groups of one.
///
/// # Errors
/// The file or an argument cannot be read. No script of the configuration has the file.
pub fn run_script(query: &ScriptQuery<'_>) -> anyhow::Result<Ran> {
    let shown = query.file.display();
    let text = std::fs::read(query.file).with_context(|| format!("cannot read {shown}"))?;
    if text.len() > Script::MAX_TEXT {
        bail!("{shown} is larger than {} KiB", Script::MAX_TEXT >> 10);
    }
    let text = crate::text::decode(text).with_context(|| shown.to_string())?;
    let time = Moment::from(std::time::SystemTime::now());
    let way = Scenario::new(query.user, query.target, query.method, time)
        .map_err(|error| anyhow!("--target: {error}; {}", Scenario::remedy(error)))?;
    let mut way = way;
    way.client = query.client;
    let settings: anyhow::Result<Vec<(Box<str>, Setting)>> =
        query.settings.iter().map(|text| setting(text)).collect();
    let secrets = query
        .secrets
        .iter()
        .map(|name| (name.as_str().into(), SecretText::placeholder()));
    let alone = || Source {
        name: query
            .file
            .file_stem()
            .map_or_else(|| "script".into(), |stem| stem.to_string_lossy().into()),
        file: None,
        text: Box::default(),
        roles: vec![way.request().role()],
        on_error: OnError::Deny,
        settings: Settings::default(),
        secrets: Secrets::default(),
        limits: Limits::default(),
        pools: None,
        parents: None,
        groups: None,
        is_alone: true,
    };
    let source = match query.config {
        Some(config) => configured(config, query.file)?,
        None => alone(),
    };
    let source = Source {
        text: text.into(),
        settings: source.settings.with(settings?),
        secrets: source.secrets.or(secrets),
        ..source
    };
    let script = match Script::new(source) {
        Ok((script, _)) => script,
        Err(faults) => return Ok(Ran::Faulty(faults)),
    };
    let given: Vec<Box<str>> = query
        .groups
        .iter()
        .map(|group| group.as_str().into())
        .collect();
    let groups = match query.config {
        Some(config) => {
            let groups = config.policy.groups_of(query.user, &given).into_iter();
            groups.map(Box::from).collect()
        }
        None => given,
    };
    let trial = try_scripts(
        &[script],
        &way,
        query.target,
        &groups,
        query.seen,
        &Decided::Admitted,
    )?;
    Ok(Ran::Tried(Box::new(trial)))
}

/// The script of a configuration that has this file.
fn configured(config: &Config, file: &Path) -> anyhow::Result<Source> {
    let wanted = file.canonicalize();
    let wanted = wanted.with_context(|| format!("cannot read {}", file.display()))?;
    let mut sources = config.scripts.iter().map(Script::source);
    let has_file = |source: &&Source| {
        let file = source
            .file
            .as_ref()
            .and_then(|file| file.canonicalize().ok());
        file.is_some_and(|file| file == wanted)
    };
    let found = sources.find(has_file).cloned();
    found.with_context(|| {
        format!(
            "no script of {} has the file {}; add it to tollgate.scripts, or leave -c out and give --setting and --secret",
            config.file.display(),
            file.display()
        )
    })
}

/// `name=value`: a number, a flag or a text.
fn setting(text: &str) -> anyhow::Result<(Box<str>, Setting)> {
    let (name, value) = text
        .split_once('=')
        .context("--setting: no `=`; write it as in --setting team=blue")?;
    let value = match (value, value.parse()) {
        (_, Ok(number)) => Setting::Number(number),
        ("true", _) => Setting::Flag(true),
        ("false", _) => Setting::Flag(false),
        _ => Setting::Text(value.into()),
    };
    Ok((name.into(), value))
}
