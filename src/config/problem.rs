//! What is wrong with a configuration: one [`Problem`] per mistake, all of them together.
//!
//! An error keeps the configuration from being used. A warning does not: the configuration says
//! something that has no effect, or that is most likely not meant.
//!
//! A problem names the place and the remedy. It never repeats a value from a file, but for the
//! path of a file that cannot be used: files that are mixed up may hold passwords and keys, and problems
//! end in logs and terminals.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::{Path, PathBuf};

use super::values::Ledger;

/// More problems than a person reads in one go are counted, not kept. Errors and warnings apart.
const MAX_PROBLEMS: usize = 100;

/// Whether a configuration can be used in spite of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can.
    Warning,
}

/// One mistake in a configuration file or in a file that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether the configuration can be used in spite of it.
    pub severity: Severity,
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

impl Problem {
    fn write(&self, f: &mut fmt::Formatter<'_>, label: &str) -> fmt::Result {
        // No file: what is wrong is that none is named.
        if !self.file.as_os_str().is_empty() {
            write!(f, "{}", self.file.display())?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(label)?;
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

impl fmt::Display for Problem {
    /// A warning says that it is one; an error does not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(
            f,
            match self.severity {
                Severity::Error => "",
                Severity::Warning => "warning: ",
            },
        )
    }
}

/// A problem for a log, whose lines have a level of their own.
struct InLog<'p>(&'p Problem);

impl fmt::Display for InLog<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, "")
    }
}

/// Problems of one severity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    kept: Vec<Problem>,
    unlisted: usize,
}

impl Problems {
    /// The problems, in the order of the file where they have one.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.kept.iter()
    }

    /// How many there are, kept or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len() + self.unlisted
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes each to the log, as a warning.
    pub fn log(&self) {
        for problem in &self.kept {
            log::warn!("{}", InLog(problem));
        }
        if self.unlisted > 0 {
            log::warn!("and {} more warnings", self.unlisted);
        }
    }

    fn push(&mut self, problem: Problem) {
        if self.kept.len() < MAX_PROBLEMS {
            self.kept.push(problem);
        } else {
            self.unlisted += 1;
        }
    }

    /// Those of `file` in the order of its lines, then those of other files.
    fn sort(&mut self, file: &Path) {
        self.kept.sort_by_key(|problem| {
            let elsewhere = problem.file != file;
            let line = problem.line.unwrap_or(usize::MAX);
            (elsewhere, problem.file.clone(), line)
        });
    }
}

impl fmt::Display for Problems {
    /// One problem a line, without a line end after the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.kept.iter().enumerate() {
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

/// Every problem that was found in one reading of a configuration, at least one of them an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    errors: Problems,
    warnings: Problems,
}

impl ConfigError {
    /// The errors, in the order of the file where they have one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.errors.kept
    }

    /// How many further errors were found but not kept.
    #[must_use]
    pub fn unlisted(&self) -> usize {
        self.errors.unlisted
    }

    /// The warnings.
    #[must_use]
    pub fn warnings(&self) -> &Problems {
        &self.warnings
    }
}

impl fmt::Display for ConfigError {
    /// The errors, then the warnings, one a line, without a line end after the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.errors)?;
        if !self.warnings.is_empty() {
            write!(f, "\n{}", self.warnings)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Collects the problems of one reading.
///
/// Readers report and go on with a default, so that one run shows every mistake.
#[derive(Debug)]
pub(super) struct Diagnostics {
    file: PathBuf,
    errors: RefCell<Problems>,
    warnings: RefCell<Problems>,
    /// Whether values are warned of that no reload applies.
    is_whole: Cell<bool>,
    /// What the keys say, for a later reload to compare.
    pub(super) values: Ledger,
}

impl Diagnostics {
    /// Starts with no problem; `file` is what problems without a file of their own name.
    pub(super) fn new(file: &Path) -> Diagnostics {
        Diagnostics {
            file: file.to_owned(),
            errors: RefCell::default(),
            warnings: RefCell::default(),
            is_whole: Cell::new(true),
            values: Ledger::default(),
        }
    }

    /// The configuration file, as the user named it.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Limits the warnings about values to those that a reload applies.
    pub(super) fn warn_of_reload_alone(&self) {
        self.is_whole.set(false);
    }

    /// Whether a value is warned of.
    pub(super) fn is_warned_of(&self, is_on_reload: bool) -> bool {
        is_on_reload || self.is_whole.get()
    }

    /// Reports an error in the configuration file itself.
    pub(super) fn report(
        &self,
        line: Option<usize>,
        path: &str,
        message: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        self.report_in(&self.file, line, path, message, remedy);
    }

    /// Reports an error in another file, which the configuration names.
    pub(super) fn report_in(
        &self,
        file: &Path,
        line: Option<usize>,
        path: &str,
        message: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        self.errors.borrow_mut().push(Problem {
            severity: Severity::Error,
            file: file.to_owned(),
            line,
            path: path.to_owned(),
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    /// Warns of something in the configuration file itself.
    pub(super) fn warn(
        &self,
        line: Option<usize>,
        path: &str,
        message: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        self.warn_in(&self.file, line, path, message, remedy);
    }

    /// Warns of something in another file, which the configuration names.
    pub(super) fn warn_in(
        &self,
        file: &Path,
        line: Option<usize>,
        path: &str,
        message: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        self.warnings.borrow_mut().push(Problem {
            severity: Severity::Warning,
            file: file.to_owned(),
            line,
            path: path.to_owned(),
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    /// Whether there is no error so far.
    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Whether there is an error of this key, or of an entry of its list, so far.
    pub(super) fn has_error_at(&self, path: &str) -> bool {
        let errors = self.errors.borrow();
        errors.kept.iter().any(|problem| {
            let rest = problem.path.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
        })
    }

    /// How many errors there are so far.
    pub(super) fn count(&self) -> usize {
        self.errors.borrow().len()
    }

    /// The warnings so far, for a configuration that can be used.
    pub(super) fn warnings(&self) -> Problems {
        let mut warnings = self.warnings.borrow().clone();
        warnings.sort(&self.file);
        warnings
    }

    /// Ends the collection with what was read.
    ///
    /// # Errors
    /// The problems, if there is at least one error.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, ConfigError> {
        if self.is_empty() {
            if let Some(read) = read {
                return Ok(read);
            }
            self.report(None, "", "cannot be used", None);
        }
        let warnings = self.warnings();
        let mut errors = self.errors.into_inner();
        errors.sort(&self.file);
        Err(ConfigError { errors, warnings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_place_key_message_and_remedy() {
        let diagnostics = Diagnostics::new(Path::new("conf/pingora.yaml"));
        diagnostics.report(None, "", "the file is empty", None);
        diagnostics.report(
            Some(12),
            "tollgate.timeouts.conect",
            "unknown key",
            "did you mean \"connect\"?".to_owned(),
        );
        let other = Path::new("users");
        diagnostics.report_in(other, Some(3), "", "not a user", None);
        let error = diagnostics.finish(Some(())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "conf/pingora.yaml:12: tollgate.timeouts.conect: unknown key; did you mean \"connect\"?\n\
             conf/pingora.yaml: the file is empty\n\
             users:3: not a user"
        );
        assert_eq!(error.problems().len(), 3);
    }

    #[test]
    fn warnings_are_no_errors_and_come_after_them() {
        let file = Path::new("f");
        let diagnostics = Diagnostics::new(file);
        diagnostics.warn(Some(9), "b", "has no effect", "remove it".to_owned());
        diagnostics.warn(Some(3), "a", "is odd", None);
        diagnostics.warn_in(Path::new("users"), None, "", "is open", None);
        assert!(diagnostics.is_empty());
        let lines = "f:3: warning: a: is odd\nf:9: warning: b: has no effect; remove it\n\
                     users: warning: is open";
        assert_eq!(diagnostics.warnings().to_string(), lines);
        assert_eq!(
            InLog(&diagnostics.warnings().kept[0]).to_string(),
            "f:3: a: is odd"
        );
        diagnostics.report(Some(12), "c", "wrong", None);
        let error = diagnostics.finish(Some(())).unwrap_err();
        assert_eq!(error.to_string(), format!("f:12: c: wrong\n{lines}"));
        assert_eq!((error.problems().len(), error.warnings().len()), (1, 3));

        let diagnostics = Diagnostics::new(file);
        diagnostics.warn(None, "", "is odd", None);
        assert_eq!(diagnostics.finish(Some(1)), Ok(1));
    }

    #[test]
    fn counts_what_it_does_not_keep() {
        let diagnostics = Diagnostics::new(Path::new("f"));
        for line in 0..MAX_PROBLEMS + 7 {
            diagnostics.report(Some(line), "", "wrong", None);
        }
        let error = diagnostics.finish(Some(())).unwrap_err();
        assert_eq!(
            (error.problems().len(), error.unlisted()),
            (MAX_PROBLEMS, 7)
        );
        assert!(error.to_string().ends_with("\nand 7 more"));
    }

    #[test]
    fn no_problem_is_no_error() {
        assert_eq!(Diagnostics::new(Path::new("f")).finish(Some(1)), Ok(1));
        // Whatever fails without a word must not pass for a configuration.
        let error = Diagnostics::new(Path::new("f"))
            .finish::<()>(None)
            .unwrap_err();
        assert_eq!(error.to_string(), "f: cannot be used");
    }
}
