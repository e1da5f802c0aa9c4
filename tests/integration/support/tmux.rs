//! A terminal of a real terminal program: tmux, with a server of its own.

use std::path::Path;
use std::process::{Command, Output};

use super::within;
use crate::support::DEADLINE;

/// A window of that server. It ends when this goes out of scope.
pub(crate) struct Tmux {
    directory: tempfile::TempDir,
}

impl Tmux {
    /// Runs a line of a shell in a window of that size.
    pub(crate) fn run((width, height): (u16, u16), line: &str) -> Self {
        let tmux = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let (width, height) = (width.to_string(), height.to_string());
        let window = ["-x", &width, "-y", &height];
        let started = tmux
            .command(&["-f", "/dev/null", "-u", "new-session", "-d"])
            .args(window)
            .arg(line)
            .env("LC_ALL", "C.UTF-8")
            .env_remove("NO_COLOR")
            .env_remove("TMUX")
            .output()
            .unwrap();
        assert!(started.status.success(), "{started:?}");
        tmux
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        let socket = self.directory.path().join("tmux");
        command.arg("-S").arg(socket).args(arguments);
        command
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What is on the screen.
    pub(crate) fn screen(&self) -> String {
        let output = self.ask(&["capture-pane", "-p"]);
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same with colours, as escape sequences.
    pub(crate) fn coloured(&self) -> String {
        let output = self.ask(&["capture-pane", "-p", "-e"]);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether the alternate screen is shown.
    pub(crate) fn is_alternate(&self) -> bool {
        let output = self.ask(&["display-message", "-p", "#{alternate_on}"]);
        output.stdout.starts_with(b"1")
    }

    /// Presses keys, by tmux's names.
    pub(crate) fn press(&self, keys: &[&str]) {
        let pressed = self.command(&["send-keys"]).args(keys).output().unwrap();
        assert!(pressed.status.success(), "{pressed:?}");
    }

    /// Presses Escape, and waits until the text that it closes is gone. Escape and the next key at once would be one
    /// key, with Alt.
    pub(crate) fn escape(&self, closed: &str) {
        self.press(&["Escape"]);
        self.wait_until(&format!("the screen without {closed:?}"), |screen| {
            !screen.contains(closed)
        });
    }

    /// Gives the window another size.
    pub(crate) fn resize(&self, width: u16, height: u16) {
        let (width, height) = (width.to_string(), height.to_string());
        let resized = self.ask(&["resize-window", "-x", &width, "-y", &height]);
        assert!(resized.status.success(), "{resized:?}");
    }

    /// Waits until the screen has all of these texts. The screen.
    pub(crate) fn wait(&self, texts: &[&str]) -> String {
        self.wait_until(&format!("{texts:?}"), |screen| {
            texts.iter().all(|text| screen.contains(text))
        })
    }

    /// Waits until the screen is as wanted. The screen.
    pub(crate) fn wait_until(&self, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        let found = within(DEADLINE, || {
            Some(self.screen()).filter(|screen| is_wanted(screen))
        });
        found.unwrap_or_else(|| panic!("{what} is not on the screen:\n{}", self.screen()))
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // Its own server alone has this socket.
        drop(self.ask(&["kill-server"]));
    }
}

/// A path for a shell.
pub(crate) fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}
