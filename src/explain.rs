//! `tollgate explain`: the decision of the policy about a hypothetical request.

mod authorizer;
mod class;
mod running;
mod scripts;
mod subject;

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use anyhow::{Context, anyhow};
use serde::Serialize;

use self::authorizer::{AskedService, Asker};
use self::class::ExplainedClass;
pub use self::running::Running;
pub use self::scripts::{Ran, ScriptQuery, Seen, run_script};
use self::scripts::{ended, try_scripts};
pub use self::subject::Subject;
use crate::access::auth::User;
use crate::access::auth::external::{Ask, External};
use crate::access::policy::{ExplainedDecision, Explanation, Moment, Scenario, Via};
use crate::hello::Hello;
use crate::http::target::{Authority, Host};
use crate::script::{Decided, Step, Trial};
use crate::text::count;

/// The request to explain.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// The user; by default that of a client without credentials.
    pub user: Option<&'a str>,
    /// What stands for the name of the user in notes, for readers who do not see names.
    pub shown: Option<&'a str>,
    /// The groups that a token of the user says.
    pub groups: &'a [String],
    /// Claims of that token, each as `name=text`.
    pub claims: &'a [String],
    /// The client's address.
    pub client: IpAddr,
    /// The method; by default that of the target's form.
    pub method: Option<&'a str>,
    /// Fields of the request, each as `name: value`.
    pub fields: &'a [String],
    /// The target.
    pub target: &'a str,
    /// The ClientHello in the tunnel; none: it is not judged.
    pub hello: Option<&'a Hello>,
    /// The addresses of the target's name; looked up when empty.
    pub resolve: &'a [IpAddr],
    /// What scripts see beside it.
    pub seen: Seen<'a>,
    /// The time of the request (RFC 3339); by default now.
    pub time: Option<&'a str>,
    /// Whether the external authoriser is asked.
    pub ask: bool,
}

/// The explanation for each way in which clients request the target, with notes.
///
/// Prints as text for people. Serialises as the fields of the usual way, with `ways`, which has all of them.
#[derive(Debug, Serialize)]
pub struct ExplainedTarget {
    #[serde(flatten)]
    usual: Explanation,
    /// The calls of scripts on the usual way, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scripts: Vec<Step>,
    /// The usual way first.
    ways: Vec<ExplainedWay>,
    /// Facts beside the decision: an unknown user, a name that does not resolve.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// The decision on one way.
#[derive(Debug, Serialize)]
struct ExplainedWay {
    /// The clients that send it, as a text after "sent by".
    sent_by: &'static str,
    #[serde(flatten)]
    explanation: Explanation,
    /// The class of limits that holds, where the request is not denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<ExplainedClass>,
    /// What the authoriser was asked, with `--ask`.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorizer: Option<AskedService>,
    /// The calls of scripts, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scripts: Vec<Step>,
}

impl ExplainedTarget {
    /// Puts `shown` in the place of the user's name, and masks what may have names.
    fn hide_names(&mut self, shown: &str) {
        let explanations = self.ways.iter_mut().map(|way| &mut way.explanation);
        for explanation in explanations.chain([&mut self.usual]) {
            explanation.hide_names(shown);
        }
        let steps = self.ways.iter_mut().flat_map(|way| &mut way.scripts);
        for step in steps.chain(&mut self.scripts) {
            step.hide_texts(Explanation::MASK);
        }
    }

    /// Whether the usual way is admitted, and no script ends it.
    pub fn is_admitted(&self) -> bool {
        self.usual.decision == ExplainedDecision::Admit
    }
}

impl fmt::Display for ExplainedTarget {
    /// The decision about each way; then the reasons for the usual way, and for each other way with another
    /// decision.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = &self.usual;
        let usual_scripts = Calls(&self.scripts);
        let usual_class = self.ways.first().and_then(|way| way.class.as_ref());
        let usual_class = Paragraph(usual_class);
        let usual_asked = self.ways.first().and_then(|way| way.authorizer.as_ref());
        let usual_asked = Paragraph(usual_asked);
        if self.ways.len() < 2 {
            return write!(f, "{usual}{usual_asked}{usual_class}{usual_scripts}");
        }
        for (index, way) in self.ways.iter().enumerate() {
            let ExplainedWay {
                sent_by,
                explanation,
                ..
            } = way;
            let line_end = if index == 0 { "" } else { "\n" };
            let (headline, request) = (explanation.headline(), explanation.request_line());
            write!(
                f,
                "{line_end}{headline}\n  for {request}, sent by {sent_by}"
            )?;
        }
        let (circumstances, reasons) = (usual.circumstances(), usual.reasons());
        write!(
            f,
            "\n\n{circumstances}{reasons}{usual_asked}{usual_class}{usual_scripts}"
        )?;
        for way in self.ways.iter().skip(1) {
            let explanation = &way.explanation;
            let (request, calls) = (explanation.request_line(), Calls(&way.scripts));
            let is_other = way.class.as_ref() != usual_class.0;
            let class = Paragraph(way.class.as_ref().filter(|_| is_other));
            let asked = Paragraph(way.authorizer.as_ref());
            if explanation.decision != usual.decision {
                let headline = explanation.headline();
                let reasons = explanation.reasons();
                write!(f, "\n\n{request}: {headline}{reasons}{asked}{class}{calls}")?;
            } else if is_other || asked.0.is_some() || !way.scripts.is_empty() {
                write!(f, "\n\n{request}:{asked}{class}{calls}")?;
            }
        }
        Ok(())
    }
}

/// Evaluates a policy, as the running process would.
///
/// # Errors
/// The target, the method or the time cannot be read.
pub fn explain(subject: &Subject<'_>, query: &Query<'_>) -> anyhow::Result<ExplainedTarget> {
    let time = match query.time {
        Some(text) => Moment::parse(text).context("--time")?,
        None => Moment::from(SystemTime::now()),
    };
    let trusted = subject.trusted.user(query.client).map(User::as_str);
    let user = query.user.or(trusted).with_context(|| {
        format!(
            "--user: missing, and {} is in none of tollgate.auth.trusted_networks",
            query.client
        )
    })?;
    // The target is not repeated: a URL may have a password in it.
    let ways = Scenario::ways(user, query.target, query.method, time)
        .map_err(|error| anyhow!("--target: {error}; {}", Scenario::remedy(error)))?;
    let fields = fields(query.fields)?;
    let claims = claims(query.claims)?;
    let mut notes = Vec::new();
    let may_be_of_token = subject.tokens.is_some_and(|tokens| tokens.may_name(user));
    if !claims.is_empty() && !may_be_of_token {
        notes.push("--claim: no token makes this user: `auth.tokens` says so".to_owned());
    }
    let is_known = subject.users.contains(user) || trusted == Some(user) || may_be_of_token;
    let may_have_groups = match subject.external {
        Some(external) if external.gives_groups() => is_known == (external.ask == Ask::Always),
        _ => may_be_of_token && subject.has_other_groups(),
    };
    if !query.groups.is_empty() && !may_have_groups {
        notes.push(
            "--group: no token makes this user with groups: `auth.tokens` says so".to_owned(),
        );
    }
    let external = subject.external;
    let note = external.and_then(|external| asked(external, is_known));
    let asker = match (external, subject.config()) {
        (Some(external), Some(config)) if query.ask => Some(Asker::new(config, external)?),
        _ => None,
    };
    match (note, query.ask) {
        (Some(note), false) => notes.push(note.to_owned()),
        (None, true) if external.is_none() => {
            notes.push("--ask: there is no `auth.external` to ask".to_owned());
        }
        (None, true) if external.is_some_and(External::gives_groups) => {
            notes.push("--ask: auth.external is not asked about a request of this user".to_owned());
        }
        _ => {}
    }
    if query.ask && external.is_some_and(|external| external.send_password) {
        notes.push("--ask: the question has no password, since explain has none".to_owned());
    }
    let asks_before = note.and(asker.as_ref());
    let label = query.shown.unwrap_or(user);
    if !is_known && subject.has_certificates {
        notes.push(format!(
            "{label:?} is the user of clients whose certificate names it, at a listener with `certificate_user`"
        ));
    } else if !is_known && !subject.asks_who() {
        notes.push(format!(
            "{label:?} is not in the htpasswd file {}: a request of this user gets 407, and the policy is not evaluated",
            subject.htpasswd.display()
        ));
    }
    if subject.left_out > 0 {
        notes.push(format!(
            "{} of lenient lists left out; this answer ignores their domains",
            count(subject.left_out, "entry")
        ));
    }
    let first = ways.first().map(|way| way.scenario.request());
    let authority = first.and_then(|request| request.destination.authority());
    let resolve = resolve(subject, query.resolve, authority, &mut notes);
    let policy = &*subject.policy;
    let ways: Vec<ExplainedWay> = ways
        .into_iter()
        .map(|mut way| {
            // The message names no value, which may be a secret.
            let scenario = way.scenario.with_fields(&fields);
            way.scenario = scenario
                .map_err(|error| anyhow!("--header: a client cannot send these: {error}"))?;
            way.scenario.client = query.client.to_canonical();
            way.scenario.resolve.clone_from(&resolve);
            let of_token = query.groups.iter().map(|group| group.as_str().into());
            way.scenario.groups = of_token.collect();
            way.scenario.claims.clone_from(&claims);
            way.scenario.hello = query.hello.cloned();
            let asked = asks_before.map(|asker| asker.before_rules(policy, &mut way.scenario));
            let (mut asked, mut end) = asked.unzip();
            let user = way.scenario.user.clone();
            let groups = policy.groups_of(&user, &way.scenario.groups).into_iter();
            let groups: Vec<Box<str>> = groups.map(Box::from).collect();
            let mut explanation = policy.explain(&way.scenario);
            if let Some(asker) = &asker
                && explanation.asks == Some("yes")
                && explanation.decision == ExplainedDecision::Admit
            {
                let by_rule = asker.by_rule(policy, &way.scenario, &mut explanation);
                (asked, end) = (Some(by_rule.0), Some(by_rule.1));
            }
            if let Some(end) = end.flatten() {
                explanation.end(end);
            }
            let decided = match explanation.decision {
                ExplainedDecision::Admit => Decided::admitted(policy, &way.scenario),
                _ => Decided::Denied,
            };
            let is_denied = explanation.decision == ExplainedDecision::Deny;
            let trial = try_scripts(
                subject.scripts,
                &way.scenario,
                query.target,
                &groups,
                query.seen,
                &decided,
            )?;
            note_target(&trial, query.shown.is_some(), &mut notes);
            if let Some(via) = trial.via().and_then(Via::named) {
                way.scenario.via = Some(via);
                explanation.take_way(policy.explain(&way.scenario));
            }
            if let Some(ended) = trial.stop().and_then(ended)
                && explanation.policy.is_none()
            {
                explanation.end(ended);
            }
            let class = subject.classes.filter(|_| !is_denied);
            let class = class.map(|classes| ExplainedClass::new(classes, &way.scenario));
            Ok(ExplainedWay {
                sent_by: way.sent_by,
                explanation,
                class,
                authorizer: asked,
                scripts: trial.steps,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let usual = ways.first().context("--target: it cannot be requested")?;
    Ok(ExplainedTarget {
        usual: usual.explanation.clone(),
        scripts: usual.scripts.clone(),
        ways,
        notes,
    })
}

/// What an external authoriser has to do with a request of a user that is known here, or is not.
fn asked(external: &External, is_known: bool) -> Option<&'static str> {
    match (external.ask, is_known) {
        (Ask::Always, true) => Some(
            "auth.external is asked about this request, and is not asked here: it may deny, or give the user groups, \
             as --group does; --ask asks it",
        ),
        (Ask::UnknownUsers, false) => Some(
            "auth.external is asked who this user is, and is not asked here: it may deny, or give the user another \
             name and groups, as --group does; --ask asks it",
        ),
        // The explanation of the policy says it.
        (Ask::Rule, _) | (Ask::Always, false) | (Ask::UnknownUsers, true) => None,
    }
}

/// The names and values of `--header`.
fn fields<'a>(given: &'a [String]) -> anyhow::Result<Vec<(&'a str, &'a str)>> {
    let split = |field: &'a String| {
        let (name, value) = field
            .split_once(':')
            .context("--header: no colon; write it as in --header 'User-Agent: curl/8.5.0'")?;
        Ok((name, value.trim()))
    };
    given.iter().map(split).collect()
}

/// A script may change the target, about which the policy then decides.
fn note_target(trial: &Trial, is_hidden: bool, notes: &mut Vec<String>) {
    let note = |target| {
        let target = if is_hidden { Explanation::MASK } else { target };
        format!(
            "a script changes the target to {target}, and the policy decides about that: explain it with --target"
        )
    };
    if let Some(note) = trial.target().map(note)
        && !notes.contains(&note)
    {
        notes.push(note);
    }
}

/// A text behind an empty line, if there is one.
struct Paragraph<'a, T>(Option<&'a T>);

impl<T: fmt::Display> fmt::Display for Paragraph<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(text) => write!(f, "\n\n{text}"),
            None => Ok(()),
        }
    }
}

/// The calls of scripts as text, behind an empty line.
struct Calls<'a>(&'a [Step]);

impl fmt::Display for Calls<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        f.write_str("\n")?;
        for step in self.0 {
            write!(f, "\n{step}")?;
        }
        Ok(())
    }
}

/// Claims from `name=text`.
fn claims(given: &[String]) -> anyhow::Result<Vec<(Box<str>, Box<str>)>> {
    let split = |claim: &String| {
        let (name, text) = claim.split_once('=').context("--claim: write NAME=TEXT")?;
        Ok((name.into(), text.into()))
    };
    given.iter().map(split).collect()
}

/// The addresses of the target: the given ones, else those that the proxy would find.
fn resolve(
    subject: &Subject<'_>,
    given: &[IpAddr],
    authority: Option<&Authority>,
    notes: &mut Vec<String>,
) -> Vec<IpAddr> {
    let Some(authority) = authority.filter(|authority| matches!(authority.host, Host::Name(_)))
    else {
        if !given.is_empty() {
            notes.push("--resolve has no effect: the target has no name to look up".to_owned());
        }
        return Vec::new();
    };
    if !given.is_empty() {
        return given.to_vec();
    }
    subject.look_up(authority).unwrap_or_else(|error| {
        notes.push(format!(
            "{}: {error:#}; give its addresses with --resolve",
            authority.host
        ));
        Vec::new()
    })
}
