//! What is wrong with a configuration: one [`Problem`] per mistake, all of them together.
//!
//! A problem names the place and the remedy. It never repeats a value from a file: files that
//! are mixed up may hold passwords and keys, and problems end in logs and terminals.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// More problems than a person reads in one go are counted, not kept.
const MAX_PROBLEMS: usize = 100;

/// One mistake in a configuration file or in a file that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as the user named it.
    pub file: PathBuf,
    /// The line in that file, counted from 1, where there is one.
    pub line: Option<usize>,
    /// The path of the key, such as `tollgate.timeouts.connect`; empty for the file as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write or to do instead.
    pub remedy: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

/// Every problem that was found in one reading of a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
    unlisted: usize,
}

impl ConfigError {
    /// The problems, in the order of the file where they have one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many further problems were found but not kept.
    #[must_use]
    pub fn unlisted(&self) -> usize {
        self.unlisted
    }
}

impl fmt::Display for ConfigError {
    /// One problem a line, without a line end after the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        if self.unlisted > 0 {
            write!(f, "\nand {} more", self.unlisted)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Collects the problems of one reading.
///
/// Readers report and go on with a default, so that one run shows every mistake.
#[derive(Debug)]
pub(super) struct Sink {
    file: PathBuf,
    found: RefCell<Vec<Problem>>,
    unlisted: RefCell<usize>,
}

impl Sink {
    /// Starts with no problem; `file` is what problems without a file of their own name.
    pub(super) fn new(file: &Path) -> Sink {
        Sink {
            file: file.to_owned(),
            found: RefCell::default(),
            unlisted: RefCell::default(),
        }
    }

    /// Reports a problem of the configuration file itself.
    pub(super) fn report(
        &self,
        line: Option<usize>,
        path: &str,
        message: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        self.report_in(&self.file, line, path, message, remedy);
    }

    /// Reports a problem of another file, which the configuration names.
    pub(super) fn report_in(
        &self,
        file: &Path,
        line: Option<usize>,
        path: &str,
        message: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        let mut found = self.found.borrow_mut();
        if found.len() >= MAX_PROBLEMS {
            *self.unlisted.borrow_mut() += 1;
            return;
        }
        found.push(Problem {
            file: file.to_owned(),
            line,
            path: path.to_owned(),
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    /// Whether there is no problem so far.
    pub(super) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// Ends the collection with what was read.
    ///
    /// # Errors
    /// The problems, if there is at least one: those of the configuration file in the order of
    /// its lines, then those of other files.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, ConfigError> {
        let mut problems = self.found.into_inner();
        if problems.is_empty() {
            if let Some(read) = read {
                return Ok(read);
            }
            problems.push(Problem {
                file: self.file.clone(),
                line: None,
                path: String::new(),
                message: "cannot be used".to_owned(),
                remedy: None,
            });
        }
        problems.sort_by_key(|problem| {
            let elsewhere = problem.file != self.file;
            let line = problem.line.unwrap_or(usize::MAX);
            (elsewhere, problem.file.clone(), line)
        });
        Err(ConfigError {
            problems,
            unlisted: self.unlisted.into_inner(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_place_key_message_and_remedy() {
        let sink = Sink::new(Path::new("conf/pingora.yaml"));
        sink.report(None, "", "the file is empty", None);
        sink.report(
            Some(12),
            "tollgate.timeouts.conect",
            "unknown key",
            "did you mean \"connect\"?".to_owned(),
        );
        let other = Path::new("users");
        sink.report_in(other, Some(3), "", "not a user", None);
        let error = sink.finish(Some(())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "conf/pingora.yaml:12: tollgate.timeouts.conect: unknown key; did you mean \"connect\"?\n\
             conf/pingora.yaml: the file is empty\n\
             users:3: not a user"
        );
        assert_eq!(error.problems().len(), 3);
    }

    #[test]
    fn counts_what_it_does_not_keep() {
        let sink = Sink::new(Path::new("f"));
        for line in 0..MAX_PROBLEMS + 7 {
            sink.report(Some(line), "", "wrong", None);
        }
        let error = sink.finish(Some(())).unwrap_err();
        assert_eq!(error.problems().len(), MAX_PROBLEMS);
        assert_eq!(error.unlisted(), 7);
        assert!(error.to_string().ends_with("\nand 7 more"));
    }

    #[test]
    fn no_problem_is_no_error() {
        assert_eq!(Sink::new(Path::new("f")).finish(Some(1)), Ok(1));
        // Whatever fails without a word must not pass for a configuration.
        let error = Sink::new(Path::new("f")).finish::<()>(None).unwrap_err();
        assert_eq!(error.to_string(), "f: cannot be used");
    }
}
