//! Who belongs to which group: the format of Apache's `AuthGroupFile`.
//!
//! Works on text; reading the file is for the caller.

use std::collections::HashMap;

use thiserror::Error;

/// The longest name of a group or a user, in bytes.
const MAX_NAME: usize = 255;

/// The groups of one file and their members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// In the order of the file, each once.
    names: Vec<Box<str>>,
    /// Indexes into `names`, in order and each once.
    of_user: HashMap<Box<str>, Vec<u32>>,
}

/// A line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct GroupError {
    /// Counted from one.
    pub line: usize,
    /// What is wrong, and what to write.
    pub problem: GroupProblem,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GroupProblem {
    /// Nothing divides the group from its members.
    #[error("no colon after the name of the group; write `group: user user`")]
    NoColon,
    /// Nothing before the colon.
    #[error("no group before the colon; write `group: user user`")]
    NoGroup,
    /// A space in the name of a group: most likely a missing colon.
    #[error("a space in the name of the group; write `group: user user`")]
    Space,
    /// A colon among the members: no user can have one (RFC 7617 §2). Most likely a htpasswd file.
    #[error(
        "a colon in the name of a user; this is a group file, with lines like `group: user user`"
    )]
    Colon,
    /// A comma at an end of a member: most likely meant to divide.
    #[error("a comma beside the name of a user; divide users by spaces alone")]
    Comma,
    /// A quote that is never closed.
    #[error("a quote without its end; close it, or escape it with a backslash")]
    Quote,
    /// Quotes with nothing between.
    #[error("a user without a name; remove the quotes")]
    NoUser,
    /// A control character.
    #[error("a control character; remove it")]
    ControlCharacter,
    /// A name above 255 bytes.
    #[error("a name is longer than {MAX_NAME} bytes; no user has such a name")]
    TooLong,
}

impl Groups {
    /// Reads the text of a file: lines of `group: user user`, blank lines, and lines that begin with `#`; LF
    /// or CRLF.
    ///
    /// A group may have several lines, and none of its users has to exist. A name with a space is written in
    /// quotes, `"like this"` or `'like this'`, in which a backslash stands before a quote or a backslash.
    ///
    /// # Errors
    /// Every bad line, in order. A file with one is not used at all: a member that silently vanished would be
    /// found late, and under a rule that denies it would be an open door.
    pub fn parse(text: &str) -> Result<Groups, Vec<GroupError>> {
        let mut groups = Groups::default();
        let mut known = HashMap::new();
        let mut errors = Vec::new();
        // Editors on Windows begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, content) in (1..).zip(text.lines()) {
            if let Err(problem) = groups.add_line(content.trim(), &mut known) {
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

    /// Whether the file has this group, with or without members.
    pub fn contains(&self, group: &str) -> bool {
        self.names.iter().any(|name| **name == *group)
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

    /// Every user who is in a group, with the indexes of the groups; in no order.
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
        let (group, members) = line.split_once(':').ok_or(GroupProblem::NoColon)?;
        let group = group.trim();
        if group.is_empty() {
            return Err(GroupProblem::NoGroup);
        }
        if group.contains(char::is_whitespace) {
            return Err(GroupProblem::Space);
        }
        if group.len() > MAX_NAME {
            return Err(GroupProblem::TooLong);
        }
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

/// Words between white space. A quote counts at the beginning of a word alone, as in Apache's reader.
fn parse_members(text: &str) -> Result<Vec<String>, GroupProblem> {
    let mut members = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let member;
        (member, rest) = if matches!(first, '"' | '\'') {
            parse_quoted(rest, first)?
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, rest) = rest.split_at_checked(end).unwrap_or((rest, ""));
            if word.starts_with(',') || word.ends_with(',') {
                return Err(GroupProblem::Comma);
            }
            (word.to_owned(), rest)
        };
        if member.is_empty() {
            return Err(GroupProblem::NoUser);
        }
        if member.contains(':') {
            return Err(GroupProblem::Colon);
        }
        if member.len() > MAX_NAME {
            return Err(GroupProblem::TooLong);
        }
        members.push(member);
        rest = rest.trim_start();
    }
    Ok(members)
}

/// The word in quotes at the start of `text`, and what follows it.
fn parse_quoted(text: &str, quote: char) -> Result<(String, &str), GroupProblem> {
    let mut word = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        if c == quote {
            let rest = text.get(at + 1..).unwrap_or_default();
            // What follows at once would be a part of the word to some readers.
            if rest.starts_with(|c: char| !c.is_whitespace()) {
                return Err(GroupProblem::Quote);
            }
            return Ok((word, rest));
        }
        match c {
            '\\' => word.push(characters.next().ok_or(GroupProblem::Quote)?.1),
            _ => word.push(c),
        }
    }
    Err(GroupProblem::Quote)
}

#[cfg(test)]
mod tests;
