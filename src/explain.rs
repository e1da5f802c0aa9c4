//! `tollgate explain`: what the policy says to a request that nobody sent.

use std::net::IpAddr;
use std::time::SystemTime;

use anyhow::Context;

use crate::app;
use crate::authorize::on_this_machine;
use crate::config::Config;
use crate::policy::{Explanation, Moment, Question};
use crate::target::{Authority, Host};
use crate::text::count;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// Who asks.
    pub user: &'a str,
    /// From where.
    pub client: IpAddr,
    /// With which method; that of the target's form when not given.
    pub method: Option<&'a str>,
    /// For what.
    pub target: &'a str,
    /// What the name of the target is taken to resolve to; looked up when not given.
    pub resolve: &'a [IpAddr],
    /// When (RFC 3339); now when not given.
    pub time: Option<&'a str>,
}

/// The answer, and what should be said beside it.
#[derive(Debug)]
pub struct Answer {
    /// The decision with its reasons.
    pub explanation: Explanation,
    /// What the decision does not say: an unknown user, a name that does not resolve.
    pub notes: Vec<String>,
}

/// Asks the policy of a configuration, as the running process would decide.
///
/// # Errors
/// The target, the method or the time cannot be read.
pub fn explain(config: &Config, query: &Query<'_>) -> anyhow::Result<Answer> {
    let time = match query.time {
        Some(text) => Moment::parse(text).context("--time")?,
        None => Moment::from(SystemTime::now()),
    };
    let mut question = Question::new(query.user, query.target, query.method, time)
        .with_context(|| format!("--target {:?}", query.target))?;
    question.client = query.client;
    question.resolve = query.resolve.to_vec();
    let mut notes = Vec::new();
    if !config.auth.users.contains(query.user) {
        notes.push(format!(
            "{:?} is not in the htpasswd file: the request would get 407 before the policy is asked",
            query.user
        ));
    }
    let authority = question.request().destination.authority().cloned();
    if config.left_out > 0 {
        notes.push(format!(
            "{} of lenient lists left out, whose domains this does not know",
            count(config.left_out, "entry")
        ));
    }
    if let Some(authority) = &authority
        && matches!(authority.host, Host::Name(_))
        && question.resolve.is_empty()
    {
        match look_up(config, authority) {
            Ok(addresses) => question.resolve = addresses,
            Err(error) => notes.push(format!(
                "{}: {error:#}; name its addresses with --resolve to have them judged",
                authority.host
            )),
        }
    }
    Ok(Answer {
        explanation: on_this_machine(&config.policy).explain(&question),
        notes,
    })
}

/// All addresses of a name, as the proxy would find them.
fn look_up(config: &Config, authority: &Authority) -> anyhow::Result<Vec<IpAddr>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let all = app::dialer(config);
    let all = runtime.block_on(all.candidates(authority, &|_| Ok(())))?;
    Ok(all.iter().map(|address| address.ip()).collect())
}
