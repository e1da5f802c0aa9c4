//! The group file, in the format of Apache's `AuthGroupFile`.
//!
//! Parses text; the caller reads the file.

mod error;
#[cfg(any(test, feature = "internals"))]
pub mod fuzz;

use std::collections::HashMap;

pub use self::error::{GroupError, GroupProblem};
use crate::access::auth::{MAX_USER_LEN, parse_any_name, parse_name};
use crate::text::is_invisible;

/// The characters of a name without quotes, beside letters and digits of any script: at its start, then elsewhere.
/// None of them separates names, begins a comment or marks a group in the files of other programs.
const FIRST: &str = "_.";
const REST: &str = "_.-@+/\\'=&~!%$";

/// The groups of one file and their members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// In the order of the file, each once.
    names: Vec<Box<str>>,
    /// Indexes into `names`, in order and each once.
    of_user: HashMap<Box<str>, Vec<u32>>,
    /// Whether credentials may say further groups.
    are_open: bool,
}

impl Groups {
    /// Reads the text of a file: lines of `group: user user`, blank lines, and lines that begin with `#`.
    ///
    /// A group may have several lines. Its users need not exist, but each has to be a valid user name. A name
    /// with a space, a comma or another ambiguous character is written in quotes, `"like this"` or
    /// `'like this'`, in which a backslash escapes a quote or a backslash.
    ///
    /// # Errors
    /// Every invalid line, in order. A file with one is not used at all: an operator would notice a lost member
    /// late, and a rule that denies the group would then admit that user.
    pub fn parse(text: &str) -> Result<Groups, Vec<GroupError>> {
        let mut groups = Groups::default();
        let mut known = HashMap::new();
        let mut errors = Vec::new();
        for (line, content) in (1..).zip(text.lines()) {
            if let Err(problem) = groups.add_line(content.trim_ascii(), &mut known) {
                errors.push(GroupError { line, problem });
            }
        }
        for memberships in groups.of_user.values_mut() {
            memberships.sort_unstable();
            memberships.dedup();
        }
        if errors.is_empty() {
            Ok(groups)
        } else {
            Err(errors)
        }
    }

    /// The same, where credentials may say further groups.
    #[must_use]
    pub fn open(self) -> Groups {
        Groups {
            are_open: true,
            ..self
        }
    }

    /// Whether credentials may say further groups, so that a rule can name groups that are not here.
    pub fn are_open(&self) -> bool {
        self.are_open
    }

    /// Whether the file has this group, with or without members.
    pub fn contains(&self, group: &str) -> bool {
        self.names.iter().any(|name| **name == *group)
    }

    /// The users in any group, in no order.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.of_user.keys().map(AsRef::as_ref)
    }

    /// The groups, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// The groups of a user, in the order of the file.
    pub fn of_user(&self, user: &str) -> impl Iterator<Item = &str> {
        let memberships = self.of_user.get(user).map(Vec::as_slice);
        self.names_of(memberships.unwrap_or_default())
    }

    /// Every user in any group, with the indexes of the groups; in no order.
    pub(super) fn users(&self) -> impl Iterator<Item = (&str, &[u32])> {
        let users = self.of_user.iter();
        users.map(|(user, memberships)| (&**user, memberships.as_slice()))
    }

    /// The names behind indexes of [`Groups::users`].
    pub(super) fn names_of<'a>(&'a self, indexes: &'a [u32]) -> impl Iterator<Item = &'a str> {
        let names = indexes
            .iter()
            .filter_map(|index| self.names.get(*index as usize));
        names.map(AsRef::as_ref)
    }

    fn add_line<'t>(
        &mut self,
        line: &'t str,
        known: &mut HashMap<&'t str, u32>,
    ) -> Result<(), GroupProblem> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if line.contains(|c: char| c.is_control() && c != '\t') {
            return Err(GroupProblem::ControlCharacter);
        }
        if let Some(c) = line.chars().find(|c| is_invisible(*c)) {
            return Err(GroupProblem::Invisible(c));
        }
        let (group, members) = line.split_once(':').ok_or(GroupProblem::NoColon)?;
        let group = group.trim_ascii();
        check_group(group)?;
        let members = parse_members(members)?;
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let index = *known.entry(group).or_insert(next);
        if index == next {
            self.names.push(group.into());
        }
        for member in members {
            let memberships = self.of_user.entry(member.into_boxed_str()).or_default();
            memberships.push(index);
        }
        Ok(())
    }
}

fn check_group(group: &str) -> Result<(), GroupProblem> {
    if group.is_empty() {
        return Err(GroupProblem::NoGroup);
    }
    if group.starts_with(['"', '\'']) {
        return Err(GroupProblem::GroupInQuotes);
    }
    if group.contains([' ', '\t']) {
        return Err(GroupProblem::Space);
    }
    if group.len() > MAX_USER_LEN {
        return Err(GroupProblem::TooLong);
    }
    match odd_character(group) {
        Some(c) => Err(GroupProblem::GroupCharacter(c)),
        None => Ok(()),
    }
}

/// Words between spaces and tabs. A quote has its meaning only at the start of a word, as in Apache's reader.
fn parse_members(text: &str) -> Result<Vec<String>, GroupProblem> {
    let mut members = Vec::new();
    let mut rest = text.trim_ascii();
    while let Some(first) = rest.chars().next() {
        let member;
        // A name that a token says may have colons; without quotes, they are a sign of another kind of file.
        let is_quoted = matches!(first, '"' | '\'');
        (member, rest) = if is_quoted {
            parse_quoted(rest, first)?
        } else {
            let end = rest.find([' ', '\t']).unwrap_or(rest.len());
            let (word, rest) = rest.split_at_checked(end).unwrap_or((rest, ""));
            check_word(word)?;
            (word.to_owned(), rest)
        };
        if member.is_empty() {
            return Err(GroupProblem::NoUser);
        }
        let parsed = match is_quoted {
            true => parse_any_name(&member),
            false => parse_name(&member),
        };
        parsed.map_err(GroupProblem::User)?;
        members.push(member);
        rest = rest.trim_ascii_start();
    }
    Ok(members)
}

/// A name without quotes.
fn check_word(word: &str) -> Result<(), GroupProblem> {
    if word.contains(':') {
        return Err(GroupProblem::Colon);
    }
    if word.contains('#') {
        return Err(GroupProblem::Comment);
    }
    if word.contains([
        ',', ';', '|', '\u{ff0c}', '\u{3001}', '\u{60c}', '\u{ff1b}', '\u{61b}',
    ]) {
        return Err(GroupProblem::Divider);
    }
    if word.ends_with('\\') {
        return Err(GroupProblem::Continuation);
    }
    if word.starts_with(['@', '+', '%', '&']) {
        return Err(GroupProblem::OtherGroup);
    }
    match odd_character(word) {
        Some(c) => Err(GroupProblem::Character(c)),
        None => Ok(()),
    }
}

/// The first character that is ambiguous in a name without quotes.
fn odd_character(name: &str) -> Option<char> {
    const QUOTES: [char; 8] = [
        '\u{2018}', '\u{2019}', '\u{201a}', '\u{201c}', '\u{201d}', '\u{201e}', '\u{ab}', '\u{bb}',
    ];
    let is_plain = |(at, c): &(usize, char)| {
        c.is_alphanumeric()
            || (!c.is_ascii() && !QUOTES.contains(c))
            || FIRST.contains(*c)
            || (*at > 0 && REST.contains(*c))
    };
    let odd = name.char_indices().find(|part| !is_plain(part));
    odd.map(|(_, c)| c)
}

/// The word in quotes at the start of `text`, and what follows it.
fn parse_quoted(text: &str, quote: char) -> Result<(String, &str), GroupProblem> {
    let mut word = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        if c == quote {
            let rest = text.get(at + 1..).unwrap_or_default();
            // Some readers would take the text after the quote for a part of the word.
            if rest.starts_with(|c: char| c != ' ' && c != '\t') {
                return Err(GroupProblem::BehindQuote);
            }
            return Ok((word, rest));
        }
        match c {
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\'' | '\\'))) => word.push(escaped),
                Some(_) => return Err(GroupProblem::Escape),
                None => return Err(GroupProblem::Quote),
            },
            _ => word.push(c),
        }
    }
    Err(GroupProblem::Quote)
}

#[cfg(test)]
mod tests;
