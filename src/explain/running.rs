//! `POST /api/v1/explain` of the admin service: what the running process decides.
//!
//! It is here, above the admin service, which knows it as a trait: the program explains a configuration that is not in use with
//! the same code, and the admin service needs nothing of that.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::{Query, Seen, Subject, explain};
use crate::access::auth::User;
use crate::admin::{Explain, Question};
use crate::config::Config;
use crate::hello::Hello;
use crate::request::app::App;
use crate::telemetry::{UserHash, UserNames};

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
        let trusted = subject.trusted.user(question.client).map(User::as_str);
        let shown = match (self.app.telemetry.user_names(), named.or(trusted), asked) {
            (UserNames::Plain, ..) => None,
            // Who asks about an unknown user has written that name, and no hash.
            (UserNames::Hashed(_), _, Some(asked)) if named.is_none() => Some(asked.to_owned()),
            (UserNames::Hashed(key), user, _) => user.map(|user| key.show(user)),
        };
        let query = Query {
            user: named.or(asked),
            shown: shown.as_deref(),
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
        if let Some(shown) = &shown {
            answer.hide_names(shown);
        }
        let mut value = serde_json::to_value(&answer).map_err(|error| error.to_string())?;
        if let Some(value) = value.as_object_mut() {
            let notes = answer.notes.iter().map(|note| members(note));
            let is_nobody = |hash: &&str| named.is_none() && UserHash::is_like(hash);
            let nobody = asked.filter(|_| shown.is_some()).filter(is_nobody);
            let nobody = nobody.map(|hash| {
                format!(
                    "no user of the configuration is shown as {hash}: this answer is about a user whose name is {hash}, \
                     not about one of a token, a certificate or the authoriser that is shown so"
                )
            });
            let notes = nobody.into_iter().chain(notes);
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
