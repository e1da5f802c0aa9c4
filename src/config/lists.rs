//! Lists of domains in the configuration: entries, and list files.
//!
//! A line of a list file that cannot be used is an error. A list that denies may be declared `lenient`: then
//! such lines are left out, counted and warned about, up to a bound.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blake3::Hash;

use super::egress::{entry, report_entries};
use super::files::{self, Base};
use super::host;
use super::keys::form::Absent::Required;
use super::keys::form::{Flag, Raw};
use super::keys::keys;
use super::kind::TextKind;
use super::problem::Diagnostics;
use super::reader::Item;
use crate::access::policy::{DomainLists, Domains, EntryError, EntryProblem};
use crate::text::count;

/// A block list of some ten million domains.
const MAX_LIST: u64 = 256 << 20;

/// How many entries a lenient list may leave out, however short it is.
const FEW_LEFT_OUT: usize = 10;
/// The share of entries that a lenient list may leave out, as 1 of so many.
const SHARE_LEFT_OUT: usize = 10;
/// The most entries that a lenient list may leave out, however long it is.
const MAX_LEFT_OUT: usize = 1000;

keys! {
    /// A list file, as an entry of a list of domains.
    pub(super) struct DomainFile<'d> {
        /// The list file, with or without an `@` before it.
        list: Option<Item<'d>> = Required, Raw => Shape::path();
        /// Whether lines that cannot be read are left out; only where a list denies. See
        /// [lenient lists](policy.md#lenient-lists).
        lenient: bool = false, Flag;
    }
}

/// Reads lists of domains. Each list file is read once, however many lists name it.
pub(super) struct Lists<'s> {
    diagnostics: &'s Diagnostics,
    base: &'s Base,
    files: HashMap<PathBuf, ListFile>,
    left_out: usize,
}

/// One list file with its mistakes, which are told once.
struct ListFile {
    /// Of what is in the file.
    digest: Hash,
    domains: Arc<Domains>,
    errors: Vec<EntryError>,
    is_reported: bool,
    is_warned_about: bool,
}

impl<'s> Lists<'s> {
    pub(super) fn new(diagnostics: &'s Diagnostics, base: &'s Base) -> Lists<'s> {
        Lists {
            diagnostics,
            base,
            files: HashMap::new(),
            left_out: 0,
        }
    }

    /// The list files that were read.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.files.keys().cloned()
    }

    /// How many entries of lenient lists were left out so far.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    /// The items of a list of domains: entries, and list files as `@path` or as a map. `denies` says whether what
    /// is in the list is denied, so that a list file may be lenient. `None` after a problem.
    pub(super) fn read(&mut self, items: &[Item<'_>], denies: bool) -> Option<DomainLists> {
        let mut written = Domains::default();
        let mut lists = Vec::new();
        let mut whole = true;
        for item in items {
            if item.is_map() {
                match self.map(item, denies) {
                    Some(list) => lists.push(list),
                    None => whole = false,
                }
                continue;
            }
            let Some(text) = entry(item) else {
                whole = false;
                continue;
            };
            match text.strip_prefix('@') {
                Some("") => {
                    item.report(
                        "no file behind the @",
                        "write \"@FILE\", or remove the entry",
                    );
                    whole = false;
                }
                Some(path) => match self.file(item, path, false) {
                    Some(list) => lists.push(list),
                    None => whole = false,
                },
                None => {
                    if self.base.directory.join(text).is_file() {
                        let advice = format!(
                            "write \"@{text}\" for the domains in the file, or rename the file"
                        );
                        item.warn(
                            "read as a domain, though there is a file of this name",
                            advice,
                        );
                    }
                    let one = std::slice::from_ref(item);
                    whole &= report_entries(one, written.extend([text]), host::domain).is_some();
                }
            }
        }
        lists.push(Arc::new(written));
        whole.then(|| lists.into_iter().collect())
    }

    /// `{ list: FILE, lenient: true }`
    fn map(&mut self, item: &Item<'_>, denies: bool) -> Option<Arc<Domains>> {
        let mut section = item.section();
        let DomainFile { list, lenient } = DomainFile::take(&mut section);
        if list.is_none() {
            section.report("list", "missing", "name the list file: `list: denied.txt`");
        }
        let is_misplaced = lenient && !denies;
        if is_misplaced {
            let message = "only a list that denies can be lenient";
            section.report(
                "lenient",
                message,
                "remove it, and correct the lines of the list",
            );
        }
        section.finish();
        let list = list?;
        let path = list.text()?;
        let path = path.strip_prefix('@').unwrap_or(path);
        let domains = self.file(&list, path, lenient && denies)?;
        (!is_misplaced).then_some(domains)
    }

    fn file(&mut self, item: &Item<'_>, path: &str, lenient: bool) -> Option<Arc<Domains>> {
        let path = self.base.directory.join(path);
        let shown = self.base.show(&path);
        if !self.files.contains_key(&path) {
            let text = match files::read_text(&path, MAX_LIST) {
                Ok(text) => text,
                Err(error) => {
                    let missing = "name a list file, relative to this file: @allowed.txt";
                    files::report(item, &shown, &error, missing);
                    return None;
                }
            };
            // A download that was cut off, for one; comments alone are meant to be.
            if text.trim_ascii().is_empty() {
                item.report(
                    format!("the list {} is empty", files::speak(&shown)),
                    "fill it, or take it out of the configuration",
                );
                return None;
            }
            let mut domains = Domains::default();
            let errors = domains.extend_list(&text).err().unwrap_or_default();
            let is_markup = |error: &EntryError| error.problem == EntryProblem::Markup;
            let is_told = errors.first().is_none_or(is_markup);
            if !is_told && files::report_kind(item, &shown, &text, TextKind::Domains) {
                return None;
            }
            let file = ListFile {
                digest: blake3::hash(text.as_bytes()),
                domains: Arc::new(domains),
                errors,
                is_reported: false,
                is_warned_about: false,
            };
            self.files.insert(path.clone(), file);
        }
        let file = self.files.get_mut(&path)?;
        item.note_content(file.digest);
        if file.errors.is_empty() {
            return Some(Arc::clone(&file.domains));
        }
        if lenient && !file.is_full() {
            let bad = file.bad();
            let all = bad + file.domains.len();
            if bad > FEW_LEFT_OUT && (bad > MAX_LEFT_OUT || bad > all / SHARE_LEFT_OUT) {
                let message = format!(
                    "{bad} of {} of the lenient list {} cannot be used, first on line {}",
                    count(all, "entry"),
                    files::speak(&shown),
                    file.first_line()
                );
                let advice = format!(
                    "correct the list: at most {FEW_LEFT_OUT} entries, or one of {SHARE_LEFT_OUT} up to {MAX_LEFT_OUT}, may be left out"
                );
                item.report(message, advice);
                return None;
            }
            if file.domains.is_empty() {
                let message = format!(
                    "the list {} has no domain that can be used",
                    files::speak(&shown)
                );
                item.report(
                    message,
                    "correct the list, or take it out of the configuration",
                );
                return None;
            }
            if !file.is_warned_about {
                file.is_warned_about = true;
                self.left_out += bad;
                file.warn(&shown, self.diagnostics);
            }
            return Some(Arc::clone(&file.domains));
        }
        if !file.is_reported {
            file.is_reported = true;
            for error in &file.errors {
                let message = error.problem.to_string();
                self.diagnostics
                    .report_in(&shown, Some(error.number), "", message, None);
            }
        }
        // With its mistakes too, which need not be told again.
        Some(Arc::clone(&file.domains))
    }
}

impl ListFile {
    /// How many entries cannot be used. The last error may stand for those that were only counted.
    fn bad(&self) -> usize {
        let counted = self.errors.iter().map(|error| match error.problem {
            EntryProblem::More(more) => more,
            _ => 1,
        });
        counted.sum()
    }

    /// Whether domains are missing for another reason than their lines.
    fn is_full(&self) -> bool {
        let mut errors = self.errors.iter();
        errors.any(|error| error.problem == EntryProblem::Full)
    }

    fn first_line(&self) -> usize {
        self.errors.first().map_or(1, |error| error.number)
    }

    fn warn(&self, shown: &Path, diagnostics: &Diagnostics) {
        if let Some(first) = self.errors.first() {
            let left_out = count(self.bad(), "entry");
            let message = format!(
                "{left_out} of this lenient list left out, this first: {}",
                first.problem
            );
            diagnostics.warn_in(shown, Some(first.number), "", message, None);
        }
    }
}
