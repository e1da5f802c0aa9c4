//! `POST /api/v1/explain` of the admin service: what the running process decides.
//!
//! It is here, above the admin service, which knows it as a trait: the program explains a configuration that is not in use with
//! the same code, and the admin service needs nothing of that.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::{Query, Seen, Subject, explain};
use crate::admin::{Explain, Question};
use crate::config::Config;
use crate::hello::Hello;
use crate::request::app::App;
use crate::telemetry::UserNames;

/// Explains what a process decides by now.
pub struct Running {
    app: Arc<App>,
    has_certificates: bool,
    htpasswd: PathBuf,
}

impl Running {
    /// For the process that was made from `config`.
    pub fn new(app: &Arc<App>, config: &Config) -> Self {
        Self {
            app: Arc::clone(app),
            has_certificates: config.auth.has_certificates,
            htpasswd: config.auth.htpasswd.clone(),
        }
    }
}

impl Explain for Running {
    fn explain(&self, question: &Question) -> Result<Value, String> {
        let access = self.app.access.current();
        let subject = Subject::running(
            &access,
            &self.app.dialer,
            self.has_certificates,
            &self.htpasswd,
        );
        let hello = question.sni.as_deref().map(|sni| Hello {
            sni: Some(sni.into()).filter(|_| !sni.is_empty()),
            alpn: question.alpn.iter().map(|it| it.as_str().into()).collect(),
            ja4: question.ja4.as_deref().unwrap_or_default().into(),
            ech: question.ech,
        });
        let asked = question.user.as_deref();
        // A denial is explained by the name that it is shown with.
        let named = asked.and_then(|asked| {
            let telemetry = &self.app.telemetry;
            telemetry.user_shown_as(asked, subject.known_users())
        });
        let query = Query {
            user: named.or(asked),
            groups: &question.groups,
            claims: &question.claims,
            client: question.client,
            method: question.method.as_deref(),
            fields: &question.fields,
            target: &question.target,
            hello: hello.as_ref(),
            resolve: &question.resolve,
            seen: Seen {
                fields: &question.fields,
                status: question.status,
            },
            time: question.time.as_deref(),
            ask: false,
        };
        let mut answer =
            explain(&subject, &query).map_err(|error| members(&format!("{error:#}")))?;
        if let UserNames::Hashed(key) = self.app.telemetry.user_names() {
            let shown = match (named, asked) {
                // Who asks about an unknown user has written that name, and no hash.
                (None, Some(asked)) => asked.to_owned(),
                (Some(_), _) | (None, None) => key.show(answer.user()),
            };
            answer.hide_names(&shown);
        }
        let mut value = serde_json::to_value(&answer).map_err(|error| error.to_string())?;
        if let Some(value) = value.as_object_mut() {
            let notes = answer.notes.iter().map(|note| members(note));
            value.insert("notes".to_owned(), notes.collect());
        }
        Ok(value)
    }
}

/// A text about options of the command line, about members of the question.
fn members(text: &str) -> String {
    const OPTIONS: [(&str, &str); 9] = [
        ("--target", "target"),
        ("--user", "user"),
        ("--time", "time"),
        ("--header", "fields"),
        ("--claim", "claims"),
        ("--group", "groups"),
        ("--resolve", "resolve"),
        ("--status", "status"),
        ("; --ask asks it", ""),
    ];
    let all = OPTIONS.iter();
    all.fold(text.to_owned(), |text, (option, member)| {
        text.replace(option, member)
    })
}
