//! Reloads users and policy while the process serves, on SIGHUP or through the admin
//! service.

pub(in crate::admin) mod answer;

use std::fmt;
use std::fs::File;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::certificates::Certificates;
use crate::config::{Changes, Config, ConfigError, Reloader, Shown, Values};
use crate::http::error::ErrorKind;
use crate::request::admit::{NewAccess, Operators};
use crate::request::app::App;
use crate::telemetry::ReloadOutcome;
use crate::text::count;
use crate::upstream::dial;

/// Reloads, one at a time.
pub struct Reload {
    app: Arc<App>,
    reloader: Reloader,
    certificates: Arc<Certificates>,
    /// The users of the admin service, where it has any.
    operators: OnceLock<Arc<Operators>>,
    /// The configuration file as it was read last without an error, without secrets.
    shown: RwLock<Shown>,
    /// The values that are in effect. Its lock makes reloads run one at a time.
    running: Arc<Mutex<Values>>,
}

/// The most keys that a log line names; more are counted.
const MAX_LOGGED_KEYS: usize = 32;

/// The result of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Users of the htpasswd file.
    pub users: usize,
    /// Rules of the policy.
    pub rules: usize,
    /// Entries of lenient lists that could not be used and are left out.
    pub left_out: usize,
    /// The differences from the values that were in effect.
    pub changes: Changes,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The files have errors.
    #[error("nothing was changed, the new files have errors:\n{0}")]
    Config(#[from] ConfigError),
    /// This process cannot open the files; they may be correct.
    #[error(
        "nothing was changed: this process has no file descriptor left to read the files with; raise the limit on \
         open files (LimitNOFILE= in the systemd unit, ulimit -Hn) and reload again"
    )]
    OutOfDescriptors,
    /// An operating-system call failed.
    #[error("nothing was changed: {0}")]
    System(String),
}

impl Reload {
    /// Reloads users and policy of `app`, which was made from `config`.
    pub fn new(app: Arc<App>, config: &Config) -> Self {
        let tls = config.tls().collect();
        Self {
            certificates: Certificates::new(tls, Arc::clone(&app.telemetry)),
            operators: OnceLock::new(),
            shown: RwLock::new(config.shown.clone()),
            app,
            reloader: config.reloader(),
            running: Arc::new(Mutex::new(config.values())),
        }
    }

    /// The certificates of the listeners.
    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// Reads the users of the admin service again, too.
    pub(super) fn set_operators(&self, operators: Arc<Operators>) {
        // A process has one admin service.
        let _is_first = self.operators.set(operators).is_ok();
    }

    /// The configuration file as it was read last without an error, without secrets.
    pub(super) fn shown(&self) -> Shown {
        self.shown.read().clone()
    }

    /// Reads users, groups, lists, rules and certificates again and replaces the old
    /// ones in one step. `trigger` is for the log. A reload that has begun is completed
    /// even when the caller no longer waits for it.
    ///
    /// # Errors
    /// The errors of the files; then nothing was changed.
    pub async fn run(self: &Arc<Self>, trigger: &'static str) -> Result<Summary, ReloadError> {
        // A slow reload of an older file must not overwrite a newer one: the thread that
        // reads the files keeps the lock.
        let running = Arc::clone(&self.running).lock_owned().await;
        let reload = Arc::clone(self);
        // Reading parses lists of millions and may hash a password.
        let done = tokio::task::spawn_blocking(move || {
            let done = reload.replace(trigger, running);
            report(&reload.app, trigger, &done);
            done
        });
        done.await
            .unwrap_or_else(|error| Err(ReloadError::System(error.to_string())))
    }

    /// Releases `running` at the end, so that the next reload can start.
    fn replace(
        &self,
        trigger: &str,
        mut running: OwnedMutexGuard<Values>,
    ) -> Result<Summary, ReloadError> {
        let app = &self.app;
        let parts = self.reloader.reload().map_err(|error| {
            if is_out_of_descriptors() {
                ReloadError::OutOfDescriptors
            } else {
                ReloadError::Config(error)
            }
        })?;
        parts.warnings.log();
        let summary = Summary {
            users: parts.users.len(),
            rules: parts.policy.rules().len(),
            left_out: parts.left_out,
            changes: running.changes_to(&parts.values),
        };
        // First: what may fail changes nothing then.
        if let (Some(operators), Some(users)) = (self.operators.get(), parts.admin_users) {
            let replaced = operators.replace(users, parts.lockout.clone());
            replaced.map_err(|error| ReloadError::System(error.to_string()))?;
        }
        let replaced = app.access.replace(NewAccess {
            users: parts.users,
            trusted: parts.trusted,
            tokens: parts.tokens,
            external: parts.external,
            lockout: parts.lockout,
            policy: &parts.policy,
            scripts: &parts.scripts,
            parents: &parts.parents,
            classes: parts.classes,
        });
        replaced.map_err(|error| ReloadError::System(error.to_string()))?;
        self.certificates.adopt(&parts.tls, trigger);
        app.telemetry.show_classes(app.access.classes());
        running.apply(&parts.values);
        *self.shown.write() = parts.shown;
        Ok(summary)
    }
}

fn report(app: &App, trigger: &str, done: &Result<Summary, ReloadError>) {
    match done {
        Ok(summary) => {
            let changes = &summary.changes;
            let outcome = if changes.are_complete() {
                ReloadOutcome::Succeeded
            } else {
                ReloadOutcome::Incomplete
            };
            app.telemetry.reloaded(outcome, &changes.restart_needed);
            log::info!("{trigger}: reloaded; {summary}");
            if !changes.restart_needed.is_empty() {
                log::warn!(
                    "{trigger}: changed, but without effect until a restart or an upgrade (-u): {}",
                    names(&changes.restart_needed)
                );
            }
            if !changes.not_compared.is_empty() {
                log::info!(
                    "{trigger}: not compared, since this process cannot read the files: {}",
                    names(&changes.not_compared)
                );
            }
        }
        Err(error) => {
            app.telemetry.reloaded(ReloadOutcome::Failed, &[]);
            log::error!("{trigger}: {error}");
        }
    }
}

fn is_out_of_descriptors() -> bool {
    let opened = File::open("/");
    opened.is_err_and(|error| dial::exhaustion(&error) == Some(ErrorKind::OutOfSockets))
}

/// Names of keys for a line of the log.
fn names(keys: &[String]) -> String {
    let shown: Vec<&str> = keys
        .iter()
        .take(MAX_LOGGED_KEYS)
        .map(String::as_str)
        .collect();
    match keys.len().saturating_sub(MAX_LOGGED_KEYS) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&count(self.users, "user"))?;
        write!(f, ", {}", count(self.rules, "rule"))?;
        if self.left_out > 0 {
            let entries = count(self.left_out, "entry");
            write!(f, ", {entries} of lenient lists left out")?;
        }
        match self.changes.applied.as_slice() {
            [] => f.write_str("; no key changed that a reload applies"),
            applied => write!(f, "; in effect now: {}", names(applied)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::hook::HookSet;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// The caller may stop waiting while a list is being read: the next reload must
    /// wait all the same, or older rules would replace newer ones. Reading a list that is
    /// a FIFO takes as long as the test wants.
    #[tokio::test]
    async fn a_reload_without_a_waiting_caller_keeps_its_turn() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let users = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/users.htpasswd");
        let yaml = format!(
            "version: 1\ntollgate:\n  listeners: [{{address: '127.0.0.1:8888'}}]\n  \
             auth: {{htpasswd: '{users}'}}\n  egress: {{deny_domains: ['@list']}}\n  log: {{access: 'off'}}\n"
        );
        fs::write(path("f.yaml"), yaml).unwrap();
        fs::write(path("list"), "a.example\n").unwrap();
        let config = Config::load(&path("f.yaml")).unwrap();
        let app = App::new(&config, HookSet::default()).unwrap();
        let reload = Arc::new(Reload::new(app, &config));
        fs::remove_file(path("list")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(path("list"))
            .status();
        assert!(made.unwrap().success());

        // Open for both ways, which does not wait for a reader. A pipe with a writer is waited for.
        let writer = fs::File::options()
            .read(true)
            .write(true)
            .open(path("list"));
        let asked = tokio::spawn({
            let reload = Arc::clone(&reload);
            async move { reload.run("test").await }
        });
        let begun = async {
            while reload.running.try_lock().is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, begun).await.unwrap();
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        assert!(
            reload.running.try_lock().is_err(),
            "its turn is over already"
        );

        drop(writer.unwrap());
        let next = tokio::time::timeout(DEADLINE, reload.running.lock()).await;
        assert!(next.is_ok(), "its turn does not end");
    }
}
