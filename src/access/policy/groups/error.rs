//! The errors of a line of a group file, with what to write instead.

use thiserror::Error;

use crate::access::auth::{MAX_USER_LEN, NameError};

/// A line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct GroupError {
    /// Counted from one.
    pub line: usize,
    /// What is wrong, and what to write.
    pub problem: GroupProblem,
}

/// What is wrong with a line. Prints with the remedy after a semicolon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GroupProblem {
    /// Nothing separates the group from its members.
    #[error(
        "no colon after the name of the group; write `group: user user`, and begin a comment with #"
    )]
    NoColon,
    /// Nothing before the colon.
    #[error("no group before the colon; write `group: user user`")]
    NoGroup,
    /// A space in the name of a group: most likely a missing colon.
    #[error("a space in the name of the group; write `group: user user`")]
    Space,
    /// `"ops": alice`
    #[error("quotes around the name of the group; write it without quotes")]
    GroupInQuotes,
    /// Not the name of a group, such as `ops,devs: alice` or `[ops]: alice`.
    #[error(
        "the character {0:?} in the name of a group; write `group: user user`, a line for each group"
    )]
    GroupCharacter(char),
    /// A colon among the members: no user with a password can have one (RFC 7617 §2). Most likely a htpasswd file, or /etc/group.
    #[error(
        "a colon in the name of a user; this is a group file, with lines like `group: user user`, in which the user of a token is written in quotes"
    )]
    Colon,
    /// `alice,bob`: most likely meant as a separator.
    #[error(
        "a comma, a semicolon or a bar among the users; separate users by spaces, or write a name that has one in quotes"
    )]
    Divider,
    /// `carol # bob left`
    #[error(
        "a # among the users; put a comment on a line of its own, or write a name that has a # in quotes"
    )]
    Comment,
    /// `alice \`
    #[error(
        "a backslash at the end of a word; continue a group on another `group: user user` line, and write a name with a space in quotes"
    )]
    Continuation,
    /// `@ops`, `+ops`, `%ops`: a group in files of other programs.
    #[error(
        "a name that begins like that of another group; name the users, or write a user with such a name in quotes"
    )]
    OtherGroup,
    /// Most likely not a name: `*`, `-alice`, `[alice`, `(left)`, `{{ users }}`.
    #[error(
        "the character {0:?} in the name of a user; write a name that has it in quotes, or remove it"
    )]
    Character(char),
    /// A name that no user can have.
    #[error("{0}; no user can have such a name: correct or remove it")]
    User(NameError),
    /// A quote that is never closed.
    #[error("a quote without its end; close it, or escape it with a backslash")]
    Quote,
    /// `"alice"bob`
    #[error("text right behind a closing quote; put a space between two names")]
    BehindQuote,
    /// `"DOMAIN\alice"`
    #[error(
        "a backslash before another character than a quote; write two backslashes for one in quotes"
    )]
    Escape,
    /// Quotes with nothing between.
    #[error("a user without a name; remove the quotes")]
    NoUser,
    /// White space other than a space, or a character that shows nothing.
    #[error("an invisible character, U+{:04X}; remove it, or write a space", u32::from(*.0))]
    Invisible(char),
    /// A control character.
    #[error("a control character; remove it")]
    ControlCharacter,
    /// A group whose name is too long.
    #[error("the name of the group is longer than {MAX_USER_LEN} bytes; shorten it")]
    TooLong,
}
