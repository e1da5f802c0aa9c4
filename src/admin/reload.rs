//! Reading the users and the policy again while the process serves: what SIGHUP and
//! the admin service ask for.

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::config::{Changes, Config, ConfigError, Reloader, Values};
use crate::http::error::Kind;
use crate::request::app::App;
use crate::telemetry::ReloadOutcome;
use crate::text::count;
use crate::upstream::dial;

/// Reloads, one at a time.
#[derive(Debug)]
pub struct Reload {
    app: Arc<App>,
    reloader: Reloader,
    /// What the process runs with; whoever holds it has the turn.
    running: Arc<Mutex<Values>>,
}

/// More keys than that are counted in the log, and not named.
const MAX_LOGGED_KEYS: usize = 32;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Users of the htpasswd file.
    pub users: usize,
    /// Rules of the policy.
    pub rules: usize,
    /// Entries of lenient lists that could not be used and are left out.
    pub left_out: usize,
    /// How the file differs from what the process ran with.
    pub changes: Changes,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The files are broken.
    #[error("nothing was changed, the new files are broken:\n{0}")]
    Config(#[from] ConfigError),
    /// This process cannot open the files: that says nothing about them.
    #[error(
        "nothing was changed: this process has no file descriptor left to read the files with; raise the limit on \
         open files (LimitNOFILE= in the systemd unit, ulimit -Hn) and reload again"
    )]
    OutOfDescriptors,
    /// The system did not play along.
    #[error("nothing was changed: {0}")]
    System(String),
}

impl Reload {
    /// Reloads what `app` decides by, which was made from `config`.
    pub fn new(app: Arc<App>, config: &Config) -> Self {
        Self {
            app,
            reloader: config.reloader(),
            running: Arc::new(Mutex::new(config.values())),
        }
    }

    /// Reads users, groups, lists and rules again and puts them in place of the old
    /// ones at once. `asked_by` is for the log. Whoever asked may go away: what was
    /// begun is finished.
    ///
    /// # Errors
    /// What is broken; then everything is as it was.
    pub async fn run(&self, asked_by: &'static str) -> Result<Summary, ReloadError> {
        // A newer file must not be followed by an older one that took longer to read:
        // the turn goes along to where the reading is done.
        let running = Arc::clone(&self.running).lock_owned().await;
        let (app, reloader) = (Arc::clone(&self.app), self.reloader.clone());
        // Reading parses lists of millions and may hash a password.
        let done = tokio::task::spawn_blocking(move || {
            let done = replace(&app, &reloader, running);
            report(&app, asked_by, &done);
            done
        });
        done.await
            .unwrap_or_else(|error| Err(ReloadError::System(error.to_string())))
    }
}

fn report(app: &App, asked_by: &str, done: &Result<Summary, ReloadError>) {
    match done {
        Ok(summary) => {
            let changes = &summary.changes;
            app.telemetry.reloaded(if changes.are_complete() {
                ReloadOutcome::Succeeded
            } else {
                ReloadOutcome::Incomplete
            });
            log::info!("{asked_by}: reloaded; {summary}");
            if !changes.restart_needed.is_empty() {
                log::warn!(
                    "{asked_by}: changed, but without effect until a restart or an upgrade (-u): {}",
                    names(&changes.restart_needed)
                );
            }
            if !changes.not_compared.is_empty() {
                log::info!(
                    "{asked_by}: not compared, since this process cannot read the files: {}",
                    names(&changes.not_compared)
                );
            }
        }
        Err(error) => {
            app.telemetry.reloaded(ReloadOutcome::Failed);
            log::error!("{asked_by}: {error}");
        }
    }
}

/// `running` is given back at the end, and with it the turn.
fn replace(
    app: &App,
    reloader: &Reloader,
    mut running: OwnedMutexGuard<Values>,
) -> Result<Summary, ReloadError> {
    let parts = reloader.reload().map_err(|error| {
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
    app.access
        .replace(parts.users, &parts.policy)
        .map_err(|error| ReloadError::System(error.to_string()))?;
    running.apply(&parts.values);
    Ok(summary)
}

fn is_out_of_descriptors() -> bool {
    let opened = File::open("/");
    opened.is_err_and(|error| dial::exhaustion(&error) == Some(Kind::OutOfSockets))
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

    const DEADLINE: Duration = Duration::from_secs(20);

    /// Whoever asked may be gone while a list is still being read: the next reload must
    /// wait all the same, or what it reads is followed by older rules. A list that is
    /// a FIFO is read for as long as the test wants.
    #[tokio::test]
    async fn a_reload_that_nobody_waits_for_keeps_its_turn() {
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
        let app = App::new(&config).unwrap();
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
